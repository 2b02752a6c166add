"""Which counters of energy and of a measurement's conditions can be read on this machine."""

from collections.abc import Callable, Iterator
from typing import Any

from bench.measure.devices import visible_handles
from bench.measure.energy_sources import NoSourceError, RaplPackages
from bench.measure.host_watch import HostState
from bench.measure.nvml import (
    NvmlUnavailableError,
    clock_reasons,
    nvml,
    nvml_number,
    other_processes,
)

_HOST = {
    "mhz": "clocks",
    "thermal_throttles": "thermal throttling",
    "cgroup_throttled_s": "quotas of control groups",
    "steal_s": "stolen time",
    "swapped_bytes": "swapping",
}


def readable_counters() -> Iterator[tuple[bool, str]]:
    """Whether each can be read, and a line that says what it is and, if not, why."""
    try:
        RaplPackages().close()
    except NoSourceError as error:
        yield False, f"energy of the CPU (RAPL): {error}"
    else:
        yield True, "energy of the CPU (RAPL)"
    state = HostState.now()
    here = [words for name, words in _HOST.items() if getattr(state, name) is not None]
    gone = [words for words in _HOST.values() if words not in here]
    without = f"; not to be read: {', '.join(gone)}" if gone else ""
    yield True, f"load and conditions of the CPU: {', '.join(['load', *here])}{without}"
    with nvml() as api:
        for index, handle in enumerate(visible_handles(api) if api is not None else []):
            yield from _card(api, handle, index)


def _card(api: Any, handle: Any, index: int) -> Iterator[tuple[bool, str]]:
    def number(function: str, *arguments: object) -> Callable[[], object]:
        return lambda: nvml_number(api, function, handle, *arguments)

    asked: dict[str, Callable[[], object]] = {
        "energy counter": number("nvmlDeviceGetTotalEnergyConsumption"),
        "power": number("nvmlDeviceGetPowerUsage"),
        "temperature": number("nvmlDeviceGetTemperature", api.NVML_TEMPERATURE_GPU),
        "clocks": number("nvmlDeviceGetClockInfo", api.NVML_CLOCK_SM),
        "reasons of the clocks": lambda: clock_reasons(api, handle),
        "processes": lambda: other_processes(api, handle, own=-1),
    }
    for words, ask in asked.items():
        try:
            ask()
        except NvmlUnavailableError as error:
            yield False, f"{words} of cuda:{index}: {error}"
        else:
            yield True, f"{words} of cuda:{index}"

"""What a card did while something was measured on it: sampled by NVML from a thread."""

import os
from dataclasses import dataclass
from typing import Any, Self

from bench.measure.nvml import (
    NvmlUnavailableError,
    OtherProcesses,
    ask_nvml,
    clock_reasons,
    nvml_number,
    open_card,
    other_processes,
)
from bench.measure.sampler import Sampler

_INTERVAL_S = 0.1
"""Between two samples: rarely enough not to be felt."""
_MOST_MHZ, _MOST_C, _MOST_W = 20_000.0, 200.0, 10_000.0
"""Beyond what any card can have: a reading above is none."""
_REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bits of NVML's clocks event (once: throttle) reasons, by ``nvml.h``."""
_IDLE = "gpu_idle"


def reason_names(bits: int) -> list[str]:
    """Names of the reasons in a mask of NVML's; bits without a name as ``bit_N``."""
    names = []
    for position in range(64):
        bit = 1 << position
        if bits & bit:
            names.append(_REASONS.get(bit, f"bit_{position}"))
    return names


@dataclass(frozen=True)
class CardState:
    """One sample; None for what cannot be read."""

    sm_mhz: float | None
    memory_mhz: float | None
    temperature_c: float | None
    power_w: float | None
    reasons: int | None

    @property
    def idle(self) -> bool:
        """Whether the card had nothing to do, and clocks that say nothing."""
        return self.reasons is not None and _IDLE in reason_names(self.reasons)


class CardWatch:
    """Samples ``cuda:N`` while it is entered as a context manager. CUDA must be initialised.

    NVML that is missing or broken is no error: ``fields`` lacks what it did not give, and
    ``absent`` says why.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._api: Any = None
        self._handle: Any = None
        self._sampler: Sampler[CardState] | None = None
        self._first: CardState | None = None
        self._last: CardState | None = None
        self._others: list[OtherProcesses] = []
        self.absent: dict[str, str] = {}
        """Record field: why it is not there."""

    def __enter__(self) -> Self:
        try:
            self._api, self._handle = open_card(self._device)
        except NvmlUnavailableError as error:
            self.absent = dict.fromkeys(_FIELDS, str(error))
            return self
        self._look_around()
        self._first = self._state()
        self._sampler = Sampler(self._state, interval_s=_INTERVAL_S)
        self._sampler.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._sampler is None:
            return
        # First of all: now the clocks are still those of the work.
        self._last = self._state()
        self._sampler.__exit__(*error)
        self._look_around()
        ask_nvml(self._api.nvmlShutdown)

    @property
    def fields(self) -> dict[str, Any]:
        """Record fields, once it is over; those of the clocks are of the time that it worked."""
        if self._sampler is None or self._first is None or self._last is None:
            return {}
        states = [*(state for _, state in self._sampler.readings), self._last]
        working = [state for state in states if not state.idle] or states
        known = [state.reasons for state in working if state.reasons is not None]
        power = _values(working, "power_w")
        fields: dict[str, Any] = {
            "gpu_sm_clock_min_mhz": min(_values(working, "sm_mhz"), default=None),
            "gpu_sm_clock_max_mhz": max(_values(working, "sm_mhz"), default=None),
            "gpu_memory_clock_min_mhz": min(_values(working, "memory_mhz"), default=None),
            "gpu_memory_clock_max_mhz": max(_values(working, "memory_mhz"), default=None),
            "gpu_temperature_start_c": self._first.temperature_c,
            "gpu_temperature_end_c": self._last.temperature_c,
            "gpu_power_mean_w": sum(power) / len(power) if power else None,
            "gpu_power_max_w": max(power, default=None),
            "gpu_clock_reasons": sorted({name for bits in known for name in reason_names(bits)})
            if known
            else None,
            "gpu_other_processes": max((o.number for o in self._others), default=None),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _look_around(self) -> None:
        try:
            self._others.append(other_processes(self._api, self._handle, own=os.getpid()))
        except NvmlUnavailableError as error:
            self.absent["gpu_other_processes"] = str(error)

    def _state(self) -> CardState:
        def number(function: str, *args: object, fields: tuple[str, ...], **limits: float) -> Any:
            try:
                return nvml_number(self._api, function, self._handle, *args, **limits)
            except NvmlUnavailableError as error:
                for field in fields:
                    self.absent.setdefault(field, str(error))
                return None

        api = self._api
        return CardState(
            sm_mhz=number(
                "nvmlDeviceGetClockInfo", api.NVML_CLOCK_SM, fields=_SM_CLOCK, most=_MOST_MHZ
            ),
            memory_mhz=number(
                "nvmlDeviceGetClockInfo", api.NVML_CLOCK_MEM, fields=_MEMORY_CLOCK, most=_MOST_MHZ
            ),
            temperature_c=number(
                "nvmlDeviceGetTemperature",
                api.NVML_TEMPERATURE_GPU,
                fields=_TEMPERATURE,
                most=_MOST_C,
            ),
            power_w=number("nvmlDeviceGetPowerUsage", fields=_POWER, scale=1e-3, most=_MOST_W),
            reasons=self._reasons(),
        )

    def _reasons(self) -> int | None:
        try:
            return clock_reasons(self._api, self._handle)
        except NvmlUnavailableError as error:
            self.absent.setdefault("gpu_clock_reasons", str(error))
            return None


_SM_CLOCK = ("gpu_sm_clock_min_mhz", "gpu_sm_clock_max_mhz")
_MEMORY_CLOCK = ("gpu_memory_clock_min_mhz", "gpu_memory_clock_max_mhz")
_TEMPERATURE = ("gpu_temperature_start_c", "gpu_temperature_end_c")
_POWER = ("gpu_power_mean_w", "gpu_power_max_w")
_FIELDS = (
    *(*_SM_CLOCK, *_MEMORY_CLOCK, *_TEMPERATURE, *_POWER),
    *("gpu_clock_reasons", "gpu_other_processes"),
)


def _values(states: list[CardState], name: str) -> list[float]:
    return [value for state in states if (value := getattr(state, name)) is not None]

"""What else the host did while something was measured: read once before and once after it."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from distill.host import cgroup_files, core_numbers, counter

SYSTEM = Path("/sys")
_BUSY = ("user", "nice", "system", "irq", "softirq")
"""Kinds of time that a core works; ``guest`` is in ``user``."""


@dataclass(frozen=True)
class HostState:
    """Counters of one moment; None for those that cannot be read here."""

    at_s: float
    busy_s: float
    """Of the cores that this process may run on, all processes."""
    own_s: float
    """Of this process and those that it started and has waited for."""
    steal_s: float | None
    mhz: float | None
    """Of the fastest of those cores: one that worked just now."""
    thermal_throttles: int | None
    cgroup_throttled_s: float | None
    swapped_bytes: int | None

    @classmethod
    def now(cls) -> Self:
        """Read all of them."""
        cores = core_numbers()
        times = _per_core(psutil.cpu_times(percpu=True), cores)
        children = os.times()
        return cls(
            at_s=time.perf_counter(),
            busy_s=sum(getattr(one, kind, 0.0) for one in times for kind in _BUSY),
            own_s=time.process_time() + children.children_user + children.children_system,
            steal_s=sum(one.steal for one in times) if hasattr(times[0], "steal") else None,
            mhz=_mhz(cores),
            thermal_throttles=_thermal_throttles(cores),
            cgroup_throttled_s=_cgroup_throttled_s(),
            swapped_bytes=_swapped_bytes(),
        )


ABSENT = {
    "steal_cores": "this system does not count stolen time",
    "cpu_mhz_start": "this system does not tell the cores' clocks",
    "cpu_thermal_throttles": "this CPU or system does not count thermal throttling",
    "cgroup_throttled_ms": "no control group with a quota of processor time is to be seen",
    "swapped_mb": "this system does not count what is swapped",
}
"""Why a field is not there, by its name."""


def host_fields(before: HostState, after: HostState) -> dict[str, Any]:
    """Record fields of what the host did between two readings; None for what is not known."""
    seconds = after.at_s - before.at_s
    other = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    steal = _difference(before.steal_s, after.steal_s)
    quota = _difference(before.cgroup_throttled_s, after.cgroup_throttled_s)
    swapped = _difference(before.swapped_bytes, after.swapped_bytes)
    throttles = _difference(before.thermal_throttles, after.thermal_throttles)
    known = before.mhz is not None and after.mhz is not None
    return {
        "watched_s": seconds,
        "other_load_cores": max(0.0, other / seconds) if seconds > 0 else None,
        "steal_cores": None if steal is None or seconds <= 0 else steal / seconds,
        "cpu_mhz_start": before.mhz if known else None,
        "cpu_mhz_end": after.mhz if known else None,
        "cpu_thermal_throttles": None if throttles is None else int(throttles),
        "cgroup_throttled_ms": None if quota is None else quota * 1e3,
        "swapped_mb": None if swapped is None else swapped / 1e6,
    }


def _difference(before: float | None, after: float | None) -> float | None:
    """None where either is not known, or the counter has begun anew."""
    if before is None or after is None or after < before:
        return None
    return after - before


def _per_core(values: list[Any], cores: Sequence[int]) -> list[Any]:
    """Of these cores; of all where they are not numbered through."""
    return [values[core] for core in cores] if cores[-1] < len(values) else values


def _mhz(cores: Sequence[int]) -> float | None:
    try:
        clocks = psutil.cpu_freq(percpu=True)
    except (AttributeError, NotImplementedError, OSError, ValueError):
        return None
    current = [one.current for one in _per_core(clocks, cores) if one.current] if clocks else []
    return float(max(current)) if current else None


def _thermal_throttles(cores: Sequence[int]) -> int | None:
    """Sum over the cores, and the package's count, which each core shows, once."""
    folders = [SYSTEM / f"devices/system/cpu/cpu{core}/thermal_throttle" for core in cores]
    by_core = _numbers(folder / "core_throttle_count" for folder in folders)
    by_package = _numbers(folder / "package_throttle_count" for folder in folders)
    return sum(by_core) + max(by_package, default=0) if by_core or by_package else None


def _numbers(paths: Any) -> list[int]:
    found = []
    for path in paths:
        try:
            found.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return found


def _cgroup_throttled_s() -> float | None:
    """Seconds that quotas of the group, or of one around it, have stopped its processes for."""
    seconds = []
    for path in cgroup_files("cpu", "cpu.stat"):
        microseconds, nanoseconds = counter(path, "throttled_usec"), counter(path, "throttled_time")
        if microseconds is not None:
            seconds.append(microseconds / 1e6)
        elif nanoseconds is not None:
            seconds.append(nanoseconds / 1e9)
    return sum(seconds) if seconds else None


def _swapped_bytes() -> int | None:
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError):
        return None
    return int(swap.sin + swap.sout)

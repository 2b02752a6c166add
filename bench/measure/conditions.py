"""What disturbed a measurement, in labels: from what was watched while it was taken."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Label = Literal["throttled", "power_capped", "shared", "clock_changed", "stolen", "swapping"]

DISTURBANCES: tuple[Label, ...] = ("throttled", "shared", "clock_changed", "stolen", "swapping")
"""Labels that a repeat might be rid of. ``power_capped`` is none: a card at its power limit is as
fast as it can be, then as now."""

OTHER_LOAD_SHARE = 0.05
"""Share of the cores that other processes may use: the threshold of ``bench compare``."""
OTHER_LOAD_LEAST = 0.1
"""Cores that other processes may use in any case: what a quiet system does by itself."""
OTHER_LOAD_SHARE_BESIDE_A_CARD = 0.5
"""The same where a card computes and the CPU only feeds it."""
STEAL_SHARE = 0.05
"""Share of the cores' time that a hypervisor may give to other machines."""
CGROUP_THROTTLED_SHARE = 0.01
"""Share of the time that a quota of the control group may stop its processes for."""
CARD_CLOCK_SPREAD = 0.05
"""By how much of the highest the card's clock may vary."""
CPU_CLOCK_SPREAD = 0.1
"""The same of a CPU, of which two single readings are known."""
SWAPPED_MB = 1.0
"""MB that may go to or come from swap."""
TICK_S = 0.01
"""The kernel counts a core's time in steps of this."""

SLOWDOWNS = frozenset(
    {
        *("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown"),
        *("board_limit", "reliability"),
    }
)
"""Reasons of a card's clocks that make a measurement ``throttled``."""


def labels(watched: Mapping[str, Any], *, device: str, cores: int) -> list[Label]:
    """The labels that ``watched``, record fields by name, deserves; what is absent gives none.

    ``cores`` are those that this process may run on.
    """
    seconds = watched.get("watched_s") or 0.0
    reasons = set(watched.get("gpu_clock_reasons") or ())
    found: list[Label] = []
    if (
        reasons & SLOWDOWNS
        or _of(watched, "cpu_thermal_throttles") > 0
        or _of(watched, "cgroup_throttled_ms") / 1e3 > CGROUP_THROTTLED_SHARE * seconds
    ):
        found.append("throttled")
    if "sw_power_cap" in reasons:
        found.append("power_capped")
    if _of(watched, "gpu_other_processes") > 0 or _loaded(watched, seconds, device, cores):
        found.append("shared")
    if _spread(watched, "gpu_sm_clock_min_mhz", "gpu_sm_clock_max_mhz") > CARD_CLOCK_SPREAD or (
        device == "cpu" and _spread(watched, "cpu_mhz_start", "cpu_mhz_end") > CPU_CLOCK_SPREAD
    ):
        found.append("clock_changed")
    if _of(watched, "steal_cores") - _tick_cores(seconds, cores) > STEAL_SHARE * cores:
        found.append("stolen")
    if _of(watched, "swapped_mb") > SWAPPED_MB:
        found.append("swapping")
    return found


def disturbances(conditions: Sequence[str] | None) -> list[str]:
    """Those of a record's ``conditions`` that a repeat might be rid of."""
    return [label for label in conditions or () if label in DISTURBANCES]


def _loaded(watched: Mapping[str, Any], seconds: float, device: str, cores: int) -> bool:
    share = OTHER_LOAD_SHARE if device == "cpu" else OTHER_LOAD_SHARE_BESIDE_A_CARD
    allowed = max(share * cores, OTHER_LOAD_LEAST)
    return _of(watched, "other_load_cores") - _tick_cores(seconds, cores) > allowed


def _tick_cores(seconds: float, cores: int) -> float:
    """Cores by which a load can be off, since each core's time is counted in steps."""
    return cores * TICK_S / seconds if seconds else float("inf")


def _of(watched: Mapping[str, Any], name: str) -> float:
    value = watched.get(name)
    return 0.0 if value is None else float(value)


def _spread(watched: Mapping[str, Any], one: str, other: str) -> float:
    values = [float(v) for name in (one, other) if (v := watched.get(name))]
    return 1 - min(values) / max(values) if len(values) == 2 else 0.0

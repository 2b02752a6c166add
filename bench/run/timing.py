"""Timing a pass under watch, again where it was disturbed and the scenario allows it."""

import time
from collections.abc import Callable
from typing import Any

from bench.cells import MeasureSettings
from bench.measure.conditions import disturbances
from bench.measure.latency import Latency, clock_for, measure_latency
from bench.measure.watch import Watch

_PAUSE_S = 1.0
"""Before a repeat, for what disturbed to pass, and for a hot device."""


def time_watched(
    run: Callable[[], object],
    *,
    device: str,
    settings: MeasureSettings,
    pass_s: float,
    budget_s: Callable[[], float],
) -> tuple[Latency, dict[str, Any]]:
    """Latency of ``run`` and what it was taken under, as record fields.

    Taken up to ``retry_disturbed`` times more while it is disturbed and there is time for as many
    passes as the scenario asks for at the least; kept is the first attempt of those with the
    fewest disturbances, whatever its times are. ``budget_s`` says how many seconds are left.
    """
    kept, under = _attempt(run, device=device, settings=settings, pass_s=pass_s, left=budget_s())
    attempts = 1
    while attempts <= settings.retry_disturbed and disturbances(under["conditions"]):
        passes = settings.min_repeats + settings.warmup
        if budget_s() < _PAUSE_S + passes * kept.median_ms / 1e3:
            break
        time.sleep(_PAUSE_S)
        attempts += 1
        latency, again = _attempt(
            run, device=device, settings=settings, pass_s=pass_s, left=budget_s()
        )
        if len(disturbances(again["conditions"])) < len(disturbances(under["conditions"])):
            kept, under = latency, again
    return kept, {**under, "attempts": attempts}


def _attempt(
    run: Callable[[], object],
    *,
    device: str,
    settings: MeasureSettings,
    pass_s: float,
    left: float,
) -> tuple[Latency, dict[str, Any]]:
    left = max(left, 0.0)
    with Watch(device) as watch:
        latency = measure_latency(
            run,
            clock=clock_for(device),
            # Large images have no time for every warm-up; the first pass was one already.
            warmup=min(settings.warmup, int(0.25 * left / pass_s)),
            min_repeats=settings.min_repeats,
            max_repeats=settings.max_repeats,
            target_ci=settings.target_ci,
            budget_s=left,
        )
    return latency, watch.fields

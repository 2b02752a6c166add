"""How long one call takes: a distribution of synchronised repeats, and back-to-back throughput."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple, Protocol

import torch

from bench.measure.statistics import median_interval, tukey_outliers


class Timing(NamedTuple):
    """Times of one call in milliseconds; ``device_ms`` by CUDA events, None on CPU."""

    wall_ms: float
    device_ms: float | None


class Clock(Protocol):
    """Times one call, synchronised before and after it."""

    def time(self, run: Callable[[], object]) -> Timing:
        """Call ``run`` once; what it returns is dropped at once."""
        ...


class CpuClock:
    """Wall time by ``perf_counter``; calls on the CPU return when they are done."""

    def time(self, run: Callable[[], object]) -> Timing:
        """Call ``run`` once."""
        begun = time.perf_counter()
        run()
        return Timing((time.perf_counter() - begun) * 1e3, None)


class CudaClock:
    """Device time by events around the call, wall time around call and synchronisation."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def time(self, run: Callable[[], object]) -> Timing:
        """Call ``run`` once, on the device's current stream."""
        with torch.cuda.device(self._device):
            start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            begun = time.perf_counter()
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            wall_ms = (time.perf_counter() - begun) * 1e3
            return Timing(wall_ms, start.elapsed_time(end))


def clock_for(device: str) -> Clock:
    """The clock of ``cpu``, ``cuda`` or ``cuda:N``."""
    return CudaClock(device) if device.startswith("cuda") else CpuClock()


@dataclass(frozen=True)
class Latency:
    """Repeated timings of one call, in milliseconds, in the order they were taken."""

    samples_ms: list[float]
    device_samples_ms: list[float] | None
    median_ms: float
    device_median_ms: float | None
    ci_low_ms: float | None
    """95 % interval of the median; None when there are too few samples for one."""
    ci_high_ms: float | None
    outliers: list[int]
    converged: bool
    """Whether the interval reached the target."""
    warmup: int
    """Untimed calls that were made: fewer than asked for when time ran short."""

    def record_fields(self) -> dict[str, Any]:
        """The fields of a record that this measurement fills."""
        return {
            "latency_ms": self.median_ms,
            "latency_ci_low_ms": self.ci_low_ms,
            "latency_ci_high_ms": self.ci_high_ms,
            "latency_samples_ms": self.samples_ms,
            "latency_outliers": self.outliers,
            "repeats": len(self.samples_ms),
            "warmup": self.warmup,
            "converged": self.converged,
            "device_latency_ms": self.device_median_ms,
            "device_samples_ms": self.device_samples_ms,
        }


def measure_latency(
    run: Callable[[], object],
    *,
    clock: Clock,
    warmup: int,
    min_repeats: int,
    max_repeats: int,
    target_ci: float,
    budget_s: float,
    now: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Repeat ``run`` until its median wall time is known well enough, or a limit is met.

    It stops when, after at least ``min_repeats`` samples, the half width of the 95 % interval of
    the median is at most ``target_ci`` (a fraction) of the median; at ``max_repeats`` samples; or
    when the next call, taken to last as long as the median call so far, would pass ``budget_s``
    seconds since the start, warm-up included. One sample is always taken, and warm-up gives way to
    it: no further warm-up call is made once it and the sample would not both fit.
    """
    if not 1 <= min_repeats <= max_repeats:
        raise ValueError(f"repeats must be 1 <= min <= max; got {min_repeats} and {max_repeats}")
    deadline = now() + budget_s
    warmed = _warm_up(run, clock=clock, calls=warmup, deadline=deadline, now=now)
    timings: list[Timing] = []
    while True:
        timings.append(clock.time(run))
        walls = [timing.wall_ms for timing in timings]
        converged = len(walls) >= min_repeats and _narrow_enough(walls, target_ci)
        over_budget = now() + median(walls) / 1e3 > deadline
        if converged or over_budget or len(walls) >= max_repeats:
            return _summary(timings, converged=converged, warmup=warmed)


def _warm_up(
    run: Callable[[], object],
    *,
    clock: Clock,
    calls: int,
    deadline: float,
    now: Callable[[], float],
) -> int:
    """Make up to ``calls`` untimed calls; returns how many were made."""
    for made in range(calls):
        last_s = clock.time(run).wall_ms / 1e3
        if now() + 2 * last_s > deadline:
            return made + 1
    return calls


def _narrow_enough(samples_ms: list[float], target_ci: float) -> bool:
    interval = median_interval(samples_ms)
    if interval is None:
        return False
    low, high = interval
    return (high - low) / 2 <= target_ci * median(samples_ms)


def _summary(timings: list[Timing], *, converged: bool, warmup: int) -> Latency:
    walls = [timing.wall_ms for timing in timings]
    devices = [timing.device_ms for timing in timings if timing.device_ms is not None]
    low, high = median_interval(walls) or (None, None)
    return Latency(
        samples_ms=walls,
        device_samples_ms=devices or None,
        median_ms=median(walls),
        device_median_ms=median(devices) if devices else None,
        ci_low_ms=low,
        ci_high_ms=high,
        outliers=tukey_outliers(walls),
        converged=converged,
        warmup=warmup,
    )


def throughput_seconds_per_call(run: Callable[[], object], *, device: str, repeats: int) -> float:
    """Mean seconds of a call when ``repeats`` calls are made back to back.

    On CUDA nothing is synchronised between the calls, only before the first and after the last, so
    the host prepares one call while the device works on another.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1; got {repeats}")
    _synchronise(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        run()
    _synchronise(device)
    return (time.perf_counter() - begun) / repeats


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)

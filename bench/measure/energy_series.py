"""Energy from readings of a counter or of a power meter: arithmetic only."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Series = Sequence[tuple[float, float]]
"""Times in seconds, ascending, and what was read then: joules so far, or watts."""


def advance(before: int, after: int, span: int) -> int:
    """By how much a counter has moved on that begins again at 0 after ``span - 1``.

    Right as long as it does not go round more than once between two readings.
    """
    return (after - before) % span


def counter_energy_j(series: Series, start: float, end: float) -> float:
    """Joules from ``start`` to ``end`` by a counter of joules that moves in steps.

    What it shows is right when it moves and late in between: between two moments at which it was
    seen to move it is taken to rise evenly.

    Raises:
        ValueError: the counter did not move, ran backwards, or was not read around that time.
    """
    moves = _moves(series)
    if len(moves) < 2:
        raise ValueError("the energy counter did not move")
    times, joules = _columns(moves)
    _require(times, start, end)
    if np.any(np.diff(joules) < 0):
        raise ValueError("the energy counter ran backwards")
    first, last = np.interp([start, end], times, joules)
    return float(last - first)


def power_energy_j(series: Series, start: float, end: float) -> float:
    """Joules from ``start`` to ``end``: the integral of power by the trapezoid rule.

    Power is taken to change evenly between two readings.

    Raises:
        ValueError: the readings do not enclose the time.
    """
    times, watts = _columns(series)
    _require(times, start, end)
    inside = (times > start) & (times < end)
    at = np.concatenate([[start], times[inside], [end]])
    power = np.interp(at, times, watts)
    return float(np.sum((power[1:] + power[:-1]) * np.diff(at)) / 2)


def update_period_s(series: Series) -> float | None:
    """Median time between two moments at which a reading changed; None for fewer than four."""
    times = [at for at, _ in _moves(series)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return median(gaps) if len(gaps) >= 3 else None


def relative_spread(values: Sequence[float]) -> float | None:
    """Largest less smallest, over the mean; None for fewer than two values or a mean of 0."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return (max(values) - min(values)) / mean if mean > 0 else None


def _moves(series: Series) -> list[tuple[float, float]]:
    """The readings that differ from the one before."""
    return [now for before, now in pairwise(series) if now[1] != before[1]]


def _columns(series: Series) -> tuple[Array, Array]:
    return np.array([at for at, _ in series]), np.array([value for _, value in series])


def _require(times: Array, start: float, end: float) -> None:
    if len(times) < 2 or times[0] > start or times[-1] < end or start >= end:
        raise ValueError("the meter was not read around the time that is asked for")

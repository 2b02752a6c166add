"""What two groups of processes say about a ratio: effect, interval, chance; and how many it takes.

A value is one process's, as a natural logarithm (of its median latency, say): passes within a
process are not independent, so they never count as a sample. All effects are log ratios, new over
base: 0 is no change, log 1.05 five per cent more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal

from scipy.special import stdtr, stdtrit  # scipy.stats would cost half a second

Design = Literal["separate", "alternating"]

LEAST_SPREAD = 0.002
"""Standard deviation below which that of a few processes is luck or a coarse clock."""
LEAST_SHARE = 0.7
"""A cell's spread is not taken for less than this share of the cells' median spread: processes that
agree far better than those of the other cells do so by chance."""
DRIFT_LEVEL = 0.05
"""Error of calling a slope over the rounds of a run a drift."""
MOST_REPEATS = 1000


@dataclass(frozen=True)
class Effect:
    """A log ratio and how well it is known."""

    value: float
    spread: float
    """Standard deviation of one process (alternating: of one difference)."""
    scale: float
    """Standard error over ``spread``: sqrt(1/n + 1/m), alternating sqrt(1/n)."""
    df: float
    """Degrees of freedom of the t distribution."""
    design: Design
    drift: float = 0.0
    """What a drift of the machine may have added or taken, at most; not below 0."""

    @property
    def error(self) -> float:
        """Standard error of ``value``."""
        return self.spread * self.scale

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided interval of the true log ratio, widened by the drift."""
        half = float(stdtrit(self.df, (1 + confidence) / 2)) * self.error + self.drift
        return self.value - half, self.value + half

    def chance_of_no_increase(self) -> float:
        """One-sided p-value: how probable such an increase is where there is none."""
        return float(stdtr(self.df, -(self.value - self.drift) / self.error))

    def chance_of_no_decrease(self) -> float:
        """As :meth:`chance_of_no_increase`, for a decrease."""
        return float(stdtr(self.df, (self.value + self.drift) / self.error))


def separate(base: Sequence[float], new: Sequence[float]) -> Effect:
    """Effect of two runs made one after the other; at least 2 values a side.

    Welch's degrees of freedom (Welch 1947) and the larger of his standard error and the pooled one.
    They are equal for equal numbers; with few values against many, the few agree by chance now and
    then, and Welch's own error then is far too small.
    """
    n, m = len(base), len(new)
    if min(n, m) < 2:
        raise ValueError(f"at least 2 values a side are needed; got {n} and {m}")
    variances = _variance(base), _variance(new)
    parts = variances[0] / n, variances[1] / m
    pooled = ((n - 1) * variances[0] + (m - 1) * variances[1]) / (n + m - 2)
    scale = math.sqrt(1 / n + 1 / m)
    error = max(math.sqrt(sum(parts)), math.sqrt(pooled) * scale)
    df = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
    return Effect(fmean(new) - fmean(base), error / scale, scale, df, "separate")


def alternating(base: Sequence[float], new: Sequence[float]) -> Effect:
    """Effect of two runs whose processes took turns: of the differences within each turn.

    At least 2 turns, as many values a side. What the machine did to both of a turn cancels.
    """
    differences = [after - before for before, after in zip(base, new, strict=True)]
    n = len(differences)
    if n < 2:
        raise ValueError(f"at least 2 turns are needed; got {n}")
    spread = math.sqrt(_variance(differences))
    return Effect(fmean(differences), spread, math.sqrt(1 / n), n - 1, "alternating")


def _variance(values: Sequence[float]) -> float:
    mean = fmean(values)
    found = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return max(found, LEAST_SPREAD**2)


def with_shared_spread(effects: Sequence[Effect]) -> list[Effect]:
    """Effects of several cells of one comparison; none has far less spread than the others."""
    if not effects:
        return []
    least = LEAST_SHARE * median(effect.spread for effect in effects)
    return [replace(effect, spread=max(effect.spread, least)) for effect in effects]


def drift_per_round(base: Sequence[Sequence[float]], new: Sequence[Sequence[float]]) -> float:
    """How fast the machine's speed changed, log ratio a round; 0 if that may be luck.

    The slope's size and its standard error together, as it is to bound what the drift did. A line
    is fitted to the rounds of both sides, with one slope and an intercept for each side, to means
    over the cells of what is left when a cell's own mean is taken off; quiet cells count for more,
    by the inverse of their variance.

    Args:
        base: values of each cell in the order of the rounds; cells with fewer rounds than others
            count as far as they go.
        new: as ``base``.
    """
    rounds: list[tuple[float, float]] = []
    intercepts = 0
    for side in (base, new):
        series = _common([values for values in side if len(values) > 1])
        if series:
            intercepts += 1
            middle, level = (len(series) - 1) / 2, fmean(series)
            rounds += [(turn - middle, rest - level) for turn, rest in enumerate(series)]
    df = len(rounds) - intercepts - 1
    if df < 1:
        return 0.0
    squares = sum(turn**2 for turn, _ in rounds)
    slope = sum(turn * rest for turn, rest in rounds) / squares
    error = math.sqrt(sum((rest - slope * turn) ** 2 for turn, rest in rounds) / df / squares)
    if not slope or (error and 2 * stdtr(df, -abs(slope) / error) > DRIFT_LEVEL):
        return 0.0
    return abs(slope) + error


def _common(cells: Sequence[Sequence[float]]) -> list[float]:
    """What the cells' values have in common in each round, their own means taken off."""
    weights = [1 / _variance(values) for values in cells]
    means = [fmean(values) for values in cells]
    series = []
    for turn in range(max(map(len, cells), default=0)):
        there = [place for place, values in enumerate(cells) if turn < len(values)]
        rests = [cells[place][turn] - means[place] for place in there]
        series.append(fmean(rests, [weights[place] for place in there]))
    return series


def holm(chances: Sequence[float]) -> list[float]:
    """P-values of several tests, so that the chance of *any* false one is kept (Holm 1979)."""
    adjusted = [1.0] * len(chances)
    worst = 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        worst = max(worst, min(1.0, chances[place] * (len(chances) - rank)))
        adjusted[place] = worst
    return adjusted


def repeats_needed(effect: Effect, distance: float, chance: float) -> int | None:
    """Processes a side after which an interval no longer reaches over ``distance``.

    Provided that effect and spread stay what they are. The half width meant is the one-sided
    ``1 - chance`` quantile times the standard error.

    Returns:
        At least 3; None if more than 1000 would not do, or a drift alone reaches that far.
    """
    room = abs(distance) - effect.drift

    def enough(count: int) -> bool:
        each = math.sqrt((1 if effect.design == "alternating" else 2) / count)
        df = count - 1 if effect.design == "alternating" else 2 * (count - 1)
        return float(stdtrit(df, 1 - chance)) * effect.spread * each <= room

    if room <= 0 or not enough(MOST_REPEATS):
        return None
    low, high = 2, MOST_REPEATS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high

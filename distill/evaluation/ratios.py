"""Ratios of two models' losses on the same pairs: geometric means, and how sure they are.

A ratio of means is ruled by the few pairs whose loss is large whatever the model. Here every pair
counts alike: its own ratio, of which the geometric mean is taken, so that half and double cancel.

Pairs are not independent. They are photographs crossed with styles, and those that share one share
what makes it easy or hard. The unit of the interval is therefore the photograph *and* the style:
the variance of the mean logarithm is estimated with both as clusters (Cameron, Gelbach and Miller,
"Robust inference with multiway clustering", 2011), and Student's t has as many degrees of freedom
as the rarer of the two less one. Where there is one style only, the interval speaks of photographs.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

CONFIDENCE = 0.95
_LEAST_FREEDOM = 2
"""Degrees of freedom below which an interval says nothing: two styles do not tell of others."""
INTERVAL_WORDS = "with photographs and styles as clusters"
"""For a note beneath a figure or a table."""


@dataclass(frozen=True)
class PairedRatio:
    """A ratio over pairs of images."""

    value: float
    """Geometric mean of the pairs' ratios; NaN without a pair."""
    low: float
    """Of the 95 % interval, as ``high``; NaN where there are two of either, photographs or styles,
    or one of both."""
    high: float
    pairs: int
    """How many have both values above zero: others have no ratio."""


def paired_ratio(
    ours: Sequence[float],
    theirs: Sequence[float],
    contents: Sequence[Hashable],
    styles: Sequence[Hashable],
) -> PairedRatio:
    """Return the geometric mean of ``ours / theirs`` over pairs, with its 95 % interval.

    Args:
        ours: a model's values, of n pairs; only those above zero and finite count.
        theirs: the other model's, of the same pairs.
        contents: which photograph each pair has.
        styles: which style each pair has.
    """
    kept = [
        (math.log(a) - math.log(b), content, style)
        for a, b, content, style in zip(ours, theirs, contents, styles, strict=True)
        if 0 < a < math.inf and 0 < b < math.inf
    ]
    if not kept:
        return PairedRatio(math.nan, math.nan, math.nan, 0)
    logs = np.array([value for value, _, _ in kept])
    mean = float(logs.mean())
    half = _half_width(
        logs - mean,
        [_places([content for _, content, _ in kept]), _places([style for _, _, style in kept])],
    )
    low, high = (math.nan, math.nan) if half is None else (mean - half, mean + half)
    return PairedRatio(math.exp(mean), math.exp(low), math.exp(high), len(kept))


def _half_width(
    off: npt.NDArray[np.float64], clusterings: Sequence[npt.NDArray[np.int64]]
) -> float | None:
    """Half of the interval of a mean; None where there are too few to tell.

    Args:
        off: (n,) deviations from the mean.
        clusterings: which photograph, and which style, each of the n has, from 0.
    """
    several = [places for places in clusterings if places.max() > 0]
    if not several:
        return None
    each = _variance(off, np.arange(len(off)))
    found = [_variance(off, places) for places in several]
    # What two pairs share as one pair is counted in both. The sum may fall below its parts by
    # chance, and is then too small.
    variance = max(each, *found, sum(found) - each * (len(found) - 1))
    freedom = min(int(places.max()) for places in several)
    if freedom < _LEAST_FREEDOM:
        return None
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)


def _variance(off: npt.NDArray[np.float64], places: npt.NDArray[np.int64]) -> float:
    """Of the mean, if what shares a cluster may go together."""
    sums = np.bincount(places, weights=off)
    return float(len(sums) / (len(sums) - 1) * np.sum(sums**2) / len(off) ** 2)


def _places(names: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    known = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([known[name] for name in names])

"""Intervals of means and of ratios of means, resampling image pairs."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 1999
LEAST_PAIRS = 3
"""Pairs below which there is no interval: resampling two says nothing."""


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of a mean; None for too few values."""
    return ratio_interval(values, [1.0] * len(values))


def ratio_interval(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of mean(ours) / mean(theirs), of the same pairs.

    None for fewer than three pairs, or where a mean of ``theirs`` may be zero.
    """
    if len(ours) < LEAST_PAIRS or min(theirs) <= 0:
        return None
    drawn = np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))
    ratios = np.asarray(ours)[drawn].mean(axis=1) / np.asarray(theirs)[drawn].mean(axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)

"""Intervals of means, resampling image pairs."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 1999
LEAST_PAIRS = 3
"""Pairs below which there is no interval: resampling two says nothing."""


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of a mean; None for too few values."""
    if len(values) < LEAST_PAIRS:
        return None
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(np.asarray(values)[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)

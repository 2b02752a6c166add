"""Statistics of repeated measurements that assume nothing about their distribution."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import bdtr  # scipy.stats would cost each worker half a second


def median_interval(
    samples: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Confidence interval of the population's median, from order statistics.

    The number of samples below the median is binomial(n, 1/2), whatever the distribution, so the
    k-th smallest and the k-th largest sample enclose the median with probability
    ``1 - 2 P(B <= k - 1)`` (David and Nagaraja, Order Statistics, 3rd ed., section 7.1). The
    largest k that still keeps ``confidence`` is taken, so the coverage is at least that.

    ``confidence`` lies strictly between 0 and 1. None when even the extremes do not reach it: below
    6 samples at 95 %.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1; got {confidence}")
    rank = _lower_rank(len(samples), confidence)
    if rank < 1:
        return None
    ordered = sorted(samples)
    return float(ordered[rank - 1]), float(ordered[-rank])


@lru_cache(maxsize=4096)
def _lower_rank(count: int, confidence: float) -> int:
    """Rank, from 1, of the interval's lower end; 0 when there is none.

    Cached because the timing loop asks after each call, and work between calls lets a GPU idle.
    """
    if not count:
        return 0
    distribution = bdtr(np.arange(count + 1), count, 0.5)
    return int(np.searchsorted(distribution, (1 - confidence) / 2))


def tukey_outliers(samples: Sequence[float]) -> list[int]:
    """Positions of the samples beyond Tukey's outer fences, in ascending order.

    The outer fences lie three interquartile ranges below the lower and above the upper quartile
    (Tukey, Exploratory Data Analysis, 1977).
    """
    if not samples:
        return []
    values = np.asarray(samples, dtype=float)
    lower, upper = np.percentile(values, [25, 75])
    reach = 3 * (upper - lower)
    beyond = (values < lower - reach) | (values > upper + reach)
    return [int(position) for position in np.flatnonzero(beyond)]

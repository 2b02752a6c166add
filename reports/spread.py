"""How sure a mean over image pairs is."""

import math
from collections.abc import Sequence

from scipy.special import stdtrit


def half_width(values: Sequence[float]) -> float | None:
    """Half of the 95 % interval of a mean, by Student's t; None for fewer than two finite values.

    The values are taken as independent. Pairs that share a content or a style are not quite, so it
    is a lower bound.
    """
    spread = deviation(values)
    if spread is None:
        return None
    return float(stdtrit(len(values) - 1, 0.975)) * spread / math.sqrt(len(values))


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation (n - 1); None for fewer than two finite values."""
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))

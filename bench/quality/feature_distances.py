"""Distances of two sets of features (N, D): order-free, stable for small sets.

Features are computed on in float64, whatever they come in: the terms of a distance nearly cancel
where the sets are alike.
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

from bench.quality.set_metrics import (
    KERNEL_SUBSET_SIZE,
    KERNEL_SUBSETS,
    NEIGHBOURS,
    SCORE_SPLIT_SIZE,
    SCORE_SPLITS,
)

_BLOCK = 1024
"""Rows of a kernel matrix that are held at once."""


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to two sets: |m1-m2|^2 + tr(S1 + S2 - 2(S1 S2)^.5).

    Source: Dowson and Landau 1982; Heusel et al. 2017. Covariances are divided by n - 1.

    The trace of the root is taken as the sum of the singular values of A B^T, where S1 = A^T A and
    S2 = B^T B for the centred, scaled features A and B. The nonzero eigenvalues of S1 S2 are the
    squares of these singular values, so nothing is approximated; and where n < D, so that both
    covariances are singular, the result stays real and no root is taken of rounding errors. (The
    usual roots of the eigenvalues of S1 S2 turn each of them into its root there.)

    Args:
        first: (N, D), N at least 2.
        second: (M, D), M at least 2.

    Returns:
        0 (same mean and covariance) upwards.

    Raises:
        ValueError: for shapes that do not fit, fewer than two rows or values that are not finite.
    """
    _check(first, second, least=2)
    (mean1, factor1), (mean2, factor2) = _gaussian(first), _gaussian(second)
    root = torch.linalg.svdvals(factor1 @ factor2.T).sum()
    spread = factor1.square().sum() + factor2.square().sum() - 2 * root
    # In exact arithmetic never below 0.
    return float((mean1 - mean2).square().sum() + spread.clamp(min=0))


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,), and a factor F of at most D rows with F^T F = the covariance, in float64."""
    values = features.to("cpu", torch.float64)
    mean = values.mean(0)
    factor = (values - mean) / math.sqrt(len(values) - 1)
    if len(factor) > factor.shape[1]:
        factor = torch.linalg.qr(factor, mode="r").R
    return mean, factor


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance with the 95 % interval of its expectation, and how it was sampled."""

    value: float
    low: float | None
    high: float | None
    subset_size: int
    subsets: int


def kernel_distance(first: Tensor, second: Tensor) -> KernelDistance:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, unbiased.

    Source: Binkowski et al. 2018. The value is torch-fidelity's: the mean over subsets, here no
    larger than the smaller set (torch-fidelity's own 1000 raises for less). The estimate is
    unbiased for every subset size, so values of unlike sizes can be compared; it can be negative.
    When both sets have the size of a subset there is only one, the whole.

    The interval is the value plus or minus Student's 97.5 % point (of the smaller set's size less
    1) times the two-sample jackknife's standard error of the estimate over the whole sets (Arvesen
    1969), which errs on the wide side where the distributions are the same. torch-fidelity's own
    spread is that between overlapping subsets: it shrinks to 0 as the subset grows to the set, and
    says nothing about other images. Images are taken as independent of each other.

    Args:
        first: (N, D), N at least 2.
        second: (M, D), M at least 2.

    Returns:
        The distance; no interval for fewer than 3 rows.

    Raises:
        ValueError: for shapes that do not fit, fewer than two rows or values that are not finite.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    _check(first, second, least=2)
    first, second = (x.to("cpu", torch.float64) for x in (first, second))
    smaller = min(len(first), len(second))
    size = min(KERNEL_SUBSET_SIZE, smaller)
    subsets = 1 if size == len(first) == len(second) else KERNEL_SUBSETS
    found = kid_features_to_metric(
        first, second, kid_subsets=subsets, kid_subset_size=size, verbose=False
    )
    value = float(found[KEY_METRIC_KID_MEAN])
    if smaller < 3:
        return KernelDistance(value, None, None, size, subsets)
    half = float(student.ppf(0.975, smaller - 1)) * _jackknife_error(first, second)
    return KernelDistance(value, value - half, value + half, size, subsets)


def _jackknife_error(first: Tensor, second: Tensor) -> float:
    """Standard error of the unbiased MMD^2 over whole sets, leaving out one row at a time."""
    n, m = len(first), len(second)
    within1, within2 = _kernel_sums(first, first), _kernel_sums(second, second)
    across1, across2 = _kernel_sums(first, second), _kernel_sums(second, first)
    # A row's kernel with itself is left out of the unbiased estimate.
    within1 -= _diagonal(first)
    within2 -= _diagonal(second)
    whole1, whole2 = within1.sum() / (n * (n - 1)), within2.sum() / (m * (m - 1))
    total = across1.sum()

    def left_out(within: Tensor, across: Tensor, size: int, other: int) -> Tensor:
        own = (within.sum() - 2 * within) / ((size - 1) * (size - 2))
        return own - 2 * (total - across) / ((size - 1) * other)

    variance = torch.zeros((), dtype=torch.float64)
    for values, size in (
        (left_out(within1, across1, n, m) + whole2, n),
        (left_out(within2, across2, m, n) + whole1, m),
    ):
        variance += (size - 1) / size * (values - values.mean()).square().sum()
    return float(variance.sqrt())


def _kernel_sums(rows: Tensor, columns: Tensor) -> Tensor:
    """Sum of the kernel of each of ``rows`` with all ``columns``, in bounded memory."""
    blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
    return torch.cat([(b @ columns.T / rows.shape[1] + 1).pow(3).sum(1) for b in blocks])


def _diagonal(rows: Tensor) -> Tensor:
    return (rows.square().sum(1) / rows.shape[1] + 1).pow(3)


def inception_score(logits: Tensor) -> tuple[float, float | None, float | None, int]:
    """Inception score: exp of the mean divergence of the classes of an image from those of all.

    Source: Salimans et al. 2016, by torch-fidelity. The mean over splits of at least 1000 images
    each, 10 splits at most and 1 at least, with the 95 % interval of that mean by Student's
    distribution.

    Args:
        logits: (N, classes), N at least 1.

    Returns:
        value (1 upwards), low and high (None for a single split), and the number of splits.
    """
    from torch_fidelity.metric_isc import (
        KEY_METRIC_ISC_MEAN,
        KEY_METRIC_ISC_STD,
        isc_features_to_metric,
    )

    splits = max(1, min(SCORE_SPLITS, len(logits) // SCORE_SPLIT_SIZE))
    found = isc_features_to_metric(logits.cpu(), splits=splits)
    value = float(found[KEY_METRIC_ISC_MEAN])
    if splits == 1:
        return value, None, None, splits
    # torch-fidelity's deviation divides by the number of splits, the error of a mean by one less.
    error = float(found[KEY_METRIC_ISC_STD]) / math.sqrt(splits - 1)
    half = float(student.ppf(0.975, splits - 1)) * error
    return value, value - half, value + half, splits


def precision_recall(outputs: Tensor, styles: Tensor) -> tuple[float, float]:
    """Share of outputs among the styles' neighbourhoods, and of styles among the outputs'.

    Source: Kynkäänniemi et al. 2019, by torch-fidelity: a neighbourhood is a ball round a feature
    that reaches its third nearest fellow.

    Args:
        outputs: (N, D), N at least 4.
        styles: (M, D), M at least 4.

    Returns:
        precision and recall, 0 to 1.

    Raises:
        ValueError: for shapes that do not fit, too few rows or values that are not finite.
    """
    from torch_fidelity.metric_prc import (
        KEY_METRIC_PRECISION,
        KEY_METRIC_RECALL,
        prc_features_to_metric,
    )

    _check(outputs, styles, least=NEIGHBOURS + 1)
    found = prc_features_to_metric(
        outputs.to("cpu", torch.float64),
        styles.to("cpu", torch.float64),
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=_BLOCK,
        save_cpu_ram=True,
        verbose=False,
    )
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])


def _check(first: Tensor, second: Tensor, *, least: int) -> None:
    if first.dim() != 2 or second.dim() != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"two sets of features are (N, D) and (M, D); got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    if min(len(first), len(second)) < least:
        raise ValueError(f"at least {least} rows are needed; got {len(first)} and {len(second)}")
    if not bool(first.isfinite().all() and second.isfinite().all()):
        raise ValueError("the features hold values that are not finite numbers")

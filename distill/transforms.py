"""Feature statistics that accumulate, and the channel-affine maps that match them.

Both universal transforms used here are affine in the channels, ``y = A x + b`` for every pixel:
whitening and colouring (Li et al. 2017) with a full matrix, AdaIN (Huang and Belongie 2017) with a
diagonal one. Statistics are accumulated over pieces of an image by the pairwise update of Chan,
Golub and LeVeque (1983): products of pixels in float32, everything of size C or C x C in float64.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_CHUNK = {"cpu": 1 << 21, "cuda": 1 << 24}
"""Elements that are worked on at a time: what stays in a CPU's cache, what keeps a GPU busy."""

WHITENING_CUTOFF = 1e-5
"""Eigenvalues of a covariance below this are treated as absent directions.

Trained students have channels that never fire, so content covariances are rank-deficient; this
value reproduces the paper's own outputs (which use none, in float64) in float32.
"""

ADAIN_EPSILON = 1e-5
"""Added to variances before the root, as in the authors' code."""


class FeatureStats:
    """Count, mean and covariance of channels, accumulated piece by piece, exactly.

    The order of the pieces does not matter but for rounding in float64, as long as lines stay
    whole.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self.scatter = torch.zeros(channels, channels, dtype=torch.float64)
        """Sum of outer products of centred features, (C, C)."""

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """Statistics of one map of features (1, C, H, W), of any floating dtype and device."""
        stats = cls(features.shape[1])
        stats.update(features)
        return stats

    def update(self, features: Tensor) -> None:
        """Add the pixels of a map of features (1, C, H, W).

        Each line is centred by its own mean, so that nothing is lost to cancellation, and extended
        by ones: one float32 product gives its scatter and what rounding left of its sums. Those and
        the means are summed in float64. So the result is as good as lines are short, and the same
        however an image is cut into bands.

        Raises:
            ValueError: for a batch of several maps.
        """
        if features.dim() != 4 or len(features) != 1:
            raise ValueError(f"features are (1, C, H, W); got {tuple(features.shape)}")
        _, channels, height, width = features.shape
        lines = features[0].permute(1, 2, 0)
        per_line = (width + channels) * (channels + 1)
        step = min(height, max(1, _CHUNK.get(features.device.type, 1 << 21) // per_line))
        # Channels last or lines apart, as they lie in memory: the centred copy is then a plain one.
        last = features.is_contiguous(memory_format=torch.channels_last)
        shape = (step, width, channels + 1) if last else (step, channels + 1, width)
        extended = torch.ones(shape, dtype=torch.float32, device=features.device)
        extended = extended if last else extended.transpose(1, 2)
        scatter = torch.zeros_like(self.scatter, device=features.device)
        means, left = lines.mean(1, dtype=torch.float32), []
        for start in range(0, height, step):
            chunk = lines[start : start + step]
            centred = extended[: len(chunk)]
            torch.sub(chunk, means[start : start + step, None], out=centred[:, :, :channels])
            products = torch.bmm(centred.transpose(1, 2), centred)
            scatter += products[:, :channels, :channels].sum(0, dtype=torch.float64)
            left.append(products[:, channels, :channels].double())
        drift = torch.cat(left) / width
        line_means = means.double() + drift
        mean = line_means.mean(0)
        between = line_means - mean
        scatter += width * (between.T @ between - drift.T @ drift)
        self._merge(height * width, mean.cpu(), scatter.cpu())

    def _merge(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if count == 0:
            return
        total = self.count + count
        delta = mean - self.mean
        self.scatter += scatter + torch.outer(delta, delta) * (self.count * count / total)
        self.mean += delta * (count / total)
        self.count = total

    def merge(self, other: "FeatureStats") -> None:
        """Add what another accumulated."""
        self._merge(other.count, other.mean, other.scatter)

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance (C, C), float64; zero for a single pixel."""
        return self.scatter / max(1, self.count - 1)

    @property
    def variance(self) -> Tensor:
        """Unbiased variance (C,), float64; zero for a single pixel."""
        return self.covariance.diagonal()


@dataclass(frozen=True)
class ChannelAffine:
    """``y = matrix @ x + offset`` for every pixel; float64, on the CPU."""

    matrix: Tensor
    """(C, C)"""
    offset: Tensor
    """(C,)"""

    def blend(self, alpha: float) -> "ChannelAffine":
        """``alpha`` of the map and ``1 - alpha`` of the identity; 0 leaves features as they are.

        Raises:
            ValueError: for an alpha outside 0..1.
        """
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be between 0 and 1; got {alpha!r}")
        identity = torch.eye(len(self.offset), dtype=self.matrix.dtype)
        return ChannelAffine(alpha * self.matrix + (1 - alpha) * identity, alpha * self.offset)

    def after(self, first: "ChannelAffine") -> "ChannelAffine":
        """The map that does ``first``, then this one."""
        return ChannelAffine(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)

    def __call__(self, features: Tensor) -> Tensor:
        """Apply to (N, C, H, W). Executors fold the map into the next convolution instead."""
        matrix, offset = self.matrix.to(features), self.offset.to(features)
        mapped: Tensor = torch.einsum("oc,nchw->nohw", matrix, features)
        mapped += offset[:, None, None]
        return mapped


def _settle(values: Tensor) -> Tensor:
    """Round to 32 bits below the largest value.

    Whitening amplifies rounding by hundreds, and a cascade does so stage after stage: sums that
    differ in their last bit, because an image came in other bands, would show in the fifth digit of
    the result. On a grid that is coarse against float64 and fine against what the float32 features
    carry, they are the same.
    """
    largest = values.abs().max()
    if not 0 < largest < torch.inf:
        return values
    grid = torch.exp2(torch.floor(torch.log2(largest)) - 32)
    return (values / grid).round() * grid


def _root(covariance: Tensor, cutoff: float, power: float) -> Tensor:
    covariance = _settle(covariance)
    values, vectors = torch.linalg.eigh(covariance)
    scaled = torch.where(values > cutoff, values.clamp_min(cutoff) ** power, 0.0)
    root: Tensor = (vectors * scaled) @ vectors.T
    return root


def whiten(content: FeatureStats, *, cutoff: float = WHITENING_CUTOFF) -> ChannelAffine:
    """Features to zero mean and identity covariance (on the kept subspace), by ZCA.

    Args:
        content: statistics of the features that the map will be applied to.
        cutoff: eigenvalues at or below it count as absent, exact zeros included; no ridge is
            added to the covariance.
    """
    matrix = _root(content.covariance, cutoff, -0.5)
    return ChannelAffine(matrix, -(matrix @ _settle(content.mean)))


def color(style: FeatureStats, *, cutoff: float = WHITENING_CUTOFF) -> ChannelAffine:
    """White features to the style's mean and covariance, by the symmetric square root."""
    return ChannelAffine(_root(style.covariance, cutoff, 0.5), style.mean)


def whiten_color(
    content: FeatureStats, style: FeatureStats, *, cutoff: float = WHITENING_CUTOFF
) -> ChannelAffine:
    """Whitening and colouring (Li et al. 2017): the content's covariance becomes the style's."""
    return color(style, cutoff=cutoff).after(whiten(content, cutoff=cutoff))


def standardize(content: FeatureStats, *, epsilon: float = ADAIN_EPSILON) -> ChannelAffine:
    """Each channel to zero mean and unit deviation."""
    scale = (content.variance + epsilon).rsqrt()
    return ChannelAffine(scale.diag(), -scale * content.mean)


def rescale(style: FeatureStats, *, epsilon: float = ADAIN_EPSILON) -> ChannelAffine:
    """Standardised channels to the style's means and deviations."""
    return ChannelAffine((style.variance + epsilon).sqrt().diag(), style.mean)


def adain(
    content: FeatureStats, style: FeatureStats, *, epsilon: float = ADAIN_EPSILON
) -> ChannelAffine:
    """Adaptive instance normalisation: each channel's mean and deviation become the style's."""
    return rescale(style, epsilon=epsilon).after(standardize(content, epsilon=epsilon))

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

_CHUNK = {"cpu": 1 << 20, "cuda": 1 << 24}
"""Elements that are worked on at a time: what stays in a CPU's cache, what keeps a GPU busy."""

WHITENING_CUTOFF = 1e-5
"""Eigenvalues of a covariance below this are treated as absent directions.

Trained students have channels that never fire, so content covariances are rank-deficient; this
value reproduces the paper's own outputs (which use none, in float64) in float32.
"""

ADAIN_EPSILON = 1e-5
"""Added to variances before the root, as in the authors' code."""


class FeatureStats:
    """Accumulate count, mean and covariance of channels, line by line.

    Lines of one width are gathered into blocks, and a block is worked off when it is full. How high
    a block is depends on the width and the channels alone, so the same calls are made with the same
    numbers however an image is cut into bands: the result is the same to the last bit, whichever
    kernels the libraries choose for a shape. Reading a statistic works off the block that has
    begun.

    Pieces in another order, or cut vertically, give the same but for the rounding of products in
    float32.
    """

    def __init__(self, channels: int, *, lines: int | None = None) -> None:
        """Begin with nothing.

        Args:
            channels: of the features.
            lines: of the map in all, where that is known: a block then takes no more memory than
                they need.
        """
        self._count = 0
        # Statistics may be updated in inference mode and read outside, which would work the last
        # lines off: tensors that are changed in place are no inference tensors.
        with torch.inference_mode(False):
            self._mean = torch.zeros(channels, dtype=torch.float64)
            self._scatter = torch.zeros(channels, channels, dtype=torch.float64)
        self._lines = lines
        self._block: _Block | None = None

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """Statistics of one map of features (1, C, H, W), of any floating dtype and device."""
        stats = cls(features.shape[1], lines=features.shape[2])
        stats.update(features)
        stats._finish()
        return stats

    @property
    def count(self) -> int:
        """Pixels so far."""
        self._finish()
        return self._count

    @property
    def mean(self) -> Tensor:
        """Mean of each channel (C,), float64, on the CPU."""
        self._finish()
        return self._mean.to("cpu", copy=True)

    @property
    def scatter(self) -> Tensor:
        """Sum of outer products of centred features (C, C), float64, on the CPU."""
        self._finish()
        return self._scatter.to("cpu", copy=True)

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Add the pixels of a map of features (1, C, H, W).

        Each line is centred by its own mean, so that nothing is lost to cancellation. Its products
        are float32 (float64 for float64 features); means, and sums over lines, are float64.

        Raises:
            ValueError: for a batch of several maps, or another number of channels.
        """
        channels = len(self._mean)
        if features.dim() != 4 or features.shape[:2] != (1, channels):
            raise ValueError(
                f"features are (1, C, H, W) of {channels} channels; got {tuple(features.shape)}"
            )
        if not features.numel():
            return
        if self._block is None or not self._block.takes(features):
            self._finish()
            with torch.inference_mode(False):
                self._block = _Block(features, self._lines)
                self._mean = self._mean.to(features.device)
                self._scatter = self._scatter.to(features.device)
        lines = features[0].permute(1, 2, 0)
        while len(lines):
            lines = lines[self._block.fill(lines) :]
            if self._block.full:
                self._merge(*self._block.work_off())

    @torch.no_grad()
    def _finish(self) -> None:
        """Work off the lines that wait, and free the block."""
        block, self._block = self._block, None
        if block is not None and block.filled:
            self._merge(*block.work_off())

    def _merge(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if count == 0:
            return
        total = self._count + count
        delta = mean - self._mean
        self._scatter += scatter.addr_(delta, delta, alpha=self._count * count / total)
        self._mean += delta * (count / total)
        self._count = total

    def merge(self, other: "FeatureStats") -> None:
        """Add what another accumulated."""
        self._finish()
        device = self._mean.device
        self._merge(other.count, other.mean.to(device), other.scatter.to(device))

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance (C, C), float64; zero for a single pixel."""
        return self.scatter / max(1, self.count - 1)

    @property
    def variance(self) -> Tensor:
        """Unbiased variance (C,), float64; zero for a single pixel."""
        return self.covariance.diagonal()


class _Block:
    """Lines of one width that wait for being worked off together."""

    def __init__(self, features: Tensor, lines: int | None) -> None:
        """Make an empty block for lines of the width, type and device of ``features``."""
        _, self._channels, _, self._width = features.shape
        self._device = features.device
        self._dtype = torch.promote_types(features.dtype, torch.float32)
        # Lines lie as those of the features do, channels last or apart: to copy them is quick.
        # Bands that follow may lie otherwise; that costs time and changes nothing.
        last = 1 in (self._channels, self._width) or features.stride(1) < features.stride(3)
        per_line = (self._width + self._channels) * (self._channels + 1)
        most = max(1, _CHUNK.get(self._device.type, _CHUNK["cpu"]) // per_line)
        shape = (self._width, self._channels + 1)
        room = (most if lines is None else min(most, lines), *(shape if last else shape[::-1]))
        # (lines, W, C + 1): extended by ones, one product gives the scatter and what rounding left
        # of the sums.
        self._lines = torch.ones(room, dtype=self._dtype, device=self._device)
        self._lines = self._lines if last else self._lines.transpose(1, 2)
        self.filled = 0

    def takes(self, features: Tensor) -> bool:
        """Whether lines of a map belong into this block."""
        dtype = torch.promote_types(features.dtype, torch.float32)
        theirs = (features.shape[3], dtype, features.device)
        return theirs == (self._width, self._dtype, self._device)

    @property
    def full(self) -> bool:
        """Whether no further line has room."""
        return self.filled == len(self._lines)

    def fill(self, lines: Tensor) -> int:
        """Take of lines (H, W, C) as many as have room, and return how many these are."""
        first, end = self.filled, min(self.filled + len(lines), len(self._lines))
        self._lines[first:end, :, : self._channels] = lines[: end - first]
        self.filled = end
        return end - first

    def work_off(self) -> tuple[int, Tensor, Tensor]:
        """Count, mean (C,) and scatter (C, C) of the lines, float64; the block is empty then."""
        lines = self._lines[: self.filled]
        self.filled = 0
        features = lines[:, :, : self._channels]
        means = features.mean(1)
        features -= means[:, None]
        products = torch.bmm(lines.transpose(1, 2), lines)
        scatter = products[:, :-1, :-1].sum(0, dtype=torch.float64)
        drift = products[:, -1, :-1].double() / self._width
        line_means = means.double() + drift
        mean = line_means.mean(0)
        between = line_means - mean
        scatter.addmm_(between.T, between, alpha=self._width)
        scatter.addmm_(drift.T, drift, alpha=-self._width)
        return len(lines) * self._width, mean, scatter


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


def _root(covariance: Tensor, cutoff: float, power: float, ridge: float) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    values = values + ridge * covariance.diagonal().mean()
    scaled = torch.where(values > cutoff, values.clamp_min(cutoff) ** power, 0.0)
    root: Tensor = (vectors * scaled) @ vectors.T
    return root


def whiten(
    content: FeatureStats, *, cutoff: float = WHITENING_CUTOFF, ridge: float = 0.0
) -> ChannelAffine:
    """Features to zero mean and identity covariance (on the kept subspace), by ZCA.

    Args:
        content: statistics of the features that the map will be applied to.
        cutoff: eigenvalues at or below it count as absent, exact zeros included.
        ridge: added to every eigenvalue, as a part of their mean. An image has too few positions
            to tell hundreds of channels apart: without a ridge, what is all but absent from the
            content is amplified to the strength of what it shows.
    """
    matrix = _root(content.covariance, cutoff, -0.5, ridge)
    return ChannelAffine(matrix, -(matrix @ content.mean))


def color(
    style: FeatureStats, *, cutoff: float = WHITENING_CUTOFF, ridge: float = 0.0
) -> ChannelAffine:
    """White features to the style's mean and covariance, by the symmetric square root.

    With the ``ridge`` that the content was whitened with, an image in its own style stays as it is.
    """
    return ChannelAffine(_root(style.covariance, cutoff, 0.5, ridge), style.mean)


def whiten_color(
    content: FeatureStats,
    style: FeatureStats,
    *,
    cutoff: float = WHITENING_CUTOFF,
    ridge: float = 0.0,
) -> ChannelAffine:
    """Whitening and colouring (Li et al. 2017): the content's covariance becomes the style's.

    The larger the ``ridge``, the less it is that: directions much weaker than the mean keep their
    size, and with an endless one only the mean changes.
    """
    return color(style, cutoff=cutoff, ridge=ridge).after(
        whiten(content, cutoff=cutoff, ridge=ridge)
    )


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

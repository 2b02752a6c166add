"""Content and style losses of images of any size: in bands of rows, with sums in float64.

The definitions are those of :mod:`distill.reference_losses`, which takes images whole; what is
computed here is the same but for rounding. The features of a band are dropped as soon as they are
summed, so memory grows with the width of an image and not with its height.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.execution.rows import TensorSource, padded_bands, padded_size
from distill.inference import FastEncoder, Layout, Step
from distill.reference_losses import CONTENT_LAYER, STYLE_LAYERS
from distill.streaming import band_bytes, stream
from distill.transforms import ADAIN_EPSILON, FeatureStats
from distill.weights import load_named

ADAIN_LAYERS = STYLE_LAYERS[:4]
"""relu1_1 to relu4_1 (Huang and Belongie 2017, section 6)."""
_BAND = {"cpu": 96 * 10**6, "cuda": 512 * 10**6}
"""Bytes of the largest band, where the fewest rows do not take more already."""
_FEWEST_ROWS = 4

Statistics = Mapping[str, FeatureStats]
"""Of the features at each style layer of one image."""


@dataclass(frozen=True)
class Comparison:
    """What one pass over an output gives."""

    content_loss: float | None
    """None if no content was given."""
    statistics: Statistics
    """Empty if they were not wanted."""


class StreamedLosses:
    """The losses on one reference network.

    Args:
        network: name of registered weights, such as ``vgg16-normalised``.
        device: where to compute.

    Raises:
        UserError: for weights that cannot be had.
    """

    def __init__(self, network: str, device: str) -> None:
        encoder = load_named(network)
        self._layout = Layout.of(device, torch.float32)
        self._steps = FastEncoder(encoder, self._layout).steps
        self._channels: dict[str, int] = {}
        self._segments: dict[str, tuple[Step, ...]] = {}
        """Steps from one style layer to the next, by the name of the latter."""
        start = 0
        for end, conv in enumerate(encoder.description, start=1):
            name = conv.name.replace("conv", "relu")
            if name in STYLE_LAYERS:
                self._channels[name] = conv.out_channels
                self._segments[name] = self._steps[start:end]
                start = end

    @torch.inference_mode()
    def statistics(self, image: Tensor) -> Statistics:
        """Feature statistics of an image (1, 3, H, W), RGB in 0..1, at the style layers."""
        return self.compare(image).statistics

    @torch.inference_mode()
    def compare(
        self, output: Tensor, content: Tensor | None = None, *, statistics: bool = True
    ) -> Comparison:
        """Losses and statistics of an output, in one pass.

        Args:
            output: (1, 3, H, W), RGB in 0..1.
            content: what the content loss is computed to, of the same size.
            statistics: whether those at the style layers are wanted.

        Raises:
            ValueError: for images of two sizes.
        """
        if content is not None and content.shape != output.shape:
            raise ValueError(f"sizes differ: {tuple(output.shape)} and {tuple(content.shape)}")
        watchers: dict[str, list[Callable[[Tensor], None]]] = {layer: [] for layer in STYLE_LAYERS}
        found: dict[str, FeatureStats] = {}
        if statistics:
            found = {layer: FeatureStats(self._channels[layer]) for layer in STYLE_LAYERS}
            for layer, stats in found.items():
                watchers[layer].append(stats.update)
        squares = _SquaredDifference()
        if content is not None:
            plain: dict[str, list[Callable[[Tensor], None]]] = {
                layer: [] for layer in STYLE_LAYERS[: STYLE_LAYERS.index(CONTENT_LAYER) + 1]
            }
            squares.others = self._through(content, plain)
            watchers[CONTENT_LAYER].append(squares.update)
        if not statistics:
            del watchers[STYLE_LAYERS[-1]]
        for _ in self._through(output, watchers):
            pass
        return Comparison(None if content is None else squares.mean, found)

    def _through(
        self, image: Tensor, watchers: Mapping[str, Iterable[Callable[[Tensor], None]]]
    ) -> Iterator[Tensor]:
        """Bands of the features at the last layer; each layer's are shown to its watchers."""
        height, width = image.shape[-2:]
        bands = padded_bands(TensorSource(image), self._rows(width, height), self._layout)
        for layer, seen_by in watchers.items():
            bands = stream(self._segments[layer], bands)
            for watcher in seen_by:
                bands = _watched(bands, watcher)
        return bands

    def _rows(self, width: int, height: int) -> int:
        """Rows of a band: a power of two, the same for all images of a size."""
        wide, high = padded_size(width, height)
        most = _BAND.get(self._layout.device.type, _BAND["cpu"])
        rows = _FEWEST_ROWS
        while rows < high and band_bytes(self._steps, self._layout, wide, 2 * rows) <= most:
            rows *= 2
        return rows


def _watched(bands: Iterable[Tensor], watcher: Callable[[Tensor], None]) -> Iterator[Tensor]:
    for band in bands:
        watcher(band)
        yield band


class _SquaredDifference:
    """Mean squared difference of bands to others that come in step with them."""

    def __init__(self) -> None:
        self.others: Iterator[Tensor] = iter(())
        self._sum: Tensor | float = 0.0
        self._count = 0

    def update(self, band: Tensor) -> None:
        """Add a band (1, C, h, W)."""
        difference = band - next(self.others)
        # Squares of float32 values, summed without losing any of their digits.
        self._sum = self._sum + difference.square_().sum(dtype=torch.float64)
        self._count += difference.numel()

    @property
    def mean(self) -> float:
        """Over all that was added."""
        return float(self._sum) / self._count


def gram_of(stats: FeatureStats) -> Tensor:
    """Gram matrix (C, C) over C * H * W from statistics, in float64."""
    mean = stats.mean
    moments = stats.scatter / stats.count + torch.outer(mean, mean)
    return moments / len(mean)


def gram_losses(output: Statistics, style: Statistics) -> dict[str, float]:
    """Mean squared difference of the Gram matrices at each layer, 0 upwards."""
    return {
        layer: (gram_of(output[layer]) - gram_of(style[layer])).square().mean().item()
        for layer in STYLE_LAYERS
    }


def adain_losses(output: Statistics, style: Statistics) -> dict[str, float]:
    """Mean squared difference of means plus that of deviations at each layer, 0 upwards.

    Source: Huang and Belongie 2017, eq. 13, with mean squares for its norms as in public code;
    variances are over H * W, with 1e-5 added, as in ``style_statistics`` in training.
    """
    losses = {}
    for layer in ADAIN_LAYERS:
        (mean, deviation), (style_mean, style_deviation) = (
            (stats[layer].mean, _deviation(stats[layer])) for stats in (output, style)
        )
        difference = torch.stack((mean - style_mean, deviation - style_deviation))
        losses[layer] = difference.square().mean(1).sum().item()
    return losses


def _deviation(stats: FeatureStats) -> Tensor:
    return (stats.scatter.diagonal() / stats.count + ADAIN_EPSILON).sqrt()

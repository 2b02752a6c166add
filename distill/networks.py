"""VGG encoders and mirrored decoders of any width and depth, from one description.

Conventions (Li et al. 2017, Wang et al. 2020): images are RGB in 0..1, shape (N, 3, H, W); every
3x3 convolution has reflection padding 1; encoders pool by 2x2 maxima, decoders upsample by nearest
neighbour. Stage k is the pair that ends (starts) at ``relu{k}_1`` and works on images whose sides
are multiples of 2^(k-1).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.models import RATIOS

TEACHER_WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five blocks of VGG-16 and VGG-19."""
CONVS_PER_BLOCK: Mapping[str, tuple[int, ...]] = {
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
STAGES = (1, 2, 3, 4, 5)
ALIGNMENT = 16
"""Images are padded to a multiple of this, the pooling grid of the deepest stage."""


class Conv(NamedTuple):
    """One 3x3 convolution of a network's description."""

    name: str
    """As in the VGG paper, such as ``conv3_1``; a decoder's names are those it mirrors."""
    in_channels: int
    out_channels: int
    block: int
    """1..5; the convolution works at 1/2^(block-1) of the image's resolution."""

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return 9 * self.in_channels * self.out_channels + self.out_channels

    @property
    def macs_per_pixel(self) -> float:
        """Multiply-accumulates for each pixel of the image."""
        return 9 * self.in_channels * self.out_channels / 4.0 ** (self.block - 1)


def student_widths(ratio: int) -> tuple[int, ...]:
    """Channels of the five blocks at a compression ratio: 1/sqrt(ratio), in multiples of 8.

    Raises:
        ValueError: for a ratio that is none of 1, 2, 4, 8, 16, 32, 64.
    """
    if ratio not in RATIOS:
        raise ValueError(f"a compression ratio is one of {RATIOS}; got {ratio!r}")
    return tuple(max(8, 8 * round(width / math.sqrt(ratio) / 8)) for width in TEACHER_WIDTHS)


def encoder_convs(family: str, widths: Sequence[int], stage: int) -> tuple[Conv, ...]:
    """The 3x3 convolutions of an encoder from the image to ``relu{stage}_1``, in order.

    Args:
        family: ``vgg16`` or ``vgg19``.
        widths: channels of blocks 1 to ``stage`` (more are ignored).
        stage: 1..5.
    """
    convs: list[Conv] = []
    channels = 3
    for block, count in enumerate(CONVS_PER_BLOCK[family][:stage], start=1):
        for index in range(1, (1 if block == stage else count) + 1):
            convs.append(Conv(f"conv{block}_{index}", channels, widths[block - 1], block))
            channels = widths[block - 1]
    return tuple(convs)


def decoder_convs(family: str, widths: Sequence[int], stage: int) -> tuple[Conv, ...]:
    """The encoder's convolutions mirrored: reversed, each from its outputs back to its inputs."""
    return tuple(
        Conv(conv.name, conv.out_channels, conv.in_channels, conv.block)
        for conv in reversed(encoder_convs(family, widths, stage))
    )


def count_parameters(family: str, widths: Sequence[int], stage: int) -> tuple[int, int]:
    """Parameters of (encoder, decoder); the encoder's include the 3-to-3 input convolution."""
    encoder, decoder = (
        sum(conv.parameters for conv in convs(family, widths, stage))
        for convs in (encoder_convs, decoder_convs)
    )
    return encoder + 12, decoder


def count_macs_per_pixel(family: str, widths: Sequence[int], stage: int) -> tuple[float, float]:
    """Multiply-accumulates a pixel of (encoder, decoder), of the 3x3 convolutions.

    The 1x1 input convolution is left out: it is folded into the first 3x3 one.
    """
    encoder, decoder = (
        sum(conv.macs_per_pixel for conv in convs(family, widths, stage))
        for convs in (encoder_convs, decoder_convs)
    )
    return encoder, decoder


def reflect_index(size: int, before: int, after: int) -> Tensor:
    """Indices that pad a side of ``size`` by reflection without repeating the edge.

    Any amount of padding is allowed: the reflection goes back and forth, and a side of one pixel,
    which has nothing to reflect, repeats it.
    """
    position = torch.arange(-before, size + after)
    if size == 1:
        return torch.zeros_like(position)
    period = 2 * (size - 1)
    position = position.remainder(period)
    return torch.minimum(position, period - position)


def reflect_pad(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Pad the last two sides of (N, C, H, W) by reflection, whatever their size."""
    height, width = x.shape[-2:]
    if max(left, right) < width and max(top, bottom) < height:
        return F.pad(x, (left, right, top, bottom), mode="reflect")
    rows = reflect_index(height, top, bottom).to(x.device)
    columns = reflect_index(width, left, right).to(x.device)
    return x.index_select(-2, rows).index_select(-1, columns)


def pad_to_alignment(x: Tensor, alignment: int = ALIGNMENT) -> Tensor:
    """Reflect (N, C, H, W) at its right and lower border up to multiples of ``alignment``."""
    height, width = x.shape[-2:]
    right, bottom = -width % alignment, -height % alignment
    return reflect_pad(x, 0, right, 0, bottom) if right or bottom else x


def convolve(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A convolution in the precision of its input: float32 weights are cast, as training wants."""
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    return F.conv2d(x, conv.weight.to(x.dtype), bias)


def _conv3x3(x: Tensor, conv: nn.Conv2d) -> Tensor:
    return convolve(reflect_pad(x, 1, 1, 1, 1), conv)


class Encoder(nn.Module):
    """VGG from the image to ``relu{stage}_1``, at any width: the plain, trainable form.

    ``conv0`` is the 1x1 colour conversion that the public stylizers carry (RGB in 0..1 to the
    network's own input); for weights with the preprocessing folded in it is the identity.
    """

    def __init__(self, family: str, widths: Sequence[int], stage: int) -> None:
        super().__init__()
        self.family, self.stage = family, stage
        self.widths = tuple(widths[:stage])
        self.description = encoder_convs(family, widths, stage)
        self.conv0 = nn.Conv2d(3, 3, 1)
        for conv in self.description:
            self.add_module(conv.name, nn.Conv2d(conv.in_channels, conv.out_channels, 3))

    def forward(self, image: Tensor) -> Tensor:
        """Features at ``relu{stage}_1`` of images (N, 3, H, W): (N, C, H / 2^(stage-1), ...)."""
        return self.features(image, (f"relu{self.stage}_1",))[0]

    def features(self, image: Tensor, layers: Iterable[str]) -> list[Tensor]:
        """Features at each of ``layers`` (names such as ``relu3_1``), in one pass."""
        wanted = list(layers)
        found: dict[str, Tensor] = {}
        x = convolve(image, self.conv0)
        block = 1
        for conv in self.description:
            if conv.block != block:
                x, block = F.max_pool2d(x, 2), conv.block
            x = _conv3x3(x, self.get_submodule(conv.name)).relu_()  # type: ignore[arg-type]
            found[conv.name.replace("conv", "relu")] = x
        if missing := [name for name in wanted if name not in found]:
            raise ValueError(f"no layer {missing[0]!r} in this encoder; it has {', '.join(found)}")
        return [found[name] for name in wanted]


class Decoder(nn.Module):
    """The mirrored encoder, from ``relu{stage}_1`` features to an image: plain, trainable form.

    Args:
        final_relu: whether a ReLU follows the last convolution (WCT: yes, AdaIN: no).
    """

    def __init__(
        self, family: str, widths: Sequence[int], stage: int, *, final_relu: bool = True
    ) -> None:
        super().__init__()
        self.family, self.stage, self.final_relu = family, stage, final_relu
        self.widths = tuple(widths[:stage])
        self.description = decoder_convs(family, widths, stage)
        for conv in self.description:
            self.add_module(conv.name, nn.Conv2d(conv.in_channels, conv.out_channels, 3))

    def forward(self, features: Tensor) -> Tensor:
        """Images (N, 3, H, W) from features (N, C, H / 2^(stage-1), W / 2^(stage-1))."""
        x, block = features, self.stage
        for conv in self.description:
            # The mirror of "pool before the first convolution of a block" is "upsample after it".
            if conv.block != block:
                x, block = F.interpolate(x, scale_factor=2, mode="nearest"), conv.block
            x = _conv3x3(x, self.get_submodule(conv.name))  # type: ignore[arg-type]
            if conv.name != "conv1_1" or self.final_relu:
                x = x.relu_()
        return x


def seed_weights(network: nn.Module, seed: int) -> None:
    """Fill a network with seeded random weights that keep activations finite (He, uniform).

    Deterministic for a seed on every machine: drawn on the CPU in the order of the parameters.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 else parameter.numel()
            bound = math.sqrt(6 / fan_in) if parameter.dim() > 1 else 0.05
            parameter.uniform_(-bound, bound, generator=generator)

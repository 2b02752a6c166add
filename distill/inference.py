"""The fast form of encoders and decoders, for inference: same function, fewer passes and bytes.

What differs from the plain form in :mod:`distill.networks`, none of it in the result but for
rounding:

- the 1x1 input convolution is folded into ``conv1_1``, a channel-affine map into a decoder's first
  convolution (reflection padding commutes with per-pixel affine maps);
- no padded copies: convolutions pad with zeros inside the kernel, and the border, one pixel wide,
  is computed again with reflection;
- upsampling and the convolution after it are one transposed convolution with a 4x4 kernel, which
  needs 4/9 of the multiplications and no upsampled map;
- ReLU is fused into the convolution where the backend can, and in place elsewhere;
- maps are freed as soon as they are dead, and lie in the memory format the device likes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.kernels import convolve_reflect, transposed_kernel, upsample_convolve
from distill.networks import Conv, Decoder, Encoder
from distill.transforms import ChannelAffine


@dataclass(frozen=True)
class Layout:
    """Where and how a network computes."""

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format

    @classmethod
    def of(cls, device: str, dtype: torch.dtype) -> "Layout":
        """The layout that suits a device.

        Channels last on CPUs, where oneDNN converts anything else, and for the tensor cores' types
        on GPUs; NCHW for float32 on GPUs, where cuDNN's kernels prefer it.
        """
        first = device.startswith("cuda") and dtype == torch.float32
        memory_format = torch.contiguous_format if first else torch.channels_last
        return cls(torch.device(device), dtype, memory_format)

    def place(self, x: Tensor) -> Tensor:
        """A (N, C, H, W) tensor on the device, in the type and memory format."""
        return x.to(device=self.device, dtype=self.dtype, memory_format=self.memory_format)


Before = Literal["", "pool", "upsample", "transpose"]


@dataclass(frozen=True)
class Step:
    """One convolution, with what comes before it."""

    weight: Tensor
    bias: Tensor
    relu: bool
    before: Before
    """``upsample`` is nearest by 2 and then convolve, ``transpose`` both in one kernel."""

    def prepare(self, x: Tensor) -> Tensor:
        """What precedes the convolution and needs no neighbours."""
        if self.before == "pool":
            return F.max_pool2d(x, 2)
        if self.before == "upsample":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return x

    def convolve(self, x: Tensor, *, vertical: bool = True) -> Tensor:
        """The convolution; see :mod:`distill.kernels` for ``vertical``."""
        kernel = upsample_convolve if self.before == "transpose" else convolve_reflect
        return kernel(x, self.weight, self.bias, relu=self.relu, vertical=vertical)


def _run(steps: Sequence[Step], box: list[Tensor]) -> Tensor:
    # The caller hands the tensor over in a list, so that nobody holds a map longer than needed.
    x = box.pop()
    for step in steps:
        x = step.prepare(x)
        x = step.convolve(x)
    return x


def _fold(weight: Tensor, bias: Tensor, affine: ChannelAffine) -> tuple[Tensor, Tensor]:
    """A 3x3 convolution (O, I, 3, 3) of affinely mapped inputs as one convolution, in float64."""
    matrix, offset = affine.matrix.to(weight.device), affine.offset.to(weight.device)
    weight, bias = weight.double(), bias.double()
    return torch.einsum("oixy,ic->ocxy", weight, matrix), bias + weight.sum((2, 3)) @ offset


def _parameters(network: nn.Module, conv: Conv) -> tuple[Tensor, Tensor]:
    module = network.get_submodule(conv.name)
    return module.weight.detach().double(), module.bias.detach().double()  # type: ignore


class FastEncoder:
    """An :class:`~distill.networks.Encoder` for inference in a given layout."""

    def __init__(self, encoder: Encoder, layout: Layout) -> None:
        self.layout, self.stage = layout, encoder.stage
        self.channels = encoder.description[-1].out_channels
        self.macs_per_pixel = sum(conv.macs_per_pixel for conv in encoder.description)
        steps, block = [], 1
        for conv in encoder.description:
            weight, bias = _parameters(encoder, conv)
            if conv.name == "conv1_1":
                matrix = encoder.conv0.weight.detach().double()[:, :, 0, 0]
                offset = encoder.conv0.bias.detach().double()  # type: ignore[union-attr]
                weight, bias = _fold(weight, bias, ChannelAffine(matrix, offset))
            before: Before = "pool" if conv.block != block else ""
            steps.append(Step(*_placed(weight, bias, layout), relu=True, before=before))
            block = conv.block
        self.steps = tuple(steps)

    def __call__(self, box: list[Tensor]) -> Tensor:
        """Features (1, C, H / 2^(stage-1), ...) of the image (1, 3, H, W) that ``box`` holds.

        The image is taken out of the box, and freed early if nobody else holds it.
        """
        box.append(self.layout.place(box.pop()))
        return _run(self.steps, box)


def _placed(weight: Tensor, bias: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    return layout.place(weight), bias.to(layout.device, layout.dtype)


class FastDecoder:
    """A :class:`~distill.networks.Decoder` for inference in a given layout."""

    def __init__(self, decoder: Decoder, layout: Layout) -> None:
        self.layout, self.stage = layout, decoder.stage
        # oneDNN's transposed convolution is the slower way in bfloat16 only.
        slow = layout.device.type == "cpu" and layout.dtype != torch.float32
        double: Before = "upsample" if slow else "transpose"
        steps, block = [], decoder.stage
        for conv in decoder.description:
            weight, bias = _parameters(decoder, conv)
            before: Before = double if conv.block != block else ""
            if before == "transpose":
                weight = transposed_kernel(weight)
            relu = conv.name != "conv1_1" or decoder.final_relu
            steps.append(Step(*_placed(weight, bias, layout), relu=relu, before=before))
            block = conv.block
        self.steps = tuple(steps)
        weight, bias = _parameters(decoder, decoder.description[0])
        self._first = weight.float().to(layout.device), bias.float().to(layout.device)

    def __call__(self, box: list[Tensor], affine: ChannelAffine | None = None) -> Tensor:
        """The image (1, 3, H, W) of the features (1, C, h, w) that ``box`` holds.

        Args:
            box: a list with the features; they are taken out, and freed early if nobody else
                holds them.
            affine: a channel map to apply to the features first.
        """
        return _run(self.steps if affine is None else self.steps_after(affine), box)

    def steps_after(self, affine: ChannelAffine) -> tuple[Step, ...]:
        """The steps with a channel map of the features folded into the first."""
        weight, bias = _placed(*_fold(*self._first, affine), self.layout)
        return (replace(self.steps[0], weight=weight, bias=bias), *self.steps[1:])

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

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.networks import Conv, Decoder, Encoder, reflect_pad
from distill.transforms import ChannelAffine

_PAD_INSTEAD_BELOW = 256 * 256
"""On a GPU, maps of fewer pixels are padded by a copy: launches cost more than bytes there."""


@dataclass(frozen=True)
class Layout:
    """Where and how a network computes."""

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format

    @classmethod
    def of(cls, device: str, dtype: torch.dtype) -> "Layout":
        """The layout that suits a device.

        Channels last on CPUs (2.4 times NCHW in this project's benchmark) and for the tensor
        cores' types on GPUs; NCHW for float32 on GPUs, where cuDNN's kernels prefer it.
        """
        first = device.startswith("cuda") and dtype == torch.float32
        memory_format = torch.contiguous_format if first else torch.channels_last
        return cls(torch.device(device), dtype, memory_format)

    def place(self, x: Tensor) -> Tensor:
        """A (N, C, H, W) tensor on the device, in the type and memory format."""
        return x.to(device=self.device, dtype=self.dtype, memory_format=self.memory_format)


def _fused_relu(x: Tensor) -> bool:
    """Whether oneDNN's convolution with fused ReLU, which torch.compile also uses, is there."""
    return (
        x.device.type == "cpu"
        and bool(torch.backends.mkldnn.enabled)
        and torch._C._has_mkldnn
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, relu: bool, padding: int) -> Tensor:
    if relu and _fused_relu(x):
        ones, pads = [1, 1], [padding, padding]
        fused = torch.ops.mkldnn._convolution_pointwise
        fused_result: Tensor = fused(x, weight, bias, pads, ones, ones, 1, "relu", [], "")
        return fused_result
    result = F.conv2d(x, weight, bias, padding=padding)
    return result.relu_() if relu else result


def _border_lines(size: int) -> Tensor:
    """The lines that the first and the last output line see, reflected: (2, 3) indices."""
    return torch.tensor(
        [[min(1, size - 1), 0, min(1, size - 1)], [max(0, size - 2), size - 1, max(0, size - 2)]]
    )


def _convolve_reflect(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """3x3 convolution with reflection padding of (1, C, H, W), without a padded copy of it."""
    height, width = x.shape[-2:]
    if x.device.type == "cuda" and height * width < _PAD_INSTEAD_BELOW:
        return _convolve(reflect_pad(x, 1, 1, 1, 1), weight, bias, relu, padding=0)
    y = _convolve(x, weight, bias, relu, padding=1)
    rows = torch.cat([x[:, :, lines] for lines in _border_lines(height).to(x.device)])
    edge = _convolve(reflect_pad(rows, 1, 1, 0, 0), weight, bias, relu, padding=0)
    y[0, :, 0], y[0, :, -1] = edge[0, :, 0], edge[1, :, 0]
    columns = torch.cat([x[:, :, :, lines] for lines in _border_lines(width).to(x.device)])
    edge = _convolve(reflect_pad(columns, 0, 0, 1, 1), weight, bias, relu, padding=0)
    y[0, :, :, 0], y[0, :, :, -1] = edge[0, :, :, 0], edge[1, :, :, 0]
    return y


def _transposed_kernel(weight: Tensor) -> Tensor:
    """The 4x4 kernel (I, O, 4, 4), stride 2, of nearest upsampling before a 3x3 one (O, I, 3, 3).

    A convolution over pixels doubled in both directions is one over zero-stuffed pixels by the
    kernel convolved with a 2x2 box.
    """
    box = torch.ones(1, 1, 2, 2, dtype=weight.dtype, device=weight.device)
    wide = F.conv2d(weight.reshape(-1, 1, 3, 3), box, padding=1)
    return wide.reshape(*weight.shape[:2], 4, 4).flip(-1, -2).transpose(0, 1)


def _upsample_convolve(x: Tensor, kernel: Tensor, bias: Tensor, relu: bool) -> Tensor:
    # The doubled map reflected at its border reads the edge pixel, as the map extended by it does.
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    y = F.conv_transpose2d(wide, kernel, bias, stride=2, padding=3)
    return y.relu_() if relu else y


@dataclass(frozen=True)
class _Step:
    """One convolution, with what comes before it."""

    weight: Tensor
    bias: Tensor
    relu: bool
    before: str
    """``""``, ``pool``, ``upsample`` (nearest, then convolve) or ``transpose`` (both in one)."""

    def __call__(self, x: Tensor) -> Tensor:
        if self.before == "transpose":
            return _upsample_convolve(x, self.weight, self.bias, self.relu)
        if self.before == "pool":
            x = F.max_pool2d(x, 2)
        elif self.before == "upsample":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        return _convolve_reflect(x, self.weight, self.bias, self.relu)


def _run(steps: tuple[_Step, ...], box: list[Tensor]) -> Tensor:
    # The caller hands the tensor over in a list, so that nobody holds a map longer than needed.
    x = box.pop()
    for step in steps:
        x = step(x)
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
        steps, block = [], 1
        for conv in encoder.description:
            weight, bias = _parameters(encoder, conv)
            if conv.name == "conv1_1":
                matrix = encoder.conv0.weight.detach().double()[:, :, 0, 0]
                offset = encoder.conv0.bias.detach().double()  # type: ignore[union-attr]
                weight, bias = _fold(weight, bias, ChannelAffine(matrix, offset))
            before = "pool" if conv.block != block else ""
            steps.append(_Step(*_placed(weight, bias, layout), relu=True, before=before))
            block = conv.block
        self._steps = tuple(steps)

    def __call__(self, box: list[Tensor]) -> Tensor:
        """Features (1, C, H / 2^(stage-1), ...) of the image (1, 3, H, W) that ``box`` holds.

        The image is taken out of the box, and freed early if nobody else holds it.
        """
        box.append(self.layout.place(box.pop()))
        return _run(self._steps, box)


def _placed(weight: Tensor, bias: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    return layout.place(weight), bias.to(layout.device, layout.dtype)


class FastDecoder:
    """A :class:`~distill.networks.Decoder` for inference in a given layout."""

    def __init__(self, decoder: Decoder, layout: Layout) -> None:
        self.layout, self.stage = layout, decoder.stage
        # oneDNN's transposed convolution is the slower way in bfloat16 only.
        slow = layout.device.type == "cpu" and layout.dtype != torch.float32
        double = "upsample" if slow else "transpose"
        steps, block = [], decoder.stage
        for conv in decoder.description:
            weight, bias = _parameters(decoder, conv)
            before = double if conv.block != block else ""
            if before == "transpose":
                weight = _transposed_kernel(weight)
            relu = conv.name != "conv1_1" or decoder.final_relu
            steps.append(_Step(*_placed(weight, bias, layout), relu=relu, before=before))
            block = conv.block
        self._steps = tuple(steps)
        weight, bias = _parameters(decoder, decoder.description[0])
        self._first = weight.float().to(layout.device), bias.float().to(layout.device)

    def __call__(self, box: list[Tensor], affine: ChannelAffine | None = None) -> Tensor:
        """The image (1, 3, H, W) of the features (1, C, h, w) that ``box`` holds.

        Args:
            box: a list with the features; they are taken out, and freed early if nobody else
                holds them.
            affine: a channel map to apply to the features first.
        """
        steps = self._steps
        if affine is not None:
            weight, bias = _placed(*_fold(*self._first, affine), self.layout)
            steps = (replace(steps[0], weight=weight, bias=bias), *steps[1:])
        return _run(steps, box)

"""Convolutions with reflection padding, without padded or upsampled copies.

Each works on maps (1, C, H, W). With ``vertical=False`` the map brings a line above and below that
only serve as neighbours: padding is done at the left and right alone (see
:mod:`distill.streaming`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.networks import reflect_pad

_PAD_INSTEAD_BELOW = 256 * 256
"""On a GPU, maps of fewer pixels are padded by a copy: launches cost more than bytes there."""

_LARGEST_REDUCED = 2**31
"""Bytes of a map from which on oneDNN's bfloat16 and float16 convolutions refuse it on the CPU."""


def _onednn(x: Tensor) -> bool:
    """Whether oneDNN's convolutions with fused ReLU, which torch.compile also uses, take a map.

    They are used without ReLU too: PyTorch's own have other kernels for small maps, and a low band
    would differ from the whole image in the last bit.
    """
    return (
        x.device.type == "cpu"
        and x.dtype != torch.float64  # which oneDNN refuses
        and bool(torch.backends.mkldnn.enabled)
        and torch._C._has_mkldnn
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_convolution_transpose_pointwise")
    )


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor, relu: bool, padding: tuple[int, int] = (0, 0)
) -> Tensor:
    if _onednn(x):
        ones, fused = [1, 1], torch.ops.mkldnn._convolution_pointwise
        then = "relu" if relu else "none"
        fused_result: Tensor = fused(x, weight, bias, padding, ones, ones, 1, then, [], "")
        return fused_result
    result = F.conv2d(x, weight, bias, padding=padding)
    return result.relu_() if relu else result


def _convolve_padded(x: Tensor, weight: Tensor, bias: Tensor, relu: bool, vertical: bool) -> Tensor:
    """With zeros around it, or at the left and right alone; in pieces where it must be."""
    _, _, height, width = x.shape
    channels = max(weight.shape[:2])
    most = _LARGEST_REDUCED // (channels * width * x.dtype.itemsize)
    if not vertical or x.device.type != "cpu" or x.dtype == torch.float32 or height < most:
        return _convolve(x, weight, bias, relu, (1 if vertical else 0, 1))
    y = torch.empty(
        (1, weight.shape[0], height, width), dtype=x.dtype, memory_format=torch.channels_last
    )
    step = max(1, most // 8)
    for top in range(0, height, step):
        # A line more above and below, whose own results, wrong by the zeros, are dropped.
        first, end = max(0, top - 1), min(height, top + step)
        piece = _convolve(x[:, :, first : end + 1], weight, bias, relu, (1, 1))
        y[:, :, top:end] = piece[:, :, top - first : end - first]
    return y


def _edge_lines(x: Tensor, dim: int) -> Tensor:
    """The lines that the first and the last output line see, reflected: six along ``dim``."""
    size = x.shape[dim]
    second, last_but_one = min(1, size - 1), max(0, size - 2)
    order = (second, 0, second, last_but_one, size - 1, last_but_one)
    return torch.cat([x.narrow(dim, line, 1) for line in order], dim)


def convolve_reflect(
    x: Tensor, weight: Tensor, bias: Tensor, *, relu: bool, vertical: bool = True
) -> Tensor:
    """3x3 convolution with reflection padding: zeros in the kernel, then the border again."""
    if x.device.type == "cuda" and x.shape[-2] * x.shape[-1] < _PAD_INSTEAD_BELOW:
        return _convolve(reflect_pad(x, 1, 1, *(1, 1) if vertical else (0, 0)), weight, bias, relu)
    y = _convolve_padded(x, weight, bias, relu, vertical)
    # Six lines give four, of which the first and the last are the border's.
    if vertical:
        edge = _convolve(reflect_pad(_edge_lines(x, 2), 1, 1, 0, 0), weight, bias, relu)
        y[:, :, 0], y[:, :, -1] = edge[:, :, 0], edge[:, :, -1]
    columns = _edge_lines(x, 3)
    edge = _convolve(reflect_pad(columns, 0, 0, 1, 1) if vertical else columns, weight, bias, relu)
    y[..., 0], y[..., -1] = edge[..., 0], edge[..., -1]
    return y


def transposed_kernel(weight: Tensor) -> Tensor:
    """The 4x4 kernel (I, O, 4, 4), stride 2, of nearest upsampling before a 3x3 one (O, I, 3, 3).

    A convolution over pixels doubled in both directions is one over zero-stuffed pixels by the
    kernel convolved with a 2x2 box.
    """
    box = torch.ones(1, 1, 2, 2, dtype=weight.dtype, device=weight.device)
    wide = F.conv2d(weight.reshape(-1, 1, 3, 3), box, padding=1)
    return wide.reshape(*weight.shape[:2], 4, 4).flip(-1, -2).transpose(0, 1)


def upsample_convolve(
    x: Tensor, kernel: Tensor, bias: Tensor, *, relu: bool, vertical: bool = True
) -> Tensor:
    """Nearest upsampling by 2 and a 3x3 convolution, by the kernel that both come down to."""
    # The doubled map reflected at its border reads the edge pixel, as the map extended by it does.
    wide = F.pad(x, (1, 1, 1, 1) if vertical else (1, 1, 0, 0), mode="replicate")
    if _onednn(x):
        fused, then = torch.ops.mkldnn._convolution_transpose_pointwise, "relu" if relu else "none"
        fused_result: Tensor = fused(
            wide, kernel, bias, (3, 3), (0, 0), (2, 2), (1, 1), 1, then, [], ""
        )
        return fused_result
    y = F.conv_transpose2d(wide, kernel, bias, stride=2, padding=3)
    return y.relu_() if relu else y

"""Shapes of results, where PyTorch computes them in Python at ten times the cost.

The first time it would also load its compiler for it. Each rule takes an operation's arguments as
tensors on the ``meta`` device and returns its result there.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

META = torch.device("meta")


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    *_: object,
) -> Tensor:
    pairs = list(zip(x.shape[2:], weight.shape[2:], stride, padding, strict=True))
    if transposed:
        sides = [(side - 1) * step - 2 * pad + kernel for side, kernel, step, pad in pairs]
    else:
        sides = [(side + 2 * pad - kernel) // step + 1 for side, kernel, step, pad in pairs]
    channels = weight.shape[1 if transposed else 0]
    return _like(x, (x.shape[0], channels, *sides), weight)


def _convolution_pointwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    *_: object,
) -> Tensor:
    return _convolution(x, weight, bias, stride, padding, dilation, False)


def _transposed_pointwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: Sequence[int],
    output_padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    *_: object,
) -> Tensor:
    return _convolution(x, weight, bias, stride, padding, dilation, True)


def _pad(x: Tensor, padding: Sequence[int], *_: object) -> Tensor:
    left, right, top, bottom = padding
    height, width = x.shape[-2:]
    return _like(x, (*x.shape[:-2], height + top + bottom, width + left + right))


def _pool(x: Tensor, kernel: Sequence[int], *_: object) -> tuple[Tensor, Tensor]:
    sides = [side // kernel[0] for side in x.shape[-2:]]
    pooled = _like(x, (*x.shape[:-2], *sides))
    return pooled, torch.empty_like(pooled, dtype=torch.int64)


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return _like(tensors[0], shape)


def _pointwise(*operands: Any, alpha: float = 1) -> Tensor:
    tensors = [operand for operand in operands if isinstance(operand, Tensor)]
    most = max(tensor.dim() for tensor in tensors)
    padded = [(1,) * (most - tensor.dim()) + tuple(tensor.shape) for tensor in tensors]
    shape = [max(sides) if min(sides) else 0 for sides in zip(*padded, strict=True)]
    made = _like(tensors[0], shape)
    dtype = tensors[0].dtype if len(tensors) == 1 else torch.result_type(*tensors)
    return made if made.dtype == dtype else made.to(dtype)


def _reduction(
    x: Tensor, dims: Sequence[int], keep: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor:
    reduced = {dim % x.dim() for dim in dims} if dims else set(range(x.dim()))
    shape = [
        1 if dim in reduced else side
        for dim, side in enumerate(x.shape)
        if keep or dim not in reduced
    ]
    return torch.empty(shape, dtype=dtype or x.dtype, device=META)


def _eye(side: int, *, dtype: torch.dtype | None = None, **_: object) -> Tensor:
    return torch.empty((side, side), dtype=dtype, device=META)


def _same(x: Tensor, *_: object, **__: object) -> Tensor:
    return torch.empty_like(x)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return torch.empty((*a.shape[:-1], *b.shape[a.dim() - 1 :]), dtype=a.dtype, device=META)


def _like(x: Tensor, shape: Sequence[int], other: Tensor | None = None) -> Tensor:
    """A tensor of a shape in the memory format of ``x``, or of ``other`` if that is last."""
    last = len(shape) == 4 and any(
        tensor.is_contiguous(memory_format=torch.channels_last)
        for tensor in (x, other)
        if tensor is not None
    )
    memory_format = torch.channels_last if last else torch.contiguous_format
    return torch.empty(tuple(shape), dtype=x.dtype, device=META, memory_format=memory_format)


RULES: dict[str, Callable[..., Any]] = {
    "aten::add": _pointwise,
    "aten::convolution": _convolution,
    "mkldnn::_convolution_pointwise": _convolution_pointwise,
    "mkldnn::_convolution_transpose_pointwise": _transposed_pointwise,
    "aten::reflection_pad2d": _pad,
    "aten::replication_pad2d": _pad,
    "aten::max_pool2d_with_indices": _pool,
    "aten::bmm": _product,
    "aten::cat": _cat,
    "aten::div": _pointwise,
    "aten::eye": _eye,
    "aten::flip": _same,
    "aten::mean": _reduction,
    "aten::mm": _product,
    "aten::mul": _pointwise,
    "aten::mv": _product,
    "aten::sub": _pointwise,
    "aten::sum": _reduction,
    "aten::zeros_like": _same,
}
"""By the operation's name."""

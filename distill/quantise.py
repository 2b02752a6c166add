"""Weights in 8 bits: int8 values, and scales that make them the weights again.

A tensor ``X`` of type int8 is ``X * X.scale`` where its file also holds ``X.scale``, one number for
each output channel (the first dimension), and ``X * X.scale * X.input_scale`` where there is one
number for each input channel (the second dimension) too. Values are symmetric, -127..127.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 127
SCALE, INPUT_SCALE = ".scale", ".input_scale"
CLIPPING = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Parts of an output channel's largest magnitude that 127 may stand for; the best is taken."""


class Quantised(NamedTuple):
    """A tensor of two or more dimensions in 8 bits."""

    values: Tensor
    """int8, of the tensor's shape."""
    scale: Tensor
    """float32, (outputs,)."""
    input_scale: Tensor | None
    """float32, (inputs,), where it makes the error smaller."""

    def restored(self) -> Tensor:
        """The tensor, float32."""
        return _restored(self.values, self.scale, self.input_scale)

    def named(self, name: str) -> dict[str, Tensor]:
        """As a file holds it under a name."""
        found = {name: self.values, name + SCALE: self.scale}
        if self.input_scale is not None:
            found[name + INPUT_SCALE] = self.input_scale
        return found


def quantise(weight: Tensor) -> Quantised:
    """The nearest 8-bit form of a weight (outputs, inputs, ...), by squared error.

    Tried are the clipping factors of :data:`CLIPPING` for each output channel, on the weight as it
    is and with its input channels first brought to a root mean square of 1: the channels of a
    network whose mean activations were made 1 differ in size by a factor of hundreds, and one
    large channel would set the scale of all.

    Raises:
        ValueError: for a tensor of fewer than two dimensions, or with values that are not finite.
    """
    if weight.dim() < 2 or not weight.isfinite().all():
        raise ValueError("a tensor of two dimensions or more with finite values is quantised")
    plain = _by_outputs(weight)
    size = weight.double().square().transpose(0, 1).flatten(1).mean(1).sqrt()
    level = torch.where(size > 0, size, 1.0).float()
    levelled = _by_outputs(weight / _along(level, weight, 1))
    candidates = [Quantised(*plain, None), Quantised(*levelled, level)]
    return min(candidates, key=lambda found: _squared_error(found.restored(), weight))


def _squared_error(found: Tensor, wanted: Tensor) -> float:
    return (found.double() - wanted.double()).square().sum().item()


def _by_outputs(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Values and scales of the output channels."""
    flat = weight.float().flatten(1)
    largest = flat.abs().amax(1)
    scale, least = torch.ones_like(largest), torch.full_like(largest, torch.inf)
    for part in CLIPPING:
        # A channel of zeros, or next to it, must not divide by zero.
        tried = (part * largest / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        error = (_rounded(flat, tried) * tried[:, None] - flat).square().sum(1)
        scale = torch.where(error < least, tried, scale)
        least = torch.minimum(error, least)
    return _rounded(flat, scale).to(torch.int8).view(weight.shape), scale


def _rounded(flat: Tensor, scale: Tensor) -> Tensor:
    return (flat / scale[:, None]).round().clamp(-LARGEST, LARGEST)


def _along(vector: Tensor, like: Tensor, dimension: int) -> Tensor:
    shape = [1] * like.dim()
    shape[dimension] = -1
    return vector.view(shape)


def _restored(values: Tensor, scale: Tensor, input_scale: Tensor | None) -> Tensor:
    found = values.float() * _along(scale.float(), values, 0)
    return found if input_scale is None else found * _along(input_scale.float(), values, 1)


def is_quantised(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file's tensor is the int8 part of a quantised one."""
    return name in tensors and tensors[name].dtype == torch.int8 and name + SCALE in tensors


def is_scale(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file's tensor holds scales of another."""
    return any(
        name.endswith(end) and is_quantised(name.removesuffix(end), tensors)
        for end in (SCALE, INPUT_SCALE)
    )


def restored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors with the quantised ones in float32 and no scales; others as they are.

    Raises:
        ValueError: for scales that do not fit their tensor.
    """
    found = {}
    for name, tensor in tensors.items():
        if is_scale(name, tensors):
            continue
        if not is_quantised(name, tensors):
            found[name] = tensor
            continue
        scales = [tensors.get(name + end) for end in (SCALE, INPUT_SCALE)]
        for dimension, (end, scale) in enumerate(zip((SCALE, INPUT_SCALE), scales, strict=True)):
            if scale is not None and (
                tensor.dim() <= dimension
                or tuple(scale.shape) != (tensor.shape[dimension],)
                or not scale.is_floating_point()
            ):
                raise ValueError(
                    f"{name + end} is {tuple(scale.shape)} of {scale.dtype} and cannot scale "
                    f"{name}, which is {tuple(tensor.shape)}"
                )
        scale, input_scale = scales
        assert scale is not None  # is_quantised says so
        found[name] = _restored(tensor, scale, input_scale)
    return found

"""Loss terms of training, cheap to differentiate in mixed precision.

Every function returns a float32 scalar; inputs may be bfloat16.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

ADAIN_EPSILON = 1e-5
"""Added to variances (Huang and Belongie 2017)."""
_RUN = 256
"""Squares that are added one after another in float32; sums of runs are added pairwise."""


class _MeanSquare(torch.autograd.Function):
    """Mean of the squares, with a gradient in the input's precision in one pass.

    The stock one makes float32 copies of every feature map on the way, which on a CPU costs as
    much as the convolutions.
    """

    @staticmethod
    def forward(ctx: Any, difference: Tensor) -> Tensor:
        ctx.save_for_backward(difference)
        return sum_of_squares(difference) / difference.numel()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (difference,) = ctx.saved_tensors
        scale = gradients[0] * (2 / difference.numel())
        return difference * scale.to(difference.dtype)  # type: ignore[no-any-return]


def sum_of_squares(x: Tensor) -> Tensor:
    """Return the sum of the squares of a tensor of any shape and strides: float32, a scalar.

    A norm reads each element once, and on a CPU adds them up one after another: over the 67 million
    of a batch's maps that loses 1 %, since what is added is lost beside what is there. So norms are
    taken of short runs, in the order in which the elements lie in memory.
    """
    strides = x.stride()
    order = sorted(range(x.dim()), key=lambda dim: -strides[dim])
    line = x.permute(order).reshape(-1)
    whole = line.numel() // _RUN * _RUN
    runs: Tensor = torch.linalg.vector_norm(line[:whole].view(-1, _RUN), dim=1, dtype=torch.float32)
    rest: Tensor = torch.linalg.vector_norm(line[whole:], dtype=torch.float32)
    total: Tensor = runs.square().sum() + rest.square()
    return total


def mse(found: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two tensors of one shape; the target gets no gradient."""
    return _MeanSquare.apply(found - target.detach())  # type: ignore[no-any-return]


def features_mse(found: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Sum over layers of the mean squared difference of their features."""
    terms = [mse(a, b) for a, b in zip(found, target, strict=True)]
    return torch.stack(terms).sum()


def mean_and_deviation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of (N, C, H, W): two (N, C, 1, 1), float32."""
    variance, mean = torch.var_mean(features.float(), (2, 3), correction=0, keepdim=True)
    return mean, (variance + ADAIN_EPSILON).sqrt()


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Content features with the style's channel means and deviations, in the content's dtype."""
    mean, deviation = mean_and_deviation(content)
    style_mean, style_deviation = mean_and_deviation(style)
    scale = style_deviation / deviation
    return content * scale.to(content.dtype) + (style_mean - mean * scale).to(content.dtype)


def style_statistics(found: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Style loss of AdaIN: over layers, MSE of means plus MSE of deviations (Huang, eq. 13)."""
    terms = []
    for ours, theirs in zip(found, target, strict=True):
        mean, deviation = mean_and_deviation(ours)
        with torch.no_grad():
            style_mean, style_deviation = mean_and_deviation(theirs)
        terms.append((mean - style_mean).square().mean())
        terms.append((deviation - style_deviation).square().mean())
    return torch.stack(terms).sum()

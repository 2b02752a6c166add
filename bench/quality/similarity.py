"""SSIM, MS-SSIM and PSNR of images of any size, in bands of rows, exactly as of the whole image.

A value of SSIM's map depends on a window of 11 pixels, so bands that overlap by ten rows have the
whole image's values between them; their sums are weighted by how many there are.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from bench.errors import UserError
from bench.quality.metric import Conditions, ImageMeasure, Pair, Values

WINDOW = 11
"""Side of SSIM's Gaussian window (deviation 1.5), pixels."""
MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, the full resolution first (Wang et al. 2003)."""
MS_SSIM_LEAST_SIDE = WINDOW * 16
"""Pixels, so that a window fits the coarsest of the five scales; as torchmetrics requires."""
_BAND_PIXELS = 2**19
_REACH = WINDOW // 2


def ssim_of(first: Tensor, second: Tensor) -> float:
    """SSIM of two images (1, 3, H, W), 0..1, of at least 6 px a side: -1 to 1 (equal)."""
    height, width = first.shape[-2:]
    total = 0.0
    for top, bottom in _bands(height, width):
        start, end = max(0, top - _REACH), min(height, bottom + _REACH)
        _, ssim_map = structural_similarity_index_measure(
            first[..., start:end, :],
            second[..., start:end, :],
            data_range=1.0,
            return_full_image=True,
        )
        # Beyond a cut the map is that of reflected rows, which the neighbouring band has right.
        total += ssim_map[..., top - start : bottom - start, :].sum(dtype=torch.float64).item()
    return total / first.numel()


def ms_ssim_of(first: Tensor, second: Tensor) -> float:
    """MS-SSIM of two images (1, 3, H, W), 0..1: 0 to 1 (equal).

    Args:
        first: at least ``MS_SSIM_LEAST_SIDE`` px a side.
        second: of the same size. Both are halved four times, which takes a third of their memory.
    """
    product = 1.0
    for exponent in MS_SSIM_EXPONENTS[:-1]:
        product *= max(0.0, _contrast(first, second)) ** exponent
        first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
    return float(product * max(0.0, ssim_of(first, second)) ** MS_SSIM_EXPONENTS[-1])


def _contrast(first: Tensor, second: Tensor) -> float:
    """Mean contrast and structure of the windows that lie inside the images."""
    height, width = first.shape[-2:]
    total, inside = 0.0, height - 2 * _REACH
    for top, bottom in _bands(inside, width):
        _, contrast = structural_similarity_index_measure(
            first[..., top : bottom + 2 * _REACH, :],
            second[..., top : bottom + 2 * _REACH, :],
            data_range=1.0,
            return_contrast_sensitivity=True,
        )
        total += contrast.item() * (bottom - top)
    return total / inside


def psnr_of(first: Tensor, second: Tensor) -> float:
    """PSNR of two images (1, 3, H, W), 0..1, in dB; infinite for equal ones.

    ``second`` may lie on another device.
    """
    height, width = first.shape[-2:]
    total = 0.0
    for top, bottom in _bands(height, width):
        other = second[..., top:bottom, :].to(first.device)
        difference = first[..., top:bottom, :] - other
        total += difference.square_().sum(dtype=torch.float64).item()
    return math.inf if total == 0 else -10 * math.log10(total / first.numel())


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """First row and end of bands of about ``_BAND_PIXELS``, none lower than a window's reach."""
    count = max(1, min(height // (2 * WINDOW), math.ceil(height * width / _BAND_PIXELS)))
    cuts = [round(height * i / count) for i in range(count + 1)]
    yield from pairwise(cuts)


def ssim(conditions: Conditions) -> ImageMeasure:
    """See the catalogue for the definition."""
    _check_side("SSIM", conditions, WINDOW)
    return lambda pair: {"ssim": ssim_of(pair.output, pair.content)}


def ms_ssim(conditions: Conditions) -> ImageMeasure:
    """See the catalogue for the definition."""
    _check_side("MS-SSIM", conditions, MS_SSIM_LEAST_SIDE)
    return lambda pair: {"ms_ssim": ms_ssim_of(pair.output, pair.content)}


def psnr_teacher(conditions: Conditions) -> ImageMeasure:
    """See the catalogue for the definition."""

    def measure(pair: Pair) -> Values:
        assert pair.teacher is not None
        return {"psnr_teacher": psnr_of(pair.output, pair.teacher)}

    return measure


def _check_side(what: str, conditions: Conditions, least: int) -> None:
    if min(conditions.content_size) < least:
        raise UserError(f"{what} needs images of at least {least} px a side")

"""Picture files in and out as tensors ``(1, 3, H, W)``: sRGB, RGB in 0..1."""

import os

import numpy as np
import torch
from torch import Tensor

from distill.image_files import write_picture
from distill.images.reader import read_pixels, resize


def read_rgb(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    longer: int | None = None,
) -> Tensor:
    """A picture file as a float32 tensor (1, 3, H, W), RGB in 0..1, contiguous, on the CPU.

    Args:
        path: the file; see :class:`distill.images.reader.ImageFile`.
        size: (width, height) in pixels to resize to (Lanczos), the aspect ratio not kept.
        longer: or the length of the longer side in pixels, the aspect ratio kept.

    Raises:
        UserError: as :func:`distill.images.reader.read_pixels`.
    """
    pixels = read_pixels(path)
    height, width = pixels.shape[:2]
    if longer is not None:
        scale = longer / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
    if size is not None:
        pixels = resize(pixels, size)
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    return planes.to(torch.float32).div_(np.iinfo(pixels.dtype).max)


def save_rgb(image: Tensor, path: str | os.PathLike[str]) -> None:
    """Write (1, 3, H, W) or (3, H, W), RGB in 0..1, as :func:`distill.image_files.write_picture`.

    Values are clamped to 0..1 and rounded to the nearest of 256 levels.

    Raises:
        UserError: as :func:`distill.image_files.write_picture`.
        ValueError: for a tensor of another shape, or values that are not finite.
    """
    planes = image.detach()[0] if image.dim() == 4 and len(image) == 1 else image.detach()
    if planes.dim() != 3 or planes.shape[0] != 3:
        raise ValueError(f"an image is (1, 3, H, W) or (3, H, W); got {tuple(image.shape)}")
    if not bool(planes.isfinite().all()):
        raise ValueError("the image holds values that are not finite numbers")
    levels = planes.float().clamp(0, 1).mul(255).round_().to(torch.uint8)
    write_picture(path, levels.permute(1, 2, 0).contiguous().cpu().numpy())

"""Image files in as uint8 ``(H, W, 3)`` RGB, and pixels resized."""

import os

import numpy as np
from PIL import Image, ImageOps

from bench.units import Size
from distill.images.reader import (
    AnyPixels,
    Pixels,
    picture_size,
    read_image,
    read_pixels,
    resize,
)

__all__ = ["AnyPixels", "Pixels", "cover", "image_size", "read_image", "read_pixels", "resize"]


def image_size(path: str | os.PathLike[str]) -> Size:
    """Size as ``read_image`` would give it, from the file's header. Raises as that does."""
    return Size(*picture_size(path))


def cover(pixels: AnyPixels, size: Size) -> AnyPixels:
    """``(H, W, 3)`` to exactly that size by Lanczos: the centre, with its aspect ratio kept."""
    height, width = pixels.shape[:2]
    if (width, height) == tuple(size):
        return pixels
    if pixels.dtype == np.uint8:
        return np.array(ImageOps.fit(Image.fromarray(pixels), size, Image.Resampling.LANCZOS))
    covered = np.empty((size.height, size.width, 3), pixels.dtype)
    for channel in range(3):
        plane = Image.fromarray(pixels[:, :, channel].astype(np.float32))
        levels = np.asarray(ImageOps.fit(plane, size, Image.Resampling.LANCZOS))
        covered[:, :, channel] = np.rint(levels).clip(0, np.iinfo(pixels.dtype).max)
    return covered

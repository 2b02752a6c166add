"""Image files in and out, of every kind Pillow reads; an image is uint8 ``(H, W, 3)`` RGB."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from bench.units import Size
from distill.image_files import as_rgb, open_picture, picture_size

Pixels = npt.NDArray[np.uint8]


def read_image(path: str | os.PathLike[str]) -> Pixels:
    """An image file as uint8 ``(H, W, 3)`` RGB, of pixels as :func:`distill.image_files.as_rgb`.

    Raises ``UserError`` for what is missing, damaged, too large or no image.
    """
    with open_picture(Path(path)) as image:
        return np.array(as_rgb(image))


def image_size(path: str | os.PathLike[str]) -> Size:
    """Size as ``read_image`` would give it, from the file's header. Raises as that does."""
    return Size(*picture_size(path))


def resize(array: Pixels, size: Size) -> Pixels:
    """``(H, W, 3)`` to exactly that size by Lanczos, the aspect ratio not kept."""
    if (array.shape[1], array.shape[0]) == tuple(size):
        return array
    return np.array(Image.fromarray(array).resize(size, Image.Resampling.LANCZOS))


def cover(array: Pixels, size: Size) -> Pixels:
    """``(H, W, 3)`` to exactly that size by Lanczos: the centre, with its aspect ratio kept."""
    height, width = array.shape[:2]
    if (width, height) == tuple(size):
        return array
    fitted = ImageOps.fit(Image.fromarray(array), size, Image.Resampling.LANCZOS)
    return np.array(fitted)

"""Image files in and out, of every kind Pillow reads; an image is uint8 ``(H, W, 3)`` RGB."""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from bench.errors import UserError
from bench.suggest import did_you_mean, did_you_mean_path
from bench.units import Size

Pixels = npt.NDArray[np.uint8]

MAX_READ_PIXELS = 1_000_000_000
"""Largest image file that is read: 1000 MP, which is 3 GB as RGB."""

_WRITERS: dict[str, tuple[str, dict[str, Any], int]] = {
    # Format, Pillow's options, longest side in px.
    ".png": ("PNG", {"compress_level": 4}, 2**31 - 1),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}, 65535),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}, 65535),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}, 2**31 - 1),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}, 2**31 - 1),
    ".webp": ("WEBP", {"quality": 95}, 16383),
}


# --- Files ----------------------------------------------------------------------------------------


def read_image(path: str | os.PathLike[str]) -> Pixels:
    """An image file as uint8 ``(H, W, 3)`` RGB.

    Turned as its EXIF orientation says; transparent parts over white; the first frame of several.
    Grey of 16 bits is scaled to 8 and rounded, colour of 16 bits
    loses its low byte (Pillow's way), floats must lie in 0..1. CMYK is converted without
    its colour profile. Raises ``UserError`` for what is missing, damaged, larger than
    ``MAX_READ_PIXELS`` or no image.
    """
    with _opened(Path(path)) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image, Path(path))


def image_size(path: str | os.PathLike[str]) -> Size:
    """Size as ``read_image`` would give it, from the file's header. Raises as that does."""
    with _opened(Path(path)) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return Size(*(reversed(image.size) if turned else image.size))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file opened by Pillow; what goes wrong in the block becomes a ``UserError``."""
    try:
        if not path.exists():
            raise UserError(f"{path}: no such file{did_you_mean_path(path)}")
        if path.is_dir():
            raise UserError(f"{path}: is a folder, not an image file")
        if not path.is_file():
            raise UserError(f"{path}: is not a regular file")
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes)")
        with _unlimited(), _unwarned(), Image.open(path) as image:
            if image.width * image.height > MAX_READ_PIXELS:
                raise UserError(
                    f"{path}: {image.width}x{image.height} is more than the"
                    f" {MAX_READ_PIXELS // 10**6} MP that are read; make it smaller first"
                )
            yield image
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image, or of a kind that cannot be read") from None
    # What Pillow's decoders raise on damaged data; SyntaxError is its word for a broken header.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read, it may be damaged: {reason}") from error


@contextmanager
def _unlimited() -> Iterator[None]:
    # Pillow warns from 89 MP and refuses from 179 MP; images here are larger by design, and
    # MAX_READ_PIXELS stands in.
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _unwarned() -> Iterator[None]:
    # Pillow warns of what it can do without and raises for what it cannot.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _rgb(image: Image.Image, path: Path) -> Pixels:
    if image.mode.startswith("I"):
        return _grey(_from_integers(np.asarray(image), path))
    if image.mode == "F":
        return _grey(_from_floats(np.asarray(image), path))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        over = Image.new("RGBA", rgba.size, "white")
        over.alpha_composite(rgba)
        return np.array(over.convert("RGB"))
    return np.array(image.convert("RGB"))


def _grey(values: Pixels) -> Pixels:
    return np.asarray(np.repeat(values[:, :, None], 3, axis=2))


def _from_integers(values: npt.NDArray[Any], path: Path) -> Pixels:
    """Grey in 0..65535 to 0..255, rounded. Pillow itself would clip at 255."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UserError(f"{path}: grey values must be 0 to 65535 (16 bit); found {low} to {high}")
    scaled = values.astype(np.uint32)
    scaled *= 255
    scaled += 32767
    scaled //= 65535
    return np.asarray(scaled, dtype=np.uint8)


def _from_floats(values: npt.NDArray[Any], path: Path) -> Pixels:
    low, high = float(values.min()), float(values.max())
    # Not a number compares as false.
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"{path}: floating-point pixels must lie in 0..1; found {low:g} to {high:g}"
        )
    return np.asarray(np.rint(values * 255), dtype=np.uint8)


def check_writable(path: str | os.PathLike[str], size: Size) -> None:
    """Raise the ``UserError`` that writing an image of that size there would end in.

    So that a command can refuse before it computes for an hour.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        allowed = ", ".join(_WRITERS)
        hint = did_you_mean(path.suffix, _WRITERS)
        raise UserError(f"{path}: an image to write ends in {allowed}, not '{path.suffix}'{hint}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a file to write")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no such folder {path.parent}{did_you_mean_path(path.parent)}")
    kind, _, longest = _WRITERS[path.suffix.lower()]
    if max(size) > longest:
        raise UserError(
            f"{path}: {kind} holds at most {longest} px a side, the image is {size};"
            " write .png or .tiff"
        )


def write_image(path: str | os.PathLike[str], array: Pixels) -> None:
    """Write uint8 ``(H, W, 3)`` RGB as PNG, JPEG, TIFF or WebP, by the file's extension.

    JPEG and WebP are lossy, of quality 95. The file appears whole or not at all. Raises
    ``UserError`` for an unknown extension, a folder that is missing or cannot be written to, and a
    size that the format cannot hold.
    """
    path = Path(path)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"an image is uint8 (H, W, 3); got {array.dtype} {array.shape}")
    check_writable(path, Size(array.shape[1], array.shape[0]))
    kind, options, _ = _WRITERS[path.suffix.lower()]
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            Image.fromarray(array).save(file, format=kind, **options)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


# --- Sizes ----------------------------------------------------------------------------------------


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

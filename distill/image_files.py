"""Picture files by Pillow, for all that read or write them: what pixels mean, and what goes wrong.

Imports no PyTorch.
"""

import os
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from distill.errors import UserError
from distill.files import write_atomically
from distill.suggest import did_you_mean, did_you_mean_path

MAX_READ_PIXELS = 1_000_000_000
"""Largest picture that is read: 1000 MP, which is 3 GB as RGB of 8 bits."""


class PixelRangeError(ValueError):
    """Pixels beyond what is known to make 8 bits of; :func:`open_picture` adds the name."""


class Writer(NamedTuple):
    """How files of one ending are written."""

    kind: str
    """Pillow's name of the format."""
    options: Mapping[str, Any]
    longest: int
    """Pixels of a side that the format holds."""


_JPEG = Writer("JPEG", {"quality": 95, "subsampling": 0}, 65_535)
_TIFF = Writer("TIFF", {"compression": "tiff_deflate"}, 2**31 - 1)
WRITERS: Mapping[str, Writer] = {
    ".png": Writer("PNG", {"compress_level": 4}, 2**31 - 1),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": Writer("WEBP", {"quality": 95}, 16_383),
}
"""By a file's ending."""


@contextmanager
def open_picture(source: Path | BytesIO, *, name: str | None = None) -> Iterator[Image.Image]:
    """A picture opened by Pillow, not decoded yet; what goes wrong in the block is a ``UserError``.

    Args:
        source: the file, or its bytes.
        name: of the picture in messages; None for the path.

    Raises:
        UserError: for what is missing, damaged, larger than ``MAX_READ_PIXELS`` or no picture.
    """
    name = name or str(source)
    try:
        if isinstance(source, Path):
            _check_file(source)
        with _tolerant(), Image.open(source) as image:
            if image.width * image.height > MAX_READ_PIXELS:
                raise UserError(
                    f"{name}: {image.width}x{image.height} is more than the "
                    f"{MAX_READ_PIXELS // 10**6} MP that are read; make it smaller first"
                )
            yield image
    except UnidentifiedImageError:
        raise UserError(
            f"{name}: cannot be read: it is no picture (not an image, or of an unknown kind)"
        ) from None
    except PixelRangeError as error:
        raise UserError(f"{name}: {error}") from None
    # What Pillow's decoders raise on damaged data; SyntaxError is its word for a broken header.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name}: cannot be read, it may be damaged: {reason}") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened picture as RGB of 8 bits, the first frame of several.

    Turned as its EXIF orientation says; transparent parts over white. Grey of 16 bits is scaled to
    8 and rounded, colour of 16 bits loses its low byte (Pillow's way), floats must lie in 0..1.
    CMYK is converted without its colour profile.

    Raises:
        PixelRangeError: for pixels beyond these ranges.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        return Image.fromarray(_from_integers(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(_from_floats(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        over = Image.new("RGBA", rgba.size, "white")
        over.alpha_composite(rgba)
        return over.convert("RGB")
    return image.convert("RGB")


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) in pixels of what :func:`as_rgb` gives, from the file's header.

    Raises:
        UserError: as :func:`open_picture`.
    """
    with open_picture(Path(path)) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def check_writable(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> None:
    """Refuse an output file before the work is done for it.

    Args:
        path: of the file.
        size: (width, height) in pixels of the picture, if it is known.

    Raises:
        UserError: for an unknown ending, a folder, a folder that is not there, or a size that the
            format cannot hold.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        hint = did_you_mean(path.suffix, WRITERS)
        raise UserError(
            f"{path}: a picture to write ends in {', '.join(WRITERS)}, not '{path.suffix}'{hint}"
        )
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a file to write")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no such folder {path.parent}{did_you_mean_path(path.parent)}")
    if size is not None and max(size) > writer.longest:
        raise UserError(
            f"{path}: {writer.kind} holds at most {writer.longest} px a side, the image is "
            f"{size[0]}x{size[1]}; write .png or .tiff"
        )


def write_picture(path: str | os.PathLike[str], pixels: npt.NDArray[np.uint8]) -> None:
    """Write uint8 (H, W, 3), RGB, by the file's ending; JPEG and WebP are lossy, of quality 95.

    The file appears whole or not at all.

    Raises:
        UserError: as :func:`check_writable`, and when the disk refuses.
        ValueError: for another array.
    """
    path = Path(path)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"an image is uint8 (H, W, 3); got {pixels.dtype} {pixels.shape}")
    check_writable(path, (pixels.shape[1], pixels.shape[0]))
    kind, options, _ = WRITERS[path.suffix.lower()]
    picture = Image.fromarray(pixels)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            picture.save(file, format=kind, **options)

    try:
        write_atomically(path, write)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such file{did_you_mean_path(path)}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not an image file")
    if not path.is_file():
        raise UserError(f"{path}: is not a regular file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes)")


@contextmanager
def _tolerant() -> Iterator[None]:
    # Pillow warns from 89 MP and refuses from 179 MP, as a defence; images here are larger by
    # design, and MAX_READ_PIXELS stands in. It also warns of what it can do without, and raises for
    # what it cannot.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _from_integers(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Grey in 0..65535 to 0..255, rounded. Pillow itself would clip at 255."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise PixelRangeError(f"grey values must be 0 to 65535 (16 bit); found {low} to {high}")
    scaled = values.astype(np.uint32)
    scaled *= 255
    scaled += 32767
    scaled //= 65535
    return np.asarray(scaled, dtype=np.uint8)


def _from_floats(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    # Not a number compares as false.
    if not (low >= 0 and high <= 1):
        raise PixelRangeError(f"floating-point pixels must lie in 0..1; found {low:g} to {high:g}")
    return np.asarray(np.rint(values * 255), dtype=np.uint8)

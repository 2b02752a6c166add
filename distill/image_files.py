"""Image files out: which can be written, and small ones written by Pillow. Imports no PyTorch."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from distill.errors import UserError
from distill.files import write_atomically
from distill.images.icc import SRGB
from distill.suggest import did_you_mean, did_you_mean_path


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
    if Path(os.path.realpath(path)).is_symlink():
        raise UserError(f"{path}: is a link that leads round in a circle; name another")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a file to write")
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is not a regular file; name another")
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise UserError(f"{path}: no such folder {folder}{did_you_mean_path(folder)}")
    if size is not None and max(size) > writer.longest:
        raise UserError(
            f"{path}: {writer.kind} holds at most {writer.longest} px a side, the image is "
            f"{size[0]}x{size[1]}; write .png or .tiff"
        )


def write_picture(path: str | os.PathLike[str], pixels: npt.NDArray[np.uint8]) -> None:
    """Write uint8 (H, W, 3), sRGB, by the file's ending; JPEG and WebP are lossy, of quality 95.

    The file says that it is sRGB, and appears whole or not at all.

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
            picture.save(file, format=kind, icc_profile=SRGB, **options)

    try:
        write_atomically(path, write)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error

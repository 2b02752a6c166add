"""Picture files in and out as tensors ``(1, 3, H, W)``: 8-bit sRGB, RGB in 0..1."""

import difflib
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from distill.errors import UserError
from distill.files import write_atomically

MAX_READ_PIXELS = 1_000_000_000
"""Largest picture that is read: 1000 MP, which is 3 GB as 8-bit RGB."""
WRITABLE: Mapping[str, Mapping[str, Any]] = {
    ".png": {"compress_level": 4},
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
    ".tif": {"compression": "tiff_deflate"},
    ".tiff": {"compression": "tiff_deflate"},
}
"""Endings of files that can be written, with Pillow's options."""


def read_rgb(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    longer: int | None = None,
) -> Tensor:
    """A picture file as a float32 tensor (1, 3, H, W), RGB in 0..1, contiguous, on the CPU.

    Turned as its EXIF orientation says; transparent parts over white; the first frame of several;
    grey of 16 bits is scaled to 8.

    Args:
        path: the file.
        size: (width, height) in pixels to resize to (Lanczos), the aspect ratio not kept.
        longer: or the length of the longer side in pixels, the aspect ratio kept.

    Raises:
        UserError: for a file that is missing, damaged, larger than ``MAX_READ_PIXELS`` or no
            picture.
    """
    file = Path(path)
    with _opened(file) as image:
        rgb = _rgb(image)
        if longer is not None:
            scale = longer / max(rgb.size)
            size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
        if size is not None and rgb.size != size:
            rgb = rgb.resize(size, Image.Resampling.LANCZOS)
        planes = np.array(rgb).transpose(2, 0, 1)
    return (
        torch.from_numpy(planes)[None]
        .to(torch.float32, memory_format=torch.contiguous_format)
        .div_(255)
    )


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) in pixels that ``read_rgb`` would give, from the header. Raises as it."""
    with _opened(Path(path)) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def save_rgb(image: Tensor, path: str | os.PathLike[str]) -> None:
    """Write (1, 3, H, W) or (3, H, W), RGB in 0..1, with 8 bits a channel, by the file's ending.

    Values are clamped to 0..1 and rounded to the nearest level; JPEG and WebP are lossy, of
    quality 95. The file appears whole or not at all.

    Raises:
        UserError: as :func:`check_writable`, and when the disk refuses.
        ValueError: for a tensor of another shape, or values that are not finite.
    """
    file = Path(path)
    planes = image.detach()[0] if image.dim() == 4 and len(image) == 1 else image.detach()
    if planes.dim() != 3 or planes.shape[0] != 3:
        raise ValueError(f"an image is (1, 3, H, W) or (3, H, W); got {tuple(image.shape)}")
    if not bool(planes.isfinite().all()):
        raise ValueError("the image holds values that are not finite numbers")
    check_writable(file)
    levels = planes.float().clamp(0, 1).mul(255).round_().to(torch.uint8)
    pixels = levels.permute(1, 2, 0).contiguous().cpu().numpy()
    ending = file.suffix.lower()
    picture, kind = Image.fromarray(pixels), Image.registered_extensions()[ending]
    try:
        write_atomically(
            file, lambda partial: picture.save(partial, format=kind, **WRITABLE[ending])
        )
    except (OSError, ValueError) as error:  # a format's longest side is a ValueError or OSError
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file}: cannot be written: {reason}") from error


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse an output path before the work is done for it.

    Raises:
        UserError: for an unknown ending, a folder, or a folder that is not there.
    """
    file = Path(path)
    if file.suffix.lower() not in WRITABLE:
        hint = _near(file.suffix.lower(), WRITABLE)
        raise UserError(
            f"{file}: a picture to write ends in {', '.join(WRITABLE)}, not '{file.suffix}'{hint}"
        )
    if file.is_dir():
        raise UserError(f"{file}: is a folder, not a file to write")
    if not file.parent.is_dir():
        raise UserError(f"{file}: there is no folder {file.parent}{_near_path(file.parent)}")


def _rgb(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        values = np.asarray(upright).astype(np.int64)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise ValueError(f"grey values must be 0 to 65535 (16 bit); found {low} to {high}")
        grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if upright.mode == "F":
        raise ValueError("floating-point pixels are not read; save it with 8 or 16 bits")
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        over = Image.new("RGBA", rgba.size, "white")
        over.alpha_composite(rgba)
        return over.convert("RGB")
    return upright.convert("RGB")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file opened by Pillow; what goes wrong in the block becomes a ``UserError``."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file{_near_path(path)}")
    if not path.is_file():
        kind = "a folder, not a picture" if path.is_dir() else "not a regular file"
        raise UserError(f"{path}: is {kind}")
    # Pillow refuses from 179 MP, as a defence; pictures here are larger by design.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_READ_PIXELS:
                raise UserError(
                    f"{path}: {image.width}x{image.height} is more than the "
                    f"{MAX_READ_PIXELS // 10**6} MP that are read; make it smaller first"
                )
            yield image
    except UnidentifiedImageError:
        raise UserError(f"{path}: is no picture, or of a kind that cannot be read") from None
    # What Pillow's decoders raise on damaged data; SyntaxError is its word for a broken header.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read, it may be damaged: {reason}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _near(text: str, options: Iterable[str]) -> str:
    found = difflib.get_close_matches(text, list(options), n=1)
    return f"; did you mean '{found[0]}'?" if found else ""


def _near_path(path: Path) -> str:
    """A hint at what stands where the first missing part of a path was looked for."""
    while not path.parent.is_dir() and path.parent != path:
        path = path.parent
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        names = []
    return _near(path.name, names)

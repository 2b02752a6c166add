"""The one reader of image files: their pixels in sRGB, whole or row by row, for every command."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from distill.errors import UserError
from distill.images import icc
from distill.images.decoders import Data, check_size, decode, fetch
from distill.images.libvips import checked
from distill.images.metadata import Metadata
from distill.images.orientation import upright

AnyPixels = npt.NDArray[np.unsignedinteger[Any]]
"""uint8 or uint16 (H, W, 3): RGB in 0..255 or 0..65535."""
Pixels = npt.NDArray[np.uint8]
"""uint8 (H, W, 3), RGB."""
_STRIP = 256
"""Rows that are converted at a time where all are wanted."""


class ImageFile:
    """An image file whose header has been read; its pixels are read when they are asked for.

    They are sRGB: RGB of 8 bits, or of 16 where the file has more than 8. A colour profile is
    converted from; without one grey and RGB are sRGB, and CMYK is mixed as plain inks. Transparent
    parts are over white, the first page or frame of several is the picture, and what stands
    turned is upright. See ``docs/images.md``.

    Args:
        source: path of the file, or its bytes.
        name: in messages; None for the path.
        at_least: the shorter side that is needed, in pixels: a JPEG may come reduced by 2, 4 or 8,
            never below this.

    Raises:
        UserError: for what is missing, damaged, no image or of a kind that is not read, in one line
            that starts with the name. Damage further down shows in :meth:`strips`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        name: str | None = None,
        at_least: int | None = None,
    ) -> None:
        if isinstance(source, bytes):
            data = Data(name or "image", None, source)
        else:
            data = Data(name or str(source), Path(source))
        self.name, self._data = data.name, data
        self._samples = decode(data, at_least=at_least)
        self.orientation = self._samples.orientation
        """EXIF's number, 1 to 8, of how :meth:`strips` are turned."""
        width, height = self._samples.width, self._samples.height
        self.width, self.height = (height, width) if self.orientation >= 5 else (width, height)
        self.depth = self._samples.depth
        """Bits of a channel: 8 or 16."""
        self.held_bytes = self._samples.held_bytes
        """Memory that reading takes beyond that of a few rows, in bytes."""

    @property
    def metadata(self) -> Metadata:
        """What the file says beside its pixels."""
        return self._samples.metadata

    def strips(self, rows: int) -> Iterator[AnyPixels]:
        """Read the picture as it is stored, from the top: (``rows`` or fewer at the end, W, 3).

        Raises:
            UserError: for a file that is damaged or cut short.
        """
        samples = self._samples
        with checked(self.name, self._data.size):
            image = samples.open()
            ink, kept = samples.ink, icc.CHANNELS[samples.ink]
            colours = image[:kept] if image.bands > kept else image
            space = icc.profile_space(samples.profile, ink) if samples.profile else None
            if samples.profile and space:
                if space == "rgb" and ink == "grey":
                    colours = colours.bandjoin([colours, colours])
                colours, ink = icc.to_srgb(colours, samples.profile, space), "rgb"
            if samples.alpha is not None:
                colours = colours.bandjoin(image[samples.alpha])
        for pixels in fetch(colours, self._data, rows):
            yield _rgb(pixels, ink)

    def pixels(self) -> AnyPixels:
        """Read the whole picture, upright.

        Raises:
            UserError: as :meth:`strips`, and for more than ``MAX_READ_PIXELS``.
        """
        check_size(self.name, self.width, self.height)
        samples = self._samples
        kind = np.dtype(f"u{samples.depth // 8}")
        whole: AnyPixels = np.empty((samples.height, samples.width, 3), kind)
        top = 0
        for strip in self.strips(_STRIP):
            whole[top : top + len(strip)] = strip
            top += len(strip)
        return np.ascontiguousarray(upright(whole, self.orientation))


def read_pixels(path: str | os.PathLike[str]) -> AnyPixels:
    """Read an image file whole, (H, W, 3) in all its depth: see :class:`ImageFile`.

    Raises:
        UserError: as :class:`ImageFile`, and for more than ``MAX_READ_PIXELS``.
    """
    return ImageFile(path).pixels()


def read_image(path: str | os.PathLike[str]) -> Pixels:
    """Read an image file whole as uint8 (H, W, 3): :func:`read_pixels`, 16 bits rounded to 8.

    Raises:
        UserError: likewise.
    """
    return to_8_bits(read_pixels(path))


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) in pixels of what :func:`read_pixels` gives, from the file's header.

    Raises:
        UserError: as :class:`ImageFile`, and for more than ``MAX_READ_PIXELS``.
    """
    image = ImageFile(path)
    check_size(image.name, image.width, image.height)
    return image.width, image.height


def why_unreadable(path: str | os.PathLike[str]) -> str | None:
    """Decode an image file to its end; why that is not possible, in one line, or None if it is.

    The line starts with the path. No more than a few rows are held.
    """
    try:
        for _ in ImageFile(path).strips(_STRIP):
            pass
    except UserError as error:
        return str(error)
    return None


def to_8_bits(pixels: AnyPixels) -> Pixels:
    """Return pixels of 8 or 16 bits as uint8, to the nearest level."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    # (v * 255 + 32767) // 65535, a strip at a time, as 32 bits take twice the room.
    levels = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), _STRIP):
        scaled = pixels[top : top + _STRIP].astype(np.uint32)
        levels[top : top + _STRIP] = (scaled * 255 + 32767) // 65535
    return levels


def resize(pixels: AnyPixels, size: tuple[int, int]) -> AnyPixels:
    """Resize (H, W, 3) to (width, height) exactly by Lanczos, the aspect ratio not kept."""
    if (pixels.shape[1], pixels.shape[0]) == tuple(size):
        return pixels
    if pixels.dtype == np.uint8:
        small = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
        return np.array(small)
    # Pillow has no colour of 16 bits; floats of 32 hold them exactly.
    resized = np.empty((size[1], size[0], 3), pixels.dtype)
    for channel in range(3):
        plane = Image.fromarray(pixels[:, :, channel].astype(np.float32))
        levels = np.asarray(plane.resize(size, Image.Resampling.LANCZOS))
        resized[:, :, channel] = np.rint(levels).clip(0, np.iinfo(pixels.dtype).max)
    return resized


def _rgb(pixels: AnyPixels, ink: icc.Ink) -> AnyPixels:
    """Ink, and transparency where there is one more channel, as RGB over white."""
    kind = pixels.dtype
    most = np.uint32(np.iinfo(kind).max)
    count = icc.CHANNELS[ink]
    colours, alpha = pixels[:, :, :count], pixels[:, :, count:]
    if ink == "cmyk":
        light = most - colours[:, :, 3:].astype(np.uint32)
        colours = (light - _rounded(colours[:, :, :3] * light, most)).astype(kind)
    if alpha.shape[2]:
        part = alpha.astype(np.uint32)
        colours = _rounded(colours * part + most * (most - part), most).astype(kind)
    return colours.repeat(3, axis=2) if ink == "grey" else colours


def _rounded(product: npt.NDArray[np.uint32], most: np.uint32) -> npt.NDArray[np.uint32]:
    """``product / most`` to the nearest whole number; with 16 bits it just fits into 32."""
    return (product + most // np.uint32(2)) // most

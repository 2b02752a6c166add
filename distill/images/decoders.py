"""From a file to its samples, by whoever decodes its kind: libvips; Pillow and tifffile for the few
kinds and layouts that libvips has no decoder for or gets wrong.

Which of them it is depends on the file alone, never on the command.
"""

import os
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyvips  # type: ignore[import-untyped]
from PIL import Image, UnidentifiedImageError

from distill.errors import UserError
from distill.images.icc import CHANNELS, Ink
from distill.images.kinds import START, Decoder, Kind, identify
from distill.images.libvips import checked, damaged
from distill.images.metadata import Metadata
from distill.images.orientation import orientation_of
from distill.suggest import did_you_mean_path

if TYPE_CHECKING:
    from distill.images.tiff import TiffPage

MAX_READ_PIXELS = 1_000_000_000
"""Largest picture that is read whole: 1000 MP, which is 3 GB as RGB of 8 bits."""
_FETCHED = 1 << 16
"""Bytes that are asked of libvips at a time."""
_CONVERTED = 64
"""Rows of floats that become whole numbers at a time."""
_RAW_EXIF = "Raw profile type exif"
"""Keyword of the text in which older software keeps the EXIF of a PNG."""
_TYPES = {
    **{"uchar": "u1", "char": "i1", "ushort": "u2", "short": "i2", "uint": "u4", "int": "i4"},
    **{"float": "f4", "double": "f8"},
}


@dataclass(frozen=True)
class Samples:
    """A picture as it is stored: 8 or 16 bits, and what its channels are."""

    open: Callable[[], Any]
    """Opens it for one pass from top to bottom: a ``pyvips.Image`` of uchar or ushort."""
    width: int
    height: int
    depth: int
    ink: Ink
    """The first channels; others but ``alpha`` say nothing of the picture."""
    alpha: int | None
    """Channel of the transparency, which the ink is not multiplied by."""
    profile: bytes | None
    orientation: int
    metadata: Metadata
    held_bytes: int
    """Memory that reading takes beyond that of a few rows."""


class Data(NamedTuple):
    """A file, or its bytes."""

    name: str
    """In messages."""
    path: Path | None
    content: bytes = b""

    @property
    def size(self) -> int:
        """In bytes."""
        return self.path.stat().st_size if self.path is not None else len(self.content)

    def start(self, count: int) -> bytes:
        """Read its first bytes."""
        if self.path is None:
            return self.content[:count]
        with self.path.open("rb") as file:
            return file.read(count)

    def stream(self) -> Path | BytesIO:
        """Return what Pillow and tifffile open."""
        return self.path if self.path is not None else BytesIO(self.content)

    def source(self) -> Any:
        """Open it for libvips."""
        if self.path is None:
            return pyvips.Source.new_from_memory(self.content)
        # By number, as libvips takes no name that is not UTF-8.
        number = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            return pyvips.Source.new_from_descriptor(number)
        finally:
            os.close(number)


def decode(data: Data, *, at_least: int | None = None) -> Samples:
    """Open a file by its first bytes.

    Args:
        data: the file.
        at_least: the shorter side that is needed, in pixels: a JPEG may come reduced by 2, 4 or 8,
            never below this, which is faster.

    Raises:
        UserError: for what is missing, damaged, no image, or of a kind or layout that is not read.
    """
    try:
        if data.path is not None:
            _check_file(data.path)
        start = data.start(START)
        kind = identify(start, Path(data.name).suffix)
        if kind is None:
            raise UserError(
                f"{data.name}: cannot be read: it is no picture (not an image, or of an unknown "
                "kind)"
            )
        if kind.decoder is None:
            raise UserError(f"{data.name}: cannot be read: it is {kind.name}; {kind.advice}")
        return _DECODERS[kind.decoder](data, kind, at_least)
    except OSError as error:
        raise UserError(f"{data.name}: cannot be read: {error.strerror or error}") from error


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such file{did_you_mean_path(path)}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not an image file")
    if not path.is_file():
        raise UserError(f"{path}: is not a regular file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes)")


# --- libvips --------------------------------------------------------------------------------------


class _Vips(NamedTuple):
    loader: str
    options: Mapping[str, Any]
    fail_on: str = "error"


_LOADERS: dict[Decoder, _Vips] = {
    "jpeg": _Vips("jpegload_source", {"unlimited": True}),
    "png": _Vips("pngload_source", {"unlimited": True}),
    "tiff": _Vips("tiffload_source", {"unlimited": True}),
    "webp": _Vips("webpload_source", {}),
    "gif": _Vips("gifload_source", {}, fail_on="warning"),
    "heif": _Vips("heifload_source", {"unlimited": True}),
}


def _opener(data: Data, decoder: Decoder, **more: Any) -> Callable[[], Any]:
    loader, options, fail_on = _LOADERS[decoder]

    def open_() -> Any:
        with checked(data.name, data.size):
            load = getattr(pyvips.Image, loader)
            return load(data.source(), access="sequential", fail_on=fail_on, **options, **more)

    return open_


def _by_vips(data: Data, kind: Kind, at_least: int | None) -> Samples:
    decoder = kind.decoder
    assert decoder is not None
    open_ = _opener(data, decoder)
    image = open_()
    if at_least is not None and decoder == "jpeg":
        times = min(image.width, image.height) // at_least
        shrink = next((shrink for shrink in (8, 4, 2) if shrink <= times), 1)
        if shrink > 1:
            open_ = _opener(data, decoder, shrink=shrink)
            image = open_()
    ink: Ink = "cmyk" if image.interpretation == "cmyk" else "rgb"
    if image.interpretation in ("b-w", "grey16"):
        ink = "grey"
    _check_layout(data.name, image, ink)
    # The decoder of HEIF turns by the container's word, which is the one that counts.
    turned, exif = 1, _exif(image)
    if decoder != "heif":
        turned = orientation_of(exif, _blob(image, "xmp-data"))
    return Samples(
        open=_once_more(open_, image),
        width=image.width,
        height=image.height,
        depth=8 if image.format == "uchar" else 16,
        ink=ink,
        alpha=CHANNELS[ink] if image.bands > CHANNELS[ink] else None,
        profile=_blob(image, "icc-profile-data"),
        orientation=turned,
        metadata=_metadata(image, exif),
        held_bytes=_decoded_bytes(image, decoder, data.size),
    )


def _once_more(open_: Callable[[], Any], opened: Any) -> Callable[[], Any]:
    """Hand out what is opened already the first time."""
    waiting = [opened]
    return lambda: waiting.pop() if waiting else open_()


def _check_layout(name: str, image: Any, ink: Ink) -> None:
    extra = image.bands - CHANNELS[ink]
    if image.format not in ("uchar", "ushort") or extra not in (0, 1):
        raise UserError(
            f"{name}: cannot be read: {image.bands} channels of {image.format} in "
            f"{image.interpretation} are not read; save it as RGB of 8 or 16 bits"
        )


def _field(image: Any, name: str, default: Any = None) -> Any:
    return image.get(name) if image.get_typeof(name) else default


def _blob(image: Any, name: str) -> bytes | None:
    value = _field(image, name)
    return bytes(value) if value is not None else None


def _exif(image: Any) -> bytes | None:
    blob = _blob(image, "exif-data")
    if blob is None and _field(image, "vips-loader", "").startswith("png"):
        for name in image.get_fields():
            if name.startswith("png-comment-") and name.endswith(_RAW_EXIF):
                return _raw_profile(image.get(name))
    return blob


def _raw_profile(text: str) -> bytes | None:
    """Read a name, a length, and bytes in hexadecimal digits; None for anything else."""
    try:
        return bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return None


def _metadata(image: Any, exif: bytes | None) -> Metadata:
    # libvips has 1 dot per millimetre where a file says nothing.
    dots = (float(image.xres), float(image.yres))
    return Metadata(exif, dots if dots != (1.0, 1.0) and min(dots) > 0 else None)


def _decoded_bytes(image: Any, decoder: Decoder, size: int) -> int:
    pixels: int = image.width * image.height
    samples: int = pixels * image.bands * (1 if image.format == "uchar" else 2)
    if decoder == "webp":
        return 8 * pixels
    if decoder == "jpeg":
        # The file is mapped into memory; progressive ones keep coefficients of 16 bits.
        return size + (2 * image.bands * pixels if _field(image, "jpeg-multiscan", 0) else 0)
    if decoder in ("gif", "heif"):
        return 2 * samples
    return samples if _field(image, "interlaced", 0) else 0


# --- TIFF -----------------------------------------------------------------------------------------


def _tiff(data: Data, kind: Kind, at_least: int | None) -> Samples:
    from distill.images.tiff import tiff_page  # here, as tifffile takes a tenth of a second

    page = tiff_page(data.stream(), data.name, data.size)
    if page.decoder == "pillow":
        return _by_pillow(data, kind, at_least, frame=page.index)
    open_ = _opener(data, "tiff", page=page.index)
    image = open_()
    ink: Ink = page.ink
    if page.decoder == "libvips" and page.bits <= 16 and image.format in ("uchar", "ushort"):
        open_ = _once_more(open_, image)
        samples, held = image, 0
        if image.bands < CHANNELS[ink]:
            ink = "grey"  # a palette of greys
    else:
        samples = _whole(data, page, image)
        open_ = _once(samples)
        held = samples.width * samples.height * samples.bands * 2
    return Samples(
        open=open_,
        width=samples.width,
        height=samples.height,
        depth=8 if samples.format == "uchar" else 16,
        ink=ink,
        alpha=page.alpha,
        profile=_blob(image, "icc-profile-data"),
        orientation=page.orientation,
        metadata=_metadata(image, _exif(image)),
        held_bytes=held,
    )


def _whole(data: Data, page: "TiffPage", image: Any) -> Any:
    """Decode a page of other samples, or in a layout, that does not come row by row."""
    check_size(data.name, page.width, page.height)
    if page.decoder == "libvips":
        pixels = np.concatenate(list(fetch(image, data, image.height)))
        return _in_memory(_integers(pixels, data.name, page))
    from distill.images.tiff import planes

    try:
        pixels = planes(data.stream(), page.index)
    except Exception as error:  # of many kinds, from many decoders
        words = str(error).splitlines() or [type(error).__name__]
        raise damaged(data.name, words[0]) from error
    pixels = _integers(pixels, data.name, page)
    memory = _in_memory(pixels)
    if not page.premultiplied:
        return memory
    most = int(np.iinfo(pixels.dtype).max)
    divided = memory.unpremultiply(alpha_band=page.alpha, max_alpha=most).rint()
    return divided.cast(memory.format).copy_memory()


def _once(image: Any) -> Callable[[], Any]:
    return lambda: image


def _integers(pixels: npt.NDArray[Any], name: str, page: "TiffPage") -> npt.NDArray[Any]:
    integers = as_integers(pixels, name)
    if page.white_is_zero:  # not so for transparency
        colours = integers[:, :, : CHANNELS[page.ink]]
        np.subtract(np.iinfo(integers.dtype).max, colours, out=colours)
    return integers


def _in_memory(pixels: npt.NDArray[Any]) -> Any:
    height, width, bands = pixels.shape
    sample = "uchar" if pixels.dtype == np.uint8 else "ushort"
    return pyvips.Image.new_from_memory(
        np.ascontiguousarray(pixels).data, width, height, bands, sample
    )


def as_integers(pixels: npt.NDArray[Any], name: str) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return samples of any type as unsigned ones of 8 or 16 bits, of their own.

    Floats in 0..1 become 16 bits, as do integers of other types, whose values must be those of 16.

    Raises:
        UserError: for values beyond.
    """
    if pixels.dtype.kind == "f":
        low, high = float(pixels.min()), float(pixels.max())
        # Not a number compares as false.
        if not (low >= 0 and high <= 1):
            raise UserError(
                f"{name}: floating-point pixels must lie in 0..1; found {low:g} to {high:g}"
            )
        levels = np.empty(pixels.shape, np.uint16)
        for top in range(0, len(pixels), _CONVERTED):
            rows = slice(top, top + _CONVERTED)
            levels[rows] = np.rint(pixels[rows].astype(np.float64) * 65535)
        return levels
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels.copy()
    least, most = int(pixels.min()), int(pixels.max())
    if least < 0 or most > 65535:
        raise UserError(
            f"{name}: whole numbers must be 0 to 65535 (16 bits); found {least} to {most}"
        )
    return pixels.astype(np.uint16)


# --- Pillow ---------------------------------------------------------------------------------------


def _by_pillow(data: Data, kind: Kind, at_least: int | None, frame: int = 0) -> Samples:
    formats = ["TIFF" if kind.decoder == "tiff" else kind.advice]
    with _opened_by_pillow(data, kind, formats) as image:
        if image.format == "JPEG2000":
            _check_jpeg2000(data)
        if frame:
            image.seek(frame)
        check_size(data.name, image.width, image.height)
        orientation = int(image.getexif().get(0x0112, 1) or 1)
        profile = image.info.get("icc_profile")
        # Pillow's own L*a*b* becomes RGB by a profile of its own.
        profile = None if image.mode == "LAB" else profile
        pixels, ink = _pillows_pixels(image, data.name)
    bands = pixels.shape[2]
    memory = _in_memory(pixels)
    return Samples(
        open=_once(memory),
        width=memory.width,
        height=memory.height,
        depth=8 * pixels.itemsize,
        ink=ink,
        alpha=CHANNELS[ink] if bands > CHANNELS[ink] else None,
        profile=profile,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        metadata=Metadata(),
        held_bytes=pixels.nbytes,
    )


def _pillows_pixels(image: Image.Image, name: str) -> tuple[npt.NDArray[Any], Ink]:
    if image.mode.startswith("I") or image.mode == "F":
        return as_integers(np.asarray(image)[:, :, None], name), "grey"
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA")), "rgb"
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[:, :, None], "grey"
    if image.mode == "CMYK":
        return np.asarray(image), "cmyk"
    return np.asarray(image.convert("RGB")), "rgb"


def _check_jpeg2000(data: Data) -> None:
    """Refuse what Pillow decodes wrongly: colour of more than 8 bits, and signed samples."""
    content = data.content if data.path is None else data.path.read_bytes()
    at = content.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return
    (count,) = struct.unpack_from(">H", content, at + 40)
    kinds = [content[at + 42 + 3 * index] for index in range(count)]
    depth = max((kind & 0x7F) + 1 for kind in kinds)
    signed = any(kind & 0x80 for kind in kinds)
    if signed or depth > (16 if count == 1 else 8):
        what = "signed samples" if signed else f"colour of {depth} bits"
        raise UserError(
            f"{data.name}: cannot be read: it is a JPEG 2000 with {what}; save it as PNG or TIFF of"
            " 8 or 16 bits"
        )


@contextmanager
def _opened_by_pillow(data: Data, kind: Kind, formats: list[str]) -> Iterator[Image.Image]:
    """Open a picture by Pillow; what goes wrong in the block is a ``UserError``."""
    name = data.name
    try:
        with _tolerant(), Image.open(data.stream(), formats=formats) as image:
            yield image
    except UnidentifiedImageError:
        raise UserError(
            f"{name}: cannot be read: it is {kind.name} of a layout that is not read, or damaged; "
            "convert it to PNG, TIFF or JPEG first"
        ) from None
    # What Pillow's decoders raise on damaged data; SyntaxError is its word for a broken header.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, LookupError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged(name, reason) from error


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


# --- All ------------------------------------------------------------------------------------------


def check_size(name: str, width: int, height: int) -> None:
    """Raise ``UserError`` for more pixels than are read whole."""
    if width * height > MAX_READ_PIXELS:
        raise UserError(
            f"{name}: {width}x{height} is more than the {MAX_READ_PIXELS // 10**6} MP that are "
            "read; make it smaller first"
        )


def fetch(image: Any, data: Data, rows: int) -> Iterator[npt.NDArray[Any]]:
    """Read an opened image from top to bottom, ``rows`` at a time: (h, W, bands).

    Raises:
        UserError: for damaged data.
    """
    kind, size = np.dtype(_TYPES[image.format]), data.size
    with checked(data.name, size):
        region = pyvips.Region.new(image)
    for top in range(0, image.height, rows):
        strip = np.empty((min(rows, image.height - top), image.width, image.bands), kind)
        # Row by row, or a few: libvips works in pieces of what it is asked for, and many at a time.
        step = max(1, _FETCHED // strip[0].nbytes)
        for start in range(0, len(strip), step):
            part = strip[start : start + step]
            with checked(data.name, size):
                fetched = region.fetch(0, top + start, image.width, len(part))
            part[...] = np.frombuffer(fetched, kind).reshape(part.shape)
        yield strip


_DECODERS: dict[Decoder, Callable[[Data, Kind, int | None], Samples]] = {
    "jpeg": _by_vips,
    "png": _by_vips,
    "tiff": _tiff,
    "webp": _by_vips,
    "gif": _by_vips,
    "heif": _by_vips,
    "pillow": _by_pillow,
}

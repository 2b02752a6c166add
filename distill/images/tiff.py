"""What a TIFF says of its samples: of the page that is the picture, and whether all of it is there.

libvips and Pillow give samples without saying what they are: which extra one is transparency, that
planes lie apart, that a page is a reduced copy. The tags do.
"""

import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import tifffile

from distill.errors import UserError
from distill.images.icc import CHANNELS, Ink
from distill.images.libvips import damaged
from distill.images.orientation import orientation_of_xmp

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # problems are told by exceptions

_INKS: dict[int, Ink] = {0: "grey", 1: "grey", 2: "rgb", 3: "rgb", 5: "cmyk", 6: "rgb", 8: "rgb"}
"""By photometric interpretation: grey from white or black, RGB, palette, inks, YCbCr, CIELAB."""
_PHOTOMETRIC = {
    4: "a mask",
    9: "ICC's L*a*b*",
    10: "ITU's L*a*b*",
    32844: "logarithmic luminance",
    32845: "logarithmic LUV",
}
_RAW = frozenset({32803, 34892})
_COMPRESSIONS = {
    **{5: "LZW", 6: "old-style JPEG", 7: "JPEG", 32773: "PackBits", 34887: "LERC"},
    **{33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000"},
    **{34925: "LZMA", 50000: "ZSTD", 50002: "JPEG XL", 52546: "JPEG XL"},
}
_LIBVIPS = frozenset({1, 2, 3, 4, 5, 7, 8, 32771, 32773, 32946, 50001})
"""None, fax, LZW, JPEG, Deflate, PackBits and WebP."""
_UNPACKED = frozenset({1, 8, 32946})
"""Compressions that planes in tiles may have: none and Deflate."""
_PILLOWS = frozenset({34925, 50000})
"""LZMA and ZSTD, which libvips is built without."""
_JPEGS = frozenset({6, 7, 33007, 34892, 50001, 50002})
"""JPEG, WebP and JPEG XL: their YCbCr is theirs, they give RGB."""
_UINT, _INT, _FLOAT = 1, 2, 3
_PAGES = 10_000
"""Pages among which the picture is looked for: tags may lead round in a circle."""


@dataclass(frozen=True)
class TiffPage:
    """The page of a TIFF that is its picture."""

    index: int
    width: int
    height: int
    bits: int
    """Of a sample."""
    ink: Ink
    samples: int
    alpha: int | None
    """Channel of the transparency; others beyond the ink's are left out."""
    premultiplied: bool
    white_is_zero: bool
    orientation: int
    decoder: Literal["libvips", "tifffile", "pillow"]


def tiff_page(source: Path | BytesIO, name: str, size: int) -> TiffPage:
    """Read the tags of a TIFF.

    Args:
        source: the file, or its bytes.
        name: of the file in messages.
        size: of the file, in bytes.

    Raises:
        UserError: when it is damaged, parts are missing, or its layout is not read.
    """
    try:
        with tifffile.TiffFile(source) as file:
            index, page = _picture(file, name)
            return _checked(index, page, name, size)
    # What tifffile's parsers raise on damaged data.
    except (
        *(tifffile.TiffFileError, struct.error, ValueError, TypeError, LookupError),
        *(AttributeError, OverflowError, MemoryError, OSError, ArithmeticError),
    ) as error:
        words = str(error).splitlines() or [type(error).__name__]
        raise damaged(name, f"its tags are not those of a TIFF ({words[0][:100]})") from error


def planes(source: Path | BytesIO, index: int) -> Any:
    """Decode a page whose planes lie apart, by tifffile: (H, W, samples).

    Raises:
        Exception: of any kind, on damaged data.
    """
    with tifffile.TiffFile(source) as file:
        return file.pages[index].asarray(maxworkers=1).transpose(1, 2, 0)


def _picture(file: tifffile.TiffFile, name: str) -> tuple[int, Any]:
    """The first page that is neither a reduced copy nor a mask."""
    index = -1
    for index, page in enumerate(_pages(file)):
        if index == 0:
            _refuse_raw(page, name)
        if not int(page.subfiletype) & 0b101:
            return index, page
    if index < 0:
        raise damaged(name, "its list of pages is missing; was it cut short?")
    raise UserError(
        f"{name}: cannot be read: its pages are reduced copies and masks of a picture that it does "
        "not hold as a page; save the picture itself as a TIFF of its own"
    )


def _pages(file: tifffile.TiffFile) -> Iterator[Any]:
    for index in range(_PAGES):
        try:
            yield file.pages[index]
        except IndexError:
            return


def _refuse_raw(page: Any, name: str) -> None:
    inner = [one.photometric for one in page.pages or ()] if page.subifds else []
    if "DNGVersion" in page.tags or any(int(one) in _RAW for one in (page.photometric, *inner)):
        raise UserError(
            f"{name}: cannot be read: it is a raw photograph; develop it to TIFF or JPEG first"
        )


def _checked(index: int, page: Any, name: str, size: int) -> TiffPage:
    refusal = _refusal(page)
    if refusal is not None:
        raise UserError(f"{name}: cannot be read: it is a TIFF with {refusal}")
    _check_complete(page, name, size)
    photometric, compression = int(page.photometric), int(page.compression)
    ink = _INKS[photometric]
    extras = [] if photometric == 3 else [int(one) for one in page.extrasamples]
    alpha = next((at for at, kind in enumerate(extras) if kind in (1, 2)), None)
    apart = int(page.planarconfig) == 2 and page.samplesperpixel > 1
    decoder: Literal["libvips", "tifffile", "pillow"] = "libvips"
    if apart and page.is_tiled:
        decoder = "tifffile"
    elif compression in _PILLOWS or _is_plain(photometric, compression, (6, 8)):
        decoder = "pillow"
    return TiffPage(
        index=index,
        width=page.imagewidth,
        height=page.imagelength,
        bits=page.bitspersample,
        ink=ink,
        samples=page.samplesperpixel,
        alpha=None if alpha is None else CHANNELS[ink] + alpha,
        premultiplied=alpha is not None and extras[alpha] == 1,
        white_is_zero=photometric == 0,
        orientation=_orientation(page),
        decoder=decoder,
    )


def _is_plain(photometric: int, compression: int, kinds: tuple[int, ...]) -> bool:
    return photometric in kinds and compression not in _JPEGS


def _refusal(page: Any) -> str | None:
    """What of a page's layout is not read; None if all is."""
    photometric, compression = int(page.photometric), int(page.compression)
    if photometric not in _INKS:
        return f"{_PHOTOMETRIC.get(photometric, f'photometric {photometric}')} for pixels"
    if compression not in _LIBVIPS | _PILLOWS:
        name = _COMPRESSIONS.get(compression, f"compression {compression}")
        return f"{name}, which is not read; save it by Deflate or LZW"
    bits, kind = _tag(page, "BitsPerSample", 1), _tag(page, "SampleFormat", _UINT)
    if any(len(set(values)) > 1 for values in (bits, kind)):
        return f"samples of unlike kinds (of {', '.join(map(str, bits))} bits)"
    allowed = {_UINT: (1, 2, 4, 8, 16, 32), _INT: (16, 32), _FLOAT: (16, 32)}
    words = {_UINT: "unsigned", _INT: "signed", _FLOAT: "floating-point"}.get(kind[0], "complex")
    if bits[0] not in allowed.get(kind[0], ()):
        return f"{words} samples of {bits[0]} bits; save it with unsigned ones of 8 or 16"
    plain = bits[0] == 8 and kind[0] == _UINT
    colours, samples = CHANNELS[_INKS[photometric]], page.samplesperpixel
    if photometric == 3:
        colours = 1
    if samples < colours:
        return f"{samples} samples of a pixel, where its colours are {colours}"
    if photometric == 5 and _tag(page, "InkSet", 1)[0] != 1:
        return "inks that are not CMYK"
    if bits[0] < 8 and samples > 1:
        return f"several samples of {bits[0]} bits; save it with 8"
    if _is_plain(photometric, compression, (6,)) and _tag(page, "YCbCrSubSampling", 2) != (1, 1):
        return "reduced chroma outside JPEG; save it as RGB"
    apart = int(page.planarconfig) == 2 and samples > 1
    if apart and page.is_tiled and compression not in _UNPACKED:
        return (
            f"planes apart, in tiles compressed by {_COMPRESSIONS.get(compression, compression)}; "
            "save it with its planes together ('tiffcp -p contig')"
        )
    by_pillow = compression in _PILLOWS or _is_plain(photometric, compression, (6, 8))
    if by_pillow and (not plain or apart or samples != colours or photometric == 0):
        what = _COMPRESSIONS.get(compression, "YCbCr or L*a*b*")
        return f"{what} in this layout; save it as RGB of 8 or 16 bits, by Deflate"
    white, premultiplied = photometric == 0, 1 in map(int, page.extrasamples)
    if white and kind[0] == _UINT and bits[0] == 32:
        return "32-bit samples whose zero is white; save it with 8 or 16 bits"
    if premultiplied and (kind[0] != _UINT or bits[0] not in (8, 16)) and colours == 1:
        return "grey that is premultiplied, of more than 16 bits"
    return None


def _tag(page: Any, name: str, default: int) -> tuple[int, ...]:
    tag = page.tags.get(name)
    value = default if tag is None else tag.value
    return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)


def _check_complete(page: Any, name: str, size: int) -> None:
    """Refuse a picture of which strips or tiles are not in the file.

    libvips would have them black, and a tile that was never written stands for nothing.
    """
    parts = "tiles" if page.is_tiled else "strips"
    places, lengths = page.dataoffsets, page.databytecounts
    gone = sum(
        1
        for place, length in zip(places, lengths, strict=False)
        if place <= 0 or length <= 0 or place + length > size
    )
    expected = _expected_parts(page)
    gone += max(0, expected - min(len(places), len(lengths)))
    if gone:
        raise UserError(
            f"{name}: cannot be read: {gone} of {expected} {parts} are missing; the file is cut "
            "short, or was not finished"
        )


def _expected_parts(page: Any) -> int:
    across, down = 1, 1
    if page.is_tiled:
        across = -(-page.imagewidth // page.tilewidth)
        down = -(-page.imagelength // page.tilelength)
    else:
        down = -(-page.imagelength // max(1, min(page.rowsperstrip, page.imagelength)))
    apart = page.samplesperpixel if int(page.planarconfig) == 2 else 1
    return int(across * down * apart)


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    value = tag.value if tag is not None else None
    if isinstance(value, bytes) and len(value) == 1:
        value = value[0]
    if isinstance(value, int) and 1 <= value <= 8:
        return int(value)
    xmp = page.tags.get("XMP")
    return (
        orientation_of_xmp(xmp.value if xmp is not None and isinstance(xmp.value, bytes) else None)
        or 1
    )

"""How a stored picture is turned to stand upright: EXIF's orientation, 1 to 8, wherever it is."""

import re
import struct
from typing import Any

import numpy.typing as npt

_TAG = 0x0112
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
"""Types of TIFF and EXIF that hold whole numbers, as ``struct`` has them: some software stores a
BYTE or a LONG where the standard has a SHORT."""
_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """Find the orientation in a file's metadata: EXIF's, else XMP's, else 1 (upright)."""
    return (exif and _of_exif(exif)) or orientation_of_xmp(xmp) or 1


def orientation_of_xmp(xmp: bytes | None) -> int | None:
    """Find the orientation that XMP states; None if it states none."""
    match = _XMP.search(xmp or b"")
    return int(match[1]) if match else None


def _of_exif(exif: bytes) -> int | None:
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for index in range(count):
            entry = start + 2 + 12 * index
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            if tag == _TAG and kind in _INTEGERS:
                (value,) = struct.unpack_from(f"{order}{_INTEGERS[kind]}", data, entry + 8)
                return value if 1 <= value <= 8 else None
    except struct.error:
        pass  # cut short: it states none
    return None


def upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn pixels (H, W, 3) as stored to stand upright; a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels

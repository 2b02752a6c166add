"""What an image file says beside its pixels, and what of it another may say."""

import struct
import warnings
from typing import NamedTuple

from PIL import Image

_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_SIDES = (0xA002, 0xA003)
"""Width and height in pixels, as the camera states them."""


class Metadata(NamedTuple):
    """What a file says beside its pixels."""

    exif: bytes | None = None
    """From its byte order on, without the word that stands before it in a JPEG."""
    dots_per_mm: tuple[float, float] | None = None
    """Across and down."""


def upright_exif(exif: bytes, width: int, height: int) -> bytes:
    """Return EXIF for an upright picture of that size that was made of another.

    The orientation goes, and the preview, which shows the other picture. All else stays: time and
    place, camera, author.

    Raises:
        ValueError: for data that is no EXIF.
    """
    tags = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of tags that it passes over
            tags.load(exif)
        if not len(tags):
            raise ValueError("it holds nothing")
        tags.pop(_ORIENTATION, None)
        camera = tags.get_ifd(_EXIF_IFD) if _EXIF_IFD in tags else {}
        for tag, side in zip(_SIDES, (width, height), strict=True):
            if tag in camera:
                camera[tag] = side
        return tags.tobytes().removeprefix(b"Exif\0\0")
    # What Pillow's parser raises on damaged data; SyntaxError is its word for a broken header.
    except (
        SyntaxError,
        LookupError,
        TypeError,
        OSError,
        struct.error,
        OverflowError,
        UserWarning,
    ) as error:
        raise ValueError(str(error)) from error

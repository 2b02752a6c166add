"""Sizes, bytes, times and fractions as people write them in scenarios and on the command line.

Every parser raises ``ValueError`` with a message that says what is allowed; callers add where it
stood.
"""

import math
import re
from typing import NamedTuple

_BYTE_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_TIME_UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_NUMBER = r"(\d+(?:\.\d+)?)"
MAX_SIDE = 1_000_000
"""Longest side in pixels; beyond any image that exists, so a larger one is a slip of the pen."""


class Size(NamedTuple):
    """Image size in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.pixels / 1e6


def parse_size(text: object) -> Size:
    """``WxH`` in pixels, or ``12.5MP``: a 4:3 image of that many million pixels.

    The sides of an ``MP`` size are the nearest multiples of 16.
    """
    allowed = "a size is 'WxH' in pixels such as 3840x2160, or megapixels such as 12.5MP"
    if not isinstance(text, str):
        raise ValueError(f"{allowed}; got {text!r}")
    if match := re.fullmatch(r"(\d+)x(\d+)", text.strip()):
        size = Size(int(match[1]), int(match[2]))
    elif match := re.fullmatch(_NUMBER + r"\s*MP", text.strip()):
        height = math.sqrt(float(match[1]) * 1e6 * 3 / 4)
        size = Size(*(16 * round(side / 16) for side in (height * 4 / 3, height)))
    else:
        raise ValueError(f"{allowed}; got {text!r}")
    if min(size) < 1 or max(size) > MAX_SIDE:
        raise ValueError(f"each side must be 1 to {MAX_SIDE} px; {text!r} is {size}")
    return size


def _fullmatch(unit: str, text: object) -> re.Match[str] | None:
    """A number and a unit's pattern, or None for anything else."""
    return re.fullmatch(_NUMBER + unit, text.strip()) if isinstance(text, str) else None


def parse_bytes(text: object) -> int:
    """``12GB`` (10^9) or ``12GiB`` (2^30) to bytes."""
    allowed = "an amount of memory is a number with MB, GB, MiB or GiB such as 12GB"
    match = _fullmatch(r"\s*([A-Za-z]+)", text)
    if match is None or match[2].upper() not in _BYTE_UNITS:
        raise ValueError(f"{allowed}; got {text!r}")
    value = int(float(match[1]) * _BYTE_UNITS[match[2].upper()])
    if value <= 0:
        raise ValueError(f"an amount of memory must be above zero; got {text!r}")
    return value


def parse_seconds(text: object) -> float:
    """``120s``, ``500ms``, ``2min`` or ``1h`` to seconds."""
    allowed = "a time is a number with ms, s, min or h such as 120s"
    match = _fullmatch(r"\s*([a-z]+)", text)
    if match is None or match[2] not in _TIME_UNITS:
        raise ValueError(f"{allowed}; got {text!r}")
    value = float(match[1]) * _TIME_UNITS[match[2]]
    if value <= 0:
        raise ValueError(f"a time must be above zero; got {text!r}")
    return value


def parse_fraction(text: object) -> float:
    """``2%`` or ``0.02`` to 0.02; above 0 and at most 1."""
    value: float | None = None
    if isinstance(text, int | float) and not isinstance(text, bool):
        value = float(text)
    elif match := _fullmatch(r"\s*%", text):
        value = float(match[1]) / 100
    if value is None or not 0 < value <= 1:
        allowed = "a fraction is a percentage such as 2% or a number in (0, 1]"
        raise ValueError(f"{allowed}; got {text!r}")
    return value

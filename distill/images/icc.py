"""Colour profiles: from a file's to sRGB on reading, and that of what is written."""

import struct
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyvips  # type: ignore[import-untyped]

Ink = Literal["grey", "rgb", "cmyk"]
"""What the channels of a picture are, beside its transparency."""
CHANNELS: dict[Ink, int] = {"grey": 1, "rgb": 3, "cmyk": 4}
_SPACES: dict[bytes, Ink] = {b"GRAY": "grey", b"RGB ": "rgb", b"CMYK": "cmyk"}
_LATTICE = 9
"""Levels of a channel on which a profile is compared with sRGB."""
_FIELD = "icc-profile-data"


def profile_space(profile: bytes, ink: Ink) -> Ink | None:
    """Find the channels that a profile converts a picture from; None if it leaves it as it is.

    That is so for a profile that is broken or of other channels, which viewers ignore too, and for
    sRGB in one of its many editions: such a picture keeps its pixels to the last bit. A grey
    picture may have a profile of RGB.
    """
    space = _SPACES.get(profile[16:20])
    if space != ink and (ink, space) != ("grey", "rgb"):
        return None
    return space if space is not None and _changes_colours(profile, space) else None


def to_srgb(image: Any, profile: bytes, space: Ink) -> Any:
    """Return a picture of a profile's channels, 8 or 16 bits, as sRGB of as many bits.

    Relative colorimetric, with black point compensation.
    """
    tagged = image.copy(interpretation=_interpretation(space, image.format))
    tagged.set_type(pyvips.GValue.blob_type, _FIELD, profile)
    how = {"intent": "relative", "black_point_compensation": True}
    if image.format == "uchar":
        converted = tagged.icc_transform("srgb", embedded=True, depth=8, **how)
    else:
        # By way of floats: in one step 16 bits go through a table of few colours, which is wrong by
        # up to 5 % where a colour lies outside of sRGB.
        absolute = tagged.icc_import(embedded=True, pcs="lab", **how)
        converted = absolute.icc_export(output_profile="srgb", pcs="lab", depth=16, **how)
    return converted.copy(interpretation=_interpretation("rgb", converted.format))


def _interpretation(ink: Ink, sample: str) -> str:
    if ink == "cmyk":
        return "cmyk"
    names = {"grey": ("b-w", "grey16"), "rgb": ("srgb", "rgb16")}
    return names[ink][sample == "ushort"]


@lru_cache(maxsize=64)
def _changes_colours(profile: bytes, space: Ink) -> bool:
    """Whether a profile moves any colour of a lattice by more than one of 255 levels."""
    levels = np.linspace(0, 255, _LATTICE).round().astype(np.uint8)
    axes = np.meshgrid(*[levels] * CHANNELS[space], indexing="ij")
    lattice = np.stack(axes, axis=-1).reshape(-1, 1, CHANNELS[space])
    image = pyvips.Image.new_from_memory(
        lattice.tobytes(), 1, len(lattice), lattice.shape[2], "uchar"
    )
    try:
        converted = to_srgb(image, profile, space).numpy().reshape(len(lattice), 1, -1)
    except pyvips.Error:
        return False
    if converted.shape[2] != 3 or space == "cmyk":
        return bool(converted.shape[2] == 3)
    return int(np.abs(converted.astype(int) - lattice).max()) > 1


_BRADFORD = (
    1.04790, 0.02292, -0.05021,
    0.02959, 0.99046, -0.01706,
    -0.00923, 0.01508, 0.75168,
)  # fmt: skip
"""The matrix that adapts D65, the white of sRGB, to D50."""


def _srgb() -> bytes:
    """Build a profile of sRGB (IEC 61966-2-1) by version 4 of ICC's format: 480 bytes."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def text(words: str) -> bytes:
        return (
            b"mluc"
            + struct.pack(">4x2I4s2I", 1, 12, b"enUS", 2 * len(words), 28)
            + (words.encode("utf-16-be"))
        )

    def colour(x: float, y: float, z: float) -> bytes:
        return b"XYZ " + bytes(4) + fixed(x, y, z)

    # The curve of the standard: a power of 2.4 above a straight line.
    curve = b"para" + struct.pack(">4xH2x", 3)
    curve += fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    # The primaries, adapted by Bradford's matrix to D50, the white point of profiles.
    data = {
        b"desc": text("sRGB"),
        b"cprt": text("CC0"),
        b"wtpt": colour(0.9642, 1.0, 0.8249),
        b"chad": b"sf32" + bytes(4) + fixed(*_BRADFORD),
        b"rXYZ": colour(0.43607, 0.22249, 0.01392),
        b"gXYZ": colour(0.38515, 0.71687, 0.09708),
        b"bXYZ": colour(0.14307, 0.06061, 0.71410),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    blocks = list(dict.fromkeys(data.values()))  # the curve only once
    blocks = [block + bytes(-len(block) % 4) for block in blocks]
    start = 128 + 4 + 12 * len(data)
    places: dict[bytes, int] = {}
    for block in blocks:
        places[block] = start
        start += len(block)
    table = struct.pack(">I", len(data))
    for name, value in data.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">2I", places[padded], len(value))
    header = struct.pack(
        ">I4xI4s4s4s6H4s4x4x8x8xI3i48x",
        start, 0x04200000, b"mntr", b"RGB ", b"XYZ ", 2026, 1, 1, 0, 0, 0, b"acsp",
        1, *(round(value * 65536) for value in (0.9642, 1.0, 0.8249)),
    )  # fmt: skip
    return header + table + b"".join(blocks)


SRGB = _srgb()
"""The profile that written pictures carry."""

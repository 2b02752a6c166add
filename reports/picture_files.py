"""Pictures of any size, as a figure shows them: reduced, with parts of them pixel for pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width, 3), RGB."""

SEARCHED = 1024
"""Longest side in pixels of the reduced picture in which detail is looked for."""
LEAST, MOST = 48, 160
"""Side in pixels of a close-up: the most is what print shows of one in a figure, at 300 dpi."""


@dataclass(frozen=True)
class Box:
    """A part of a picture, in fractions of its sides."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Picture:
    """A picture as it stands in a figure."""

    width: int
    """In pixels, of the file."""
    height: int
    whole: Pixels
    """Reduced to the figure's size."""
    parts: tuple[Pixels, ...]
    """What is in each box, pixel for pixel."""


def read_picture(
    path: Path, side: int, boxes: Sequence[Box] | None = None
) -> tuple[Picture, tuple[Box, ...]] | None:
    """A picture with its longer side at most ``side`` pixels, and the boxes of its close-ups.

    Without ``boxes`` they are where its detail is. None where there is no readable picture.
    """
    try:
        image = pyvips.Image.new_from_file(str(path), fail_on="error")
        image = (image.flatten() if image.hasalpha() else image).colourspace("srgb")
        found = tuple(detail(_pixels(_reduced(image, SEARCHED)), image) if boxes is None else boxes)
        parts = tuple(_pixels(image.crop(*_place(box, image))) for box in found)
        return Picture(image.width, image.height, _pixels(_reduced(image, side)), parts), found
    except pyvips.Error:
        # missing, cut off or no picture: libvips tells them apart by words alone
        return None


def detail(reduced: Pixels, image: Any, most: int = 2) -> list[Box]:
    """The squares with the strongest gradients, apart from each other: a quarter of the shorter
    side, 48 to 160 px of the full picture.

    Args:
        reduced: the picture, or a smaller copy of it.
        image: what has the ``width`` and ``height`` in pixels of the picture itself.
        most: how many squares there can be; a small picture has room for one.
    """
    scale = reduced.shape[1] / image.width
    full = min(max(min(image.width, image.height) // 4, LEAST), MOST, image.width, image.height)
    grey = reduced.astype(np.float64).mean(axis=2)
    height, width = grey.shape
    side = min(max(1, round(full * scale)), height, width)
    energy = np.zeros_like(grey)
    energy[:-1] += np.abs(np.diff(grey, axis=0))
    energy[:, :-1] += np.abs(np.diff(grey, axis=1))
    sums = np.pad(energy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    # away from the edges, where reflection shows more than the model
    margin = [min(size // 8, (size - side) // 2) for size in (height, width)]
    allowed = np.full_like(inside, -1.0)
    rows = slice(margin[0], inside.shape[0] - margin[0])
    columns = slice(margin[1], inside.shape[1] - margin[1])
    allowed[rows, columns] = inside[rows, columns]
    found: list[Box] = []
    while len(found) < most and allowed.max() >= 0:
        top, left = (int(n) for n in np.unravel_index(int(allowed.argmax()), allowed.shape))
        found.append(
            Box(left / width, top / height, full / image.width, full / image.height),
        )
        apart = side + side // 4
        allowed[max(0, top - apart + 1) : top + apart, max(0, left - apart + 1) : left + apart] = -1
    return found


def _place(box: Box, image: Any) -> tuple[int, int, int, int]:
    """Left, top, width and height of a box in whole pixels inside the picture."""
    width = min(max(1, round(box.width * image.width)), image.width)
    height = min(max(1, round(box.height * image.height)), image.height)
    left = min(round(box.left * image.width), image.width - width)
    top = min(round(box.top * image.height), image.height - height)
    return left, top, width, height


def _reduced(image: Any, side: int) -> Any:
    longer = max(image.width, image.height)
    return image if longer <= side else image.resize(side / longer, kernel="lanczos3")


def _pixels(image: Any) -> Pixels:
    pixels: Pixels = np.asarray(image.numpy(), dtype=np.uint8)
    return pixels

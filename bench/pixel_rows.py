"""Images in whole numbers, in memory or turned in a scratch file, as sources of rows."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.execution.spool import check_scratch
from distill.images.reader import AnyPixels

IN_MEMORY = 32 * 10**6
"""Bytes of a turned image beyond which it goes to a file."""


def to_band(pixels: AnyPixels) -> Tensor:
    """Pixels (h, W, 3) as a float32 band (1, 3, h, W) in 0..1."""
    top = np.iinfo(pixels.dtype).max
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float().div_(top)


class ArraySource:
    """Pixels (H, W, 3) that lie in memory, as a :class:`~bench.execution.rows.RowSource`."""

    def __init__(self, pixels: AnyPixels) -> None:
        self.height, self.width = pixels.shape[:2]
        self.depth = 8 * pixels.itemsize
        self.held_bytes = pixels.nbytes
        """Memory that the image takes, in bytes."""
        self._pixels = pixels

    def bands(self, rows: int) -> Iterator[Tensor]:
        """See :class:`~bench.execution.rows.RowSource`."""
        for top in range(0, self.height, rows):
            yield to_band(self._pixels[top : top + rows])


class TurnedPixels:
    """An image upright that comes turned: kept in a scratch file, which has no name.

    A file of its own, and not random access to the image's: nothing can read an image by columns
    that is compressed by rows.

    Args:
        strips: the image as it is stored, from the top, (h, W, 3) each, and all but the last
            equally high.
        width: as stored.
        height: likewise.
        depth: bits of a channel, 8 or 16.
        orientation: EXIF's, 2 to 8.
        folder: of the scratch file.

    Raises:
        EnvironmentUnfitError: when there is no room for it.
    """

    def __init__(
        self,
        strips: Iterable[AnyPixels],
        *,
        width: int,
        height: int,
        depth: int,
        orientation: int,
        folder: Path,
    ) -> None:
        self._swapped = orientation >= 5
        self._mirrored = orientation in (2, 3, 6, 7)
        self._upended = orientation in (3, 4, 7, 8)
        self._shape = (width, height) if self._swapped else (height, width)
        self._type: np.dtype[np.unsignedinteger[Any]] = np.dtype(f"u{depth // 8}")
        self._heights: list[int] = []
        size = width * height * 3 * self._type.itemsize
        if size > IN_MEMORY:
            check_scratch(folder, size)
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(folder))  # noqa: SIM115
        for strip in strips:
            # Columns that will be rows are put together, strip by strip.
            lines = strip.swapaxes(0, 1) if self._swapped else strip
            self._file.write(np.ascontiguousarray(lines).data)
            self._heights.append(len(strip))

    def rows(self, rows: int) -> Iterator[AnyPixels]:
        """The image in bands (``rows`` or fewer at the end, W, 3), from the top."""
        height = self._shape[0]
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            if self._upended:
                band = self._read(height - bottom, height - top)[::-1]
            else:
                band = self._read(top, bottom)
            yield np.array(band[:, ::-1] if self._mirrored else band)

    def _read(self, top: int, bottom: int) -> AnyPixels:
        height, width = self._shape
        if not self._swapped:
            return self._pixels(top * width, (bottom - top, width))
        parts, before = [], 0
        for part in self._heights:
            start = before * height + top * part
            parts.append(self._pixels(start, (bottom - top, part)))
            before += part
        return np.concatenate(parts, axis=1)

    def _pixels(self, start: int, shape: tuple[int, int]) -> AnyPixels:
        pixel = 3 * self._type.itemsize
        self._file.seek(start * pixel)
        data = self._file.read(shape[0] * shape[1] * pixel)
        return np.frombuffer(data, self._type).reshape(*shape, 3)

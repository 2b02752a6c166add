"""A generated picture, made row by row out of tiles."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, Protocol

import numpy as np

from bench.scenes.landscape import Landscape
from bench.scenes.noise import Array, Bytes
from bench.scenes.painting import Painting
from bench.units import MAX_SIDE
from distill.host import usable_cores

Kind = Literal["content", "style"]

STRIP = 64
"""Height in px of the strips a scene is made in."""
_TILE_COLUMNS = 2048
_MAX_THREADS = 4
_STACK = 1 << 19
"""Bytes of a thread's stack. The usual 8 MB count under a memory cap, and remain after the thread;
how many threads a pool starts is chance, so the room that they leave would be, too."""


class _Picture(Protocol):
    def tile(self, rows: range, columns: range) -> Array:
        """Colours 0..1 of those pixels, shape ``(3, len(rows), len(columns))``."""
        ...


class Scene:
    """A generated picture of ``width`` x ``height`` px."""

    def __init__(self, width: int, height: int, seed: int, kind: Kind = "content") -> None:
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise ValueError(f"a scene's sides are 1 to {MAX_SIDE} px; got {width}x{height}")
        self.width, self.height = width, height
        make = Landscape if kind == "content" else Painting
        self._picture: _Picture = make((width, height), seed)

    def rows(self, y0: int, y1: int) -> Bytes:
        """Rows ``y0`` to ``y1`` (exclusive) as RGB, shape ``(y1 - y0, width, 3)``.

        Cheapest in multiples of ``STRIP`` rows.
        """
        if not 0 <= y0 <= y1 <= self.height:
            raise ValueError(f"rows {y0} to {y1} are not within 0 to {self.height}")
        out = np.empty((y1 - y0, self.width, 3), dtype=np.uint8)

        # Always whole tiles: the same arithmetic on the same shapes, wherever the cuts are.
        def fill(corner: tuple[int, int]) -> None:
            top, left = corner
            rows = range(top, min(top + STRIP, self.height))
            columns = range(left, min(left + _TILE_COLUMNS, self.width))
            planes = self._picture.tile(rows, columns)
            np.clip(planes, 0, 1, out=planes)
            planes *= np.float32(255)
            planes += np.float32(0.5)
            first, last = max(rows.start, y0), min(rows.stop, y1)
            for channel, plane in enumerate(planes):
                np.copyto(
                    out[first - y0 : last - y0, columns.start : columns.stop, channel],
                    plane[first - top : last - top],
                    casting="unsafe",
                )

        tops = range(y0 - y0 % STRIP, y1 if y1 > y0 else y0 - y0 % STRIP, STRIP)
        corners = list(itertools.product(tops, range(0, self.width, _TILE_COLUMNS)))
        threads = min(_MAX_THREADS, usable_cores(), len(corners))
        if threads > 1:
            with _small_stacks(), ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(fill, corners):
                    pass
        else:
            for corner in corners:
                fill(corner)
        return out


@contextmanager
def _small_stacks() -> Iterator[None]:
    """Start threads with small stacks inside."""
    before = threading.stack_size(_STACK)
    try:
        yield
    finally:
        threading.stack_size(before)

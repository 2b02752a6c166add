"""The C library's heap, kept out of a peak of memory."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.cells import Cell

_LARGEST_MAPPED_MP = 8.0
"""Megapixels of an image up to which strips are metered with large blocks mapped."""
_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1
SMALL = 128 << 10
"""Bytes from which on glibc maps a block by itself at first; it then learns to keep larger ones."""
_LARGEST = 32 << 20
"""Bytes up to which it learns to keep them (``mallopt(3)``)."""


def metered_mapped(cell: "Cell") -> bool:
    """Whether a cell's peak is taken while large blocks are mapped; see :func:`peak_repeats`."""
    return peak_repeats(cell.device, cell.execution, cell.megapixels)


def peak_repeats(device: str, execution: str, megapixels: float) -> bool:
    """Whether the peak of such a cell is taken while large blocks are mapped, so that it repeats.

    Not of large images in strips: their bands are just what the C library keeps for the next band,
    and mapping them anew takes half as long again, which would be timed if it stays at one pass.
    Nor on a GPU.
    """
    if device.startswith("cuda"):
        return False
    return execution != "strips" or megapixels <= _LARGEST_MAPPED_MP


def map_large_blocks() -> None:
    """From now on map large blocks when they are taken, and unmap them when they are freed.

    Otherwise freed ones stay in glibc's heap, and which of them are used again is chance: the same
    pass has peaks that differ by a third from process to process. That holds for what is freed long
    before the pass as well, such as what loading the model takes: call this first of all. Mapping
    costs time, so ``keep_large_blocks`` before anything is timed. Elsewhere nothing is done.
    """
    _tell(_MMAP_THRESHOLD, SMALL)


def keep_large_blocks() -> None:
    """Have glibc keep freed blocks, as in any process that has used large ones for a while."""
    _tell(_MMAP_THRESHOLD, _LARGEST)
    _tell(_TRIM_THRESHOLD, 2 * _LARGEST)


@contextmanager
def large_blocks_mapped() -> Iterator[None]:
    """Have large blocks mapped inside, and kept afterwards."""
    map_large_blocks()
    try:
        yield
    finally:
        keep_large_blocks()


def _tell(parameter: int, value: int) -> None:
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(parameter, value)

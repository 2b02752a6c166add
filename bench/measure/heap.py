"""The C library's heap, kept out of a peak of memory."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LARGEST_MAPPED_MP = 8.0
"""Megapixels of an image up to which strips and patches are metered with large blocks mapped."""
_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1
_SMALL = 128 << 10
"""Bytes from which on glibc maps a block by itself at first; it then learns to keep larger ones."""
_LARGEST = 32 << 20
"""Bytes up to which it learns to keep them (``mallopt(3)``)."""


@contextmanager
def large_blocks_mapped() -> Iterator[None]:
    """Have large blocks mapped when they are taken and unmapped when they are freed.

    Otherwise freed ones stay in glibc's heap, and which of them are used again is chance: the same
    pass has peaks that differ by a third from process to process. Mapping costs time, so this is
    not for what is timed: at the end glibc keeps blocks again, as in any process that has used
    large ones for a while. Elsewhere nothing is done.
    """
    _tell(_MMAP_THRESHOLD, _SMALL)
    try:
        yield
    finally:
        _tell(_MMAP_THRESHOLD, _LARGEST)
        _tell(_TRIM_THRESHOLD, 2 * _LARGEST)


def _tell(parameter: int, value: int) -> None:
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(parameter, value)

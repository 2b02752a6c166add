"""What this process gives back to the kernel."""

import ctypes
import gc
import sys
from contextlib import suppress


def return_freed_memory() -> None:
    """Give the kernel back what Python and the C library hold of freed memory."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError):  # a C library other than glibc
            ctypes.CDLL(None).malloc_trim(0)

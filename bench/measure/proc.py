"""This process as the kernel accounts for it."""

import ctypes
import gc
import re
import sys
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def status_bytes(field: str) -> int | None:
    """A memory field of this process's ``/proc/self/status``; None where there is none."""
    try:
        text = (PROC / "self" / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def return_freed_memory() -> None:
    """Give the kernel back what Python and the C library hold of freed memory."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError):  # a C library other than glibc
            ctypes.CDLL(None).malloc_trim(0)

"""Calls of libvips whose failures are all told, each of the right file."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyvips  # type: ignore[import-untyped]

from distill.errors import UserError

# It would keep the last files open, and those decoded whole in memory.
pyvips.cache_set_max(0)
_LOCK = threading.RLock()
_SYSTEM = "system error: "
_HARMLESS = re.compile(
    # The words are not about pixels.
    r"Unknown Adobe color transform|unknown JFIF revision|bad seek to|^\s*$"
)
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
"""What stands between the last pixel and the end of a JPEG: some cameras fill up files."""
_FILLING = 1 / 8
"""Of a file, how much may be that; more is data that other data took the place of."""
_DOMAIN = re.compile(r"^(?:VipsJpeg|tiff2vips|pngload_source|webpload_source|gifload_source): ")
"""libvips' names for its parts, which say nothing to who reads a message."""
_LOST = re.compile(r"error in tile|Corrupt JPEG data")
"""Warnings of what was not decoded and stands as black."""


class _Warnings(logging.Handler):
    """Collects libvips' warnings of lost pixels, which pyvips logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage().removeprefix("VIPS: ")
        if _LOST.search(line):
            self.lines.append(line)


_WARNINGS = _Warnings()
_LOGGER = logging.getLogger("pyvips")
_LOGGER.addHandler(_WARNINGS)
_LOGGER.setLevel(logging.WARNING)  # whatever level everything else is logged at


def damaged(name: str, reason: str) -> UserError:
    """Return the error for a file whose data cannot be decoded."""
    return UserError(f"{name}: cannot be read, it may be damaged: {reason}")


@contextmanager
def checked(name: str, size: int) -> Iterator[None]:
    """Call libvips in the block; what it complains of is an error, even where it goes on.

    libvips fills what it cannot decode (a tile of a TIFF, the rest of a JPEG) and reports success;
    the reason stands in a buffer, one for the process, that the next error of any file would
    report as its own, or in its log alone. So both are emptied before and looked at after, by one
    thread at a time.

    Args:
        name: of the file in messages.
        size: of the file, in bytes.

    Raises:
        UserError: when a call fails or complains.
    """
    with _LOCK:
        pyvips.vips_lib.vips_error_clear()
        _WARNINGS.lines.clear()
        try:
            yield
        except pyvips.Error as error:
            raise damaged(name, reason(error)) from error
        complaints = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode(errors="replace")
        pyvips.vips_lib.vips_error_clear()
        for line in [*complaints.splitlines(), *_WARNINGS.lines]:
            left = _LEFT_OVER.search(line)
            if not (_HARMLESS.search(line) or (left and int(left[1]) < _FILLING * size)):
                raise damaged(name, _DOMAIN.sub("", line.strip()))


def reason(error: pyvips.Error) -> str:
    """Return what libvips says went wrong: the system's first words if any, else its own."""
    lines = [_DOMAIN.sub("", line.strip()) for line in str(error.detail or "").splitlines()]
    lines = [line for line in lines if not _HARMLESS.search(line)]
    system = [line.removeprefix(_SYSTEM) for line in lines if line.startswith(_SYSTEM)]
    return next(filter(None, system + lines + _WARNINGS.lines), str(error).splitlines()[0])

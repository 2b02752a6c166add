"""Standard streams that never stop the work: full, closed, without a reader, in ASCII.

A command does its work whoever reads along. Errors of the streams are kept, and the command asks
for them at its end: progress that is lost costs nothing, a result that is lost does.
"""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import IO, Any

_LEFT = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN})
"""Errors of a reader that wants no more, as ``head`` does."""


class _Patient(io.RawIOBase):
    """Write to a descriptor; keep the error and go on where that fails."""

    def __init__(self, descriptor: int, *, closed: bool) -> None:
        self._descriptor = descriptor
        self._closed = closed
        self.error: OSError | None = None
        """The last failure, but for a reader that left."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        if self._closed:
            self.error = OSError(errno.EBADF, "it is closed")
            return memoryview(data).nbytes
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # whoever shares the stream has made it so: wait, as others do
                select.select((), (self._descriptor,), ())
            except OSError as error:
                if error.errno not in _LEFT:
                    self.error = error
                return memoryview(data).nbytes


@contextlib.contextmanager
def patient_streams() -> Iterator[None]:
    """Put streams that do not fail in the place of standard output and standard error.

    Descriptors that were closed at the start are opened on the null device: a file that is opened
    next would else get their number, and with it what is printed. What the encoding lacks is
    written as an escape. Streams that somebody else has put there (a test, a notebook) stay.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number
    before = sys.stdout, sys.stderr
    ours: list[io.TextIOWrapper] = []
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue
        raw = _Patient(number, closed=stream is None or number in closed)
        ours.append(_text_stream(raw, like=stream, by_line=name == "stderr"))
        setattr(sys, name, ours[-1])
    try:
        yield
    finally:
        for stream in ours:
            stream.flush()
        sys.stdout, sys.stderr = before


def _text_stream(raw: _Patient, *, like: IO[str] | None, by_line: bool) -> io.TextIOWrapper:
    if like is not None:
        like.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(like, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=by_line or raw.isatty(),
        write_through=getattr(like, "write_through", False),
    )


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def output_error() -> OSError | None:
    """Return why something that was printed is lost; None if nothing is, or if its reader left."""
    raw = _raw(sys.stdout)
    if raw is None:
        return None
    sys.stdout.flush()
    return raw.error


@contextlib.contextmanager
def courtesy() -> Iterator[None]:
    """Print inside what need not arrive: progress, and words on files that hold the result.

    Also a decorator of a command whose result is files.
    """
    before = output_error()
    try:
        yield
    finally:
        raw = _raw(sys.stdout)
        if raw is not None:
            sys.stdout.flush()
            raw.error = before


def _raw(stream: IO[str] | None) -> _Patient | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Patient) else None

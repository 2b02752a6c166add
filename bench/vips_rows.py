"""Image files of any size as rows, read and written strip by strip through libvips."""

import os
import secrets
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyvips  # type: ignore[import-untyped]
import torch
from torch import Tensor

from bench.errors import UserError
from bench.pixel_rows import TurnedPixels, to_band
from distill.files import temporary_path
from distill.image_files import check_writable
from distill.images.icc import SRGB
from distill.images.libvips import reason
from distill.images.metadata import Metadata
from distill.images.orientation import upright
from distill.images.reader import AnyPixels, ImageFile

# --- Reading --------------------------------------------------------------------------------------

_TURNED_STRIP = 256
"""Rows that are turned at a time."""


class VipsSource:
    """An image file as a :class:`~bench.execution.rows.RowSource`, in bounded memory.

    Its pixels are those of :class:`distill.images.reader.ImageFile`. JPEG, PNG, TIFF and BigTIFF
    (tiled or not) are read from top to bottom, anew for each pass. Not in bounded memory, and
    counted in ``held_bytes``: AVIF, GIF, WebP, interlaced PNG and progressive JPEG, which can only
    be decoded whole, TIFF of floats, and what libvips does not read. An image that its orientation
    turns is decoded once more into a scratch file, which has no name, since its last row may have
    to come first.

    Args:
        path: of the file.
        scratch: folder of scratch files; None for the system's.

    Raises:
        UserError: for what is missing, damaged or no image; damage further down the file shows in
            :meth:`bands`.
    """

    def __init__(self, path: Path, *, scratch: Path | None = None) -> None:
        self._file, self._scratch = ImageFile(path), scratch or Path(tempfile.gettempdir())
        self._turned: TurnedPixels | None = None
        self.width, self.height = self._file.width, self._file.height
        self.depth = self._file.depth
        """Bits of a channel: 8 or 16."""
        self.held_bytes = self._file.held_bytes
        """Memory that reading takes beyond that of a few rows, in bytes."""

    def bands(self, rows: int) -> Iterator[Tensor]:
        """See :class:`~bench.execution.rows.RowSource`; float32 on the CPU.

        Raises:
            UserError: for a file that is damaged or cut short.
            EnvironmentUnfitError: when there is no room for the scratch file.
        """
        for pixels in self._pixels(rows):
            yield to_band(pixels)

    def _pixels(self, rows: int) -> Iterator[AnyPixels]:
        orientation = self._file.orientation
        if orientation in (1, 2):
            for strip in self._file.strips(rows):
                yield np.ascontiguousarray(upright(strip, orientation))
            return
        if self._turned is None:
            swapped = orientation >= 5
            self._turned = TurnedPixels(
                self._file.strips(_TURNED_STRIP),
                width=self.height if swapped else self.width,
                height=self.width if swapped else self.height,
                depth=self.depth,
                orientation=orientation,
                folder=self._scratch,
            )
        yield from self._turned.rows(rows)


# --- Writing --------------------------------------------------------------------------------------

_KEEP_EXIF, _KEEP_PROFILE = 1, 8
"""libvips' flags of what a saver keeps: with EXIF the resolution of a JPEG as well."""
_CLASSIC_TIFF = 4_000_000_000
"""Bytes of pixels up to which a TIFF surely stays below its 4 GiB, if they do not compress."""
_PIECE = 1 << 20
"""Bytes that are handed on at a time."""


def check_depth(path: Path, depth: int) -> None:
    """Raise ``UserError`` if a file of this name cannot hold ``depth`` bits a channel."""
    if depth == 16 and not holds_16_bits(path):
        raise UserError(
            f"{path}: {path.suffix.lower().lstrip('.')} holds 8 bits a channel, not 16; write .png "
            "or .tiff, or ask for 8"
        )


def holds_exif(path: Path) -> bool:
    """Whether EXIF is written into the format that a file's name tells."""
    return path.suffix.lower() not in (".tif", ".tiff")


def holds_16_bits(path: Path) -> bool:
    """Whether the format that a file's name tells can hold 16 bits of a channel."""
    return path.suffix.lower() in (".png", ".tif", ".tiff")


class VipsSink:
    """An image file that is written strip by strip: a :class:`~bench.execution.rows.RowSink`.

    A context manager. The file has its name from :meth:`commit` on and never before; without it,
    or after an exception, nothing is left. A link stays, the file that it leads to is replaced. If
    the process is killed, what it had written stays beside the target as ``.NAME.*.unfinished``,
    and goes when that is next written to.

    libvips pulls an image and cannot be handed one, so a thread has it read from a pipe (as an
    uncompressed PNG, the one format without loss that it reads as a stream): the pipe holds back
    whoever writes faster than the file does, and memory is bounded but for WebP, which is
    compressed in one piece (``held_bytes``).

    The file says that it is sRGB. 8-bit values are those of
    :func:`bench.image_tensors.to_uint8`. TIFF is BigTIFF where 4 GB might
    not do.

    Args:
        path: of the file: .png, .jpg, .tiff or .webp.
        width: of the image in pixels.
        height: likewise.
        depth: bits of a channel, 8 or 16.
        tiled: whether a TIFF is laid out in tiles of 256 x 256 instead of strips.
        metadata: what the file says beside its pixels; None for nothing.

    Raises:
        UserError: for a name, a size or a depth that cannot be written.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        *,
        depth: int = 8,
        tiled: bool = False,
        metadata: Metadata | None = None,
    ) -> None:
        check_writable(path, (width, height))
        check_depth(path, depth)
        self._path, self._width, self._height, self._depth = path, width, height, depth
        self._metadata = metadata or Metadata()
        # A link stays, what it leads to is replaced.
        self._target = Path(os.path.realpath(path))
        webp = path.suffix.lower() == ".webp"
        self.held_bytes = 6 * width * height if webp else 0
        """Memory that writing takes beyond that of a few rows, in bytes."""
        size = width * height * 3 * depth // 8
        self._saver, self._options = _saver(path, size=size, tiled=tiled)
        kept = any(self._metadata)
        self._options["keep"] = _KEEP_PROFILE + (_KEEP_EXIF if kept else 0)
        self._taken = 0
        self._coming: tuple[Tensor, Tensor, torch.cuda.Event | None] | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        self._partial = temporary_path(self._target, f".{secrets.token_hex(4)}{_UNFINISHED}")
        try:
            _remove_stale(self._target)
            self._file = self._partial.open("xb")
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error
        _lock(self._file)
        reading, writing = os.pipe()
        self._pipe = os.fdopen(writing, "wb")
        self._thread = threading.Thread(target=self._encode, args=(reading,), name="write-image")
        self._thread.start()
        kind = struct.pack(">IIBBBBB", self._width, self._height, self._depth, 2, 0, 0, 0)
        self._deflate = zlib.compressobj(0)
        self._pipe.write(b"\x89PNG\r\n\x1a\n")
        self._send(b"IHDR", kind)
        self._send(b"iCCP", b"sRGB\0\0" + zlib.compress(SRGB))
        if self._metadata.dots_per_mm is not None:
            across, down = (round(1000 * dots) for dots in self._metadata.dots_per_mm)
            self._send(b"pHYs", struct.pack(">IIB", across, down, 1))
        if self._metadata.exif is not None:
            self._send(b"eXIf", self._metadata.exif)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failed = isinstance(self._failure, pyvips.Error)
        try:
            # Without its end, the image fails in the thread if that is still at work.
            self._pipe.close()
            self._thread.join()
        finally:
            self._file.close()
            self._partial.unlink(missing_ok=True)
        if failed and isinstance(error, UserError):
            # libvips' words for it may have been taken for those of a file being read.
            self._check()

    def write(self, rows: Tensor) -> None:
        """Take the next band (1, 3, h, W), RGB in 0..1; what lies outside is clamped.

        From a GPU it is copied while the caller goes on.

        Raises:
            UserError: when the file cannot be written, or values are not finite.
        """
        if rows.shape[:2] != (1, 3) or rows.shape[3] != self._width:
            raise ValueError(f"a band is 1x3xhx{self._width}; got {tuple(rows.shape)}")
        most = 2**self._depth - 1
        scaled = rows[0].permute(1, 2, 0).to(torch.float32) * most
        finite = torch.stack(torch.aminmax(scaled)).isfinite().all()
        kind = torch.uint8 if self._depth == 8 else torch.int32
        levels = scaled.round_().clamp_(0, most).to(kind)
        copied = None
        if levels.is_cuda:
            levels, finite = _to_pinned(levels), _to_pinned(finite)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        before, self._coming = self._coming, (levels, finite, copied)
        self._hand_on(before)

    def commit(self) -> None:
        """Complete the file and give it its name.

        Raises:
            UserError: as :meth:`write` does.
        """
        self._hand_on(self._coming)
        if self._taken != self._height:
            raise ValueError(f"{self._taken} rows of {self._height} were written")
        self._send(b"IDAT", self._deflate.flush())
        self._send(b"IEND", b"")
        self._pipe.close()
        self._thread.join()
        self._check()
        try:
            os.fsync(self._file.fileno())
            self._partial.replace(self._target)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error

    def _hand_on(self, band: tuple[Tensor, Tensor, torch.cuda.Event | None] | None) -> None:
        if band is None:
            return
        levels, finite, copied = band
        if copied is not None:
            copied.synchronize()
        if not bool(finite):
            raise UserError(
                f"{self._path}: not written: the result holds values that are not finite numbers; "
                "is the precision too low for this model?"
            )
        pixels = levels.numpy()
        size = self._width * 3 * self._depth // 8
        step = max(1, _PIECE // size)
        for top in range(0, len(pixels), step):
            piece = pixels[top : top + step]
            lines = np.zeros((len(piece), 1 + size), np.uint8)
            # The first byte of a line says that it is not filtered.
            lines[:, 1:] = piece.astype(f">u{self._depth // 8}").reshape(len(piece), -1).view("u1")
            self._send(b"IDAT", self._deflate.compress(lines.data))
            self._check()
        self._taken += len(pixels)

    def _send(self, name: bytes, data: bytes) -> None:
        """A chunk of the PNG."""
        self._pipe.write(struct.pack(">I", len(data)) + name)
        self._pipe.write(data)
        self._pipe.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))

    def _check(self) -> None:
        if isinstance(self._failure, pyvips.Error):
            raise self._unwritable(reason(self._failure)) from self._failure
        if self._failure is not None:
            raise self._failure

    def _unwritable(self, reason: str) -> UserError:
        return UserError(f"{self._path}: cannot be written: {reason}")

    def _encode(self, reading: int) -> None:
        """What the thread does: save what comes through the pipe."""
        try:
            source = pyvips.Source.new_from_descriptor(reading)
            image = pyvips.Image.pngload_source(
                source, access="sequential", fail_on="error", unlimited=True
            )
            getattr(image, self._saver)(str(self._partial), **self._options)
        except Exception as error:
            # Raised again by whoever writes.
            self._failure = error
        finally:
            # A failure must not leave the writer waiting at a full pipe.
            while os.read(reading, _PIECE):
                pass
            os.close(reading)


def _saver(path: Path, *, size: int, tiled: bool) -> tuple[str, dict[str, Any]]:
    """libvips' operation for a file, and its options."""
    kind = path.suffix.lower()
    if kind == ".png":
        # On photographs as small as higher levels, to a twentieth, and twice as fast.
        return "pngsave", {"compression": 2, "filter": "sub"}
    if kind in (".jpg", ".jpeg"):
        return "jpegsave", {"Q": 95, "subsample_mode": "off"}
    if kind == ".webp":
        return "webpsave", {"Q": 95}
    options = {"compression": "deflate", "level": 2, "predictor": "horizontal"}
    if tiled:
        options |= {"tile": True, "tile_width": 256, "tile_height": 256}
    return "tiffsave", options | {"bigtiff": size > _CLASSIC_TIFF}


def _to_pinned(x: Tensor) -> Tensor:
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    return host.copy_(x, non_blocking=True)


_UNFINISHED = ".unfinished"


def _remove_stale(path: Path) -> None:
    """Remove what processes that were killed have left of this file."""
    pattern = temporary_path(path, f".{'?' * 8}{_UNFINISHED}").name
    length = len(pattern) - len(_UNFINISHED) - 8
    for left in path.parent.iterdir():
        if left.name.startswith(pattern[:length]) and left.name.endswith(_UNFINISHED):
            with suppress(OSError), left.open("rb") as file:
                # Whoever is still writing to it holds a lock.
                _lock(file)
                left.unlink()


def _lock(file: IO[bytes]) -> None:
    """Lock a file for this process, where that is known.

    Raises:
        OSError: if another process, or another file object of this one, has it locked.
    """
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

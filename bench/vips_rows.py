"""Image files of any size as rows, read and written strip by strip through libvips."""

import os
import re
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
import numpy.typing as npt
import pyvips  # type: ignore[import-untyped]
import torch
from PIL import TiffImagePlugin
from torch import Tensor

from bench.errors import UserError
from bench.images import read_image
from bench.pixel_rows import AnyPixels, ArraySource, TurnedPixels, to_band
from distill.image_files import check_writable

# --- Reading --------------------------------------------------------------------------------------

_LOADERS: tuple[tuple[re.Pattern[bytes], str, dict[str, Any]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), "jpegload_source", {"unlimited": True}),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "pngload_source", {"unlimited": True}),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "tiffload_source", {"unlimited": True}),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webpload_source", {}),
)
_COLOURS = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb": (3, 4), "rgb16": (3, 4)}
"""Numbers of channels, with transparency or without, that are read strip by strip."""
_OTHER_TIFFS = frozenset({"LAB", "YCbCr"})
"""Pillow's names for kinds of TIFF that libvips gives unconverted, without saying so."""
_TURNED_STRIP = 256
"""Rows that are turned at a time."""
_FETCHED = 1 << 16
"""Bytes that are asked of libvips at a time."""


class VipsSource:
    """An image file as a :class:`~bench.execution.rows.RowSource`, in bounded memory.

    What the pixels mean is as :func:`bench.images.read_image` has it, but for 16 bits of a channel,
    which are all kept. JPEG, PNG, TIFF and BigTIFF (tiled or not) are read from top to bottom, anew
    for each pass. Not in bounded memory, and counted in ``held_bytes``: WebP, interlaced PNG and
    progressive JPEG, which can only be decoded whole, and what Pillow alone reads. An image that
    its EXIF orientation turns is decoded once more into a scratch file, which has no name, since
    its last row may have to come first.

    Args:
        path: of the file.
        scratch: folder of scratch files; None for the system's.

    Raises:
        UserError: for what is missing, damaged or no image; damage further down the file shows in
            :meth:`bands`.
    """

    def __init__(self, path: Path, *, scratch: Path | None = None) -> None:
        self._path, self._scratch = path, scratch or Path(tempfile.gettempdir())
        self._turned: TurnedPixels | None = None
        self._whole: ArraySource | None = None
        image = self._probed()
        if image is None:
            self._whole = ArraySource(read_image(path))
            self.width, self.height = self._whole.width, self._whole.height
            self.depth, self.held_bytes = self._whole.depth, self._whole.held_bytes
            return
        self._orientation = int(_field(image, "orientation", 1))
        self.width, self.height = image.width, image.height
        if self._orientation >= 5:
            self.width, self.height = self.height, self.width
        self.depth = 8 if image.format == "uchar" else 16
        """Bits of a channel: 8 or 16."""
        self.held_bytes = _decoded_bytes(image, self._path)
        """Memory that reading takes beyond that of a few rows, in bytes."""

    def bands(self, rows: int) -> Iterator[Tensor]:
        """See :class:`~bench.execution.rows.RowSource`; float32 on the CPU.

        Raises:
            UserError: for a file that is damaged or cut short.
            EnvironmentUnfitError: when there is no room for the scratch file.
        """
        if self._whole is not None:
            yield from self._whole.bands(rows)
            return
        for pixels in self._pixels(rows):
            yield to_band(pixels)

    def _pixels(self, rows: int) -> Iterator[AnyPixels]:
        if self._orientation in (1, 2):
            for strip in self._strips(rows):
                yield np.ascontiguousarray(strip[:, ::-1]) if self._orientation == 2 else strip
            return
        if self._turned is None:
            swapped = self._orientation >= 5
            self._turned = TurnedPixels(
                self._strips(_TURNED_STRIP),
                width=self.height if swapped else self.width,
                height=self.width if swapped else self.height,
                depth=self.depth,
                orientation=self._orientation,
                folder=self._scratch,
            )
        yield from self._turned.rows(rows)

    def _strips(self, rows: int) -> Iterator[AnyPixels]:
        """The image as it is stored, in RGB."""
        try:
            image = self._opened()
            region = pyvips.Region.new(image)
            for top in range(0, image.height, rows):
                yield _rgb(image, region, top, min(rows, image.height - top))
        except pyvips.Error as error:
            raise UserError(
                f"{self._path}: cannot be read, it may be damaged: {_reason(error)}"
            ) from error

    def _opened(self) -> Any:
        """The file as libvips opens it.

        Raises:
            pyvips.Error: if it does not.
        """
        with self._path.open("rb") as file:
            start = file.read(16)
        for magic, loader, options in _LOADERS:
            if magic.match(start):
                source = pyvips.Source.new_from_file(str(self._path))
                load = getattr(pyvips.Image, loader)
                return load(source, access="sequential", fail_on="error", **options)
        raise pyvips.Error("of no kind that is read strip by strip")

    def _probed(self) -> Any | None:
        """The opened file, if libvips can read it and means by its pixels what Pillow does."""
        try:
            image = self._opened()
            if image.format not in ("uchar", "ushort"):
                return None
            if image.interpretation == "cmyk":
                return image if image.bands == 4 else None
            if image.bands not in _COLOURS.get(image.interpretation, ()):
                return None
            if _field(image, "vips-loader", "").startswith("tiff"):
                # That a compression is unknown shows in the first row only.
                pyvips.Region.new(image).fetch(0, 0, image.width, 1)
                return None if _tiff_mode(self._path) in _OTHER_TIFFS else image
        except (pyvips.Error, OSError, ValueError):
            # Pillow can read it, or say in words what is wrong.
            return None
        return image


def _field(image: Any, name: str, default: Any) -> Any:
    return image.get(name) if image.get_typeof(name) else default


def _tiff_mode(path: Path) -> str | None:
    """Pillow's name for a TIFF's kind of pixels; None if it does not know it."""
    try:
        # Not Image.open, which refuses what is large.
        with TiffImagePlugin.TiffImageFile(path) as image:
            return image.mode
    except (OSError, SyntaxError, ValueError):
        return None


def _decoded_bytes(image: Any, path: Path) -> int:
    pixels: int = image.width * image.height
    if _field(image, "vips-loader", "").startswith("webp"):
        return 8 * pixels
    if _field(image, "vips-loader", "").startswith("jpeg"):
        # The file is mapped into memory; progressive ones keep coefficients of 16 bits.
        coefficients = 2 * image.bands * pixels if _field(image, "jpeg-multiscan", 0) else 0
        return path.stat().st_size + coefficients
    samples = pixels * image.bands * (1 if image.format == "uchar" else 2)
    return samples if _field(image, "interlaced", 0) else 0


def _rgb(image: Any, region: Any, top: int, rows: int) -> AnyPixels:
    kind = np.dtype(np.uint8 if image.format == "uchar" else np.uint16)
    most = np.uint32(2 ** (8 * kind.itemsize) - 1)
    pixels: AnyPixels = np.empty((rows, image.width, image.bands), kind)
    # Row by row, or a few: libvips works in pieces of what it is asked for, and many at a time.
    step = max(1, _FETCHED // pixels[0].nbytes)
    for start in range(0, rows, step):
        part = pixels[start : start + step]
        data = region.fetch(0, top + start, image.width, len(part))
        part[...] = np.frombuffer(data, kind).reshape(part.shape)
    if image.interpretation == "cmyk":
        light = most - pixels[:, :, 3:].astype(np.uint32)
        return (light - _rounded(pixels[:, :, :3] * light, most)).astype(kind)
    if image.bands in (2, 4):
        alpha = pixels[:, :, -1:].astype(np.uint32)
        pixels = _rounded(pixels[:, :, :-1] * alpha + most * (most - alpha), most).astype(kind)
    return pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels


def _rounded(product: npt.NDArray[np.uint32], most: np.uint32) -> npt.NDArray[np.uint32]:
    """``product / most`` to the nearest whole number; with 16 bits it just fits into 32."""
    return (product + most // np.uint32(2)) // most


def _reason(error: pyvips.Error) -> str:
    """What libvips says went wrong: the system's first words if any, else its own."""
    lines = [line.strip() for line in str(error.detail or "").splitlines()]
    system = "system error: "
    said = [line.removeprefix(system) for line in lines if line.startswith(system)]
    return next(filter(None, said + lines), str(error).splitlines()[0])


# --- Writing --------------------------------------------------------------------------------------

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


def holds_16_bits(path: Path) -> bool:
    """Whether the format that a file's name tells can hold 16 bits of a channel."""
    return path.suffix.lower() in (".png", ".tif", ".tiff")


class VipsSink:
    """An image file that is written strip by strip: a :class:`~bench.execution.rows.RowSink`.

    A context manager. The file has its name from :meth:`commit` on and never before; without it,
    or after an exception, nothing is left. If the process is killed, what it had written stays
    beside the target as ``.NAME.*.unfinished``, and goes when that is next written to.

    libvips pulls an image and cannot be handed one, so a thread has it read from a pipe (as an
    uncompressed PNG, the one format without loss that it reads as a stream): the pipe holds back
    whoever writes faster than the file does, and memory is bounded but for WebP, which is
    compressed in one piece (``held_bytes``).

    8-bit values are those of :func:`bench.image_tensors.to_uint8`. TIFF is BigTIFF where 4 GB might
    not do.

    Args:
        path: of the file: .png, .jpg, .tiff or .webp.
        width: of the image in pixels.
        height: likewise.
        depth: bits of a channel, 8 or 16.
        tiled: whether a TIFF is laid out in tiles of 256 x 256 instead of strips.

    Raises:
        UserError: for a name, a size or a depth that cannot be written.
    """

    def __init__(
        self, path: Path, width: int, height: int, *, depth: int = 8, tiled: bool = False
    ) -> None:
        check_writable(path, (width, height))
        check_depth(path, depth)
        self._path, self._width, self._height, self._depth = path, width, height, depth
        webp = path.suffix.lower() == ".webp"
        self.held_bytes = 6 * width * height if webp else 0
        """Memory that writing takes beyond that of a few rows, in bytes."""
        size = width * height * 3 * depth // 8
        self._saver, self._options = _saver(path, size=size, tiled=tiled)
        self._taken = 0
        self._coming: tuple[Tensor, Tensor, torch.cuda.Event | None] | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        self._partial = self._path.with_name(
            f".{self._path.name}.{secrets.token_hex(4)}{_UNFINISHED}"
        )
        try:
            _remove_stale(self._path)
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
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # Without its end, the image fails in the thread if that is still at work.
            self._pipe.close()
            self._thread.join()
        finally:
            self._file.close()
            self._partial.unlink(missing_ok=True)

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
            self._partial.replace(self._path)
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
            raise self._unwritable(_reason(self._failure)) from self._failure
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
        return "pngsave", {"compression": 2, "filter": "sub", "keep": "none"}
    if kind in (".jpg", ".jpeg"):
        return "jpegsave", {"Q": 95, "subsample_mode": "off", "keep": "none"}
    if kind == ".webp":
        return "webpsave", {"Q": 95, "keep": "none"}
    options = {"compression": "deflate", "level": 2, "predictor": "horizontal", "keep": "none"}
    if tiled:
        options |= {"tile": True, "tile_width": 256, "tile_height": 256}
    return "tiffsave", options | {"bigtiff": size > _CLASSIC_TIFF}


def _to_pinned(x: Tensor) -> Tensor:
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    return host.copy_(x, non_blocking=True)


_UNFINISHED = ".unfinished"


def _remove_stale(path: Path) -> None:
    """Remove what processes that were killed have left of this file."""
    for left in path.parent.iterdir():
        if left.name.startswith(f".{path.name}.") and left.name.endswith(_UNFINISHED):
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

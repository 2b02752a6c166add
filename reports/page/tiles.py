"""Pictures of any size for a page: a preview to embed, and tiles in every resolution beside it."""

import base64
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyvips  # type: ignore[import-untyped]

FOLDER = "page/tiles"
"""Where tiles lie in a run folder."""
HUGE_PIXELS = 1 << 24
"""Pictures of more pixels are cut into tiles; others a browser shows whole from their own file."""
SHOWN = frozenset({".png", ".jpg", ".jpeg", ".webp"})
"""Kinds of files that every browser shows."""
TILE = 512
"""Side of a tile in pixels."""
TILE_QUALITY = 92
"""JPEG quality of tiles, with colour at full resolution."""
PREVIEW_QUALITY = 86
"""WebP quality of previews."""
_NAME = "t"
_OURS = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Preview:
    """A picture reduced, and how large it was."""

    width: int
    """Pixels of the picture itself, turned as its file says."""
    height: int
    shown_width: int
    """Pixels of the preview."""
    shown_height: int
    address: str
    """The preview as a ``data:`` address."""


@dataclass(frozen=True)
class Pyramid:
    """Tiles of one picture, each level half as large as the next."""

    folder: str
    """Relative to the run folder; a tile is ``LEVEL/COLUMN_ROW.jpg`` in it."""
    levels: int
    """The last has the picture's own resolution, the first fits one tile."""


class UnreadablePictureError(Exception):
    """A picture's file is missing, damaged or no picture; the message is one line."""


def make_preview(path: Path, side: int) -> Preview:
    """A preview whose sides are at most ``side`` pixels, of a file of any size.

    Raises:
        UnreadablePictureError: the file is missing, damaged or no picture.
    """
    try:
        whole = pyvips.Image.new_from_file(str(path), access="sequential")
        turned = int(whole.get("orientation")) >= 5 if whole.get_typeof("orientation") else False
        small = _opaque(pyvips.Image.thumbnail(str(path), side, height=side, size="down"))
        packed: bytes = small.webpsave_buffer(Q=PREVIEW_QUALITY, effort=4, keep="icc")
    except pyvips.Error as error:
        raise UnreadablePictureError(_reason(path, error)) from None
    width, height = (whole.height, whole.width) if turned else (whole.width, whole.height)
    address = f"data:image/webp;base64,{base64.b64encode(packed).decode('ascii')}"
    return Preview(width, height, small.width, small.height, address)


def write_pyramid(path: Path, run_dir: Path) -> Pyramid:
    """Tiles of a picture in ``run_dir/page/tiles``, in memory that does not grow with its height.

    The folder's name is of the picture's content, so tiles that are there are not made again.

    Raises:
        UnreadablePictureError: the file is missing, damaged or no picture.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UnreadablePictureError(f"{path.name}: {error.strerror}") from None
    folder = run_dir / FOLDER / digest
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as unfinished:
            _cut(path, Path(unfinished) / _NAME)
            made = folder.parent / f".{digest}.{os.getpid()}"
            made.mkdir()
            (Path(unfinished) / f"{_NAME}_files").rename(made / f"{_NAME}_files")
            made.rename(folder)
    levels = sum(1 for one in (folder / f"{_NAME}_files").iterdir() if one.is_dir())
    return Pyramid(f"{FOLDER}/{digest}/{_NAME}_files", levels)


def remove_others(run_dir: Path, kept: Iterable[Pyramid]) -> None:
    """Remove tiles of an earlier page that are not among ``kept``."""
    names = {one.folder.split("/")[-2] for one in kept}
    folder = run_dir / FOLDER
    for one in folder.iterdir() if folder.is_dir() else ():
        if (
            one.name not in names
            and _OURS.fullmatch(one.name)
            and (one / f"{_NAME}_files").is_dir()
        ):
            shutil.rmtree(one)


def _cut(path: Path, target: Path) -> None:
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential").autorot()
        _opaque(image).dzsave(
            str(target),
            tile_size=TILE,
            overlap=0,
            depth="onetile",
            suffix=f".jpg[Q={TILE_QUALITY},subsample-mode=off,keep=icc]",
        )
    except pyvips.Error as error:
        raise UnreadablePictureError(_reason(path, error)) from None


def _opaque(image: pyvips.Image) -> pyvips.Image:
    """In 8-bit sRGB, on white where it is transparent."""
    if image.interpretation not in ("srgb", "b-w"):
        image = image.colourspace("srgb")
    return image.flatten(background=255) if image.hasalpha() else image


def _reason(path: Path, error: Exception) -> str:
    detail = " ".join(str(error).split()).replace(str(path), path.name)
    return f"{path.name} cannot be read: {detail}"

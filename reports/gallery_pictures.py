"""Small copies of a run's pictures for a gallery page."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from reports.picture_files import read_picture
from reports.quality_points import chosen
from reports.results import Results
from reports.text import image_name, one_line

SIDE = 224
"""Longer side of a copy in pixels: a page of Markdown shows eight beside each other."""
QUALITY = 82
MOST_PAIRS = 3
MOST_MODELS = 6
_OURS = re.compile(r"-[0-9a-f]{8}\.jpg$")
_WIDE = 2140
"""Width in pixels of the picture of figures."""


@dataclass(frozen=True)
class PictureRow:
    """A content, a style, and what was made of them."""

    title: str
    pictures: Mapping[str, Path]
    """Small copies by name: content, style, and each model's label."""


def picture_rows(
    results: Results, run_dir: Path, folder: Path
) -> tuple[list[PictureRow], list[Path]]:
    """Copies of the first pairs' pictures as JPEG in ``folder``, and the files written.

    Models with random weights are left out. A picture that the run no longer has is taken from the
    copy that was made before; without one it is left out. Copies that no row shows are removed.
    """
    every = [one for one in results.quality if one.ok and not one.random]
    series = chosen(every, MOST_MODELS)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in series:
        for entry in one.ok[-1].per_pair or []:
            pair = (str(entry.get("content")), str(entry.get("style")))
            if not entry.get("image") or (pair not in rows and len(rows) == MOST_PAIRS):
                continue
            files = rows.setdefault(pair, {})
            for name, key in (
                ("content", "content_image"),
                ("style", "style_image"),
                (one_line(one.label), "image"),
            ):
                if entry.get(key):
                    files.setdefault(name, str(entry[key]))
    written: list[Path] = []
    found = []
    for pair, files in rows.items():
        copies = {name: _copy(run_dir / file, folder, written) for name, file in files.items()}
        known = {name: path for name, path in copies.items() if path}
        if any(name not in ("content", "style") for name in known):
            found.append(PictureRow(" × ".join(one_line(image_name(one)) for one in pair), known))
    _remove_others(folder, {path for row in found for path in row.pictures.values()})
    return found, written


def overview_picture(figures: Sequence[Path], folder: Path) -> Path | None:
    """Figures side by side as ``report.png`` in ``folder``; None without any."""
    if not figures:
        return None
    images = [Image.open(path).convert("RGB") for path in figures]
    height = max(image.height for image in images)
    sheet = Image.new("RGB", (sum(image.width for image in images), height), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width
    if sheet.width > _WIDE:
        sheet = sheet.resize((_WIDE, round(height * _WIDE / sheet.width)), Image.Resampling.LANCZOS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.png"
    sheet.save(path, optimize=True)
    return path


def _copy(path: Path, folder: Path, written: list[Path]) -> Path | None:
    digest = hashlib.sha256(path.name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    target = folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', path.stem)[:60]}-{digest}.jpg"
    read = read_picture(path, SIDE, [])
    if read is None:
        return target if target.is_file() else None
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(read[0].whole).save(target, quality=QUALITY, optimize=True)
    written.append(target)
    return target


def _remove_others(folder: Path, kept: set[Path]) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path not in kept and _OURS.search(path.name):
            path.unlink()

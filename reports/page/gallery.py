"""The pictures of a run for the page: what was made of each pair, with previews and tiles."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import isqrt
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.quality.catalogue import built_in
from reports.page.data import pair_metrics
from reports.page.links import RecordIndex
from reports.page.tiles import (
    HUGE_PIXELS,
    SHOWN,
    Preview,
    Pyramid,
    UnreadablePictureError,
    make_preview,
    write_pyramid,
)
from reports.quality_remarks import NAMES
from reports.results import Results, RunRecord, Series
from reports.text import image_name, one_line

PREVIEW_SIDE = 1024
"""Longest side of a preview in pixels, unless there are many."""
_LEAST_SIDE = 256
_PREVIEW_PIXELS = 40_000_000
"""Of all previews together: about 15 MB of the page."""
MAX_PICTURES = 240
"""Pairs beyond so many pictures are left out of the page, the first pair never."""


@dataclass(frozen=True)
class Shown:
    """A picture of the page."""

    caption: str
    preview: Preview | None
    """None where the file cannot be read."""
    problem: str
    """Why there is no preview; empty where there is one."""
    file: str | None
    """Address of the file relative to the page; None where no browser shows it, or it is huge."""
    pyramid: Pyramid | None

    def data(self) -> dict[str, Any]:
        """As the page's script reads it; the preview itself stands in the page."""
        if self.preview is None:
            return {"caption": self.caption, "problem": self.problem}
        return {
            "caption": self.caption,
            "size": [self.preview.width, self.preview.height],
            "shown": [self.preview.shown_width, self.preview.shown_height],
            "file": self.file,
            "tiles": asdict(self.pyramid) if self.pyramid else None,
        }


@dataclass
class Pair:
    """A content and a style, and what was made of them."""

    title: str
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Content, style and results by name: name, place of the picture and, of results, places of
    the records and the pair's metrics."""


@dataclass(frozen=True)
class Gallery:
    """All pictures, and the pairs they belong to."""

    pictures: tuple[Shown, ...]
    pairs: tuple[Pair, ...]
    left_out: int = 0
    """Pairs beyond ``MAX_PICTURES``."""

    @property
    def pyramids(self) -> list[Pyramid]:
        """Those that were cut into tiles."""
        return [one.pyramid for one in self.pictures if one.pyramid]

    def data(self) -> dict[str, Any]:
        """As the page's script reads it."""
        better = {name: m.better for name, m in built_in().items() if m.better != "none"}
        measured = {
            metric
            for pair in self.pairs
            for layer in pair.layers.values()
            for metric in layer.get("metrics", ())
        }
        return {
            "pictures": [one.data() for one in self.pictures],
            "pairs": [
                {"title": pair.title, "layers": list(pair.layers.values())} for pair in self.pairs
            ],
            "better": better,
            "names": {name: words for name, words in NAMES.items() if name in measured},
        }


def make_gallery(results: Results, run_dir: Path, index: RecordIndex) -> Gallery:
    """The pictures of every quality cell that kept its own.

    Huge ones are cut into tiles in ``run_dir``. A picture that cannot be read is in it, with the
    reason.
    """
    pairs: dict[tuple[Any, ...], Pair] = {}
    captions: dict[str, str] = {}
    places: dict[str, int] = {}
    several = len({_size(cell) for one in results.quality for cell in one.ok}) > 1
    for one, cell, entry in _entries(results):
        names = [str(entry.get(key) or "?") for key in ("content", "style")]
        title = " × ".join(one_line(image_name(name)) for name in names)
        if several:
            title += f", {cell.width}x{cell.height}"
        pair = pairs.setdefault((*names, *_size(cell)), Pair(title))
        label = one_line(one.label) + (" (random weights)" if one.random else "")
        made = {
            "records": " ".join(map(str, index.of_cells([cell]))),
            "metrics": pair_metrics(entry),
        }
        for key, layer, caption, more in (
            ("content_image", "Content", f"Content: {one_line(image_name(names[0]))}", {}),
            ("style_image", "Style", f"Style: {one_line(image_name(names[1]))}", {}),
            ("image", label, f"{label}: {title}", made),
        ):
            file = str(entry.get(key) or "")
            if file and layer not in pair.layers:
                captions.setdefault(file, caption)
                place = places.setdefault(file, len(places))
                pair.layers[layer] = {"name": layer, "picture": place, **more}
    return _shown_pairs(list(pairs.values()), captions, run_dir)


def _shown_pairs(pairs: list[Pair], captions: dict[str, str], run_dir: Path) -> Gallery:
    files = list(captions)
    wanted: dict[int, None] = {}
    kept: list[Pair] = []
    for pair in pairs:
        more = [
            layer["picture"] for layer in pair.layers.values() if layer["picture"] not in wanted
        ]
        if kept and len(wanted) + len(more) > MAX_PICTURES:
            break
        wanted |= dict.fromkeys(more)
        kept.append(pair)
    side = preview_side(len(wanted))
    shown = [_shown(files[place], captions[files[place]], run_dir, side) for place in wanted]
    moved = {place: number for number, place in enumerate(wanted)}
    for pair in kept:
        for layer in pair.layers.values():
            layer["picture"] = moved[layer["picture"]]
    return Gallery(tuple(shown), tuple(kept), len(pairs) - len(kept))


def preview_side(pictures: int) -> int:
    """Longest side in pixels of each of so many previews."""
    return max(_LEAST_SIDE, min(PREVIEW_SIDE, isqrt(_PREVIEW_PIXELS // max(1, pictures))))


def _entries(results: Results) -> Iterator[tuple[Series, RunRecord, dict[str, Any]]]:
    for one in results.quality:
        for cell in one.ok:
            for entry in cell.per_pair or []:
                if entry.get("image"):
                    yield one, cell, entry


def _size(cell: RunRecord) -> tuple[int, ...]:
    return (cell.width, cell.height, cell.style_width, cell.style_height)


def _shown(name: str, caption: str, run_dir: Path, side: int) -> Shown:
    path = run_dir / name
    try:
        preview = make_preview(path, side)
        huge = preview.width * preview.height > HUGE_PIXELS
        shows = path.suffix.lower() in SHOWN
        reduced = preview.shown_width < preview.width
        pyramid = write_pyramid(path, run_dir) if huge or (reduced and not shows) else None
    except UnreadablePictureError as error:
        return Shown(caption, None, one_line(str(error)), None, None)
    return Shown(caption, preview, "", _address(path, run_dir) if shows else None, pyramid)


def _address(path: Path, run_dir: Path) -> str:
    relative = os.path.relpath(path, run_dir).replace(os.sep, "/")
    return quote(relative)

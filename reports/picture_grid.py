"""The pictures themselves: content, style and what each model made of them, with close-ups."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reports.lettering import paragraph, shortened, wrapped
from reports.picture_files import Box, Picture, Pixels, read_picture
from reports.quality_points import chosen
from reports.results import Results, Series
from reports.style import COLUMN, GREY, PAGE, SMALL, new_figure
from reports.text import count, image_name, listing

MOST_PAIRS = 3
MOST_COLUMNS = 6
MOST_MODELS = 16
"""Pictures of one pair, content and style not counted: three lines of six."""
_DPI = 300
_GAP = 0.05
_LEADING = 1.15
_FRAMES: tuple[dict[str, Any], ...] = (
    {"color": "#f2cf00", "linestyle": "-"},
    {"color": "#35c6f4", "linestyle": (0, (2.2, 1.1))},
)
"""Of the close-ups: told apart by their dashes in grey."""


@dataclass(frozen=True)
class Tile:
    """One picture's place in the figure."""

    title: str
    absent: str
    """Why there is no picture, for when there is none."""
    picture: Picture | None
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    per_line: int
    side: float
    """Width of a picture, and its most height times ``tall``."""
    tall: float
    close: float
    """Side of a close-up."""
    title: float
    """Height of the titles above a line."""

    @property
    def line(self) -> float:
        """Height of a line of pictures with titles and close-ups."""
        return self.title + self.side * self.tall + _GAP + self.close + 2 * _GAP


def picture_figure(results: Results, run_dir: Path) -> Figure | None:
    """A line of pictures for each of the first pairs, under each its close-ups, pixel for pixel.

    The close-ups are the parts of the content with most detail, the same parts in every picture
    made from it; a style has its own. Models with random weights are left out. None where no
    picture is there.
    """
    every = [one for one in results.quality if one.ok and not one.random and _kept(one, run_dir)]
    if not every:
        return None
    series = chosen(every, MOST_MODELS)
    lines = -(-(2 + len(series)) // MOST_COLUMNS)
    per_line = -(-(2 + len(series)) // lines)
    width = COLUMN if per_line <= 3 else PAGE
    side = (width - _GAP * (per_line + 1)) / per_line
    known = _pairs(series)
    pairs = known[: max(1, MOST_PAIRS // lines)]
    sets = [_tiles(series, pair, run_dir, round(side * _DPI)) for pair in pairs]
    layout = _layout(sets, per_line, side)
    words = _note(results, sets, len(every) - len(series), len(known) - len(pairs))
    note = paragraph(words, width - 0.1, SMALL)
    below = (note.count("\n") + 1) * SMALL * 1.35 / 72 + 0.06
    height = layout.line * lines * len(sets) + below
    figure = new_figure(width, height)
    # every place is known: nothing is left to a layout engine
    figure.set_layout_engine(None)
    for index, tiles in enumerate(sets):
        for position, tile in enumerate(tiles):
            line, column = divmod(position, per_line)
            left = _GAP + column * (side + _GAP)
            top = height - (index * lines + line) * layout.line
            _draw_tile(figure, tile, layout, left, top)
    figure.text(
        *(0.5, 0.03 / height, note),
        ha="center",
        va="bottom",
        fontsize=SMALL,
        color=GREY,
        linespacing=1.35,
        multialignment="left",
    )
    return figure


def _kept(one: Series, run_dir: Path) -> bool:
    """Whether any of its pictures is there."""
    entries = one.ok[-1].per_pair or []
    return any((run_dir / str(entry["image"])).is_file() for entry in entries if entry.get("image"))


def _pairs(series: Sequence[Series]) -> list[tuple[str, str]]:
    found = {
        (str(entry.get("content")), str(entry.get("style"))): None
        for one in series
        for entry in one.ok[-1].per_pair or []
        if entry.get("image")
    }
    return list(found)


def _tiles(
    series: Sequence[Series], pair: tuple[str, str], run_dir: Path, pixels: int
) -> list[Tile]:
    entries = {
        one.label: entry
        for one in series
        for entry in one.ok[-1].per_pair or []
        if (str(entry.get("content")), str(entry.get("style"))) == pair
    }

    def path(one: Series, key: str) -> Path | None:
        name = entries.get(one.label, {}).get(key)
        return run_dir / str(name) if name else None

    def first(key: str) -> Path | None:
        paths = [found for one in series if (found := path(one, key))]
        return next((one for one in paths if one.is_file()), paths[0] if paths else None)

    def tile(title: str, file: Path | None, boxes: tuple[Box, ...] | None) -> Tile:
        found = read_picture(file, pixels, boxes) if file else None
        name = f"{file.name} cannot be read" if file else "this pair was not finished"
        return Tile(title, name, *(found or (None, boxes or ())))

    content = tile(f"content\n{image_name(pair[0])}", first("content_image"), None)
    style = tile(f"style\n{image_name(pair[1])}", first("style_image"), None)
    boxes = content.boxes or None
    several = len({one.variant for one in series}) > 1
    made = []
    for one in series:
        title = f"{one.short}\n{one.variant}" if several else one.short
        made.append(tile(title, path(one, "image"), boxes))
        # without a content the first output says where the detail is
        boxes = boxes or made[-1].boxes or None
    return [content, style, *made]


def _layout(sets: Sequence[Sequence[Tile]], per_line: int, side: float) -> Layout:
    tiles = [tile for tiles in sets for tile in tiles]
    ratios = [one.picture.height / one.picture.width for one in tiles if one.picture]
    boxes = max([1, *(len(tile.boxes) for tile in tiles)])
    lines = max(_title(tile, side).count("\n") + 1 for tile in tiles)
    return Layout(
        per_line,
        side,
        min(max([*ratios, 0.4]), 1.4),
        (side - _GAP * (boxes - 1)) / boxes,
        lines * SMALL * _LEADING / 72 + 0.07,
    )


def _title(tile: Tile, side: float) -> str:
    width = max(10, int(side * 18.5))
    return "\n".join(wrapped(shortened(line, 2 * width), width) for line in tile.title.split("\n"))


def _draw_tile(figure: Figure, tile: Tile, layout: Layout, left: float, top: float) -> None:
    """``left`` and ``top`` are in inches, from the lower left corner."""
    width, height = figure.get_size_inches()

    def axes(x: float, y: float, wide: float, high: float) -> Axes:
        made = figure.add_axes((x / width, y / height, wide / width, high / height))
        made.set_xticks([])
        made.set_yticks([])
        for edge in made.spines.values():
            edge.set_visible(False)
        return made

    tall = layout.side * layout.tall
    bottom = top - layout.title - tall
    figure.text(
        *((left + layout.side / 2) / width, (bottom + tall + 0.025) / height),
        _title(tile, layout.side),
        ha="center",
        va="bottom",
        fontsize=SMALL,
        linespacing=_LEADING,
    )
    whole = axes(left, bottom, layout.side, tall)
    if tile.picture is None:
        words = paragraph(f"no picture: {tile.absent}", layout.side - 0.1, SMALL)
        whole.text(0.5, 0.5, words, ha="center", va="center", color=GREY, fontsize=SMALL)
        return
    _show(whole, tile.picture.whole)
    high, wide = tile.picture.whole.shape[:2]
    for number, (box, part) in enumerate(zip(tile.boxes, tile.picture.parts, strict=True)):
        frame = _FRAMES[number % len(_FRAMES)]
        corner = (box.left * wide - 0.5, box.top * high - 0.5)
        size = (box.width * wide, box.height * high)
        for line in ({"color": "black", "linewidth": 1.7}, {**frame, "linewidth": 0.9}):
            whole.add_patch(Rectangle(corner, *size, fill=False, **line))
        x = left + number * (layout.close + _GAP)
        close = axes(x, bottom - _GAP - layout.close, layout.close, layout.close)
        _show(close, part)
        for edge in close.spines.values():
            edge.set(visible=True, linewidth=1.1, **frame)


def _show(axes: Axes, pixels: Pixels) -> None:
    # 'none' puts the pixels themselves into PDF and SVG
    axes.imshow(pixels, interpolation="none", aspect="equal")


def _note(results: Results, sets: Sequence[Sequence[Tile]], series: int, pairs: int) -> str:
    """What is shown; ``series`` and ``pairs`` are how many are not."""
    pictures = [tile.picture for tiles in sets for tile in tiles[2:] if tile.picture]
    parts = sorted({f"{p.shape[1]}x{p.shape[0]}" for one in pictures for p in one.parts})
    wholes = sorted({f"{one.width}x{one.height}" for one in pictures})
    text = f"Close-ups: {listing(parts)} px of {listing(wholes)} px, pixel for pixel."
    left_out = [count(series, "more model or setting", "more models or settings")] if series else []
    left_out += [count(pairs, "more image pair")] if pairs else []
    if left_out:
        text += f" {listing(left_out)} not shown."
    if random := results.random_models:
        text += f" Random weights: no picture of {listing(random)}."
    return text

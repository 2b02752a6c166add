"""The pictures themselves: content, style and what each model made of them, with close-ups."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from reports.quality_figure import no_quality
from reports.results import Results, Series
from reports.style import (
    COLUMN,
    GREY,
    PAGE,
    SMALL,
    message_figure,
    new_figure,
    paragraph,
    wrapped,
)
from reports.text import image_name, listing

MAX_PAIRS = 3
MAX_COLUMNS = 6
_SHOWN = 540
"""Longest side in pixels of a whole picture in the figure: 300 dpi at four in a line."""
_FRAME = "#e8c500"


@dataclass(frozen=True)
class Box:
    """A part of a picture, in fractions of its sides."""

    left: float
    top: float
    width: float
    height: float


_MIDDLE = Box(0.375, 0.375, 0.25, 0.25)


@dataclass(frozen=True)
class Picture:
    """A picture of a run as it stands in the figure."""

    title: str
    whole: Image.Image | None
    """Reduced to the figure's size; None where there is no readable file."""
    close: Image.Image | None
    """The part in the box, pixel for pixel."""
    file: str
    """The file's name, for when there is none to read."""


def picture_figure(results: Results, run_dir: Path) -> Figure:
    """A line of pictures for each of the first pairs, under each its close-up, pixel for pixel.

    The close-up is the part of the content with most detail, the same part in every picture made
    from it. Models with random weights have no column and are named below.
    """
    series = [one for one in results.quality if one.ok and not one.random and one.ok[-1].per_pair]
    pairs = _pairs(series)
    if not pairs:
        return message_figure(_why_none(results))
    lines = -(-(2 + len(series)) // MAX_COLUMNS)
    per_line = -(-(2 + len(series)) // lines)
    sets = [_pictures(series, pair, run_dir) for pair in pairs[: max(1, MAX_PAIRS // lines)]]
    side = max(PAGE / MAX_COLUMNS, COLUMN / per_line) if lines == 1 else PAGE / per_line
    tall = side * max(_tallness(pictures) for pictures, _ in sets)
    note = _note(results)
    rows = lines * len(sets)
    width = side * per_line
    figure = new_figure(width, rows * (tall + side + 0.24) + (0.25 if note else 0.02))
    grid = figure.add_gridspec(2 * rows, per_line, height_ratios=[tall, side] * rows)
    for index, (pictures, box) in enumerate(sets):
        for position, picture in enumerate(pictures):
            line, column = divmod(position, per_line)
            row = 2 * (index * lines + line)
            whole = figure.add_subplot(grid[row, column])
            part = figure.add_subplot(grid[row + 1, column])
            _draw(whole, part, picture, box)
    if note:
        figure.supxlabel(paragraph(note, int(width * 22)), fontsize=SMALL, color=GREY)
    return figure


def _pairs(series: Sequence[Series]) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    for one in series:
        for entry in one.ok[-1].per_pair or []:
            if entry.get("image"):
                found[str(entry.get("content")), str(entry.get("style"))] = None
    return list(found)


def _pictures(
    series: Sequence[Series], pair: tuple[str, str], run_dir: Path
) -> tuple[list[Picture], Box]:
    entries = {
        one.label: entry
        for one in series
        for entry in one.ok[-1].per_pair or []
        if (str(entry.get("content")), str(entry.get("style"))) == pair
    }

    def first(key: str) -> str | None:
        return next((str(entry[key]) for entry in entries.values() if entry.get(key)), None)

    wanted = [
        (f"content\n{image_name(pair[0])}", first("content_image")),
        (f"style\n{image_name(pair[1])}", first("style_image")),
        *(
            (f"{one.short}\n{one.variant}".strip(), entries.get(one.label, {}).get("image"))
            for one in series
        ),
    ]
    opened = [(title, str(name or ""), _open(run_dir, name)) for title, name in wanted]
    content = opened[0][2]
    box = _detail(content) if content else _MIDDLE
    return [_picture(title, name, image, box) for title, name, image in opened], box


def _picture(title: str, name: str, image: Image.Image | None, box: Box) -> Picture:
    if image is None:
        return Picture(title, None, None, image_name(name) if name else "this pair")
    small = image.copy()
    small.thumbnail((_SHOWN, _SHOWN), Image.Resampling.LANCZOS)
    left, top = round(box.left * image.width), round(box.top * image.height)
    right = left + max(1, round(box.width * image.width))
    bottom = top + max(1, round(box.height * image.height))
    return Picture(title, small, image.crop((left, top, right, bottom)), image_name(name))


def _tallness(pictures: Sequence[Picture]) -> float:
    """Height over width of the tallest whole picture, between 0.4 and 1.4."""
    ratios = [one.whole.height / one.whole.width for one in pictures if one.whole]
    return min(max([*ratios, 0.4]), 1.4)


def _draw(whole: Axes, part: Axes, picture: Picture, box: Box) -> None:
    for axes in (whole, part):
        axes.set_xticks([])
        axes.set_yticks([])
        for edge in axes.spines.values():
            edge.set(visible=axes is part, color=_FRAME, linewidth=1.2)
    lines = [wrapped(_short(line), 22) for line in picture.title.split("\n")]
    whole.set_title("\n".join(lines), fontsize=SMALL, pad=2, linespacing=1.1)
    if picture.whole is None or picture.close is None:
        whole.axis("off")
        part.axis("off")
        whole.text(
            *(0.5, 0.5, paragraph(f"no picture: {picture.file} cannot be read", 18)),
            ha="center",
            va="center",
            color=GREY,
        )
        return
    whole.imshow(_pixels(picture.whole), interpolation="nearest", aspect="equal")
    part.imshow(_pixels(picture.close), interpolation="nearest", aspect="equal")
    width, height = picture.whole.size
    for colour, thickness in (("black", 1.8), (_FRAME, 0.9)):
        whole.add_patch(
            Rectangle(
                (box.left * width - 0.5, box.top * height - 0.5),
                *(box.width * width, box.height * height),
                fill=False,
                edgecolor=colour,
                linewidth=thickness,
            )
        )


def _short(text: str) -> str:
    return text if len(text) <= 44 else f"{text[:26]}…{text[-17:]}"


def _open(run_dir: Path, name: object) -> Image.Image | None:
    """The picture in RGB, or None where there is no readable one."""
    if not name:
        return None
    try:
        with Image.open(run_dir / str(name)) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        # Pillow's errors for a missing, truncated, foreign or absurdly large file
        return None


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image, dtype=np.uint8)


def _detail(content: Image.Image) -> Box:
    """The square with the strongest gradients: a quarter of the shorter side, 48 to 256 px."""
    grey = np.asarray(content.convert("L"), dtype=np.float64)
    height, width = grey.shape
    side = min(max(min(width, height) // 4, 48), 256, width, height)
    energy = np.zeros_like(grey)
    energy[:-1] += np.abs(np.diff(grey, axis=0))
    energy[:, :-1] += np.abs(np.diff(grey, axis=1))
    sums = np.pad(energy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    # away from the edges, where reflection shows more than the model
    margin = [min(size // 8, (size - side) // 2) for size in (height, width)]
    allowed = inside[
        margin[0] : inside.shape[0] - margin[0], margin[1] : inside.shape[1] - margin[1]
    ]
    top, left = np.unravel_index(int(allowed.argmax()), allowed.shape)
    return Box(
        (int(left) + margin[1]) / width,
        (int(top) + margin[0]) / height,
        side / width,
        side / height,
    )


def _note(results: Results) -> str:
    if not results.random_models:
        return ""
    return f"Random weights: no picture of {listing(results.random_models)}."


def _why_none(results: Results) -> str:
    if any(one.ok and not one.random for one in results.quality):
        return "No pictures: no quality cell kept its pictures."
    return no_quality(results).replace("No quality", "No pictures", 1)

"""Text in figures: what their font can show, how wide it is, and where it is broken."""

from collections.abc import Iterator
from functools import cache
from textwrap import wrap
from typing import Any

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

FONT = "DejaVu Sans"
"""The font that comes with matplotlib, so that a figure is the same on every machine."""


def printable(text: str) -> str:
    """``text`` with code points, ``[U+6A21]``, in place of what the figures' font cannot show."""
    return "".join(
        c
        if c == "\n" or (c.isprintable() and _font().get_char_index(ord(c)))
        else f"[U+{ord(c):04X}]"
        for c in text
    )


def wrapped(text: str, width: int) -> str:
    """``text`` broken into lines of at most ``width`` characters.

    A model's path is on its own, and the settings in brackets behind a name.
    """
    name, bracket, settings = text.rpartition(" (")
    if len(text) <= width or not bracket:
        name, settings = text, ""
    head, colon, tail = name.partition(":")
    pieces = [name] if len(name) <= width or not colon else [head + colon, tail]
    pieces += [f"({settings}"] if settings else []
    return "\n".join(line for piece in pieces for line in wrap(printable(piece), width))


def shortened(text: str, width: int) -> str:
    """``text`` with its middle left out where it is longer than ``width`` characters."""
    if len(text) <= width:
        return text
    end = (width - 1) * 2 // 5
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def paragraph(text: str, width: float, points: float) -> str:
    """Running text broken into lines of at most ``width`` inches at this size."""
    lines = [""]
    for word in printable(text).split():
        for piece in _pieces(word, width, points):
            longer = f"{lines[-1]} {piece}".lstrip()
            if lines[-1] and text_width(longer, points) > width:
                lines.append(piece)
            else:
                lines[-1] = longer
    return "\n".join(lines)


def _pieces(word: str, width: float, points: float) -> Iterator[str]:
    """A word, cut where it is longer than the line."""
    if text_width(word, points) <= width:
        yield word
        return
    begun = 0
    for end in range(1, len(word) + 1):
        if end - begun > 1 and text_width(word[begun:end], points) > width:
            yield word[begun : end - 1]
            begun = end - 1
    yield word[begun:]


def text_width(text: str, points: float) -> float:
    """Width in inches of the longest line of ``text`` at this size."""
    return max(_width(line) for line in text.split("\n")) * points / 72


@cache
def _width(line: str) -> float:
    """In ems."""
    font = FontProperties(family=FONT, size=100)
    width, _, _ = text_to_path.get_text_width_height_descent(line, font, ismath=False)
    return float(width) / 100


@cache
def _font() -> Any:
    return get_font(findfont(FONT))

"""Words for error messages: the nearest right spelling, and values shown on one short line."""

import difflib
from collections.abc import Iterable
from pathlib import Path


def nearest(text: str, options: Iterable[str]) -> str | None:
    """The option most like ``text``, whatever its case; None if none is near."""
    by_lower = {option.lower(): option for option in options}
    near = difflib.get_close_matches(text.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def did_you_mean(text: str, options: Iterable[str]) -> str:
    """``; did you mean 'x'?`` to put at the end of a message, or nothing if no option is near."""
    near = nearest(text, options)
    return "" if near is None else f"; did you mean '{near}'?"


def did_you_mean_path(path: Path, *, also: tuple[str, ...] = ()) -> str:
    """A hint at what stands where the first missing part of ``path`` was looked for, or nothing."""
    while not path.parent.is_dir() and path.parent != path:
        path = path.parent
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        names = []
    return did_you_mean(path.name, [*names, *also])


def one_line(text: str) -> str:
    """``text`` with everything that does not print, line breaks included, as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object, limit: int = 80) -> str:
    """``value`` as an error message shows it: collections by name, long texts cut short."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"

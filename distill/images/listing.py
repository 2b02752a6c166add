"""Which files of a folder are taken for images, and what is said of the others."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from distill.images.kinds import READ_SUFFIXES

_MOST_ENDINGS = 8
"""Endings that are named; the rest are counted."""


def is_visible(path: PurePath) -> bool:
    """Whether a file counts: those that begin with a dot are what systems leave beside images."""
    return not path.name.startswith(".")


def has_image_suffix(path: PurePath) -> bool:
    """Whether a file's ending, in either case, is that of an image that can be read."""
    return path.suffix.lower() in READ_SUFFIXES


def taken_text(taken: int, left_out: Sequence[PurePath]) -> str:
    """How many of how many files were taken: ``12 of 15 files; left out: 2 .txt, 1 .heic``."""
    total = taken + len(left_out)
    files = f"{taken} of {total} file{'' if total == 1 else 's'}"
    return f"{files}; left out: {_endings(left_out)}" if left_out else files


def _endings(paths: Iterable[PurePath]) -> str:
    counts = Counter(path.suffix.lower() or "without an ending" for path in paths)
    named = [f"{count} {ending}" for ending, count in counts.most_common(_MOST_ENDINGS)]
    more = sum(counts.values()) - sum(count for _, count in counts.most_common(_MOST_ENDINGS))
    return ", ".join([*named, *([f"{more} others"] if more else [])])

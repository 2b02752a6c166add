"""Which fields of a record are compared, and what kind of number each is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import UserError
from distill.suggest import did_you_mean


@dataclass(frozen=True)
class Compared:
    """A field of which less is better."""

    name: str
    family: Literal["time", "memory", "size"]
    unit: str
    jitter: float = 0.0
    """What the counter moves by from process to process, in its unit, when nothing has changed:
    a smaller change never counts."""


COMPARED = {
    metric.name: metric
    for metric in (
        Compared("latency_ms", "time", "ms"),
        Compared("device_latency_ms", "time", "ms"),
        Compared("first_call_ms", "time", "ms"),
        Compared("load_ms", "time", "ms"),
        Compared("style_encode_ms", "time", "ms"),
        Compared("peak_allocated_mb", "memory", "MB"),
        Compared("peak_reserved_mb", "memory", "MB"),
        Compared("peak_device_mb", "memory", "MB"),
        Compared("peak_rss_growth_mb", "memory", "MB", jitter=0.4),
        Compared("parameters", "size", ""),
        Compared("storage_mb", "size", "MB"),
    )
}
DEFAULT = ("latency_ms", "peak_allocated_mb", "peak_rss_growth_mb", "parameters", "storage_mb")
"""One time and one memory a cell: every further one raises what the others must show to count."""
QUALITY = "quality"
"""Stands for all quality metrics."""


def chosen(names: Sequence[str]) -> tuple[tuple[Compared, ...], bool]:
    """The metrics named, the defaults if none is, and whether quality is among them.

    Raises ``UserError`` for a name that is not known.
    """
    if not names:
        return tuple(COMPARED[name] for name in DEFAULT), True
    known = (*COMPARED, QUALITY)
    problems = [
        f"--metric {name}: not compared; there are {', '.join(known)}{did_you_mean(name, known)}"
        for name in names
        if name not in known
    ]
    if problems:
        raise UserError(*problems)
    picked = tuple(COMPARED[name] for name in dict.fromkeys(names) if name != QUALITY)
    return picked, QUALITY in names

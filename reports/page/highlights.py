"""What stands out of a run: a few numbers, who has them, and by how much."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite

from bench.passes import Pass, like_times, peak_memory_mb, with_like_peaks
from reports.loss_ratios import loss_ratio
from reports.page.links import Places, RecordIndex
from reports.quality_points import metrics_overlap
from reports.quality_table import comparable
from reports.results import (
    Results,
    RunRecord,
    Series,
    common_size,
    next_size,
)
from reports.text import gigabytes, megapixels, number, one_line, seconds


@dataclass(frozen=True)
class Highlight:
    """A number that stands out."""

    heading: str
    value: str
    who: str
    random: bool
    """Whether it is of a network with random weights."""
    detail: str
    """What it compares with; empty where there is nothing."""
    records: Places


_Held = tuple[float, Series, RunRecord]


def highlights(results: Results, index: RecordIndex) -> list[Highlight]:
    """Reach, speed, memory and quality, as far as the run has them.

    Speed and memory are at the size at which the models are compared, quality only of trained
    weights, on the same reference network and at the same size.
    """
    found = [_reach(results, index), *_costs(results, index), *_losses(results, index)]
    return [one for one in found if one]


def _reach(results: Results, index: RecordIndex) -> Highlight | None:
    ends = [(one.ok[-1].megapixels, one, one.ok[-1]) for one in results.performance if one.ok]
    if not ends:
        return None
    most = max(end[0] for end in ends)
    furthest = [end for end in ends if end[0] == most]
    # Of several the fastest, where that can be told: by passes of one kind.
    times = like_times(end[2] for end in furthest)
    value, one, cell = furthest[times.each.index(min(times.each)) if times else 0]
    same, every = sum(end[0] == value for end in ends), len(results.performance)
    least, other, _ = min(ends, key=lambda end: end[0])
    detail = f"{cell.width}x{cell.height} px"
    if same > 1 or len(ends) < every:
        detail += f"; reached by {'all' if same == every else f'{same} of {every}'}"
    if least < value:
        beyond = next_size(other)
        # what was skipped, or ran out of time, may fit all the same
        full = beyond is not None and beyond.status == "out_of_memory"
        detail += f"; {one_line(other.label)} {'stops at' if full else 'was measured to'} "
        detail += megapixels(least)
    return Highlight(
        "Largest image measured",
        megapixels(value),
        one_line(one.label),
        one.random,
        detail,
        index.of_cells([cell]),
    )


def _costs(results: Results, index: RecordIndex) -> list[Highlight | None]:
    common = common_size(results.performance)
    if common is None:
        return []
    cells = [(one, cell) for one in results.performance if (cell := one.at(common.size))]
    times = like_times(cell for _, cell in cells)
    timed = [
        (value, one, cell)
        for value, (one, cell) in zip(times.each if times else (), cells, strict=bool(times))
    ]
    of: Pass = times.of if times else "warm"
    heads = ("Fastest", "Latency") if of == "warm" else ("Fastest first pass", "First pass")
    alike = with_like_peaks(cell for _, cell in cells)
    held = [
        (peak, one, cell) for one, cell in cells if cell in alike and (peak := peak_memory_mb(cell))
    ]
    at = f"at {megapixels(common.megapixels)}"
    return [
        _least(timed, (*heads, at), seconds, _faster, index, partial(_overlap, of)),
        _least(held, ("Least memory", "Peak memory", at), gigabytes, _less, index),
    ]


def _losses(results: Results, index: RecordIndex) -> list[Highlight | None]:
    cells = [(one, one.ok[-1]) for one in results.quality if one.ok and not one.random]
    if len({comparable(cell) for _, cell in cells}) != 1:
        return []
    found = []
    for metric, words in (("style_loss", "style loss"), ("content_loss", "content loss")):
        values = [
            (value, one, cell)
            for one, cell in cells
            if (value := getattr(cell, metric)) is not None and isfinite(value)
        ]
        heads = (f"Lowest {words}", words.capitalize(), "")
        overlap = partial(metrics_overlap, metric)
        following = partial(_pairwise, metric)
        found.append(_least(values, heads, number, following, index, overlap))
    return found


def _least(
    values: Sequence[_Held],
    heads: tuple[str, str, str],
    write: Callable[[float], str],
    against: Callable[[_Held, _Held], str],
    index: RecordIndex,
    overlap: Callable[[RunRecord, RunRecord], bool] = lambda one, other: False,
) -> Highlight | None:
    """The smallest value, against the next one; ``heads``: among several, alone, and where."""
    if not values:
        return None
    (value, one, cell), *others = sorted(values, key=lambda held: held[0])
    detail = ""
    if others:
        following, other, there = others[0]
        words = against((value, one, cell), others[0])
        detail = f"{words} {one_line(other.label)} ({write(following)})"
        if overlap(cell, there):
            detail += "; their intervals overlap"
    heading = heads[0] if others else heads[1]
    return Highlight(
        f"{heading} {heads[2]}".strip(),
        write(value),
        one_line(one.label),
        one.random,
        detail,
        index.of_cells([cell]),
    )


def _faster(held: _Held, other: _Held) -> str:
    return f"{number(other[0] / held[0])} times as fast as"


def _overlap(of: Pass, one: RunRecord, other: RunRecord) -> bool:
    """Whether the intervals of the latencies meet; without one of them nothing is known."""
    high, low = one.latency_ci_high_ms, other.latency_ci_low_ms
    return of == "warm" and high is not None and low is not None and high >= low


def _less(held: _Held, other: _Held) -> str:
    share = 1 - held[0] / other[0]
    return f"{number(100 * share)} % less than" if share > 0 else "the same as"


def _pairwise(metric: str, held: _Held, other: _Held) -> str:
    """Pair by pair, which may turn out otherwise than the means: those are ruled by a few pairs."""
    ratio = loss_ratio(held[2], other[2], metric)
    return "ahead of" if ratio is None else f"pair by pair {number(ratio.value)} times that of"

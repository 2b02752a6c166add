"""Passes over large images, from the trace of as much of one as shows how it goes on.

In strips and in patches the same is done over and over: a pass is traced over some of them, and the
rest follows. Whole execution is traced as it is.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import NamedTuple

from torch import Tensor

from bench.execution.rows import TensorSink, TensorSource, padded_size
from bench.execution.strip_plan import StripPlan
from bench.execution.strips import plan_in_memory, stylize_rows
from bench.execution.thumbnail import patch_edges, run_patches, thumbnail_maps
from bench.prediction.ledger import Ledger, Trace
from bench.prediction.trace import style_code, traced, without_values
from bench.prediction.traffic import Work
from bench.stylizers.cascade import Stylizer
from distill.streaming import StreamedNetwork

_DELAY = 288
"""Lines from the top, a multiple of 16, after which all strips are alike in all stages: each
depends on up to 256 lines beside it (``docs/execution.md``)."""
_STRIPS = 3
"""How many of those that are alike are traced."""
_PATCHES = 3
"""Rows and columns of patches that are traced: one has neighbours on all sides."""


@dataclass(frozen=True)
class StripsTrace:
    """A pass in strips."""

    plan: StripPlan
    passing_bytes: tuple[int, ...]
    """Of each pass over the rows, most that is taken at one time by what comes and goes with each
    strip. The first encodes, the last decodes, those between do both."""
    result_bytes: int
    work: Work
    whole: Trace | None
    """Of all strips, where the image has so few that all were traced."""


def trace_strips(stylizer: Stylizer, width: int, height: int) -> StripsTrace:
    """One pass in strips over a content of a size in pixels.

    Raises:
        BudgetError: when the lowest strips do not fit what the stylizer may take.
    """
    plan = plan_in_memory(stylizer, width, height)
    _, full = padded_size(width, height)
    first = max(_DELAY, plan.rows)
    shown = min(height, first + _STRIPS * plan.rows)
    part = shown < height
    marks: list[_Mark] = []

    def run(content: Tensor, ledger: Ledger) -> None:
        stylize_rows(
            without_values(stylizer, ledger),
            _Source(content, first),
            TensorSink(width, shown, stylizer.layout),
            style_code(stylizer),
            1.0,
            plan=_without_files(plan),
            report=lambda done, _: marks.append(_Mark(len(ledger.events), done, ledger.work)),
        )

    with _endless() if part else nullcontext():
        trace = traced(stylizer, width, shown, run)
    work = _work(trace, marks, full) if part else trace.work
    return StripsTrace(
        plan=plan,
        passing_bytes=_passing_bytes(trace, marks),
        result_bytes=3 * width * height * stylizer.layout.dtype.itemsize,
        work=work,
        whole=None if part else trace,
    )


class _Source(TensorSource):
    """An image whose first strip is as high as the strips that differ from the later ones."""

    def __init__(self, image: Tensor, first: int) -> None:
        super().__init__(image)
        self._head, self._tail = image[:, :, :first], image[:, :, first:]

    def bands(self, rows: int) -> Iterator[Tensor]:
        """See :class:`~bench.execution.rows.RowSource`."""
        yield self._head
        if self._tail.shape[2]:
            yield from TensorSource(self._tail).bands(rows)


@contextmanager
def _endless() -> Iterator[None]:
    """Leave out the last lines of every network: they come in many strips of a line or two."""
    finish = StreamedNetwork.finish
    StreamedNetwork.finish = lambda network: iter(())  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        StreamedNetwork.finish = finish  # type: ignore[method-assign]


def _without_files(plan: StripPlan) -> StripPlan:
    """The same with memory of the host in place of files: shapes cannot be written to one."""
    keeps = [
        replace(keep, place="host") if keep.place == "scratch" else keep for keep in plan.keeps
    ]
    return replace(plan, keeps=tuple(keeps))


class _Mark(NamedTuple):
    """A strip goes into a network."""

    position: int
    """In the trace's events."""
    lines: int
    """That have gone into networks by now."""
    work: Work


def _by_pass(trace: Trace, marks: Sequence[_Mark]) -> list[list[_Mark]]:
    ends = pairwise((-1, *trace.matches, len(trace.events) + 1))
    return [[mark for mark in marks if start < mark.position <= end] for start, end in ends]


def _work(trace: Trace, marks: Sequence[_Mark], height: int) -> Work:
    """What an image would take if all its lines were like those of the later strips of each pass.

    Args:
        trace: of the strips.
        marks: where strips begin, once or, where they are encoded again, twice a strip.
        height: of the image in lines.
    """
    total = Work()
    for within in _by_pass(trace, marks):
        early, last = within[len(within) // 3], within[-1]
        times = len(within) // (_STRIPS + 1)
        total += (times * height / (last.lines - early.lines)) * (last.work - early.work)
    return total


def _passing_bytes(trace: Trace, marks: Sequence[_Mark]) -> tuple[int, ...]:
    """Most that is taken at one time by buffers that do not outlive their pass, for each pass.

    From the third strip of each pass on: the first may be higher than the others.
    """
    born: dict[int, tuple[int, int]] = {}
    change = [0] * len(trace.events)
    for position, (buffer, count) in enumerate(trace.events):
        here = bisect_left(trace.matches, position)
        if count > 0:
            born[buffer] = here, position
        elif buffer in born and born[buffer][0] == here:
            change[position] = count
            change[born[buffer][1]] = -count
    taken = list(accumulate(change))
    ends = (*trace.matches, len(taken))
    return tuple(
        max(taken[within[min(2, len(within) - 1)].position : end])
        for within, end in zip(_by_pass(trace, marks), ends, strict=True)
    )


@dataclass(frozen=True)
class PatchesTrace:
    """A pass in patches, with the statistics of a thumbnail."""

    thumbnail: Trace
    """Of the thumbnail's way to the statistics, before the patches."""
    patches: Trace
    """Of the patches that were traced."""
    shown_result_bytes: int
    result_bytes: int
    work: Work


def trace_patches(stylizer: Stylizer, width: int, height: int) -> PatchesTrace:
    """One pass by the thumbnail's scheme over a content of a size in pixels."""
    rows, columns = patch_edges(width, height)
    across = len(rows) - 1
    if across <= _PATCHES:
        shown_width, shown_height = width, height
    else:
        shown_width, shown_height = columns[_PATCHES], rows[_PATCHES]

    def run_thumbnail(content: Tensor, ledger: Ledger) -> None:
        thumbnail_maps(without_values(stylizer, ledger), content, style_code(stylizer), 1.0)

    def run_shown(content: Tensor, _: Ledger) -> None:
        run_patches(stylizer, content, style_code(stylizer))

    thumbnail = traced(stylizer, width, height, run_thumbnail)
    patches = traced(stylizer, shown_width, shown_height, run_shown)
    item = stylizer.layout.dtype.itemsize
    times = (across / min(across, _PATCHES)) ** 2
    return PatchesTrace(
        thumbnail=thumbnail,
        patches=patches,
        shown_result_bytes=3 * shown_width * shown_height * item,
        result_bytes=3 * width * height * item,
        work=thumbnail.work + times * patches.work,
    )

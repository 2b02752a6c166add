"""Strips: images of any size in the memory that is allowed, exactly as in one piece.

Each stage is two passes over the rows: one for the statistics of the features, one that decodes.
Rows are carried over from strip to strip (:mod:`distill.streaming`), so nothing is computed twice
for a halo, and the second pass of a stage runs together with the first of the next.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from bench.execution.rows import (
    RowSink,
    RowSource,
    TensorSink,
    TensorSource,
    padded_bands,
    padded_size,
)
from bench.execution.spool import Spool, check_scratch
from bench.execution.strip_plan import FIXED, LEAST_FIXED, BudgetError, StripPlan, plan_strips
from distill.streaming import stream
from distill.transforms import FeatureStats

if TYPE_CHECKING:
    from bench.stylizers.cascade import Stylizer
    from distill.stages import StyleCode

Report = Callable[[int, int], None]
"""Told of progress: lines done and lines in all, over every pass."""


def run_strips(stylizer: "Stylizer", content: Tensor, style: "StyleCode", alpha: float) -> Tensor:
    """Run every stage strip by strip over an image in memory; see :meth:`Stylizer.stylize`."""
    height, width = content.shape[-2:]
    plan = plan_in_memory(stylizer, width, height)
    sink = TensorSink(width, height, stylizer.layout)
    stylize_rows(stylizer, TensorSource(content), sink, style, alpha, plan=plan)
    return sink.image


def plan_in_memory(stylizer: "Stylizer", width: int, height: int) -> StripPlan:
    """The strips of :func:`run_strips`: the result takes part of the memory that is allowed.

    What a cap leaves may be less than plenty. Running out of it is an error that is told, so the
    lowest strips are refused only if they cannot do.
    """
    output = 3 * height * width * stylizer.layout.dtype.itemsize
    budget = stylizer.memory_bytes
    try:
        return plan_strips(stylizer, width, height, budget=budget, fixed=FIXED + output)
    except BudgetError:
        fixed = LEAST_FIXED + output
        return plan_strips(stylizer, width, height, budget=budget, fixed=fixed, lowest=True)


def stylize_rows(
    stylizer: "Stylizer",
    source: RowSource,
    sink: RowSink,
    style: "StyleCode",
    alpha: float,
    *,
    plan: StripPlan,
    scratch: Path | None = None,
    report: Report = lambda done, total: None,
) -> None:
    """Stylise an image from a source of rows into a sink.

    Args:
        stylizer: the cascade.
        source: the content; read once, or twice where the plan says so.
        sink: takes the result, of the content's size, RGB in 0..1.
        style: from :meth:`Stylizer.encode_style`.
        alpha: strength of the style, 0..1.
        plan: from :func:`bench.execution.strip_plan.plan_strips` for this image.
        scratch: folder of scratch files; None for the system's.
        report: told of progress.

    Raises:
        EnvironmentUnfitError: when there is no room for the scratch files.
    """
    folder = scratch or Path(tempfile.gettempdir())
    if plan.scratch_bytes:
        check_scratch(folder, plan.scratch_bytes)
    layout = stylizer.layout
    _, height = padded_size(source.width, source.height)
    counter = _Counter(report, _lines_in_all(plan, height))
    images = padded_bands(source, plan.rows, layout)
    for stage, restyle, keep in zip(stylizer.stages, style, plan.keeps, strict=True):
        spool = Spool(keep.place, folder)
        stats = FeatureStats(stage.encoder.channels)
        passing = _kept(images, spool) if keep.what == "image" else images
        for features in stream(stage.encoder.steps, counter.watch(passing)):
            stats.update(features)
            if keep.what == "features":
                spool.append(features)
        match = restyle.after(stage.normalize(stats)).blend(alpha)
        kept = spool.drain(layout.device)
        if keep.what == "nothing":
            kept = padded_bands(source, plan.rows, layout)
        if keep.what != "features":
            kept = stream(stage.encoder.steps, counter.watch(kept))
        images = stream(stage.decoder.steps_after(match), kept)
    done = 0
    for image in counter.watch(images):
        # What was reflected below and at the right goes again.
        rows = image[:, :, : source.height - done, : source.width]
        done += rows.shape[2]
        if rows.shape[2]:
            sink.write(rows.clamp_(0, 1))


def _kept(bands: Iterable[Tensor], spool: Spool) -> Iterator[Tensor]:
    """The same bands, which are kept in passing."""
    for band in bands:
        spool.append(band)
        yield band


class _Counter:
    """Lines that have passed, of all that will."""

    def __init__(self, report: Report, total: int) -> None:
        self._report, self._total, self._done = report, total, 0

    def watch(self, bands: Iterable[Tensor]) -> Iterator[Tensor]:
        for band in bands:
            self._done += band.shape[2]
            self._report(self._done, self._total)
            yield band


def _lines_in_all(plan: StripPlan, height: int) -> int:
    """Image lines that go through networks: encoders, those run again, and the last decoder."""
    repeated = sum(keep.what != "features" for keep in plan.keeps)
    return (len(plan.keeps) + repeated + 1) * height

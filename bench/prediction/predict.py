"""What a cell will take: peak memory, whether that fits under its cap, and the time of a pass."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bench.cells import Cell, Precision
from bench.execution.strip_plan import BudgetError
from bench.measure.heap import metered_mapped
from bench.prediction.budget import budget_bytes
from bench.prediction.calibration import Calibration
from bench.prediction.memory import (
    DATA_BYTES,
    HELD,
    Overheads,
    peak_of_patches,
    peak_of_strips,
    peak_of_whole,
    process_bytes,
)
from bench.prediction.precisions import lacking
from bench.prediction.samples import trace_patches, trace_strips
from bench.prediction.trace import ShapeModel, shape_model, trace_pass
from bench.prediction.traffic import Work
from bench.stylizers.cascade import Stylizer

Verdict = Literal["fits", "tight", "will not fit", "no cap", "unsupported"]
TOLERANCE = 0.10
"""Of the predicted memory: nearer to the cap than this and the prediction does not decide."""
CONTEXT_BYTES = 500 * 10**6
"""CUDA: what the card is taken to hold for a process beside PyTorch's allocations, where that was
not measured."""
COUNTERS = {"cpu": "peak_rss_growth_mb", "cuda": "peak_allocated_mb"}
"""Record field that a predicted peak compares with, by the kind of device."""


@dataclass(frozen=True)
class Prediction:
    """What a cell is predicted to take; nothing of it was measured."""

    peak_mb: float | None
    """Of one pass, in the terms of the record field that :data:`COUNTERS` names; None where the
    device cannot do the cell at all."""
    needed_mb: float | None
    """What counts under a cap: the peak, with the content, the weights and CUDA's context as far as
    the peak leaves them out."""
    seconds: float | None
    """Of one pass; None without a calibration of the device at that precision."""
    first_seconds: float | None
    """Of the first pass of a process, whose memory the system has to find; None as ``seconds``."""
    verdict: Verdict
    reason: str
    """The verdict in a sentence."""
    work: Work
    strip_rows: int | None = None
    scratch_mb: float = 0.0
    """Of files."""


class Predictor:
    """Predicts cells of one device.

    Args:
        calibration: of the device; without one there are no times, and no workspaces on CUDA.
    """

    def __init__(self, calibration: Calibration | None = None) -> None:
        self._calibration = calibration
        self._models: dict[tuple[object, ...], ShapeModel] = {}
        self._known: dict[tuple[object, ...], Prediction] = {}

    def predict(self, cell: Cell) -> Prediction:
        """What a cell will take; of a quality cell, what stylising one pair will.

        Nothing of the size of an image is allocated, and no device is touched.
        """
        # What a prediction depends on; quality cells come in the size of others.
        key = (
            *(cell.model, cell.device, cell.precision, cell.execution, cell.memory_cap_bytes),
            *(cell.width, cell.height, cell.style_width, cell.style_height),
        )
        if key not in self._known:
            self._known[key] = self._predict(cell)
        return self._known[key]

    def _predict(self, cell: Cell) -> Prediction:
        kind = cell.device.partition(":")[0]
        if reason := lacking(cell.device, cell.precision):
            return Prediction(None, None, None, None, "unsupported", reason, Work())
        model = self._model(cell)
        stylizer = model.stylizer
        itemsize = stylizer.layout.dtype.itemsize
        content = 3 * cell.width * cell.height * itemsize
        standing = content + model.weights_bytes
        refused = ""
        try:
            growth, work, rows, scratch = self._run(cell, stylizer)
        except BudgetError as error:
            refused = str(error)
            growth, work, rows, scratch = error.needed_bytes, Work(), None, 0
        if kind == "cuda":
            peak = growth + standing
            needed = peak + self._context_bytes
        else:
            growth += process_bytes(
                itemsize=itemsize, whitening=model.stylizer.spec.method == "wct"
            )
            peak, needed = growth, growth + standing + DATA_BYTES
        if refused:
            return Prediction(peak / 1e6, needed / 1e6, None, None, "will not fit", refused, work)
        roofline = self._calibration and self._calibration.roofline(cell.precision)
        seconds = roofline.seconds(work) if roofline else None
        new_byte_s = self._calibration.file.new_byte_s if self._calibration else 0.0
        verdict, reason = judge(needed / 1e6, cell.memory_cap_bytes)
        return Prediction(
            peak_mb=peak / 1e6,
            needed_mb=needed / 1e6,
            seconds=seconds,
            first_seconds=None if seconds is None else seconds + peak * new_byte_s,
            verdict=verdict,
            reason=reason,
            work=work,
            strip_rows=rows,
            scratch_mb=scratch / 1e6,
        )

    def _run(self, cell: Cell, stylizer: Stylizer) -> tuple[float, Work, int | None, int]:
        """Growth in bytes, work, height of strips, bytes of scratch."""
        size = cell.width, cell.height
        overheads = self._overheads(cell.precision)
        if cell.execution == "strips":
            strips = trace_strips(stylizer, *size)
            plan = strips.plan
            stays = cell.device == "cpu" and not metered_mapped(cell)
            peak = peak_of_strips(strips, overheads) * (HELD if stays else 1.0)
            return peak, strips.work, plan.rows, plan.scratch_bytes
        if cell.execution == "thumbnail":
            patches = trace_patches(stylizer, *size)
            return peak_of_patches(patches, overheads), patches.work, None, 0
        trace = trace_pass(stylizer, *size)
        return peak_of_whole(trace, overheads), trace.work, None, 0

    def _model(self, cell: Cell) -> ShapeModel:
        budget = budget_bytes(cell) if cell.execution == "strips" else None
        key = (cell.model, cell.device, cell.precision, cell.execution, budget)
        if key not in self._models:
            self._models[key] = shape_model(
                cell.model,
                device=cell.device,
                precision=cell.precision,
                execution=cell.execution,
                memory_bytes=budget,
            )
        return self._models[key]

    def _overheads(self, precision: Precision) -> Overheads:
        return Overheads() if self._calibration is None else self._calibration.overheads(precision)

    @cached_property
    def _context_bytes(self) -> int:
        calibration = self._calibration
        measured = None if calibration is None else calibration.file.context_bytes
        return CONTEXT_BYTES if measured is None else measured


def judge(needed_mb: float, cap_bytes: int | None) -> tuple[Verdict, str]:
    """Whether a predicted need fits under a cap, and that in a sentence."""
    need = f"predicted to need {needed_mb:.0f} MB"
    if cap_bytes is None:
        return "no cap", need
    cap_mb = cap_bytes / 1e6
    text = f"{need}, the cap is {cap_mb:.0f} MB"
    if needed_mb > (1 + TOLERANCE) * cap_mb:
        return "will not fit", text
    if needed_mb > (1 - TOLERANCE) * cap_mb:
        return "tight", text
    return "fits", text

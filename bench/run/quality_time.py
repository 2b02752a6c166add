"""What quality cells take besides the passes of their own model: metrics and the teacher's outputs.

Known from the quality cells of the run that are done: before the first there is nothing to go by.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.cells import Cell
from bench.quality.catalogue import default_teacher
from bench.record import Record


@dataclass(frozen=True)
class _MetricTimes:
    """What a cell's metrics took, in seconds."""

    load_s: float
    """Once a cell: loading their networks."""
    pair_s: float
    """Each pair, whatever the size: metrics that bring images to a size of their own."""
    megapixel_s: float
    """Each pair and megapixel."""

    def of(self, pairs: int, megapixels: float) -> float:
        """Seconds of a cell."""
        return self.load_s + pairs * (self.pair_s + self.megapixel_s * megapixels)


class QualityTimes:
    """Seconds of metrics, and which teachers' outputs are there."""

    def __init__(self) -> None:
        self._metrics: dict[tuple[object, ...], _MetricTimes] = {}
        """Of the last cell measured, by device and threads."""
        self._taught: set[tuple[object, ...]] = set()

    def add(self, record: Record) -> None:
        """Heed one more record; of no effect unless it is of quality, measured."""
        if record.kind != "quality" or record.status != "ok":
            return
        if record.metrics_s is not None and record.quality_pairs:
            load_s = record.metrics_load_s or 0.0
            set_s = record.metrics_set_s or 0.0
            grows_s = max(0.0, record.metrics_s - load_s - set_s)
            self._metrics[record.device, record.threads] = _MetricTimes(
                load_s=load_s,
                pair_s=set_s / record.quality_pairs,
                megapixel_s=grows_s / (record.quality_pairs * record.megapixels),
            )
        self._taught.add((record.quality_teacher, record.width, record.height, record.alpha))

    def extra_s(self, cell: Cell, pairs: int, pass_s: Callable[[Cell], float | None]) -> float:
        """Seconds of a quality cell besides its passes, as far as they are known.

        Args:
            cell: of kind ``quality``.
            pairs: how many it has.
            pass_s: predicts one pass of a cell; None where nothing is known.
        """
        metrics = self._metrics.get((cell.device, cell.threads))
        metrics_s = 0.0 if metrics is None else metrics.of(pairs, cell.megapixels)
        return metrics_s + pairs * self._teacher_s(cell, pass_s)

    def _teacher_s(self, cell: Cell, pass_s: Callable[[Cell], float | None]) -> float:
        """Of the teacher's output for one pair; 0 where it is there, or is none."""
        settings = cell.quality
        if settings is None or settings.teacher_digest in (None, cell.weights_digest):
            return 0.0
        teacher = settings.teacher or default_teacher(cell.model)
        there = (teacher, cell.width, cell.height, cell.alpha) in self._taught
        if teacher is None or there:
            return 0.0
        # In strips as it is made, or as it was measured: the times are about the same.
        ways = ({"precision": "fp32", "execution": how} for how in ("strips", "whole"))
        found = (pass_s(cell.model_copy(update={"model": teacher, **way})) for way in ways)
        return next((seconds for seconds in found if seconds is not None), 0.0)

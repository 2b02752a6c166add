"""What a run knows of its cells beforehand: predictions, made when they are asked for."""

from collections.abc import Iterable
from typing import Any

from bench.cells import Cell
from bench.prediction.calibration import Calibration
from bench.prediction.predict import TIME_FACTOR, Prediction, Predictor
from bench.run.schedule import Estimate

BASIS = "predicted from the device's calibration, not measured"


class Foresight:
    """Predictions of a run's cells.

    Args:
        calibration: of their device; None for no times.
        skip: whether hopeless cells are to be left out.
    """

    def __init__(self, calibration: Calibration | None, *, skip: bool) -> None:
        self._calibrated = calibration is not None
        self._skip = skip
        self._predictor = Predictor(calibration)
        self._known: dict[str, Prediction] = {}

    def of(self, cell: Cell) -> Prediction:
        """What is predicted of a cell."""
        if cell.id not in self._known:
            self._known[cell.id] = self._predictor.predict(cell)
        return self._known[cell.id]

    def seconds(self, cells: Iterable[Cell]) -> dict[str, float | None] | None:
        """Predicted seconds of one pass of each cell, by id; None without a calibration."""
        return {cell.id: self.of(cell).seconds for cell in cells} if self._calibrated else None

    def fields(self, cell: Cell) -> dict[str, Any]:
        """The record fields that stand beside a measurement; of a performance cell alone."""
        if cell.kind != "performance":
            return {}
        prediction = self.of(cell)
        return {
            "predicted_peak_mb": prediction.peak_mb,
            "predicted_latency_ms": _milliseconds(prediction.seconds),
            "predicted_first_call_ms": _milliseconds(prediction.first_seconds),
        }

    def prior(self, cell: Cell) -> Estimate | None:
        """The predicted time of a pass, for where nothing like it was measured."""
        if not self._calibrated:
            return None
        seconds = self.of(cell).seconds
        return None if seconds is None else Estimate(seconds, BASIS, measured=False)

    def fits(self, cell: Cell) -> bool:
        """Whether a cell is not predicted to outgrow its cap for certain."""
        return self.of(cell).verdict != "will not fit"

    def hopeless(self, cell: Cell) -> str | None:
        """Why a cell is not worth starting; None for one that is, or if none is to be left out."""
        return hopeless(cell, self.of(cell)) if self._skip else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def hopeless(cell: Cell, prediction: Prediction) -> str | None:
    """Why a cell will not be measured whatever is tried, by its prediction; None if it may be."""
    if prediction.verdict == "will not fit":
        return prediction.reason
    limit_s = cell.measure.cell_time_limit_s
    if prediction.seconds is not None and prediction.seconds > TIME_FACTOR * limit_s:
        return (
            f"one pass is predicted to take {prediction.seconds:.0f} s, the cell's limit is "
            f"{limit_s:.0f} s"
        )
    return None

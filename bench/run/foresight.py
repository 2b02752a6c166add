"""What a run knows beforehand, of its cells and of the machine, as plain values.

They are found out where PyTorch is loaded (:mod:`bench.run.preparation`) and used where it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.cells import Cell
from bench.run.schedule import TIME_FACTOR, Estimate

if TYPE_CHECKING:
    from bench.prediction.calibration import Calibration
    from bench.prediction.predict import Prediction

Facts = Mapping[str, Any]
"""Record fields that are known of a cell's model before it is loaded."""
BASIS = "predicted from the device's calibration, not measured"


@dataclass(frozen=True)
class Forecast:
    """What is predicted of one cell; None where that is not known."""

    peak_mb: float | None
    seconds: float | None
    """Of one pass."""
    first_seconds: float | None
    fits: bool
    """Whether it is not predicted to outgrow its cap for certain."""
    hopeless: str | None
    """Why it is not worth starting; None for one that is."""
    lacking: str = ""
    """Why the device cannot do it at all; empty where it can."""


@dataclass(frozen=True)
class Foresight:
    """Predictions of a run's cells."""

    calibrated: bool
    """Whether there are times."""
    skip: bool
    """Whether hopeless cells are to be left out."""
    forecasts: Mapping[str, Forecast] = field(default_factory=dict)
    """By the cell's id."""

    def seconds(self, cells: Iterable[Cell]) -> dict[str, float | None] | None:
        """Predicted seconds of one pass of each cell, by id; None without a calibration."""
        return {c.id: self.forecasts[c.id].seconds for c in cells} if self.calibrated else None

    def fields(self, cell: Cell) -> dict[str, Any]:
        """The record fields that stand beside a measurement; of a performance cell alone."""
        if cell.kind != "performance":
            return {}
        forecast = self.forecasts[cell.id]
        return {
            "predicted_peak_mb": forecast.peak_mb,
            "predicted_latency_ms": _milliseconds(forecast.seconds),
            "predicted_first_call_ms": _milliseconds(forecast.first_seconds),
        }

    def prior(self, cell: Cell) -> Estimate | None:
        """The predicted time of a pass, for where nothing like it was measured."""
        seconds = self.forecasts[cell.id].seconds if self.calibrated else None
        if seconds is None:
            return None
        return Estimate(seconds, BASIS, measured=False, slack=TIME_FACTOR)

    def lacking(self, cell: Cell) -> str:
        """Why the device cannot do a cell at all; empty where it can."""
        return self.forecasts[cell.id].lacking

    def fits(self, cell: Cell) -> bool:
        """Whether a cell is not predicted to outgrow its cap for certain."""
        return self.forecasts[cell.id].fits

    def hopeless(self, cell: Cell) -> str | None:
        """Why a cell is not worth starting; None for one that is, or if none is to be left out."""
        return self.forecasts[cell.id].hopeless if self.skip else None


@dataclass(frozen=True)
class Preparation:
    """What is known of a run before its first cell."""

    device: str
    """``cpu`` or ``cuda:N``."""
    environment: dict[str, Any]
    cells: list[Cell]
    facts: dict[str, Facts]
    """By the cell's id."""
    foresight: Foresight


def foresee(
    cells: Iterable[Cell],
    calibration: Calibration | None,
    *,
    skip: bool,
    capability: str | None = None,
) -> Foresight:
    """Predict a run's cells.

    Args:
        cells: of one device.
        calibration: of that; None for no times.
        skip: whether hopeless cells are to be left out.
        capability: compute capability of the card, such as ``7.5``; None where that is not known.
    """
    from bench.prediction.precisions import lacking
    from bench.prediction.predict import Predictor

    predictor = Predictor(calibration)
    forecasts = {}
    for cell in cells:
        prediction = predictor.predict(cell)
        forecasts[cell.id] = Forecast(
            peak_mb=prediction.peak_mb,
            seconds=prediction.seconds,
            first_seconds=prediction.first_seconds,
            fits=prediction.verdict != "will not fit",
            hopeless=hopeless(cell, prediction),
            lacking=lacking(cell.device, cell.precision, capability=capability),
        )
    return Foresight(calibration is not None, skip, forecasts)


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

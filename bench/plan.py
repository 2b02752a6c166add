"""Every cell of a scenario with what it is predicted to take, without running any."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.cells import Cell, Precision
from bench.measure.code_version import code_version
from bench.prediction.calibration import Calibration
from bench.prediction.predict import Prediction, Predictor
from bench.run.foresight import BASIS, hopeless
from bench.run.schedule import STARTUP_S, Estimate, deadline_s, expected_s, in_order
from bench.scenario import Scenario
from bench.stylizers import model_facts

_MEASURED = ("fits", "tight", "no cap")
"""Verdicts of cells that are expected to be measured."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell and what is known of it before it runs."""

    cell: Cell
    prediction: Prediction
    cell_s: float | None
    """Predicted seconds of the whole cell, its start and all its processes included; None without a
    calibration, 0 for one that will not run."""
    note: str = ""
    """What else is to be known of it before it runs."""

    def row(self) -> dict[str, Any]:
        """For JSON and CSV: names with units; absent values are None."""
        prediction = self.prediction
        work = prediction.work
        cap = self.cell.memory_cap_bytes
        return {
            "id": self.cell.id,
            "kind": self.cell.kind,
            "model": self.cell.model,
            "execution": self.cell.execution,
            "precision": self.cell.precision,
            "device": self.cell.device,
            "width": self.cell.width,
            "height": self.cell.height,
            "megapixels": self.cell.megapixels,
            "memory_cap_mb": None if cap is None else cap / 1e6,
            "verdict": prediction.verdict,
            "predicted_peak_mb": _rounded(prediction.peak_mb),
            "predicted_needed_mb": _rounded(prediction.needed_mb),
            "predicted_latency_ms": _rounded(prediction.seconds, 1e3),
            "predicted_first_call_ms": _rounded(prediction.first_seconds, 1e3),
            "predicted_cell_s": _rounded(self.cell_s),
            "predicted_gmacs": _rounded(work.macs, 1e-9),
            "predicted_gb_moved": _rounded(work.bytes, 1e-9),
            "predicted_scratch_mb": _rounded(prediction.scratch_mb),
            "strip_rows": prediction.strip_rows,
            "reason": prediction.reason,
            "note": self.note,
        }


@dataclass(frozen=True)
class Plan:
    """A scenario's cells in the order in which they will run."""

    device: str
    cells: tuple[PlannedCell, ...]
    run_time_limit_s: float | None

    @property
    def total_s(self) -> float | None:
        """Predicted seconds of all cells; None if the time of one that will run is not known."""
        seconds = [planned.cell_s for planned in self.cells]
        return None if None in seconds else sum(one for one in seconds if one is not None)


def scenario_cells(scenario: Scenario, device: str) -> list[Cell]:
    """The cells of a scenario on a device, as ``bench run`` would measure them now."""
    digest = partial(_digest, seed=scenario.seed)
    return scenario.cells(device, weights_digest=digest, code_version=code_version())


def _digest(model: str, *, seed: int) -> str:
    return model_facts(model, 1, 1, seed=seed).weights_digest


def plan_scenario(
    scenario: Scenario,
    cells: Iterable[Cell],
    calibration: Calibration | None,
    *,
    report: Callable[[Cell], object] = lambda _: None,
) -> Plan:
    """Predict every cell.

    Args:
        scenario: what the cells are of.
        cells: from :func:`scenario_cells`.
        calibration: of their device; without it no times are predicted.
        report: told of each cell when it is done.
    """
    predictor = Predictor(calibration)
    planned = []
    for cell in cells:
        planned.append(_planned(cell, predictor.predict(cell), scenario))
        report(cell)
    seconds = {one.cell.id: one.prediction.seconds for one in planned}
    gmacs = {one.cell.id: one.prediction.work.macs / 1e9 for one in planned}
    by_id = {one.cell.id: one for one in planned}
    ordered = in_order([one.cell for one in planned], gmacs, seconds, rank=scenario.rank)
    return Plan(
        device=planned[0].cell.device if planned else "",
        cells=tuple(_without_hopeless([by_id[cell.id] for cell in ordered])),
        run_time_limit_s=scenario.run_time_limit,
    )


def _planned(cell: Cell, prediction: Prediction, scenario: Scenario) -> PlannedCell:
    weights = model_facts(cell.model, 1, 1, seed=cell.seed).weights
    if cell.kind == "quality" and weights == "random":
        return PlannedCell(cell, prediction, 0.0, "skipped: quality of random weights")
    processes = scenario.measure.processes if cell.kind == "performance" else 1
    limit_s = cell.measure.cell_time_limit_s
    slow = prediction.seconds is not None and prediction.seconds > limit_s
    note = f"over {limit_s:g} s" if slow else ""
    if scenario.skip_predicted and hopeless(cell, prediction) is not None:
        return PlannedCell(cell, prediction, 0.0, f"{note}{'; ' if note else ''}skipped: predicted")
    if prediction.verdict == "unsupported":
        return PlannedCell(cell, prediction, 0.0, "not started")
    if prediction.verdict == "will not fit":
        # It takes a start to find out.
        return PlannedCell(cell, prediction, STARTUP_S, note)
    if prediction.seconds is None or prediction.first_seconds is None:
        return PlannedCell(cell, prediction, None)
    if slow:
        return PlannedCell(
            cell, prediction, STARTUP_S + min(prediction.first_seconds, deadline_s(limit_s)), note
        )
    seconds = expected_s(cell, Estimate(prediction.seconds, BASIS, measured=False))
    if seconds:
        seconds += prediction.first_seconds - prediction.seconds
    return PlannedCell(cell, prediction, None if seconds is None else processes * seconds, note)


def _without_hopeless(ordered: Iterable[PlannedCell]) -> Iterator[PlannedCell]:
    """Cells in their order; those that take too long take nothing once something was measured.

    A run estimates them then from what it measured, and does not start them.
    """
    measured: set[Precision] = set()
    for one in ordered:
        seconds, cell = one.prediction.seconds, one.cell
        if one.cell_s and seconds is not None and one.prediction.verdict in _MEASURED:
            if seconds > cell.measure.cell_time_limit_s and cell.precision in measured:
                yield replace(one, cell_s=0.0)
                continue
            if cell.kind == "performance":
                measured.add(cell.precision)
        yield one


def _rounded(value: float | None, factor: float = 1.0) -> float | None:
    return None if value is None else float(f"{value * factor:.6g}")

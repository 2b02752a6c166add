"""``bench plan``: what every cell will take, without running any."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.errors import EnvironmentUnfitError, UserError
from distill.command_line import console
from distill.suggest import did_you_mean

if TYPE_CHECKING:
    from bench.cells import Cell, Precision
    from bench.plan import Plan
    from bench.prediction.calibration import Calibration

Format = Literal["text", "json", "csv"]
_FORMATS = ("text", "json", "csv")

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.

FormatOption = Annotated[str, typer.Option("--format", metavar="FORMAT", help="text, json or csv.")]


def plan(
    scenario: Annotated[Path, typer.Argument(help="Scenario file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N; overrides the scenario's.")
    ] = None,
    format_: FormatOption = "text",
    calibration: Annotated[
        bool,
        typer.Option(
            help="Times need rates of this device: those remembered, or measured now in seconds. "
            "Without, memory alone is predicted."
        ),
    ] = True,
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Measure the device's rates anew.")
    ] = False,
) -> None:
    """Predict every cell's memory and time, and whether it fits its cap; nothing is run."""
    from bench.measure.devices import resolve_device
    from bench.plan import plan_scenario, scenario_cells
    from bench.prediction.precisions import wanted_precisions
    from bench.scenario import load_scenario
    from distill.devices import parse_device

    chosen = read_format(format_)
    if recalibrate and not calibration:
        raise UserError("--recalibrate does not go with --no-calibration")
    loaded = load_scenario(scenario, set_ or ())
    asked = device or loaded.device
    kind, index = parse_device(asked)
    # Memory can be predicted of a card that this machine lacks; its rates cannot be measured.
    absent = kind == "cuda" and not calibration
    cells = scenario_cells(loaded, f"cuda:{index}" if absent else resolve_device(asked))
    rates = None
    if calibration:
        try:
            rates = calibrated(cells[0], wanted_precisions(cells), anew=recalibrate)
        except EnvironmentUnfitError as error:
            if recalibrate:
                raise
            print(f"no times are predicted: {error}", file=sys.stderr, flush=True)
    show_plan(plan_scenario(loaded, cells, rates), chosen)


def read_format(text: str) -> Format:
    """One of the output formats, or a ``UserError``."""
    for known in _FORMATS:
        if text == known:
            return known  # type: ignore[return-value]
    raise UserError(
        f"--format: {text!r} is not allowed; allowed: {', '.join(_FORMATS)}"
        f"{did_you_mean(text, _FORMATS)}"
    )


def calibrated(
    like: "Cell", precisions: "Sequence[Precision]", *, anew: bool = False
) -> "Calibration":
    """Rates of a cell's device at these precisions: remembered, or measured now."""
    from bench.prediction.calibration import calibrate, load_calibration
    from bench.prediction.precisions import lacking

    found = None if anew else load_calibration(like)
    wanted = [precision for precision in precisions if not lacking(like.device, precision)]
    missing = [one for one in wanted if found is None or not found.knows(one)]
    if found is not None and not missing:
        return found
    print(
        f"calibrating {like.device} ({', '.join(missing)}): some seconds, once for this machine",
        file=sys.stderr,
        flush=True,
    )
    return calibrate(like, missing)


def show_plan(plan: "Plan", chosen: Format) -> None:
    """Print a plan."""
    rows = [planned.row() for planned in plan.cells]
    if chosen == "csv":
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    if chosen == "json":
        whole = {
            "what": "predicted, nothing was measured",
            "device": plan.device,
            "predicted_total_s": plan.total_s,
            "run_time_limit_s": plan.run_time_limit_s,
            "cells": rows,
        }
        print(json.dumps(whole, indent=1))
        return
    _print_table(plan)


def _print_table(plan: "Plan") -> None:
    from collections import Counter

    from rich.table import Table

    from bench.run.progress import duration_text

    table = Table("model", "execution", "precision", "size", box=None, pad_edge=False)
    for column in ("GMAC", "peak (MB)", "needs (MB)", "cap (MB)", "verdict", "a pass", "cell"):
        table.add_column(column, justify="left" if column == "verdict" else "right")
    table.add_column("note")
    for one in plan.cells:
        cell, prediction = one.cell, one.prediction
        name = cell.model if cell.kind == "performance" else f"{cell.model} quality"
        cap = cell.memory_cap_bytes
        table.add_row(
            *(name, cell.execution, cell.precision, f"{cell.width}x{cell.height}"),
            f"{prediction.work.macs / 1e9:,.0f}" if prediction.work.macs else "",
            _megabytes(prediction.peak_mb),
            _megabytes(prediction.needed_mb),
            "" if cap is None else _megabytes(cap / 1e6),
            prediction.verdict,
            _seconds(prediction.seconds),
            "" if one.cell_s is None else duration_text(one.cell_s),
            one.note,
        )
    console().print(table)
    counts = Counter(one.prediction.verdict for one in plan.cells)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    print(f"predicted, nothing was measured: {len(plan.cells)} cells on {plan.device}: {told}")
    if plan.total_s is None:
        print("times are not predicted: the device is not calibrated")
        return
    limit = plan.run_time_limit_s
    within = "" if limit is None else f"; the run's limit is {duration_text(limit)}"
    print(f"predicted time of all: {duration_text(plan.total_s)}{within}")


def _megabytes(amount: float | None) -> str:
    return "" if amount is None else f"{amount:,.0f}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:,.3g} s" if seconds < 100 else f"{seconds:,.0f} s"

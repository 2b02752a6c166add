"""How near predictions come to what was measured, over the cells of a scenario or of runs.

    python -m tests.performance.prediction_accuracy --recalibrate
    python -m tests.performance.prediction_accuracy --resume runs/prediction-accuracy-...
    python -m tests.performance.prediction_accuracy --memory-of docs/results/ultrares-cpu

Without run folders ``prediction.yaml`` beside this file is measured first, as ``bench run`` does,
into one. Predictions are made by the code as it is now, also for runs of earlier versions. Times
are predicted from this machine's calibration and compared for runs on the same kind of machine and
as many threads; on a machine that is busy with something else, neither they nor the calibration say
much.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bench.cells import Cell, MeasureSettings
from bench.measure.devices import resolve_device
from bench.measure.environment import collect_environment
from bench.passes import is_cold
from bench.plan import scenario_cells
from bench.prediction.calibration import Calibration, calibrate, load_calibration
from bench.prediction.precisions import lacking
from bench.prediction.predict import COUNTERS, Predictor
from bench.record import Record
from bench.run.records import read_records
from bench.run.runner import run_scenario
from bench.scenario import load_scenario
from tests.performance.prediction_figure import write_figure

SCENARIO = Path(__file__).with_name("prediction.yaml")
OUT = Path(__file__).parents[2] / "docs" / "results" / "prediction"
_MEMORY = 0.10
_LARGE_MB, _LARGE_MEMORY = 200.0, 0.20
_LONG_S, _TIME = 1.0, 1.5
_ANY = MeasureSettings(warmup=0, min_repeats=1, max_repeats=1, target_ci=1.0, cell_time_limit_s=1e9)


@dataclass
class Row:
    """A measured cell and its prediction, as a line of the table."""

    run: str
    id: str
    model: str
    execution: str
    precision: str
    device: str
    width: int
    height: int
    megapixels: float
    status: str
    verdict: str
    counter: str
    measured_peak_mb: float | None
    predicted_peak_mb: float | None
    measured_s: float | None
    predicted_s: float | None
    repeats: int | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure or read, predict, and write the table, the figure and the summary."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.prediction_accuracy")
    parser.add_argument("scenario", type=Path, nargs="?", help="measured first")
    parser.add_argument("--resume", type=Path, help="complete this run folder instead")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="run folders")
    parser.add_argument(
        "--memory-of",
        type=Path,
        nargs="*",
        default=[],
        help="run folders whose times are not compared, such as those of a busy machine",
    )
    parser.add_argument("--runs-out", type=Path, default=Path("runs"), help="of the scenario's run")
    parser.add_argument("--device", help="overrides the scenario's")
    parser.add_argument("--out", type=Path, default=OUT, help="default: %(default)s")
    parser.add_argument("--recalibrate", action="store_true", help="measure the rates anew")
    options = parser.parse_args(arguments)
    runs = list(options.runs)
    named = options.scenario or options.resume
    if named or options.recalibrate or not (runs or options.memory_of):
        file = options.scenario or SCENARIO
        scenario = load_scenario(options.resume / "scenario.yaml" if options.resume else file, ())
        device = resolve_device(options.device or scenario.device)
        # Before the run, which orders its cells by it.
        _rates(scenario_cells(scenario, device), anew=options.recalibrate)
        folder = run_scenario(
            None if options.resume else scenario,
            out=options.runs_out,
            device=device,
            resume=options.resume,
        )
        runs.append(folder.path)
    rows = [row for run in runs for row in rows_of(run)]
    rows += [row for run in options.memory_of for row in rows_of(run, times=False)]
    write(rows, options.out)
    print((options.out / "accuracy.md").read_text(encoding="utf-8"))


def rows_of(run: Path, *, times: bool = True) -> Iterator[Row]:
    """Every performance cell of a run that was measured, or that ran out of memory."""
    records = [
        record
        for record in read_records(run)
        if record.kind == "performance" and record.status in ("ok", "out_of_memory")
    ]
    if not records:
        return
    cells = [cell_of(record) for record in records]
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    calibration = _calibration(cells, environment) if times else None
    predictor = Predictor(calibration)
    for record, cell in zip(records, cells, strict=True):
        prediction = predictor.predict(cell)
        counter = COUNTERS[cell.device.partition(":")[0]]
        latency = record.latency_ms
        yield Row(
            *(run.name, record.id, cell.model, cell.execution, cell.precision, cell.device),
            *(cell.width, cell.height, cell.megapixels, record.status, prediction.verdict, counter),
            measured_peak_mb=getattr(record, counter) if record.status == "ok" else None,
            predicted_peak_mb=prediction.peak_mb,
            measured_s=None if latency is None or not times else latency / 1e3,
            predicted_s=prediction.first_seconds if is_cold(record) else prediction.seconds,
            repeats=record.repeats,
        )


def cell_of(record: Record) -> Cell:
    """The cell of a record, as far as predictions need it."""
    cap = record.memory_cap_mb
    names = ("kind", "model", "execution", "precision", "device", "width", "height", "threads")
    return Cell(
        **{name: getattr(record, name) for name in names},
        **{name: getattr(record, name) for name in ("style_width", "style_height", "alpha")},
        memory_cap_bytes=None if cap is None else round(cap * 1e6),
        seed=record.seed,
        content=tuple(record.content),
        style=tuple(record.style),
        measure=_ANY,
        weights_digest=record.weights_digest or "",
        code_version=record.code_version,
    )


def _calibration(cells: Sequence[Cell], environment: dict[str, Any]) -> Calibration | None:
    """Rates of this machine, if the run was on one like it."""
    here = collect_environment(cells[0].device)
    for fact in ("cpu", "gpu", "torch_threads", "torch"):
        if here.get(fact) != environment.get(fact):
            print(
                f"times are not compared: the run has {fact} {environment.get(fact)}, this is "
                f"{here.get(fact)}"
            )
            return None
    return _rates(cells)


def _rates(cells: Sequence[Cell], *, anew: bool = False) -> Calibration | None:
    wanted = {cell.precision for cell in cells if not lacking(cell.device, cell.precision)}
    known = None if anew else load_calibration(cells[0])
    missing = sorted(one for one in wanted if known is None or not known.knows(one))
    return calibrate(cells[0], missing) if missing else known


# --------------------------------------------------------------------------------------- results


def write(rows: Sequence[Row], folder: Path) -> None:
    """``accuracy.csv``, ``accuracy.md``, the figure, and what the predictions were made on."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([asdict(row) for row in rows], columns=[one.name for one in fields(Row)])
    table["peak_ratio"] = table["predicted_peak_mb"] / table["measured_peak_mb"]
    table["time_ratio"] = table["predicted_s"] / table["measured_s"]
    table = table.sort_values(["execution", "precision", "model", "megapixels"])
    table.to_csv(folder / "accuracy.csv", index=False, float_format="%.6g", lineterminator="\n")
    (folder / "accuracy.md").write_text("\n".join(summary(table)) + "\n", encoding="utf-8")
    facts = collect_environment(str(table["device"].iloc[0]))
    text = json.dumps(facts, indent=2, sort_keys=True)
    (folder / "environment.json").write_text(text + "\n", encoding="utf-8")
    write_figure(table, folder)


def summary(table: pd.DataFrame) -> list[str]:
    """What the table comes to, as Markdown."""
    lines = [
        "| what was predicted | within | cells | share | worst |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, part in _parts(table):
        peaks = part.dropna(subset=["peak_ratio"])
        large = peaks[peaks["measured_peak_mb"] > _LARGE_MB]
        lines.append(_line(f"peak memory, {name}", "10 %", peaks["peak_ratio"], 1 + _MEMORY))
        lines.append(
            _line(
                f"peak memory above 200 MB, {name}", "20 %", large["peak_ratio"], 1 + _LARGE_MEMORY
            )
        )
        long = part[part["measured_s"] > _LONG_S].dropna(subset=["time_ratio"])
        if not long.empty:
            lines.append(_line(f"time above 1 s, {name}", "factor 1.5", long["time_ratio"], _TIME))
    lines += ["", "| verdict | ran | out of memory |", "| --- | --- | --- |"]
    for verdict, own in table.groupby("verdict"):
        ran = int((own["status"] == "ok").sum())
        lines.append(f"| {verdict} | {ran} | {len(own) - ran} |")
    return lines


def _parts(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "all", table
    groups: Iterable[tuple[Any, pd.DataFrame]] = table.groupby(["execution", "precision"])
    for (execution, precision), own in groups:
        yield f"{execution} {precision}", own


def _line(name: str, within: str, ratios: "pd.Series[float]", factor: float) -> str:
    if ratios.empty:
        return f"| {name} | {within} | 0 | | |"
    # 10 % either way for memory; a factor either way for time.
    low = 1 / factor if factor == _TIME else 2 - factor
    good = int(ratios.between(low, factor).sum())
    worst = ratios.loc[(ratios - 1).abs().idxmax()]
    return f"| {name} | {within} | {len(ratios)} | {good / len(ratios):.0%} | {worst:.2f} |"


if __name__ == "__main__":
    main()

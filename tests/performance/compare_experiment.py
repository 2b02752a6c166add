"""How often ``bench compare`` errs on a real machine: the same code, and code made slower.

    python -m tests.performance.compare_experiment --rounds 120

Round after round, every cell is measured in fresh processes of its own: twice as it is (``a`` and
``b``), and the first cell also 10 % and 20 % slower and with 3 % more memory
(:mod:`tests.performance.slowed_worker`), in an order drawn for each round. Comparisons are then
made of any 5 (or 7, or 10) consecutive rounds, or of 5 and, where these cannot tell, of these and
the next 5, as ``bench ab`` does: of ``a`` with ``b`` nothing has changed; of ``a`` with
``b`` whose first cell is replaced by a slower one, one cell is a regression. Sides either took
turns (the same rounds) or followed each other (the base's rounds, then as many of the other's).

It writes ``processes.csv`` (every process; a stopped experiment goes on from it),
``experiment.csv`` (how comparisons were judged) and ``environment.json`` to
``docs/results/compare``. Windows of rounds overlap, so the comparisons of one kind are not
independent of each other.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from statistics import median

import numpy as np

from bench.cells import Cell
from bench.compare.comparison import compare
from bench.compare.metrics import chosen
from bench.compare.result import Comparison, Finding, Limits
from bench.compare.side import Process, Side, SideCell
from bench.errors import UserError
from bench.measure.code_version import code_version
from bench.measure.environment import collect_environment
from bench.run.executor import run_cell
from bench.run.store import RunFolder
from bench.scenario.schema import Scenario
from bench.stylizers import model_facts

OUT = Path(__file__).parents[2] / "docs" / "results" / "compare"
SCENARIO = {
    "name": "compare-experiment",
    "device": "cpu",
    "models": ["adain-vgg16-16x"],
    "execution": ["whole", "strips"],
    # the first is changed
    "resolutions": ["512x512", "256x256"],
    "style_resolution": "256x256",
    "memory_cap": "2GB",
    "threads": 1,
    "measure": {"warmup": 2, "min_repeats": 6, "max_repeats": 12, "cell_time_limit": "10s"},
}
SLOWDOWNS = {"a": 0.0, "b": 0.0, "slower-10": 0.10, "slower-20": 0.20, "memory-3": 0.0}
MEMORY_GROWTH = 0.03
DESIGNS = (
    ("in turn", 5),
    ("in turn", 7),
    ("in turn", 10),
    ("in turn, again", 10),
    ("separate", 5),
    ("separate", 7),
)
"""How the sides are measured, and processes of each; ``again``: of half as many at first."""
PILOT = 3
"""Processes from which the first cell's memory is known."""
_DEADLINE_S = 120.0
Findings = Mapping[tuple[str, str], Finding]
"""By cell and metric."""


@dataclass(frozen=True)
class Measured:
    """One process; a row of ``processes.csv``."""

    round: int
    cell: str
    variant: str
    latency_ms: float
    peak_rss_growth_mb: float
    began: float
    """Seconds since the epoch."""
    ended: float


@dataclass(frozen=True)
class Judged:
    """How comparisons of one kind were judged; a row of ``experiment.csv``."""

    variant: str
    """What the first cell of the new side was."""
    design: str
    processes: int
    """A side; of ``in turn, again`` at most."""
    comparisons: int
    false_alarms: int
    """Comparisons in which a cell was called a regression in which nothing was changed."""
    found: int
    """In which the change of the first cell was called a regression."""
    missed: int
    """In which it was called unchanged."""
    inconclusive: int
    """In which it was neither."""
    median_change: float
    """Of the changed metric of the first cell, as it was found."""


def measure(out: Path, rounds: int, seed: int) -> list[Measured]:
    """Measure the rounds that ``processes.csv`` lacks; the first ``rounds`` of all."""
    path = out / "processes.csv"
    done = read(path) if path.is_file() else []
    first = max((one.round for one in done), default=-1) + 1
    scenario = Scenario.model_validate(SCENARIO)
    digest = {
        model: model_facts(model, 1, 1, seed=scenario.seed).weights_digest
        for model in scenario.models
    }
    cells = scenario.cells("cpu", weights_digest=digest.__getitem__, code_version=code_version())
    environment = collect_environment("cpu")
    (out / "environment.json").write_text(json.dumps(environment, indent=1, default=str) + "\n")
    with (
        tempfile.TemporaryDirectory() as scratch,
        RunFolder.create(Path(scratch), scenario, environment) as folder,
        path.open("a", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, [field.name for field in fields(Measured)])
        if not done:
            table.writeheader()
        extra_mb = MEMORY_GROWTH * _memory_mb(cells[0], folder)
        for number in range(first, rounds):
            order = np.random.default_rng([seed, number])
            rows: list[Measured] = []
            for position, cell in enumerate(cells):
                variants = list(SLOWDOWNS) if position == 0 else ["a", "b"]
                rows += [
                    _process(cell, folder, number, str(variant), extra_mb)
                    for variant in order.permutation(variants)
                ]
            table.writerows(map(asdict, rows))
            file.flush()
            done += rows
            print(f"round {number + 1} of {rounds}", flush=True)
    return [one for one in done if one.round < rounds]


def _memory_mb(cell: Cell, folder: RunFolder) -> float:
    return median(
        _process(cell, folder, number, "a", 0.0).peak_rss_growth_mb for number in range(PILOT)
    )


def _process(cell: Cell, folder: RunFolder, number: int, variant: str, extra_mb: float) -> Measured:
    extra = extra_mb if variant == "memory-3" else 0.0
    slowed = ("-P", "-m", "tests.performance.slowed_worker", str(SLOWDOWNS[variant]), str(extra))
    # the folder keeps one record a round, so that of another variant is written over
    record = run_cell(
        cell,
        folder,
        deadline_s=_DEADLINE_S,
        repeat=number,
        worker=(sys.executable, *slowed),
    )
    if record.status != "ok" or record.latency_ms is None or record.peak_rss_growth_mb is None:
        raise UserError(f"{cell.label()}: {record.status}: {record.reason}")
    began = datetime.fromisoformat(str(record.started_at)).timestamp()
    return Measured(
        round=number,
        cell=cell.label(),
        variant=variant,
        latency_ms=record.latency_ms,
        peak_rss_growth_mb=record.peak_rss_growth_mb,
        began=round(began, 3),
        ended=round(began + (record.duration_s or 0.0), 3),
    )


def read(path: Path) -> list[Measured]:
    """What ``processes.csv`` holds: whole rounds."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = ("latency_ms", "peak_rss_growth_mb", "began", "ended")
    return [
        Measured(
            round=int(row["round"]),
            cell=row["cell"],
            variant=row["variant"],
            **{name: float(row[name]) for name in numbers},
        )
        for row in rows
    ]


def judge(measured: Sequence[Measured]) -> Iterator[Judged]:
    """Every kind of comparison over the rounds."""
    rounds = max(one.round for one in measured) + 1
    first = measured[0].cell
    known = {(one.cell, one.variant, one.round): one for one in measured}
    cells = list(dict.fromkeys(one.cell for one in measured))

    def side(name: str, variants: Mapping[str, str], numbers: range) -> Side:
        made = {}
        for cell in cells:
            runs = [known[cell, variants.get(cell, name[0]), number] for number in numbers]
            found = SideCell({"benchmark": cell}, "ok", processes=tuple(map(_as_process, runs)))
            made[found.key] = found
        return Side(name, "pytest-benchmark", {}, made, None)

    def compared(variant: str, start: int, processes: int, shift: int = 0) -> Comparison:
        return _compared(
            side("a", {}, range(start, start + processes)),
            side("b", {first: variant}, range(start + shift, start + shift + processes)),
        )

    def again(variant: str, start: int, processes: int) -> Comparison:
        found = compared(variant, start, processes // 2)
        return compared(variant, start, processes) if found.verdict == "inconclusive" else found

    for variant in list(SLOWDOWNS)[1:]:
        for design, processes in DESIGNS:
            shift = processes if design == "separate" else 0
            starts = range(rounds - processes - shift + 1)
            if design == "in turn, again":
                found = [again(variant, start, processes) for start in starts]
            else:
                found = [compared(variant, start, processes, shift) for start in starts]
            if found:
                yield _judged(list(map(_findings, found)), first, variant, design, processes)


def _as_process(one: Measured) -> Process:
    values = {"latency_ms": one.latency_ms, "peak_rss_growth_mb": one.peak_rss_growth_mb}
    return Process(one.round, one.began, one.ended, values)


def _compared(base: Side, new: Side) -> Comparison:
    metrics, _ = chosen(("latency_ms", "peak_rss_growth_mb"))
    return compare(base, new, limits=Limits(), metrics=metrics)


def _findings(comparison: Comparison) -> Findings:
    """By cell and metric."""
    return {
        (cell.label, finding.metric): finding
        for cell in comparison.cells
        for finding in cell.findings
    }


def _judged(
    found: Sequence[Findings],
    first: str,
    variant: str,
    design: str,
    processes: int,
) -> Judged:
    metric = "peak_rss_growth_mb" if variant == "memory-3" else "latency_ms"
    changed = [findings[first, metric] for findings in found]
    same = variant == "b"
    # What holds memory also takes time to be touched: only the other cells are free of change.
    untouched = [
        [finding for key, finding in findings.items() if same or key[0] != first]
        for findings in found
    ]
    verdicts = [finding.verdict for finding in changed]
    return Judged(
        variant=variant,
        design=design,
        processes=processes,
        comparisons=len(found),
        false_alarms=sum(any(f.verdict == "regression" for f in some) for some in untouched),
        found=0 if same else verdicts.count("regression"),
        missed=0 if same else verdicts.count("unchanged") + verdicts.count("improvement"),
        inconclusive=verdicts.count("inconclusive"),
        median_change=round(median(finding.change or 0.0 for finding in changed), 4),
    )


def main() -> None:
    """Measure what is missing, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=20260217)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    judged = list(judge(measure(given.out, given.rounds, given.seed)))
    with (given.out / "experiment.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Judged)])
        table.writeheader()
        table.writerows(map(asdict, judged))
    for row in judged:
        print(row)


if __name__ == "__main__":
    main()

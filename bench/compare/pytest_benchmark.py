"""pytest-benchmark's JSON as one side of a comparison: a benchmark is a cell, a file a process.

``median`` becomes ``latency_ms``; numbers of ``extra_info`` count where they have the name of a
compared field, such as ``peak_rss_growth_mb`` or ``parameters``.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from bench.compare.metrics import COMPARED
from bench.compare.side import Key, Process, Side, SideCell
from bench.errors import UserError
from distill.suggest import one_line


class _Stats(BaseModel):
    median: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Seconds."""


class _Benchmark(BaseModel):
    fullname: str
    stats: _Stats
    extra_info: dict[str, Any] = {}


class _Document(BaseModel):
    """Of all that pytest-benchmark writes, what is needed here."""

    benchmarks: list[_Benchmark]
    machine_info: dict[str, Any] = {}
    commit_info: dict[str, Any] = {}
    datetime: str | None = None


def is_benchmark(content: object) -> bool:
    """Whether JSON looks like pytest-benchmark's."""
    return isinstance(content, dict) and {"benchmarks", "machine_info"} <= content.keys()


def side_of_benchmarks(path: str, contents: Mapping[Path, Any]) -> Side:
    """One side from one or several files, each written by a process of its own.

    Raises ``UserError`` for files that are damaged, empty, or of several machines or commits.
    """
    documents = {file: _read(file, content) for file, content in contents.items()}
    environments = {file: _environment(document) for file, document in documents.items()}
    first = next(iter(environments))
    for file, environment in environments.items():
        for key, value in environment.items():
            if value != (expected := environments[first].get(key)):
                raise UserError(
                    one_line(
                        f"{file}: was measured with {key} {value}, {first.name} with {expected}: "
                        "repeats of one measurement are needed, not a history"
                    )
                )
    processes: dict[str, list[Process]] = {}
    ordered = sorted(documents.items(), key=lambda item: (item[1].datetime or "", item[0].name))
    for repeat, (file, document) in enumerate(ordered):
        for benchmark in document.benchmarks:
            found = processes.setdefault(benchmark.fullname, [])
            if found and found[-1].repeat == repeat:
                raise UserError(one_line(f"{file}: has {benchmark.fullname} twice"))
            found.append(_process(benchmark, repeat))
    cells: dict[Key, SideCell] = {}
    for name, measured in processes.items():
        cell = SideCell({"benchmark": name}, "ok", processes=tuple(measured))
        cells[cell.key] = cell
    return Side(
        path=path,
        kind="pytest-benchmark",
        environment=environments[first],
        cells=cells,
        asked=None,
        measured_at=ordered[0][1].datetime,
    )


def _read(file: Path, content: Any) -> _Document:
    try:
        document = _Document.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UserError(
            one_line(f"{file}: not as pytest-benchmark writes it: {where}: {problem['msg']}")
        ) from None
    if not document.benchmarks:
        raise UserError(one_line(f"{file}: has no benchmarks: nothing was measured"))
    if document.datetime:
        try:
            datetime.fromisoformat(document.datetime)
        except ValueError:
            raise UserError(
                one_line(f"{file}: datetime: not a date: {document.datetime}")
            ) from None
    return document


def _environment(document: _Document) -> dict[str, Any]:
    """Under the names that a run's environment has."""
    machine = document.machine_info
    cpu = machine.get("cpu")
    facts = {
        "cpu": cpu.get("brand_raw") if isinstance(cpu, dict) else machine.get("processor"),
        "cpu_usable_cores": cpu.get("count") if isinstance(cpu, dict) else None,
        "python": machine.get("python_version"),
        "code_version": document.commit_info.get("id"),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _process(benchmark: _Benchmark, repeat: int) -> Process:
    extra = {
        name: float(value)
        for name, value in benchmark.extra_info.items()
        if name in COMPARED and isinstance(value, int | float) and not isinstance(value, bool)
    }
    # The file's time is that of its end, and of all its benchmarks: who took turns is not known.
    return Process(repeat, None, None, extra | {"latency_ms": benchmark.stats.median * 1e3})

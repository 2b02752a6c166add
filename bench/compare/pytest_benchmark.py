"""pytest-benchmark's JSON as one side of a comparison: a benchmark is a cell, a file a process.

``median`` becomes ``latency_ms``; numbers of ``extra_info`` count where they have the name of a
compared field, such as ``peak_rss_growth_mb`` or ``parameters``. ``machine_info`` may have an
``environment``, as a run has one. The files of :mod:`bench.pytest_plugin` have the same form, and
all processes of a benchmark in one file.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from bench.compare.metrics import COMPARED
from bench.compare.side import Key, Process, Side, SideCell, number
from bench.errors import UserError
from bench.measure.environment_differences import environment_differences
from distill.suggest import one_line

OWN = "ultrastyle_bench"
"""Key of what the files of :mod:`bench.pytest_plugin` have beside pytest-benchmark's."""
SCHEMA_VERSION = 1
"""Of those files."""
_EXAMPLES = 3


class _Stats(BaseModel):
    median: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Seconds."""


class Measured(BaseModel):
    """What one process measured, where a file has several."""

    began: float
    """Seconds since the epoch."""
    ended: float
    values: dict[str, float]
    """By field of the record; ``latency_ms`` is among them."""


class _Benchmark(BaseModel):
    fullname: str
    stats: _Stats
    extra_info: dict[str, Any] = {}
    processes: Annotated[list[Measured], Field(min_length=1)] | None = None


class _Own(BaseModel):
    warmup: int | None = None


class _Document(BaseModel):
    """Of all that pytest-benchmark writes, what is needed here."""

    benchmarks: list[_Benchmark]
    machine_info: dict[str, Any] = {}
    commit_info: dict[str, Any] = {}
    datetime: str | None = None
    own: Annotated[_Own, Field(alias=OWN)] = _Own()


def is_benchmark(content: object) -> bool:
    """Whether JSON looks like pytest-benchmark's."""
    return isinstance(content, dict) and {"benchmarks", "machine_info"} <= content.keys()


def side_of_benchmarks(path: str, contents: Mapping[Path, Any]) -> Side:
    """One side from one or several files, each written by a process of its own.

    Raises ``UserError`` for files that are damaged, empty, of another version, of several machines
    or commits, or that do not all have the same benchmarks.
    """
    documents = {file: _read(file, content) for file, content in contents.items()}
    environments = {file: _environment(document) for file, document in documents.items()}
    first = next(iter(environments))
    for file, environment in environments.items():
        if different := environment_differences(environment, environments[first]):
            raise UserError(
                one_line(
                    f"{file}: other environment than {first.name}: {different[0]}: repeats of one "
                    "measurement are needed, not a history"
                )
            )
    ordered = sorted(documents.items(), key=lambda item: (item[1].datetime or "", item[0].name))
    processes: dict[str, list[Process]] = {}
    for file, document in ordered:
        _check_names(file, document, ordered[0][0], ordered[0][1])
        for benchmark in document.benchmarks:
            found = processes.setdefault(benchmark.fullname, [])
            found.extend(_processes(benchmark, begin=len(found)))
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
        warmup=documents[first].own.warmup,
        measured_at=ordered[0][1].datetime,
    )


def _read(file: Path, content: Any) -> _Document:
    own = content.get(OWN)
    version = own.get("schema_version") if isinstance(own, dict) else own
    if OWN in content and version != SCHEMA_VERSION:
        raise UserError(
            one_line(
                f"{file}: is of format {version!r}, this version reads {SCHEMA_VERSION}: "
                "measure it again"
            )
        )
    try:
        document = _Document.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        by = f" (version {content['version']})" if "version" in content else ""
        raise UserError(
            one_line(f"{file}: not as pytest-benchmark writes it{by}: {where}: {problem['msg']}")
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


def _check_names(file: Path, document: _Document, first: Path, expected: _Document) -> None:
    names = [benchmark.fullname for benchmark in document.benchmarks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(one_line(f"{file}: has {twice[0]} twice"))
    wanted = {benchmark.fullname for benchmark in expected.benchmarks}
    for where, other, lacking in (
        (file, first, wanted - set(names)),
        (first, file, set(names) - wanted),
    ):
        if lacking:
            raise UserError(
                one_line(
                    f"{where}: lacks {_listed(lacking)}, which {other.name} has: each process "
                    "must have measured the same"
                )
            )


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - _EXAMPLES} more" if len(found) > _EXAMPLES else ""
    return f"{', '.join(found[:_EXAMPLES])}{more}"


def _environment(document: _Document) -> dict[str, Any]:
    """Under the names that a run's environment has."""
    machine = document.machine_info
    cpu = machine.get("cpu")
    facts = {
        "cpu": cpu.get("brand_raw") if isinstance(cpu, dict) else machine.get("processor"),
        "cpu_usable_cores": cpu.get("count") if isinstance(cpu, dict) else None,
        "python": machine.get("python_version"),
    }
    told = machine.get("environment")
    facts |= told if isinstance(told, dict) else {}
    # That of what was measured, not of this package.
    facts["code_version"] = document.commit_info.get("id")
    return {key: value for key, value in facts.items() if value is not None}


def _processes(benchmark: _Benchmark, *, begin: int) -> list[Process]:
    if benchmark.processes is not None:
        return [
            Process(begin + place, one.began, one.ended, one.values)
            for place, one in enumerate(benchmark.processes)
        ]
    extra = {
        name: number(value)
        for name, value in benchmark.extra_info.items()
        if name in COMPARED and isinstance(value, int | float) and not isinstance(value, bool)
    }
    # The file's time is that of its end, and of all its benchmarks: who took turns is not known.
    values = extra | {"latency_ms": benchmark.stats.median * 1e3}
    return [Process(begin, None, None, values)]

"""A run's records, put in order: one series a line of a figure, repeats of a cell merged."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from bench.record import FAILED, Record
from reports.text import gigabytes, number, short_names

STATUS_WORDS = {
    "ok": "ok",
    "out_of_memory": "out of memory",
    "timeout": "over time",
    "crashed": "crashed",
    "unsupported": "unsupported",
    "skipped": "skipped",
    "predicted": "predicted",
}
COUNTER_WORDS = {
    "peak_allocated_mb": "allocated by PyTorch",
    "peak_rss_growth_mb": "resident growth",
}
_NOT_RUN = frozenset({"skipped", "predicted"})
_EXECUTIONS = ("whole", "strips", "thumbnail")
_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
_MEASURED = (
    "latency_ms",
    "device_latency_ms",
    "throughput_mp_s",
    "load_ms",
    "first_call_ms",
    "style_encode_ms",
    "content_load_ms",
    "style_load_ms",
    "peak_allocated_mb",
    "peak_reserved_mb",
    "peak_device_mb",
    "peak_rss_growth_mb",
)


@dataclass(frozen=True)
class Series:
    """The cells of one model under one set of settings, smallest image first."""

    model: str
    short: str
    """The model's name without the folders of its path."""
    variant: str
    """The settings that tell this series from others of the run; empty where none varies."""
    facet: str
    """The part of ``variant`` that figures draw apart: device and precision."""
    line: str
    """The rest of ``variant``, which figures show by line style."""
    weights: str | None
    weights_detail: str | None
    cells: tuple[Record, ...]

    @property
    def label(self) -> str:
        """Name of the series in text."""
        return f"{self.short} ({self.variant})" if self.variant else self.short

    @property
    def first(self) -> Record:
        """Any cell of it: for what all cells have in common."""
        return self.cells[0]

    @property
    def ok(self) -> tuple[Record, ...]:
        """Cells that were measured."""
        return tuple(cell for cell in self.cells if cell.status == "ok")

    @property
    def random(self) -> bool:
        """Whether the weights are random: speed and memory count, pictures do not."""
        return self.weights == "random"

    @property
    def settings(self) -> tuple[Any, ...]:
        """What a performance and a quality series must share to belong together."""
        cell = self.first
        return (self.model, cell.execution, cell.precision, cell.device, cell.alpha)

    def at(self, size: tuple[int, int]) -> Record | None:
        """The measured cell of this size in pixels (width, height)."""
        return next((cell for cell in self.ok if (cell.width, cell.height) == size), None)


@dataclass(frozen=True)
class CommonSize:
    """The size at which the models of a run are compared."""

    size: tuple[int, int]
    """Width and height in pixels."""
    megapixels: float
    missing: tuple[Series, ...]
    """Series without a measurement at this size."""


@dataclass(frozen=True)
class Results:
    """A run's records and the series they form."""

    records: tuple[Record, ...]
    performance: tuple[Series, ...]
    quality: tuple[Series, ...]

    @property
    def models(self) -> dict[str, str]:
        """Every model of the run, in order, and its short name."""
        return short_names([record.model for record in self.records])

    @property
    def random_models(self) -> list[str]:
        """Short names of the models with random weights."""
        series = [*self.performance, *self.quality]
        return list(dict.fromkeys(one.short for one in series if one.random))


def read_results(frame: pd.DataFrame) -> Results:
    """Records, in an order that does not depend on the frame's, from one row a record.

    Columns are the fields of ``bench.record.Record``; lists and dictionaries are objects, as made
    from dictionaries or as read from Parquet; a null is None or NaN. Columns of other names are
    left out.

    Raises:
        pydantic.ValidationError: a row is no record.
    """
    fields = [str(name) for name in frame.columns if name in Record.model_fields]
    rows = frame[fields].to_dict("records") if fields else []
    records = [
        Record(
            **{str(key): value for key, cell in row.items() if (value := _plain(cell)) is not None}
        )
        for row in rows
    ]
    records.sort(key=_order)
    return Results(
        records=tuple(records),
        performance=_series([r for r in records if r.kind == "performance"], records),
        quality=_series([r for r in records if r.kind == "quality"], records),
    )


def common_size(series: Iterable[Series]) -> CommonSize | None:
    """The largest size at which every series that measured anything has a measurement.

    Where there is none, the size most series have (the largest of those); None without any
    measurement.
    """
    series = tuple(series)
    sizes = {(cell.width, cell.height): cell.megapixels for one in series for cell in one.ok}
    if not sizes:
        return None

    def share(size: tuple[int, int]) -> tuple[int, float, tuple[int, int]]:
        return sum(one.at(size) is not None for one in series), sizes[size], size

    best = max(sizes, key=share)
    return CommonSize(best, sizes[best], tuple(one for one in series if one.at(best) is None))


def peak_counter(record: Record) -> str | None:
    """Which field is the peak memory of a record: ``peak_allocated_mb`` on CUDA, else resident."""
    if record.device.startswith("cuda"):
        return "peak_allocated_mb"
    return "peak_rss_growth_mb" if record.device.startswith("cpu") else None


def peak_memory_mb(record: Record) -> float | None:
    """Peak memory in MB by the counter of ``peak_counter``."""
    counter = peak_counter(record)
    value = getattr(record, counter) if counter else None
    return None if value is None else float(value)


def baseline(one: Series, series: Iterable[Series]) -> Series | None:
    """The ratio-1 series of the same method, family and settings; None for ratio 1 itself."""
    if one.first.ratio == 1:
        return None
    same = [
        other
        for other in series
        if other.first.ratio == 1
        and (other.first.method, other.first.family) == (one.first.method, one.first.family)
        and other.variant == one.variant
        and other.settings[1:] == one.settings[1:]
    ]
    # the project's own full-size network before one read from a path
    return min(same, key=lambda other: (":" in other.model, other.model), default=None)


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """A quotient, or None where either side is missing or not above zero."""
    if numerator is None or denominator is None or numerator <= 0 or denominator <= 0:
        return None
    return numerator / denominator


def _plain(value: Any) -> Any:
    """``value`` as Python's own type; a null, and nulls inside a dictionary, as None."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {key: plain for key, one in value.items() if (plain := _plain(one)) is not None}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    return value


def _order(record: Record) -> tuple[Any, ...]:
    return (
        record.method,
        record.family,
        record.ratio,
        record.model,
        record.device,
        _rank(_EXECUTIONS, record.execution),
        _rank(_PRECISIONS, record.precision),
        record.width * record.height,
        record.width,
        *(_comparable(value(record)) for value in _EXTRA.values()),
        record.id,
        record.repeat,
    )


def _rank(known: Sequence[str], name: str) -> tuple[int, str]:
    return (known.index(name) if name in known else len(known), name)


def _comparable(value: Any) -> tuple[bool, Any]:
    return (value is not None, 0 if value is None else value)


_EXTRA: dict[str, Callable[[Record], Any]] = {
    "alpha": lambda r: r.alpha,
    "seed": lambda r: r.seed,
    "threads": lambda r: r.threads,
    "style": lambda r: (r.style_width, r.style_height),
    "cap": lambda r: r.memory_cap_mb,
}


def _words(name: str, value: Any) -> str:
    if value is None:
        return {"cap": "no cap", "threads": "any threads"}.get(name, f"no {name}")
    if name == "cap":
        return f"cap {gigabytes(value)}"
    if name == "style":
        return f"style {value[0]}x{value[1]}"
    return f"{value} threads" if name == "threads" else f"{name} {number(value)}"


def _series(records: Sequence[Record], everything: Sequence[Record]) -> tuple[Series, ...]:
    def varies(values: Iterable[Any]) -> bool:
        return len(set(values)) > 1

    facets = [
        name
        for name in ("device", "precision")
        if varies(getattr(record, name) for record in everything)
    ]
    executions = varies(record.execution for record in everything)
    # A setting that follows the size (a style as large as the content) is no dimension: only one
    # that differs between cells alike in all else is.
    alike: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        key = (record.model, record.device, record.execution, record.precision)
        alike.setdefault((*key, record.width, record.height), []).append(record)
    extra = [
        name
        for name, value in _EXTRA.items()
        if any(varies(value(record) for record in group) for group in alike.values())
    ]
    names = short_names([record.model for record in everything])
    weights = _known(everything, "weights")
    details = _known(everything, "weights_detail")
    grouped: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        key = (record.model, record.device, record.execution, record.precision)
        grouped.setdefault((*key, *(_EXTRA[name](record) for name in extra)), []).append(record)
    series = []
    for settings, group in grouped.items():
        facet = ", ".join(str(getattr(group[0], name)) for name in facets)
        line = [group[0].execution] if executions else []
        line += [_words(name, value) for name, value in zip(extra, settings[4:], strict=True)]
        model = group[0].model
        series.append(
            Series(
                model=model,
                short=names[model],
                variant=", ".join([*([facet] if facet else []), *line]),
                facet=facet,
                line=", ".join(line),
                weights=weights.get(model),
                weights_detail=details.get(model),
                cells=_merge_repeats(group),
            )
        )
    return tuple(series)


def _known(records: Iterable[Record], field: str) -> dict[str, str]:
    """A model's value from the records that have it: one that failed early may not."""
    return {
        record.model: getattr(record, field)
        for record in records
        if getattr(record, field) is not None
    }


def _merge_repeats(records: Sequence[Record]) -> tuple[Record, ...]:
    """One record a cell: medians over the processes that measured it.

    A cell of which any process failed has failed; repeats that were not run do not count beside
    ones that were.
    """
    cells: dict[str, list[Record]] = {}
    for record in records:
        cells.setdefault(record.id, []).append(record)
    merged = [group[0] if len(group) == 1 else _merge(group) for group in cells.values()]
    return tuple(sorted(merged, key=lambda cell: (cell.width * cell.height, cell.width, cell.id)))


def _merge(group: Sequence[Record]) -> Record:
    run = [record for record in group if record.status not in _NOT_RUN] or list(group)
    failed = [record for record in run if record.status in FAILED]
    if failed:
        return failed[0]
    ok = [record for record in run if record.status == "ok"]
    if not ok:
        return run[0]

    def values(name: str) -> list[float]:
        return [value for record in ok if (value := getattr(record, name)) is not None]

    update: dict[str, Any] = {name: median(found) for name in _MEASURED if (found := values(name))}
    # the spread between processes is part of what is not known
    update["latency_ci_low_ms"] = min(values("latency_ci_low_ms"), default=None)
    update["latency_ci_high_ms"] = max(values("latency_ci_high_ms"), default=None)
    update["repeats"] = sum(int(value) for value in values("repeats")) or None
    return ok[0].model_copy(update=update)

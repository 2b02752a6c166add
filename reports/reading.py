"""From the rows of a run to its series; repeats of a cell merged."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from bench.passes import FIRST_PASS_PEAKS, warm_if_any
from bench.record import FAILED
from bench.study.methods import SETTINGS
from reports.results import NOT_RUN, Results, RunRecord, Series, ending
from reports.text import short_names

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
    "energy_j_per_image",
    "energy_j_per_mp",
    "energy_net_j_per_image",
    "energy_net_j_per_mp",
)

_OF_THE_START = (
    frozenset({"load_ms", "first_call_ms", "style_encode_ms", "content_load_ms", "style_load_ms"})
    | FIRST_PASS_PEAKS
)


def read_results(frame: pd.DataFrame, runs: Sequence[str] = ()) -> Results:
    """Records, in an order that does not depend on the frame's, from one row a record.

    Columns are the fields of ``bench.record.Record``; lists and dictionaries are objects, as made
    from dictionaries or as read from Parquet; a null is None or NaN. Where there are several runs,
    the column ``run`` has their labels and ``runs`` the labels in order. Columns of other names
    are left out.

    Raises:
        pydantic.ValidationError: a row is no record.
    """
    fields = [str(name) for name in frame.columns if name in RunRecord.model_fields]
    rows = frame[fields].to_dict("records") if fields else []
    records = [
        RunRecord(
            **{str(key): value for key, cell in row.items() if (value := _plain(cell)) is not None}
        )
        for row in rows
    ]
    records.sort(key=lambda record: _order(record, runs))
    return Results(
        records=tuple(records),
        performance=_series([r for r in records if r.kind == "performance"], records),
        quality=_series([r for r in records if r.kind == "quality"], records),
        runs=tuple(runs),
    )


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


def _order(record: RunRecord, runs: Sequence[str]) -> tuple[Any, ...]:
    return (
        record.method,
        record.family,
        record.ratio,
        record.model,
        _rank(runs, record.run),
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


_EXTRA: dict[str, Callable[[RunRecord], Any]] = {
    "alpha": lambda r: r.alpha,
    "seed": lambda r: r.seed,
    "threads": lambda r: r.threads,
    "style": lambda r: (r.style_width, r.style_height),
    "cap": lambda r: r.memory_cap_mb,
}


def _series(records: Sequence[RunRecord], everything: Sequence[RunRecord]) -> tuple[Series, ...]:
    def varies(values: Iterable[Any]) -> bool:
        return len(set(values)) > 1

    several = varies(record.run for record in everything)
    facets = [
        name
        for name in ("device", "precision")
        if varies(getattr(record, name) for record in everything)
    ]
    if several and not any(
        varies(record.device for record in everything if record.run == run)
        for run in {record.run for record in everything}
    ):
        # the run says it, and runs are there to be seen in one picture
        facets = [name for name in facets if name != "device"]
    executions = varies(record.execution for record in everything)
    # A setting that follows the size (a style as large as the content) is no dimension: only one
    # that differs between cells alike in all else is.
    alike: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        alike.setdefault((*_key(record), record.width, record.height), []).append(record)
    extra = [
        name
        for name, value in _EXTRA.items()
        if any(varies(value(record) for record in group) for group in alike.values())
    ]
    names = short_names(list(dict.fromkeys(record.model for record in everything)))
    weights = _known(everything, "weights")
    details = _known(everything, "weights_detail")
    grouped: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        key = (*_key(record), *(_EXTRA[name](record) for name in extra))
        grouped.setdefault(key, []).append(record)
    series = []
    for group in grouped.values():
        first = group[0]
        facet = ", ".join(str(getattr(first, name)) for name in facets)
        line = [first.run] if several else []
        line += [first.execution] if executions else []
        line += [SETTINGS[name](first) for name in extra]
        series.append(
            Series(
                model=first.model,
                short=names[first.model],
                variant=", ".join([*([facet] if facet else []), *line]),
                facet=facet,
                line=", ".join(line),
                weights=weights.get((first.run, first.model)),
                weights_detail=details.get((first.run, first.model)),
                cells=_merge_repeats(group),
            )
        )
    return tuple(series)


def _key(record: RunRecord) -> tuple[str, ...]:
    return (record.model, record.run, record.device, record.execution, record.precision)


def _known(records: Iterable[RunRecord], field: str) -> dict[tuple[str, str], str]:
    """A model's value in each run, from the records that have it: one that failed early may not."""
    return {
        (record.run, record.model): getattr(record, field)
        for record in records
        if getattr(record, field) is not None
    }


def _merge_repeats(records: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    """One record a cell: medians over the processes that measured it.

    A cell of which any process failed has failed; repeats that were not run, or that the run's time
    limit stopped, do not count beside ones that were. A median of latencies is over warm passes
    alone, or over first passes alone.
    """
    cells: dict[str, list[RunRecord]] = {}
    for record in records:
        cells.setdefault(record.id, []).append(record)
    merged = [group[0] if len(group) == 1 else _merge(group) for group in cells.values()]
    return tuple(sorted(merged, key=lambda cell: (cell.width * cell.height, cell.width, cell.id)))


def _merge(group: Sequence[RunRecord]) -> RunRecord:
    run = [record for record in group if ending(record) not in NOT_RUN] or list(group)
    failed = [record for record in run if record.status in FAILED]
    if failed:
        return failed[0]
    ok = [record for record in run if record.status == "ok"]
    if not ok:
        return run[0]

    timed = warm_if_any(ok)

    def values(name: str) -> list[float]:
        # Every process has a start and a first pass; all else is of the passes that count.
        some = ok if name in _OF_THE_START else timed
        return [value for record in some if (value := getattr(record, name)) is not None]

    update: dict[str, Any] = {name: median(found) for name in _MEASURED if (found := values(name))}
    # the spread between processes is part of what is not known
    update["latency_ci_low_ms"] = min(values("latency_ci_low_ms"), default=None)
    update["latency_ci_high_ms"] = max(values("latency_ci_high_ms"), default=None)
    if watched := [record.conditions for record in timed if record.conditions is not None]:
        update["conditions"] = sorted({label for labels in watched for label in labels})
    update["repeats"] = sum(int(value) for value in values("repeats")) or None
    return timed[0].model_copy(update=update)

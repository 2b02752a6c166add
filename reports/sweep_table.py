"""The sweep: the performance cells to read, and every record and image pair in long form."""

import json
import math
from collections.abc import Mapping
from typing import Any

from bench.passes import is_disturbed, latency_pass
from bench.record import Record
from reports.identity import identity_columns, settings_words
from reports.results import ENDING_WORDS, NOT_RUN, Results, RunRecord, ending_of
from reports.table import Column, Mark, Row, Table
from reports.text import approximately, interval

_NESTED = frozenset({"per_pair"})
"""Fields of a record that have a table of their own."""


def sweep_table(results: Results) -> Table:
    """One row a performance record, failed and skipped ones included."""
    records = [record for record in results.records if record.kind == "performance"]
    several = any(record.repeat for record in records)
    columns = (
        *identity_columns(records),
        Column(
            "repeat",
            "Process" if several else None,
            lambda row: str(row["repeat"] + 1),
        ),
        Column("width", "Size (px)", lambda row: f"{row['width']}x{row['height']}"),
        Column("height"),
        Column("megapixels", "Size (MP)"),
        Column("weights", "Weights", paper=False),
        Column(
            "status",
            "Status",
            lambda row: ENDING_WORDS[ending_of(row["status"], row["reason_code"])],
            mark=_failed,
        ),
        Column(
            "latency_ms",
            "Latency (ms) [95 % interval]",
            lambda row: interval(
                row["latency_ms"], row["latency_ci_low_ms"], row["latency_ci_high_ms"]
            ),
            always=True,
            absent=_estimate,
            mark=_timed,
        ),
        Column("latency_pass", kind="text"),
        Column("disturbed", kind="truth"),
        Column("latency_ci_low_ms"),
        Column("latency_ci_high_ms"),
        Column("repeats", "Repeats"),
        Column("converged"),
        Column("device_latency_ms", "Device latency (ms)"),
        Column("throughput_mp_s", "Throughput (MP/s)"),
        Column("peak_allocated_mb", "Peak allocated (MB)"),
        Column("peak_reserved_mb", "Peak reserved (MB)"),
        Column("peak_device_mb", "Peak on device (MB)"),
        Column("peak_rss_growth_mb", "Peak resident growth (MB)"),
        Column("energy_j_per_image"),
        Column("energy_j_per_mp", "Energy, gross (J/MP)"),
        Column("energy_net_j_per_mp", "Energy, idle subtracted (J/MP)", paper=False),
        Column("energy_idle_w"),
        Column("energy_relative_spread"),
        Column("conditions", "Measured while", kind="text", paper=False),
        Column("predicted_peak_mb", "Peak planned with, predicted (MB)", paper=False),
        Column("gflops", "Computation (GFLOP)"),
        Column("load_ms"),
        Column("first_call_ms"),
        Column("style_encode_ms"),
        Column("content_load_ms"),
        Column("style_load_ms"),
        Column("estimate_s", "Estimate, not measured (s)", paper=False),
        Column("reason_code"),
        Column("reason", "Reason", paper=False),
        Column("id"),
    )
    names = results.models
    rows = []
    for record in records:
        row = {column.key: getattr(record, column.key, None) for column in columns}
        row["latency_pass"] = latency_pass(record)
        row["disturbed"] = is_disturbed(record) if record.conditions is not None else None
        row["conditions"] = ", ".join(record.conditions or ()).replace("_", " ") or None
        rows.append({**row, "run": record.run, "short": names[record.model]})
    note = (
        "Latency is the median wall time of one warm pass, or the one cold pass there was time for "
        "(‖), which has no interval and is not compared with warm ones. "
        "MB is 10^6 bytes."
        + (" Process numbers the repeats of a cell in fresh processes." if several else "")
    )
    return Table(
        "sweep",
        "Every performance cell",
        " ".join([note, settings_words(records)]).strip(),
        columns,
        tuple(rows),
        "No performance cell is in this run.",
        block=lambda row: (row["model"], row["run"]),
    )


def records_table(results: Results) -> Table:
    """The sweep in long form: one row a record of either kind, every field, nothing nested.

    Lists become JSON text, dictionaries a column for each key (``quality_other.NAME``).
    """
    maps: dict[str, set[str]] = {}
    for record in results.records:
        for field in _dictionaries():
            maps.setdefault(field, set()).update(getattr(record, field) or {})
    columns: list[Column] = [Column("run", kind="text")] if results.runs else []
    for field in Record.model_fields:
        if field in maps:
            columns += [Column(f"{field}.{key}") for key in sorted(maps[field])]
        elif field not in _NESTED and field not in _dictionaries():
            columns.append(Column(field, kind="text" if _is_list(field) else None))
    return Table(
        "records",
        "Every record",
        "One row a record, every field; lists are JSON text.",
        tuple(columns),
        tuple(_flat(record) for record in results.records),
        "This run has no record.",
        long=True,
    )


def pairs_table(results: Results) -> Table:
    """One row an image pair of a quality record, with every value taken of it."""
    rows = [
        {
            **{key: getattr(record, key) for key in _PAIR_IDENTITY},
            "pair": number_of,
            **{key: value for key, value in pair.items() if key not in _PAIR_IDENTITY},
        }
        for record in results.records
        for number_of, pair in enumerate(record.per_pair or [])
    ]
    first = ("pair", "content", "style", "content_image", "style_image", "image")
    values = sorted({key for row in rows for key in row} - {*_PAIR_IDENTITY, *first})
    identity = [Column(key) for key in _PAIR_IDENTITY if key != "run"]
    return Table(
        "pairs",
        "Every image pair",
        "One row a pair of content and style under one model.",
        (
            *([Column("run", kind="text")] if results.runs else []),
            *identity,
            Column("pair", kind="whole"),
            *(Column(key, kind="text") for key in first[1:]),
            *(Column(key) for key in values),
        ),
        tuple(rows),
        "This run has no image pair.",
        long=True,
    )


_PAIR_IDENTITY = (
    *("run", "id", "repeat", "model", "method", "family", "ratio", "execution", "precision"),
    *("device", "alpha", "width", "height", "quality_network", "quality_teacher"),
)


def _dictionaries() -> frozenset[str]:
    return frozenset(
        name
        for name, field in Record.model_fields.items()
        if "dict[" in str(field.annotation) and name not in _NESTED
    )


def _is_list(name: str) -> bool:
    return "list[" in str(Record.model_fields[name].annotation)


def _flat(record: RunRecord) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in record:
        if isinstance(value, Mapping):
            row |= {f"{name}.{key}": one for key, one in value.items()}
        elif isinstance(value, list):
            row[name] = json.dumps([_json(one) for one in value], ensure_ascii=False)
        else:
            row[name] = value
    return row


def _json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _failed(row: Row) -> Mark | None:
    return None if row["status"] == "ok" else Mark.FAILED


def _timed(row: Row) -> list[Mark]:
    found = [Mark.PREDICTED] if _estimate(row) else []
    found += [Mark.COLD] if row["latency_pass"] == "first" else []
    return found + ([Mark.DISTURBED] if row["latency_pass"] and row["disturbed"] else [])


def _estimate(row: Row) -> str | None:
    end = ending_of(row["status"], row["reason_code"])
    if end not in NOT_RUN or row["estimate_s"] is None:
        return None
    return approximately(1000 * row["estimate_s"])

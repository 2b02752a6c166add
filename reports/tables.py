"""The tables of a report, and the words for what a record lacks."""

from collections.abc import Iterable, Mapping
from typing import Any

from bench.quality.catalogue import built_in
from bench.record import Record
from reports.results import STATUS_WORDS, Results
from reports.summary_table import summary_table
from reports.table import Column, Table, identity_columns
from reports.text import interval, listing, number

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def all_tables(results: Results) -> list[Table]:
    """Summary, sweep, quality and failures."""
    return [
        summary_table(results),
        sweep_table(results),
        quality_table(results),
        failures_table(results),
    ]


def sweep_table(results: Results) -> Table:
    """One row a performance record, failed and skipped ones included."""
    names = results.models
    records = [record for record in results.records if record.kind == "performance"]
    columns = (
        *identity_columns(records),
        Column("repeat", "Process", lambda row: str(row["repeat"] + 1)),
        Column("width", "Size (px)", lambda row: f"{row['width']}x{row['height']}"),
        Column("height"),
        Column("megapixels", "Size (MP)"),
        Column("weights", "Weights"),
        Column("status", "Status", lambda row: STATUS_WORDS[row["status"]]),
        Column(
            "latency_ms",
            "Latency (ms) [95 % interval]",
            lambda row: interval(
                row["latency_ms"], row["latency_ci_low_ms"], row["latency_ci_high_ms"]
            ),
            always=True,
        ),
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
        Column("gflops", "Computation (GFLOP)"),
        Column("load_ms"),
        Column("first_call_ms"),
        Column("style_encode_ms"),
        Column("content_load_ms"),
        Column("style_load_ms"),
        Column("memory_cap_mb"),
        Column("estimate_s", "Estimate, not measured (s)"),
        Column("reason_code"),
        Column("reason", "Reason"),
        Column("id"),
    )
    several = any(record.repeat for record in records)
    if not several:
        columns = tuple(
            Column(column.key) if column.key == "repeat" else column for column in columns
        )
    return Table(
        "sweep",
        "Every performance cell",
        "Latency is the median wall time of one pass; with one repeat there is no interval. "
        "MB is 10^6 bytes."
        + (" Process numbers the repeats of a cell in fresh processes." if several else ""),
        columns,
        tuple(_row(record, columns, names) for record in records),
        "No performance cell is in this run.",
    )


def quality_table(results: Results) -> Table:
    """One row a quality record: losses on the reference network, and why one is missing."""
    names = results.models
    records = [record for record in results.records if record.kind == "quality"]
    columns = (
        *identity_columns(records),
        Column("width", "Size (px)", lambda row: f"{row['width']}x{row['height']}"),
        Column("height"),
        Column("weights", "Weights"),
        Column("status", "Status", lambda row: STATUS_WORDS[row["status"]]),
        Column("quality_network", "Reference network"),
        Column("quality_pairs", "Pairs"),
        Column("content_loss", "Content loss", always=True),
        Column("style_loss", "Style loss", always=True),
        *(Column(f"style_loss_{layer}", f"Style loss {layer}") for layer in LAYERS),
        Column("lpips", "LPIPS"),
        *_further_metrics({"content_loss", "style_loss", "lpips"}),
        Column("reason_code"),
        Column("remark", "Remark"),
        Column("id"),
    )
    rows = [
        {**_row(record, columns, names), "remark": quality_remark(record)} for record in records
    ]
    return Table(
        "quality",
        "Quality",
        "Means over the pairs. Losses and LPIPS: lower is nearer to the content or to the style; "
        "`bench models --metrics` says which way the others go. Values compare only on the same "
        "reference network and size.",
        columns,
        tuple(rows),
        "No quality cell is in this run.",
    )


def _further_metrics(shown: set[str]) -> list[Column]:
    """A column for every other metric; those without values stay out of the Markdown."""
    return [
        Column(name, f"{name} ({metric.unit})" if metric.unit else name)
        for name, metric in built_in().items()
        if name not in shown
    ]


def quality_remark(record: Record) -> str | None:
    """Why a quality record lacks what it lacks; None when nothing is missing."""
    parts = [] if record.status == "ok" else [message(record)]
    parts += [
        f"no {metric}: {reason}" for metric, reason in sorted((record.metrics_absent or {}).items())
    ]
    return "; ".join(parts) or None


def failures_table(results: Results) -> Table:
    """One row a record that is not ok, with what was asked for, what was free and the message."""
    names = results.models
    records = [record for record in results.records if record.status != "ok"]
    columns = (
        *identity_columns(records),
        Column("kind", "Kind"),
        Column("repeat"),
        Column("width", "Size (px)", lambda row: f"{row['width']}x{row['height']}"),
        Column("height"),
        Column("megapixels", "Size (MP)"),
        Column("weights"),
        Column("status", "Status", lambda row: STATUS_WORDS[row["status"]]),
        Column("reason_code", "Reason"),
        Column("requested_mb", "Asked for (MB)"),
        Column("free_mb", "Free (MB)"),
        Column("memory_cap_mb", "Cap (MB)"),
        Column("signal", "Signal"),
        Column("estimate_s", "Estimate (s)"),
        Column("duration_s", "Ran for (s)"),
        Column("message", "Message"),
        Column("id"),
    )
    rows = [{**_row(record, columns, names), "message": message(record)} for record in records]
    return Table(
        "failures",
        "Cells without a measurement",
        "An estimate is the predicted time of one pass, extrapolated and not measured.",
        columns,
        tuple(rows),
        "Every cell of this run was measured.",
    )


def message(record: Record) -> str:
    """The record's reason, or what its other fields tell where it has none."""
    if record.reason:
        return record.reason
    known = [
        f"asked for {number(record.requested_mb)} MB" if record.requested_mb is not None else "",
        f"{number(record.free_mb)} MB free" if record.free_mb is not None else "",
        f"ended by signal {record.signal}" if record.signal is not None else "",
        f"estimated at {number(record.estimate_s)} s" if record.estimate_s is not None else "",
    ]
    facts = [fact for fact in known if fact]
    return listing(facts) if facts else record.reason_code or "no reason was recorded"


def _row(record: Record, columns: Iterable[Column], names: Mapping[str, str]) -> dict[str, Any]:
    row = {column.key: getattr(record, column.key, None) for column in columns}
    return {**row, "short": names[record.model]}

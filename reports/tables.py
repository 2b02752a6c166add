"""The tables of a report: each once as CSV (full names, plain numbers) and once as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.record import Record
from reports.results import (
    STATUS_WORDS,
    CommonSize,
    Results,
    Series,
    baseline,
    common_size,
    peak_counter,
    peak_memory_mb,
    ratio,
)
from reports.text import DASH, count, interval, listing, markdown, number

Row = Mapping[str, Any]
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@dataclass(frozen=True)
class Column:
    """A column: its name in the CSV and, where it is in the Markdown table, its heading there."""

    key: str
    heading: str | None = None
    text: Callable[[Row], str] | None = None
    """The cell in Markdown, unescaped; by default the value, numbers to three digits."""
    always: bool = False
    """Whether it stays in the Markdown table when no row has a value."""


@dataclass(frozen=True)
class Table:
    """A table, ready to be written."""

    name: str
    title: str
    note: str
    """What the columns mean, in a sentence or two of Markdown; may be empty."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    if_empty: str

    def csv(self) -> str:
        """Comma-separated values: one header row, numbers to six digits, nothing for a null."""
        keys = [column.key for column in self.columns]
        plain = [[_csv_value(row.get(key)) for key in keys] for row in self.rows]
        text: str = pd.DataFrame(plain, columns=keys, dtype=object).to_csv(
            index=False, lineterminator="\n"
        )
        return text

    def markdown(self) -> str:
        """A pipe table; the sentence ``if_empty`` without rows."""
        if not self.rows:
            return f"{self.if_empty}\n"
        shown = [
            column
            for column in self.columns
            if column.heading
            and (column.always or any(row.get(column.key) is not None for row in self.rows))
        ]
        cells = [[markdown(_shown(column, row)) for column in shown] for row in self.rows]
        frame = pd.DataFrame(cells, columns=[markdown(str(c.heading)) for c in shown])
        right = [
            all(isinstance(row.get(c.key), int | float | None) for row in self.rows) for c in shown
        ]
        text = frame.to_markdown(
            index=False, disable_numparse=True, colalign=["right" if r else "left" for r in right]
        )
        return f"{text}\n"


def all_tables(results: Results) -> list[Table]:
    """Summary, sweep, quality and failures."""
    return [
        summary_table(results),
        sweep_table(results),
        quality_table(results),
        failures_table(results),
    ]


def summary_table(results: Results) -> Table:
    """One row a model and its settings: what it is, how far it goes, and against ratio 1.

    Costs are at the largest size every model measured; speed-up is the ratio-1 model's latency
    over the model's, memory reduction likewise with the peak memory.
    """
    common = common_size(results.performance)
    rows = [summary_row(one, results, common) for one in results.performance]
    at = f"at {number(common.megapixels)} MP " if common else ""
    columns = (
        *_identity([one.first for one in results.performance]),
        Column("method", "Method"),
        Column("family", "Family"),
        Column("ratio", "Ratio"),
        Column("weights", "Weights"),
        Column("weights_detail"),
        Column("parameters", "Parameters", lambda row: _whole(row["parameters"])),
        Column("storage_mb", "Storage (MB)"),
        Column("common_width"),
        Column("common_height"),
        Column("common_megapixels"),
        Column("gflops", f"Computation {at}(GFLOP)"),
        Column("peak_memory_mb", f"Peak memory {at}(MB)", always=True),
        Column("peak_memory_counter"),
        Column("latency_ms", f"Latency {at}(ms)", always=True),
        Column("largest_width"),
        Column("largest_height"),
        Column("largest_megapixels", "Largest size measured (MP)", always=True),
        Column("next_megapixels"),
        Column("next_status", "Next size", _next_words),
        Column("baseline", "Compared with", lambda row: row["baseline_short"] or DASH),
        Column("speed_up", "Speed-up", lambda row: _times(row["speed_up"])),
        Column("memory_reduction", "Memory reduction", lambda row: _times(row["memory_reduction"])),
    )
    return Table(
        "summary",
        "Summary",
        _summary_note(results, common),
        columns,
        tuple(rows),
        "No performance cell is in this run.",
    )


def summary_row(one: Series, results: Results, common: CommonSize | None) -> dict[str, Any]:
    """The summary of one series; costs at ``common``, None where it has no measurement there."""
    here = one.at(common.size) if common else None
    largest = one.ok[-1] if one.ok else None
    beyond = next_size(one)
    reference = baseline(one, results.performance)
    there = reference.at(common.size) if reference and common else None
    first = one.first
    memory = peak_memory_mb(here) if here else None
    return {
        **_settings(first),
        "short": one.short,
        "method": first.method,
        "family": first.family,
        "ratio": first.ratio,
        "weights": one.weights,
        "weights_detail": one.weights_detail,
        "parameters": _any(one.cells, "parameters"),
        "storage_mb": _any(one.cells, "storage_mb"),
        "common_width": common.size[0] if common else None,
        "common_height": common.size[1] if common else None,
        "common_megapixels": common.megapixels if common else None,
        "gflops": here.gflops if here else None,
        "peak_memory_mb": memory,
        "peak_memory_counter": peak_counter(here) if here else None,
        "latency_ms": here.latency_ms if here else None,
        "largest_width": largest.width if largest else None,
        "largest_height": largest.height if largest else None,
        "largest_megapixels": largest.megapixels if largest else None,
        "next_megapixels": beyond.megapixels if beyond else None,
        "next_status": beyond.status if beyond else None,
        "baseline": reference.model if reference else None,
        "baseline_short": reference.short if reference else None,
        "speed_up": ratio(there.latency_ms, here.latency_ms) if here and there else None,
        "memory_reduction": ratio(peak_memory_mb(there), memory) if there else None,
    }


def next_size(one: Series) -> Record | None:
    """The first cell beyond the largest that was measured: what stopped the series."""
    pixels = one.ok[-1].width * one.ok[-1].height if one.ok else 0
    return next(
        (cell for cell in one.cells if cell.status != "ok" and cell.width * cell.height >= pixels),
        None,
    )


def sweep_table(results: Results) -> Table:
    """One row a performance record, failed and skipped ones included."""
    names = results.models
    records = [record for record in results.records if record.kind == "performance"]
    columns = (
        *_identity(records),
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
        *_identity(records),
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
        "Means over the pairs, without a unit; lower is nearer to the content or to the style. "
        "Values compare only on the same reference network and size.",
        columns,
        tuple(rows),
        "No quality cell is in this run.",
    )


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
        *_identity(records),
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


def _identity(records: Sequence[Record]) -> tuple[Column, ...]:
    def heading(key: str, text: str) -> str | None:
        return text if len({getattr(record, key) for record in records}) > 1 else None

    return (
        Column("model", "Model", lambda row: row["short"]),
        Column("execution", "Execution"),
        Column("precision", "Precision"),
        *(
            Column(key, heading(key, text))
            for key, text in (
                ("device", "Device"),
                ("alpha", "Alpha"),
                ("seed", "Seed"),
                ("threads", "Threads"),
                ("style_width", "Style width (px)"),
                ("style_height", "Style height (px)"),
            )
        ),
    )


def _settings(record: Record) -> dict[str, Any]:
    keys = ("model", "execution", "precision", "device", "alpha", "seed", "threads")
    return {key: getattr(record, key) for key in (*keys, "style_width", "style_height")}


def _row(record: Record, columns: Iterable[Column], names: Mapping[str, str]) -> dict[str, Any]:
    row = {column.key: getattr(record, column.key, None) for column in columns}
    return {**row, "short": names[record.model]}


def _any(cells: Iterable[Record], field: str) -> Any:
    return next((v for cell in cells if (v := getattr(cell, field)) is not None), None)


def _shown(column: Column, row: Row) -> str:
    value = row.get(column.key)
    if value is None:
        return DASH
    if column.text:
        return column.text(row)
    if isinstance(value, int):
        return str(value)
    return number(value) if isinstance(value, float) else str(value)


def _whole(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def _times(value: float | None) -> str:
    return DASH if value is None else f"{number(value)}x"


def _next_words(row: Row) -> str:
    return f"{number(row['next_megapixels'])} MP: {STATUS_WORDS[row['next_status']]}"


def _csv_value(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _summary_note(results: Results, common: CommonSize | None) -> str:
    if common is None:
        return "No cell was measured." if results.performance else ""
    counters = sorted(
        {
            counter
            for one in results.performance
            if (cell := one.at(common.size)) and (counter := peak_counter(cell))
        }
    )
    size = f"{common.size[0]}x{common.size[1]} px ({number(common.megapixels)} MP)"
    every = len(common.missing) == 0
    text = f"Costs are at {size}, the largest size every row was measured at."
    if not every:
        text = (
            f"Costs are at {size}, the size most rows were measured at; "
            f"{count(len(common.missing), 'row')} without a measurement there "
            f"{'has' if len(common.missing) == 1 else 'have'} none."
        )
    if counters:
        text += f" Peak memory is {listing([f'`{counter}`' for counter in counters])}."
    return f"{text} Speed-up and memory reduction are against ratio 1 under the same settings."

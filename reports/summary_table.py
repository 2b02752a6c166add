"""The table that sums a run up: one row a model under one set of settings."""

from collections.abc import Iterable
from typing import Any

from bench.record import Record
from reports.results import (
    STATUS_WORDS,
    CommonSize,
    Results,
    Series,
    baseline,
    common_size,
    next_size,
    peak_counter,
    peak_memory_mb,
    ratio,
)
from reports.table import Column, Row, Table, identity_columns
from reports.text import DASH, count, listing, number


def summary_table(results: Results) -> Table:
    """One row a model and its settings: what it is, how far it goes, and against ratio 1.

    Costs are at the largest size every model measured; speed-up is the ratio-1 model's latency
    over the model's, memory reduction likewise with the peak memory.
    """
    common = common_size(results.performance)
    rows = [summary_row(one, results, common) for one in results.performance]
    at = f"at {number(common.megapixels)} MP " if common else ""
    columns = (
        *identity_columns([one.first for one in results.performance]),
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
        _note(results, common),
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


def _settings(record: Record) -> dict[str, Any]:
    keys = ("model", "execution", "precision", "device", "alpha", "seed", "threads")
    return {key: getattr(record, key) for key in (*keys, "style_width", "style_height")}


def _any(cells: Iterable[Record], field: str) -> Any:
    return next((v for cell in cells if (v := getattr(cell, field)) is not None), None)


def _whole(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def _times(value: float | None) -> str:
    return DASH if value is None else f"{number(value)}x"


def _next_words(row: Row) -> str:
    return f"{number(row['next_megapixels'])} MP: {STATUS_WORDS[row['next_status']]}"


def _note(results: Results, common: CommonSize | None) -> str:
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

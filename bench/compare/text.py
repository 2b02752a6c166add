"""Words and numbers that all outputs share."""

from collections.abc import Iterable
from typing import NamedTuple

from bench.compare.result import CellResult, Comparison, Finding, Verdict
from bench.compare.shares import brief, percent

METRIC_WORDS = {
    "status": "outcome",
    "latency_ms": "latency",
    "device_latency_ms": "latency (device)",
    "first_call_ms": "first pass",
    "load_ms": "loading",
    "style_encode_ms": "style encoding",
    "peak_allocated_mb": "peak memory (allocated)",
    "peak_reserved_mb": "peak memory (reserved)",
    "peak_device_mb": "peak memory (device)",
    "peak_rss_growth_mb": "peak memory (RSS growth)",
    "parameters": "parameters",
    "storage_mb": "storage",
}
VERDICT_WORDS: dict[Verdict, str] = {
    "regression": "regression",
    "inconclusive": "inconclusive",
    "improvement": "improvement",
    "unchanged": "unchanged",
    "not_comparable": "not comparable",
}
_COUNTED: dict[Verdict, str] = {
    "regression": "regressed",
    "inconclusive": "inconclusive",
    "improvement": "improved",
    "unchanged": "unchanged",
    "not_comparable": "not comparable",
}
SHOWN_FIRST: tuple[Verdict, ...] = (
    "regression",
    "inconclusive",
    "improvement",
    "not_comparable",
    "unchanged",
)


class Row(NamedTuple):
    """A finding in words."""

    cell: str
    metric: str
    base: str
    new: str
    change: str
    verdict: Verdict
    reason: str


def rows(comparison: Comparison) -> list[Row]:
    """All findings: by verdict as in :data:`SHOWN_FIRST`, and the largest change first."""
    found = [(cell, finding) for cell in comparison.cells for finding in cell.findings]
    found.sort(
        key=lambda item: (
            SHOWN_FIRST.index(item[1].verdict),
            item[1].family != "status",
            -abs(item[1].loss),
        )
    )
    return [_row(cell, finding) for cell, finding in found]


def _row(cell: CellResult, finding: Finding) -> Row:
    if finding.family == "status":
        base, new = (_ended(status) for status in (cell.status_base, cell.status_new))
    else:
        base, new = (shown_value(value, finding.unit) for value in (finding.base, finding.new))
    return Row(
        cell=cell.label,
        metric=METRIC_WORDS.get(finding.metric, finding.metric.replace("_", " ")),
        base=base,
        new=new,
        change=_change(finding),
        verdict=finding.verdict,
        reason=finding.reason,
    )


def sentence(cell: CellResult, finding: Finding) -> str:
    """A finding in a line: ``latency 7.1 ms to 8.2 ms, +15.5 % [+9.0 %, +22.4 %]: the limit``."""
    return in_words(_row(cell, finding))


def in_words(row: Row) -> str:
    """As :func:`sentence`."""
    values = f"{row.base} to {row.new}{', ' if row.change else ''}{row.change}"
    return f"{row.metric} {values}: {row.reason}"


def _ended(status: str | None) -> str:
    return "absent" if status is None else status.replace("_", " ")


def shown_value(value: float | None, unit: str) -> str:
    """Four digits and the unit; long times in seconds."""
    if value is None:
        return "-"
    if unit == "ms" and value >= 1000:
        value, unit = value / 1000, "s"
    text = f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return f"{text} {unit}".rstrip()


def _change(finding: Finding) -> str:
    if finding.change is None:
        return ""
    text = signed(finding.change)
    exact = finding.change == finding.change_low == finding.change_high
    if finding.change_low is not None and finding.change_high is not None and not exact:
        text += f" [{signed(finding.change_low)}, {signed(finding.change_high)}]"
    return text


def signed(share: float) -> str:
    """``+2.3 %``."""
    if not share:
        return "0 %"
    return f"{'-' if share < 0 else '+'}{percent(abs(share))}"


def headline(comparison: Comparison) -> str:
    """What came of it, in a line."""
    count = len(comparison.cells)
    parts = [
        f"{number} {_COUNTED[verdict]}"
        for verdict in SHOWN_FIRST
        if (number := comparison.counts.get(verdict, 0))
    ]
    return f"{VERDICT_WORDS[comparison.verdict]}: {count} {_cells(count)}, {', '.join(parts)}"


def _cells(count: int) -> str:
    return "cell" if count == 1 else "cells"


def facts(comparison: Comparison) -> Iterable[tuple[str, str]]:
    """What was compared and how: a name and a line each."""
    for name, side in (("base", comparison.base), ("new", comparison.new)):
        details = [side.kind, f"{side.cells} {_cells(side.cells)}"]
        if side.code_version:
            details.append(f"code {side.code_version}")
        if side.measured_at:
            details.append(f"measured {side.measured_at[:16].replace('T', ' ')}")
        yield name, f"{side.path} ({', '.join(details)})"
    limits = comparison.limits
    yield (
        "limits",
        f"slowdown {brief(limits.slowdown)}, memory and size {brief(limits.memory_growth)}, "
        f"quality {brief(limits.quality_loss)}",
    )
    for difference in comparison.environment_differences:
        yield "differs", difference
    for note in comparison.notes:
        yield "note", note


def method(comparison: Comparison) -> str:
    """How times are decided, in a sentence or two."""
    designs = {finding.design for cell in comparison.cells for finding in cell.findings}
    turns = " Processes of both sides took turns." if "alternating" in designs else ""
    return (
        "A time is a regression if it exceeds the limit and chance would show such an increase in "
        f"any cell of at most {brief(comparison.level)} of comparisons without a change; the "
        f"replicates are processes.{turns} Intervals are at {brief(comparison.confidence)}."
    )

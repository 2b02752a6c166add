"""The model table, as papers have it: one row a model under one set of settings."""

from collections.abc import Sequence

from reports.identity import identity_columns, settings_words
from reports.model_rows import ended_by_memory, model_row
from reports.results import (
    COUNTER_WORDS,
    ENDING_WORDS,
    NOT_RUN,
    PAPER_SIZE,
    CommonSize,
    Results,
    ending_of,
    paper_size,
)
from reports.table import Column, Mark, Row, Table
from reports.text import approximately, count, gigabytes, listing, number, plus_minus

METHODS = {"wct": "WCT", "adain": "AdaIN"}
"""Methods as papers write them; others as they are."""


def model_table(results: Results) -> Table:
    """What each model is, what it costs at one size, how far it goes, and against ratio 1.

    Costs are at 3000x3000 where any model was measured there, else at the largest size that all
    have in common (:func:`reports.results.paper_size`); the headings say which. What is missing
    there is not made up: the cell has what the run says instead, with a footnote.
    """
    series = results.performance
    common = paper_size(series)
    rows = tuple(model_row(one, results, common) for one in series)
    at = f"at {common.size[0]}x{common.size[1]} " if common else ""
    time, memory = _unit(rows, _TIMES, "ms", "s"), _unit(rows, ["peak_memory_mb"], "MB", "GB")
    factors = {row["speed_up_of"] for row in rows} - {None}
    cold = any(row["first_call_ms"] and not row["latency_ms"] for row in rows)
    counters = {row["peak_memory_counter"] for row in rows} - {None}
    caps = {mb for one in series for record in one.cells if (mb := record.memory_cap_mb)}
    searched = any(row["largest_found_by"] == "search" for row in rows)
    cap = f"under {gigabytes(next(iter(caps)))} " if len(caps) == 1 else ""
    columns = (
        *identity_columns([one.first for one in series]),
        Column("method", "Method", lambda row: METHODS.get(row["method"], str(row["method"]))),
        Column("family"),
        Column("ratio", "Ratio", lambda row: f"{row['ratio']}x"),
        Column("weights"),
        Column("weights_detail"),
        Column("parameters", "Parameters (M)", _millions, better="lower"),
        Column("storage_mb", "Storage (MB)", better="lower"),
        Column("common_width", kind="whole"),
        Column("common_height", kind="whole"),
        Column("common_megapixels", kind="number"),
        Column("gflops", f"Computation {at}(GFLOP)", better="lower"),
        Column(
            "peak_memory_mb",
            f"Peak memory {at}({memory})",
            lambda row: number(row["peak_memory_mb"] / _FACTORS[memory]),
            always=True,
            absent=lambda row: _instead(row, row["predicted_peak_mb"], _FACTORS[memory]),
            better="lower",
            mark=lambda row: (
                Mark.COLD
                if row["cold_peak"]
                else _footnote(row, "peak_memory_mb", row["predicted_peak_mb"])
            ),
            kind="number",
            competes=lambda row: not row["cold_peak"],
        ),
        Column(
            "peak_memory_counter",
            "Counted as" if len(counters) > 1 else None,
            lambda row: COUNTER_WORDS[row["peak_memory_counter"]],
            kind="text",
        ),
        Column("cold_peak", kind="truth"),
        Column("predicted_peak_mb"),
        Column(
            "latency_ms",
            f"Latency {at}({time})",
            lambda row: plus_minus(row["latency_ms"] / _FACTORS[time], _half(row, _FACTORS[time])),
            always=True,
            absent=lambda row: _instead(row, _estimate_ms(row), _FACTORS[time]),
            better="lower",
            mark=lambda row: _timed(row, _footnote(row, "latency_ms", _estimate_ms(row))),
        ),
        Column("latency_ci_low_ms"),
        Column("latency_ci_high_ms"),
        Column(
            "first_call_ms",
            f"First pass {at}({time})" if cold else None,
            lambda row: number(row["first_call_ms"] / _FACTORS[time]),
            better="lower",
            # The disturbance that was watched is that of the passes that count as the latency.
            mark=lambda row: None if row["latency_ms"] else _timed(row, None),
        ),
        Column("disturbed", kind="truth"),
        Column("estimate_s"),
        Column("status_there", kind="text"),
        Column("reason_there", kind="text"),
        Column("largest_width", kind="whole"),
        Column("largest_height", kind="whole"),
        Column(
            "largest_megapixels",
            f"Largest size {cap}(MP)",
            _largest,
            always=True,
            better="higher",
            kind="number",
        ),
        Column("largest_found_by", "Found by" if searched else None, kind="text"),
        Column("next_megapixels", kind="number"),
        Column("next_status", "Next size", _next_words, kind="text"),
        Column("next_reason_code", kind="text"),
        Column("baseline", kind="text"),
        Column("compared_width", kind="whole"),
        Column("compared_height", kind="whole"),
        Column(
            "speed_up",
            "Speed-up",
            lambda row: f"{number(row['speed_up'])}x",
            better="higher",
            mark=_of_speed,
            kind="number",
            # Cold and warm factors do not rank together.
            competes=lambda row: len(factors) == 1,
        ),
        Column("speed_up_of", kind="text"),
        Column("speed_up_disturbed", kind="truth"),
        Column(
            "memory_reduction",
            "Memory reduction",
            lambda row: f"{number(row['memory_reduction'])}x",
            better="higher",
            mark=_elsewhere,
            kind="number",
        ),
        Column(
            "parameter_reduction",
            "Parameter reduction",
            lambda row: f"{number(row['parameter_reduction'])}x",
            better="higher",
            kind="number",
        ),
    )
    return Table(
        "models",
        f"Models {at}px" if common else "Models",
        _note(results, common, rows),
        columns,
        rows,
        "No performance cell is in this run.",
        group=lambda row: (row["run"], row["device"]),
        block=lambda row: (row["method"], row["family"]),
    )


_FACTORS = {"ms": 1.0, "s": 1000.0, "MB": 1.0, "GB": 1000.0}


_TIMES = ("latency_ms", "first_call_ms")


def _unit(rows: Sequence[Row], keys: Sequence[str], small: str, large: str) -> str:
    """The unit in which the least value of some columns still has three digits to read."""
    values = [row[key] for row in rows for key in keys if row[key] is not None]
    return large if values and min(values) >= 100 else small


def _millions(row: Row) -> str:
    return number(row["parameters"] / 1e6)


def _half(row: Row, factor: float) -> float | None:
    """The longer side of the median's interval: a bound of both."""
    low, high = row["latency_ci_low_ms"], row["latency_ci_high_ms"]
    if low is None or high is None:
        return None
    return float(max(high - row["latency_ms"], row["latency_ms"] - low)) / factor


def _estimate_ms(row: Row) -> float | None:
    return None if row["estimate_s"] is None else 1000.0 * row["estimate_s"]


def _instead(row: Row, predicted: float | None, factor: float) -> str | None:
    """For a cell without a measurement: what was predicted, or how it ended."""
    if row["status_there"] in (None, "ok"):
        return None
    end = ending_of(row["status_there"], row["reason_there"])
    if predicted is not None and end in NOT_RUN:
        return approximately(predicted / factor)
    return ENDING_WORDS[end]


def _footnote(row: Row, key: str, predicted: float | None) -> Mark | None:
    if row[key] is not None or row["status_there"] in (None, "ok"):
        return None
    if predicted is not None and ending_of(row["status_there"], row["reason_there"]) in NOT_RUN:
        return Mark.PREDICTED
    return Mark.FAILED


def _timed(row: Row, mark: Mark | None) -> Mark | None:
    """The mark of a time: that of a disturbance where it has none of its own."""
    return mark or (Mark.DISTURBED if row["disturbed"] else None)


def _of_speed(row: Row) -> list[Mark]:
    if row["speed_up"] is None:
        return []
    found = [mark] if (mark := _elsewhere(row)) else []
    found += [Mark.COLD] if row["speed_up_of"] == "first" else []
    return found + ([Mark.DISTURBED] if row["speed_up_disturbed"] else [])


def _elsewhere(row: Row) -> Mark | None:
    here = (row["common_width"], row["common_height"])
    compared = (row["compared_width"], row["compared_height"])
    return Mark.ELSEWHERE if None not in compared and compared != here else None


def _largest(row: Row) -> str:
    """With ``≥`` unless it was memory that stopped the next size."""
    return f"{'' if ended_by_memory(row) else '≥ '}{number(row['largest_megapixels'])}"


def _next_words(row: Row) -> str:
    end = ending_of(row["next_status"], row["next_reason_code"])
    return f"{number(row['next_megapixels'])} MP: {ENDING_WORDS[end]}"


def _note(results: Results, common: CommonSize | None, rows: Sequence[Row]) -> str:
    if common is None:
        return "No cell was measured." if results.performance else ""
    size = f"{common.size[0]}x{common.size[1]} px ({number(common.megapixels)} MP)"
    # a size that a series was not asked for has no cell that could say anything
    asked = sum(one.cell(common.size) is not None for one in common.missing)
    unasked = len(common.missing) - asked
    gaps = []
    if asked:
        gaps.append(
            f"{count(asked, 'row')} without a measurement there {'says' if asked == 1 else 'say'} "
            "why"
        )
    if unasked:
        gaps.append(f"{count(unasked, 'row was', 'rows were')} not asked for there")
    if gaps:
        parts = [f"Costs are at {size}; {listing(gaps)}."]
    else:
        which = "" if common.size == PAPER_SIZE else ", the largest size every row was measured at"
        parts = [f"Costs are at {size}{which}."]
    parts.append(settings_words([one.first for one in results.performance]))
    if any(row["latency_ci_low_ms"] is not None for row in rows):
        parts.append(
            "Latency is the median wall time of one warm pass ± the longer side of its 95 % "
            "interval; without one, there were too few passes for it."
        )
    counters = {row["peak_memory_counter"] for row in rows} - {None}
    if counters:
        words = [f"{COUNTER_WORDS[name]} ({name})" for name in sorted(counters)]
        parts.append(f"Peak memory is {listing(words)}.")
    if any(row["largest_found_by"] == "search" for row in rows):
        parts.append(
            "Largest size found by search: 4:3 images, bisected by runs under the cap to 2 % of "
            "the pixels; by sweep: the largest of the run's own sizes."
        )
    if any(row["largest_megapixels"] and not ended_by_memory(row) for row in rows):
        parts.append("≥: nothing larger was tried, or something other than memory stopped it.")
    if any(row["baseline"] for row in rows):
        parts.append(
            "Speed-up and reductions are against ratio 1 under the same settings, warm passes "
            "over warm ones, or first passes over first ones; without either there is none."
        )
    return " ".join(part for part in parts if part)

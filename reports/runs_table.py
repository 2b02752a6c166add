"""Several runs against each other: the cells that more than one of them measured."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.passes import (
    PASSES,
    Pass,
    is_disturbed,
    like_peaks,
    like_times,
    pass_ms,
    peak_counter,
    peak_memory_mb,
)
from reports.identity import identity_columns
from reports.results import Results, RunRecord
from reports.table import Column, Mark, Row, Table
from reports.text import count, listing, markdown, number, percent_of, plus_minus

Key = tuple[Any, ...]


def runs_table(results: Results) -> Table:
    """One row a cell that at least two runs measured: what it took in each, and the quotients.

    The columns of the n-th run end in ``_n``; quotients are those of the first run over the
    others, so above 1 is faster, or needs less.
    """
    cells = shared_cells(results)
    rows = tuple(_row(found, results) for found in cells.values())
    first, *others = results.runs or ("",)
    places = range(1, len(results.runs) + 1)
    cold = any(
        row[f"first_call_ms_{n}"] and not row[f"latency_ms_{n}"] for row in rows for n in places
    )
    columns: list[Column] = [
        # the device is part of what the runs differ in
        *(
            column
            for column in identity_columns([next(iter(c.values())) for c in cells.values()])
            if column.key not in ("run", "device")
        ),
        Column("width", "Size (px)", lambda row: f"{row['width']}x{row['height']}"),
        Column("height", kind="whole"),
        Column("megapixels", "Size (MP)", kind="number"),
    ]
    for number_of, run in enumerate(results.runs, start=1):
        columns.append(_latency_column(number_of, run))
        columns += [
            Column(f"latency_ci_{end}_ms_{number_of}", kind="number") for end in ("low", "high")
        ]
    for number_of, run in enumerate(results.runs, start=1):
        columns.append(_first_column(number_of, run, shown=cold))
        columns.append(Column(f"disturbed_{number_of}", kind="truth"))
    for number_of, run in enumerate(others, start=2):
        columns.append(_speed_up(number_of, run))
        columns.append(Column(f"speed_up_of_{number_of}", kind="text"))
        columns.append(Column(f"speed_up_disturbed_{number_of}", kind="truth"))
    for number_of, run in enumerate(results.runs, start=1):
        columns.append(
            Column(f"peak_memory_mb_{number_of}", f"Peak memory, {run} (MB)", kind="number")
        )
        columns.append(Column(f"peak_memory_counter_{number_of}", kind="text"))
    columns += [
        _quotient(f"memory_reduction_{number_of}", f"Memory reduction, {run}")
        for number_of, run in enumerate(others, start=2)
    ]
    return Table(
        "runs",
        "Cells that several runs measured",
        "Speed-up and memory reduction are those of "
        f"{listing(others)} against {first}: above 1 is faster, or needs less; warm passes against "
        "warm ones, else first passes against first ones. Whether it is more than noise is for "
        "repeated processes to say (bench compare).",
        tuple(columns),
        rows,
        "No cell was measured by more than one run.",
        block=lambda row: row["model"],
    )


def runs_sentences(results: Results) -> list[str]:
    """Each run against the first, over the cells that both measured; Markdown."""
    if not results.runs:
        return []
    rows = runs_table(results).rows
    if not rows:
        return ["No cell was measured by more than one run."]
    first, *others = (f"**{markdown(run)}**" for run in results.runs)
    sentences = []
    for place, run in enumerate(others, start=2):
        speeds = {
            of: [row[f"speed_up_{place}"] for row in rows if row.get(f"speed_up_of_{place}") == of]
            for of in PASSES
        }
        memory = [row[key] for row in rows if row.get(key := f"memory_reduction_{place}")]
        parts = [_median_words(of, found) for of, found in speeds.items() if found]
        if not parts:
            sentences.append(f"{run} and {first} measured no cell in common by passes of one kind.")
            continue
        sentence = f"{run} against {first}: {'; '.join(parts)}"
        if memory:
            share = percent_of(median(memory))
            sentence += (
                f", with {'the same' if share == '100 %' else f'{share} of the'} peak memory"
            )
        sentences.append(f"{sentence}.")
    return sentences


def _median_words(of: Pass, speeds: Sequence[float]) -> str:
    """How fast a run is against the first, in the median of cells that both have such a pass of."""
    middle = median(speeds)
    words = (
        f"{number(middle)} times as fast"
        if middle >= 1
        else f"{number(1 / middle)} times as long a pass"
    )
    which = "that both measured" if of == "warm" else "of which a first, cold pass is all there is"
    text = f"{words} in the median of {count(len(speeds), 'cell')} {which}"
    if number(min(speeds)) != number(max(speeds)):
        text += f" ({number(min(speeds))} to {number(max(speeds))} times as fast)"
    return text


def shared_cells(results: Results) -> dict[Key, dict[str, RunRecord]]:
    """Cells that at least two runs measured, each with its record in those runs.

    The same cell is one of the same model, size and settings, whatever the machine. A setting
    that has one value in each run does not count: if it differs, that was said.
    """
    cells = [cell for one in results.performance for cell in one.ok]
    settings = [
        name
        for name in ("alpha", "seed", "threads", "style_width", "style_height", "memory_cap_mb")
        if len({(cell.run, getattr(cell, name)) for cell in cells})
        > len({cell.run for cell in cells})
    ]
    found: dict[Key, dict[str, RunRecord]] = {}
    for cell in cells:
        key = (cell.model, cell.execution, cell.precision, cell.width, cell.height)
        found.setdefault((*key, *(getattr(cell, n) for n in settings)), {})[cell.run] = cell
    return {key: runs for key, runs in found.items() if len(runs) > 1}


_SETTINGS = ("model", "execution", "precision", "alpha", "seed", "threads")
_MORE = ("style_width", "style_height", "memory_cap_mb", "width", "height", "megapixels", "weights")


def _row(found: dict[str, RunRecord], results: Results) -> dict[str, Any]:
    any_of = next(iter(found.values()))
    row: dict[str, Any] = {name: getattr(any_of, name) for name in (*_SETTINGS, *_MORE)}
    row["short"] = results.models[any_of.model]
    reference = found.get(results.runs[0])
    for number_of, run in enumerate(results.runs, start=1):
        cell = found.get(run)
        warm = pass_ms(cell, "warm") if cell else None
        row[f"latency_ms_{number_of}"] = warm
        row[f"latency_ci_low_ms_{number_of}"] = cell.latency_ci_low_ms if cell and warm else None
        row[f"latency_ci_high_ms_{number_of}"] = cell.latency_ci_high_ms if cell and warm else None
        row[f"first_call_ms_{number_of}"] = pass_ms(cell, "first") if cell else None
        row[f"disturbed_{number_of}"] = is_disturbed(cell) if cell else None
        row[f"peak_memory_mb_{number_of}"] = peak_memory_mb(cell) if cell else None
        row[f"peak_memory_counter_{number_of}"] = peak_counter(cell) if cell else None
        if number_of == 1 or cell is None or reference is None:
            continue
        if times := like_times((cell, reference)):
            row[f"speed_up_{number_of}"] = times.ratio
            row[f"speed_up_of_{number_of}"] = times.of
            row[f"speed_up_disturbed_{number_of}"] = any(
                is_disturbed(one, times.of) for one in (cell, reference)
            )
        if peaks := like_peaks((cell, reference)):
            row[f"memory_reduction_{number_of}"] = peaks.ratio
    return row


def _latency_column(number_of: int, run: str) -> Column:
    key = f"latency_ms_{number_of}"

    def text(row: Row) -> str:
        low, high = (row[f"latency_ci_{end}_ms_{number_of}"] for end in ("low", "high"))
        value: float = row[key]
        half = None if low is None or high is None else max(high - value, value - low)
        return plus_minus(value, half)

    return Column(
        key,
        f"Latency, {run} (ms)",
        text,
        kind="number",
        mark=lambda row: Mark.DISTURBED if row[key] and row[f"disturbed_{number_of}"] else None,
    )


def _first_column(number_of: int, run: str, *, shown: bool) -> Column:
    key, warm = f"first_call_ms_{number_of}", f"latency_ms_{number_of}"

    def mark(row: Row) -> Mark | None:
        # What was watched are the passes that count as the latency.
        only = row[key] and not row[warm]
        return Mark.DISTURBED if only and row[f"disturbed_{number_of}"] else None

    heading = f"First pass, {run} (ms)" if shown else None
    return Column(key, heading, lambda row: number(row[key]), kind="number", mark=mark)


def _speed_up(number_of: int, run: str) -> Column:
    key = f"speed_up_{number_of}"

    def marks(row: Row) -> list[Mark]:
        if row.get(key) is None:
            return []
        found = [Mark.COLD] if row[f"speed_up_of_{number_of}"] == "first" else []
        return found + ([Mark.DISTURBED] if row[f"speed_up_disturbed_{number_of}"] else [])

    return Column(
        key, f"Speed-up, {run}", lambda row: f"{number(row[key])}x", kind="number", mark=marks
    )


def _quotient(key: str, heading: str) -> Column:
    return Column(key, heading, lambda row: f"{number(row[key])}x", kind="number")

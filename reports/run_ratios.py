"""Quality against compression ratio, of a benchmark's run: the table that the figure takes."""

import math
import re
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from distill.evaluation.summary import RATIO
from reports.bootstrap import mean_interval
from reports.loss_ratios import loss_ratio, pair_values
from reports.quality_points import metric
from reports.ratio_figure import TEACHER, draw_ratios
from reports.results import Results, Series
from reports.text import count, listing

_LOSSES = {"style_loss": "Style loss", "content_loss": "Content loss"}
PANELS = {
    **{f"{key}{RATIO}": f"{word} / teacher's\n(lower is better)" for key, word in _LOSSES.items()},
    **{key: f"{word}\n(lower is better)" for key, word in _LOSSES.items()},
    "lpips_teacher": "LPIPS to teacher's output\n(lower is better)",
    "lpips": "LPIPS to content\n(lower is better)",
}
MOST_PANELS = 4
LEAST_STUDENTS = 2


def run_ratio_figure(results: Results) -> Figure | None:
    """A row of panels for each method and family with several students; None where none has."""
    table = ratio_table(results)
    panels = _panels(table)
    return draw_ratios(table, panels, _note(results, table)) if panels else None


def ratio_table(results: Results) -> pd.DataFrame:
    """One row for each trained model of a method and family with several students.

    Columns are ``model``, ``group``, ``method``, ``family``, ``ratio``, ``compressor``,
    ``teacher``, ``size``, ``network``, ``pairs``, and each panel's value with ``_low`` and
    ``_high``. Under several settings a model counts in the first of them. The table is empty where
    no kind has several students: one point is no curve.
    """
    first: dict[tuple[str, str], Series] = {}
    for one in results.quality:
        if one.ok and not one.random:
            first.setdefault((one.run, one.model), one)
    kinds: dict[tuple[str, ...], list[Series]] = {}
    for one in first.values():
        cell = one.ok[-1]
        kinds.setdefault((one.run, cell.method, cell.family), []).append(one)
    rows = []
    for ones in kinds.values():
        if len([one for one in ones if not _teaches(one)]) >= LEAST_STUDENTS:
            # the project's own full-size network before one read from a path
            teachers = sorted((":" in one.model, one.model, one) for one in ones if _teaches(one))
            teacher = teachers[0][2] if teachers else None
            rows += [_row(one, teacher) for one in ones]
    return pd.DataFrame(rows)


def _teaches(one: Series) -> bool:
    return one.first.ratio == 1


def _row(one: Series, teacher: Series | None) -> dict[str, Any]:
    cell = one.ok[-1]
    row: dict[str, Any] = {
        "model": one.model,
        "group": f"{one.run}/{one.model}",
        "method": cell.method,
        "family": cell.family,
        "ratio": cell.ratio,
        "compressor": compressor(one),
        "teacher": teacher.model if teacher else None,
        "size": f"{cell.width}x{cell.height}",
        "network": cell.quality_network,
        "pairs": cell.quality_pairs,
    }
    for key in PANELS:
        row |= _described(key, math.nan, None)
    values = pair_values(cell)
    for key in (*_LOSSES, "lpips", "lpips_teacher"):
        if (value := metric(cell, key)) is not None:
            row |= _described(
                key, value, mean_interval([v[key] for v in values.values() if key in v])
            )
    for key in _LOSSES:
        ratio = loss_ratio(cell, teacher.ok[-1], key) if teacher else None
        if ratio:
            row |= _described(f"{key}{RATIO}", ratio.value, (ratio.low, ratio.high))
    return row


def _described(key: str, value: float, bounds: tuple[float, float] | None) -> dict[str, Any]:
    low, high = bounds or (math.nan, math.nan)
    return {key: value, f"{key}_low": low, f"{key}_high": high}


def compressor(one: Series) -> str:
    """How a model was made: as its weights say, else the name of the folder they are in."""
    if _teaches(one):
        return TEACHER
    said = re.search(r"\bcompressor ([\w-]+)", one.weights_detail or "")
    _, colon, folder = one.short.partition(":")
    name = said[1] if said else folder if colon else "compressor not known"
    return f"{name} ({one.run})" if one.run else name


def _panels(table: pd.DataFrame) -> dict[str, str]:
    """The values to draw: over the teacher's where every kind has one, else as they are."""
    if table.empty:
        return {}
    related = bool(table["teacher"].notna().all())
    dropped = _LOSSES if related else [f"{key}{RATIO}" for key in _LOSSES]
    students = table[table["compressor"] != TEACHER]
    keys = [key for key in PANELS if key not in dropped and students[key].notna().any()]
    return {key: PANELS[key] for key in keys[:MOST_PANELS]}


def _note(results: Results, table: pd.DataFrame) -> str:
    sizes, networks = (
        listing([str(value) for value in dict.fromkeys(table[key].dropna())])
        for key in ("size", "network")
    )
    pairs = int(table["pairs"].max())
    text = f"{count(pairs, 'image pair')}, {sizes} px; losses on {networks}, means over the pairs"
    related = any(table[f"{key}{RATIO}"].notna().any() for key in _LOSSES)
    text += "; over the teacher's: geometric means of the pairs' ratios." if related else "."
    if random := len(results.random_models):
        text += f" {count(random, 'model')} with random weights left out."
    return text

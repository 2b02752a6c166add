"""Quality against compression ratio, for each compressor: drawn from a `distill evaluate` folder.

It is drawn here and not by `distill`, which knows nothing of reports: `evaluate.csv` is what passes
between the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from bench.errors import UserError
from distill.evaluation.ratios import INTERVAL_WORDS
from distill.evaluation.summary import RATIO
from reports.evaluation_table import PANELS, read_table
from reports.lettering import printable
from reports.style import (
    COLUMN,
    PAGE,
    Look,
    legend_below,
    looks,
    new_figure,
    paper_style,
    save,
)
from reports.text import count, listing

TABLE = "evaluate.csv"
TEACHER = "teacher"
COMPRESSORS = ("collaborative", "pruned", "fitnet", "scratch")
"""In this order and look in every figure, whichever of them a table has."""
_TEACHERS = {f"style_loss{RATIO}": 1.0, f"content_loss{RATIO}": 1.0, "lpips_teacher": 0.0}
"""What a teacher has against itself."""
_METHODS = {"wct": "WCT", "adain": "AdaIN"}
_DODGE = 0.07
"""Octaves between compressors of one ratio, so that their bars do not hide each other."""


@dataclass(frozen=True)
class Mark:
    """One point: a model, or the mean of models that differ in their seed alone."""

    ratio: int
    compressor: str
    value: float
    low: float
    high: float
    seeds: int


def write_ratio_figure(folder: Path) -> list[Path]:
    """``evaluate.png``, ``.pdf`` and ``.svg`` beside a folder's ``evaluate.csv``; the files.

    Raises:
        UserError: for a table that is not there, not of this kind, or without a trained student.
    """
    table = read_table(folder / TABLE)
    with paper_style():
        figure = ratio_figure(table)
        if figure is None:
            raise UserError(
                f"{folder / TABLE}: there is nothing to draw: no student in it has trained weights "
                "and a value"
            )
        return save(figure, folder, TABLE.removesuffix(".csv"))


def ratio_figure(table: pd.DataFrame) -> Figure | None:
    """The figure of ``evaluate.csv``; None where no student has trained weights and a value."""
    trained = table[table["weights"] == "trained"]
    return draw_ratios(trained, PANELS, _note(table, trained)) if len(trained) else None


def draw_ratios(trained: pd.DataFrame, panels: Mapping[str, str], note: str) -> Figure | None:
    """One row of panels for each method and family with a student, one column for each quality.

    Args:
        trained: one row for each model, as of ``evaluate.csv``: ``model``, ``group``, ``method``,
            ``family``, ``ratio``, ``compressor``, ``teacher`` and each panel's value with ``_low``
            and ``_high``.
        panels: from columns of values to labels of axes; those without any value are left out.
        note: what the reader must know.
    """
    students = trained[trained["compressor"] != TEACHER]
    columns = [key for key in panels if students[key].notna().any()]
    if not columns:
        return None
    kinds = list(dict.fromkeys(zip(students["method"], students["family"], strict=True)))
    look = compressor_looks([str(name) for name in trained["compressor"]])
    figure = new_figure(COLUMN if len(columns) == 1 else PAGE, 1.75 * len(kinds) + 0.1)
    grid = figure.subplots(len(kinds), len(columns), squeeze=False)
    drawn: list[Mark] = []
    lines = False
    for (method, family), row in zip(kinds, grid, strict=True):
        part = trained[(trained["method"] == method) & (trained["family"] == family)]
        for key, axes in zip(columns, row, strict=True):
            reference = _reference(part, key)
            lines |= reference is not None
            drawn += _draw(axes, part, key, look, reference)
            axes.set_ylabel(panels[key])
        row[0].set_title(f"{_METHODS.get(method, method)}, {family.upper()}", loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("Compression ratio")
    bars = _bars_note(
        drawn,
        psnr=any("psnr" in key for key in columns),
        ratios=any(key.endswith(RATIO) for key in columns),
    )
    legend_below(figure, [_legend(drawn, look, lines)], f"{note}{bars}")
    return figure


def compressor_looks(compressors: Sequence[str]) -> dict[str, Look]:
    """Look of each compressor; those of the project first, so that theirs never changes."""
    others = [name for name in dict.fromkeys(compressors) if name not in (*COMPRESSORS, TEACHER)]
    return looks([*COMPRESSORS, *others])


def marks(part: pd.DataFrame, key: str) -> list[Mark]:
    """The points of one panel: rows of a group together, by ratio.

    Bars of a group of several seeds are its standard deviation, of a single model its interval.
    """
    found = []
    measured = part[part[key].notna() & (part["compressor"] != TEACHER)]
    for _, group in measured.groupby("group", sort=False):
        first, value, seeds = group.iloc[0], float(group[key].mean()), len(group)
        if seeds > 1:
            spread = float(group[key].std())
            low, high = value - spread, value + spread
        else:
            low, high = float(first[f"{key}_low"]), float(first[f"{key}_high"])
        found.append(Mark(int(first["ratio"]), str(first["compressor"]), value, low, high, seeds))
    return sorted(found, key=lambda mark: (mark.compressor, mark.ratio))


def _draw(
    axes: Axes, part: pd.DataFrame, key: str, look: dict[str, Look], reference: float | None
) -> list[Mark]:
    found = marks(part, key)
    if reference is not None:
        axes.axhline(reference, **_TEACHER_LINE)
    if not found and reference is None:
        axes.text(0.5, 0.5, "no teacher", transform=axes.transAxes, ha="center", color="0.35")
        axes.set_xticks([])
        axes.set_yticks([])
        return []
    present = [name for name in look if any(mark.compressor == name for mark in found)]
    for index, name in enumerate(present):
        shift = 2 ** (_DODGE * (index - (len(present) - 1) / 2))
        own = [mark for mark in found if mark.compressor == name]
        by_ratio = pd.Series([m.value for m in own]).groupby([m.ratio for m in own]).mean()
        x = [ratio * shift for ratio in by_ratio.index]
        axes.plot(x, by_ratio.to_numpy(), color=look[name].colour, linewidth=0.9, zorder=2)
        for mark in own:
            axes.errorbar(
                [mark.ratio * shift],
                [mark.value],
                yerr=_bar(mark),
                color=look[name].colour,
                marker=look[name].marker,
                markersize=4.2,
                markeredgecolor="white",
                markeredgewidth=0.3,
                elinewidth=0.9,
                capsize=2.2 if mark.seeds > 1 else 0,
                zorder=3,
            )
    _axes(axes, [int(ratio) for ratio in part["ratio"]], key)
    return found


def _reference(part: pd.DataFrame, key: str) -> float | None:
    """The teacher's value, where there is a teacher."""
    named = set(part.get("teacher", pd.Series(dtype=str)).dropna())
    teachers = part[part["model"].isin(named)]
    if teachers.empty:
        return None
    if key in _TEACHERS:
        return _TEACHERS[key]
    value = teachers[key].mean()
    return None if pd.isna(value) else float(value)


def _bar(mark: Mark) -> list[list[float]] | None:
    if pd.isna(mark.low) or pd.isna(mark.high):
        return None
    return [[max(0.0, mark.value - mark.low)], [max(0.0, mark.high - mark.value)]]


def _axes(axes: Axes, ratios: Sequence[int], key: str) -> None:
    students = sorted({ratio for ratio in ratios if ratio > 1} or set(ratios))
    axes.set_xscale("log", base=2)
    axes.set_xlim(students[0] / 2**0.5, students[-1] * 2**0.5)
    axes.xaxis.set_major_locator(FixedLocator([2**n for n in range(0, 8)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if key == "lpips_teacher":
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)


_TEACHER_LINE: dict[str, Any] = {
    "color": "0.35",
    "linewidth": 0.9,
    "linestyle": (0, (4, 2)),
    "zorder": 1,
}


def _legend(drawn: Sequence[Mark], look: dict[str, Look], lines: bool) -> list[tuple[Artist, str]]:
    entries: list[tuple[Artist, str]] = [
        (
            Line2D([], [], color=key.colour, marker=key.marker, markeredgewidth=0.3),
            printable(name),
        )
        for name, key in look.items()
        if any(mark.compressor == name for mark in drawn)
    ]
    return [*entries, *([(Line2D([], [], **_TEACHER_LINE), TEACHER)] if lines else [])]


def _note(table: pd.DataFrame, trained: pd.DataFrame) -> str:
    sizes = listing([f"{int(n)}x{int(n)} px" for n in dict.fromkeys(trained["size_px"])])
    networks = listing([str(name) for name in dict.fromkeys(trained["network"])])
    photographs, pairs = (int(trained[key].max()) for key in ("photographs", "pairs"))
    text = (
        f"{count(photographs, 'photograph')}, {count(pairs, 'pair')} with styles, {sizes}; losses "
        f"on {networks}"
    )
    related = any(trained[key].notna().any() for key in PANELS if key.endswith(RATIO))
    text += "; over the teacher's: geometric means of the pairs' ratios." if related else "."
    if random := int((table["weights"] == "random").sum()):
        text += f" {count(random, 'model')} with random weights left out."
    return text


def _bars_note(drawn: Sequence[Mark], *, psnr: bool, ratios: bool) -> str:
    several = sorted({mark.seeds for mark in drawn if mark.seeds > 1})
    text = ""
    if any(mark.seeds == 1 and _bar(mark) for mark in drawn):
        which = "Bars without caps" if several else "Bars"
        text += f" {which}: 95 % intervals, of means by bootstrap over pairs"
        text += " (photographs for PSNR)" if psnr else ""
        text += f", of ratios {INTERVAL_WORDS}." if ratios else "."
    if several:
        seeds = listing([str(n) for n in several])
        text += f" Bars with caps: mean and standard deviation over {seeds} seeds."
    return text

"""The figure of the benchmark of executions: time, memory and difference against megapixels."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.style import (
    GREY,
    PAGE,
    Look,
    legend_below,
    log_axis,
    looks,
    new_figure,
    paper_style,
    save,
)

NAMES = ("whole", "strips", "thumbnail")
_LABELS = {"peak_rss_growth_mb": "resident set", "peak_allocated_mb": "allocated on the GPU"}


def write_figure(table: Path, folder: Path) -> list[Path]:
    """Draw ``executions.csv`` as PNG, PDF and SVG; the files written."""
    rows = pd.read_csv(table)
    look = looks(NAMES)
    with paper_style():
        figure = new_figure(PAGE, 2.1)
        time, memory, difference = figure.subplots(1, 3)
        counters = [_LABELS.get(name, name) for name in rows["memory_counter"].dropna().unique()]
        # By the megapixel, or factors of a few per cent would not be seen over the range of sizes.
        _draw(time, rows, rows["seconds"] / rows["megapixels"], look, "Time per megapixel (s)")
        time.set_yscale("linear")
        time.set_ylim(bottom=0)
        label = ", ".join(["Peak memory (GB)", *counters])
        _draw(memory, rows, rows["memory_mb"] / 1000, look, label)
        _draw_difference(difference, rows, look)
        legend_below(
            figure,
            [[(Line2D([], [], **_line(look[name])), name) for name in NAMES]],
            _note(rows),
        )
        return save(figure, folder, "executions")


def _line(look: Look) -> dict[str, object]:
    return {
        "color": look.colour,
        "marker": look.marker,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }


def _frame(axes: Axes, rows: pd.DataFrame, label: str) -> None:
    sizes = rows["megapixels"]
    log_axis(axes, "x", sizes.min() / 1.35, sizes.max() * 1.35)
    axes.set_xlabel("Content size (megapixels)")
    axes.set_ylabel(label)
    axes.grid(True, which="major")
    axes.set_axisbelow(True)


def _draw(
    axes: Axes, rows: pd.DataFrame, values: "pd.Series[float]", look: dict[str, Look], label: str
) -> None:
    _frame(axes, rows, label)
    known = values[values > 0].dropna()
    if known.empty:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=GREY)
        return
    log_axis(axes, "y", known.min() / 1.5, known.max() * 1.5)
    for name in NAMES:
        own = known[rows["execution"] == name]
        axes.plot(rows.loc[own.index, "megapixels"], own, **_line(look[name]))  # type: ignore[arg-type]


def _draw_difference(axes: Axes, rows: pd.DataFrame, look: dict[str, Look]) -> None:
    _frame(axes, rows, "PSNR against whole (dB)")
    thumbnail = rows[rows["execution"] == "thumbnail"]
    finite = thumbnail[thumbnail["psnr_db"].abs() < float("inf")]
    if not finite.empty:
        axes.plot(finite["megapixels"], finite["psnr_db"], **_line(look["thumbnail"]))  # type: ignore[arg-type]
        low, high = finite["psnr_db"].min(), finite["psnr_db"].max()
        axes.set_ylim(max(0, low - 6), high + 10)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    compared = rows[(rows["execution"] == "strips") & (rows["reference"] == "whole")]
    largest = compared["largest_difference"].max()
    if pd.notna(largest):
        text = "identical" if largest == 0 else f"largest difference {largest:.0e}"
        axes.text(
            *(0.97, 0.95, f"strips: {text}"),
            transform=axes.transAxes,
            ha="right",
            va="top",
            color=look["strips"].colour,
            fontsize=6.5,
        )


def _note(rows: pd.DataFrame) -> str:
    parts = [", ".join(rows["model"].unique()) + "."]
    if (rows["weights"] == "random").any():
        parts.append("Random weights: the PSNR is that of random networks.")
    missing = rows[rows["status"] != "ok"]
    for name, own in missing.groupby("execution"):
        sizes = ", ".join(f"{size:.3g}" for size in own["megapixels"])
        parts.append(f"{str(name).capitalize()} did not fit at {sizes} MP.")
    if (rows["reference"] == "strips").any():
        parts.append("Where whole did not fit, the PSNR is against strips.")
    return " ".join(parts)

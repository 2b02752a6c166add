"""The figure of the accuracy of predictions: predicted over measured, memory and time."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports.style import (
    COLUMN,
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


def write_figure(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw the table of :mod:`tests.performance.prediction_accuracy` as PNG, PDF and SVG.

    Returns:
        The files written.
    """
    ways = (table["execution"] + " " + table["precision"]).rename("way")
    table = pd.concat([table, ways], axis=1)
    look = looks(sorted(ways.unique()))
    with paper_style():
        timed = table["time_ratio"].notna().any()
        figure = new_figure(PAGE if timed else COLUMN, 2.3)
        memory, *others = figure.subplots(1, 2 if timed else 1, squeeze=False)[0]
        _draw(memory, table, "measured_peak_mb", "peak_ratio", (0.9, 1.1), look)
        memory.set_xlabel("Measured peak memory (MB)")
        memory.set_ylabel("Predicted / measured peak")
        note = "Shaded: within 10 % (memory)"
        for time in others:
            _draw(time, table, "measured_s", "time_ratio", (1 / 1.5, 1.5), look)
            time.set_xlabel("Measured time of a pass (s)")
            time.set_ylabel("Predicted / measured time")
            note += ", a factor of 1.5 (time)"
        entries = [(Line2D([], [], linestyle="", **_style(look[way])), way) for way in look]
        legend_below(figure, [entries], f"{note}.")
        return save(figure, folder, "accuracy")


def _draw(
    axes: Axes,
    table: pd.DataFrame,
    measured: str,
    ratio: str,
    band: tuple[float, float],
    look: dict[str, Look],
) -> None:
    known = table.dropna(subset=[measured, ratio])
    log_axis(axes, "x", known[measured].min() / 1.35, known[measured].max() * 1.35)
    low, high = min(known[ratio].min(), band[0]), max(known[ratio].max(), band[1])
    log_axis(axes, "y", low / 1.06, high * 1.06)
    axes.axhspan(*band, color="0.9", zorder=0)
    axes.axhline(1.0, color=GREY, linewidth=0.6, zorder=1)
    axes.grid(True, which="major", axis="x")
    axes.set_axisbelow(True)
    for way, own in known.groupby("way"):
        axes.plot(own[measured], own[ratio], linestyle="", **_style(look[str(way)]))  # type: ignore[arg-type]


def _style(look: Look) -> dict[str, object]:
    return {
        "color": look.colour,
        "marker": look.marker,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }

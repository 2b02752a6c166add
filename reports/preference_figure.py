"""Preferences between methods: who beats whom, how often each is preferred, and its strength."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from reports.lettering import wrapped
from reports.preference_table import preference_note
from reports.preferences import Preferences
from reports.style import (
    GREY,
    PAGE,
    SMALL,
    legend_below,
    new_figure,
    paper_style,
    save,
)
from reports.text import short_names

NAME = "preference"
PROXY_NAME = "preference_proxy"
COLOURS = "Blues"
"""Darker is more, in grey and to colour-blind eyes too."""
_LINE = 0.115
"""Height in inches of a line of a label."""
_HEAT_SHARE = 0.4
"""Of the page's width that the heat map has at the least, beside its rows' labels."""
MOST_NUMBERED = 14
"""Methods up to which each cell of the heat map has its number."""


def write_preference_figure(preferences: Preferences, folder: Path) -> list[Path]:
    """The figure as PNG, PDF and SVG in a folder; ``preference_proxy`` if it is one.

    Returns:
        The files; none where no two methods were compared.
    """
    with paper_style():
        name = PROXY_NAME if preferences.proxy else NAME
        figure = preference_figure(preferences)
        return save(figure, folder, name) if figure else []


def preference_figure(preferences: Preferences) -> Figure | None:
    """A heat map of win rates; beside it, in the same rows, shares and Bradley-Terry strengths.

    None where no two methods were compared.
    """
    order = preferences.order
    if len(order) < 2:
        return None
    names = short_names(order)
    labels = [wrapped(names[method], 22) for method in order]
    lines = max(label.count("\n") + 1 for label in labels)
    row = max(0.26, 0.11 * lines + 0.06)
    figure = new_figure(PAGE, row * len(order) + (1.3 if len(order) > 4 else 1.0))
    heat, share, strength = figure.subplots(
        1, 3, sharey=True, width_ratios=(max(2.2, 0.55 * len(order)), 1.6, 1.6)
    )
    _heat_map(heat, preferences.win_rates.reindex(index=order, columns=order), labels)
    _label_columns(heat, labels, PAGE * _HEAT_SHARE / len(order))
    word = "Proxy: p" if preferences.proxy else "P"
    _dots(share, preferences.shares, order, "share", 100)
    share.set_xlabel(f"{word}referred\n(%)")
    share.axvline(50, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    share.set_xlim(max(0, share.get_xlim()[0]), min(100, share.get_xlim()[1]))
    _dots(strength, preferences.strengths, order, "strength", 1)
    strength.set_xlabel(f"{'Proxy: s' if preferences.proxy else 'S'}trength\n(log units)")
    strength.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    heat.set_title(f"{'Proxy: r' if preferences.proxy else 'R'}ow beats column (%)")
    legend_below(figure, [], preference_note(preferences))
    return figure


def _heat_map(axes: Axes, rates: pd.DataFrame, labels: Sequence[str]) -> None:
    percent = 100 * rates.to_numpy(dtype=float)
    colours = mpl.colormaps[COLOURS].with_extremes(bad="0.93")
    axes.imshow(
        np.ma.masked_invalid(percent), cmap=colours, vmin=0, vmax=100, aspect="auto", zorder=0
    )
    count = len(labels)
    if count <= MOST_NUMBERED:
        for (row, column), value in np.ndenumerate(percent):
            known = np.isfinite(value)
            axes.text(
                column,
                row,
                f"{value:.0f}" if known else "" if row == column else "–",
                ha="center",
                va="center",
                fontsize=SMALL,
                color="white" if known and value > 60 else "0.1",
            )
    for place in range(count):
        corner = (place - 0.5, place - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor="0.8", hatch="////"))
    axes.set_yticks(range(count), labels)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    edges = np.arange(-0.5, count)
    axes.hlines(edges, -0.5, count - 0.5, color="white", linewidth=0.8)
    axes.vlines(edges, -0.5, count - 0.5, color="white", linewidth=0.8)


def _label_columns(axes: Axes, labels: Sequence[str], width: float) -> None:
    """Name the columns so that no name touches the next; by the rows' numbers where none fits.

    Args:
        axes: of the heat map.
        labels: of the rows, broken into lines.
        width: of a column in inches, at the least.
    """
    places = range(len(labels))
    lines = max(label.count("\n") + 1 for label in labels)
    if lines == 1 and width >= 2 * _LINE:
        axes.set_xticks(places, labels, rotation=40, ha="right", rotation_mode="anchor")
    elif lines * _LINE <= width:
        axes.set_xticks(places, labels, rotation=90, ha="center", va="top")
    else:
        axes.set_yticks(places, [f"{label}  {n}" for n, label in enumerate(labels, start=1)])
        axes.set_xticks(places, [str(n) for n in range(1, len(labels) + 1)])


def _dots(axes: Axes, frame: pd.DataFrame, order: Sequence[str], key: str, scale: float) -> None:
    found = frame.set_index("method").loc[list(order)]
    rows = np.arange(len(order))
    value, low, high = (scale * found[name].to_numpy(dtype=float) for name in (key, "low", "high"))
    axes.hlines(rows, low, high, color="0.25", linewidth=1.0)
    axes.plot(value, rows, "o", color="0.1", markersize=3.6)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)

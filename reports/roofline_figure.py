"""The roofline: what each stage reaches of the FLOP/s and bytes/s that the device can do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.roofline import Point
from reports.style import (
    COLUMN,
    GREY,
    PAGE,
    SMALL,
    Look,
    legend_below,
    log_axis,
    looks,
    new_figure,
)
from reports.text import listing, number

_MOST_PANELS = 3
_FILLS = {"encoder": "full", "decoder": "none"}


def roofline_figure(points: Sequence[Point]) -> Figure | None:
    """FLOP/s against FLOP per byte of encoders and decoders, a panel a precision.

    None without a point.
    """
    if not points:
        return None
    precisions = list(dict.fromkeys(point.precision for point in points))[:_MOST_PANELS]
    look = looks(list(dict.fromkeys(point.model for point in points)))
    figure = new_figure(COLUMN if len(precisions) == 1 else PAGE, 2.6)
    grid = figure.subplots(1, len(precisions), sharey=True, squeeze=False)[0]
    shown = [point for point in points if point.precision in precisions]
    span = _span(shown)
    for precision, axes in zip(precisions, grid, strict=True):
        own = [point for point in shown if point.precision == precision]
        _draw(axes, own, look, *span)
        axes.set_xlabel("Arithmetic intensity (FLOP per byte moved)")
        axes.set_title(precision, loc="left")
    grid[0].set_ylabel("Achieved (GFLOP/s)")
    models: list[tuple[Artist, str]] = [
        (Line2D([], [], **_dot(key, "encoder")), model) for model, key in look.items()
    ]
    neutral = Look((0.2, 0.2, 0.2), "o")
    parts: list[tuple[Artist, str]] = [
        *((Line2D([], [], **_dot(neutral, part)), part) for part in _FILLS),
        (Line2D([], [], color=GREY, linewidth=1.0), "measured ceilings of the device"),
    ]
    legend_below(figure, [models, parts], _note(shown))
    return figure


def _span(points: Sequence[Point]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of both axes: all points, every ridge and every roof."""
    across = [point.flop_per_byte for point in points]
    ridges = [point.peak_gflop_s / point.bandwidth_gb_s for point in points]
    up = [point.gflop_s for point in points]
    roofs = [point.peak_gflop_s for point in points]
    return (
        (min(across + ridges) / 1.8, max(across + ridges) * 1.8),
        (min(up) / 1.6, max(up + roofs) * 1.7),
    )


def _draw(
    axes: Axes,
    points: Sequence[Point],
    look: dict[str, Look],
    across: tuple[float, float],
    up: tuple[float, float],
) -> None:
    log_axis(axes, "x", *across)
    log_axis(axes, "y", *up)
    axes.grid(True, which="major")
    axes.set_axisbelow(True)
    peak, bandwidth = points[0].peak_gflop_s, points[0].bandwidth_gb_s
    ridge = peak / bandwidth
    x = np.geomspace(*across, 200)
    axes.plot(x, np.minimum(peak, bandwidth * x), color=GREY, linewidth=1.0, zorder=1)
    text: dict[str, Any] = {"fontsize": SMALL, "color": GREY, "textcoords": "offset points"}
    axes.annotate(
        f"{number(peak)} GFLOP/s", (across[1], peak), xytext=(-2, 2.5), ha="right", **text
    )
    start = max(across[0], up[0] / bandwidth)
    axes.annotate(
        f"{number(bandwidth)} GB/s",
        (start, bandwidth * start),
        xytext=(16, 4),
        ha="left",
        va="top",
        **text,
    )
    axes.plot([ridge, ridge], [up[0], peak], color=GREY, linewidth=0.5, linestyle=":", zorder=1)
    for point in points:
        axes.plot(
            [point.flop_per_byte],
            [point.gflop_s],
            zorder=3,
            **_dot(look[point.model], point.part),
        )
        level = point.stage.removeprefix("relu").partition("_")[0]
        axes.annotate(
            level,
            (point.flop_per_byte, point.gflop_s),
            # Above and below, because both parts of a stage are often near each other.
            xytext=(0, 3.4) if point.part == "encoder" else (0, -3.4),
            ha="center",
            va="bottom" if point.part == "encoder" else "top",
            textcoords="offset points",
            fontsize=SMALL - 0.5,
            color=look[point.model].colour,
        )


def _dot(key: Look, part: str) -> dict[str, Any]:
    return {
        "marker": key.marker,
        "color": key.colour,
        "linestyle": "none",
        "markersize": 4.4,
        "fillstyle": _FILLS[part],
        "markeredgecolor": key.colour,
        "markeredgewidth": 0.8,
    }


def _note(points: Sequence[Point]) -> str:
    first = points[0]
    sizes = listing(list(dict.fromkeys(f"{point.width}x{point.height}" for point in points)))
    threads = f", {first.threads} threads" if first.device.startswith("cpu") else ""
    return (
        f"Numbers: the stage, 4 for relu4_1. Images of {sizes} px, {first.device}{threads}; "
        "medians. Bytes are the least that each operation reads and writes: caches save some, and "
        "a point may lie above the slope. The dotted line is where the ceilings meet: left of it "
        "bandwidth limits, right of it arithmetic."
    )

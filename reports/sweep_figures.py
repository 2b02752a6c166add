"""Memory and latency against image size: a line a series, and above it what did not run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from bench.record import Record
from reports.results import (
    COUNTER_WORDS,
    STATUS_WORDS,
    Results,
    Series,
    peak_counter,
    peak_memory_mb,
)
from reports.style import (
    COLUMN,
    GREY,
    PAGE,
    SMALL,
    STATUS_MARKS,
    Look,
    legend_below,
    line_styles,
    log_axis,
    looks,
    message_figure,
    new_figure,
    printable,
)
from reports.text import gigabytes

MAX_FACETS_A_ROW = 3
_ROW = 0.115
"""Height in inches of one row of the strip."""


@dataclass(frozen=True)
class Quantity:
    """What a sweep figure shows on its y axis."""

    name: str
    """In words, for when there is nothing to show."""
    label: str
    value: Callable[[Record], float | None]
    """The measured value in the label's unit."""
    bounds: Callable[[Record], tuple[float, float] | None] = lambda _: None
    """The 95 % interval in the label's unit."""
    estimate: Callable[[Record], float | None] = lambda _: None
    """A prediction for a cell that was not run, in the label's unit."""
    capped: bool = False
    """Whether the memory cap is on this axis."""


def memory_figure(results: Results) -> Figure:
    """Peak memory in GB by the device's own counter, with the cap."""
    counters = [
        counter
        for cell in _cells(results.performance)
        if (counter := peak_counter(cell)) and peak_memory_mb(cell) is not None
    ]
    named = [f"{COUNTER_WORDS[counter]} ({counter})" for counter in sorted(set(counters))]
    label = "\n".join(["Peak memory (GB)", *named])

    def value(cell: Record) -> float | None:
        peak = peak_memory_mb(cell)
        return None if peak is None else peak / 1000

    return _sweep(results, Quantity("peak memory", label, value, capped=True))


def latency_figure(results: Results) -> Figure:
    """Median wall latency in seconds with its 95 % interval; predictions drawn as such."""

    def bounds(cell: Record) -> tuple[float, float] | None:
        low, high = cell.latency_ci_low_ms, cell.latency_ci_high_ms
        return None if low is None or high is None else (low / 1000, high / 1000)

    return _sweep(
        results,
        Quantity(
            "latency",
            "Latency (s), median wall time",
            lambda cell: None if cell.latency_ms is None else cell.latency_ms / 1000,
            bounds=bounds,
            estimate=lambda cell: cell.estimate_s,
        ),
    )


def _sweep(results: Results, quantity: Quantity) -> Figure:
    series = results.performance
    if not series:
        return message_figure(f"No {quantity.name}: this run has no performance cell.")
    facets = list(dict.fromkeys(one.facet for one in series))
    columns = min(len(facets), MAX_FACETS_A_ROW)
    rows = -(-len(facets) // columns)
    failing = [[one for one in series if one.facet == f and _lost(one)] for f in facets]
    strip = max(_ROW * max(len(ones) for ones in failing), 0.02) + 0.06
    plot = 2.15 if columns == 1 else 1.95
    figure = new_figure(
        COLUMN if columns == 1 else PAGE,
        rows * (strip + plot + 0.42 + 0.14),
    )
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[strip, plot] * rows)
    look = looks(results.models)
    lines = line_styles(one.line for one in series)
    measured = any(quantity.value(cell) for one in series for cell in one.ok)
    x_limits = _limits([cell.megapixels for cell in _cells(series)], 1.35, 4)
    y_values = _y_values(series, quantity)
    y_limits = _limits(y_values, 1.5, 6 if measured else 40)
    for index, facet in enumerate(facets):
        row, column = divmod(index, columns)
        axes = figure.add_subplot(grid[2 * row + 1, column])
        top = figure.add_subplot(grid[2 * row, column])
        here = [one for one in series if one.facet == facet]
        log_axis(axes, "x", *x_limits)
        log_axis(axes, "y", *y_limits)
        axes.grid(True, which="major")
        axes.set_axisbelow(True)
        for one in here:
            _draw_series(axes, one, quantity, look[one.model], lines[one.line])
        if quantity.capped:
            _draw_caps(axes, here)
        if not any(quantity.value(cell) for one in here for cell in one.ok):
            axes.text(
                *(0.5, 0.35, f"no {quantity.name} was measured"),
                transform=axes.transAxes,
                ha="center",
                color=GREY,
            )
        if not y_values:
            axes.set_yticks([])
            axes.yaxis.set_minor_locator(NullLocator())
        if column == 0:
            axes.set_ylabel(quantity.label)
        else:
            axes.tick_params(axis="y", labelleft=False)
        if row == rows - 1 or index + columns >= len(facets):
            axes.set_xlabel("Content size (megapixels)")
        _draw_strip(top, failing[index], look, lines, x_limits)
        if len(facets) > 1:
            top.set_title(printable(facet), pad=3)
    legend_below(figure, _legend(results, quantity, look, lines), _note(series, quantity))
    return figure


def _draw_series(axes: Axes, one: Series, quantity: Quantity, look: Look, line: Any) -> None:
    cells = [cell for cell in one.ok if quantity.value(cell)]
    x = [cell.megapixels for cell in cells]
    y = [quantity.value(cell) or 0.0 for cell in cells]
    axes.plot(x, y, color=look.colour, linestyle=line, zorder=2)
    for cell, value in zip(cells, y, strict=True):
        once = cell.repeats == 1 and not quantity.capped
        axes.plot(
            *([cell.megapixels], [value]),
            marker=look.marker,
            color=look.colour,
            markerfacecolor="white" if once else look.colour,
            markeredgecolor=look.colour if once else "white",
            markeredgewidth=0.9 if once else 0.4,
            zorder=3,
        )
        if bounds := quantity.bounds(cell):
            axes.vlines(cell.megapixels, *bounds, color=look.colour, linewidth=0.8, zorder=4)
            axes.plot(
                *([cell.megapixels] * 2, bounds),
                linestyle="none",
                marker="_",
                color=look.colour,
                markersize=4,
                zorder=4,
            )
    predicted = _predicted(one, quantity)
    if predicted:
        start = [(x[-1], y[-1])] if x and x[-1] <= predicted[0][0] else []
        axes.plot(
            *zip(*start, *predicted, strict=True), color=look.colour, linestyle=":", linewidth=0.9
        )
        axes.plot(
            *zip(*predicted, strict=True),
            linestyle="none",
            marker="D",
            color=look.colour,
            markerfacecolor="white",
            markersize=3.4,
            zorder=3,
        )


def _predicted(one: Series, quantity: Quantity) -> list[tuple[float, float]]:
    return [
        (cell.megapixels, value)
        for cell in one.cells
        if cell.status in ("skipped", "predicted") and (value := quantity.estimate(cell))
    ]


def _draw_caps(axes: Axes, series: Sequence[Series]) -> None:
    for cap in _caps(series):
        axes.axhline(cap, color="0.15", linestyle=(0, (6, 2)), linewidth=0.9, zorder=1)
        axes.annotate(
            f"memory cap {gigabytes(cap * 1000)}",
            (0.015, cap),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2.5),
            textcoords="offset points",
            fontsize=6.5,
            color="0.15",
        )


def _draw_strip(
    axes: Axes,
    series: Sequence[Series],
    look: dict[str, Look],
    lines: dict[str, Any],
    x_limits: tuple[float, float],
) -> None:
    """A row for each series that lost a cell: its key at the left, a mark at each size lost."""
    log_axis(axes, "x", *x_limits)
    axes.set_ylim(max(len(series), 1) - 0.4, -0.6)
    axes.tick_params(axis="both", which="both", left=False, bottom=False, labelbottom=False)
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    if series:
        axes.patch.set_facecolor("0.955")
        axes.set_title("not measured", loc="left", fontsize=SMALL, color=GREY, pad=2)
    for row, one in enumerate(series):
        key = look[one.model]
        axes.plot(
            *([-0.1, -0.055, -0.01], [row] * 3),
            transform=axes.get_yaxis_transform(),
            clip_on=False,
            color=key.colour,
            linestyle=lines[one.line],
            marker=key.marker,
            markevery=[1],
            markersize=3.6,
            markeredgecolor="white",
            markeredgewidth=0.3,
        )
        for cell in _lost(one):
            mark = {"markersize": 3.8, "markeredgewidth": 0.8, **STATUS_MARKS[cell.status]}
            axes.plot([cell.megapixels], [row], linestyle="none", clip_on=False, **mark)


def _legend(
    results: Results, quantity: Quantity, look: dict[str, Look], lines: dict[str, Any]
) -> list[list[tuple[Artist, str]]]:
    series = results.performance
    random = {one.model for one in series if one.random}
    drawn = {one.model for one in series}
    models: list[tuple[Artist, str]] = [
        (
            Line2D(
                *([], []),
                color=look[model].colour,
                marker=look[model].marker,
                markeredgecolor="white",
                markeredgewidth=0.4,
                linestyle="none" if len(lines) > 1 else "-",
            ),
            f"{short} †" if model in random else short,
        )
        for model, short in results.models.items()
        if model in drawn
    ]
    settings: list[tuple[Artist, str]] = [
        (Line2D([], [], color="0.2", linestyle=style), name)
        for name, style in lines.items()
        if name
    ]
    marks: list[tuple[Artist, str]] = []
    if any(cell.repeats == 1 for cell in _cells(series) if cell.status == "ok"):
        hollow: dict[str, Any] = {"marker": "o", "color": "0.2", "markerfacecolor": "white"}
        if not quantity.capped:
            marks.append((Line2D([], [], linestyle="-", **hollow), "measured once (hollow)"))
    if any(_predicted(one, quantity) for one in series):
        diamond: dict[str, Any] = {
            "marker": "D",
            "color": "0.2",
            "markerfacecolor": "white",
            "markersize": 3.4,
        }
        marks.append((Line2D([], [], linestyle=":", **diamond), "extrapolated, not measured"))
    lost = {cell.status for one in series for cell in _lost(one)}
    for status, mark in STATUS_MARKS.items():
        if status in lost:
            marks.append((Line2D([], [], linestyle="none", **mark), STATUS_WORDS[status]))
    return [models, settings if len(lines) > 1 else [], marks]


def _note(series: Sequence[Series], quantity: Quantity) -> str:
    parts = []
    if any(quantity.bounds(cell) for cell in _cells(series)):
        parts.append("Bars: 95 % interval of the median.")
    if any(one.random for one in series):
        parts.append("† random weights: speed and memory only.")
    return " ".join(parts)


def _caps(series: Sequence[Series]) -> list[float]:
    caps = {cell.memory_cap_mb / 1000 for cell in _cells(series) if cell.memory_cap_mb}
    return sorted(caps)


def _cells(series: Sequence[Series]) -> list[Record]:
    return [cell for one in series for cell in one.cells]


def _lost(one: Series) -> list[Record]:
    return [cell for cell in one.cells if cell.status != "ok"]


def _y_values(series: Sequence[Series], quantity: Quantity) -> list[float]:
    values = [v for one in series for cell in one.ok if (v := quantity.value(cell))]
    values += [bound for one in series for cell in one.ok for bound in quantity.bounds(cell) or ()]
    values += [value for one in series for _, value in _predicted(one, quantity)]
    return values + (_caps(series) if quantity.capped else [])


def _limits(values: Sequence[float], margin: float, span: float) -> tuple[float, float]:
    """Limits around ``values`` with a margin, and at least a factor of ``span`` apart."""
    above = [value for value in values if value > 0] or [1.0]
    low, high = min(above) / margin, max(above) * margin
    wider = max(1.0, span / (high / low)) ** 0.5
    return low / wider, high * wider

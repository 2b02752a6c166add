"""One panel of a sweep: a line a series, and above it, size by size, what was not measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patheffects import withTickedStroke

from bench.record import Record
from reports.results import RUN_LIMIT, Results, Series, ending
from reports.style import FAILURE, GREY, RING, SMALL, Look
from reports.sweep_quantities import Quantity
from reports.text import gigabytes

MOST_SERIES = 12
"""Series of one panel beyond which it is split."""
MOST_LOST = 12
"""Rows of the strip of what was not measured; the rest is counted."""
CARDS_GB = (8, 12, 24)
"""Memory of common cards, drawn where the axis reaches."""
CAP_LINE: dict[str, Any] = {
    "color": "0.15",
    "linestyle": "-",
    "linewidth": 0.7,
    "path_effects": [withTickedStroke(spacing=4.5, angle=120, length=0.55, linewidth=0.6)],
}
"""A wall, with ticks on its far side: dashes tell runs and settings apart."""
CARD_LINE: dict[str, Any] = {"color": "0.45", "linestyle": (0, (1, 1.5)), "linewidth": 0.7}
HOURGLASS = ((-1, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
ENDING_MARKS: Mapping[str, Mapping[str, Any]] = {
    "out_of_memory": {"marker": "x", "color": FAILURE, "markeredgewidth": 1.2},
    "timeout": {"marker": HOURGLASS, "color": FAILURE, "markeredgewidth": 0.5},
    "crashed": {"marker": "*", "color": FAILURE, "markeredgewidth": 0.3, "markersize": 5.5},
    "unsupported": {"marker": "s", "color": GREY, "markerfacecolor": "white"},
    "skipped": {"marker": "o", "color": GREY, "markerfacecolor": "white"},
    RUN_LIMIT: {"marker": HOURGLASS, "color": GREY, "markerfacecolor": "white"},
    "predicted": {"marker": "d", "color": GREY, "markerfacecolor": "white"},
}
"""Line2D settings of each ending without a measurement; failures red, what was not run hollow."""
PREDICTED: dict[str, Any] = {"marker": "D", "markerfacecolor": "white", "markersize": 3.8}
BARS = (None, "_", "x", "+", "|")
"""Laid over every mark of a line style: a mark alone, or on a dotted line, has no dashes to tell
what setting it is of. Upright ones come last: an interval would cover them."""
FAINT = 0.35
"""Opacity of a line beside a disturbed measurement."""
_SAME = 1.03
"""A card within this factor of a cap is drawn as the cap alone."""
_APART = 0.045
"""Of the axis: what labels beside it need to be apart."""


@dataclass(frozen=True)
class Panel:
    """The series that share a panel."""

    title: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Keys:
    """How series are told apart in every panel of a figure."""

    look: Mapping[str, Look]
    """Of each model."""
    lines: Mapping[str, Any]
    """Line style of each :meth:`name`."""
    bars: Mapping[str, str | None]
    """What is laid over the marks of each :meth:`name`; None for nothing."""
    by_run: bool = False
    """Whether the panels' titles tell all of the settings but the run."""

    def name(self, one: Series) -> str:
        """What a series' line style and mark stand for."""
        return one.run if self.by_run else one.line


def panels(results: Results) -> list[Panel]:
    """One for each device and precision.

    Where that is crowded one for each of the other settings too, and then one for each method and
    family. Runs stay together: they are laid over each other to be seen in one panel.
    """
    parts: list[Callable[[Series], str]] = [
        lambda one: one.facet,
        lambda one: one.setting,
        lambda one: f"{one.first.method}-{one.first.family}",
    ]
    found: dict[str, list[Series]] = {}
    for used in range(1, len(parts) + 1):
        found = {}
        for one in results.performance:
            title = ", ".join(text for part in parts[:used] if (text := part(one)))
            found.setdefault(title, []).append(one)
        if all(len(ones) <= MOST_SERIES for ones in found.values()):
            break
    return [Panel(title, tuple(ones)) for title, ones in found.items()]


def lost(one: Series, quantity: Quantity) -> list[Record]:
    """Cells of a series that have no measurement, nor a prediction that is drawn in its place."""
    return [cell for cell in one.cells if cell.status != "ok" and not quantity.foretold(cell)]


def losing(panel: Panel, quantity: Quantity) -> list[Series]:
    """Series of a panel with such a cell."""
    return [one for one in panel.series if lost(one, quantity)]


def strip_rows(panel: Panel, quantity: Quantity) -> int:
    """Rows of the strip above a panel."""
    return min(len(losing(panel, quantity)), MOST_LOST)


def draw_series(axes: Axes, one: Series, quantity: Quantity, keys: Keys) -> None:
    """Measurements and their intervals, then predictions dotted."""
    look, bar, found = keys.look[one.model], keys.bars[keys.name(one)], quantity.measured(one)
    x, y = [cell.megapixels for cell, _ in found], [value for _, value in found]
    for begin, end, faint in lines(found, quantity):
        axes.plot(
            *(x[begin : end + 1], y[begin : end + 1]),
            color=look.colour,
            linestyle=keys.lines[keys.name(one)],
            alpha=FAINT if faint else None,
            zorder=2,
        )
    for once in (False, True):
        some = [n for n, (cell, _) in enumerate(found) if quantity.cold(cell) is once]
        if some:
            axes.plot(
                *([x[n] for n in some], [y[n] for n in some]),
                linestyle="none",
                marker=look.marker,
                color=look.colour,
                markerfacecolor="white" if once else look.colour,
                markeredgecolor=look.colour if once else "white",
                markeredgewidth=0.9 if once else 0.4,
                zorder=3,
            )
            if bar:
                on = [(x[n], y[n]) for n in some]
                axes.plot(*zip(*on, strict=True), **over(bar, look.colour if once else "white"))
    if ringed := [n for n, (cell, _) in enumerate(found) if quantity.disturbed(cell)]:
        axes.plot([x[n] for n in ringed], [y[n] for n in ringed], zorder=2.5, **RING)
    bars = [(cell.megapixels, *bounds) for cell, _ in found if (bounds := quantity.bounds(cell))]
    if bars:
        at, low, high = (list(values) for values in zip(*bars, strict=True))
        axes.vlines(at, low, high, color=look.colour, linewidth=0.8, zorder=4)
        ends: dict[str, Any] = {"marker": "_", "linestyle": "none", "color": look.colour}
        axes.plot([*at, *at], [*low, *high], markersize=4, zorder=4, **ends)
    if predicted := quantity.predicted(one):
        start = [(x[-1], y[-1])] if x and x[-1] <= predicted[0][0] else []
        path, marks = zip(*start, *predicted, strict=True), list(zip(*predicted, strict=True))
        axes.plot(*path, color=look.colour, linestyle=":", linewidth=0.9)
        axes.plot(*marks, linestyle="none", color=look.colour, zorder=3, **PREDICTED)
        if bar:
            axes.plot(*marks, **over(bar, look.colour))


def over(bar: str, colour: Any) -> dict[str, Any]:
    """Line2D settings of what is laid over a mark."""
    mark: dict[str, Any] = {"marker": bar, "markersize": 3.6, "markeredgewidth": 0.8}
    return {**mark, "color": colour, "linestyle": "none", "zorder": 3.5}


def lines(found: Sequence[tuple[Record, float]], quantity: Quantity) -> list[tuple[int, int, bool]]:
    """Between which points of a series lines are drawn, and whether faintly.

    A line joins passes of one kind: none goes from a warm time to a cold one. It is faint beside a
    disturbed one. Each is given by its first and last point.
    """
    pieces: list[tuple[int, int, bool]] = []
    for place, ((one, _), (other, _)) in enumerate(pairwise(found)):
        if quantity.cold(one) != quantity.cold(other):
            continue
        faint = quantity.disturbed(one) or quantity.disturbed(other)
        if pieces and pieces[-1][1:] == (place, faint):
            pieces[-1] = (pieces[-1][0], place + 1, faint)
        else:
            pieces.append((place, place + 1, faint))
    return pieces


def caps(series: Sequence[Series]) -> list[float]:
    """The memory caps of some series in GB."""
    found = {
        cell.memory_cap_mb / 1000 for one in series for cell in one.cells if cell.memory_cap_mb
    }
    return sorted(found)


def cards(own: Sequence[float], low: float, high: float) -> list[float]:
    """Sizes of cards in GB within the limits, without those that one of ``own`` stands for."""
    shown = [card for card in CARDS_GB if low * _SAME < card < high / _SAME]
    return [card for card in shown if all(max(card / cap, cap / card) > _SAME for cap in own)]


def draw_caps(axes: Axes, own: Sequence[float], *, labelled: bool) -> list[float]:
    """Lines at the run's caps and at the sizes of cards; those of cards that are drawn.

    The labels are beside the axes, clear of the data; of two that would touch the cap's stays, and
    the legend has them all.
    """
    low, high = axes.get_ylim()
    common = cards(own, low, high)
    for values, line in ((own, CAP_LINE), (common, CARD_LINE)):
        for value in values:
            axes.axhline(value, zorder=1, **line)
    gap, named = (high / low) ** _APART, list[float]()
    for value in [*own, *common] if labelled else []:
        if all(max(value / other, other / value) > gap for other in named):
            named.append(value)
            axes.annotate(
                *(gigabytes(value * 1000), (1.0, value)),
                xycoords=("axes fraction", "data"),
                xytext=(2.5, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL,
                color=CAP_LINE["color"] if value in own else CARD_LINE["color"],
                annotation_clip=False,
            )
    return common


def draw_strip(axes: Axes, panel: Panel, quantity: Quantity, keys: Keys, rows: int) -> None:
    """A row for each series that lost a cell: its key at the left, a mark at each size lost.

    ``rows`` are those of the longest strip beside it.
    """
    some, own = losing(panel, quantity), strip_rows(panel, quantity)
    axes.set_ylim(own - 0.4, own - 0.4 - max(rows, 1) - 0.2)
    axes.tick_params(axis="both", which="both", left=False, bottom=False, labelbottom=False)
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    if not some:
        axes.set_axis_off()
        return
    axes.axhspan(own - 0.4, -0.6, color="0.955", linewidth=0, zorder=0)
    axes.annotate(
        *("not measured", (0.0, -0.6)),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=SMALL,
        color=GREY,
        annotation_clip=False,
    )
    marks: dict[str, list[tuple[float, int]]] = {}
    shown = some if len(some) <= MOST_LOST else some[: MOST_LOST - 1]
    for row, one in enumerate(shown):
        key = keys.look[one.model]
        axes.plot(
            *([-0.1, -0.055, -0.01], [row] * 3),
            transform=axes.get_yaxis_transform(),
            clip_on=False,
            color=key.colour,
            linestyle=keys.lines[keys.name(one)],
            marker=key.marker,
            markevery=[1],
            markersize=3.6,
            markeredgecolor="white",
            markeredgewidth=0.3,
        )
        if bar := keys.bars[keys.name(one)]:
            place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False}
            axes.plot([-0.055], [row], **over(bar, "white"), **place)
        for cell in lost(one, quantity):
            marks.setdefault(ending(cell), []).append((cell.megapixels, row))
    for end, places in marks.items():
        mark = {"markersize": 3.8, "markeredgewidth": 0.8, **ENDING_MARKS[end]}
        axes.plot(*zip(*places, strict=True), linestyle="none", clip_on=False, **mark)
    if len(shown) < len(some):
        axes.text(
            *(0.02, MOST_LOST - 1, f"and {len(some) - len(shown)} more series"),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=SMALL,
            color=GREY,
        )

"""Quality against cost: what each model's pictures lose, and what they take to make."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.passes import (
    Pass,
    is_disturbed,
    most_common_pass,
    pass_ms,
    peak_counter,
    peak_memory_mb,
    with_like_peaks,
)
from bench.record import Record
from reports.lettering import wrapped
from reports.quality_points import (
    METRICS,
    Point,
    higher_is_better,
    metric,
    pareto,
    trained_points,
)
from reports.results import COUNTER_WORDS, Results
from reports.style import (
    COLUMN,
    PAGE,
    RING,
    RINGED,
    Look,
    legend_below,
    linear_ticks,
    log_axis,
    looks,
    new_figure,
)
from reports.text import count, listing, number

MOST_METRICS = 3
_LABEL = 24
"""Characters of a line beside a panel."""


class Cost(NamedTuple):
    """What pictures take to make, on an axis: one kind of pass for all points."""

    label: str
    value: Callable[[Record], float | None]
    of: Pass | None
    """The kind of pass that it is a time of; None where it is no time."""


def quality_figure(results: Results) -> Figure | None:
    """Each metric against latency and peak memory, with the Pareto front.

    Without any cost the metrics stand alone, a row a model. None where no two are to be compared.
    """
    found = trained_points(results)
    points = [point for point in found if point.variant < len(_FILLS)]
    if len(points) < 2:
        return None
    every = [name for name in METRICS if any(metric(p.record, name) is not None for p in points)]
    names = every[:MOST_METRICS]
    costs = _costs(points)
    look = looks(results.models)
    note = _note(results, points, every, costs)
    if len(points) < len(found):
        note += f" {count(len(found) - len(points), 'point')} of further settings in the table."
    if not costs:
        return _alone(points, names, look, note)
    figure = new_figure(COLUMN if len(names) == 1 else PAGE, 1.75 * len(costs) + 0.1)
    grid = figure.subplots(len(costs), len(names), squeeze=False)
    for name, column in zip(names, grid.T, strict=True):
        for cost, axes in zip(costs, column, strict=True):
            _draw_against(axes, points, name, cost, look)
            axes.set_xlabel(cost.label)
            axes.set_ylabel(_label(name))
    front: list[tuple[Artist, str]] = [(Line2D([], [], **_FRONT), "Pareto front")]
    if any(_disturbed(point, cost) for point in points for cost in costs):
        front.append((Line2D([], [], **RING), RINGED))
    models, variants = _legend(points, look)
    legend_below(figure, [models, [*variants, *front]], note)
    return figure


def _label(name: str) -> str:
    arrow = "higher" if higher_is_better(name) else "lower"
    return f"{wrapped(METRICS[name], _LABEL)}\n({arrow} is better)"


def _costs(points: Sequence[Point]) -> list[Cost]:
    records = [point.cost for point in points if point.cost]
    sizes = {record.megapixels for record in records}
    at = f" at {number(max(sizes))} MP" if sizes else ""
    found: list[Cost] = []
    of, alike = most_common_pass(records), with_like_peaks(records)

    def seconds(record: Record) -> float | None:
        time = pass_ms(record, of)
        return None if time is None else time / 1000

    def gigabytes(record: Record) -> float | None:
        peak = peak_memory_mb(record) if record in alike else None
        return peak / 1000 if peak and peak > 0 else None

    if any(seconds(record) for record in records):
        word = "Latency" if of == "warm" else "First pass"
        found.append(Cost(f"{word}{at} (s)", seconds, of))
    counter = peak_counter(alike[0]) if alike else None
    if counter and any(gigabytes(record) for record in records):
        label = f"Peak memory{at} (GB),\n{COUNTER_WORDS[counter]}"
        found.append(Cost(label, gigabytes, None))
    return found


def _draw_against(
    axes: Axes,
    points: Sequence[Point],
    name: str,
    cost: Cost,
    look: Mapping[str, Look],
) -> None:
    placed = [
        (x, y, point)
        for point in points
        if (x := _cost_of(point, cost)) and (y := metric(point.record, name)) is not None
    ]
    if not placed:
        axes.text(
            *(0.5, 0.5, "not measured together"),
            transform=axes.transAxes,
            ha="center",
            color="0.35",
        )
        axes.set_xticks([])
        axes.set_yticks([])
        return
    _scale(axes, [x for x, _, _ in placed], [y for _, y, _ in placed])
    sign = -1 if higher_is_better(name) else 1
    front = [(x, sign * y) for x, y in pareto([(x, sign * y) for x, y, _ in placed])]
    # on to the edges: what lies beyond is beaten
    worst = axes.get_ylim()[0 if sign < 0 else 1]
    ends = [(front[0][0], worst), *front, (axes.get_xlim()[1], front[-1][1])]
    axes.step(*zip(*ends, strict=True), where="post", **_FRONT)
    for x, y, point in placed:
        axes.plot([x], [y], **_dot(point, look))
        if _disturbed(point, cost):
            axes.plot([x], [y], zorder=2.5, **RING)


def _disturbed(point: Point, cost: Cost) -> bool:
    return cost.of is not None and point.cost is not None and is_disturbed(point.cost, cost.of)


def _cost_of(point: Point, cost: Cost) -> float | None:
    return cost.value(point.cost) if point.cost else None


def _alone(
    points: Sequence[Point], names: Sequence[str], look: Mapping[str, Look], note: str
) -> Figure:
    labels = [wrapped(point.quality.label, 30) for point in points]
    rows = sum(0.06 + 0.11 * (label.count("\n") + 1) for label in labels)
    figure = new_figure(COLUMN if len(names) == 1 else PAGE, rows + 0.45)
    grid = figure.subplots(1, len(names), sharey=True, squeeze=False)
    for name, axes in zip(names, grid[0], strict=True):
        for row, point in enumerate(points):
            if (value := metric(point.record, name)) is not None:
                axes.plot([value], [row], **_dot(point, look))
        axes.set_xlabel(_label(name))
        linear_ticks(axes.xaxis, 4)
        axes.margins(x=0.15)
        axes.grid(True)
        axes.set_axisbelow(True)
    grid[0][0].set_yticks(range(len(points)), labels)
    grid[0][0].set_ylim(len(points) - 0.5, -0.5)
    legend_below(figure, [], note)
    return figure


def _scale(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    wider = max(1.0, 4 / (max(x) / min(x))) ** 0.5 * 1.25
    log_axis(axes, "x", min(x) / wider, max(x) * wider)
    if min(y) > 0 and max(y) / min(y) > 10:
        log_axis(axes, "y", min(y) / 1.4, max(y) * 1.4)
    else:
        spread = (max(y) - min(y)) or abs(max(y)) * 0.2 or 1.0
        axes.set_ylim(min(y) - 0.15 * spread, max(y) + 0.15 * spread)
        linear_ticks(axes.yaxis)
    axes.grid(True, which="major")
    axes.set_axisbelow(True)


_FILLS = ("full", "none", "left", "bottom", "right", "top")
_FRONT: dict[str, Any] = {
    "color": "0.55",
    "linewidth": 0.9,
    "linestyle": (0, (3, 1.5)),
    "zorder": 1,
}


def _dot(point: Point, look: Mapping[str, Look]) -> dict[str, Any]:
    return {**_marker(look[point.quality.model], point.variant), "zorder": 3}


def _marker(key: Look, variant: int) -> dict[str, Any]:
    return {
        "marker": key.marker,
        "color": key.colour,
        "linestyle": "none",
        "markersize": 5,
        # settings of one model share its marker; what they are is in its fill
        "fillstyle": _FILLS[variant],
        "markerfacecoloralt": "white",
        "markeredgecolor": key.colour,
        "markeredgewidth": 0.8,
    }


def _legend(
    points: Sequence[Point], look: Mapping[str, Look]
) -> tuple[list[tuple[Artist, str]], list[tuple[Artist, str]]]:
    """Models by marker and colour, and settings, where there are several, by fill."""
    models = {p.quality.model: p.quality.short for p in reversed(points)}
    variants = {p.variant: p.quality.variant for p in points if p.quality.variant}
    several = len({p.variant for p in points}) > 1
    markers: list[tuple[Artist, str]] = [
        (Line2D([], [], **_marker(look[model], 0)), models[model]) for model in reversed(models)
    ]
    neutral = Look((0.2, 0.2, 0.2), "o")
    fills: list[tuple[Artist, str]] = [
        (Line2D([], [], **_marker(neutral, variant)), name) for variant, name in variants.items()
    ]
    return markers, fills if several else []


def _note(
    results: Results, points: Sequence[Point], every: Sequence[str], costs: Sequence[Cost]
) -> str:
    sizes = dict.fromkeys(f"{p.record.width}x{p.record.height}" for p in points)
    networks = dict.fromkeys(p.record.quality_network for p in points if p.record.quality_network)
    text = f"Quality at {listing(list(sizes))} px"
    if networks:
        text += f" on {listing([str(name) for name in networks])}"
    pairs = sorted({p.record.quality_pairs for p in points if p.record.quality_pairs})
    text += f", means over {listing([str(n) for n in pairs])} pairs." if pairs else "."
    if more := every[MOST_METRICS:]:
        text += f" In the table: {listing([METRICS[name] for name in more])}."
    left_out = [point.quality.label for point in points if costs and not point.cost]
    if left_out:
        text += f" Without a cost at this size: {_named(left_out)}."
    for cost in costs:
        if other := [p.quality.label for p in points if p.cost and not cost.value(p.cost)]:
            word = cost.label.partition(" at ")[0].lower()
            text += f" Without a {word} of the kind that the others have: {_named(other)}."
    if random := len(results.random_models):
        text += f" {count(random, 'model')} with random weights left out."
    return text


def _named(labels: Sequence[str]) -> str:
    """Up to four by name."""
    more = [f"{len(labels) - 4} more"] if len(labels) > 4 else []
    return listing([*labels[: 4 if more else None], *more])

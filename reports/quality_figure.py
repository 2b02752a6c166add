"""Quality against cost: what each model's pictures lose, and what they take to make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.record import Record
from reports.results import (
    COUNTER_WORDS,
    CommonSize,
    Results,
    Series,
    common_size,
    peak_counter,
    peak_memory_mb,
)
from reports.style import (
    COLUMN,
    PAGE,
    Look,
    legend_below,
    log_axis,
    looks,
    message_figure,
    new_figure,
    printable,
)
from reports.text import count, listing, number

METRICS = {"style_loss": "Style loss", "content_loss": "Content loss", "lpips": "LPIPS"}


@dataclass(frozen=True)
class Point:
    """One model's quality, and its cost at the common size where it was measured there."""

    quality: Series
    record: Record
    cost: Record | None
    variant: int
    """Which of the run's settings, counted from 0."""


def quality_figure(results: Results) -> Figure:
    """Each metric against latency and peak memory, with the Pareto front; lower left is better.

    Without any cost the metrics stand alone, and without quality the figure says why.
    """
    points = trained_points(results)
    if not points:
        return message_figure(no_quality(results))
    metrics = [name for name in METRICS if any(_metric(p, name) is not None for p in points)]
    if not metrics:
        return message_figure("No quality: no metric could be computed for any model.")
    common = _common(results, points)
    costs = _costs(points)
    look = looks(results.models)
    width = PAGE if len(metrics) > 2 else COLUMN if len(metrics) < 2 else 5.2
    figure = new_figure(width, 1.75 * max(len(costs), 1) + 0.1)
    grid = figure.subplots(max(len(costs), 1), len(metrics), squeeze=False)
    fronts = False
    for column, metric in enumerate(metrics):
        for row, (label, cost) in enumerate(costs or [("", None)]):
            axes = grid[row][column]
            if cost is None:
                _draw_alone(axes, points, metric, look)
            else:
                fronts |= _draw_against(axes, points, metric, cost, look)
                axes.set_xlabel(label)
            axes.set_ylabel(METRICS[metric])
    legend_below(
        figure, [_legend(points, look), _front_key(fronts)], _note(results, points, common, costs)
    )
    return figure


def trained_points(results: Results) -> list[Point]:
    """The quality series with trained weights and a measurement, each with its cost."""
    measured = [
        (one, one.ok[-1])
        for one in results.quality
        if one.ok and not one.random and _any(one.ok[-1])
    ]
    partners = {one.settings: one for one in reversed(results.performance)}
    found = [(one, record, partners.get(one.settings)) for one, record in measured]
    common = common_size([partner for _, _, partner in found if partner])
    variants = list(dict.fromkeys(one.variant for one, _, _ in found))
    return [
        Point(
            one,
            record,
            partner.at(common.size) if partner and common else None,
            variants.index(one.variant),
        )
        for one, record, partner in found
    ]


def no_quality(results: Results) -> str:
    """Why a run has no quality to show, in one sentence."""
    if not results.records:
        return "No quality: this run has no record."
    weights = {one.weights for one in (*results.performance, *results.quality)}
    if weights == {"random"}:
        return "No quality: all models of this run have random weights."
    if not results.quality:
        return "No quality: this run has no quality cell."
    reasons = dict.fromkeys(
        cell.reason or cell.status.replace("_", " ")
        for one in results.quality
        for cell in one.cells
        if cell.status != "ok"
    )
    if reasons:
        return f"No quality: no quality cell was measured ({'; '.join(list(reasons)[:3])})."
    return "No quality: no metric could be computed for any model."


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (cost, loss) that no other point beats in one without losing in the other, by cost."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def _metric(point: Point, name: str) -> float | None:
    value: float | None = getattr(point.record, name)
    return value


def _any(record: Record) -> bool:
    return any(getattr(record, name) is not None for name in METRICS)


def _common(results: Results, points: Sequence[Point]) -> CommonSize | None:
    settings = {point.quality.settings for point in points}
    return common_size([one for one in results.performance if one.settings in settings])


def _costs(points: Sequence[Point]) -> list[tuple[str, Callable[[Record], float | None]]]:
    records = [point.cost for point in points if point.cost]
    sizes = {record.megapixels for record in records}
    at = f" at {number(max(sizes))} MP" if sizes else ""
    found: list[tuple[str, Callable[[Record], float | None]]] = []

    def seconds(record: Record) -> float | None:
        return record.latency_ms / 1000 if record.latency_ms else None

    def gigabytes(record: Record) -> float | None:
        peak = peak_memory_mb(record)
        return peak / 1000 if peak and peak > 0 else None

    if any(seconds(record) for record in records):
        found.append((f"Latency{at} (s)", seconds))
    if any(gigabytes(record) for record in records):
        counters = sorted({name for record in records if (name := peak_counter(record))})
        words = listing([COUNTER_WORDS[name] for name in counters])
        found.append((f"Peak memory{at} (GB),\n{words}", gigabytes))
    return found


def _draw_against(
    axes: Axes,
    points: Sequence[Point],
    metric: str,
    cost: Callable[[Record], float | None],
    look: dict[str, Look],
) -> bool:
    """Whether there was a point, and so a front, to draw."""
    placed = [
        (x, y, point)
        for point in points
        if point.cost and (x := cost(point.cost)) and (y := _metric(point, metric)) is not None
    ]
    if not placed:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="0.35")
        axes.set_xticks([])
        axes.set_yticks([])
        return False
    _scale(axes, [x for x, _, _ in placed], [y for _, y, _ in placed])
    front = pareto([(x, y) for x, y, _ in placed])
    # on to the edges: what lies above and to the right is beaten
    ends = [(front[0][0], axes.get_ylim()[1]), *front, (axes.get_xlim()[1], front[-1][1])]
    axes.step(*zip(*ends, strict=True), where="post", **_FRONT)
    for x, y, point in placed:
        axes.plot([x], [y], **_dot(point, look))
    return True


def _draw_alone(axes: Axes, points: Sequence[Point], metric: str, look: dict[str, Look]) -> None:
    values = [
        (index, y, p) for index, p in enumerate(points) if (y := _metric(p, metric)) is not None
    ]
    for index, y, point in values:
        axes.plot([index], [y], **_dot(point, look))
    axes.set_xlim(-0.6, len(points) - 0.4)
    axes.set_xticks([])
    axes.set_xlabel("Model (no cost was measured)")
    axes.margins(y=0.15)
    axes.grid(True, axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _scale(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    wider = max(1.0, 4 / (max(x) / min(x))) ** 0.5 * 1.25
    log_axis(axes, "x", min(x) / wider, max(x) * wider)
    if min(y) > 0 and max(y) / min(y) > 10:
        log_axis(axes, "y", min(y) / 1.4, max(y) * 1.4)
    else:
        spread = (max(y) - min(y)) or abs(max(y)) * 0.2 or 1.0
        axes.set_ylim(min(y) - 0.15 * spread, max(y) + 0.15 * spread)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(True, which="major")
    axes.set_axisbelow(True)


_FILLS = ("full", "none", "left", "bottom", "right", "top")
_FRONT: dict[str, Any] = {
    "color": "0.55",
    "linewidth": 0.9,
    "linestyle": (0, (3, 1.5)),
    "zorder": 1,
}


def _dot(point: Point, look: dict[str, Look]) -> dict[str, Any]:
    key = look[point.quality.model]
    return {
        "marker": key.marker,
        "color": key.colour,
        "linestyle": "none",
        "markersize": 5,
        # settings of one model share its marker; what they are is in its fill
        "fillstyle": _FILLS[point.variant % len(_FILLS)],
        "markerfacecoloralt": "white",
        "markeredgecolor": key.colour,
        "markeredgewidth": 0.8,
        "zorder": 3,
    }


def _legend(points: Sequence[Point], look: dict[str, Look]) -> list[tuple[Artist, str]]:
    return [(Line2D([], [], **_dot(p, look)), printable(p.quality.label)) for p in points]


def _front_key(fronts: bool) -> list[tuple[Artist, str]]:
    return [(Line2D([], [], **_FRONT), "Pareto front")] if fronts else []


def _note(
    results: Results,
    points: Sequence[Point],
    common: CommonSize | None,
    costs: Sequence[object],
) -> str:
    sizes = dict.fromkeys(f"{p.record.width}x{p.record.height}" for p in points)
    networks = dict.fromkeys(p.record.quality_network for p in points if p.record.quality_network)
    text = f"Quality at {listing(list(sizes))} px"
    if networks:
        text += f" on {listing([str(name) for name in networks])}"
    text += ", means over the pairs; lower is better."
    left_out = [point.quality.label for point in points if costs and not point.cost]
    if left_out and common:
        text += f" Not measured at {number(common.megapixels)} MP: {listing(left_out)}."
    random = len(results.random_models)
    if random:
        text += f" {count(random, 'model')} with random weights left out."
    return text

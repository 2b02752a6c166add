"""Style distance layer by layer: where in the network compression costs style."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.record import Record
from distill.evaluation.ratios import INTERVAL_WORDS, PairedRatio
from reports.loss_ratios import loss_ratio
from reports.quality_points import chosen
from reports.results import Results, Series, baseline
from reports.style import COLUMN, PAGE, legend_below, line_styles, log_axis, looks, new_figure
from reports.text import count, listing

LAYERS = tuple(f"relu{stage}_1" for stage in range(1, 6))
MOST_SERIES = 12
MOST_BARS = 6
"""Series up to which their intervals can be told apart."""


def layer_series(results: Results) -> list[Series]:
    """Series of trained models with a style loss of any layer."""
    return [
        one for one in results.quality if one.ok and not one.random and any(_losses(one.ok[-1]))
    ]


def layer_figure(results: Results) -> Figure | None:
    """Style loss at relu1_1..relu5_1, and beside it over that of ratio 1 where that was measured.

    None where no layer's loss was measured.
    """
    every = layer_series(results)
    if not every:
        return None
    series = chosen(every, MOST_SERIES)
    ratios = {one.label: _ratios(one, other) for one in series if (other := baseline(one, every))}
    ratios = {label: points for label, points in ratios.items() if points}
    figure = new_figure(PAGE if ratios else COLUMN, 2.0)
    panels = figure.subplots(1, 2 if ratios else 1, squeeze=False)[0]
    look, styles = looks(results.models), line_styles(one.variant for one in series)
    lines = {
        one.label: {
            "color": look[one.model].colour,
            "marker": look[one.model].marker,
            "linestyle": styles[one.variant],
            "markeredgecolor": "white",
            "markeredgewidth": 0.4,
        }
        for one in series
    }
    for one in series:
        found = [(n, v) for n, v in enumerate(_losses(one.ok[-1])) if v]
        panels[0].plot(*zip(*found, strict=True), **lines[one.label])
    _axes(panels[0], [v for one in series for v in _losses(one.ok[-1]) if v], span=3)
    panels[0].set_ylabel("Style loss at each layer\n(lower is better)")
    bars = _draw_ratios(panels[1], ratios, lines) if ratios else False
    keys: list[tuple[Artist, str]] = [
        (Line2D([], [], **lines[one.label]), one.label if len(styles) > 1 else one.short)
        for one in series
    ]
    note = _note(results, series, len(every) - len(series))
    legend_below(figure, [keys], f"{note}{_ratio_words(bars=bars) if ratios else ''}")
    return figure


def _losses(record: Record) -> list[float | None]:
    """Of each layer; what is not above zero cannot be drawn on a logarithmic axis."""
    values = [getattr(record, f"style_loss_{layer}") for layer in LAYERS]
    return [value if value and value > 0 else None for value in values]


Ratios = list[tuple[int, PairedRatio]]
"""Number of the layer, and the ratio over the image pairs."""


def _ratios(one: Series, other: Series) -> Ratios:
    found = [
        (number, loss_ratio(one.ok[-1], other.ok[-1], f"style_loss_{layer}"))
        for number, layer in enumerate(LAYERS)
    ]
    return [(number, ratio) for number, ratio in found if ratio]


def _draw_ratios(axes: Axes, ratios: Mapping[str, Ratios], lines: Mapping[str, Any]) -> bool:
    """Whether any has an interval."""
    drawn = []
    step = min(0.07, 0.6 / len(ratios))
    for index, (label, points) in enumerate(ratios.items()):
        # side by side, so that no bar hides another
        shift = step * (index - (len(ratios) - 1) / 2)
        values = [ratio.value for _, ratio in points]
        axes.plot([n + shift for n, _ in points], values, **lines[label])
        few = len(ratios) <= MOST_BARS
        bars = [(n + shift, r.low, r.high) for n, r in points if few and _has_interval(r)]
        if bars:
            axes.vlines(*zip(*bars, strict=True), color=lines[label]["color"], linewidth=0.8)
        drawn += values + [v for _, *interval in bars for v in interval]
    axes.axhline(1, color="0.35", linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    _axes(axes, [*drawn, 1.0], span=1.6)
    axes.set_ylabel("Style loss / that of ratio 1\n(below 1 is better)")
    return len(ratios) <= MOST_BARS and any(
        _has_interval(ratio) for points in ratios.values() for _, ratio in points
    )


def _has_interval(ratio: PairedRatio) -> bool:
    return isfinite(ratio.low) and isfinite(ratio.high)


def _axes(axes: Axes, values: Sequence[float], *, span: float) -> None:
    """A logarithmic axis around ``values``, at least a factor of ``span`` long."""
    low, high = min(values), max(values)
    wider = max(1.0, span / (high / low)) ** 0.5 * 1.15
    log_axis(axes, "y", low / wider, high * wider)
    axes.set_xticks(range(len(LAYERS)), LAYERS)
    axes.set_xlim(-0.4, len(LAYERS) - 0.6)
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)


def _ratio_words(*, bars: bool) -> str:
    intervals = f"; bars: 95 % intervals, {INTERVAL_WORDS}" if bars else ""
    return f" Ratios are geometric means over image pairs{intervals}."


def _note(results: Results, series: Sequence[Series], more: int) -> str:
    records = [one.ok[-1] for one in series]
    sizes = dict.fromkeys(f"{record.width}x{record.height}" for record in records)
    networks = dict.fromkeys(str(r.quality_network) for r in records if r.quality_network)
    text = f"Outputs of {listing(list(sizes))} px"
    text += f", layers of {listing(list(networks))}." if networks else "."
    if more:
        text += f" {count(more, 'more model or setting', 'more models or settings')} in the table."
    if random := len(results.random_models):
        text += f" {count(random, 'model')} with random weights left out."
    return text

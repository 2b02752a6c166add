"""Memory, latency and throughput against image size, by device and precision."""

from collections.abc import Sequence
from itertools import cycle, pairwise
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.lettering import printable
from reports.results import ENDING_WORDS, Results, Series, ending
from reports.style import (
    COLUMN,
    GREY,
    HOLLOW,
    PAGE,
    RING,
    RINGED,
    Key,
    legend_below,
    line_styles,
    log_axis,
    looks,
    new_figure,
)
from reports.sweep_panels import (
    BARS,
    CAP_LINE,
    CARD_LINE,
    ENDING_MARKS,
    PREDICTED,
    Keys,
    Panel,
    caps,
    draw_caps,
    draw_series,
    draw_strip,
    lost,
    over,
    panels,
    strip_rows,
)
from reports.sweep_quantities import Quantity, energy, latency, memory, throughput
from reports.text import count, gigabytes, listing

MOST_PANELS = 9
"""Panels that fit a page; the rest is named below."""
_A_ROW = 3
_COVERED = 0.01
"""Relative difference below which a line cannot be told from another."""
_FALLS = 0.98
"""Of a smaller image's memory: from this down that of a larger one is less, and not by chance."""
_ROW = 0.115
"""Height in inches of one row of the strip."""


def memory_figure(results: Results) -> Figure | None:
    """Peak memory in GB by the device's own counter, with the cap and the sizes of cards."""
    return sweep_figure(results, memory(results))


def latency_figure(results: Results) -> Figure | None:
    """Median wall latency in seconds with its 95 % interval; predictions drawn as such."""
    return sweep_figure(results, latency())


def throughput_figure(results: Results) -> Figure | None:
    """Megapixels per second, back to back."""
    return sweep_figure(results, throughput())


def energy_figure(results: Results) -> Figure | None:
    """Joules per megapixel, where energy was measured."""
    return sweep_figure(results, energy())


def sweep_figure(results: Results, quantity: Quantity) -> Figure | None:
    """The quantity against megapixels, a panel a facet; None where there is no value to draw."""
    every = panels(results)
    drawable = [p for p in every if any(quantity.shows(one) for one in p.series)]
    if not drawable:
        return None
    shown = drawable[:MOST_PANELS]
    series = [one for panel in shown for one in panel.series]
    columns = min(len(shown), _A_ROW)
    lines = [shown[start : start + columns] for start in range(0, len(shown), columns)]
    strips = [max(strip_rows(panel, quantity) for panel in line) for line in lines]
    titled = len(every) > 1
    heights = [_ROW * rows + (0.17 if rows else 0.02) for rows in strips]
    plot = 2.15 if columns == 1 else 1.95 if columns == 2 else 1.7
    figure = new_figure(
        COLUMN if columns == 1 else PAGE,
        sum(heights) + len(lines) * (plot + (0.36 if titled else 0.24)) + 0.16,
    )
    grid = figure.add_gridspec(
        2 * len(lines), columns, height_ratios=[h for top in heights for h in (top, plot)]
    )
    apart = all(len({one.setting for one in panel.series}) == 1 for panel in shown)
    by_run = apart and bool(results.runs)
    names = [one.run if by_run else one.line for one in series]
    split = apart and not by_run
    keys = Keys(
        looks(results.models),
        dict.fromkeys(names, "-") if split else line_styles(names),
        dict.fromkeys(names)
        if split
        else dict(zip(dict.fromkeys(names), cycle(BARS), strict=False)),
        by_run,
    )
    own = caps(series) if quantity.capped else []
    x_limits = _limits([cell.megapixels for one in series for cell in one.cells], 1.35, 4)
    measured = any(quantity.measured(one) for one in series)
    y_limits = _limits([*_values(series, quantity), *own], 1.5, 6 if measured else 40)
    cards: list[float] = []
    for index, panel in enumerate(shown):
        row, column = divmod(index, columns)
        axes = figure.add_subplot(grid[2 * row + 1, column])
        log_axis(axes, "x", *x_limits)
        log_axis(axes, "y", *y_limits)
        axes.grid(True, which="major")
        axes.set_axisbelow(True)
        for one in panel.series:
            draw_series(axes, one, quantity, keys)
        if quantity.capped:
            last = column == columns - 1 or index == len(shown) - 1
            cards = draw_caps(axes, own, labelled=last)
        if not any(quantity.measured(one) for one in panel.series):
            axes.text(
                *(0.03, 0.97, f"no {quantity.name} was measured"),
                transform=axes.transAxes,
                va="top",
                color=GREY,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            )
        if column == 0:
            axes.set_ylabel(quantity.label)
        else:
            axes.tick_params(axis="y", labelleft=False)
        if index + columns >= len(shown):
            axes.set_xlabel("Content size (megapixels)")
        strip = figure.add_subplot(grid[2 * row, column])
        log_axis(strip, "x", *x_limits)
        draw_strip(strip, panel, quantity, keys, strips[row])
        if titled:
            # above the words 'not measured'
            strip.set_title(printable(panel.title), pad=10 if strips[row] else 3)
    groups = _legend(results, series, quantity, keys, split=split)
    groups[-1] += _caps_key(own, cards)
    legend_below(figure, groups, _note(results, series, quantity, every, shown))
    return figure


def _setting(style: Any, bar: str | None) -> Key:
    """A line of a setting, with a mark as its series have them."""
    mark: dict[str, Any] = {"marker": "o", "markeredgecolor": "white", "markeredgewidth": 0.4}
    line = Line2D([], [], color="0.2", linestyle=style, **mark)
    return (line, Line2D([], [], **over(bar, "white"))) if bar else line


def _legend(
    results: Results, series: Sequence[Series], quantity: Quantity, keys: Keys, *, split: bool
) -> list[list[tuple[Key, str]]]:
    random = {one.model for one in series if one.random}
    drawn = {one.model for one in series}
    styles = {} if split else keys.lines
    models: list[tuple[Key, str]] = [
        (
            Line2D(
                *([], []),
                color=keys.look[model].colour,
                marker=keys.look[model].marker,
                markeredgecolor="white",
                markeredgewidth=0.4,
                linestyle="none" if len(styles) > 1 else "-",
            ),
            f"{short} †" if model in random else short,
        )
        for model, short in results.models.items()
        if model in drawn
    ]
    settings: list[tuple[Key, str]] = [
        (_setting(style, keys.bars[name]), name) for name, style in styles.items() if name
    ]
    marks: list[tuple[Key, str]] = []
    values = [cell for one in series for cell, _ in quantity.measured(one)]
    if any(map(quantity.cold, values)):
        hollow: dict[str, Any] = {"marker": "o", "color": "0.2", "markerfacecolor": "white"}
        marks.append((Line2D([], [], linestyle="-", **hollow), HOLLOW))
    if any(map(quantity.disturbed, values)):
        marks.append((Line2D([], [], **RING), RINGED))
    if any(quantity.predicted(one) for one in series):
        dotted = Line2D([], [], linestyle=":", color="0.2", **PREDICTED)
        marks.append((dotted, "extrapolated, not measured"))
    ends = {ending(cell) for one in series for cell in lost(one, quantity)}
    for end, mark in ENDING_MARKS.items():
        if end in ends:
            marks.append((Line2D([], [], linestyle="none", **mark), ENDING_WORDS[end]))
    return [models, settings if len(styles) > 1 else [], marks]


def _caps_key(own: Sequence[float], cards: Sequence[float]) -> list[tuple[Key, str]]:
    found: list[tuple[Key, str]] = []
    of_cards = "cards of" if len(cards) > 1 else "card of"
    for values, line, words in ((own, CAP_LINE, "memory cap"), (cards, CARD_LINE, of_cards)):
        if values:
            named = listing([gigabytes(value * 1000) for value in values])
            found.append((Line2D([], [], **line), f"{words} {named}"))
    return found


def _note(
    results: Results,
    series: Sequence[Series],
    quantity: Quantity,
    every: Sequence[Panel],
    shown: Sequence[Panel],
) -> str:
    parts = [quantity.note] if quantity.note else []
    if any(quantity.bounds(cell) for one in series for cell, _ in quantity.measured(one)):
        parts.append(quantity.bars)
    values = [cell for one in series for cell, _ in quantity.measured(one)]
    if len({quantity.cold(cell) for cell in values}) > 1:
        parts.append("Lines join passes of one kind, cold or warm.")
    if any(map(quantity.disturbed, values)):
        parts.append("Faint: beside a disturbed one.")
    if any(one.random for one in series):
        parts.append("† random weights: speed and memory only.")
    parts += _covered(shown, quantity)
    parts += _falling(series, quantity)
    absent = [p.title for p in every if not any(quantity.shows(one) for one in p.series)]
    if absent:
        parts.append(f"No {quantity.name} was measured for {listing(absent)}.")
    if beyond := len(every) - len(absent) - len(shown):
        parts.append(f"{count(beyond, 'more setting')} in the table of the sweep.")
    return " ".join(parts)


def _covered(shown: Sequence[Panel], quantity: Quantity) -> list[str]:
    """Sentences on lines that lie on another one of the same model, and so cannot be seen."""
    models: dict[tuple[str, str], dict[str, None]] = {}
    for panel in shown:
        for place, one in enumerate(panel.series):
            values = {cell.megapixels: value for cell, value in quantity.measured(one)}
            for other in panel.series[:place]:
                theirs = {cell.megapixels: value for cell, value in quantity.measured(other)}
                if (
                    values
                    and other.model == one.model
                    and all(abs(theirs.get(x, 0) / y - 1) < _COVERED for x, y in values.items())
                ):
                    models.setdefault((one.line, other.line), {})[one.short] = None
                    break
    return [
        f"{line or 'A line'} lies on {other or 'another'} for {listing(list(names))}."
        for (line, other), names in models.items()
    ]


def _falling(series: Sequence[Series], quantity: Quantity) -> list[str]:
    """A sentence where strips of a larger image need less memory: why that is no error."""
    if not quantity.capped:
        return []
    names: dict[str, None] = {}
    for one in series:
        if one.first.execution != "strips" or one.first.memory_cap_mb is None:
            continue
        values = [(cell.megapixels, value) for cell, value in quantity.measured(one)]
        by_size = [value for _, value in sorted([*values, *quantity.predicted(one)])]
        if any(later < _FALLS * value for value, later in pairwise(by_size)):
            names[one.short] = None
    if not names:
        return []
    return [
        f"Less for a larger image ({listing(list(names))}): strips keep in memory, between passes, "
        "what fits under the cap; of larger images it goes to files, or is computed again."
    ]


def _values(series: Sequence[Series], quantity: Quantity) -> list[float]:
    found = [pair for one in series for pair in quantity.measured(one)]
    values = [value for _, value in found]
    values += [bound for cell, _ in found for bound in quantity.bounds(cell) or ()]
    return values + [value for one in series for _, value in quantity.predicted(one)]


def _limits(values: Sequence[float], margin: float, span: float) -> tuple[float, float]:
    """Limits around ``values`` with a margin, and at least a factor of ``span`` apart."""
    above = [value for value in values if value > 0] or [1.0]
    low, high = min(above) / margin, max(above) * margin
    wider = max(1.0, span / (high / low)) ** 0.5
    return low / wider, high * wider

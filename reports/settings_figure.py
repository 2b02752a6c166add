"""What a precision or an execution brings: each setting over fp32 and whole, model by model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.passes import Pass, is_disturbed, latency_pass, like_bounds, like_peaks, like_times
from bench.record import Record
from distill.evaluation.ratios import INTERVAL_WORDS, PairedRatio
from reports.lettering import wrapped
from reports.loss_ratios import loss_ratio
from reports.quality_table import comparable
from reports.results import Results, Series, ratio
from reports.style import (
    COLUMN,
    HOLLOW,
    PAGE,
    RING,
    RINGED,
    Key,
    Look,
    legend_below,
    log_axis,
    looks,
    new_figure,
)
from reports.sweep_quantities import energy_j
from reports.text import count, listing, megapixels

REFERENCE = ("whole", "fp32")
MOST_INCHES = 8.0
"""Of rows: a page's height, less legend and caption."""


@dataclass(frozen=True)
class Pair:
    """One setting of a model beside the reference, at the same size."""

    row: str
    """The model, and the size."""
    random: bool
    """Whether the weights are random."""
    setting: str
    record: Record
    reference: Record
    style_loss: PairedRatio | None
    """Of the style losses over the image pairs, where both settings' pictures were judged alike."""
    judged: tuple[int, int] | None
    """Width and height of the pictures that were judged: not those whose cost is compared."""


Bounds = tuple[float, float] | None


class Panel(NamedTuple):
    """A quantity whose quotients a panel shows."""

    title: str
    value: Callable[[Pair], float | None]
    bounds: Callable[[Pair], Bounds] = lambda _: None
    timed: bool = False
    """Whether a pair's kind of pass, and what disturbed it, tell in the value."""


def settings_pairs(results: Results) -> list[Pair]:
    """Every setting that has a reference measured at the same size; a model's all at one size.

    That is the largest of those at which most of its settings were measured.
    """
    groups: dict[tuple[Any, ...], dict[tuple[str, str], Series]] = {}
    for one in results.performance:
        cell = one.first
        key = (one.model, one.run, cell.device, cell.alpha, cell.seed, cell.threads)
        group = groups.setdefault((*key, cell.memory_cap_mb), {})
        group.setdefault((cell.execution, cell.precision), one)
    judged = _judged(results)
    found = []
    for group in groups.values():
        reference = group.pop(REFERENCE, None)
        size = _size(reference, list(group.values())) if reference else None
        against = reference.at(size) if reference and size else None
        for setting, one in group.items():
            record = one.at(size) if size else None
            if reference and against and record:
                loss, size_judged = _style_loss(judged, one, reference)
                found.append(
                    Pair(
                        f"{_name(reference)}\n{megapixels(against.megapixels)}",
                        reference.random,
                        ", ".join(setting),
                        record,
                        against,
                        loss,
                        size_judged,
                    )
                )
    return found


def settings_figure(results: Results) -> Figure | None:
    """Latency, peak memory, energy and style loss over those of whole images in fp32.

    None where no model was measured in both.
    """
    pairs = settings_pairs(results)
    panels = [panel for panel in _PANELS if any(panel.value(pair) for pair in pairs)]
    if not panels:
        return None
    rows = list(dict.fromkeys(pair.row for pair in pairs))
    settings = list(dict.fromkeys(pair.setting for pair in pairs))
    look = looks(settings)
    labels = ["\n".join(wrapped(line, 26) for line in row.split("\n")) for row in rows]
    lines = max(label.count("\n") + 1 for label in labels)
    each = max(0.085 * len(settings) + 0.08, 0.11 * lines + 0.06)
    shown = rows[: max(1, int(MOST_INCHES / each))]
    pairs = [pair for pair in pairs if pair.row in shown]
    figure = new_figure(COLUMN if len(panels) == 1 else PAGE, each * len(shown) + 0.45)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for panel, axes in zip(panels, grid, strict=True):
        _draw(axes, pairs, panel, shown, look)
        axes.set_xlabel(_title(panel, pairs))
    grid[0].set_yticks(range(len(shown)), labels[: len(shown)])
    grid[0].set_ylim(len(shown) - 0.5, -0.5)
    keys: list[tuple[Key, str]] = [
        (Line2D([], [], linestyle="none", **_mark(look[name])), name) for name in settings
    ]
    if any(panel.timed for panel in panels):
        keys += _pass_keys(pairs)
    note = "Over whole images in fp32; below 1 is better."
    if missing := sum(map(_unlike, pairs)):
        note += (
            f" {count(missing, 'latency ratio')} absent: of one side a warm time is known, of the "
            "other a first pass."
        )
    if any(pair.random for pair in pairs):
        note += " † random weights: speed and memory only."
    if any(_latency_bounds(pair) for pair in pairs):
        note += " Bars of latency: from the ends of both 95 % intervals of the median."
    if any(pair.style_loss for pair in pairs):
        note += (
            " Style loss: geometric mean of the image pairs' ratios; bars: 95 % intervals, "
            f"{INTERVAL_WORDS}."
        )
    if more := len(rows) - len(shown):
        note += f" {count(more, 'more model')} in the table of the sweep."
    legend_below(figure, [keys], note)
    return figure


def _size(reference: Series, others: Sequence[Series]) -> tuple[int, int] | None:
    sizes = [(cell.width, cell.height) for cell in reference.ok]
    ranked = [
        (sum(other.at(size) is not None for other in others), size[0] * size[1], size)
        for size in sizes
    ]
    best = max(ranked, default=None)
    return best[2] if best and best[0] else None


def _name(one: Series) -> str:
    """The model, and what tells it from others but for execution and precision."""
    more = [part for part in one.variant.split(", ") if part and part not in REFERENCE]
    return ", ".join([f"{one.short} †" if one.random else one.short, *more])


def _judged(results: Results) -> dict[tuple[Any, ...], Record]:
    return {one.settings: one.ok[-1] for one in results.quality if one.ok and not one.random}


def _style_loss(
    judged: Mapping[tuple[Any, ...], Record], one: Series, reference: Series
) -> tuple[PairedRatio | None, tuple[int, int] | None]:
    """The ratio and the size of the pictures; nothing where those are not of the same kind."""
    ours, theirs = judged.get(one.settings), judged.get(reference.settings)
    if ours is None or theirs is None or comparable(ours) != comparable(theirs):
        return None, None
    loss = loss_ratio(ours, theirs, "style_loss")
    return loss, (ours.width, ours.height) if loss else None


def _title(panel: Panel, pairs: Sequence[Pair]) -> str:
    """The style loss is of other pictures than the cost, so it says of which size."""
    if panel is not _STYLE_LOSS:
        return panel.title
    sizes = sorted({pair.judged for pair in pairs if pair.judged})
    return f"{panel.title}\nat {listing([f'{width}x{height}' for width, height in sizes])} px"


def _latency(pair: Pair) -> float | None:
    found = like_times((pair.reference, pair.record))
    return found.ratio if found else None


def _unlike(pair: Pair) -> bool:
    """Whether both sides were timed, and by passes of two kinds alone."""
    timed = latency_pass(pair.record) and latency_pass(pair.reference)
    return bool(timed) and _latency(pair) is None


def _latency_bounds(pair: Pair) -> Bounds:
    return like_bounds(pair.record, pair.reference)


def _memory(pair: Pair) -> float | None:
    found = like_peaks((pair.reference, pair.record))
    return found.ratio if found else None


def _energy(pair: Pair) -> float | None:
    return ratio(energy_j(pair.record), energy_j(pair.reference))


def _cold(pair: Pair) -> bool:
    found = like_times((pair.reference, pair.record))
    return found is not None and found.of == "first"


def _disturbed(pair: Pair) -> bool:
    of: Pass = "first" if _cold(pair) else "warm"
    return any(is_disturbed(record, of) for record in (pair.record, pair.reference))


def _pass_keys(pairs: Sequence[Pair]) -> list[tuple[Key, str]]:
    """Legend of the marks of first passes and of disturbed ones, where there are any."""
    keys: list[tuple[Key, str]] = []
    timed = [pair for pair in pairs if _latency(pair)]
    if any(map(_cold, timed)):
        hollow = _mark(Look((0.2, 0.2, 0.2), "o"), hollow=True)
        keys.append((Line2D([], [], linestyle="none", **hollow), HOLLOW))
    if any(map(_disturbed, timed)):
        keys.append((Line2D([], [], **RING), RINGED))
    return keys


def _loss(pair: Pair) -> float | None:
    return pair.style_loss.value if pair.style_loss else None


def _loss_bounds(pair: Pair) -> Bounds:
    found = pair.style_loss
    return (found.low, found.high) if found and found.low == found.low else None


_STYLE_LOSS = Panel("Style loss ratio", _loss, _loss_bounds)
_PANELS: tuple[Panel, ...] = (
    Panel("Latency ratio", _latency, _latency_bounds, timed=True),
    Panel("Peak memory ratio", _memory),
    Panel("Energy ratio", _energy),
    _STYLE_LOSS,
)


def _draw(
    axes: Axes,
    pairs: Sequence[Pair],
    panel: Panel,
    rows: Sequence[str],
    look: Mapping[str, Look],
) -> None:
    value, bounds = panel.value, panel.bounds
    settings = list(look)
    step = min(0.16, 0.7 / len(settings))
    drawn = [1.0]
    for name in settings:
        shift = step * (settings.index(name) - (len(settings) - 1) / 2)
        own = [(v, pair) for pair in pairs if pair.setting == name and (v := value(pair))]
        places = [rows.index(pair.row) + shift for _, pair in own]
        for y, (v, pair) in zip(places, own, strict=True):
            mark = _mark(look[name], hollow=panel.timed and _cold(pair))
            axes.plot([v], [y], linestyle="none", zorder=3, **mark)
            if panel.timed and _disturbed(pair):
                axes.plot([v], [y], zorder=2.5, **RING)
        bars = [(y, *b) for y, (_, pair) in zip(places, own, strict=True) if (b := bounds(pair))]
        if bars:
            axes.hlines(*zip(*bars, strict=True), color=look[name].colour, linewidth=0.9)
        drawn += [v for v, _ in own] + [end for _, *ends in bars for end in ends]
    wider = max(1.0, 2 / (max(drawn) / min(drawn))) ** 0.5 * 1.12
    log_axis(axes, "x", min(drawn) / wider, max(drawn) * wider)
    axes.axvline(1, color="0.35", linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    axes.hlines(
        *([n + 0.5 for n in range(len(rows) - 1)], 0, 1),
        transform=axes.get_yaxis_transform(),
        color="0.88",
        linewidth=0.5,
        zorder=0,
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)


def _mark(look: Look, *, hollow: bool = False) -> dict[str, Any]:
    return {
        "marker": look.marker,
        "color": look.colour,
        "markerfacecolor": "white" if hollow else look.colour,
        "markeredgecolor": look.colour if hollow else "white",
        "markeredgewidth": 0.9 if hollow else 0.4,
    }

"""One look for all figures: sized for a paper's column, safe for colour-blind eyes and for grey."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)
from matplotlib.transforms import Bbox

from reports.lettering import FONT, paragraph, text_width, wrapped

COLUMN = 3.5
"""Width in inches of one column of a paper, as of IEEE's; CVF's is 3.25 and ACM's 3.33."""
PAGE = 7.16
"""Width in inches of two columns, as of IEEE's; CVF's are 6.875 and ACM's 7.0."""
FORMATS = ("png", "pdf", "svg")
DPI = 300
"""Of the PNG."""
GREY = "0.35"
FAILURE = "#a11d1d"
SMALL = 6.0
"""Points of the smallest text."""

_RC: dict[str, Any] = {
    **sns.axes_style("ticks"),
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "font.size": 7.0,
    "axes.labelsize": 7.0,
    "axes.titlesize": 7.0,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "0.25",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.color": "0.15",
    "ytick.color": "0.15",
    "legend.fontsize": 6.5,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.handletextpad": 0.8,
    "legend.columnspacing": 1.4,
    "legend.labelspacing": 0.35,
    "lines.linewidth": 1.1,
    "lines.markersize": 4.2,
    "lines.markeredgewidth": 0.8,
    "grid.color": "0.88",
    "grid.linewidth": 0.4,
    "savefig.dpi": DPI,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "ultrastyle-bench",
    # model names are text, whatever dollar signs they hold
    "text.parse_math": False,
}
# a date or a version in a file would make two builds of one run differ
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


Key = Artist | tuple[Artist, ...]
"""What a legend shows of an entry; several are drawn over each other."""


class Look(NamedTuple):
    """How a model is drawn in every figure of a run."""

    colour: tuple[float, float, float]
    marker: str


HOLLOW = "first pass, cold (hollow)"
"""In legends: of marks without a filling."""
RINGED = "disturbed (ringed)"
RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 8.0,
    "markerfacecolor": "none",
    "markeredgecolor": FAILURE,
    "markeredgewidth": 0.7,
    "linestyle": "none",
}
"""Line2D settings of what is laid around the mark of a disturbed measurement."""
_LABELLED = (
    (2e3, (1.0,)),
    (30.0, (1.0, 3.0)),
    (10.0, (1.0, 2.0, 5.0)),
    (0.0, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)),
)
"""Ticks of each power of ten that have a number, on axes longer than a factor."""
# no diamond, cross or star: those mean something else
_MARKERS = ("o", "s", "^", "v", "P", "h", "<", "p", ">")
_LEADING = 1.35
_BELOW: dict[str, Any] = {"loc": "lower center", "borderpad": 0.3, "borderaxespad": 0.0}
_LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (6, 1.5, 1.5, 1.5)), (0, (10, 2)), (0, (3, 1)))


@contextmanager
def paper_style() -> Iterator[None]:
    """Matplotlib settings for drawing and saving, whatever the user's own are."""
    with mpl.rc_context():
        # the defaults first; the backend stays, for whoever calls from a session of their own
        defaults: Any = mpl.rcParamsDefault
        settings: Any = {k: v for k, v in defaults.items() if not k.startswith("backend")} | _RC
        mpl.rcParams.update(settings)
        yield


def looks(models: Iterable[str]) -> dict[str, Look]:
    """Colour and marker of each model, in their order; nine markers and eight colours in turn."""
    palette = sns.color_palette("colorblind")
    # blue, orange, green, vermilion, pink, brown, sky, grey: yellow is lost on white paper
    order = [palette[index] for index in (0, 1, 2, 3, 4, 5, 9, 7)]
    return {
        model: Look(colour, marker)
        for model, colour, marker in zip(models, cycle(order), cycle(_MARKERS), strict=False)
    }


def line_styles(lines: Iterable[str]) -> dict[str, Any]:
    """A line style for each of a run's settings, solid first; dotted is kept for predictions."""
    return dict(zip(dict.fromkeys(lines), cycle(_LINES), strict=False))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, laid out by constraint."""
    # at the dots of the PNG: at fewer, hinting makes text wider and higher than it will be
    figure = Figure(figsize=(width, height), layout="constrained", dpi=_RC["savefig.dpi"])
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.03, h_pad=0.02, wspace=0.02, hspace=0.0)
    return figure


def legend_below(
    figure: Figure, groups: Sequence[Sequence[tuple[Key, str]]], note: str = ""
) -> None:
    """Legends under the axes, one block a group, ``note`` beneath; the figure grows by them."""
    width, height = figure.get_size_inches()
    blocks = []
    for group in groups:
        if group:
            # several over each other are taken too, though matplotlib's types do not say so
            handles: list[Any] = [handle for handle, _ in group]
            texts = [wrapped(label, 36) for _, label in group]
            columns = _columns(texts, width - 0.06)
            blocks.append(figure.legend(handles, texts, ncols=columns, **_BELOW))
    lines = paragraph(note, width - 0.2, SMALL) if note else ""
    written = (lines.count("\n") + 1) * SMALL * _LEADING / 72 + 0.05 if note else 0.0
    heights = [block.get_window_extent().height / figure.dpi for block in blocks]
    below = sum(heights) + written
    total = height + below
    figure.set_size_inches(width, total)
    for index, block in enumerate(blocks):
        bottom = written + sum(heights[index + 1 :])
        block.set_bbox_to_anchor((0.5, bottom / total))
        block.set_in_layout(False)
    if note:
        figure.text(
            *(0.5, 0.025 / total, lines),
            ha="center",
            va="bottom",
            fontsize=SMALL,
            color=GREY,
            linespacing=_LEADING,
            multialignment="left",
            in_layout=False,
        )
    engine: Any = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, below / total, 1, 1 - below / total))


def log_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """A logarithmic x or y axis from ``low`` to ``high`` with plain numbers at its ticks."""
    set_scale, set_limits, axis = (
        (axes.set_xscale, axes.set_xlim, axes.xaxis)
        if which == "x"
        else (axes.set_yscale, axes.set_ylim, axes.yaxis)
    )
    set_scale("log")
    set_limits(low, high)
    span = high / low
    if span <= 4:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
    else:
        subs = next(subs for least, subs in _LABELLED if span > least)
        every = tuple(float(n) for n in range(1, 10))
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=50))
        axis.set_minor_locator(
            LogLocator(base=10, subs=every, numticks=50) if span <= 1e5 else NullLocator()
        )
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_formatter(NullFormatter())


def linear_ticks(axis: Axis, most: int = 5) -> None:
    """Round ticks, with a common power of ten for very small and very large values."""
    formatter = ScalarFormatter(useOffset=False)
    formatter.set_powerlimits((-2, 5))
    axis.set_major_locator(MaxNLocator(most))
    axis.set_major_formatter(formatter)
    axis.get_offset_text().set_fontsize(SMALL)


def plain(value: float) -> str:
    """A tick's number without an exponent between 0.001 and a million."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.6g}"
    mantissa, _, exponent = f"{value:.5e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """``name`` as PNG (300 dpi), PDF and SVG in ``folder``; the same bytes for the same figure."""
    engine: Any = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    # one layout for all formats, and worked out once; its solver's last digits vary from run to run
    figure.set_layout_engine(None)
    for axes in figure.axes:
        bounds = axes.get_position(original=True).bounds
        axes.set_position(Bbox.from_bounds(*(round(value, 6) for value in bounds)))
    paths = [folder / f"{name}.{suffix}" for suffix in FORMATS]
    for path, suffix in zip(paths, FORMATS, strict=True):
        figure.savefig(path, format=suffix, metadata=_METADATA[suffix])
    return paths


def _columns(texts: Sequence[str], width: float) -> int:
    """How many columns of a legend's entries fit ``width`` inches, at least one."""
    size = _RC["legend.fontsize"] / 72
    key = (_RC["legend.handlelength"] + _RC["legend.handletextpad"]) * size
    widths = [key + text_width(text, _RC["legend.fontsize"]) for text in texts]
    for columns in range(min(len(texts), 6), 1, -1):
        # filled column by column, the first ones longer
        parts = np.array_split(widths, columns)
        gaps = (columns - 1) * _RC["legend.columnspacing"] * size
        if sum(max(part) for part in parts) + gaps + 2 * _BELOW["borderpad"] * size <= width:
            # no more columns than fill as many rows
            return -(-len(texts) // -(-len(texts) // columns))
    return 1

"""What a run found: its records, and the series they form; a series is a line of a figure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.record import Record, cut_by_run
from reports.text import short_names

RUN_LIMIT = "run_limit"
"""Ending of a cell that the run's time limit stopped or kept from starting: it says nothing of how
long the model takes, unlike the cell's own limit."""
ENDING_WORDS = {
    "ok": "ok",
    "out_of_memory": "out of memory",
    "timeout": "over time",
    "crashed": "crashed",
    "unsupported": "unsupported",
    "skipped": "skipped",
    RUN_LIMIT: "not measured (run's time limit)",
    "predicted": "predicted",
}
"""By :func:`ending`."""
NOT_RUN = frozenset({"skipped", RUN_LIMIT, "predicted"})
"""Endings of cells that nobody tried to the end; they may carry a prediction."""
COUNTER_WORDS = {
    "peak_allocated_mb": "allocated by PyTorch",
    "peak_rss_growth_mb": "resident growth",
}
PAPER_SIZE = (3000, 3000)
"""Width and height in pixels at which papers on ultra-resolution style transfer state costs."""


class RunRecord(Record):
    """A record, and which run it came from."""

    run: str = ""
    """The run's label; empty where there is one run."""
    largest_searched: dict[str, Any] | None = None
    """Of a performance cell: the largest image of its settings as :mod:`bench.searches` found it:
    ``width``, ``height``, ``megapixels``, ``beyond_megapixels``, ``limit``."""


@dataclass(frozen=True)
class Series:
    """The cells of one model under one set of settings, smallest image first."""

    model: str
    short: str
    """The model's name without the folders of its path."""
    variant: str
    """The settings that tell this series from others of the run; empty where none varies."""
    facet: str
    """The part of ``variant`` that figures draw apart: device and precision."""
    line: str
    """The rest of ``variant``, which figures show by line style: the run first, where several
    are laid over each other."""
    weights: str | None
    weights_detail: str | None
    cells: tuple[RunRecord, ...]

    @property
    def label(self) -> str:
        """Name of the series in text."""
        return f"{self.short} ({self.variant})" if self.variant else self.short

    @property
    def first(self) -> RunRecord:
        """Any cell of it: for what all cells have in common."""
        return self.cells[0]

    @cached_property
    def ok(self) -> tuple[RunRecord, ...]:
        """Cells that were measured."""
        return tuple(cell for cell in self.cells if cell.status == "ok")

    @property
    def run(self) -> str:
        """Label of the run; empty where there is one run."""
        return self.first.run

    @property
    def setting(self) -> str:
        """``line`` without the run: what is compared between runs."""
        return self.line.removeprefix(self.run).removeprefix(", ")

    @property
    def random(self) -> bool:
        """Whether the weights are random: speed and memory count, pictures do not."""
        return self.weights == "random"

    @property
    def settings(self) -> tuple[Any, ...]:
        """What a performance and a quality series must share to belong together."""
        cell = self.first
        return (self.model, cell.execution, cell.precision, cell.device, cell.alpha, cell.run)

    def cell(self, size: tuple[int, int]) -> RunRecord | None:
        """The cell of this size in pixels (width, height), however it ended."""
        return self._cells.get(size)

    def at(self, size: tuple[int, int]) -> RunRecord | None:
        """The measured cell of this size in pixels (width, height)."""
        return self._measured.get(size)

    @cached_property
    def _cells(self) -> dict[tuple[int, int], RunRecord]:
        return _by_size(self.cells)

    @cached_property
    def _measured(self) -> dict[tuple[int, int], RunRecord]:
        return _by_size(self.ok)


@dataclass(frozen=True)
class CommonSize:
    """The size at which the models of a run are compared."""

    size: tuple[int, int]
    """Width and height in pixels."""
    megapixels: float
    missing: tuple[Series, ...]
    """Series without a measurement at this size."""


@dataclass(frozen=True)
class Results:
    """The records of a run, or of several laid over each other, and the series they form."""

    records: tuple[RunRecord, ...]
    performance: tuple[Series, ...]
    quality: tuple[Series, ...]
    runs: tuple[str, ...] = ()
    """Labels of the runs, the first the one compared with; empty where there is one run."""
    compared: tuple[str, ...] = ()
    """What the runs differ in and are compared in: Markdown, a sentence each."""
    mixed: tuple[str, ...] = ()
    """What differs though it should not, and was mixed on request: Markdown, a sentence each."""
    unreadable: int = 0
    """How many records cannot be read, and so are not among these."""

    @cached_property
    def models(self) -> dict[str, str]:
        """Every model, in order, and its short name."""
        return short_names(list(dict.fromkeys(record.model for record in self.records)))

    @property
    def random_models(self) -> list[str]:
        """Short names of the models with random weights."""
        series = [*self.performance, *self.quality]
        return list(dict.fromkeys(one.short for one in series if one.random))


def _by_size(cells: Sequence[RunRecord]) -> dict[tuple[int, int], RunRecord]:
    """The first cell of each width and height."""
    return {(cell.width, cell.height): cell for cell in reversed(cells)}


def common_size(series: Iterable[Series]) -> CommonSize | None:
    """The largest size at which every series that measured anything has a measurement.

    Where there is none, the size most series have (the largest of those); None without any
    measurement.
    """
    series = tuple(series)
    sizes = {(cell.width, cell.height): cell.megapixels for one in series for cell in one.ok}
    if not sizes:
        return None

    have = Counter(size for one in series for size in {(c.width, c.height) for c in one.ok})

    def share(size: tuple[int, int]) -> tuple[int, float, tuple[int, int]]:
        return have[size], sizes[size], size

    best = max(sizes, key=share)
    return CommonSize(best, sizes[best], tuple(one for one in series if one.at(best) is None))


def paper_size(series: Iterable[Series]) -> CommonSize | None:
    """3000x3000 where any series was measured there, else the size of :func:`common_size`."""
    series = tuple(series)
    if not any(one.at(PAPER_SIZE) for one in series):
        return common_size(series)
    megapixels = PAPER_SIZE[0] * PAPER_SIZE[1] / 1e6
    return CommonSize(
        PAPER_SIZE, megapixels, tuple(one for one in series if not one.at(PAPER_SIZE))
    )


def ending(record: Record) -> str:
    """How a cell ended: its status, or ``run_limit`` where it was the run's time that was over."""
    return ending_of(record.status, record.reason_code)


def ending_of(status: str, reason_code: str | None) -> str:
    """:func:`ending` from the two fields that tell it."""
    return RUN_LIMIT if cut_by_run(status, reason_code) else status


def baseline(one: Series, series: Iterable[Series]) -> Series | None:
    """The ratio-1 series of the same method, family and settings; None for ratio 1 itself."""
    if one.first.ratio == 1:
        return None
    same = [
        other
        for other in series
        if other.first.ratio == 1
        and (other.first.method, other.first.family) == (one.first.method, one.first.family)
        and other.variant == one.variant
        and other.settings[1:] == one.settings[1:]
    ]
    # the project's own full-size network before one read from a path
    return min(same, key=lambda other: (":" in other.model, other.model), default=None)


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """A quotient, or None where either side is missing or not above zero."""
    if numerator is None or denominator is None or numerator <= 0 or denominator <= 0:
        return None
    return numerator / denominator


def next_size(one: Series) -> RunRecord | None:
    """The first cell beyond the largest that was measured: what stopped the series."""
    pixels = one.ok[-1].width * one.ok[-1].height if one.ok else 0
    return next(
        (cell for cell in one.cells if cell.status != "ok" and cell.width * cell.height >= pixels),
        None,
    )

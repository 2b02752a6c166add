"""In which order cells run, how long they will take, and which are not worth starting.

Pure functions of cells and records: nothing here measures, waits or reads a clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.cells import Cell
from bench.record import Record, Status
from bench.run.quality_time import QualityTimes
from distill.models import parse_model

RunCode = Literal["time_limit", "run_time_limit", "smaller_size_out_of_memory", "predicted"]
DECIDED: frozenset[str] = frozenset(
    {"time_limit", "run_time_limit", "smaller_size_out_of_memory", "predicted"}
)
"""Reasons for which a cell is skipped that more time or memory, or another version, may undo."""

DEADLINE_FACTOR = 2.0
DEADLINE_EXTRA_S = 60.0
"""A worker is stopped after twice the cell's time limit and this much for what is not timed:
starting Python, loading the networks, making the images."""

SHARES = 4
"""How many equal shares of the run's spare time a cell may take: most need less than one."""

EVEN_SHARE = 0.5
"""Part of the run's time left that is shared evenly, whatever the cells to come need at least."""

STARTUP_S = 6.0
"""Seconds of a cell that go to starting the process and loading, for the time left."""

FARTHEST = 64.0
"""No prediction goes to more than this many times the work that was measured: the fixed costs of a
small image, in proportion, would make a large one look out of reach."""
TIME_FACTOR = 1.5
"""By which a time that is predicted from a calibration may be wrong, either way."""
LEAST_GROWTH = 0.5
"""Part of a pass of an image that is not small which grows with the pixels at the least."""
SMALL_MEGAPIXELS = 0.25
"""Below it a pass is largely fixed costs, which one measurement cannot tell from what grows."""


@dataclass(frozen=True)
class Estimate:
    """A predicted time of one pass."""

    seconds: float
    basis: str
    """What it was extrapolated from, in words."""
    extra_s: float = 0.0
    """Of a quality cell: what comes on top of its passes, as far as it is known."""
    measured: bool = True
    """Whether it comes from this run's own measurements: others do not tell that a cell passes its
    own limit."""
    slack: float = 1.0
    """How many times too long it may be."""

    @property
    def least_s(self) -> float:
        """Seconds that one pass takes for certain: a cell is only skipped by these."""
        return self.seconds / self.slack


@dataclass(frozen=True)
class Run:
    """Start the cell."""

    budget_s: float
    """What is left of the cell's time limit once the run's own is heeded."""
    deadline_s: float
    deadline_code: RunCode
    """The limit that ``deadline_s`` comes from."""


@dataclass(frozen=True)
class Skip:
    """Do not start the cell."""

    reason_code: RunCode
    reason: str
    estimate_s: float | None = None


def in_order(
    cells: Iterable[Cell],
    gmacs: Mapping[str, float | None],
    seconds: Mapping[str, float | None] | None = None,
    *,
    rank: Callable[[Cell], int] = lambda _: 0,
) -> list[Cell]:
    """Cells as they will run: the most important first, of equals those with the least work.

    So the big ones come last, when most is known, and what a time limit leaves out is what matters
    least. ``rank`` is 0 for the most important. ``gmacs`` and ``seconds`` as for :func:`by_work`.
    """
    return sorted(by_work(cells, gmacs, seconds), key=rank)


def by_work(
    cells: Iterable[Cell],
    gmacs: Mapping[str, float | None],
    seconds: Mapping[str, float | None] | None = None,
) -> list[Cell]:
    """Cells with the least work first.

    ``gmacs`` are multiply-accumulates of one pass, in 10^9, by cell id; a model without a count is
    ordered by its megapixels after those with one. ``seconds`` are predicted times of one pass: if
    every cell has one, the order is theirs. The order of equals is kept.
    """
    cells = list(cells)
    times = [None if seconds is None else seconds.get(cell.id) for cell in cells]

    def time(cell: Cell) -> float:
        return ((seconds or {}).get(cell.id) or 0.0) * _passes(cell)

    if None not in times:
        return sorted(cells, key=time)

    def work(cell: Cell) -> tuple[bool, float]:
        count = gmacs.get(cell.id)
        amount = cell.megapixels if count is None else count
        return count is None, amount * _passes(cell)

    return sorted(cells, key=work)


class Measured:
    """What is known of speed: of all measurements only those that predictions are made from."""

    def __init__(
        self,
        records: Iterable[Record] = (),
        *,
        prior: Callable[[Cell], Estimate | None] = lambda _: None,
    ) -> None:
        self._prior = prior
        """Predicts a pass where nothing of its kind was measured."""
        self._sizes: dict[tuple[object, ...], dict[float, Record]] = {}
        self._busiest: dict[tuple[object, ...], Record] = {}
        self._quality = QualityTimes()
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Heed one more record; of no effect unless a latency or a quality was measured."""
        self._quality.add(record)
        if record.kind != "performance" or record.status != "ok" or not record.latency_ms:
            return
        way = (record.precision, record.device, record.threads)
        same = (*way, record.model, record.execution)
        self._sizes.setdefault(same, {})[record.megapixels] = record
        if record.gmacs:
            for kin in ((*way, record.method), way):
                best = self._busiest.get(kin)
                if best is None or record.gmacs > (best.gmacs or 0.0):
                    self._busiest[kin] = record

    def estimate(self, cell: Cell, *, gmacs: float | None = None) -> Estimate | None:
        """Predict the seconds of one pass, and for quality of all that is not a pass.

        From the largest images that the same model, run in the same way, was measured with: by what
        grew between two sizes, or from one size in proportion to the pixels; else from the
        multiply-accumulates a second that another model reached at the same precision and device
        (the same method if there is one, and of those the one with the most work, since small ones
        are slowed by what is not convolution). The prior if neither is there within ``FARTHEST``,
        or ``gmacs`` (of this cell, 10^9) is not known.
        """
        found = self._pass(cell, gmacs)
        if found is None or cell.kind != "quality":
            return found
        extra_s = self._quality.extra_s(cell, _passes(cell), self._seconds_of)
        return replace(found, extra_s=extra_s)

    def _seconds_of(self, cell: Cell) -> float | None:
        found = self._pass(cell, None)
        return None if found is None else found.seconds

    def _pass(self, cell: Cell, gmacs: float | None) -> Estimate | None:
        way = (cell.precision, cell.device, cell.threads)
        sizes = self._sizes.get((*way, cell.model, cell.execution))
        if sizes and cell.megapixels <= FARTHEST * max(sizes):
            return _extrapolated(cell, [sizes[size] for size in sorted(sizes)])
        method = parse_model(cell.model).method
        best = self._busiest.get((*way, method)) or self._busiest.get(way)
        if best is None or not best.gmacs or not gmacs or gmacs > FARTHEST * best.gmacs:
            return self._prior(cell)
        speed = best.gmacs / _seconds(best)
        # A small image, and a first pass, are slow for what this cell need not take as well.
        fixed = best.megapixels < SMALL_MEGAPIXELS or best.reason_code == "measured_once"
        return Estimate(
            gmacs / speed,
            f"{gmacs:.3g} GMAC at the {speed:.3g} GMAC/s that {best.model} reached "
            f"at {best.megapixels:.3g} MP",
            slack=max(TIME_FACTOR, gmacs / best.gmacs) if fixed else TIME_FACTOR,
        )


def decide(
    cell: Cell,
    records: Sequence[Record],
    estimate: Estimate | None,
    *,
    run_time_left_s: float | None,
    others_s: float = 0.0,
    others: int = 0,
    reserved_s: float = 0.0,
    listed: bool = False,
) -> Run | Skip:
    """Whether to start a cell, and with which limits.

    Args:
        cell: the cell.
        records: of the cells before it.
        estimate: of one pass of it, if anything is known.
        run_time_left_s: None where the run has no limit.
        others_s: what the cells after it need at least, one pass each; repeats of this one are
            given up for them, so that a limit costs precision before it costs cells.
        others: how many cells those are; what is left beyond is shared with them.
        reserved_s: what those of them need at least that the scenario lists as important: no
            repeat of this cell takes it.
        listed: whether this cell is one of those. It is tried once though a pass takes longer than
            the cell's limit, as long as its deadline allows it.
    """
    if smaller := _smaller(cell, records, "out_of_memory"):
        return Skip(
            "smaller_size_out_of_memory",
            f"{smaller.width}x{smaller.height} was out of memory already, and memory only grows "
            "with size",
        )
    slower = _smaller(cell, records, "timeout")
    # Stopped by the run's limit, it says little about how long it would have taken.
    if slower and slower.reason_code == "time_limit":
        return Skip(
            "time_limit",
            f"{slower.width}x{slower.height} did not end in time already, and time only grows "
            "with size",
        )
    seconds = None if estimate is None else estimate.seconds
    basis = "" if estimate is None else f" ({estimate.basis})"
    limit_s = cell.measure.cell_time_limit_s
    longest_s = deadline_s(limit_s)
    slowest_s = longest_s - STARTUP_S if listed else limit_s
    if estimate is not None and estimate.measured and estimate.least_s > slowest_s:
        return Skip(
            "time_limit",
            f"one pass is estimated at {seconds:.0f} s, the cell's limit is {limit_s:.0f} s{basis}",
            seconds,
        )
    if run_time_left_s is None:
        return Run(limit_s, longest_s, "time_limit")
    if run_time_left_s <= 0:
        return Skip("run_time_limit", "the run's time limit was reached before this cell", seconds)
    if run_time_left_s < STARTUP_S:
        return Skip(
            "run_time_limit",
            f"the run's time limit leaves {run_time_left_s:.1f} s, less than a start takes",
            seconds,
        )
    least_s = _least_s(cell, estimate)
    if estimate is not None and _least_s(cell, certain(estimate)) > run_time_left_s:
        return Skip(
            "run_time_limit",
            f"{_amount(cell)} and the start are estimated at {least_s:.0f} s, the run's time limit "
            f"leaves {run_time_left_s:.0f} s{basis}",
            seconds,
        )
    # A third is kept for what is not timed, so that the limit ends the repeats and not the cell.
    most_s = min(run_time_left_s, max(run_time_left_s - others_s, least_s))
    share_s = least_s + SHARES * max(0.0, most_s - least_s) / (SHARES + others)
    # Where the cells to come need more than there is, the last of them are lost in any case: the
    # small ones before are not to be measured badly for that.
    even_s = min(EVEN_SHARE * run_time_left_s / (1 + others), run_time_left_s - reserved_s)
    budget_s = min(limit_s, max(min(most_s, share_s), even_s) * 2 / 3)
    if run_time_left_s < longest_s:
        return Run(budget_s, run_time_left_s, "run_time_limit")
    return Run(budget_s, longest_s, "time_limit")


def deadline_s(limit_s: float) -> float:
    """Seconds after which a cell of that time limit is stopped."""
    return DEADLINE_FACTOR * limit_s + DEADLINE_EXTRA_S


def certain(estimate: Estimate) -> Estimate:
    """The least that an estimate may come to."""
    return replace(estimate, seconds=estimate.least_s, slack=1.0)


def expected_s(cell: Cell, estimate: Estimate | None) -> float | None:
    """Predicted seconds of a whole cell, for the time left; None without an estimate.

    A pass that passes the limit counts as nothing: that cell will be skipped.
    """
    if estimate is None:
        return None
    limit_s = cell.measure.cell_time_limit_s
    if estimate.seconds > limit_s:
        return 0.0
    if cell.kind == "quality":
        return _least_s(cell, estimate)
    # The first pass and the one for the memory come on top of the timed ones.
    passes = cell.measure.warmup + cell.measure.min_repeats + 2
    return STARTUP_S + min(estimate.seconds * passes, limit_s)


def least_times_s(
    cells: Iterable[Cell],
    measured: Measured,
    gmacs: Mapping[str, float | None],
    *,
    fits: Callable[[Cell], bool] = lambda _: True,
    listed: Callable[[Cell], bool] = lambda _: False,
) -> list[float]:
    """Predicted seconds of each of ``cells`` that will run, if it is measured once.

    Those of which nothing is known, and those that do not fit, count as a start. Cells that are
    ``listed`` run also where a pass takes longer than their limit.
    """
    times = []
    for cell in cells:
        if not fits(cell):
            times.append(STARTUP_S)
            continue
        estimate = measured.estimate(cell, gmacs=gmacs.get(cell.id))
        seconds = 0.0 if estimate is None else estimate.seconds
        limit_s = cell.measure.cell_time_limit_s
        if seconds <= (deadline_s(limit_s) if listed(cell) else limit_s):
            times.append(_least_s(cell, estimate))
    return times


def time_left_s(
    cells: Iterable[Cell], measured: Measured, gmacs: Mapping[str, float | None]
) -> float | None:
    """Predicted seconds of all ``cells``; None while nothing is known of any of them.

    A cell of which nothing is known counts as the mean of the others.
    """
    known = []
    unknown = 0
    for cell in cells:
        seconds = expected_s(cell, measured.estimate(cell, gmacs=gmacs.get(cell.id)))
        if seconds is None:
            unknown += 1
        else:
            known.append(seconds)
    if not known:
        return None if unknown else 0.0
    return sum(known) * (1 + unknown / len(known))


def _smaller(cell: Cell, records: Iterable[Record], status: Status) -> Record | None:
    """The smallest image with which the same model, run in the same way, ended in ``status``."""
    if cell.kind == "quality":
        return None
    cap_mb = None if cell.memory_cap_bytes is None else cell.memory_cap_bytes / 1e6
    found = [
        record
        for record in records
        if record.status == status
        and record.kind == cell.kind
        and record.model == cell.model
        and record.execution == cell.execution
        and record.precision == cell.precision
        and record.device == cell.device
        and record.threads == cell.threads
        and record.memory_cap_mb == cap_mb
        # Both sides: with equal pixels a long strip needs other padding than a square.
        and record.width <= cell.width
        and record.height <= cell.height
        and record.style_width <= cell.style_width
        and record.style_height <= cell.style_height
        and (record.width, record.height) != (cell.width, cell.height)
    ]
    return min(found, key=lambda record: record.megapixels, default=None)


def _least_s(cell: Cell, estimate: Estimate | None) -> float:
    """Predicted seconds of a cell that is measured once; the start alone without an estimate."""
    if estimate is None:
        return STARTUP_S
    return STARTUP_S + estimate.seconds * _passes(cell) + estimate.extra_s


def _extrapolated(cell: Cell, records: Sequence[Record]) -> Estimate:
    """One pass from those of other sizes of the same model, the largest last.

    Starting up, loading and the style's statistics do not grow with the pixels: two sizes tell what
    does. One small size alone does not, so it may be all fixed costs.
    """
    nearest = records[-1]
    cold = " (one cold pass)" if nearest.reason_code == "measured_once" else ""
    measured = f"{nearest.megapixels:.3g} MP measured at {_seconds(nearest):.3g} s{cold}"
    growth = cell.megapixels / nearest.megapixels
    if len(records) > 1 and growth > 1:
        before = records[-2]
        more_s = _seconds(nearest) - _seconds(before)
        per_megapixel = more_s / (nearest.megapixels - before.megapixels)
        in_proportion = _seconds(nearest) / nearest.megapixels
        if before.megapixels >= SMALL_MEGAPIXELS:
            # Beyond small images most of a pass grows; if it seems not to, something disturbed it.
            per_megapixel = max(per_megapixel, LEAST_GROWTH * in_proportion)
        # Where it grew by more than in proportion, something else was measured as well.
        if 0 <= per_megapixel < in_proportion:
            more = per_megapixel * (cell.megapixels - nearest.megapixels)
            return Estimate(
                _seconds(nearest) + more,
                f"{measured}, {before.megapixels:.3g} MP at {_seconds(before):.3g} s, and what "
                "grew between them",
            )
    small = nearest.megapixels < SMALL_MEGAPIXELS
    return Estimate(
        _seconds(nearest) * growth,
        f"{measured}, in proportion to the pixels",
        slack=max(1.0, growth) if small else 1.0,
    )


def _amount(cell: Cell) -> str:
    """What a cell has to do at least, in words."""
    if cell.kind == "performance":
        return "one pass"
    return f"{_passes(cell)} pairs with their metrics"


def _passes(cell: Cell) -> int:
    """Passes that a cell needs at least: one, or one for each pair."""
    if cell.quality is None:
        return 1
    return min(len(cell.content) * len(cell.style), cell.quality.max_pairs)


def _seconds(record: Record) -> float:
    return (record.latency_ms or 0.0) / 1e3

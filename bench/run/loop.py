"""The loop of a run: which cell is started, with which limits, and what is skipped.

It reads no clock and starts no process itself: both are given, so that a run on any machine can be
played through in a test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.cells import Cell
from bench.record import Record
from bench.run.beforehand import settle
from bench.run.draft import unmeasured
from bench.run.foresight import Facts, Foresight
from bench.run.progress import Progress
from bench.run.rounds import Task, ended
from bench.run.schedule import Measured, Run, Skip, decide, least_times_s, time_left_s


class Measure(Protocol):
    """Measures a cell in a process of its own."""

    def __call__(self, cell: Cell, run: Run, *, repeat: int, known: Facts) -> Record:
        """Return the record once it is written."""


@dataclass(frozen=True)
class Surroundings:
    """What the loop works with."""

    facts: Mapping[str, Facts]
    """Of each cell, by id."""
    foresight: Foresight
    progress: Progress
    measure: Measure
    write: Callable[[Record], None]
    """Keeps a record of a cell that was not measured."""
    now: Callable[[], float]
    """Seconds of a clock that never goes back."""
    listed: Callable[[Cell], bool] = lambda _: False
    """Whether the scenario names a cell among the important ones."""

    def known(self, cell: Cell) -> dict[str, Any]:
        """Record fields of a cell before it runs."""
        return {**self.facts[cell.id], **self.foresight.fields(cell)}


def measure_all(
    tasks: Sequence[Task],
    records: Sequence[Record],
    within: Surroundings,
    *,
    run_ends: float | None,
) -> list[Record]:
    """Measure every task, or say why not.

    Args:
        tasks: in the order in which they run.
        records: of before, by which cells are predicted and skipped.
        within: what the loop works with.
        run_ends: when the run's time is over, by the clock; None for no limit.

    Returns:
        The records that were added, in the order in which they came.
    """
    before = len(records)
    records = list(records)
    tasks, settled = settle(tasks, within.known, within.foresight.lacking)
    for why, found in settled:
        for record in found:
            within.write(record)
        records += found
        within.progress.settled(found, why)
    measured = Measured(records, prior=within.foresight.prior)
    gmacs = {key: value["gmacs"] for key, value in within.facts.items()}
    over = ended(records)
    for position, task in enumerate(tasks):
        if task.repeat and task.cell.id in over:
            continue
        estimate = measured.estimate(task.cell, gmacs=gmacs[task.cell.id])
        later = [] if run_ends is None else [one.cell for one in tasks[position + 1 :]]

        def least_s(cells: Sequence[Cell]) -> list[float]:
            return least_times_s(
                cells, measured, gmacs, fits=within.foresight.fits, listed=within.listed
            )

        others = least_s(later)
        reserved = least_s([cell for cell in later if within.listed(cell)])
        decision = decide(
            task.cell,
            records,
            estimate,
            run_time_left_s=None if run_ends is None else run_ends - within.now(),
            others_s=sum(others),
            others=len(others),
            reserved_s=sum(reserved),
            listed=within.listed(task.cell),
        )
        if isinstance(decision, Run):
            within.progress.started(
                task.cell,
                estimate_s=None if estimate is None else estimate.seconds,
                time_left_s=time_left_s([one.cell for one in tasks[position:]], measured, gmacs),
            )
        record = _record(task, decision, within)
        records.append(record)
        over |= ended([record])
        measured.add(record)
        within.progress.finished(record)
    return records[before:]


def _record(task: Task, decision: Run | Skip, within: Surroundings) -> Record:
    """The record of a task: measured, or not started."""
    cell, known = task.cell, within.known(task.cell)
    if isinstance(decision, Run) and not (hopeless := within.foresight.hopeless(cell)):
        return within.measure(
            _within(cell, decision.budget_s), decision, repeat=task.repeat, known=known
        )
    if isinstance(decision, Run):
        decision = Skip("predicted", hopeless or "")
    record = unmeasured(
        cell,
        "skipped",
        decision.reason_code,
        decision.reason,
        repeat=task.repeat,
        known=known,
        estimate_s=decision.estimate_s,
    )
    within.write(record)
    return record


def _within(cell: Cell, budget_s: float) -> Cell:
    """The same cell (its id does not change) with no more time than the run has left."""
    if budget_s >= cell.measure.cell_time_limit_s:
        return cell
    measure = cell.measure.model_copy(update={"cell_time_limit_s": budget_s})
    return cell.model_copy(update={"measure": measure})

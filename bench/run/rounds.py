"""Which process measures which cell, and when: rounds over all cells, so that drift is spread.

Passes of one process share its memory layout, its clock and its neighbours: what separates two
versions of a program is told from several processes. A round measures every cell once, each in a
process of its own (A B C, A B C, ...): a machine that slows down in the course of a run then slows
every cell alike instead of those that came last.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.cells import Cell
from bench.record import FAILED, SOME_PAIRS, Record
from bench.run.schedule import DECIDED


class Task(NamedTuple):
    """One process to be started."""

    cell: Cell
    repeat: int
    """Number of the round, from 0: the record's ``repeat``."""


def rounds(cells: Sequence[Cell], processes: int) -> list[Task]:
    """Every cell ``processes`` times, round by round, within a round in the order given.

    A quality cell comes once: its images and seeds are fixed, so another process finds the same.
    """
    return [
        Task(cell, repeat)
        for repeat in range(processes)
        for cell in cells
        if not repeat or cell.kind == "performance"
    ]


def unfinished(
    tasks: Sequence[Task], records: Iterable[Record], *, retry_failed: bool
) -> list[Task]:
    """The tasks that are still to be run, in the order given.

    Those without a record; with ``retry_failed`` also those that failed and those that were skipped
    by :func:`bench.run.schedule.decide`, since more time or memory may be there now, and those that
    have some of their pairs. Of a cell that :func:`ended`, the later rounds are left out.
    """
    done = {(record.id, record.repeat): record for record in records}
    again = {key for key, record in done.items() if retry_failed and fell_short(record)}
    over = ended(record for key, record in done.items() if key not in again)
    return [
        task
        for task in tasks
        if (key := (task.cell.id, task.repeat)) in again
        or (key not in done and task.cell.id not in over)
    ]


def fell_short(record: Record) -> bool:
    """Whether a cell failed, was skipped for want of time or memory, or lacks some of its pairs."""
    skipped = record.status == "skipped" and record.reason_code in DECIDED
    return record.status in FAILED or skipped or record.reason_code == SOME_PAIRS


def ended(records: Iterable[Record]) -> set[str]:
    """Ids of the cells that no further process would tell more of: one has failed or was skipped.

    A cell of which any process failed has failed, and what it takes to fail again may be long.
    """
    return {record.id for record in records if record.status != "ok"}

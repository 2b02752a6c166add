"""What comes of a cell without running it: known from the device and the model, before any starts.

Said once for all cells that it holds for, and no process is started.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.cells import Cell
from bench.record import Record, Status
from bench.run.draft import random_weights_reason, unmeasured
from bench.run.rounds import Task

Settled = list[tuple[str, list[Record]]]
"""Why, in a few words, and the records of the cells that it holds for."""


def settle(
    tasks: Sequence[Task],
    known: Callable[[Cell], Mapping[str, Any]],
    lacking: Callable[[Cell], str],
) -> tuple[list[Task], Settled]:
    """Split tasks into those to be run, and the records of those that cannot be.

    Args:
        tasks: in the order in which they would run.
        known: record fields that are known of a cell beforehand.
        lacking: why the device cannot do a cell at all; empty where it can.

    Returns:
        The tasks that are left, and each reason with its records, one a cell.
    """
    left: list[Task] = []
    settled: dict[str, list[Record]] = {}
    done: set[str] = set()
    for task in tasks:
        if task.cell.id in done:
            continue
        fields = known(task.cell)
        found = _reason(task.cell, fields, lacking(task.cell))
        if found is None:
            left.append(task)
            continue
        why, status, code, reason = found
        done.add(task.cell.id)
        record = unmeasured(task.cell, status, code, reason, repeat=task.repeat, known=fields)
        settled.setdefault(why, []).append(record)
    return left, list(settled.items())


def _reason(
    cell: Cell, known: Mapping[str, Any], lacking: str
) -> tuple[str, Status, str, str] | None:
    """In short, status, code and reason in full; None for a cell that can be run."""
    if lacking:
        return lacking, "unsupported", "precision", lacking
    if cell.kind == "quality" and known["weights"] == "random":
        reason = random_weights_reason(cell.model)
        return f"no quality: {reason}", "skipped", "random_weights", reason
    return None

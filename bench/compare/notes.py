"""What the clock and the numbers as a whole say about how two sides were measured."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from bench.compare.match import Matched, lacked_by_both
from bench.compare.result import CellResult
from bench.compare.side import Process, Side

_ALIKE = 4
"""Cells that must all have moved one way before the machine is suspected."""
_MOVED = 0.02
"""Share by which each of them must have."""


def taking_turns(base: Sequence[Process], new: Sequence[Process]) -> bool:
    """Whether the n-th processes of the sides ran next to each other, the turns one by one."""
    if len(base) != len(new):
        return False
    ends = -math.inf
    numbered = _numbered((*base, *new))
    for before, after in zip(base, new, strict=True):
        spans = sorted(span for process in (before, after) if (span := _span(process, numbered)))
        if len(spans) < 2 or spans[0][0] < ends or spans[1][0] < spans[0][1]:
            return False
        ends = spans[1][1]
    return True


def _numbered(processes: Sequence[Process]) -> bool:
    """Whether all had turns of one session, which tell the order whatever the clock did."""
    sessions = {None if process.turn is None else process.turn[0] for process in processes}
    return len(sessions) == 1 and None not in sessions


def _span(process: Process, numbered: bool) -> tuple[float, float] | None:
    """Begin and end, in turns if processes are numbered, else in seconds; None if not known."""
    if numbered and process.turn is not None:
        return process.turn[1], process.turn[1]
    if process.began is None or process.ended is None:
        return None
    return process.began, process.ended


def _at_the_same_time(base: Side, new: Side) -> bool:
    """Whether processes of the two sides ran at once, and so disturbed each other."""
    if _numbered([p for side in (base, new) for c in side.cells.values() for p in c.processes]):
        return False  # they took turns
    spans = sorted(
        (process.began, process.ended, side)
        for side, one in enumerate((base, new))
        for cell in one.cells.values()
        for process in cell.processes
        if process.began is not None and process.ended is not None
    )
    return any(after[0] < before[1] and after[2] != before[2] for before, after in pairwise(spans))


def _disturbances(base: Side, new: Side) -> str | None:
    """Under what the processes of both sides were timed; None if nothing disturbed any."""
    said = []
    disturbed = 0
    for name, side in (("the base", base), ("the new side", new)):
        timed = [cell for cell in side.cells.values() if not cell.quality]
        conditions = [process.conditions for cell in timed for process in cell.processes]
        watched = [labels for labels in conditions if labels is not None]
        found = [labels for labels in watched if labels]
        disturbed += len(found)
        counts = Counter(label.replace("_", " ") for labels in found for label in labels)
        which = f" ({', '.join(label for label, _ in counts.most_common())})" if found else ""
        said.append(
            f"{len(found)} of {len(watched)} processes of {name}{which}"
            if watched
            else f"those of {name} were not watched"
        )
    return f"measured under disturbance: {'; '.join(said)}" if disturbed else None


def notes(base: Side, new: Side, matched: Matched, cells: Iterable[CellResult]) -> Iterable[str]:
    """What a reader must know beside the findings, a line each."""
    sides = [[cell.processes for cell in side.cells.values()] for side in (base, new)]
    if base.path == new.path or (any(sides[0]) and sides[0] == sides[1]):
        yield "both sides are the same measurement"
    elif _at_the_same_time(base, new):
        yield "processes of both sides ran at the same time: each slowed the other down"
    if disturbances := _disturbances(base, new):
        yield disturbances
    other = {
        f"{before.identity['model']} ({before.weights_digest} against {after.weights_digest})"
        for before, after in matched.pairs
        if None not in (before.weights_digest, after.weights_digest)
        and before.weights_digest != after.weights_digest
    }
    if other:
        yield f"other weights: {', '.join(sorted(other))}"
    one_sided = [*matched.left_out, *matched.added]
    if one_sided:
        yield (
            f"{len(matched.pairs)} of {len(matched.pairs) + len(one_sided)} cells compared: "
            f"{len(matched.left_out)} are in the base alone, {len(matched.added)} in the new side "
            "alone"
        )
    if lacked := lacked_by_both(base, new):
        yield f"cells that both sides were asked for and neither has: {len(lacked)}"
    times = [
        finding.change
        for cell in cells
        for finding in cell.findings
        if finding.family == "time" and finding.change is not None
    ]
    separate = not any(f.design == "alternating" for cell in cells for f in cell.findings)
    if separate and len(times) >= _ALIKE and (min(times) > _MOVED or max(times) < -_MOVED):
        word = "slower" if times[0] > 0 else "faster"
        yield (
            f"all {len(times)} times are {word}, as they would be on a machine that is: to tell, "
            "measure both versions in turn ('bench ab')"
        )

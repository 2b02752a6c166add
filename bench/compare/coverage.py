"""How many cells were compared by a measured value, and why the others were not."""

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.compare.result import CellResult, Coverage, Finding

_NO_VALUE = frozenset({"metric_missing", "not_finite"})
"""Codes of findings that lack a value to judge by, whatever their verdict."""


def has_compared(findings: Iterable[Finding]) -> bool:
    """Whether a value that both sides measured was judged."""
    return any(
        finding.family != "status"
        and finding.verdict != "not_comparable"
        and finding.code not in _NO_VALUE
        for finding in findings
    )


def coverage(cells: Iterable[CellResult], *, lacked: Sequence[str] = ()) -> Coverage:
    """Count cells; ``lacked`` are those that both sides were asked for and neither has."""
    compared, one_side, incomparable = 0, 0, 0
    why = Counter({"without a record": len(lacked)} if lacked else {})
    for cell in cells:
        if has_compared(cell.findings):
            compared += 1
        elif cell.status_base == cell.status_new == "ok":
            incomparable += 1
        elif "ok" in (cell.status_base, cell.status_new):
            one_side += 1
        else:
            why[_how(cell)] += 1
    neither = why.total()
    total = compared + one_side + incomparable + neither
    parts = [f"compared {compared} of {total} cell{'s' if total != 1 else ''}"]
    if neither:
        reasons = ", ".join(f"{count} {how}" for how, count in why.most_common())
        parts.append(f"{neither} not measured on either side ({reasons})")
    if one_side:
        parts.append(f"{one_side} measured on one side alone")
    if incomparable:
        parts.append(f"{incomparable} without a value that compares")
    return Coverage(
        cells=total,
        compared=compared,
        neither=neither,
        one_side=one_side,
        incomparable=incomparable,
        why=dict(why),
        text="; ".join(parts),
    )


def _how(cell: CellResult) -> str:
    """How a cell ended that has no value: ``timeout``, or ``timeout, then skipped``."""
    codes = {finding.code for finding in cell.findings}
    if "ran_out_of_time" in codes:
        return "cut by the run's time limit"
    if "cannot_be_measured" in codes and cell.status_new == "skipped":
        return "without trained weights"
    ends = dict.fromkeys(s.replace("_", " ") for s in (cell.status_base, cell.status_new) if s)
    return " then ".join(ends)

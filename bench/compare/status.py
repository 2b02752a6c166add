"""The decision on how cells ended: what failed, what was mended, what is gone."""

from collections.abc import Sequence

from bench.compare.result import Code, Finding, Verdict
from bench.compare.side import SideCell


def compare_status(base: SideCell, new: SideCell, *, partial: bool = False) -> Finding | None:
    """The finding on a cell that both sides have; None where it was measured in both.

    What was measured on neither side can hide any change, so it does not pass, with one exception:
    what the device or the weights lack, whatever the code is.

    ``partial``: what was not measured need not be compared.
    """
    if base.status == new.status == "ok":
        return None
    if base.status == "ok":
        return _lost(new)
    both_cut = base.cut_by_run and new.cut_by_run
    same = both_cut or (base.status, base.reason_code) == (new.status, new.reason_code)
    how = f"{_ended(new)}, as before" if same else f"was {_ended(base)}, is {_ended(new)}"
    if new.status == "ok":
        how = f"was {_ended(base)}, is measured now"
        if base.failed:
            return _status("improvement", "fixed", how)
    elif same and new.impossible:
        return _status("not_comparable", "cannot_be_measured", how)
    elif base.processes and new.processes:  # one process of several failed, the others compare
        return _status("unchanged", "still_failing", how)
    verdict: Verdict = "not_comparable" if partial else "inconclusive"
    return _status(verdict, _unmeasured(base, new), how)


def _unmeasured(base: SideCell, new: SideCell) -> Code:
    """Why there is no value to compare."""
    if new.cut_by_run:
        return "ran_out_of_time"
    return "still_failing" if base.failed and new.failed else "not_measured"


def _lost(new: SideCell) -> Finding:
    if new.cut_by_run:
        return _status("inconclusive", "ran_out_of_time", f"was measured, is {_ended(new)}")
    code: Code = "now_failing" if new.failed else "now_unmeasured"
    return _status("regression", code, f"was measured, is {_ended(new)}")


def not_compared(findings: Sequence[Finding], *, partial: bool) -> Finding:
    """The finding on a cell that was measured on both sides and of which no value compares."""
    why = "no value of both sides compares" if findings else "neither side has what was asked for"
    verdict: Verdict = "not_comparable" if partial else "inconclusive"
    return _status(verdict, "not_compared", f"is measured, but {why}")


def only_in_base(cell: SideCell, *, vanished: bool) -> Finding:
    """The finding on a cell that the new side lacks."""
    if not vanished:
        return _status("not_comparable", "left_out", "the new side does not have it")
    if cell.status == "ok":
        return _status("regression", "vanished", "was measured, has no record now")
    return _status("inconclusive", "not_measured", f"was {_ended(cell)}, has no record now")


def only_in_new(cell: SideCell) -> Finding:
    """The finding on a cell that the base lacks."""
    how = "is measured" if cell.status == "ok" else f"is {_ended(cell)}"
    return _status("not_comparable", "new", f"is new: there is nothing to compare with; {how}")


def _ended(cell: SideCell) -> str:
    """``out_of_memory (host_allocator: an allocation ...)``."""
    first = (cell.reason or "").splitlines()[:1]
    code = "the run's time limit" if cell.cut_by_run else cell.reason_code
    why = ": ".join(filter(None, [code, *first]))
    word = "not measured" if cell.cut_by_run else cell.status.replace("_", " ")
    return f"{word} ({why})" if why else word


def _status(verdict: Verdict, code: Code, reason: str) -> Finding:
    return Finding(metric="status", family="status", verdict=verdict, code=code, reason=reason)

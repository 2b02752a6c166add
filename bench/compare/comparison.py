"""Two sides compared: every cell, every metric, one verdict."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.compare.coverage import coverage, has_compared
from bench.compare.decide import CONFIDENCE, LEVEL, Sampled, decide
from bench.compare.match import label, lacked_by_both, match_cells, varying
from bench.compare.metrics import COMPARED, Compared
from bench.compare.notes import notes, taking_turns
from bench.compare.quality import compare_quality
from bench.compare.result import (
    VERDICTS,
    CellResult,
    Code,
    Comparison,
    Finding,
    Limits,
    SideSummary,
    Verdict,
    exit_code,
    gravest,
)
from bench.compare.side import Side, SideCell
from bench.compare.status import compare_status, not_compared, only_in_base, only_in_new
from bench.errors import UserError
from bench.measure.environment_differences import environment_differences
from bench.measure.heap import peak_repeats
from distill.suggest import one_line


def compare(
    base: Side,
    new: Side,
    *,
    limits: Limits,
    metrics: Sequence[Compared],
    quality: bool = True,
    allow_different_environment: bool = False,
    partial: bool = False,
) -> Comparison:
    """Judge every metric of every cell.

    Args:
        base: what to compare with.
        new: what is compared.
        limits: from which change on it counts.
        metrics: fields to judge, besides how cells ended.
        quality: whether to judge quality metrics.
        allow_different_environment: compare also if machine, versions or settings differ, and say
            so in the result.
        partial: compare what both have, and list the rest.

    Raises:
        UserError: if the sides cannot be compared as asked.
    """
    differences = environment_changes(base, new)
    if differences and not allow_different_environment:
        raise UserError(
            *(
                one_line(f"{new.path}: other environment than {base.path}: {d}")
                for d in differences
            ),
            "numbers of two environments do not compare; --allow-different-environment compares "
            "them all the same",
        )
    matched = match_cells(base, new, partial=partial)
    also = varying([cell.identity for side in (base, new) for cell in side.cells.values()])
    cells = [
        *_measured(matched.pairs, limits, metrics, quality=quality, partial=partial, also=also),
        *(_alone(cell, None, only_in_base(cell, vanished=True), also) for cell in matched.vanished),
        *(
            _alone(cell, None, only_in_base(cell, vanished=False), also)
            for cell in matched.left_out
        ),
        *(_alone(None, cell, only_in_new(cell), also) for cell in matched.added),
    ]
    cells.sort(key=_gravity)
    verdict = gravest(cell.verdict for cell in cells)
    counts = Counter(cell.verdict for cell in cells)
    return Comparison(
        base=_summary(base),
        new=_summary(new),
        limits=limits,
        level=LEVEL,
        confidence=CONFIDENCE,
        environment_differences=tuple(differences),
        notes=tuple(notes(base, new, matched, cells)),
        cells=tuple(cells),
        counts={name: counts[name] for name in VERDICTS},
        coverage=coverage(cells, lacked=lacked_by_both(base, new)),
        verdict=verdict,
        exit_code=exit_code(verdict),
    )


def environment_changes(base: Side, new: Side) -> list[str]:
    """Why numbers of the two sides do not compare, a line each.

    The version of the code is what a comparison is about, so it may differ.
    """
    facts = [dict(side.environment) | {"code_version": None} for side in (base, new)]
    found = environment_differences(*facts)
    if base.warmup != new.warmup:
        found.append(f"measure.warmup: {base.warmup} against {new.warmup}")
    return found


def _measured(
    pairs: Sequence[tuple[SideCell, SideCell]],
    limits: Limits,
    metrics: Sequence[Compared],
    *,
    quality: bool,
    partial: bool,
    also: Sequence[str],
) -> list[CellResult]:
    """The cells that both have. Repeated measurements are judged together."""
    findings: list[list[Finding]] = []
    samples: list[Sampled] = []
    owners: list[int] = []
    asked = [quality if _judges_pictures(after) else bool(metrics) for _, after in pairs]
    for place, (before, after) in enumerate(pairs):
        status = compare_status(before, after, partial=partial or not asked[place])
        findings.append([status] if status else [])
        if not (before.processes and after.processes):
            continue
        if before.quality and after.quality:
            if quality:
                findings[place] += compare_quality(
                    before.quality, after.quality, limit=limits.quality_loss
                )
            continue
        for metric in metrics:
            found = _sampled(metric, before, after, limits)
            if isinstance(found, Sampled):
                samples.append(found)
                owners.append(place)
            elif found:
                findings[place].append(found)
    for place, finding in zip(owners, decide(samples), strict=True):
        findings[place].append(finding)
    for (before, after), is_asked, one in zip(pairs, asked, findings, strict=True):
        if is_asked and before.processes and after.processes and not has_compared(one):
            one.append(not_compared(one, partial=partial))
    return [
        CellResult(
            label=label(after.identity, also),
            identity=_jsonable(after.identity),
            status_base=before.status,
            status_new=after.status,
            findings=tuple(found),
        )
        for (before, after), found in zip(pairs, findings, strict=True)
        if found
    ]


def _judges_pictures(cell: SideCell) -> bool:
    return cell.identity.get("kind") == "quality"


def _sampled(
    metric: Compared, before: SideCell, after: SideCell, limits: Limits
) -> Sampled | Finding | None:
    """A metric's values; a finding where they cannot be judged, None where neither side has any."""
    field = metric.name
    processes = [before.processes, after.processes]
    if not any(field in process.values for side in processes for process in side):
        return None
    once = [process.once for side in processes for process in side]
    if field == "latency_ms" and any(once):
        field = "first_call_ms"  # what all processes have
    elif metric.family == "memory" and not all(once):
        # A peak of the first pass holds what is loaded in it: another number than a later one's.
        processes = [tuple(p for p in side if not p.once) for side in processes]
        if not all(processes):
            return _other_pass(metric)
    processes = [tuple(p for p in side if field in p.values) for side in processes]
    base, new = (tuple(p.values[field] for p in side) for side in processes)
    if not (base and new):
        return _missing(metric, base, new)
    if not all(map(math.isfinite, (*base, *new))):
        return _no_number(metric, base, new)
    if min(*base, *new) <= 0 and not metric.jitter:
        if set(base) == set(new):
            return _untested(metric, base, new, "unchanged", "same", "the same")
        return _no_number(metric, base, new)
    return Sampled(
        COMPARED[field],
        base,
        new,
        limit=limits.slowdown if metric.family == "time" else limits.memory_growth,
        taking_turns=taking_turns(*processes),
        by_chance=field == "peak_rss_growth_mb" and _peak_by_chance(after.identity),
    )


def _peak_by_chance(identity: Mapping[str, Any]) -> bool:
    """Whether the C library's heap is in a peak; of benchmarks of pytest it is not known."""
    if "width" not in identity:
        return False
    megapixels = identity["width"] * identity["height"] / 1e6
    return not peak_repeats(identity["device"], identity["execution"], megapixels)


def _no_number(metric: Compared, base: Sequence[float], new: Sequence[float]) -> Finding:
    """Of values that no ratio can be taken of: of the new side's, nothing can be told."""
    of_new = not all(0 < value < math.inf for value in new)
    why = f"{'the new side' if of_new else 'the base'} has values that no ratio can be taken of"
    verdict: Verdict = "inconclusive" if of_new else "not_comparable"
    return _untested(metric, base, new, verdict, "not_finite", why)


def _missing(metric: Compared, base: Sequence[float], new: Sequence[float]) -> Finding:
    if base:
        why = "the new side does not have it"
        return _untested(metric, base, new, "inconclusive", "metric_missing", why)
    why = "the base does not have it"
    return _untested(metric, base, new, "not_comparable", "not_measured", why)


def _untested(
    metric: Compared,
    base: Sequence[float],
    new: Sequence[float],
    verdict: Verdict,
    code: Code,
    reason: str,
) -> Finding:
    return Finding(
        metric=metric.name,
        family=metric.family,
        unit=metric.unit,
        processes_base=len(base),
        processes_new=len(new),
        verdict=verdict,
        code=code,
        reason=reason,
    )


def _other_pass(metric: Compared) -> Finding:
    """Of a peak that is of the first pass on one side: there was no time for another."""
    return Finding(
        metric=metric.name,
        family=metric.family,
        unit=metric.unit,
        verdict="not_comparable",
        code="other_definition",
        reason="is of the first pass on one side, of a later one on the other",
    )


def _alone(
    before: SideCell | None, after: SideCell | None, finding: Finding, also: Sequence[str]
) -> CellResult:
    identity = _jsonable((before or after).identity)  # type: ignore[union-attr]
    return CellResult(
        label=label(identity, also),
        identity=identity,
        status_base=before.status if before else None,
        status_new=after.status if after else None,
        findings=(finding,),
    )


def _jsonable(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in identity.items()}


def _gravity(cell: CellResult) -> tuple[int, bool, float]:
    """For sorting: the gravest first, of those what failed first, then the largest change."""
    worst = [finding for finding in cell.findings if finding.verdict == cell.verdict]
    failed = any(finding.family == "status" for finding in worst)
    return (
        VERDICTS.index(cell.verdict),
        not failed,
        -max((abs(finding.loss) for finding in worst), default=0.0),
    )


def _summary(side: Side) -> SideSummary:
    return SideSummary(
        path=side.path,
        kind=side.kind,
        measured_at=side.measured_at,
        code_version=side.code_version,
        cells=len(side.cells),
    )

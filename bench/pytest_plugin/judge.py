"""The verdict on one check: that of ``bench compare``."""

from dataclasses import dataclass

from bench.compare import decide
from bench.compare.comparison import compare
from bench.compare.decide import CONFIDENCE
from bench.compare.metrics import chosen
from bench.compare.result import Finding, Limits, Verdict, gravest
from bench.compare.shares import brief
from bench.compare.side import Side
from bench.compare.text import VERDICT_WORDS, sentence

PROCESSES_OPTION = "--performance-processes"


@dataclass(frozen=True)
class Judged:
    """What a check came to."""

    name: str
    verdict: Verdict
    lines: tuple[str, ...]
    """A line for each metric, the gravest first, and how they were compared."""

    def text(self) -> str:
        """The name, the verdict, and the lines below."""
        return "\n".join(
            [f"{self.name}: {VERDICT_WORDS[self.verdict]}", *(f"  {line}" for line in self.lines)]
        )


def judge(base: Side, new: Side, *, base_name: str, limits: Limits, checks: int) -> Judged:
    """Judge sides of one cell, the same on both.

    Environments are taken to have been compared.

    Args:
        base: what to compare with.
        new: what was measured now.
        base_name: what the base is, for a person.
        limits: from which change on it counts.
        checks: how many are judged in all. A test suite has an answer to each at once, so they
            cannot be ordered (Holm); chances are multiplied by their number (Bonferroni).
    """
    metrics, _ = chosen(())
    comparison = compare(
        base,
        new,
        limits=limits,
        metrics=metrics,
        quality=False,
        allow_different_environment=True,
    )
    (cell,) = comparison.cells
    findings = tuple(_over_all(finding, checks) for finding in cell.findings)
    verdict = gravest(finding.verdict for finding in findings)
    ordered = sorted(findings, key=lambda one: (one.verdict != verdict, one.family != "time"))
    counts = {(finding.processes_base, finding.processes_new) for finding in findings}
    processes = ", ".join(f"{before} and {after}" for before, after in sorted(counts))
    lines = [sentence(cell, finding) for finding in ordered]
    return Judged(
        cell.label,
        verdict,
        (
            *lines,
            f"compared with {base_name}: {processes} processes, intervals at {brief(CONFIDENCE)}",
        ),
    )


def _over_all(finding: Finding, checks: int) -> Finding:
    """A regression that one of so many checks may well show by chance is none yet."""
    chance = finding.chance
    if finding.verdict != "regression" or chance is None or checks * chance <= decide.TESTED_AT:
        return finding
    reason = (
        f"chance would show such an increase in {brief(min(1.0, checks * chance))} of sessions of "
        f"{checks} checks; more processes ({PROCESSES_OPTION}) would tell"
    )
    return finding.model_copy(update={"verdict": "inconclusive", "code": "noisy", "reason": reason})

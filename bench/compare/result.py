"""The result of a comparison; also what its JSON is (``bench compare --format json``)."""

import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from bench.cells import Frozen

FORMAT: Literal["ultrastyle-bench comparison"] = "ultrastyle-bench comparison"
SCHEMA_VERSION: Literal[2] = 2

Verdict = Literal["regression", "inconclusive", "improvement", "unchanged", "not_comparable"]
VERDICTS: tuple[Verdict, ...] = (
    "regression",
    "inconclusive",
    "improvement",
    "unchanged",
    "not_comparable",
)
"""The gravest first: the first that occurs is that of the whole."""
Family = Literal["status", "time", "memory", "size", "quality"]
Code = Literal[
    # regression
    "slower", "more_memory", "larger", "worse", "now_failing", "now_unmeasured", "vanished",
    # inconclusive
    "too_few_repeats", "noisy", "near_limit", "drift", "metric_missing", "ran_out_of_time",
    "still_failing", "not_measured", "not_compared",
    # not comparable
    "new", "left_out", "cannot_be_measured", "other_definition", "other_images",
    "no_direction", "not_finite",
    # improvement
    "faster", "less_memory", "smaller", "better", "fixed",
    # unchanged
    "same", "within_limit",
]  # fmt: skip
"""Why; ``docs/compare.md`` says what each means."""


class Finding(Frozen):
    """What one metric of one cell came to. Shares are of the base: 0.05 is 5 % more."""

    metric: str
    """Field of the record, or ``status``."""
    family: Family
    unit: str = ""
    better: Literal["lower", "higher", "none"] = "lower"
    base: float | None = None
    """Median over the processes; null where there is none, and for an infinite value."""
    new: float | None = None
    change: float | None = None
    """New over base, less 1; of processes the ratio of their geometric means."""
    change_low: float | None = None
    """Of the interval at :attr:`Comparison.confidence`."""
    change_high: float | None = None
    chance: float | None = None
    """How probable such a worsening is by chance (one-sided, after Holm over the cells)."""
    processes_base: int = 0
    processes_new: int = 0
    design: Literal["separate", "alternating"] | None = None
    """How processes of the two sides followed each other; null where that does not matter."""
    verdict: Verdict
    code: Code
    reason: str
    """One sentence for a person."""
    more_processes: int | None = None
    """Inconclusive: about how many more processes a side would tell; null where none would."""

    @property
    def loss(self) -> float:
        """By how much it got worse, for sorting; negative where it got better."""
        if self.change is None:
            return 0.0
        return -self.change if self.better == "higher" else self.change


class CellResult(Frozen):
    """What one cell came to."""

    label: str
    identity: dict[str, Any]
    """What defines the cell, apart from the versions of code and weights."""
    status_base: str | None
    """As in records; null where the side has no such cell."""
    status_new: str | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The gravest of its findings'."""
        return gravest(finding.verdict for finding in self.findings)


class Coverage(Frozen):
    """How many of the cells that were asked for were compared by a measured value."""

    cells: int
    """Asked for, on either side."""
    compared: int
    """By at least one value that both sides measured."""
    neither: int
    """Not measured on either side."""
    one_side: int
    """Measured on one side alone."""
    incomparable: int
    """Measured on both sides, with no value that compares."""
    why: dict[str, int]
    """How those of ``neither`` ended, and how many did."""
    text: str
    """All of it in a line."""


class SideSummary(Frozen):
    """One of the two inputs."""

    path: str
    kind: Literal["run", "baseline", "pytest-benchmark"]
    measured_at: str | None
    """When the first process began; ISO 8601."""
    code_version: str | None
    cells: int


class Limits(Frozen):
    """From which change on a metric counts, as shares."""

    slowdown: float = Field(0.05, gt=0)
    memory_growth: float = Field(0.02, gt=0)
    """Of peak memory, of parameters and of their storage."""
    quality_loss: float = Field(0.02, gt=0)


class Comparison(Frozen):
    """Everything that ``bench compare`` found out."""

    format: Literal["ultrastyle-bench comparison"] = FORMAT
    schema_version: Literal[2] = SCHEMA_VERSION
    base: SideSummary
    new: SideSummary
    limits: Limits
    level: float
    """Highest chance that any cell is called a regression when nothing has changed."""
    confidence: float
    """Of the intervals."""
    environment_differences: tuple[str, ...]
    """What makes the sides incomparable, where the user allowed it; a line each."""
    notes: tuple[str, ...]
    """What a reader must know, a line each."""
    cells: tuple[CellResult, ...]
    """The gravest verdict first, and of those the largest change."""
    counts: dict[Verdict, int]
    """Cells of each verdict."""
    coverage: Coverage
    verdict: Verdict
    exit_code: Literal[0, 1, 3]

    @property
    def more_processes_may_tell(self) -> bool:
        """Whether something is inconclusive for noise, and not for want of a measurement."""
        return any(finding.code in NOISE for cell in self.cells for finding in cell.findings)


NOISE: frozenset[Code] = frozenset({"too_few_repeats", "noisy", "near_limit", "drift"})
"""Codes of what more processes may tell."""


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    """The first of :data:`VERDICTS` that occurs; ``not_comparable`` of nothing."""
    return min(verdicts, key=VERDICTS.index, default="not_comparable")


def exit_code(verdict: Verdict) -> Literal[0, 1, 3]:
    """1 for a regression; 3 where it cannot be told, also as nothing was comparable; else 0."""
    if verdict == "regression":
        return 1
    return 3 if verdict in ("inconclusive", "not_comparable") else 0


def json_text(comparison: Comparison) -> str:
    """The comparison as JSON; :data:`SCHEMA_VERSION` changes with its form."""
    return json.dumps(comparison.model_dump(), indent=1, allow_nan=False) + "\n"

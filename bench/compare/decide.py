"""The decision on numbers that processes measure: times, peaks of memory, sizes.

Pure functions of values; ``docs/compare.md`` gives the reasons, ``docs/results/compare`` how often
they err.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench.compare.metrics import Compared
from bench.compare.result import Code, Finding, Verdict
from bench.compare.shares import brief, percent
from bench.compare.statistics import (
    Effect,
    alternating,
    drift_per_round,
    holm,
    repeats_needed,
    separate,
    with_shared_spread,
)

LEVEL = 0.02
"""Stated chance that any cell of a comparison is called slower, or larger, without a change."""
TESTED_AT = 0.0075
"""Level of the tests: less, so that the stated one also holds for noise that is not normal."""
CONFIDENCE = 0.95
LEAST_PROCESSES = 4
"""A side: of fewer, all fall into the fast or the slow state of such a machine too often."""
GOOD_PROCESSES = 5
"""What is asked for where there are too few to know the noise."""
_MANY = 50
_ENDLESS = 50.0
_JITTERS = 2.0
"""Times the counter's jitter that a single process must grow by."""

_WORSE: dict[str, tuple[Code, Code]] = {
    "time": ("slower", "faster"),
    "memory": ("more_memory", "less_memory"),
    "size": ("larger", "smaller"),
}


@dataclass(frozen=True)
class Sampled:
    """One metric of one cell: a value above 0 from each process, in the order of the rounds.

    Of a counter with a jitter it may be 0.
    """

    metric: Compared
    base: tuple[float, ...]
    new: tuple[float, ...]
    limit: float
    """Share of the base from which an increase counts."""
    taking_turns: bool = False
    """Whether the n-th processes of both sides ran next to each other."""
    by_chance: bool = False
    """Of bytes: whether they differ from process to process as times do."""

    @property
    def told(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The values of both sides, at least the counter's jitter: it cannot tell less."""
        least = self.metric.jitter
        return tuple(max(v, least) for v in self.base), tuple(max(v, least) for v in self.new)

    @property
    def least(self) -> float:
        """Log ratio from which an increase counts: the limit, or what the counter cannot tell."""
        return math.log1p(max(self.limit, self.metric.jitter / median(self.told[0])))

    @property
    def enough(self) -> bool:
        """Whether there are processes enough to know their spread."""
        return min(len(self.base), len(self.new)) >= LEAST_PROCESSES

    @property
    def exact(self) -> bool:
        """Whether processes do not differ, and not because there is one of each side."""
        alike = all(len(set(values)) == 1 for values in self.told)
        return alike and self.metric.family != "time" and (self.enough or not self.metric.jitter)

    def effect(self) -> Effect:
        """Of the logarithms."""
        logs = [[math.log(value) for value in values] for values in self.told]
        return alternating(*logs) if self.taking_turns else separate(*logs)


def decide(samples: Sequence[Sampled]) -> list[Finding]:
    """The findings on all metrics and cells of a comparison, in the order given.

    Together, because what is called a regression by chance in one of many cells is kept at
    :data:`LEVEL` over all of them, because cells tell of each other's spread, and because a drift
    of the machine shows in all.
    """
    findings: dict[int, Finding] = {}
    tested: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        if sample.exact:
            findings[place] = _exact(sample)
        elif sample.enough:
            tested.setdefault(sample.metric.family, []).append(place)
        else:
            findings[place] = _few(sample)
    for places in tested.values():
        findings |= zip(places, _tested([samples[place] for place in places]), strict=True)
    return [findings[place] for place in range(len(samples))]


def _tested(samples: Sequence[Sampled]) -> list[Finding]:
    """Findings on metrics of one family of which the spread is known."""
    effects = with_shared_spread([sample.effect() for sample in samples])
    per_round = _drift(samples)
    effects = [
        replace(effect, drift=per_round * (len(sample.base) + len(sample.new)) / 2)
        if effect.design == "separate"
        else effect
        for sample, effect in zip(samples, effects, strict=True)
    ]
    worse = holm([effect.chance_of_no_increase() for effect in effects])
    better = holm([effect.chance_of_no_decrease() for effect in effects])
    return [
        _finding(sample, effect, chance, chance_better, tests=len(samples))
        for sample, effect, chance, chance_better in zip(
            samples, effects, worse, better, strict=True
        )
    ]


def _drift(samples: Sequence[Sampled]) -> float:
    """How fast the machine's speed changed, log ratio a round; of times only."""
    apart = [s for s in samples if s.metric.family == "time" and not s.taking_turns]
    return drift_per_round(
        [[math.log(value) for value in sample.base] for sample in apart],
        [[math.log(value) for value in sample.new] for sample in apart],
    )


def _finding(
    sample: Sampled, effect: Effect, chance: float, chance_better: float, *, tests: int
) -> Finding:
    low, high = effect.interval(CONFIDENCE)
    worse, better = _WORSE[sample.metric.family]
    least = sample.least
    more: int | None = None
    verdict: Verdict
    code: Code
    if effect.value > least and chance <= TESTED_AT:
        verdict, code, reason = "regression", worse, _limit(sample)
    elif effect.value < -least and chance_better <= TESTED_AT:
        verdict, code, reason = "improvement", better, f"{better.replace('_', ' ')} than before"
    elif high <= least:
        verdict, code = "unchanged", "within_limit"
        reason = f"more than {brief(math.expm1(least))} is excluded"
    else:
        verdict = "inconclusive"
        more = _more(sample, effect, tests=tests)
        if effect.drift and _settled(sample, effect, tests=tests):
            code = "drift"
            why = (
                f"the machine's speed drifted by {_share(effect.drift)} from one side to the other"
            )
        elif low > 0 and effect.value <= least:
            code, why = "near_limit", f"about as much as the limit of {brief(math.expm1(least))}"
        else:
            code = "noisy"
            why = f"processes differ by {_share(effect.spread)}, too much for these few"
        reason = f"{why}; {_advice(more)}"
    return _of(
        sample,
        verdict,
        code,
        reason,
        change=_change(effect.value),
        change_low=_change(low),
        change_high=_change(high),
        chance=chance,
        design=effect.design,
        more_processes=more,
    )


def _more(sample: Sampled, effect: Effect, *, tests: int) -> int | None:
    """Further processes a side that would settle it."""
    over = effect.value > sample.least
    needed = repeats_needed(
        effect,
        effect.value if over else sample.least - effect.value,
        TESTED_AT / tests if over else (1 - CONFIDENCE) / 2,
    )
    have = min(len(sample.base), len(sample.new))
    return None if needed is None else max(needed - have, 1)


def _settled(sample: Sampled, effect: Effect, *, tests: int) -> bool:
    """Whether it would be decided if the machine had not drifted."""
    still = replace(effect, drift=0.0)
    return (
        effect.value > sample.least and still.chance_of_no_increase() <= TESTED_AT / tests
    ) or still.interval(CONFIDENCE)[1] <= sample.least


def _advice(more: int | None) -> str:
    if more is None:
        return "measure both sides in turn, or on a quieter machine"
    said = f"about {more} more process{'es' if more != 1 else ''} a side would tell"
    return said if more <= _MANY else f"{said}, or a quieter machine"


def _few(sample: Sampled) -> Finding:
    """A finding without knowledge of the spread."""
    told_by_one = sample.metric.family != "time" and not sample.by_chance
    if told_by_one and (found := _few_bytes(sample)):
        return found
    base, new = map(median, sample.told)
    change = new / base - 1
    more = GOOD_PROCESSES - min(len(sample.base), len(sample.new))
    reason = (
        f"as it seems, from {len(sample.base)} and {len(sample.new)} processes: at least "
        f"{LEAST_PROCESSES} a side are needed; measure {more} more"
    )
    return _of(
        sample, "inconclusive", "too_few_repeats", reason, change=change, more_processes=more
    )


def _few_bytes(sample: Sampled) -> Finding | None:
    """Counters of bytes hardly move by themselves: one process tells, unless it is near the limit.

    None where it does not.
    """
    base, new = map(median, sample.told)
    sure = math.log1p(max(sample.limit, _JITTERS * sample.metric.jitter / base))
    growth = math.log(new / base)
    if sample.least < growth <= sure:
        return None
    return _plain(sample, growth, least=sample.least if growth > 0 else sure)


def _exact(sample: Sampled) -> Finding:
    """A finding on what is the same in every process."""
    base, new = sample.told
    return _plain(sample, math.log(new[0] / base[0]), least=sample.least)


def _plain(sample: Sampled, growth: float, *, least: float) -> Finding:
    """A finding on a change that needs no test."""
    worse, better = _WORSE[sample.metric.family]
    change = math.expm1(growth)
    if not growth:
        return _of(sample, "unchanged", "same", "the same", change=0.0)
    if growth > least:
        return _of(sample, "regression", worse, _limit(sample), change=change)
    if growth < -least:
        than = f"{better.replace('_', ' ')} than before"
        return _of(sample, "improvement", better, than, change=change)
    return _of(sample, "unchanged", "within_limit", _limit(sample), change=change)


def _of(sample: Sampled, verdict: Verdict, code: Code, reason: str, **fields: Any) -> Finding:
    return Finding(
        metric=sample.metric.name,
        family=sample.metric.family,
        unit=sample.metric.unit,
        base=median(sample.base),
        new=median(sample.new),
        processes_base=len(sample.base),
        processes_new=len(sample.new),
        verdict=verdict,
        code=code,
        reason=reason,
        **fields,
    )


def _limit(sample: Sampled) -> str:
    said = f"the limit is {brief(math.expm1(sample.least))}"
    if sample.least > math.log1p(sample.limit):
        said += f", as {sample.metric.jitter:g} {sample.metric.unit} is what the counter moves by"
    return said


def _share(effect: float) -> str:
    """A log ratio as the share of the base that it adds or takes, without its sign."""
    return percent(abs(_change(effect)))


def _change(effect: float) -> float:
    """A log ratio as a share of the base; an interval of next to no knowledge has an end too."""
    return math.expm1(min(effect, _ENDLESS))

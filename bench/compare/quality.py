"""The decision on quality: values of the same pictures under the same definition, before and after.

Images and seeds are fixed, so a value is the same in every process and a difference is a change;
pairs of images tell whether it is one of most pictures or of a few. Which way is better, and the
unit, are the metric's own (:class:`bench.quality.metric.Metric`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Literal

from scipy.special import stdtrit

from bench.compare.decide import CONFIDENCE
from bench.compare.result import Code, Finding, Verdict
from bench.compare.shares import brief, percent
from bench.compare.side import Quality
from bench.errors import UserError
from bench.quality.catalogue import find_metric, metric_names
from bench.quality.metric import Metric
from distill.evaluation.ratios import paired_ratio

LEAST_CHANGE = 1e-6
"""A value that moves by less has not changed: rounding, not the picture."""
EQUAL_DB = 100.0
"""A signal-to-noise ratio above it is that of equal pictures: an error of 1e-5 of the range."""
_WITHOUT_CHANGE: Mapping[Code, Verdict] = {"worse": "regression", "metric_missing": "inconclusive"}
"""Verdicts of values that one side lacks; all else does not compare."""
_LEAST_PAIRS = 3
"""For an interval over pairs."""


def compare_quality(base: Quality, new: Quality, *, limit: float) -> list[Finding]:
    """One finding for each metric of either side, by name.

    Args:
        base: what to compare with.
        new: of the same cell.
        limit: share of the base by which a value may get worse. Of a value in dB, of the error it
            stands for: 2 % more error are 0.17 dB less.
    """
    names = dict.fromkeys([*base.definitions, *new.definitions, *base.absent, *new.absent])
    return [finding for name in names for finding in _metric(name, base, new, limit)]


def _metric(name: str, base: Quality, new: Quality, limit: float) -> Iterable[Finding]:
    values = base.values.get(name), new.values.get(name)
    if values[0] is None:
        why = base.absent.get(name, "the base does not have it")
        if values[1] is not None or name in new.absent:
            yield _unjudged(name, "not_measured", f"nothing to compare with: {why}", *values)
        return
    if values[1] is None:
        why = new.absent.get(name, "the new side does not have it")
        yield _unjudged(name, "metric_missing", f"was measured before: {why}", *values)
        return
    if base.definitions.get(name) != new.definitions.get(name):
        yield _unjudged(
            name, "other_definition", "was computed in another way or on other sizes", *values
        )
        return
    if _images(base) != _images(new):
        yield _unjudged(name, "other_images", "was computed on other images", *values)
        return
    try:
        metric = find_metric(name)
    except UserError:
        yield _unjudged(
            name, "no_direction", "no such metric is installed here: better or worse?", *values
        )
        return
    yield _judged(metric, base, new, limit)


def _judged(metric: Metric, base: Quality, new: Quality, limit: float) -> Finding:
    before, after = base.values[metric.name], new.values[metric.name]
    if metric.better == "none":
        return _unjudged(metric.name, "no_direction", "describes and does not judge", before, after)
    if not _means_something(metric, before):
        return _unjudged(metric.name, "not_finite", "was not a finite number", before, after)
    if not _means_something(metric, after):
        # The pictures are broken, or what judges them.
        why = "is no finite number any more"
        return _unjudged(metric.name, "worse", why, before, after, better=metric.better)
    loss = _loss(metric, before, after)
    pairs = _pair_losses(metric, base, new)
    low, high = _interval(pairs, loss)
    worse_pairs = sum(one > 0 for one in pairs)
    notes: list[str] = []
    if metric.unit == "dB":
        notes.append("the change is that of the error the dB stand for")
    if len(pairs) > 1:
        notes.append(f"worse in {worse_pairs} of {len(pairs)} pairs")
    verdict: Verdict
    code: Code
    if after == before:
        verdict, code = "unchanged", "same"
        notes = [
            "the same" if math.isfinite(after) else "pictures equal to the teacher's, as before"
        ]
    elif abs(after - before) < LEAST_CHANGE or _within_own_interval(metric.name, base, new):
        verdict, code = "unchanged", "within_limit"
        notes.append("within what the value is known to")
    else:
        if loss > limit:
            verdict, code = "regression", "worse"
        elif loss < -limit and (low is None or high is None or high < 0):
            verdict, code = "improvement", "better"
        else:
            verdict, code = "unchanged", "within_limit"
        notes.append(f"the limit is {brief(limit)}")
        if pairwise := _pairwise(metric, base, new):
            notes.append(pairwise)
    sign = 1 if metric.better == "lower" else -1
    bounds = sorted(sign * end for end in (low, high) if end is not None)
    return Finding(
        metric=metric.name,
        family="quality",
        unit=metric.unit,
        better=metric.better,
        base=_finite(before),
        new=_finite(after),
        change=_finite(sign * loss),
        change_low=_finite(bounds[0]) if bounds else None,
        change_high=_finite(bounds[-1]) if bounds else None,
        processes_base=1,
        processes_new=1,
        verdict=verdict,
        code=code,
        reason="; ".join(notes),
    )


def _loss(metric: Metric, before: float, after: float) -> float:
    """Share by which it got worse; negative for better."""
    if metric.unit == "dB":
        # 20 log10 of range over root-mean-square error, so a difference is a ratio of errors.
        worse = min(before, EQUAL_DB) - min(after, EQUAL_DB)
        return 10 ** ((worse if metric.better == "higher" else -worse) / 20) - 1
    worse = before - after if metric.better == "higher" else after - before
    return worse / max(abs(before), LEAST_CHANGE)


def _means_something(metric: Metric, value: float) -> bool:
    """Whether a value can be judged: only a ratio in dB may be infinite, of equal pictures."""
    return math.isfinite(value) or (metric.unit == "dB" and value == math.inf)


def _pair_losses(metric: Metric, base: Quality, new: Quality) -> list[float]:
    """Loss of each pair of images, over the base's mean so that their mean is the whole's."""
    both = [
        (one.get(metric.name), other.get(metric.name))
        for one, other in zip(base.pairs, new.pairs, strict=False)
    ]
    values = [
        (float(before), float(after))
        for before, after in both
        if isinstance(before, int | float) and isinstance(after, int | float)
    ]
    if not values or len(values) < len(both):
        return []
    if metric.unit == "dB":
        return [_loss(metric, before, after) for before, after in values]
    scale = max(abs(base.values[metric.name]), LEAST_CHANGE)
    sign = -1 if metric.better == "higher" else 1
    return [sign * (after - before) / scale for before, after in values]


def _pairwise(metric: Metric, base: Quality, new: Quality) -> str | None:
    """The change in the geometric mean of the pairs, which no few large values rule; in words.

    None for decibels, which are logarithms, and where there is no interval.
    """
    if metric.unit == "dB":
        return None
    both = [
        (pair, before, after)
        for pair, other in zip(base.pairs, new.pairs, strict=False)
        if isinstance(before := pair.get(metric.name), int | float)
        and isinstance(after := other.get(metric.name), int | float)
    ]
    found = paired_ratio(
        [after for _, _, after in both],
        [before for _, before, _ in both],
        [_name(pair, "content") for pair, _, _ in both],
        [_name(pair, "style") for pair, _, _ in both],
    )
    if not math.isfinite(found.low):
        return None
    value, low, high = (percent(end - 1) for end in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}] in the geometric mean of the pairs"


def _interval(losses: Sequence[float], loss: float) -> tuple[float | None, float | None]:
    """Of the mean loss over pairs (Student's t), if there are enough of them."""
    if len(losses) < _LEAST_PAIRS or not all(map(math.isfinite, losses)):
        return None, None
    mean = fmean(losses)
    half = float(stdtrit(len(losses) - 1, (1 + CONFIDENCE) / 2))
    half *= stdev(losses) / math.sqrt(len(losses))
    return min(mean - half, loss), max(mean + half, loss)


def _within_own_interval(name: str, base: Quality, new: Quality) -> bool:
    """Whether each side's value lies in the other's own interval, for metrics that have one."""
    ends = [
        (side.values.get(f"{name}_low"), side.values.get(f"{name}_high")) for side in (base, new)
    ]
    return all(
        low is not None and high is not None and low <= value <= high
        for (low, high), value in zip(ends, (new.values[name], base.values[name]), strict=True)
    )


def _images(quality: Quality) -> list[tuple[str, str]]:
    """Names of the images of each pair, without their folders."""
    return [(_name(pair, "content"), _name(pair, "style")) for pair in quality.pairs]


def _name(pair: Mapping[str, Any], role: str) -> str:
    return str(pair.get(role)).rpartition("/")[2]


def _unjudged(
    name: str,
    code: Code,
    reason: str,
    before: float | None,
    after: float | None,
    *,
    better: Literal["lower", "higher", "none"] = "lower",
) -> Finding:
    """Of values between which there is no change to state."""
    known = name in metric_names()
    return Finding(
        metric=name,
        family="quality",
        unit=_unit(name) if known else "",
        better=better,
        base=_finite(before),
        new=_finite(after),
        processes_base=int(before is not None),
        processes_new=int(after is not None),
        verdict=_WITHOUT_CHANGE.get(code, "not_comparable"),
        code=code,
        reason=reason,
    )


def _unit(name: str) -> str:
    try:
        return find_metric(name).unit
    except UserError:  # a plug-in that cannot be loaded
        return ""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

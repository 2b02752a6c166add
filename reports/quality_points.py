"""What quality a run measured, and what it cost: the points of the figures of quality."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.quality.catalogue import built_in
from bench.record import Record
from reports.quality_remarks import NAMES
from reports.results import Results, Series, common_size
from reports.spread import half_width
from reports.words import message

_ORDER = (
    *("style_loss", "content_loss", "lpips", "lpips_teacher", "psnr_teacher", "ssim", "ms_ssim"),
    *("style_loss_adain", "artfid_inception", "fid", "kid", "art_fd_vgg", "fd_vgg", "kd_vgg"),
)
METRICS = {
    name: f"{NAMES[name]} ({unit})" if (unit := built_in()[name].unit) else NAMES[name]
    for name in _ORDER
}
"""Metrics that a figure can show, the first that a run has."""


@dataclass(frozen=True)
class Point:
    """One model's quality, and its cost at the common size where it was measured there."""

    quality: Series
    record: Record
    cost: Record | None
    variant: int
    """Which of the run's settings, counted from 0."""


def trained_points(results: Results) -> list[Point]:
    """The quality series with trained weights and a measurement, each with its cost."""
    measured = [
        (one, one.ok[-1])
        for one in results.quality
        if one.ok and not one.random and _any(one.ok[-1])
    ]
    partners = {one.settings: one for one in reversed(results.performance)}
    found = [(one, record, partners.get(one.settings)) for one, record in measured]
    common = common_size([partner for _, _, partner in found if partner])
    variants = list(dict.fromkeys(one.variant for one, _, _ in found))
    return [
        Point(
            one,
            record,
            partner.at(common.size) if partner and common else None,
            variants.index(one.variant),
        )
        for one, record, partner in found
    ]


def no_quality(results: Results) -> str:
    """Why a run has no quality to show, in one sentence."""
    if not results.records:
        return "No quality: this run has no record."
    weights = {one.weights for one in (*results.performance, *results.quality)}
    if weights == {"random"}:
        return "No quality: all models of this run have random weights."
    if not results.quality:
        return "No quality: this run has no quality cell."
    reasons = dict.fromkeys(
        message(cell) if cell.reason else cell.status.replace("_", " ")
        for one in results.quality
        for cell in one.cells
        if cell.status != "ok"
    )
    if reasons:
        return f"No quality: no quality cell was measured ({'; '.join(list(reasons)[:3])})."
    return "No quality: no metric could be computed for any model."


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (cost, loss) that no other point beats in one without losing in the other, by cost."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def metric(record: Record, name: str) -> float | None:
    """A finite value of a metric; a PSNR of equal pictures is none that an axis can show."""
    value: float | None = getattr(record, name)
    return value if value is not None and math.isfinite(value) else None


def metric_interval(record: Record, name: str) -> tuple[float, float] | None:
    """The 95 % interval of a mean over image pairs; of one pair nothing is known."""
    values = [pair[name] for pair in record.per_pair or [] if pair.get(name) is not None]
    half, mean = half_width(values), metric(record, name)
    return None if half is None or mean is None else (mean - half, mean + half)


def metrics_overlap(name: str, one: Record, other: Record) -> bool:
    """Whether the intervals of two means over image pairs meet; False where one is not known."""
    ours, theirs = metric_interval(one, name), metric_interval(other, name)
    if ours is None or theirs is None:
        return False
    return ours[0] <= theirs[1] and theirs[0] <= ours[1]


def higher_is_better(name: str) -> bool:
    """Whether more of a built-in metric is better."""
    return built_in()[name].better == "higher"


def _any(record: Record) -> bool:
    return any(metric(record, name) is not None for name in METRICS)


def chosen(series: Sequence[Series], most: int) -> list[Series]:
    """The series if they are at most so many; else the first setting of each of the first models"""
    if len(series) <= most:
        return list(series)
    first: dict[str, Series] = {}
    for one in series:
        first.setdefault(one.model, one)
    return list(first.values())[:most]

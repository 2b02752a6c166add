"""Losses of one record over those of another, pair by pair."""

import math
from collections.abc import Mapping
from typing import Any

from bench.record import Record
from distill.evaluation.ratios import PairedRatio, paired_ratio
from reports.text import image_name

Pairs = dict[tuple[str, str], Mapping[str, Any]]


def loss_ratio(ours: Record, theirs: Record, key: str) -> PairedRatio | None:
    """Return the geometric mean of a loss over another record's; None where no pair has both.

    Pairs are those of the same pictures; records of other sizes or of another reference network do
    not compare.
    """
    if _kind(ours) != _kind(theirs):
        return None
    values, others = pair_values(ours), pair_values(theirs)
    shared = [p for p in values if _known(values[p], key) and _known(others.get(p, {}), key)]
    ratio = paired_ratio(
        [float(values[p][key]) for p in shared],
        [float(others[p][key]) for p in shared],
        [content for content, _ in shared],
        [style for _, style in shared],
    )
    return ratio if ratio.pairs else None


def pair_values(record: Record) -> Pairs:
    """Return what a record has of each image pair, by the names of the two files."""
    return {
        (image_name(str(e.get("content"))), image_name(str(e.get("style")))): e
        for e in record.per_pair or []
    }


def _kind(record: Record) -> tuple[object, ...]:
    """What must agree for losses of one pair to compare."""
    sizes = (record.width, record.height, record.style_width, record.style_height)
    return (record.quality_network, *sizes)


def _known(pair: Mapping[str, Any], key: str) -> bool:
    value = pair.get(key)
    return isinstance(value, int | float) and math.isfinite(value)

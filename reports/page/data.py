"""The records of a run as the page's script reads them: every field that is not null, once."""

import math
from collections.abc import Sequence
from statistics import quantiles
from typing import Any

from bench.run.records import record_name, words_for_non_finite
from reports.results import RunRecord, ending

GROUPS = {
    "kind": "What was measured",
    "weights": "The model",
    "status": "How it ended",
    "latency_ms": "Latency",
    "peak_allocated_mb": "Memory",
    "quality_network": "Quality",
}
"""The first field of each group of fields, in the order of a record, and the group's name."""
_FOUND = ("How it ended", "Latency", "Memory", "Quality")
"""Groups that come first: what was found, before what it was found of."""
_UNITS = {"_ms": "ms", "_mb": "MB", "_mp_s": "MP/s", "_s": "s", "_wh": "Wh", "_j": "J", "_w": "W"}
_UNIT_OF = {
    "megapixels": "MP",
    "gmacs": "GMAC",
    "gflops": "GFLOP",
    "alpha": "",
    "psnr_teacher": "dB",
    **dict.fromkeys(("width", "height", "style_width", "style_height"), "px"),
}
_SAMPLES = ("latency_samples_ms", "device_samples_ms")
_LEFT_OUT = frozenset(
    {"schema_version", "latency_outliers", "per_pair", "largest_searched", *_SAMPLES}
)
_DIGITS = 6


def record_data(records: Sequence[RunRecord], files: frozenset[str]) -> dict[str, Any]:
    """Columns of all records, numbers to six digits, samples as their quartiles.

    A column is ``{"same": value}``, ``{"of": [values], "at": [place in them of each record]}`` or
    ``{"each": [value of each record]}``, whichever is short.

    Args:
        records: in the run's order.
        files: names of the record files that lie in ``cells`` beside the page.
    """
    rows = [_fields(record) for record in records]
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)] if rows else []
    named = [record_name(record.id, record.repeat) for record in records]
    return {
        "count": len(records),
        "groups": _groups(names),
        "units": {name: unit for name in names if (unit := field_unit(name))},
        "columns": {name: _column([row[name] for row in rows]) for name in names},
        "files": _column([name if name in files else None for name in named]),
    }


def field_unit(name: str) -> str:
    """Unit of a record's field, by its name; empty where there is none."""
    if name in _UNIT_OF:
        return _UNIT_OF[name]
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")


def five_numbers(samples: Sequence[float]) -> list[float]:
    """Least, lower quartile, median, upper quartile and largest (linear between samples)."""
    if len(samples) == 1:
        return [rounded(samples[0])] * 5
    inner = quantiles(samples, n=4, method="inclusive")
    return [rounded(value) for value in (min(samples), *inner, max(samples))]


def rounded(value: float) -> Any:
    """To six significant digits; what is not finite as a word, as JSON has no number for it."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else words_for_non_finite(value)


def pair_metrics(entry: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a pair, by name."""
    return {
        str(name): rounded(float(value))
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _fields(record: RunRecord) -> dict[str, Any]:
    found = {
        name: _plain(value) for name, value in record.model_dump().items() if name not in _LEFT_OUT
    }
    for name in _SAMPLES:
        samples = [value for value in getattr(record, name) or [] if math.isfinite(value)]
        found[name] = {"count": len(samples), "five": five_numbers(samples)} if samples else None
    found["ending"] = ending(record)
    found["latency_outliers"] = len(record.latency_outliers or []) or None
    found["per_pair"] = _pairs_summary(record.per_pair or [])
    return found


def _pairs_summary(pairs: Sequence[dict[str, Any]]) -> dict[str, list[Any]] | None:
    """Least, median and largest of each metric over the pairs, and how many pairs have it."""
    values: dict[str, list[float]] = {}
    for entry in pairs:
        for name, value in entry.items():
            if isinstance(value, int | float) and math.isfinite(value):
                values.setdefault(str(name), []).append(float(value))
    summary: dict[str, list[Any]] = {}
    for name, known in values.items():
        five = five_numbers(known)
        summary[name] = [len(known), five[0], five[2], five[4]]
    return summary or None


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()} or None
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or None
    return None if value == "" else value


def _groups(names: Sequence[str]) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = [{"title": "The record", "fields": []}]
    for name in sorted(RunRecord.model_fields, key=lambda name: name != "run"):
        if name in GROUPS:
            groups.append({"title": GROUPS[name], "fields": []})
        if name in names:
            groups[-1]["fields"].append(name)
    known = [group for group in groups if group["fields"]]
    return sorted(known, key=lambda group: group["title"] not in _FOUND)


def _column(values: Sequence[Any]) -> dict[str, Any]:
    keys = [repr(value) for value in values]
    distinct = dict(zip(keys, values, strict=True))
    if len(distinct) == 1:
        return {"same": values[0]}
    if len(distinct) * 2 > len(values):
        return {"each": list(values)}
    places = {key: place for place, key in enumerate(distinct)}
    return {"of": list(distinct.values()), "at": [places[key] for key in keys]}

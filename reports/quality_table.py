"""The quality table: what each model's pictures lose, with what is known of the uncertainty."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from scipy.special import stdtrit

from bench.errors import UserError
from bench.quality.catalogue import built_in, find_metric
from bench.quality.metric import Better
from bench.record import Record
from reports.identity import identity_columns, settings_words
from reports.results import STATUS_WORDS, Results
from reports.table import Column, Mark, Row, Table
from reports.text import image_name, listing, plus_minus, uncertain
from reports.words import message

NAMES = {
    "content_loss": "Content loss",
    "style_loss": "Style loss",
    "style_loss_adain": "Style loss (AdaIN)",
    "lpips": "LPIPS",
    "lpips_teacher": "LPIPS to teacher",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "psnr_teacher": "PSNR to teacher",
    "fid": "FID",
    "kid": "KID",
    "isc": "Inception score",
    "precision_inception": "Precision",
    "recall_inception": "Recall",
    "artfid_inception": "ArtFID (Inception)",
    "fd_vgg": "Fréchet distance (VGG)",
    "kd_vgg": "Kernel distance (VGG)",
    "precision_vgg": "Precision (VGG)",
    "recall_vgg": "Recall (VGG)",
    "art_fd_vgg": "ArtFD (VGG)",
}
"""Metrics as papers write them; others as they are."""
_ARROWS: dict[Better, str] = {"lower": " ↓", "higher": " ↑", "none": ""}
OTHER = "quality_other."
"""What the columns of plug-ins' metrics begin with."""


def quality_table(results: Results) -> Table:
    """One row a quality record: each metric, and why one is missing.

    Metrics of an image come with the half of the 95 % interval of their mean over the pairs
    (``_half``) and their standard deviation between pairs (``_sd``), metrics of a set with their
    own interval where they have one.
    """
    records = [record for record in results.records if record.kind == "quality"]
    others = sorted({name for record in records for name in record.quality_other or {}})
    columns = (
        *identity_columns(records),
        Column("width", "Size (px)", lambda row: f"{row['width']}x{row['height']}"),
        Column("height"),
        Column("weights", "Weights", paper=False),
        Column("status", "Status", _status, mark=_failed),
        Column("quality_network", "Reference network", paper=False),
        Column("quality_teacher", "Teacher", paper=False),
        Column("quality_pairs", "Pairs"),
        *(column for name in built_in() for column in _metric_columns(name)),
        *(column for name in others for column in _other_columns(name)),
        Column("reason_code"),
        Column("remark", "Remark", kind="text", paper=False),
        Column("id"),
    )
    rows = tuple(_row(record, columns, results) for record in records)
    return Table(
        "quality",
        "Quality",
        _note(records, rows),
        columns,
        rows,
        "No quality cell is in this run.",
        group=lambda row: row["comparable"],
        block=lambda row: (row["method"], row["family"]),
    )


def half_width(values: Sequence[float]) -> float | None:
    """Half of the 95 % interval of a mean, by Student's t; None for fewer than two finite values.

    The values are taken as independent. Pairs that share a content or a style are not quite, so it
    is a lower bound.
    """
    spread = deviation(values)
    if spread is None:
        return None
    return float(stdtrit(len(values) - 1, 0.975)) * spread / math.sqrt(len(values))


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation (n - 1); None for fewer than two finite values."""
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def quality_remark(record: Record) -> str | None:
    """Why a quality record lacks what it lacks; None when nothing is missing."""
    parts = [] if record.status == "ok" else [message(record)]
    parts += [
        f"no {metric}: {reason}" for metric, reason in sorted((record.metrics_absent or {}).items())
    ]
    return "; ".join(parts) or None


def direction(name: str) -> Better:
    """Which way a metric is better; ``none`` for one of a plug-in that is not installed."""
    try:
        return find_metric(name).better
    except UserError:
        return "none"


def comparable(record: Record) -> tuple[Any, ...]:
    """What must be equal for the quality of two records to compare.

    Not the teacher: what is measured against it is how far a model is from its own.
    """
    pairs = {
        tuple(image_name(str(pair.get(key))) for key in ("content", "style"))
        for pair in record.per_pair or []
    }
    return (
        record.quality_network,
        *(record.width, record.height, record.style_width, record.style_height),
        tuple(sorted(pairs)),
    )


def _metric_columns(name: str) -> Iterable[Column]:
    metric = built_in()[name]
    always = name in ("content_loss", "style_loss")
    yield _value_column(name, name, metric.unit, always)
    if metric.per == "image":
        yield from (Column(f"{name}{end}", kind="number") for end in ("_half", "_sd"))
    parts = [
        field
        for field in Record.model_fields
        if field.startswith(f"{name}_") and field not in built_in()
    ]
    for field in parts:
        if name == "style_loss" and field.startswith("style_loss_adain"):
            continue
        yield Column(field)


def _other_columns(name: str) -> Iterable[Column]:
    try:
        unit = find_metric(name).unit
    except UserError:
        unit = ""
    yield _value_column(f"{OTHER}{name}", name, unit, False)
    yield from (Column(f"{OTHER}{name}{end}", kind="number") for end in ("_half", "_sd"))


def _value_column(key: str, name: str, unit: str, always: bool) -> Column:
    better = direction(name)

    def text(row: Row) -> str:
        value: float = row[key]
        if row.get(f"{key}_low") is not None:
            return uncertain(value, row[f"{key}_low"], row[f"{key}_high"])
        return plus_minus(value, row.get(f"{key}_half"))

    return Column(
        key,
        f"{NAMES.get(name, name)}{f' ({unit})' if unit else ''}{_ARROWS[better]}",
        text,
        always=always,
        better=better,
        kind="number",
    )


def _row(record: Record, columns: Sequence[Column], results: Results) -> dict[str, Any]:
    row = {column.key: getattr(record, column.key, None) for column in columns}
    row |= {f"{OTHER}{name}": value for name, value in (record.quality_other or {}).items()}
    images = {name: name for name, metric in built_in().items() if metric.per == "image"}
    images |= {f"{OTHER}{name}": name for name in record.quality_other or {}}
    for key, name in images.items():
        values = [pair[name] for pair in record.per_pair or [] if pair.get(name) is not None]
        if row[key] is not None and all(isinstance(value, int | float) for value in values):
            row[f"{key}_half"], row[f"{key}_sd"] = half_width(values), deviation(values)
    return {
        **row,
        "method": record.method,
        "family": record.family,
        "short": results.models[record.model],
        "remark": quality_remark(record),
        "comparable": comparable(record),
    }


def _status(row: Row) -> str:
    return STATUS_WORDS[row["status"]]


def _failed(row: Row) -> Mark | None:
    return None if row["status"] == "ok" else Mark.FAILED


def _note(records: Sequence[Record], rows: Sequence[Row]) -> str:
    measured = [record for record in records if record.status == "ok"]
    parts = ["Means over the pairs; ↓ lower is better, ↑ higher is better."]
    if any(value is not None for row in rows for key, value in row.items() if key[-5:] == "_half"):
        parts.append(
            "± is half of the 95 % interval of the mean over the pairs (Student's t, pairs taken "
            "as independent); of metrics of a set, their own 95 % interval."
        )
    networks = sorted({record.quality_network for record in measured if record.quality_network})
    if networks:
        parts.append(f"Losses on {listing(networks)}.")
    if len({comparable(record) for record in measured}) > 1:
        parts.append(
            "Rows differ in size, reference network or image pairs: only rows that agree in these "
            "compare, and the best is marked among those."
        )
    absent = sorted({name for record in measured for name in record.metrics_absent or {}})
    if absent:
        parts.append(f"Not computed: {listing(absent)} (the column remark says why).")
    parts.append(settings_words(records))
    return " ".join(part for part in parts if part)

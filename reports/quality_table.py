"""The quality table: what each model's pictures lose, with what is known of the uncertainty."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench.errors import UserError
from bench.quality.catalogue import built_in, find_metric
from bench.quality.metric import Better
from bench.record import Record
from reports.identity import identity_columns, settings_words
from reports.preferences import PROXY, Shares
from reports.quality_remarks import (
    NAMES,
    absent_everywhere,
    is_biased,
    metric_names,
    quality_remarks,
)
from reports.results import ENDING_WORDS, Results, RunRecord, ending_of
from reports.spread import deviation, half_width
from reports.table import Column, Mark, Row, Table
from reports.text import count, image_name, listing, plus_minus, uncertain
from reports.words import message

_ARROWS: dict[Better, str] = {"lower": " ↓", "higher": " ↑", "none": ""}
OTHER = "quality_other."
"""What the columns of plug-ins' metrics begin with."""


PREFERRED = f"{PROXY}preferred_percent"


def quality_table(results: Results, preferred: Shares | None = None) -> Table:
    """One row a quality record: each metric, and beneath, what limits it and why one is missing.

    Metrics of an image come with the half of the 95 % interval of their mean over the pairs
    (``_half``) and their standard deviation between pairs (``_sd``), metrics of a set with their
    own interval where they have one. No Fréchet distance that a small set biases is a best one.

    Args:
        results: the run.
        preferred: what the proxy of a user study gives each record.
    """
    records = [record for record in results.records if record.kind == "quality"]
    others = sorted({name for record in records for name in record.quality_other or {}})
    columns = (
        *identity_columns(records),
        Column(
            "width",
            "Size (px)" if len(_sizes(records)) > 1 else None,
            lambda row: f"{row['width']}x{row['height']}",
        ),
        Column("height"),
        Column("weights", _where_varied(records, "weights", "Weights"), paper=False),
        Column("status", _where_varied(records, "status", "Status"), _status, mark=_failed),
        Column(
            "quality_network",
            _where_varied(records, "quality_network", "Reference network"),
            paper=False,
        ),
        Column("quality_teacher", "Teacher", paper=False),
        Column("quality_pairs", _where_varied(records, "quality_pairs", "Pairs")),
        *(column for name in built_in() for column in _metric_columns(name)),
        *(column for name in others for column in _other_columns(name)),
        Column(PREFERRED, "Preferred (proxy, %) ↑", _share, better="higher", kind="number"),
        *(Column(f"{PREFERRED}{end}", kind="number") for end in ("_low", "_high")),
        Column("reason_code"),
        Column("remark", kind="text"),
        Column("id"),
    )
    rows = tuple(_row(record, columns, results, preferred or {}) for record in records)
    return Table(
        "quality",
        "Quality",
        _note(records, rows),
        columns,
        rows,
        "No quality cell is in this run.",
        group=lambda row: row["comparable"],
        block=lambda row: (row["method"], row["family"]),
        remarks=quality_remarks(records, results.models),
    )


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
        mark=lambda row: Mark.BIASED if key in row["biased"] else None,
        kind="number",
        competes=lambda row: key not in row["biased"],
    )


def _row(
    record: RunRecord, columns: Sequence[Column], results: Results, preferred: Shares
) -> dict[str, Any]:
    row = {column.key: getattr(record, column.key, None) for column in columns}
    row |= {f"{OTHER}{name}": value for name, value in (record.quality_other or {}).items()}
    images = {name: name for name, metric in built_in().items() if metric.per == "image"}
    images |= {f"{OTHER}{name}": name for name in record.quality_other or {}}
    for key, name in images.items():
        values = [pair[name] for pair in record.per_pair or [] if pair.get(name) is not None]
        if row[key] is not None and all(isinstance(value, int | float) for value in values):
            row[f"{key}_half"], row[f"{key}_sd"] = half_width(values), deviation(values)
    if share := preferred.get((record.run, record.id)):
        row |= dict(zip((PREFERRED, f"{PREFERRED}_low", f"{PREFERRED}_high"), share, strict=True))
    return {
        **row,
        "biased": {name for name in built_in() if is_biased(name, record.quality_notes)},
        "method": record.method,
        "family": record.family,
        "short": results.models[record.model],
        "remark": quality_remark(record),
        "comparable": comparable(record),
    }


def _share(row: Row) -> str:
    value, low, high = (row[f"{PREFERRED}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _where_varied(records: Sequence[Record], key: str, heading: str) -> str | None:
    """A heading for a column that does not say the same in every row."""
    found = {value for record in records if (value := getattr(record, key)) is not None}
    return heading if len(found) > 1 else None


def _sizes(records: Sequence[Record]) -> list[str]:
    return sorted({f"{record.width}x{record.height}" for record in records})


def _status(row: Row) -> str:
    return ENDING_WORDS[ending_of(row["status"], row["reason_code"])]


def _failed(row: Row) -> Mark | None:
    return None if row["status"] == "ok" else Mark.FAILED


def _note(records: Sequence[Record], rows: Sequence[Row]) -> str:
    measured = [record for record in records if record.status == "ok"]
    sizes, pairs = _sizes(measured), {record.quality_pairs for record in measured}
    over = f"{count(pairs.pop() or 0, 'pair')}" if len(pairs) == 1 else "the pairs"
    at = f" at {sizes[0]} px" if len(sizes) == 1 else ""
    parts = [f"Means over {over}{at}; ↓ lower is better, ↑ higher is better."]
    if any(value is not None for row in rows for key, value in row.items() if key[-5:] == "_half"):
        parts.append(
            "± is half of the 95 % interval of the mean over the pairs (Student's t, pairs taken "
            "as independent); of metrics of a set, their own 95 % interval."
        )
    networks = sorted({record.quality_network for record in measured if record.quality_network})
    if networks:
        parts.append(f"Losses on features of {listing(networks)}.")
    if len({comparable(record) for record in measured}) > 1:
        parts.append(
            "Rows differ in size, reference network or image pairs: only rows that agree in these "
            "compare, and the best is marked among those."
        )
    if any(row.get(PREFERRED) is not None for row in rows):
        parts.append(
            "Preferred: share of its comparisons that a method wins before simulated raters "
            "[95 % interval by bootstrap]; nobody was asked."
        )
    if absent := absent_everywhere(measured):
        parts.append(f"Not computed: {metric_names(absent)}.")
    parts.append(settings_words(records))
    return " ".join(part for part in parts if part)

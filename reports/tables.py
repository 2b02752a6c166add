"""The tables of a report."""

from reports.identity import identity_columns
from reports.model_table import model_table
from reports.preferences import Shares
from reports.quality_table import quality_table
from reports.results import ENDING_WORDS, Results, ending_of
from reports.runs_table import runs_table
from reports.sweep_table import pairs_table, records_table, sweep_table
from reports.table import Column, Table
from reports.words import message


def all_tables(results: Results, preferred: Shares | None = None) -> list[Table]:
    """Models, quality, the sweep, what failed; where there are several runs, these against each
    other; and in long form every record and every image pair.

    Args:
        results: the run.
        preferred: what the proxy of a user study gives each record.
    """
    return [
        *([runs_table(results)] if results.runs else []),
        model_table(results),
        quality_table(results, preferred),
        sweep_table(results),
        failures_table(results),
        records_table(results),
        pairs_table(results),
    ]


def failures_table(results: Results) -> Table:
    """One row a record that is not ok, with what was asked for, what was free and the message."""
    names = results.models
    records = [record for record in results.records if record.status != "ok"]
    columns = (
        *identity_columns(records),
        Column("kind", "Kind"),
        Column("repeat"),
        Column("width", "Size (px)", lambda row: f"{row['width']}x{row['height']}"),
        Column("height"),
        Column("megapixels", "Size (MP)", paper=False),
        Column("weights"),
        Column(
            "status",
            "Status",
            lambda row: ENDING_WORDS[ending_of(row["status"], row["reason_code"])],
        ),
        Column("reason_code", "Reason", paper=False),
        Column("requested_mb", "Asked for (MB)"),
        Column("free_mb", "Free (MB)"),
        Column("signal", "Signal"),
        Column("estimate_s", "Estimate (s)"),
        Column("duration_s", "Ran for (s)"),
        Column("message", "Message", kind="text"),
        Column("id"),
    )
    rows = []
    for record in records:
        row = {column.key: getattr(record, column.key, None) for column in columns}
        extra = {"run": record.run, "short": names[record.model], "message": message(record)}
        rows.append({**row, **extra})
    return Table(
        "failures",
        "Cells without a measurement",
        "An estimate is the predicted time of one pass, extrapolated and not measured.",
        columns,
        tuple(rows),
        "Every cell of this run was measured." if results.records else "No record is in this run.",
    )

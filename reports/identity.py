"""The columns that say which model under which settings a row is of."""

from collections.abc import Sequence

from bench.record import Record
from reports.table import Column, Mark, Row


def identity_columns(records: Sequence[Record]) -> tuple[Column, ...]:
    """What tells records apart; people see, of the settings, only those that vary."""

    def heading(key: str, text: str) -> str | None:
        return text if len({getattr(record, key, "") for record in records}) > 1 else None

    def random(row: Row) -> Mark | None:
        return Mark.RANDOM if row.get("weights") == "random" else None

    settings = (
        ("execution", "Execution"),
        ("precision", "Precision"),
        ("device", "Device"),
        ("alpha", "Alpha"),
        ("seed", "Seed"),
        ("threads", "Threads"),
        ("style_width", "Style width (px)"),
        ("style_height", "Style height (px)"),
        ("memory_cap_mb", "Cap (MB)"),
    )
    return (
        *((Column("run", "Run"),) if heading("run", "Run") else ()),
        Column("model", "Model", lambda row: str(row["short"]), mark=random),
        *(Column(key, heading(key, text)) for key, text in settings),
    )


def settings_words(records: Sequence[Record]) -> str:
    """The settings that :func:`identity_columns` does not show since all records share them."""
    found: list[str] = []
    for key in ("execution", "precision", "device"):
        values = {str(getattr(record, key)) for record in records}
        found += values if len(values) == 1 else []
    return f"All rows: {', '.join(found)}." if found else ""

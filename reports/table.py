"""A table of a report: once as CSV (full names, plain numbers) and once as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.record import Record
from reports.text import DASH, markdown, number

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column: its name in the CSV and, where it is in the Markdown table, its heading there."""

    key: str
    heading: str | None = None
    text: Callable[[Row], str] | None = None
    """The cell in Markdown, unescaped; by default the value, numbers to three digits."""
    always: bool = False
    """Whether it stays in the Markdown table when no row has a value."""


@dataclass(frozen=True)
class Table:
    """A table, ready to be written."""

    name: str
    title: str
    note: str
    """What the columns mean, in a sentence or two of Markdown; may be empty."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    if_empty: str

    def csv(self) -> str:
        """Comma-separated values: one header row, numbers to six digits, nothing for a null."""
        keys = [column.key for column in self.columns]
        plain = [[_csv_value(row.get(key)) for key in keys] for row in self.rows]
        text: str = pd.DataFrame(plain, columns=keys, dtype=object).to_csv(
            index=False, lineterminator="\n"
        )
        return text

    def markdown(self) -> str:
        """A pipe table; the sentence ``if_empty`` without rows."""
        if not self.rows:
            return f"{self.if_empty}\n"
        shown = [
            column
            for column in self.columns
            if column.heading
            and (column.always or any(row.get(column.key) is not None for row in self.rows))
        ]
        cells = [[markdown(_shown(column, row)) for column in shown] for row in self.rows]
        frame = pd.DataFrame(cells, columns=[markdown(str(c.heading)) for c in shown])
        right = [
            all(isinstance(row.get(c.key), int | float | None) for row in self.rows) for c in shown
        ]
        text = frame.to_markdown(
            index=False, disable_numparse=True, colalign=["right" if r else "left" for r in right]
        )
        return f"{text}\n"


def identity_columns(records: Sequence[Record]) -> tuple[Column, ...]:
    """What tells records apart; in Markdown, of the settings, only those that vary."""

    def heading(key: str, text: str) -> str | None:
        return text if len({getattr(record, key) for record in records}) > 1 else None

    return (
        Column("model", "Model", lambda row: row["short"]),
        Column("execution", "Execution"),
        Column("precision", "Precision"),
        *(
            Column(key, heading(key, text))
            for key, text in (
                ("device", "Device"),
                ("alpha", "Alpha"),
                ("seed", "Seed"),
                ("threads", "Threads"),
                ("style_width", "Style width (px)"),
                ("style_height", "Style height (px)"),
            )
        ),
    )


def _shown(column: Column, row: Row) -> str:
    value = row.get(column.key)
    if value is None:
        return DASH
    if column.text:
        return column.text(row)
    if isinstance(value, int):
        return str(value)
    return number(value) if isinstance(value, float) else str(value)


def _csv_value(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value

"""A table of a report: its rows as numbers, and what of them is shown and how it is marked."""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pandas as pd

from bench.quality.metric import Better
from reports.text import DASH, markdown, number

Row = Mapping[str, Any]
Kind = Literal["number", "whole", "truth", "text"]
"""Type of a column in Parquet: float64, int64, boolean, text."""
Rank = Literal["best", "second"]


class Mark(Enum):
    """A footnote on a cell: its sign and its words."""

    RANDOM = (
        "†",
        "random weights: speed and memory are those of the network, pictures mean nothing",
    )
    PREDICTED = ("‡", "predicted from other cells, not measured")
    FAILED = ("§", "not measured, as the cell ended so")
    ELSEWHERE = ("*", "at the largest size at which both were measured, a smaller one")
    COLD = ("‖", "of a first pass, which is cold: there was no time for a warm one")
    DISTURBED = ("◊", "measured under disturbance, which may tell in the time")
    BIASED = ("¶", "mostly the bias of a small set: compare at equal sizes only, no best is marked")

    @property
    def sign(self) -> str:
        """One character, to stand behind the cell."""
        return str(self.value[0])

    @property
    def words(self) -> str:
        """What it means."""
        return str(self.value[1])


@dataclass(frozen=True)
class Column:
    """A column: its name in CSV and Parquet and, where people see it, its heading there."""

    key: str
    heading: str | None = None
    """With the unit; without a heading the column is in the CSV and in the Parquet file only."""
    text: Callable[[Row], str] | None = None
    """The cell for people, unescaped; by default the value, numbers to three digits."""
    always: bool = False
    """Whether people see it when no row has a value."""
    absent: Callable[[Row], str | None] | None = None
    """What stands for a value that is not there; a dash by default."""
    better: Better = "none"
    """Which way is better: the best and the second best value of a group are marked."""
    mark: Callable[[Row], Mark | Sequence[Mark] | None] | None = None
    """The footnotes on a cell."""
    kind: Kind | None = None
    """For Parquet; by default that of the record's field of this name, else that of the values."""
    paper: bool = True
    """Whether it is in the LaTeX table, which has no room for long texts."""
    competes: Callable[[Row], bool] = lambda row: True
    """Whether a row's value may be a best one."""


@dataclass(frozen=True)
class Remark:
    """A sentence beneath a table, in plain text."""

    text: str
    paper: bool = True
    """Whether a reader of the LaTeX table needs it."""


@dataclass(frozen=True)
class Shown:
    """A cell as people see it, unescaped."""

    text: str
    rank: Rank | None = None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table, ready to be written."""

    name: str
    title: str
    note: str
    """What the columns mean, in a sentence or two of plain text; may be empty."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    if_empty: str
    group: Callable[[Row], Hashable] = lambda row: None
    """Which rows compare with each other: best and second best are marked among those."""
    block: Callable[[Row], Hashable] = lambda row: None
    """Rows of equal value that follow each other belong together to the eye."""
    long: bool = False
    """For programs alone, in CSV and Parquet: too long or too wide to read."""
    remarks: tuple[Remark, ...] = ()
    """What is to be known of single columns and rows, to stand beneath the table."""

    def csv(self) -> str:
        """Comma-separated values: one header row, numbers to six digits, nothing for a null."""
        keys = [column.key for column in self.columns]
        plain = [[_csv_value(row.get(key)) for key in keys] for row in self.rows]
        text: str = pd.DataFrame(plain, columns=keys, dtype=object).to_csv(
            index=False, lineterminator="\n"
        )
        return text

    def markdown(self) -> str:
        """A pipe table, its footnotes and remarks; the sentence ``if_empty`` without rows."""
        if not self.rows:
            return f"{self.if_empty}\n"
        shown = self.shown_columns
        cells = self.cells(shown)
        frame = pd.DataFrame(
            [[_markdown_cell(cell) for cell in row] for row in cells],
            columns=[markdown(str(column.heading)) for column in shown],
        )
        text = frame.to_markdown(
            index=False,
            disable_numparse=True,
            colalign=["right" if self.numeric(c) else "left" for c in shown],
        )
        notes = [f"{markdown(mark.sign)} {mark.words}" for mark in footnotes(cells)]
        words = {"best": "**best**", "second": "<ins>second best</ins>"}
        notes += [word for rank, word in words.items() if rank in ranks(cells)]
        beneath = [f"{'; '.join(notes)}."] if notes else []
        if self.remarks:
            beneath.append("\n".join(f"- {markdown(remark.text)}" for remark in self.remarks))
        return "\n\n".join([text, *beneath]) + "\n"

    @property
    def shown_columns(self) -> tuple[Column, ...]:
        """The columns that people see."""
        return tuple(
            column
            for column in self.columns
            if column.heading
            and (
                column.always
                or any(
                    row.get(column.key) is not None or (column.absent and column.absent(row))
                    for row in self.rows
                )
            )
        )

    def numeric(self, column: Column) -> bool:
        """Whether a column has numbers only, which are set to the right."""
        return all(isinstance(row.get(column.key), int | float | None) for row in self.rows)

    def cells(self, columns: Sequence[Column]) -> list[list[Shown]]:
        """Of each row the cells of these columns as people see them."""
        ranked = [self._ranks(column) for column in columns]
        return [
            [
                Shown(
                    _text(column, row),
                    ranked[position][index],
                    _marks(column, row),
                )
                for position, column in enumerate(columns)
            ]
            for index, row in enumerate(self.rows)
        ]

    def _ranks(self, column: Column) -> list[Rank | None]:
        """Best and second best of each group by the numbers as they are shown, ties included.

        A group of one value, or of values that are all alike, has no best; of two values it has
        no second.
        """
        found: list[Rank | None] = [None] * len(self.rows)
        if column.better == "none":
            return found
        groups: dict[Hashable, dict[int, float]] = {}
        for index, row in enumerate(self.rows):
            value = row.get(column.key)
            if value is not None and value == value and column.competes(row):
                groups.setdefault(self.group(row), {})[index] = _as_shown(_text(column, row), value)
        for values in groups.values():
            order = sorted(set(values.values()), reverse=column.better == "higher")
            if len(order) < 2:
                continue
            for index, value in values.items():
                if value == order[0]:
                    found[index] = "best"
                elif value == order[1] and len(order) > 2:
                    found[index] = "second"
        return found


def footnotes(cells: Sequence[Sequence[Shown]]) -> list[Mark]:
    """The marks on these cells, each once, in their fixed order."""
    used = {mark for row in cells for cell in row for mark in cell.marks}
    return [mark for mark in Mark if mark in used]


def ranks(cells: Sequence[Sequence[Shown]]) -> set[Rank]:
    """Whether a best, and whether a second best, is marked in these cells."""
    return {cell.rank for row in cells for cell in row if cell.rank}


_NUMBER = re.compile(r"-?[\d,]*\.?\d+(?:e[+-]?\d+)?")


def _as_shown(text: str, value: float) -> float:
    """The number that a cell begins with: what a reader can tell from others.

    An uncertainty behind it may leave the number fewer digits than it has.
    """
    found = _NUMBER.search(text)
    return float(found[0].replace(",", "")) if found else value


def _text(column: Column, row: Row) -> str:
    value = row.get(column.key)
    if value is None:
        return (column.absent(row) if column.absent else None) or DASH
    if column.text:
        return column.text(row)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    return number(value) if isinstance(value, float) else str(value)


def _marks(column: Column, row: Row) -> tuple[Mark, ...]:
    found = column.mark(row) if column.mark else None
    if found is None:
        return ()
    return (found,) if isinstance(found, Mark) else tuple(found)


def _markdown_cell(cell: Shown) -> str:
    text = markdown(cell.text)
    if cell.rank:
        text = f"**{text}**" if cell.rank == "best" else f"<ins>{text}</ins>"
    signs = " ".join(markdown(mark.sign) for mark in cell.marks)
    return f"{text} {signs}" if signs else text


def _csv_value(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value

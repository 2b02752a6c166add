"""A report's table as rows and cells of a page, each with the records it comes from."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.page.links import Places, RecordIndex, Sources
from reports.results import ENDING_WORDS, ending_of
from reports.table import Column, Row, Shown, Table, footnotes, ranks
from reports.text import one_line

_FILTERS_TO = 12
"""A column with more different texts than this gets no choice of them."""
_LONG = 40
"""Characters from which a column is one of running text."""
_SETTINGS = frozenset(
    {"ratio", "repeat", "width", "style_width", "alpha", "seed", "threads", "memory_cap_mb"}
)
"""Columns of numbers that are settings, by which rows are chosen as by words."""
_STATUSES = {"status": "reason_code", "next_status": "next_reason_code"}
"""Columns of how a cell ended, and which of the row tells why."""
_UNIT = re.compile(r"(?P<name>.+?) \((?P<unit>[^()]+)\)(?: \[(?P<more>[^\]]+)\])?")


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    name: str
    unit: str
    """Empty where there is none."""
    kind: str
    """``number``, ``word`` or ``text`` (running text)."""
    choices: tuple[str, ...]
    """What its rows can be chosen by; empty where there are too many or just one."""


@dataclass(frozen=True)
class Cell:
    """What stands in a row under a head."""

    text: str
    value: str | None
    """What it is sorted by where it is a number; None for words and for what is missing."""
    rank: str | None
    """``best`` or ``second``, or None."""
    sign: str
    """Of its footnote; empty where there is none."""
    status: str | None
    """How the cell ended that it speaks of; None where it speaks of none."""
    records: str
    """Places of its records, apart by spaces; empty where they are the row's."""
    href: str


@dataclass(frozen=True)
class Line:
    """A row: its cells and its records."""

    cells: tuple[Cell, ...]
    records: str
    href: str
    opens_block: bool
    """Whether it does not belong to the row above it."""


@dataclass(frozen=True)
class Grid:
    """A table of the page."""

    name: str
    title: str
    note: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    footnotes: tuple[tuple[str, str], ...]
    """Sign and words."""
    ranks: frozenset[str]
    """Which of ``best`` and ``second`` are marked."""
    remarks: tuple[str, ...]
    if_empty: str


def grid(table: Table, index: RecordIndex, href: Callable[[Places], str]) -> Grid:
    """A table as the page shows it: the columns that people see, with what they are sorted by.

    Args:
        table: the table.
        index: the run's records.
        href: the address of these records where the page has no script.
    """
    columns = table.shown_columns
    shown = table.cells(columns)
    lines: list[Line] = []
    block: object = None
    for row, cells in zip(table.rows, shown, strict=True):
        sources = index.sources(row)
        previous, block = block, table.block(row)
        lines.append(
            Line(
                tuple(
                    _cell(column, row, cell, sources, href)
                    for column, cell in zip(columns, cells, strict=True)
                ),
                places_text(sources.row),
                href(sources.row),
                bool(lines) and block != previous,
            )
        )
    return Grid(
        table.name,
        one_line(table.title),
        table.note,
        tuple(
            _head(column, table, [row[place].text for row in shown])
            for place, column in enumerate(columns)
        ),
        tuple(lines),
        tuple((mark.sign, mark.words) for mark in footnotes(shown)),
        frozenset(ranks(shown)),
        tuple(remark.text for remark in table.remarks),
        table.if_empty,
    )


def places_text(places: Places) -> str:
    """Places of records, as an attribute of the page has them."""
    return " ".join(map(str, places))


def _head(column: Column, table: Table, texts: Sequence[str]) -> Head:
    heading = one_line(str(column.heading))
    parts = _UNIT.fullmatch(heading)
    name = parts["name"] if parts else heading
    unit = ", ".join(part for part in parts.group("unit", "more") if part) if parts else ""
    if column.key not in _STATUSES and table.numeric(column):
        kind = "number"
    else:
        kind = "text" if max(map(len, texts), default=0) > _LONG else "word"
    chosen_by = (kind == "word" or column.key in _SETTINGS) and column.key != "next_status"
    found = tuple(dict.fromkeys(map(one_line, texts))) if chosen_by else ()
    return Head(name, unit, kind, found if 1 < len(found) <= _FILTERS_TO else ())


def _cell(
    column: Column, row: Row, cell: Shown, sources: Sources, href: Callable[[Places], str]
) -> Cell:
    value = row.get(column.key)
    own = sources.cells.get(column.key, ())
    return Cell(
        one_line(cell.text),
        f"{value:.6g}" if isinstance(value, int | float) else None,
        cell.rank,
        "".join(mark.sign for mark in cell.marks),
        _ending(column, row),
        places_text(own),
        href(own) if own else "",
    )


def _ending(column: Column, row: Row) -> str | None:
    """How the cell ended that a column speaks of; None where it speaks of none."""
    status = row.get(column.key)
    if column.key not in _STATUSES or status is None:
        return None
    end = ending_of(str(status), row.get(_STATUSES[column.key]))
    return end if end in ENDING_WORDS else None

"""A comparison as text for a terminal or a log."""

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.compare.result import Comparison, Verdict
from bench.compare.text import VERDICT_WORDS, Row, facts, headline, in_words, method, rows

_STYLES: dict[Verdict, str] = {
    "regression": "bold red",
    "inconclusive": "yellow",
    "improvement": "green",
    "not_comparable": "magenta",
    "unchanged": "dim",
}


_WIDE = 140
"""Columns in which a finding has room on one line."""


def render(
    comparison: Comparison, *, everything: bool = False, width: int = _WIDE
) -> RenderableType:
    """Facts, a table of what is not unchanged (or of ``everything``), the verdict.

    ``width`` of the terminal, in columns: in a narrow one a finding stands below its cell.
    """
    shown = [row for row in rows(comparison) if everything or row.verdict != "unchanged"]
    table = _wide(shown) if width >= _WIDE else _narrow(shown)
    lines = [Text(f"{name + ':':<9}{_printable(text)}") for name, text in facts(comparison)]
    end = Text(
        f"{comparison.coverage.text}\n{headline(comparison)}", style=_STYLES[comparison.verdict]
    )
    middle: list[RenderableType] = [Text(), table, Text()] if shown else [Text()]
    return Group(*lines, *middle, Text(method(comparison), style="dim"), end)


def _wide(shown: Iterable[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("verdict", no_wrap=True)
    for name in ("cell", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("base", "new", "change"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("why", overflow="fold", ratio=1)
    for row in shown:
        texts = (row.cell, row.metric, row.base, row.new, row.change, row.reason)
        table.add_row(_verdict(row), *(Text(_printable(text)) for text in texts))
    return table


def _narrow(shown: Iterable[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("verdict", no_wrap=True)
    table.add_column("cell, and what was found", overflow="fold")
    for row in shown:
        table.add_row(_verdict(row), Text(_printable(row.cell)))
        table.add_row("", Text(_printable(in_words(row))))
    return table


def _verdict(row: Row) -> Text:
    return Text(VERDICT_WORDS[row.verdict], style=_STYLES[row.verdict])


def plain(comparison: Comparison, *, everything: bool = False) -> str:
    """The same without colours, for a file."""
    console = Console(width=160, markup=False, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(render(comparison, everything=everything, width=console.width))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)

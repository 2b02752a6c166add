"""A comparison as text for a terminal or a log."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.compare.result import Comparison, Verdict
from bench.compare.text import VERDICT_WORDS, facts, headline, method, rows

_STYLES: dict[Verdict, str] = {
    "regression": "bold red",
    "inconclusive": "yellow",
    "improvement": "green",
    "not_comparable": "magenta",
    "unchanged": "dim",
}


def render(comparison: Comparison, *, everything: bool = False) -> RenderableType:
    """Facts, a table of what is not unchanged (or of ``everything``), the verdict."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("verdict", no_wrap=True)
    for name in ("cell", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("base", "new", "change"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("why", overflow="fold", ratio=1)
    shown = [row for row in rows(comparison) if everything or row.verdict != "unchanged"]
    for row in shown:
        words = Text(VERDICT_WORDS[row.verdict], style=_STYLES[row.verdict])
        texts = (row.cell, row.metric, row.base, row.new, row.change, row.reason)
        table.add_row(words, *(Text(_printable(text)) for text in texts))
    lines = [Text(f"{name + ':':<9}{_printable(text)}") for name, text in facts(comparison)]
    end = Text(headline(comparison), style=_STYLES[comparison.verdict])
    middle: list[RenderableType] = [Text(), table, Text()] if shown else [Text()]
    return Group(*lines, *middle, Text(method(comparison), style="dim"), end)


def plain(comparison: Comparison, *, everything: bool = False) -> str:
    """The same without colours, for a file."""
    console = Console(width=160, markup=False, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(render(comparison, everything=everything))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)

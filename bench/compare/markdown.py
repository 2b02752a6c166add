"""A comparison as Markdown for a pull request: largest changes first, the rest folded."""

from collections.abc import Iterable, Sequence
from html import escape

from bench.compare.result import Comparison, Verdict
from bench.compare.text import VERDICT_WORDS, Row, facts, headline, method, rows

LONGEST = 60_000
"""Characters: GitHub takes comments of up to 65,536."""
_HEADINGS = ("cell", "metric", "base", "new", "change", "why")
_OPEN: tuple[Verdict, ...] = ("regression", "inconclusive", "improvement")
_CLOSED: tuple[Verdict, ...] = ("not_comparable", "unchanged")
_NO_BREAK = "\u00a0"
_WARNINGS = ("differs", "note")
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_[]|#~"})


def markdown(comparison: Comparison) -> str:
    """GitHub-flavoured Markdown of at most :data:`LONGEST` characters; it says what it leaves out.

    Regressions, what is inconclusive and improvements stand open; the rest is folded.
    """
    found = rows(comparison)
    lines = [f"### bench compare: {_inline(headline(comparison))}", ""]
    lines += [f"{_inline(comparison.coverage.text)}", ""]
    for name, text in facts(comparison):
        if name in _WARNINGS:
            lines += [f"> **{name}:** {_inline(text)}", ""]
    for verdict in _OPEN:
        some = [row for row in found if row.verdict == verdict]
        if some:
            lines += [f"**{VERDICT_WORDS[verdict].capitalize()}**", "", *_table(some), ""]
    for verdict in _CLOSED:
        some = [row for row in found if row.verdict == verdict]
        if some:
            title = f"{VERDICT_WORDS[verdict].capitalize()}: {len(some)}"
            lines += _folded(title, _table(some))
    details = [
        f"- {name}: {_inline(text)}" for name, text in facts(comparison) if name not in _WARNINGS
    ]
    end = _folded("How it was decided", [*details, "", method(comparison)])
    return _shortened(lines, end)


def _table(some: Sequence[Row]) -> list[str]:
    head = [f"| {' | '.join(_HEADINGS)} |", "| --- | --- | ---: | ---: | ---: | --- |"]
    return head + ["| " + " | ".join(_columns(row)) + " |" for row in some]


def _columns(row: Row) -> list[str]:
    values = [_inline(text).replace(" ", _NO_BREAK) for text in (row.base, row.new)]
    # An interval may stand on a line of its own, a number not without its unit.
    change = _inline(row.change).replace(" %", f"{_NO_BREAK}%")
    return [_inline(row.cell), _inline(row.metric), *values, change, _inline(row.reason)]


def _folded(title: str, content: Iterable[str]) -> list[str]:
    # Without the empty lines GitHub takes the inside for HTML.
    return [f"<details><summary>{escape(title)}</summary>", "", *content, "", "</details>", ""]


def _inline(text: str) -> str:
    """Text that means nothing to Markdown or HTML, on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return escape(line, quote=False).translate(_SPECIAL)


def _shortened(lines: Sequence[str], end: Sequence[str]) -> str:
    """The lines, less rows of the last tables where they are too long together."""
    kept: list[str] = []
    room = LONGEST - sum(len(line) + 1 for line in end) - 200
    left_out = 0
    for line in lines:
        is_row = line.startswith("| ") and not line.startswith(("| cell |", "| --- |"))
        if is_row and len(line) + 1 > room:
            left_out += 1
            continue
        room -= len(line) + 1
        kept.append(line)
    if left_out:
        kept += [f"{left_out} rows are left out here for length; the JSON has them.", ""]
    return "\n".join([*kept, *end]).rstrip() + "\n"

"""``report.md``: for a pull request. Short, the largest facts first, the detail folded."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.environment import environment_facts, scenario_text
from reports.proxy_study import HEADING as PROXY_HEADING
from reports.proxy_study import ProxyStudy
from reports.results import Results
from reports.summary import findings, overview
from reports.table import Table
from reports.text import count, markdown

_OPEN = frozenset({"Runs against each other", "Against ratio 1", "Cost", "Quality"})
"""Sections that are read at once; of these and of the caveats, the first sentences."""
_CAVEATS = "Read with care"
_SENTENCES = 4
_FOLDED = 30
"""Sentences of a folded section."""
_ROWS = 40
"""Rows of a table that the report holds; a longer one is linked. GitHub takes 65,536 characters."""
_SUFFIXES = {"csv": "CSV", "parquet": "Parquet", "latex": "LaTeX", "md": "Markdown"}
SUFFIXES = {"csv": "csv", "parquet": "parquet", "latex": "tex", "md": "md"}
"""Of a table's file, by format."""


@dataclass(frozen=True)
class Written:
    """What stands beside the report, to be linked."""

    formats: Sequence[str]
    captions: Mapping[str, str]
    """Of the figures that were written, by name."""


def report_text(
    results: Results,
    tables: Sequence[Table],
    environment: Mapping[str, Any],
    scenario: Mapping[str, Any],
    proxy: ProxyStudy | None,
    written: Written,
) -> str:
    """The report in Markdown; tables and figures are linked from ``tables/`` and ``figures/``."""
    own = {table.name for table in proxy.tables} if proxy else set()
    by_name = {table.name: table for table in tables}
    blocks = [f"# {markdown(str(scenario.get('name') or 'unnamed run'))}", overview(results)]
    blocks += [_bullets([*results.compared, *results.mixed])] if results.runs else []
    sections = findings(results)
    folded: list[tuple[str, list[str]]] = []
    for heading, sentences in sections:
        if heading in (*_OPEN, _CAVEATS):
            blocks += [f"## {heading}", _bullets(sentences[:_SENTENCES])]
            sentences = sentences[_SENTENCES:]
            heading = f"{heading}: {len(sentences)} more"
        if sentences:
            folded.append((heading, [_bullets(sentences)]))
    in_sight = [name for name in ("runs", "models", "quality") if name in by_name]
    for name in in_sight:
        table = by_name[name]
        blocks += [f"## {table.title}", *_table(table, written)] if table.rows else []
    for heading, content in folded:
        blocks += _details(heading, content)
    for table in tables:
        if table.name in in_sight or table.long or table.name in own:
            continue
        title = f"{table.title} ({count(len(table.rows), 'row')})" if table.rows else table.title
        blocks += _details(title, _table(table, written))
    if proxy:
        blocks += _details(PROXY_HEADING, _proxy(proxy, written))
    figures = [name for name in written.captions if name not in own]
    if figures:
        drawn = [block for name in figures for block in _figure(name, written)]
        blocks += _details("Figures", drawn)
    if long := [table for table in tables if table.long and table.rows]:
        lines = [f"{table.title} ({len(table.rows)}): {_links(table, written)}" for table in long]
        blocks += _details("In long form", [_bullets(lines)]) if _links(long[0], written) else []
    blocks += _details("Environment", [environment_text(environment, results.runs)])
    text = scenario_text(scenario)
    blocks += _details("Scenario", [_fenced(text) if text else "Not recorded."])
    return "\n\n".join(blocks) + "\n"


def environment_text(environment: Mapping[str, Any], runs: Sequence[str] = ()) -> str:
    """A Markdown table of every value, nested names joined by dots; a column for each run."""
    rows = [[fact.name, *fact.values] for fact in environment_facts(environment, runs)]
    heads = ["What", *(runs or ["Value"])]
    if not rows:
        return "Not recorded."
    frame = pd.DataFrame([[markdown(cell) for cell in row] for row in rows])
    text: str = frame.to_markdown(
        index=False, headers=[markdown(head) for head in heads], disable_numparse=True
    )
    return compact(text)


def _table(table: Table, written: Written) -> list[str]:
    links = _links(table, written)
    if len(table.rows) > _ROWS:
        return [f"{count(len(table.rows), 'row')}: {links}"]
    note = [markdown(table.note)] if table.note and table.rows else []
    return [compact(table.markdown().rstrip("\n")), *note, *([links] if links else [])]


def _proxy(proxy: ProxyStudy, written: Written) -> Iterator[str]:
    yield _bullets(proxy.sentences)
    for table in proxy.tables:
        if table.name in written.captions:
            yield from _figure(table.name, written)
        yield from _table(table, written)


def _figure(name: str, written: Written) -> Iterator[str]:
    caption = markdown(written.captions[name])
    yield f"![{caption}](figures/{name}.png)"
    yield f"*{caption}* ([PDF](figures/{name}.pdf), [SVG](figures/{name}.svg))"


def _links(table: Table, written: Written) -> str:
    kinds = [
        name
        for name in _SUFFIXES
        if name in written.formats and not (table.long and name in ("latex", "md"))
    ]
    return ", ".join(f"[{_SUFFIXES[k]}](tables/{table.name}.{SUFFIXES[k]})" for k in kinds)


def _bullets(sentences: Sequence[str]) -> str:
    lines = [f"- {sentence}" for sentence in sentences[:_FOLDED]]
    if len(sentences) > _FOLDED:
        lines.append(f"- and {len(sentences) - _FOLDED} more; the tables have them all.")
    return "\n".join(lines)


def _details(summary: str, blocks: Iterator[str] | Sequence[str]) -> list[str]:
    return [f"<details>\n<summary>{markdown(summary)}</summary>", *blocks, "</details>"]


def compact(table: str) -> str:
    """A pipe table without the spaces that align its source, which a report cannot afford."""
    return re.sub(r"-{3,}", "---", re.sub(r" {2,}", " ", table))


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}yaml\n{text.rstrip()}\n{fence}"

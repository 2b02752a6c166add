"""A gallery page for the documentation, made from a reference run: its figures, tables and a few
small pictures."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from urllib.parse import quote, unquote

from PIL import Image

from reports.comparable import Run
from reports.figures import CAPTIONS
from reports.gallery_pictures import SIDE, PictureRow, overview_picture, picture_rows
from reports.page.facts import key_facts
from reports.preference_figure import PROXY_NAME
from reports.proxy_study import proxy_study
from reports.reading import read_results
from reports.report import write_report
from reports.report_text import compact
from reports.results import Results
from reports.style import DPI
from reports.summary import findings, overview
from reports.tables import all_tables
from reports.text import markdown

FORMATS = ("md", "latex", "csv")
"""Of the run's report, which the page links to: what a repository keeps of a run."""
_PER_INCH = 120
"""Pixels of the page for an inch of a figure."""
_SENTENCES = 3
"""Of each section of the summary."""
_SECTIONS = frozenset({"Against ratio 1", "Cost", "Quality", "Read with care"})
_TABLES = ("models", "quality", PROXY_NAME)


def write_gallery(run: Run, page: Path) -> list[Path]:
    """Write the run's report (Markdown, LaTeX, CSV, figures) again, and a page that shows it.

    The report is without the figure of pictures, since a committed run has no pictures. Beside the
    page, in ``images/PAGE``, go small copies of those it has, and in ``images/report.png`` its
    figures of memory and latency side by side. A run that was committed without its pictures keeps
    the copies made from it before.

    Args:
        run: the reference run.
        page: the Markdown file to write.

    Returns:
        The files written. The same run gives the same bytes.
    """
    written = write_report(
        run.path,
        run.frame,
        run.environment,
        run.scenario,
        formats=FORMATS,
        unreadable=run.unreadable,
        pictures=False,
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    images = page.parent / "images"
    drawn = {path.stem: path for path in written if path.suffix == ".png"}
    results = replace(read_results(run.frame), unreadable=run.unreadable)
    rows, copies = picture_rows(results, run.path, images / page.stem)
    head = overview_picture([drawn[n] for n in ("memory", "latency") if n in drawn], images)
    text = "\n\n".join(_blocks(run, page, results, drawn, rows)) + "\n"
    page.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    return [*written, *copies, *([head] if head else []), page]


def _blocks(
    run: Run,
    page: Path,
    results: Results,
    drawn: Mapping[str, Path],
    rows: Sequence[PictureRow],
) -> Iterator[str]:
    folder = _way(page, run.path)
    yield f"# Gallery: {markdown(str(run.scenario.get('name') or 'unnamed run'))}"
    yield (
        f"<!-- Made by `bench report {_given(run.path)} --gallery {_given(page)}`; changes by hand "
        "are lost. -->"
    )
    yield overview(results)
    if not results.records:
        return
    facts = key_facts(results, run.environment)
    if facts:
        yield "; ".join(f"{markdown(name)}: {markdown(value)}" for name, value in facts) + "."
    yield (
        "The records of this run, its environment and all its tables are in "
        f"[`{unquote(folder)}`]({folder}); [its report]({folder}/report.md) says more."
    )
    yield "## In short"
    for heading, sentences in findings(results):
        if heading in _SECTIONS:
            yield f"### {heading}"
            yield "\n".join(f"- {sentence}" for sentence in sentences[:_SENTENCES])
    yield from _figures(page, drawn)
    if rows:
        yield "## Pictures"
        yield from _pictures(page, rows)
    yield from _tables(results, folder)


def _figures(page: Path, drawn: Mapping[str, Path]) -> Iterator[str]:
    captions = {**CAPTIONS, PROXY_NAME: "Preference between methods (proxy: nobody was asked)"}
    if drawn:
        yield "## Figures"
    for name, path in drawn.items():
        caption = captions.get(name, name)
        with Image.open(path) as image:
            # of Markdown alone a figure of one column would be as wide as the page
            width = round(image.width / DPI * _PER_INCH)
        yield f'<img src="{_way(page, path)}" width="{width}" alt="{escape(caption)}">'
        yield f"*{markdown(caption)}* ([PDF]({_way(page, path.with_suffix('.pdf'))}))"


def _pictures(page: Path, rows: Sequence[PictureRow]) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in rows for name in row.pictures))
    lines = [
        f"| {' | '.join(markdown(name) for name in names)} |",
        f"|{' :---: |' * len(names)}",
    ]
    for row in rows:
        cells = [
            f"![{markdown(f'{name}: {row.title}')}]({_way(page, row.pictures[name])})"
            if name in row.pictures
            else ""
            for name in names
        ]
        lines.append(f"| {' | '.join(cells)} |")
    yield "\n".join(lines)
    yield (f"Copies of {SIDE} px at most; what is measured is measured on the pictures themselves.")


def _tables(results: Results, folder: str) -> Iterator[str]:
    proxy = proxy_study(results)
    tables = all_tables(results, proxy.preferred if proxy else None)
    for table in [*tables, *(proxy.tables if proxy else [])]:
        if table.name not in _TABLES or not table.rows:
            continue
        if table.name == "quality" and not any(row["status"] == "ok" for row in table.rows):
            continue
        yield f"## {markdown(table.title)}"
        yield compact(table.markdown().rstrip("\n"))
        if table.note:
            yield markdown(table.note)
        yield f"[CSV]({folder}/tables/{table.name}.csv), [LaTeX]({folder}/tables/{table.name}.tex)"


def _way(page: Path, target: Path) -> str:
    """From the page to a file, as an address."""
    return quote(Path(os.path.relpath(target.resolve(), page.parent.resolve())).as_posix())


def _given(path: Path) -> str:
    """A path from the folder that the command is run in; of one outside it the name alone."""
    here, there = Path.cwd().resolve(), path.resolve()
    return there.relative_to(here).as_posix() if there.is_relative_to(here) else path.name

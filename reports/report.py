"""Writes what a run found into its folder: tables, figures, the page and report.md."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from reports.figures import CAPTIONS, write_figures
from reports.formats import FORMATS
from reports.latex import document, snippet
from reports.parquet import parquet
from reports.preference_figure import PROXY_NAME, write_preference_figure
from reports.proxy_study import proxy_study
from reports.reading import read_results
from reports.report_text import SUFFIXES, Written, report_text
from reports.runs import Overlay
from reports.style import FORMATS as SUFFIXES_OF_FIGURES
from reports.table import Table
from reports.tables import all_tables

_OPTIONAL = ("runs", PROXY_NAME)
"""Tables that a run may have no longer."""
_WITH_FIGURES = frozenset({"html", "md", "latex"})
"""Formats that show figures."""


def write_report(
    run_dir: Path,
    frame: pd.DataFrame,
    environment: Mapping[str, Any],
    scenario: Mapping[str, Any],
    *,
    formats: Collection[str] = FORMATS,
    overlay: Overlay | None = None,
    unreadable: int = 0,
    pictures: bool = True,
) -> list[Path]:
    """Tables, figures (PNG, PDF, SVG), ``report.html`` and ``report.md`` in ``run_dir``.

    The proxy of a user study is among them where two methods have losses of the same image pairs.

    Args:
        run_dir: the run's folder, or another one; pictures named in the records are found from it.
        frame: one row a record, columns as the fields of ``bench.record.Record``, and ``run``
            where there are several runs.
        environment: what the run was measured on; nested mappings are flattened. By label where
            there are several runs.
        scenario: the scenario as it was resolved; its ``name`` is the title.
        formats: which of ``reports.formats.FORMATS``.
        overlay: what is known of several runs laid over each other; None for one run.
        unreadable: how many records of one run could not be read.
        pictures: whether the figure of pictures is drawn.

    What an earlier report left of these, and the run has no longer, is removed; no other file is.

    Returns:
        The files written. The same input gives the same bytes, whatever the order of the rows.
    """
    results = read_results(frame, overlay.labels if overlay else ())
    results = replace(results, unreadable=overlay.unreadable if overlay else unreadable)
    if overlay:
        results = replace(results, compared=overlay.compared, mixed=overlay.mixed)
    proxy = proxy_study(results)
    preferred = proxy.preferred if proxy else None
    tables = [*all_tables(results, preferred), *(proxy.tables if proxy else [])]
    written = write_tables(tables, run_dir, formats)
    captions: dict[str, str] = {}
    vectors: dict[str, Path] = {}
    if _WITH_FIGURES & set(formats):
        drawn = write_figures(results, run_dir, pictures=pictures)
        words: dict[str, str] = dict(CAPTIONS)
        if proxy and proxy.preferences:
            (run_dir / "figures").mkdir(exist_ok=True)
            drawn += write_preference_figure(proxy.preferences, run_dir / "figures")
            words |= {table.name: table.title for table in proxy.tables}
        written += drawn
        vectors = {path.stem: path for path in drawn if path.suffix == ".svg"}
        captions = {name: words.get(name, name) for name in vectors}
        if PROXY_NAME not in {path.stem for path in drawn}:
            for suffix in SUFFIXES_OF_FIGURES:
                (run_dir / "figures" / f"{PROXY_NAME}.{suffix}").unlink(missing_ok=True)
    if "html" in formats:
        from reports.page.write import write_page

        written += write_page(
            results=results,
            tables=tables,
            figures=vectors,
            captions=captions,
            environment=environment,
            scenario=scenario,
            proxy=proxy,
            run_dir=run_dir,
        )
    if "md" in formats:
        text = report_text(
            results, tables, environment, scenario, proxy, Written(tuple(formats), captions)
        )
        path = run_dir / "report.md"
        _write(path, text)
        written.append(path)
    return written


def write_tables(tables: Sequence[Table], run_dir: Path, formats: Collection[str]) -> list[Path]:
    """Each table in each format in ``run_dir/tables``; the files written.

    Those in long form come as CSV and Parquet only. With LaTeX comes ``all.tex``, a document that
    takes in all of them.
    """
    folder = run_dir / "tables"
    written: list[Path] = []
    wanted = [name for name in SUFFIXES if name in formats]
    if wanted:
        folder.mkdir(parents=True, exist_ok=True)
    gone = set(_OPTIONAL) - {table.name for table in tables}
    for path in (folder / f"{name}.{suffix}" for name in gone for suffix in SUFFIXES.values()):
        path.unlink(missing_ok=True)
    for table in tables:
        for name in wanted:
            if table.long and name in ("latex", "md"):
                continue
            path = folder / f"{table.name}.{SUFFIXES[name]}"
            if name == "parquet":
                path.write_bytes(parquet(table))
            else:
                make = {"csv": Table.csv, "md": Table.markdown, "latex": snippet}[name]
                _write(path, make(table))
            written.append(path)
    if "latex" in formats:
        path = folder / "all.tex"
        _write(path, document([table.name for table in tables if not table.long]))
        written.append(path)
    return written


def _write(path: Path, text: str) -> None:
    # a name that is no Unicode must not end a report
    path.write_text(text, encoding="utf-8", errors="replace", newline="\n")

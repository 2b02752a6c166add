"""Writes what a run found into its folder: tables, figures and report.md."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from reports.figures import CAPTIONS, write_figures
from reports.preference_figure import write_preference_figure
from reports.proxy_study import ProxyStudy, proxy_study
from reports.reading import read_results
from reports.results import Results
from reports.summary import findings, overview
from reports.table import Table
from reports.tables import all_tables
from reports.text import DASH, markdown


def write_report(
    run_dir: Path,
    frame: pd.DataFrame,
    environment: Mapping[str, Any],
    scenario: Mapping[str, Any],
) -> list[Path]:
    """Tables (CSV, Markdown), figures (PNG, PDF, SVG) and ``report.md`` in ``run_dir``.

    The proxy of a user study is among them where two methods have losses of the same image pairs.

    Args:
        run_dir: the run's folder; pictures named in the records lie in it.
        frame: one row a record, columns as the fields of ``bench.record.Record``.
        environment: what the run was measured on; nested mappings are flattened.
        scenario: the scenario as it was resolved; its ``name`` is the title.

    Returns:
        The files written. The same input gives the same bytes, whatever the order of the rows.
    """
    results = read_results(frame)
    tables = all_tables(results)
    proxy = proxy_study(results)
    written = write_tables([*tables, *(proxy.tables if proxy else [])], run_dir)
    written += write_figures(results, run_dir)
    if proxy and proxy.preferences:
        written += write_preference_figure(proxy.preferences, run_dir / "figures")
    path = run_dir / "report.md"
    _write(path, report_text(results, tables, environment, scenario, proxy))
    return [*written, path]


def write_tables(tables: list[Table], run_dir: Path) -> list[Path]:
    """Each table as CSV and as Markdown in ``run_dir/tables``; the files written."""
    folder = run_dir / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for suffix, text in (("csv", table.csv()), ("md", table.markdown())):
            path = folder / f"{table.name}.{suffix}"
            _write(path, text)
            written.append(path)
    return written


def report_text(
    results: Results,
    tables: list[Table],
    environment: Mapping[str, Any],
    scenario: Mapping[str, Any],
    proxy: ProxyStudy | None = None,
) -> str:
    """The report in Markdown; figures are linked from ``figures/``."""
    name = str(scenario.get("name") or "unnamed run")
    parts = [f"# {markdown(name)}", overview(results)]
    for heading, sentences in findings(results):
        parts += [f"## {heading}", "\n".join(f"- {sentence}" for sentence in sentences)]
    parts += proxy.markdown() if proxy else []
    parts.append("## Figures")
    for figure, caption in CAPTIONS.items():
        parts += [
            f"![{caption}](figures/{figure}.png)",
            f"*{caption}* ([PDF](figures/{figure}.pdf), [SVG](figures/{figure}.svg))",
        ]
    parts.append("## Tables")
    for table in tables:
        parts.append(f"### {table.title}")
        parts += [table.note] if table.note and table.rows else []
        parts += [table.markdown().rstrip("\n"), f"[CSV](tables/{table.name}.csv)"]
    parts += ["## Environment", environment_text(environment)]
    parts += ["## Scenario", _fenced(_yaml(scenario)) if scenario else "Not recorded."]
    return "\n\n".join(parts) + "\n"


def environment_text(environment: Mapping[str, Any]) -> str:
    """A two-column Markdown table of every value, nested names joined by dots."""
    rows = [(markdown(key), markdown(value)) for key, value in _flat(environment)]
    if not rows:
        return "Not recorded."
    text: str = pd.DataFrame(rows, columns=["What", "Value"]).to_markdown(
        index=False, disable_numparse=True
    )
    return text


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(str(one) for one in value) or DASH
        else:
            yield name, DASH if value is None else str(value)


def _yaml(scenario: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(dict(scenario), default=str))
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    return text


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}yaml\n{text.rstrip()}\n{fence}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")

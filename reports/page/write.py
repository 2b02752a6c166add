"""``report.html``: a run as one page that works from a file, offline, and asks nobody anything."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from bench.run.records import CELLS, record_name
from reports.environment import environment_facts, scenario_text
from reports.page.data import record_data
from reports.page.facts import key_facts
from reports.page.gallery import make_gallery
from reports.page.grid import Grid, grid, places_text
from reports.page.highlights import highlights
from reports.page.links import Places, RecordIndex
from reports.page.prose import prose, strong_names
from reports.page.tiles import remove_others
from reports.page.vectors import Vector, inline_svg
from reports.proxy_study import HEADING as PROXY_HEADING
from reports.proxy_study import ProxyStudy
from reports.results import ENDING_WORDS, Results, ending
from reports.summary import findings, overview
from reports.table import Table
from reports.text import one_line

PAGE = "report.html"
_SHOWN_SENTENCES = 6
"""Of a section of the summary; the others are folded away."""
_EARLY = ("theme.js",)
_SCRIPTS = ("parts.js", "records.js", "tables.js", "layers.js", "viewer.js", "compare.js")
_Shown = tuple[str, str, Vector, list[tuple[str, str]]]
"""Of a figure: name, caption, vector and links."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def write_page(
    *,
    results: Results,
    tables: Sequence[Table],
    figures: Mapping[str, Path],
    captions: Mapping[str, str],
    environment: Mapping[str, Any],
    scenario: Mapping[str, Any],
    proxy: ProxyStudy | None,
    run_dir: Path,
) -> list[Path]:
    """Write the page of a run, and beside it tiles of pictures that are too large to embed.

    Args:
        results: the run; pictures that its records name lie in ``run_dir``.
        tables: shown in this order; long ones, made for programs, are left out.
        figures: SVG files by name, shown in this order; the same figure in other formats beside
            them is linked.
        captions: of figures, by name.
        environment: what the run was measured on; may be nested. By label where there are several
            runs.
        scenario: as it was resolved; its ``name`` is the title.
        proxy: what the proxy of the user study says, if there is one.
        run_dir: where the page goes.

    Returns:
        The page and the tiles. The same input gives the same bytes.
    """
    index = RecordIndex(results.records)
    gallery = make_gallery(results, run_dir, index)
    record_files = _record_files(results, run_dir)
    href = partial(_href, results, record_files)
    shown = {table.name: table for table in [*tables, *(proxy.tables if proxy else [])]}
    grids = [grid(table, index, href) for table in shown.values() if not table.long]
    data = {"records": record_data(results.records, record_files), **gallery.data()}
    text = _render(
        title=one_line(str(scenario.get("name") or "unnamed run")),
        overview=prose(overview(results)),
        notes=[prose(note) for note in (*results.compared, *results.mixed)],
        statuses=_statuses(results),
        facts=key_facts(results, environment),
        highlights=[(one, places_text(one.records)) for one in highlights(results, index)],
        findings=_findings(results, index, proxy),
        figures=_rows(_figures(figures, captions, run_dir)),
        gallery=gallery,
        grids=grids,
        links={one.name: _table_links(one, run_dir) for one in grids},
        runs=results.runs,
        environment=environment_facts(environment, results.runs),
        scenario=scenario_text(scenario),
        count=len(results.records),
        data=htmlsafe_json_dumps(data, separators=(",", ":"), allow_nan=False),
        shown_sentences=_SHOWN_SENTENCES,
    )
    page = run_dir / PAGE
    page.write_text(_CONTROL.sub(" ", text), encoding="utf-8", errors="replace", newline="\n")
    remove_others(run_dir, gallery.pyramids)
    tiles = (run_dir / one.folder for one in gallery.pyramids)
    return [page, *(path for folder in tiles for path in sorted(folder.rglob("*.jpg")))]


def _render(**values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("reports.page", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    early, script = ("\n".join(_part(name) for name in names) for names in (_EARLY, _SCRIPTS))
    return environment.get_template("page.html.j2").render(
        style=Markup(_part("page.css")),
        early=Markup(early),
        script=Markup(script),
        digests=[_digest(early), _digest(script)],
        status_words=ENDING_WORDS,
        **values,
    )


def _part(name: str) -> str:
    return (files("reports.page") / "template" / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """As the page's policy names a script that may run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _record_files(results: Results, run_dir: Path) -> frozenset[str]:
    """Record files beside the page; none where several runs are laid over each other."""
    folder = run_dir / CELLS
    if results.runs or not folder.is_dir():
        return frozenset()
    return frozenset(path.name for path in folder.iterdir())


def _href(results: Results, record_files: frozenset[str], places: Places) -> str:
    """The file of the first of these records, or the page's own place for records."""
    for place in places[:1]:
        name = record_name(results.records[place].id, results.records[place].repeat)
        if name in record_files:
            return f"{CELLS}/{quote(name)}"
    return "#tables"


def _statuses(results: Results) -> list[tuple[str, str, int]]:
    """Ending, its words and how many records have it."""
    ends = Counter(ending(record) for record in results.records)
    return [(end, words, ends[end]) for end, words in ENDING_WORDS.items() if ends[end]]


def _findings(
    results: Results, index: RecordIndex, proxy: ProxyStudy | None
) -> list[tuple[str, list[Markup]]]:
    cells: dict[str, Places] = {}
    for one in (*results.performance, *results.quality):
        cells[one.label] = cells.get(one.label, ()) + index.of_cells(one.cells)
    links = strong_names({label: places_text(places) for label, places in cells.items()})
    sections = [*findings(results), *([(PROXY_HEADING, [*proxy.sentences])] if proxy else [])]
    return [
        (heading, [prose(sentence, links) for sentence in sentences])
        for heading, sentences in sections
    ]


def _rows(figures: Sequence[_Shown]) -> list[list[_Shown]]:
    """Figures of a column that follow each other stand together, those of a page alone."""
    rows: list[list[_Shown]] = []
    for one in figures:
        if rows and not one[2].wide and not rows[-1][-1][2].wide:
            rows[-1].append(one)
        else:
            rows.append([one])
    return rows


def _figures(
    figures: Mapping[str, Path], captions: Mapping[str, str], run_dir: Path
) -> list[_Shown]:
    found = []
    for number, (name, path) in enumerate(figures.items()):
        caption = one_line(captions.get(name, name))
        vector = inline_svg(path, prefix=f"f{number}", label=caption)
        others = [path.with_suffix(f".{kind}") for kind in ("pdf", "svg", "png")]
        links = [
            (one.suffix[1:].upper(), quote(one.relative_to(run_dir).as_posix()))
            for one in others
            if one.is_file() and one.is_relative_to(run_dir)
        ]
        found.append((name, caption, vector, links))
    return found


def _table_links(table: Grid, run_dir: Path) -> list[tuple[str, str]]:
    kinds = {"csv": "CSV", "parquet": "Parquet", "tex": "LaTeX"}
    return [
        (words, quote(f"tables/{table.name}.{kind}"))
        for kind, words in kinds.items()
        if (run_dir / "tables" / f"{table.name}.{kind}").is_file()
    ]

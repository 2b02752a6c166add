"""Whole reports, of ordinary and of odd runs."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from reports_data import SIZES, cpu_run, frame, pictures
from reports_data import performance as cell
from reports_data import quality as quality_cell

from bench.cli_report import write_run_report
from bench.record import Record
from bench.run.records import write_record
from reports.proxy_study import proxy_study
from reports.reading import read_results
from reports.report import write_report
from reports.report_text import Written, environment_text, report_text
from reports.style import paper_style, save
from reports.summary import findings
from reports.sweep_figures import memory_figure
from reports.tables import all_tables

ENDS = ("out_of_memory", "timeout", "crashed", "unsupported", "skipped", "predicted")
FAILURES = [
    cell("wct-vgg16-1x", size, status=status, weights=None, estimate_s=500.0)
    for size, status in zip(SIZES.values(), ENDS, strict=True)
]
ODD = "wct-vgg16-16x:/x/$we|ird_名_^2$"
RUNS: dict[str, list[dict[str, Any]]] = {
    "empty": [],
    "one": [cell("wct-vgg16-1x", SIZES["1MP"])],
    "failures": FAILURES,
    "no quality": [cell("adain-vgg16-16x", size) for size in SIZES.values()],
    "quality alone": [quality_cell("wct-vgg16-1x"), quality_cell("adain-vgg16-16x", lpips=True)],
    "random": [r for r in cpu_run() if r["weights"] == "random"],
    "odd name": [cell(ODD, size) for size in SIZES.values()] + [quality_cell(ODD)],
}
MEMORY = [RUNS["one"][0] | {"latency_ms": None, "throughput_mp_s": None}]
"""Of which there is one figure."""
SUFFIXES = ("csv", "md", "parquet", "tex")
TABLES = {
    *(f"tables/{t}.{s}" for t in ("models", "quality", "sweep", "failures") for s in SUFFIXES),
    *(f"tables/{t}.{s}" for t in ("records", "pairs") for s in ("csv", "parquet")),
    "tables/all.tex",
}
PROXY = {f"tables/preference_proxy.{s}" for s in SUFFIXES}


def text_of(records: list[dict[str, Any]], **environment: Any) -> str:
    results = read_results(frame(records))
    written = Written(("md", "csv"), {"memory": "Memory"})
    tables = all_tables(results)
    return report_text(
        results, tables, environment, {"name": "a_run"}, proxy_study(results), written
    )


@pytest.fixture
def only_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures as SVG alone: PDF and PNG take most of the time, and have tests of their own."""
    monkeypatch.setattr("reports.style.FORMATS", ("svg",))


@pytest.mark.usefixtures("only_svg")
@pytest.mark.parametrize("name", RUNS)
def test_odd_runs_give_every_file_without_a_warning(name: str, tmp_path: Path) -> None:
    pictures(tmp_path, RUNS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = write_report(tmp_path, frame(RUNS[name]), {}, {})
    names = {path.relative_to(tmp_path).as_posix() for path in paths}
    assert {n for n in names if n.startswith("tables")} == (
        TABLES | PROXY if name == "quality alone" else TABLES
    )
    assert {"report.md", "report.html"} <= names
    for path in paths:
        assert path.is_dir() or path.stat().st_size > 0
    figures = {n for n in names if n.startswith("figures")}
    assert bool(figures) == (name != "empty")


@pytest.mark.parametrize(
    ("formats", "suffixes"),
    [
        (["csv"], {"csv"}),
        (["latex", "parquet"], {"tex", "parquet", "pdf", "png", "svg"}),
        (["md"], {"md", "pdf", "png", "svg"}),
    ],
)
def test_only_the_formats_asked_for_are_written(
    formats: list[str], suffixes: set[str], tmp_path: Path
) -> None:
    paths = write_report(tmp_path, frame(MEMORY), {}, {"name": "x"}, formats=formats)
    assert {path.suffix[1:] for path in paths} == suffixes
    assert {path.suffix[1:] for path in tmp_path.rglob("*.*")} == suffixes


def test_tables_that_a_run_has_no_longer_are_removed(tmp_path: Path) -> None:
    write_report(tmp_path, frame(RUNS["quality alone"]), {}, {}, formats=["csv"])
    assert (tmp_path / "tables/preference_proxy.csv").is_file()
    write_report(tmp_path, frame(RUNS["one"]), {}, {}, formats=["csv"])
    assert not (tmp_path / "tables/preference_proxy.csv").exists()


def some_run() -> list[dict[str, Any]]:
    """Two facets, two line styles, a failure, quality and a pair of pictures."""
    models = ("wct-vgg16-1x", "wct-vgg16-16x")
    settings = [
        {"execution": e, "precision": p} for e, p in (("whole", "fp32"), ("strips", "fp16"))
    ]
    cells = [cell(m, SIZES[s], **k) for m in models for s in ("1MP", "42MP") for k in settings]
    return [*cells, *(quality_cell(model, pairs=1) for model in models)]


def test_two_processes_build_the_same_bytes(tmp_path: Path) -> None:
    here = Path(__file__)
    script = "import sys, pathlib, test_reports_report as t;t.build(pathlib.Path(sys.argv[1]))"
    build(tmp_path / "here")
    path = os.pathsep.join([str(here.parent), str(here.parents[2])])
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "there")],
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": path},
        check=True,
    )
    files = [sorted(folder.rglob("*.*")) for folder in (tmp_path / "here", tmp_path / "there")]
    assert len(files[0]) == len(files[1]) > 30
    for one, other in zip(*files, strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes(), one.name


def build(folder: Path) -> None:
    """A report of ``some_run`` in ``folder``, figures as SVG; one of them in every format."""
    folder.mkdir()
    pictures(folder, some_run())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reports.style.FORMATS", ("svg",))
        write_report(folder, frame(some_run()), {"a": 1}, {"name": "x"})
    with paper_style():
        figure = memory_figure(read_results(frame(some_run())))
        assert figure is not None
        save(figure, folder, "memory")


def test_report_links_only_files_it_wrote(tmp_path: Path) -> None:
    for name, formats in (("quality alone", ["md"]), ("memory", ["md", "csv", "latex", "parquet"])):
        folder = tmp_path / name
        folder.mkdir()
        write_report(folder, frame(RUNS.get(name, MEMORY)), {}, {"name": "x"}, formats=formats)
        links = re.findall(r"\]\(([^)]+)\)", (folder / "report.md").read_text("utf-8"))
        assert links
        assert all((folder / link).is_file() for link in links)


def test_what_matters_comes_first_and_the_detail_is_folded() -> None:
    text = text_of(cpu_run())
    order = ["## Against ratio 1", "## Cost", "## Quality", "## Read with care", "## Models at"]
    places = [text.index(heading) for heading in order]
    assert places == sorted(places)
    assert text.index("<details>") > places[-1]
    for folded in ("How far each model goes", "Cells without a measurement", "Environment"):
        assert f"<summary>{folded}" in text
    assert text.count("<details>") == text.count("</details>")
    # the largest speed-up before the smaller ones
    section = text[places[0] : places[1]]
    factors = [float(x) for x in re.findall(r"([\d.]+) times as fast", section)]
    assert factors == sorted(factors, reverse=True)


def test_thousands_of_records_fit_a_pull_request() -> None:
    sizes = [(64 * n, 64 * n) for n in range(1, 101)]
    models = [f"{m}-vgg16-{r}x" for m in ("wct", "adain") for r in (1, 2, 4, 8, 16)]
    records = [cell(model, size) for model in models for size in sizes]
    text = text_of([*records, *(quality_cell(model) for model in models)])
    assert len(records) == 1000
    assert len(text) < 65_536
    assert "1,000" in text or "1000 rows" in text


def test_summary_states_reach_reductions_and_failures() -> None:
    text = text_of(cpu_run())
    assert "**wct-vgg16-16x**: to 41.9 MP (10240x4096); 100 MP: out of memory" in text
    assert "**wct-vgg16-1x**: to 3.98 MP (2304x1728); 8.29 MP: skipped" in text
    assert "one pass extrapolated to 74.6 s, not measured" in text
    assert "**adain-vgg16-16x** is the fastest with 2.40 s" in text
    # 16^0.7 times as fast
    assert "**wct-vgg16-16x** against **wct-vgg16-1x** at 3.98 MP: 6.96 times as fast" in text
    assert "adain-vgg16-4x and wct-vgg16-4x: random weights" in text
    assert "**wct-vgg16-4x** (random weights)" in text


def reaches(ends: dict[str, str], small: str = "", full: str = "") -> str:
    """What the summary says of ratio 16 against ratio 1, which was measured to 1 and 4 MP.

    Args:
        ends: status of the size beyond, by model.
        small: as what the search for ratio 16 ended, if there was one; it found 90 MP.
        full: the same of ratio 1; it found 9 MP.
    """
    records = []
    for model, largest, ended, found in (
        ("wct-vgg16-1x", "1MP", full, 9.0),
        ("wct-vgg16-16x", "4MP", small, 90.0),
    ):
        sizes = list(SIZES.values())
        last = sizes.index(SIZES[largest])
        own = [cell(model, size) for size in sizes[: last + 1]]
        if model in ends:
            own.append(cell(model, sizes[last + 1], status=ends[model]))
        if ended:
            answer = {"width": 4, "height": 3, "megapixels": found, "beyond_megapixels": found + 1}
            own = [one | {"largest_searched": answer | {"limit": ended}} for one in own]
        records += own
    (sentence,) = dict(findings(read_results(frame(records))))["Against ratio 1"]
    return sentence


def test_a_factor_of_reach_needs_a_known_end_of_ratio_1() -> None:
    full, small = "wct-vgg16-1x", "wct-vgg16-16x"
    memory, time = "out_of_memory", "skipped"
    # 3.98 MP over 0.995 MP; of what was skipped nobody knows whether it fits
    assert "and 4.00 times the pixels among the sizes" in reaches({full: memory, small: memory})
    assert "at least 4.00 times the pixels among" in reaches({full: memory, small: time})
    assert "at least 4.00 times the pixels among" in reaches({full: memory})
    for ends in ({full: time, small: memory}, {full: time, small: time}, {}):
        said = reaches(ends)
        assert "measured to 3.98 MP against 0.995 MP" in said
        assert "times the pixels" not in said


def test_what_a_search_found_goes_before_the_sizes_of_the_sweep() -> None:
    ends = {"wct-vgg16-1x": "skipped", "wct-vgg16-16x": "skipped"}
    assert reaches(ends, "memory", "memory").endswith("and 10.0 times the pixels.")
    assert "at least 10.0 times the pixels." in reaches(ends, "bound", "memory")
    assert "measured to 90.0 MP against 9.00 MP" in reaches(ends, "memory", "time")
    # a search ends anywhere, a sweep at one of its sizes
    assert "at least" not in reaches({"wct-vgg16-1x": "out_of_memory"}, "memory")
    assert "measured to 90.0 MP against 0.995 MP" in reaches(
        {"wct-vgg16-1x": "out_of_memory"}, "memory"
    )


def test_records_that_cannot_be_read_are_counted_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.report.write_figures", lambda results, run_dir, **_: [])
    (tmp_path / "cells").mkdir()
    (tmp_path / "scenario.yaml").write_text("name: x\n")
    (tmp_path / "environment.json").write_text("{}\n")
    record = Record.model_validate({**cell("wct-vgg16-1x", SIZES["1MP"]), "id": "0" * 12})
    write_record(tmp_path, record)
    for name in ("111111111111-0.json", "222222222222-0.json"):
        (tmp_path / "cells" / name).write_text("{half")
    write_run_report(tmp_path, formats=["md"])
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "2 records cannot be read and are left out" in text.split("## Read with care")[1]


def test_a_slower_model_is_not_called_fast() -> None:
    size = SIZES["1MP"]
    records = [
        cell("wct-vgg16-1x", size, latency_ms=100.0),
        cell("wct-vgg16-16x", size, latency_ms=200.0),
    ]
    assert "at 0.995 MP: 2.00 times as long a pass" in text_of(records)


def test_reports_of_little_say_so_in_words() -> None:
    assert "This run is empty" in text_of([])
    assert "Every cell of this run was measured" not in text_of([])
    assert "Every cell of this run was measured" in text_of(RUNS["one"])
    assert "measured at no size; 0.262 MP: out of memory" in text_of(FAILURES)
    assert "No quality: all models of this run have random weights" in text_of(RUNS["random"])
    assert "No quality: this run has no quality cell" in text_of(RUNS["no quality"])
    assert "No performance cell is in this run" in text_of(RUNS["quality alone"])


def test_environment_is_flattened_and_escaped() -> None:
    text = text_of([], cpu="A|B", versions={"torch": "2.15"}, gpus=["x", "y"], none=None)
    for row in ("A\\|B", "versions.torch", "2.15", "x, y"):
        assert row in text


def test_environments_of_several_runs_stand_side_by_side() -> None:
    text = environment_text({"A": {"cpu": "x"}, "B": {"cpu": "y", "gpu": "z"}}, ("A", "B"))
    assert "| cpu | x | y |" in text
    assert "| gpu | – | z |" in text

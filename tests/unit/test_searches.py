"""The largest image of each of a run's settings: kept in its folder, and shown in its table."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from bench import cli, max_resolution
from bench.cells import Cell
from bench.cli import app
from bench.cli_report import read_run
from bench.errors import UserError
from bench.measure.environment import collect_environment
from bench.plan import scenario_cells
from bench.record import Record
from bench.run.draft import draft_fields
from bench.run.store import RunFolder, load_frame
from bench.scenario import load_scenario
from bench.searches import FILE, PROBES, Search, read_searches, search_run
from reports.model_table import model_table
from reports.reading import read_results
from reports.summary import findings

MOST = 40_000
"""Pixels that fit."""


def measured(cell: Cell, folder: RunFolder, *, repeat: int = 0, **_: object) -> Record:
    """In place of a worker process."""
    fields: dict[str, Any] = {"status": "out_of_memory", "reason": "no room"}
    if cell.width * cell.height <= MOST:
        fields = {"status": "ok", "latency_ms": 8.0, "peak_rss_growth_mb": 5.0}
    record = Record(**draft_fields(cell, repeat=repeat), **fields)
    folder.write_record(record)
    return record


@pytest.fixture(autouse=True)
def probes(monkeypatch) -> list[Cell]:
    """What was probed; no process is started."""
    tried: list[Cell] = []

    def probe(cell: Cell, folder: RunFolder, **options: Any) -> Record:
        tried.append(cell)
        return measured(cell, folder, **options)

    monkeypatch.setattr(max_resolution, "run_cell", probe)
    return tried


def scenario_file(folder: Path, **keys: Any) -> Path:
    path = folder / "tiny.yaml"
    content = {
        "name": "tiny",
        "device": "cpu",
        "memory_cap": "90MB",
        "models": ["adain-vgg19-64x"],  # no VGG-19 is embedded
        "resolutions": ["64x48", "160x120", "640x480"],
        "style_resolution": "16x16",
        **keys,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def run(folder: Path, **keys: Any) -> Path:
    """A run folder whose cells are measured."""
    scenario = load_scenario(scenario_file(folder, **keys))
    with RunFolder.create(folder, scenario, collect_environment("cpu")) as made:
        for cell in scenario_cells(scenario, "cpu"):
            measured(cell, made)
    return made.path


def searched(path: Path) -> list[Search]:
    with RunFolder.open(path) as folder:
        return search_run(folder)


def test_what_is_found_is_kept_with_its_evidence_and_not_sought_again(tmp_path, probes):
    path = run(tmp_path, precision=["fp32", "tf32"])
    cells = load_frame(path)
    found, lacking = searched(path)
    assert (found.precision, found.limit, found.memory_cap_mb) == ("fp32", "memory", 90)
    assert 39_200 < found.width * found.height <= 40_000 < found.beyond_megapixels * 1e6 < 41_000
    assert found.width / found.height == pytest.approx(4 / 3, rel=0.01)
    by_size = [row["status"] for row in found.evidence]
    assert by_size == sorted(by_size)
    # Every probe's record can be looked up; none stands among the run's cells.
    frame = load_frame(path / found.probes)
    assert len(frame) == len(found.evidence) == len(probes)
    assert set(frame.status) == {"ok", "out_of_memory"}
    assert frame.predicted_peak_mb.notna().all()
    assert len(load_frame(path)) == len(cells)
    # What the device cannot do has a reason in place of an answer.
    assert (lacking.width, lacking.limit) == (None, None)
    assert "tf32 needs an NVIDIA GPU" in lacking.reason

    assert read_searches(path) == [found, lacking]
    probes.clear()
    assert searched(path) == [found, lacking]
    assert probes == []
    assert len(list((path / PROBES).iterdir())) == 1


def test_a_pass_that_would_take_longer_than_a_cell_may_is_not_tried(tmp_path, probes):
    path = run(tmp_path, measure={"cell_time_limit": "5ms"})
    (found,) = searched(path)
    assert probes == []
    assert found.width is None
    assert "a cell's limit is 0 s" in found.reason
    assert "MP measured at" in found.reason
    assert "what grew between them" in found.reason


def test_the_table_of_models_shows_what_was_found_and_says_so(tmp_path):
    path = run(tmp_path)
    before = row_of(path)
    # The sweep's own sizes: 160x120 ran, 640x480 did not.
    assert (before["largest_megapixels"], before["largest_found_by"]) == (0.0192, "sweep")
    assert "Found by" not in markdown_of(path)
    (found,) = searched(path)
    after = row_of(path)
    assert after["largest_megapixels"] == found.megapixels
    assert (after["largest_width"], after["largest_height"]) == (found.width, found.height)
    assert (after["largest_found_by"], after["next_status"]) == ("search", "out_of_memory")
    text = markdown_of(path)
    assert "Found by" in text
    told = dict(findings(read_results(read_run(path).frame)))["How far each model goes"]
    assert any(
        "largest that runs is" in line and f"({found.width}x{found.height})" in line
        for line in told
    )
    assert "≥" not in text.partition("\n\n")[0]
    assert {**after, "x": 0}.keys() == {**before, "x": 0}.keys()


def test_a_bound_that_something_else_set_is_shown_as_one(tmp_path):
    path = run(tmp_path)
    (found,) = searched(path)
    timed = found.model_copy(update={"limit": "time"})
    (path / FILE).write_text(json.dumps({"searches": [timed.model_dump(mode="json")]}))
    assert row_of(path)["next_status"] == "timeout"
    assert "≥ 0.0" in markdown_of(path)


def test_answers_of_other_settings_are_not_taken(tmp_path):
    path = run(tmp_path)
    (found,) = searched(path)
    other = found.model_copy(update={"memory_cap_mb": 80.0})
    (path / FILE).write_text(json.dumps({"searches": [other.model_dump(mode="json")]}))
    assert row_of(path)["largest_found_by"] == "sweep"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"searches": [{"model": 1}]}', "\x00"])
def test_a_damaged_file_is_told_in_one_line(tmp_path, content):
    path = run(tmp_path)
    (path / FILE).write_text(content)
    with pytest.raises(UserError) as raised:
        read_run(path)
    (problem,) = raised.value.problems
    assert problem.startswith(str(path / FILE))
    assert "\n" not in problem


def test_without_a_cap_there_is_nothing_to_search_under(tmp_path):
    file = scenario_file(tmp_path, memory_cap=None)
    options = ["run", str(file), "--out", str(tmp_path / "runs"), "--max-resolution"]
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, UserError)
    assert "--max-resolution: searches under the scenario's memory_cap" in str(result.exception)
    assert not (tmp_path / "runs").exists(), "told before anything is measured"


def test_the_command_searches_before_it_reports(tmp_path, monkeypatch):
    path = run(tmp_path)
    # Figures and the page have tests of their own.
    monkeypatch.setattr(cli, "write_run_report", partial(cli.write_run_report, formats=["csv"]))
    result = CliRunner().invoke(app, ["run", "--resume", str(path), "--max-resolution", "-q"])
    assert result.exit_code == 0, result.output
    assert "the largest image of 1 of 1 settings was found" in result.output
    table = pd.read_csv(path / "tables" / "models.csv")
    assert list(table["largest_found_by"]) == ["search"]


def row_of(path: Path) -> dict[str, Any]:
    (row,) = model_table(read_results(read_run(path).frame)).rows
    return dict(row)


def markdown_of(path: Path) -> str:
    return model_table(read_results(read_run(path).frame)).markdown()

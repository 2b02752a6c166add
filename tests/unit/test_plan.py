"""``bench plan``, and what a run does with predictions: order, skipping, beside measurements."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from bench import cli_plan
from bench.cli import app
from bench.errors import EnvironmentUnfitError, UserError
from bench.measure.memory import meter_for
from bench.plan import plan_scenario, scenario_cells
from bench.prediction import calibration
from bench.prediction.calibration import Calibration, CalibrationFile
from bench.run import preparation
from bench.run.runner import run_scenario
from bench.run.store import load_frame
from bench.scenario import load_scenario
from tests.unit.test_prediction_calibration import passes

ULTRARES = Path(__file__).parents[2] / "scenarios" / "ultrares.yaml"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def scenario_file(folder: Path, **keys: Any) -> Path:
    path = folder / "tiny.yaml"
    content = {
        "name": "tiny",
        "device": "cpu",
        "memory_cap": "500MB",
        "models": ["adain-vgg19-64x"],  # no VGG-19 is embedded
        "resolutions": ["512x512", "2400x1600", "7000x5000"],
        "style_resolution": "64x64",
        **keys,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def rates(seconds: float, precision: str = "fp32") -> Calibration:
    """A device that takes so long for 10^9 multiply-accumulates and 10^8 bytes."""
    file = CalibrationFile(identity={}, measured_at="", precisions={precision: passes(seconds)})
    return Calibration(file)


def invoke(*options: object) -> str:
    result = CliRunner().invoke(app, ["plan", *map(str, options)])
    assert result.exit_code == 0, result.output
    return result.stdout


# ------------------------------------------------------------------------------- bench plan


def test_every_cell_is_shown_with_its_memory_and_its_verdict(tmp_path):
    file = scenario_file(tmp_path, precision=["fp32", "tf32"], quality={"metrics": ["ssim"]})
    answer = json.loads(invoke(file, "--no-calibration", "--format", "json"))
    cells = answer["cells"]
    expected = scenario_cells(load_scenario(file), "cpu")
    assert {cell["id"] for cell in cells} == {cell.id for cell in expected}
    assert len(cells) == len(expected) == 8
    timed = [c for c in cells if c["kind"] == "performance" and c["precision"] == "fp32"]
    assert [cell["width"] for cell in timed] == [512, 2400, 7000]
    assert [cell["verdict"] for cell in timed] == ["fits", "fits", "will not fit"]
    peaks = [cell["predicted_peak_mb"] for cell in timed]
    # Both maps of the second convolution: 8 channels in, 8 out.
    assert peaks[2] == pytest.approx(4 * 16 * 35 + 27, rel=0.05)
    assert peaks == sorted(peaks)
    assert {c["verdict"] for c in cells if c["precision"] == "tf32"} == {"unsupported"}
    assert {c["note"] for c in cells if c["kind"] == "quality"} == {
        "skipped: quality of random weights"
    }
    assert (answer["device"], answer["predicted_total_s"]) == ("cpu", None)
    assert answer["what"] == "predicted, nothing was measured"


def test_with_a_calibration_there_are_times_and_their_total(tmp_path, monkeypatch):
    monkeypatch.setattr(cli_plan, "calibrated", lambda *_, **__: rates(1.0))
    file = scenario_file(tmp_path, run_time_limit="5min")
    answer = json.loads(invoke(file, "--format", "json"))
    cells = {cell["width"]: cell for cell in answer["cells"]}
    small, large, beyond = (cells[width] for width in (512, 2400, 7000))
    assert large["predicted_latency_ms"] == pytest.approx(
        small["predicted_latency_ms"] * 2400 * 1600 / 512**2, rel=0.15
    )
    # Start, first pass, warm-up, repeats and the pass for the memory; what cannot fit only starts.
    assert small["predicted_cell_s"] == pytest.approx(
        6 + 10 * small["predicted_latency_ms"] / 1e3, rel=0.01
    )
    assert beyond["predicted_cell_s"] == 6
    total = sum(cell["predicted_cell_s"] for cell in answer["cells"])
    assert answer["predicted_total_s"] == pytest.approx(total)
    assert answer["run_time_limit_s"] == 300
    table = list(csv.DictReader(io.StringIO(invoke(file, "--format", "csv"))))
    assert [row["id"] for row in table] == [cell["id"] for cell in answer["cells"]]
    assert list(table[0]) == list(answer["cells"][0])


def test_a_cell_that_nothing_measured_speaks_against_is_tried_and_takes_its_time(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(cli_plan, "calibrated", lambda *_, **__: rates(100.0))

    def times(*sizes: str) -> list[float]:
        measure = {"cell_time_limit": "30s"}
        file = scenario_file(tmp_path, resolutions=list(sizes), measure=measure)
        return [
            cell["predicted_cell_s"]
            for cell in json.loads(invoke(file, "--format", "json"))["cells"]
        ]

    (alone,) = times("2400x1600")
    assert alone > 60  # it is started, and has one pass
    small, after = times("64x64", "2400x1600")
    assert (small > 6, after) == (True, 0)


def test_a_device_that_cannot_be_calibrated_is_planned_without_times(tmp_path, monkeypatch):
    def busy(*_, **__):
        raise EnvironmentUnfitError("calibrating cpu took too long")

    monkeypatch.setattr(calibration, "calibrate", busy)
    answer = json.loads(invoke(scenario_file(tmp_path), "--format", "json"))
    assert answer["predicted_total_s"] is None
    assert [cell["verdict"] for cell in answer["cells"]] == ["fits", "fits", "will not fit"]


def test_without_a_home_nothing_is_remembered(tmp_path, monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", none)
    (cell, *_) = scenario_cells(load_scenario(scenario_file(tmp_path)), "cpu")
    assert calibration.load_calibration(cell) is None


def test_the_table_for_people_has_the_verdicts_and_the_total(tmp_path, monkeypatch):
    monkeypatch.setattr(cli_plan, "calibrated", lambda *_, **__: rates(1.0))
    monkeypatch.setenv("COLUMNS", "160")
    text = invoke(scenario_file(tmp_path, skip_predicted=True, run_time_limit="5min"))
    lines = text.splitlines()
    assert "needs (MB)" in lines[0]
    assert any("7000x5000" in line and "will not fit" in line for line in lines)
    assert sum("skipped: predicted" in line for line in lines) == 1
    assert "predicted, nothing was measured: 3 cells on cpu: 2 fits, 1 will not fit" in text
    assert "predicted time of all: " in lines[-1]
    assert "the run's limit is 5 min" in lines[-1]


def test_a_card_that_is_not_there_can_be_planned_for(tmp_path):
    file = scenario_file(tmp_path, device="cuda", memory_cap="12GB", precision=["fp16", "tf32"])
    answer = json.loads(invoke(file, "--no-calibration", "--format", "json"))
    assert answer["device"] == "cuda:0"
    largest = [cell for cell in answer["cells"] if cell["width"] == 7000]
    assert {cell["precision"]: cell["verdict"] for cell in largest} == {
        "fp16": "fits",
        "tf32": "fits",
    }
    needs = {cell["precision"]: cell["predicted_needed_mb"] for cell in largest}
    # Two maps of 8 channels, content, and the context of CUDA.
    assert needs["tf32"] == pytest.approx(4 * 35 * (16 + 3) + 500, rel=0.05)
    assert needs["fp16"] < needs["tf32"]
    assert not torch.cuda.is_initialized()


def test_processes_count_in_the_time_of_a_cell(tmp_path):
    plans = [
        plan_scenario(scenario, scenario_cells(scenario, "cpu"), rates(1e-3))
        for scenario in (
            load_scenario(scenario_file(tmp_path, measure={"processes": count})) for count in (1, 5)
        )
    ]
    totals = [sum(one.cell_s or 0 for one in plan.cells if one.cell_s != 6) for plan in plans]
    assert totals[1] == pytest.approx(5 * totals[0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--format", "jsn"], "--format: 'jsn' is not allowed; allowed: text, json, csv"),
        (["--no-calibration", "--recalibrate"], "--recalibrate does not go with --no-calibration"),
        (["--set", "resolutons=1MP"], "did you mean 'resolutions'?"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(tmp_path, options, says):
    result = CliRunner().invoke(app, ["plan", str(scenario_file(tmp_path)), *options])
    assert isinstance(result.exception, UserError)
    (problem,) = result.exception.problems
    assert says in problem


def test_the_sweep_to_100_megapixels_is_planned_without_an_image():
    scenario = load_scenario(ULTRARES)
    cells = scenario_cells(scenario, "cpu")
    # What the first trace loads is not the plan's.
    plan_scenario(scenario, cells[:1], None)
    meter = meter_for("cpu")
    meter.start()
    plan = plan_scenario(scenario, cells, None)
    assert meter.stop().get("peak_rss_growth_mb", 0.0) < 200
    assert len(plan.cells) == len(cells) > 50
    verdicts = {one.prediction.verdict for one in plan.cells}
    assert {"fits", "will not fit"} <= verdicts
    # 100 megapixels whole at ratio 1: two maps of 64 channels, 51 GB.
    most = max(one.prediction.peak_mb or 0 for one in plan.cells)
    assert most == pytest.approx(4 * 2 * 64 * 100, rel=0.03)
    assert not torch.cuda.is_initialized()


# ------------------------------------------------------------------------------- runs

# As fast as Python starts; what it says of a cell is not what was predicted.
WORKER = """
import json, sys
from pathlib import Path
from bench.run.worker import die_with_parent
die_with_parent(int(sys.argv[4]))
from bench.cells import Cell
from bench.record import Record
from bench.run.draft import draft_fields, timestamp
from bench.run.records import write_record
cell = Cell.model_validate(json.loads(Path(sys.argv[1]).read_bytes()))
with open(Path(sys.argv[2]) / "started", "a") as log:
    print(cell.model, cell.width, file=log)
fields = {"status": "ok", "latency_ms": 7.0, "peak_rss_growth_mb": 99.0}
if cell.width == 7000:
    fields = {"status": "out_of_memory", "reason_code": "host_allocator", "reason": "no room"}
write_record(Path(sys.argv[2]), Record(**draft_fields(cell), **fields, started_at=timestamp()))
"""


def run(folder: Path, **keys: Any) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Records by width, and what was started in which order."""
    made = run_scenario(
        load_scenario(scenario_file(folder, **keys)),
        out=folder,
        device="cpu",
        quiet=True,
        worker=(sys.executable, "-c", WORKER),
    )
    log = made.path / "started"
    started = log.read_text().splitlines() if log.exists() else []
    frame = load_frame(made.path, report=pytest.fail)
    return {row["width"]: row for row in frame.to_dict("records")}, started


def test_a_cell_that_cannot_fit_is_skipped_where_the_scenario_says_so(tmp_path):
    records, started = run(tmp_path, skip_predicted=True)
    assert started == ["adain-vgg19-64x 512", "adain-vgg19-64x 2400"]
    beyond = records[7000]
    assert (beyond["status"], beyond["reason_code"]) == ("skipped", "predicted")
    assert "the cap is 500 MB" in beyond["reason"]
    assert beyond["predicted_peak_mb"] == pytest.approx(4 * 16 * 35 + 27, rel=0.05)
    # Nothing of it was measured, and nothing looks as if it was.
    for field in ("latency_ms", "peak_rss_growth_mb", "latency_samples_ms"):
        assert beyond[field] is None or beyond[field] != beyond[field]
    for width in (512, 2400):
        assert records[width]["status"] == "ok"
        # As measured, and as predicted beside it.
        assert records[width]["peak_rss_growth_mb"] == 99
        assert 0 < records[width]["predicted_peak_mb"] != 99


def test_without_that_it_is_tried_and_its_failure_is_what_is_recorded(tmp_path):
    records, started = run(tmp_path)
    assert len(started) == 3
    beyond = records[7000]
    assert (beyond["status"], beyond["reason_code"]) == ("out_of_memory", "host_allocator")
    assert beyond["predicted_peak_mb"] > 2000


def test_with_a_calibration_the_quick_come_first_and_the_far_too_slow_are_skipped(
    tmp_path, monkeypatch
):
    # A second for 10^9 multiply-accumulates.
    monkeypatch.setattr(preparation, "load_calibration", lambda *_: rates(1.0))
    keys = {"models": ["adain-vgg19-64x", "adain-vgg19-16x"], "memory_cap": None}
    sizes = {"resolutions": ["2400x1600", "512x512"], "measure": {"cell_time_limit": "10s"}}
    made = run_scenario(
        load_scenario(scenario_file(tmp_path, **keys, **sizes, skip_predicted=True)),
        out=tmp_path,
        device="cpu",
        quiet=True,
        worker=(sys.executable, "-c", WORKER),
    )
    started = (made.path / "started").read_text().splitlines()
    frame = load_frame(made.path)
    predicted = frame.set_index(["model", "width"]).predicted_latency_ms
    assert predicted.notna().all()
    order = [(name, int(width)) for name, width in (line.split() for line in started)]
    assert order == sorted(order, key=predicted.get)
    skipped = frame[frame.status == "skipped"]
    assert set(skipped.reason_code) == {"predicted"}
    # Half as long again as a cell may take: a prediction may be wrong by as much.
    hopeless = {key for key, latency_ms in predicted.items() if latency_ms > 15_000}
    assert set(zip(skipped.model, skipped.width, strict=True)) == hopeless
    assert 0 < len(hopeless) < len(frame)
    assert "one pass is predicted to take" in skipped.reason.iloc[0]
    # Beside the measurement, not in its place.
    assert set(frame[frame.status == "ok"].latency_ms) == {7.0}


def test_a_calibration_is_looked_up_and_never_measured_by_a_run(tmp_path, monkeypatch):
    def measure(*_: object) -> None:
        raise AssertionError("a run must not calibrate")

    monkeypatch.setattr(calibration, "_measure", measure)
    records, _ = run(tmp_path, resolutions=["512x512"])
    assert records[512]["predicted_latency_ms"] != records[512]["predicted_latency_ms"]

"""Calibrations: measured by a process of their own, remembered, measured anew when they must."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cells import Cell, MeasureSettings
from bench.errors import EnvironmentUnfitError
from bench.prediction import calibration, calibration_worker
from bench.prediction.calibration import (
    CalibrationFile,
    PrecisionPasses,
    TimedPass,
    calibrate,
    load_calibration,
)
from bench.prediction.memory import Overheads
from bench.prediction.traffic import Work


def make_cell(**fields: object) -> Cell:
    measure = MeasureSettings(
        warmup=0, min_repeats=1, max_repeats=1, target_ci=1.0, cell_time_limit_s=1.0
    )
    return Cell(
        **{
            **{"kind": "performance", "model": "adain-vgg16-64x", "execution": "whole"},
            **{"precision": "fp32", "device": "cpu", "width": 64, "height": 64, "style_width": 64},
            **{
                "style_height": 64,
                "memory_cap_bytes": None,
                "alpha": 1.0,
                "seed": 0,
                "threads": None,
            },
            **{"content": ("builtin",), "style": ("builtin",), "measure": measure},
            **{"weights_digest": "", "code_version": "1"},
            **fields,
        }
    )


def passes(seconds: float) -> PrecisionPasses:
    one = TimedPass(
        macs=1e9, lane_macs=1e9, bytes=1e8, fresh_bytes=0, launches=100, seconds=seconds
    )
    return PrecisionPasses(passes=(one,))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ultrastyle-bench"


@pytest.fixture
def measured(monkeypatch) -> list[tuple[str, ...]]:
    """What was measured, by precisions; a pass takes as many seconds as there were measurements."""
    asked: list[tuple[str, ...]] = []

    def measure(
        like: Cell, precisions: tuple[str, ...], longest_s: float | None
    ) -> CalibrationFile:
        asked.append(tuple(precisions))
        found = {precision: passes(len(asked)) for precision in precisions}
        return CalibrationFile(identity={}, measured_at="", precisions=found)

    monkeypatch.setattr(calibration, "_measure", measure)
    return asked


def seconds_of(found: calibration.Calibration, precision: str = "fp32") -> float:
    roofline = found.roofline(precision)
    assert roofline is not None
    return roofline.seconds(Work(lane_macs=1e9, bytes=1e8, launches=100))


def test_what_was_measured_is_remembered_by_threads_and_device(measured, cache):
    cell = make_cell()
    assert load_calibration(cell) is None
    assert seconds_of(calibrate(cell, ["fp32"])) == pytest.approx(1.0)
    found = load_calibration(cell)
    assert found is not None
    assert seconds_of(found) == pytest.approx(1.0)
    assert found.file.identity["device"] == "cpu"
    assert load_calibration(make_cell(threads=7)) is None
    assert len(list(cache.iterdir())) == 1


def test_another_precision_is_added_and_the_same_is_replaced(measured):
    cell = make_cell()
    calibrate(cell, ["fp32"])
    calibrate(cell, ["bf16"])
    calibrate(cell, ["fp32"])
    found = load_calibration(cell)
    assert found is not None
    assert (seconds_of(found), seconds_of(found, "bf16")) == (pytest.approx(3), pytest.approx(2))
    assert found.roofline("fp16") is None
    assert not found.knows("fp16")


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 99}', "[1]", "\x00"])
def test_a_damaged_file_counts_as_none(measured, cache, content):
    cell = make_cell()
    calibrate(cell, ["fp32"])
    (path,) = cache.iterdir()
    path.write_text(content)
    assert load_calibration(cell) is None
    calibrate(cell, ["fp32"])
    assert load_calibration(cell) is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes wherever it likes")
def test_a_home_that_cannot_be_written_to_is_no_obstacle(measured, tmp_path):
    tmp_path.chmod(0o500)
    assert calibrate(make_cell(), ["fp32"]).roofline("fp32") is not None


def test_a_cache_whose_folder_is_a_file_is_no_obstacle(measured, cache):
    cache.write_text("in the way")
    assert calibrate(make_cell(), ["fp32"]).roofline("fp32") is not None


def test_a_process_that_fails_is_told_of_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EnvironmentUnfitError, match="calibrating cpu failed"):
        calibrate(make_cell(), ["fp32"])


def test_a_process_that_takes_too_long_is_stopped(monkeypatch):
    def late(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("worker", 1)

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(EnvironmentUnfitError, match="--no-calibration"):
        calibrate(make_cell(), ["fp32"])


def test_the_worker_measures_small_passes(monkeypatch, tmp_path):
    small = calibration_worker._Small
    sizes = (
        small("adain-vgg16-64x", "whole", 96, 64),
        small("wct-vgg16-64x", "strips", 96, 64),
    )
    monkeypatch.setattr(calibration_worker, "_PASSES", {"cpu": sizes})
    out = tmp_path / "found.json"
    assert calibration_worker.main(["cpu", "1", "fp32,tf32", str(out)]) == 0
    found = CalibrationFile.model_validate(json.loads(out.read_text()))
    first, second = found.precisions["fp32"].passes
    assert 0 < first.macs < second.macs
    assert min(first.seconds, second.seconds) > 0
    # Tried, so that it is not tried each time: a CPU has none.
    assert found.precisions["tf32"].passes == ()
    assert calibration.Calibration(found).roofline("tf32") is None
    assert found.context_bytes is None


def test_workspaces_are_told_from_what_does_not_grow():
    fixed, share = calibration_worker._workspaces(
        [(peak, 40_000_000 + peak // 10) for peak in (30_000_000, 500_000_000, 600_000_000)]
    )
    assert (fixed, share) == (pytest.approx(4e7, rel=0.01), pytest.approx(0.1, rel=0.01))
    assert Overheads(fixed, share).on_top_of(1e9) == pytest.approx(1.14e9, rel=0.01)

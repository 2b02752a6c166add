"""Runs that are killed, interrupted, resumed: no record lost, doubled or half-written."""

import json
import multiprocessing
import os
import random
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml
from PIL import Image

from bench.errors import UserError
from bench.measure.devices import resolve_device
from bench.measure.environment import collect_environment
from bench.record import Record
from bench.run import preparation
from bench.run.runner import run_scenario
from bench.run.store import RunFolder, load_frame
from bench.scenario import Scenario, load_scenario

SEED = 20260217
KILLS = 10

# Ends differently by the width of the content, as fast as Python starts.
WORKER = """
import json, os, sys, time
from pathlib import Path
from bench.run.worker import die_with_parent
die_with_parent(int(sys.argv[4]))
from bench.cells import Cell
from bench.record import Record
from bench.run.draft import draft_fields, timestamp
from bench.run.records import write_record
cell = Cell.model_validate(json.loads(Path(sys.argv[1]).read_bytes()))
with open(Path(sys.argv[2]) / "started", "a") as log:
    print(cell.id, file=log)
kind = cell.width // 16 % 4
time.sleep(0.05)
if kind == 1:
    os.kill(os.getpid(), 11)
if kind == 2:
    raise ValueError("no such layer")
fields = {"status": "ok", "latency_ms": 10.0 * cell.megapixels, "started_at": timestamp()}
write_record(Path(sys.argv[2]), Record(**draft_fields(cell), **fields))
"""
FAKE_WORKER = (sys.executable, "-c", WORKER)


def write_scenario(folder: Path, widths: list[int], **keys: Any) -> Path:
    path = folder / "tiny.yaml"
    content = {
        "name": "tiny",
        "device": "cpu",
        "models": ["adain-vgg19-64x"],  # no VGG-19 is embedded
        "resolutions": [f"{width}x16" for width in widths],
        "style_resolution": "16x16",
        **keys,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def scenario_of(folder: Path, widths: list[int], **keys: Any) -> Scenario:
    return load_scenario(write_scenario(folder, widths, **keys))


def run(scenario: Scenario | None, out: Path, **options: Any) -> RunFolder:
    return run_scenario(
        scenario, **{"out": out, "device": "cpu", "quiet": True, "worker": FAKE_WORKER, **options}
    )


def outcome(folder: Path) -> set[tuple[str, str]]:
    frame = load_frame(folder, report=pytest.fail)
    return set(zip(frame.id, frame.status, strict=True))


def workers_of(run_dir: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        ours = str(run_dir) in (process.info["cmdline"] or ())
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def no_worker_is_left(run_dir: Path) -> bool:
    for _ in range(100):
        if not workers_of(run_dir):
            return True
        time.sleep(0.05)
    return False


def run_to_be_killed(scenario_file: Path, out: Path) -> None:
    """In a process of its own: begin the run, or go on with the one that is there."""
    ready = sorted(path.parent for path in out.glob("*/scenario.yaml"))
    scenario = None if ready else load_scenario(scenario_file)
    run(scenario, out, resume=ready[0] if ready else None)


def test_a_run_killed_ten_times_gives_the_records_of_an_undisturbed_one(tmp_path):
    widths = [16 * n for n in range(1, 25)]
    scenario_file = write_scenario(tmp_path, widths)
    undisturbed = outcome(run(load_scenario(scenario_file), tmp_path / "undisturbed").path)
    assert len(undisturbed) == len(widths)
    assert {status for _, status in undisturbed} == {"ok", "crashed"}

    # Processes that import everything once and are then quick to start: the kills have to fall into
    # the run and not into the imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.run.runner"])
    out = tmp_path / "killed"
    moments = random.Random(SEED)
    killed_in_the_middle = 0
    for _ in range(KILLS):
        process = context.Process(target=run_to_be_killed, args=(scenario_file, out))
        before = started_cells(out)
        process.start()
        # Mostly from the first cell on, else a slow machine would be killed before it began.
        if not before or moments.random() < 0.7:
            while process.is_alive() and len(started_cells(out)) == len(before):
                time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.join()
        killed_in_the_middle += process.exitcode == -signal.SIGKILL
        (run_dir,) = out.iterdir()
        assert no_worker_is_left(run_dir)
        # What is there is whole: whatever a kill leaves behind is not taken for a record.
        assert outcome(run_dir) <= undisturbed
        assert len(load_frame(run_dir)) == len(outcome(run_dir))
    assert killed_in_the_middle >= KILLS / 2

    (run_dir,) = out.iterdir()
    run(None, out, resume=run_dir)
    assert outcome(run_dir) == undisturbed
    assert len(load_frame(run_dir)) == len(undisturbed)
    assert not list(run_dir.rglob("*.tmp"))
    assert no_worker_is_left(run_dir)
    assert len(started_cells(out)) <= len(widths) + KILLS, "a cell that has a record ran again"


def started_cells(out: Path) -> list[str]:
    """Ids of the cells whose workers began, in order, with repetitions."""
    return [line for log in out.glob("*/started") for line in log.read_text().splitlines()]


def test_a_second_resume_measures_nothing(tmp_path):
    done = run(scenario_of(tmp_path, [64, 128]), tmp_path / "runs")
    before = started_cells(tmp_path / "runs")
    run(None, tmp_path, resume=done.path)
    assert started_cells(tmp_path / "runs") == before


def test_a_lost_or_damaged_record_is_measured_again(tmp_path):
    done = run(scenario_of(tmp_path, [64, 128, 192]), tmp_path / "runs")
    complete = outcome(done.path)
    first, second, _ = sorted((done.path / "cells").iterdir())
    first.unlink()
    second.write_text("{")
    run(None, tmp_path, resume=done.path)
    assert outcome(done.path) == complete


def test_retry_failed_repeats_only_what_failed(tmp_path):
    # 16 crashes by a signal, 32 by an exception, 48 and 64 are measured.
    done = run(scenario_of(tmp_path, [16, 32, 48, 64]), tmp_path / "runs")
    failed = {key for key, status in outcome(done.path) if status == "crashed"}
    assert len(failed) == 2
    before = started_cells(tmp_path / "runs")
    run(None, tmp_path, resume=done.path)
    assert started_cells(tmp_path / "runs") == before
    mended = (sys.executable, "-c", WORKER.replace("kind = ", "kind = 0 * "))
    run(None, tmp_path, resume=done.path, retry_failed=True, worker=mended)
    assert set(started_cells(tmp_path / "runs")[len(before) :]) == failed
    assert {status for _, status in outcome(done.path)} == {"ok"}


def test_small_work_is_measured_first(tmp_path):
    done = run(scenario_of(tmp_path, [192, 64, 128]), tmp_path / "runs")
    assert [record.width for record in done.records()] == sorted([64, 128, 192])


def test_the_parquet_file_holds_what_the_records_say(tmp_path):
    done = run(scenario_of(tmp_path, [16, 64]), tmp_path / "runs")
    frame = pd.read_parquet(done.path / "records.parquet")
    assert set(zip(frame.id, frame.status, strict=True)) == outcome(done.path)


def test_a_pass_that_would_take_too_long_is_skipped_with_its_estimate(tmp_path):
    limit = {"cell_time_limit": "20ms"}
    done = run(scenario_of(tmp_path, [64, 16384, 262144], measure=limit), tmp_path / "runs")
    small, middle, large = done.records()
    assert small.status == middle.status == "ok"
    assert (large.status, large.reason_code) == ("skipped", "time_limit")
    assert large.estimate_s == pytest.approx(0.0419, rel=0.01)
    assert large.gmacs is not None


def test_images_that_cannot_be_read_are_named_before_anything_is_measured(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (64, 64)).save(photos / "a.png")
    (photos / "b.png").write_bytes((photos / "a.png").read_bytes()[:60])
    (photos / "c.jpg").write_text("no picture")
    quality = {"resolution": "64x64", "metrics": ["content_loss"], "max_pairs": 3}
    images = {"content": str(photos)}
    scenario = scenario_of(tmp_path, [64], images=images, quality=quality)
    with pytest.raises(UserError) as caught:
        run(scenario, tmp_path / "runs")
    assert caught.value.exit_code == 2
    assert [
        (problem.startswith("images.content: "), Path(name).name)
        for problem in caught.value.problems
        for name in [problem.split(": ")[1]]
    ] == [(True, "b.png"), (True, "c.jpg")]
    assert not (tmp_path / "runs").exists()
    # What no cell uses is no matter.
    few = scenario_of(tmp_path, [64], images=images, quality={**quality, "max_pairs": 1})
    assert run(few, tmp_path / "runs").records()


def test_a_run_over_its_time_skips_the_rest(tmp_path):
    scenario = scenario_of(tmp_path, [64, 128, 192], run_time_limit="1ms")
    done = run(scenario, tmp_path / "runs")
    assert [record.reason_code for record in done.records()] == ["run_time_limit"] * 3
    assert started_cells(tmp_path / "runs") == []


def test_quality_of_random_weights_is_skipped_without_starting_a_worker(tmp_path):
    scenario = scenario_of(
        tmp_path, [64], quality={"resolution": "64x64", "metrics": ["content_loss"]}
    )
    done = run(scenario, tmp_path / "runs")
    (quality,) = (record for record in done.records() if record.kind == "quality")
    assert (quality.status, quality.reason_code) == ("skipped", "random_weights")
    assert quality.weights == "random"
    assert len(started_cells(tmp_path / "runs")) == 1


def test_teachers_outputs_are_kept_until_the_run_is_done(tmp_path):
    teach = 'Path(sys.argv[2], "teacher").mkdir(exist_ok=True)\ntime.sleep(0.05)'
    taught = (sys.executable, "-c", WORKER.replace("time.sleep(0.05)", teach))
    stopped = (
        sys.executable,
        "-c",
        WORKER.replace("time.sleep(0.05)", f"{teach}\nos.kill({os.getpid()}, 15)"),
    )
    scenario = scenario_of(tmp_path, [64, 128])
    with pytest.raises(KeyboardInterrupt):
        run(scenario, tmp_path / "runs", worker=stopped)
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert (run_dir / "teacher").is_dir()
    run(None, tmp_path, resume=run_dir, worker=taught)
    assert not (run_dir / "teacher").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_measured_and_says_how_to_go_on(tmp_path, capsys, number):
    out = tmp_path / "runs"
    slow = (sys.executable, "-c", WORKER.replace("sleep(0.05)", "sleep(0.05 + cell.width // 128)"))
    # The second cell takes a second, in which the signal comes.
    interrupter = multiprocessing.get_context("forkserver").Process(
        target=interrupt_second_cell, args=(out, os.getpid(), number)
    )
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        run(scenario_of(tmp_path, [64, 128 * 20, 128 * 20 + 64]), out, worker=slow)
    interrupter.join()
    (run_dir,) = out.iterdir()
    assert no_worker_is_left(run_dir)
    assert [status for _, status in outcome(run_dir)] == ["ok"]
    assert (run_dir / "records.parquet").exists()
    said = capsys.readouterr().out
    assert "stopped" in said
    assert f"bench run {run_dir / 'scenario.yaml'} --device cpu --resume {run_dir}" in said
    run(None, out, resume=run_dir)
    assert len(outcome(run_dir)) == 3
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def interrupt_second_cell(out: Path, pid: int, number: int) -> None:
    give_up = time.monotonic() + 60
    while len(started_cells(out)) < 2 and time.monotonic() < give_up:
        time.sleep(0.01)
    os.kill(pid, number)


def test_another_environment_is_refused_unless_allowed(tmp_path, monkeypatch):
    done = run(scenario_of(tmp_path, [64, 128]), tmp_path / "runs")
    next((done.path / "cells").iterdir()).unlink()
    other = collect_environment("cpu") | {"cpu": "Imagined 9000"}
    monkeypatch.setattr(preparation, "collect_environment", lambda _: other)
    with pytest.raises(UserError, match=r"another environment: .*Imagined 9000"):
        run(None, tmp_path, resume=done.path)
    assert len(outcome(done.path)) == 1
    run(None, tmp_path, resume=done.path, allow_mixed=True)
    assert len(outcome(done.path)) == 2


def test_a_run_is_not_resumed_with_another_scenario(tmp_path):
    scenario = scenario_of(tmp_path, [64])
    done = run(scenario, tmp_path / "runs")
    run(scenario, tmp_path, resume=done.path)
    with pytest.raises(UserError, match="made by another scenario"):
        run(scenario_of(tmp_path, [128]), tmp_path, resume=done.path)


def test_two_runs_do_not_share_a_folder(tmp_path):
    done = run(scenario_of(tmp_path, [64]), tmp_path / "runs")
    with (
        RunFolder.open(done.path),
        pytest.raises(UserError, match=re.escape(f"in use by process {os.getpid()}")),
    ):
        run(None, tmp_path, resume=done.path)


def test_real_workers_measure_tiny_images(tmp_path, capsys):
    scenario = scenario_of(
        tmp_path,
        [],
        resolutions=["64x64", "96x64"],
        measure={"warmup": 1, "min_repeats": 2, "max_repeats": 3, "cell_time_limit": "60s"},
        threads=1,
    )
    done = run_scenario(scenario, out=tmp_path / "runs", device=None)
    records = done.records(report=pytest.fail)
    assert [(r.width, r.status, r.reason) for r in records] == [(64, "ok", None), (96, "ok", None)]
    for record in records:
        check_measured(record)
        assert record.throughput_mp_s == pytest.approx(record.megapixels / record.latency_ms * 1e3)
        assert record.peak_rss_growth_mb is not None
        assert record.memory_cap_mechanism is None
        assert record.device_latency_ms is None
    environment = json.loads((done.path / "environment.json").read_text())
    assert environment["device"] == "cpu"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "[2/2] ok" in lines[1]


def check_measured(record: Record) -> None:
    samples = record.latency_samples_ms
    assert samples
    assert record.repeats == len(samples)
    assert record.latency_ms is not None
    assert min(samples) <= record.latency_ms <= max(samples)
    for field in ("first_call_ms", "load_ms", "style_encode_ms", "content_load_ms", "parameters"):
        assert getattr(record, field) > 0
    assert record.weights == "random"
    assert record.gmacs is not None
    assert record.gflops == 2 * record.gmacs


def test_a_real_worker_that_outgrows_its_cap_is_a_result(tmp_path):
    scenario = scenario_of(
        tmp_path,
        [],
        # Loading the content of 2000x1500 takes some 90 MB, a pass 420 MB.
        models=["adain-vgg19-16x"],
        resolutions=["64x64", "2000x1500", "3000x2000"],
        precision=["fp32", "tf32"],
        memory_cap="220MB",
        exclude=[
            {"precision": "tf32", "resolution": "64x64"},
            {"precision": "tf32", "resolution": "3000x2000"},
        ],
        measure={"warmup": 0, "min_repeats": 1, "max_repeats": 1},
    )
    done = run_scenario(scenario, out=tmp_path / "runs", device="cpu", quiet=True)
    found = {(r.precision, r.width): r for r in done.records(report=pytest.fail)}
    if (found["fp32", 64].memory_cap_mechanism or "").startswith("not enforced"):
        pytest.skip("this system cannot limit a process's data segment")
    assert found["fp32", 64].status == "ok"
    full = found["fp32", 2000]
    assert (full.status, full.reason_code) == ("out_of_memory", "host_allocator")
    assert full.requested_mb is not None
    assert "while stylizing" in (full.reason or "")
    assert found["fp32", 3000].reason_code == "smaller_size_out_of_memory"
    assert (found["tf32", 2000].status, found["tf32", 2000].reason_code) == (
        "unsupported",
        "precision",
    )


@pytest.mark.gpu
@pytest.mark.skipif(resolve_device("auto") == "cpu", reason="needs a CUDA device")
def test_real_workers_measure_on_cuda(tmp_path):
    scenario = scenario_of(
        tmp_path,
        [],
        device="cuda",
        resolutions=["256x256", "512x512", "16000x16000"],
        memory_cap="6GB",
        measure={"warmup": 1, "min_repeats": 6, "max_repeats": 20, "cell_time_limit": "30s"},
    )
    done = run_scenario(scenario, out=tmp_path / "runs", device="cuda", quiet=True)
    *measured, full = done.records(report=pytest.fail)
    for record in measured:
        assert (record.status, record.reason) == ("ok", None)
        check_measured(record)
        assert record.device_latency_ms is not None
        assert record.device_latency_ms <= record.latency_ms
        assert record.throughput_mp_s is not None
        assert record.peak_allocated_mb is not None
        assert record.peak_reserved_mb is not None
        assert record.peak_allocated_mb <= record.peak_reserved_mb
    assert (full.status, full.reason_code) == ("out_of_memory", "cuda_allocator")
    assert full.requested_mb is not None

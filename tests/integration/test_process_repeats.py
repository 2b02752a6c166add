"""Runs that measure each cell in several processes: order, failures, resuming, more of them."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.errors import UserError
from bench.run.runner import run_scenario
from bench.run.store import RunFolder, load_frame
from bench.scenario import load_scenario

# Ends differently by the width of the content, as fast as Python starts.
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
repeat = int(sys.argv[3])
with open(Path(sys.argv[2]) / "started", "a") as log:
    print(cell.width, repeat, file=log)
failing = cell.width == 48 and repeat == 1 and not (Path(sys.argv[2]) / "mended").exists()
fields = {"status": "ok", "latency_ms": 10.0 + repeat, "started_at": timestamp()}
if failing:
    fields = {"status": "out_of_memory", "started_at": timestamp()}
write_record(Path(sys.argv[2]), Record(**draft_fields(cell, repeat=repeat), **fields))
"""
FAKE_WORKER = (sys.executable, "-c", WORKER)


def run(folder: Path, widths: list[int], processes: int, **options: Any) -> RunFolder:
    path = folder / "tiny.yaml"
    content = {
        "name": "tiny",
        "device": "cpu",
        "models": ["adain-vgg19-64x"],  # no VGG-19 is embedded
        "resolutions": [f"{width}x16" for width in widths],
        "style_resolution": "16x16",
        "measure": {"processes": processes},
    }
    path.write_text(yaml.safe_dump(content))
    return run_scenario(
        load_scenario(path),
        **{"out": folder, "device": "cpu", "quiet": True, "worker": FAKE_WORKER, **options},
    )


def again(folder: RunFolder, **options: Any) -> RunFolder:
    return run_scenario(
        None,
        **{
            "out": folder.path,
            "resume": folder.path,
            "device": "cpu",
            "quiet": True,
            "worker": FAKE_WORKER,
            **options,
        },
    )


def started(folder: RunFolder) -> list[tuple[int, int]]:
    lines = (folder.path / "started").read_text().splitlines()
    return [(int(width), int(repeat)) for width, repeat in map(str.split, lines)]


def test_cells_take_turns_and_each_process_has_its_record(tmp_path: Path):
    folder = run(tmp_path, [16, 32], 3)
    assert started(folder) == [(16, 0), (32, 0), (16, 1), (32, 1), (16, 2), (32, 2)]
    frame = load_frame(folder.path, report=pytest.fail)
    assert sorted(zip(frame.width, frame["repeat"], frame.latency_ms, strict=True)) == [
        (width, repeat, 10.0 + repeat) for width in (16, 32) for repeat in range(3)
    ]


def test_a_resumed_run_goes_on_where_it_stopped(tmp_path: Path):
    folder = run(tmp_path, [16, 32], 3)
    lost = sorted((folder.path / "cells").glob("*-1.json"))[0]
    lost.unlink()
    before = started(folder)
    again(folder)
    assert len(started(folder)) == len(before) + 1
    assert started(folder)[-1][1] == 1
    assert lost.is_file()


def test_a_run_can_be_given_more_processes_and_not_fewer(tmp_path: Path):
    folder = run(tmp_path, [16, 32], 1)
    again(folder, processes=3)
    assert started(folder) == [(16, 0), (32, 0), (16, 1), (32, 1), (16, 2), (32, 2)]
    assert load_scenario(folder.scenario_path).measure.processes == 3
    again(folder)
    assert len(started(folder)) == 6
    # the file that the run was made from still names it
    run(tmp_path, [16, 32], 1, resume=folder.path)
    assert len(started(folder)) == 6
    with pytest.raises(UserError, match="measures each cell in 3 processes; 2 are fewer"):
        again(folder, processes=2)


def test_a_cell_that_failed_is_not_tried_in_further_rounds_until_it_is_mended(tmp_path: Path):
    folder = run(tmp_path, [16, 48], 3)
    assert started(folder) == [(16, 0), (48, 0), (16, 1), (48, 1), (16, 2)]
    again(folder)
    assert len(started(folder)) == 5
    (folder.path / "mended").touch()
    again(folder, retry_failed=True)
    assert started(folder)[5:] == [(48, 1), (48, 2)]
    assert set(load_frame(folder.path).status) == {"ok"}

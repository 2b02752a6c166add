from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import app
from bench.record import FAILED, Record
from bench.run.draft import draft_fields
from bench.run.rounds import Task, ended, rounds, unfinished
from distill.command_line import run_app
from tests.unit.test_schedule import make_cell, quality_cell


def record_of(task: Task, status: str = "ok", **fields) -> Record:
    return Record(**{**draft_fields(task.cell, repeat=task.repeat), "status": status, **fields})


def test_cells_take_turns_so_that_drift_meets_all_alike():
    a, b = make_cell(100), make_cell(200)
    assert rounds([a, b], 3) == [(a, 0), (b, 0), (a, 1), (b, 1), (a, 2), (b, 2)]


def test_quality_is_measured_once_since_another_process_finds_the_same():
    timed, quality = make_cell(), quality_cell(2)
    assert rounds([timed, quality], 3) == [(timed, 0), (quality, 0), (timed, 1), (timed, 2)]


@given(st.integers(1, 4), st.integers(1, 5), st.data())
def test_what_was_measured_and_what_is_left_make_up_the_run(
    cells: int, processes: int, data: st.DataObject
):
    tasks = rounds([make_cell(100 * (n + 1)) for n in range(cells)], processes)
    done = data.draw(st.lists(st.sampled_from(tasks), unique=True))
    left = unfinished(tasks, [record_of(task) for task in done], retry_failed=False)
    assert sorted([*done, *left], key=tasks.index) == tasks


@pytest.mark.parametrize("status", sorted(FAILED))
def test_failed_cells_are_repeated_on_request_only(status):
    tasks = rounds([make_cell()], 1)
    records = [record_of(tasks[0], status)]
    assert unfinished(tasks, records, retry_failed=False) == []
    assert unfinished(tasks, records, retry_failed=True) == tasks


@pytest.mark.parametrize(
    ("code", "again"),
    [
        ("smaller_size_out_of_memory", True),
        ("time_limit", True),
        ("run_time_limit", True),
        ("random_weights", False),
    ],
)
def test_a_retry_decides_anew_what_was_skipped_for_time_or_memory(code, again):
    tasks = rounds([make_cell()], 1)
    records = [record_of(tasks[0], "skipped", reason_code=code)]
    assert unfinished(tasks, records, retry_failed=False) == []
    assert unfinished(tasks, records, retry_failed=True) == (tasks if again else [])


def test_a_retry_completes_a_quality_cell_that_has_some_of_its_pairs():
    tasks = rounds([make_cell()], 1)
    records = [record_of(tasks[0], reason_code="some_pairs")]
    assert unfinished(tasks, records, retry_failed=False) == []
    assert unfinished(tasks, records, retry_failed=True) == tasks


def test_a_cell_that_failed_once_takes_no_further_processes_until_it_is_retried():
    tasks = rounds([make_cell()], 3)
    records = [record_of(tasks[0]), record_of(tasks[1], "out_of_memory")]
    assert ended(records) == {tasks[0].cell.id}
    assert unfinished(tasks, records, retry_failed=False) == []
    assert unfinished(tasks, records, retry_failed=True) == tasks[1:]


@pytest.mark.parametrize(
    ("status", "code", "strict"),
    [
        ("ok", None, 0),
        ("timeout", "time_limit", 1),
        ("timeout", "run_time_limit", 1),
        ("crashed", "exception", 1),
        ("out_of_memory", "killed", 1),
        ("skipped", "time_limit", 1),
        ("skipped", "run_time_limit", 1),
        ("skipped", "smaller_size_out_of_memory", 1),
        ("skipped", "predicted", 1),
        ("skipped", "random_weights", 0),
        ("unsupported", "precision", 0),
    ],
)
def test_strict_counts_what_failed_and_what_time_or_memory_did_not_allow(
    status: str,
    code: str | None,
    strict: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (task,) = rounds([make_cell()], 1)
    records = [record_of(task, status, reason_code=code)]
    folder = SimpleNamespace(path=tmp_path, records=lambda: records)
    monkeypatch.setattr("bench.run.runner.run_scenario", lambda *_, **__: folder)
    monkeypatch.setattr("bench.cli.write_run_report", lambda _: None)
    assert run_app(app, "bench", ["run", "--resume", str(tmp_path)]) == 0
    assert run_app(app, "bench", ["run", "--resume", str(tmp_path), "--strict"]) == strict
    assert ("--strict: not all was measured: 1 " in capsys.readouterr().err) == bool(strict)

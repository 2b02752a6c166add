import errno
import json
import math
import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import EnvironmentUnfitError, UserError
from bench.record import Record
from bench.run import records as record_files
from bench.run import store
from bench.run.store import RunFolder, load_frame


class FakeScenario(NamedTuple):
    name: str = "quick"

    def resolved_yaml(self) -> str:
        return "name: quick\n"


def make_record(**fields: Any) -> Record:
    return Record(
        **{
            "id": "0123456789ab",
            "kind": "performance",
            "model": "adain-vgg16-64x",
            "method": "adain",
            "family": "vgg16",
            "ratio": 64,
            "execution": "whole",
            "precision": "fp32",
            "device": "cpu",
            "width": 64,
            "height": 64,
            "megapixels": 0.004096,
            "style_width": 64,
            "style_height": 64,
            "alpha": 1.0,
            "seed": 0,
            "content": ["builtin"],
            "style": ["builtin"],
            "code_version": "1",
            "status": "ok",
            **fields,
        }
    )


numbers = st.none() | st.floats()
texts = st.none() | st.text()
free_values = st.floats() | st.integers(-(2**60), 2**60) | st.booleans() | texts
any_record = st.builds(
    make_record,
    id=st.text("0123456789abcdef", min_size=12, max_size=12),
    repeat=st.integers(0, 99),
    status=st.sampled_from(["ok", "crashed", "out_of_memory", "skipped"]),
    reason=texts,
    model=st.text(),
    content=st.lists(st.text(), max_size=3),
    latency_ms=numbers,
    latency_samples_ms=st.none() | st.lists(st.floats(), max_size=4),
    latency_outliers=st.none() | st.lists(st.integers(0, 9), max_size=3),
    parameters=st.none() | st.integers(0, 2**60),
    converged=st.none() | st.booleans(),
    metrics_absent=st.none() | st.dictionaries(st.text(), st.text(), max_size=2),
    # In free-form entries the words for numbers that are not finite mean those numbers.
    per_pair=st.none()
    | st.lists(
        st.dictionaries(
            st.text(),
            free_values.filter(lambda v: v not in ("NaN", "Infinity", "-Infinity")),
            max_size=3,
        ),
        max_size=2,
    ),
)


def exactly(record: Record) -> str:
    """Every bit of a record, as text in which NaN equals NaN."""
    return json.dumps(record.model_dump())


@pytest.fixture
def folder(tmp_path: Path):
    with RunFolder.create(tmp_path, FakeScenario(), {"python": "3.11"}) as made:
        yield made


@given(record=any_record)
@settings(max_examples=60, deadline=None)
def test_any_record_comes_back_as_it_was_written(tmp_path_factory, record):
    run_dir = tmp_path_factory.mktemp("run")
    (run_dir / "cells").mkdir()
    record_files.write_record(run_dir, record)
    (read,) = record_files.read_records(run_dir, report=pytest.fail)
    assert exactly(read) == exactly(record)


@given(record=any_record)
@settings(max_examples=40, deadline=None)
def test_a_record_file_is_json_for_every_reader(tmp_path_factory, record):
    run_dir = tmp_path_factory.mktemp("run")
    (run_dir / "cells").mkdir()
    record_files.write_record(run_dir, record)
    (path,) = (run_dir / "cells").iterdir()
    json.loads(path.read_bytes(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_file_name_says_cell_and_repeat(folder):
    folder.write_record(make_record(id="abcdefabcdef", repeat=3))
    assert [p.name for p in (folder.path / "cells").iterdir()] == ["abcdefabcdef-3.json"]


def test_writing_again_replaces_the_record(folder):
    folder.write_record(make_record(status="crashed"))
    folder.write_record(make_record(status="ok"))
    assert [record.status for record in folder.records()] == ["ok"]


def test_records_come_in_the_order_of_measurement(folder):
    for number, started in [("b" * 12, "2026-01-01"), ("a" * 12, "2026-01-02")]:
        folder.write_record(make_record(id=number, started_at=started))
    assert [record.id for record in folder.records()] == ["b" * 12, "a" * 12]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_record_and_nothing_else(folder, monkeypatch, failing):
    folder.write_record(make_record(status="crashed"))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(EnvironmentUnfitError, match=r"0123456789ab-0\.json: .*No space left"):
        folder.write_record(make_record(status="ok"))
    assert [record.status for record in folder.records()] == ["crashed"]
    assert len(list((folder.path / "cells").iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a whole JSON file"),
        (b'{"schema_version": 1, "id"', "not a whole JSON file"),
        (b"\xff\xfe", "not a whole JSON file"),
        (b"[]", "valid dictionary"),
        (b'{"schema_version": 2}', "schema_version is 2"),
        (b'{"schema_version": 1}', "id: Field required"),
        (exactly(make_record(id="bbbbbbbbbbbb")).encode(), "renamed or copied"),
    ],
)
def test_a_corrupt_record_is_reported_and_counts_as_missing(folder, content, complaint):
    folder.write_record(make_record())
    (folder.path / "cells" / "aaaaaaaaaaaa-0.json").write_bytes(content)
    told: list[str] = []
    assert [record.id for record in folder.records(report=told.append)] == ["0123456789ab"]
    (line,) = told
    assert "aaaaaaaaaaaa-0.json" in line
    assert complaint in line
    assert "\n" not in line


def test_half_written_files_are_no_records_and_are_gone_once_opened(folder):
    folder.write_record(make_record())
    half = folder.path / "cells" / "aaaaaaaaaaaa-0.json.17.tmp"
    half.write_text('{"id": ')
    assert len(folder.records(report=pytest.fail)) == 1
    folder.close()
    with RunFolder.open(folder.path) as opened:
        assert len(opened.records(report=pytest.fail)) == 1
    assert not half.exists()


def test_two_runs_in_one_second_get_two_folders(tmp_path):
    now = datetime(2026, 2, 3, 4, 5, 6)
    with (
        RunFolder.create(tmp_path, FakeScenario(), {}, now=now) as first,
        RunFolder.create(tmp_path, FakeScenario(), {}, now=now) as second,
    ):
        assert first.path.name == "quick-20260203-040506"
        assert second.path.name == "quick-20260203-040506-2"


def test_a_name_cannot_lead_out_of_the_folder(tmp_path):
    with RunFolder.create(tmp_path, FakeScenario("../../évil name"), {}) as made:
        assert made.path.parent == tmp_path


def test_what_was_created_can_be_opened(folder):
    folder.close()
    with RunFolder.open(folder.path) as opened:
        assert opened.environment() == {"python": "3.11"}
        assert opened.scenario_path.read_text() == "name: quick\n"


def test_the_second_user_is_told_who_the_first_is(folder):
    with pytest.raises(UserError, match=f"in use by process {os.getpid()} on"):
        RunFolder.open(folder.path)
    folder.close()
    RunFolder.open(folder.path).close()


def test_a_child_process_does_not_keep_the_lock(folder):
    with subprocess.Popen(["sleep", "30"]) as child:
        folder.close()
        RunFolder.open(folder.path).close()
        child.kill()


def test_what_is_not_a_run_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(UserError, match=r"scenario\.yaml, environment\.json, cells missing"):
        RunFolder.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not a run folder but a file"):
        load_frame(tmp_path / "file")
    with pytest.raises(UserError, match="no run folder can be made there") as caught:
        RunFolder.create(tmp_path / "file", FakeScenario(), {})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("what", ["mkdir", "lock", "file"])
def test_a_disk_that_refuses_is_the_environments_fault_and_nothing_is_left(
    tmp_path, monkeypatch, number, what
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if what == "mkdir":
        monkeypatch.setattr(store, "make_unique", refuse)
    elif what == "lock":
        monkeypatch.setattr(store.fcntl, "flock", refuse)
    else:
        monkeypatch.setattr(record_files, "write_bytes_atomically", refuse)
    with pytest.raises(EnvironmentUnfitError, match=os.strerror(number)) as caught:
        RunFolder.create(tmp_path / "deep" / "runs", FakeScenario(), {})
    assert str(tmp_path / "deep" / "runs") in str(caught.value)
    assert caught.value.exit_code == 4
    assert not list(tmp_path.iterdir())


def test_what_was_there_before_a_disk_refused_stays(tmp_path, monkeypatch):
    (tmp_path / "runs" / "other").mkdir(parents=True)
    monkeypatch.setattr(
        record_files,
        "write_bytes_atomically",
        lambda *_: (_ for _ in ()).throw(OSError(28, "full")),
    )
    with pytest.raises(EnvironmentUnfitError):
        RunFolder.create(tmp_path / "runs", FakeScenario(), {})
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]


def test_damaged_environment_is_bad_input(folder):
    (folder.path / "environment.json").write_text("{")
    with pytest.raises(UserError, match=r"environment\.json: cannot be read"):
        folder.environment()


def test_frame_has_every_column_and_keeps_numbers_numeric(folder):
    assert list(folder.frame().columns) == list(Record.model_fields)
    folder.write_record(make_record(id="a" * 12, latency_ms=2.5, parameters=7))
    folder.write_record(make_record(id="b" * 12, status="crashed", signal=11))
    frame = folder.frame().set_index("id")
    assert frame.latency_ms.mean() == 2.5
    assert math.isnan(frame.latency_ms["b" * 12])
    assert frame.parameters.sum() == 7
    assert frame.content["a" * 12] == ["builtin"]
    assert frame.reason["a" * 12] is None


def test_the_frame_of_a_run_that_is_going_on_can_be_read(folder):
    folder.write_record(make_record())
    assert len(load_frame(folder.path)) == 1


@given(records=st.lists(any_record, max_size=4, unique_by=lambda r: (r.id, r.repeat)))
@settings(max_examples=20, deadline=None)
def test_parquet_keeps_lists_and_dictionaries(tmp_path_factory, records):
    with RunFolder.create(tmp_path_factory.mktemp("runs"), FakeScenario(), {}) as folder:
        for record in records:
            folder.write_record(record)
        rows = pq.read_table(folder.write_parquet()).to_pylist()
        kept = folder.records()
    assert len(rows) == len(records)
    for row, record in zip(rows, kept, strict=True):
        assert row["content"] == record.content
        assert str(row["latency_samples_ms"]) == str(record.latency_samples_ms)
        assert row["latency_outliers"] == record.latency_outliers
        assert json.loads(row["metrics_absent"] or "null") == record.metrics_absent
        assert (row["per_pair"] is None) == (record.per_pair is None)


def test_parquet_columns_do_not_depend_on_the_values(folder):
    empty = pq.read_table(folder.write_parquet()).schema
    folder.write_record(
        make_record(latency_samples_ms=[1.0], per_pair=[{"lpips": 0.5}], converged=True)
    )
    assert pq.read_table(folder.write_parquet()).schema == empty


def test_file_names_that_are_not_unicode_do_not_stop_a_run(folder):
    name = os.fsdecode(b"caf\xe9.jpg")
    folder.write_record(make_record(content=[name]))
    assert folder.records()[0].content == [name]
    assert pq.read_table(folder.write_parquet())["content"].to_pylist() == [["caf?.jpg"]]

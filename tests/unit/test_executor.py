import gc
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

import bench
from bench.cells import Cell, MeasureSettings
from bench.errors import EnvironmentUnfitError
from bench.measure import oom_killer
from bench.measure.oom_killer import OomWatch
from bench.run import executor
from bench.run.draft import unmeasured
from bench.run.executor import Ending, classify, run_cell, worker_environment
from bench.run.store import RunFolder
from distill.sources import source_digest

WRITE_OK = """
    import json, sys
    from pathlib import Path
    from bench.cells import Cell
    from bench.record import Record
    from bench.run.draft import draft_fields
    from bench.run.records import write_record
    def write(**fields):
        cell = Cell.model_validate(json.loads(Path(sys.argv[1]).read_bytes()))
        fields = {"status": "ok", "latency_ms": 1.0, **fields}
        write_record(Path(sys.argv[2]), Record(**draft_fields(cell), **fields))
"""


class FakeScenario(NamedTuple):
    name: str = "quick"

    def resolved_yaml(self) -> str:
        return "name: quick\n"


def make_cell(**fields: Any) -> Cell:
    return Cell(
        **{
            "kind": "performance",
            "model": "adain-vgg16-64x",
            "execution": "whole",
            "precision": "fp32",
            "device": "cpu",
            "width": 64,
            "height": 64,
            "style_width": 64,
            "style_height": 64,
            "memory_cap_bytes": None,
            "alpha": 1.0,
            "seed": 0,
            "threads": None,
            "content": ("builtin",),
            "style": ("builtin",),
            "measure": MeasureSettings(
                warmup=0, min_repeats=1, max_repeats=1, target_ci=0.5, cell_time_limit_s=1
            ),
            "weights_digest": "",
            "code_version": "1",
            **fields,
        }
    )


@pytest.fixture
def folder(tmp_path: Path):
    with RunFolder.create(tmp_path, FakeScenario(), {}) as made:
        yield made


def run(folder: RunFolder, script: str, *, deadline_s: float = 30, **options: Any):
    code = textwrap.dedent(script)
    return run_cell(
        options.pop("cell", make_cell()),
        folder,
        deadline_s=deadline_s,
        worker=(sys.executable, "-c", code),
        **options,
    )


def test_the_record_is_what_the_worker_wrote(folder):
    record = run(folder, WRITE_OK + "    write(latency_ms=7.0)")
    assert (record.status, record.latency_ms) == ("ok", 7.0)
    assert folder.records() == [record]


def test_an_exception_is_a_crash_with_its_last_line(folder):
    record = run(folder, "raise ValueError('no such layer')", known={"gmacs": 3.0})
    assert record.status == "crashed"
    assert record.reason_code == "exception"
    assert record.reason == "ValueError: no such layer"
    assert record.gmacs == 3.0
    assert folder.records() == [record]


def test_a_signal_is_a_crash_with_its_number_and_last_words(folder):
    record = run(
        folder,
        """
        import os, sys
        print("about to fall", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 11)
        """,
    )
    assert (record.status, record.reason_code, record.signal) == ("crashed", "signal", 11)
    assert record.reason == "ended by signal 11 (SIGSEGV); last words: about to fall"


def test_a_kill_without_evidence_is_not_called_out_of_memory(folder, monkeypatch):
    monkeypatch.setattr(OomWatch, "evidence", lambda *_, **__: None)
    record = run(folder, "import os; os.kill(os.getpid(), 9)")
    assert (record.status, record.reason_code, record.signal) == ("crashed", "signal", 9)


def test_a_kill_that_the_kernel_counts_is_out_of_memory(folder, monkeypatch):
    counts = iter([5, 6])
    monkeypatch.setattr(oom_killer, "oom_kills", lambda: next(counts))
    record = run(folder, "import os; os.kill(os.getpid(), 9)")
    assert (record.status, record.reason_code, record.signal) == ("out_of_memory", "killed", 9)
    assert "count of such kills rose" in record.reason


def test_what_a_killed_worker_had_held_is_known(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(
        OomWatch, "evidence", lambda *_, peak_rss_bytes: asked.append(peak_rss_bytes)
    )
    run(folder, "import os; held = bytearray(b'x') * 150_000_000; os.kill(os.getpid(), 9)")
    (peak,) = asked
    assert peak > 150_000_000


@pytest.mark.parametrize("script", ["import time; time.sleep(60)", "raise SystemExit(3)"])
def test_a_worker_that_was_not_killed_is_not_asked_about(folder, monkeypatch, script):
    # Nor is one that this process killed at its deadline.
    monkeypatch.setattr(OomWatch, "evidence", lambda *_, **__: pytest.fail("asked"))
    assert run(folder, script, deadline_s=1.0).status in ("timeout", "crashed")


def ending(**fields: Any) -> Ending:
    return Ending(
        **{
            "returncode": -9,
            "timed_out": False,
            "duration_s": 1.0,
            "killed_for_memory": None,
            "output": "",
            **fields,
        }
    )


def classified(**fields: Any) -> tuple[str, str]:
    found = classify(ending(**fields), make_cell(), deadline_s=9, deadline_code="time_limit")
    return found["status"], found["reason_code"]


def test_how_an_ending_without_a_record_is_classified():
    assert classified(killed_for_memory="it is known") == ("out_of_memory", "killed")
    assert classified() == ("crashed", "signal")
    assert classified(timed_out=True) == ("timeout", "time_limit")
    assert classified(returncode=-11) == ("crashed", "signal")
    aborted = "terminate called after throwing an instance of 'std::bad_alloc'\n  what(): x\n"
    assert classified(returncode=-6, output=aborted) == ("out_of_memory", "host_allocator")
    assert classified(returncode=1, output="MemoryError\n") == ("out_of_memory", "host_allocator")
    assert classified(returncode=0) == ("crashed", "no_record")
    assert classified(returncode=-64) == ("crashed", "signal")


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_deadline_ends_the_worker_and_what_it_started(folder, monkeypatch, pidfd):
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    marker = folder.path / "grandchild"
    record = run(
        folder,
        f"""
        import subprocess, time
        child = subprocess.Popen(["sleep", "60"])
        open({str(marker)!r}, "w").write(str(child.pid))
        time.sleep(60)
        """,
        deadline_s=1.0,
        deadline_code="run_time_limit",
    )
    assert (record.status, record.reason_code) == ("skipped", "run_time_limit")
    assert "the run's time limit stopped it after" in (record.reason or "")
    assert gone(int(marker.read_text()))


KEEP_PART = """
    import json, sys
    from pathlib import Path
    from bench.cells import Cell
    from bench.record import Record
    from bench.run.draft import draft_fields
    from bench.run.records import write_part
    cell = Cell.model_validate(json.loads(Path(sys.argv[1]).read_bytes()))
    fields = {"status": "ok", "reason_code": "some_pairs", "reason": "2 of 4 pairs"}
    fields |= {"quality_pairs": 2, "lpips": 0.5, "per_pair": [{"lpips": 0.25}, {"lpips": 0.75}]}
    write_part(Path(sys.argv[2]), Record(**draft_fields(cell), **fields))
"""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("time_limit", "2 of 4 pairs; stopped after 6 s"),
        ("run_time_limit", "2 of 4 pairs; the run's time limit stopped it after 6 s"),
    ],
)
def test_a_deadline_leaves_the_pairs_that_were_finished(folder, code, why):
    script = KEEP_PART + "    import time; time.sleep(60)"
    record = run(folder, script, deadline_s=6.0, deadline_code=code)
    assert (record.status, record.reason_code, record.reason) == ("ok", "some_pairs", why)
    assert (record.quality_pairs, record.lpips) == (2, 0.5)
    assert record.duration_s == pytest.approx(6, abs=1.5)
    assert folder.records() == [record]


def test_a_kill_keeps_the_pairs_and_is_a_failure(folder):
    record = run(folder, KEEP_PART + "    import os; os.kill(os.getpid(), 11)")
    assert (record.status, record.signal) == ("crashed", 11)
    assert record.per_pair == [{"lpips": 0.25}, {"lpips": 0.75}]


def test_pairs_of_another_cell_are_not_taken(folder):
    run(folder, KEEP_PART + "    import os; os._exit(0)", cell=make_cell(seed=1))
    record = run(folder, KEEP_PART.replace("write_part(", "(") + "    sys.exit(3)")
    assert record.status == "crashed"
    assert record.quality_pairs is None


@pytest.mark.parametrize("pidfd", [True, False])
def test_waiting_takes_no_processor_time(folder, monkeypatch, pidfd):
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    switches = []

    class Counting(OomWatch):
        """Entered and left right before and after."""

        def __enter__(self) -> OomWatch:
            # A parent that polled would be woken, and counted, again and again.
            switches.append(psutil.Process().num_ctx_switches().voluntary)
            return self

        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            switches.append(psutil.Process().num_ctx_switches().voluntary)

    monkeypatch.setattr(executor, "OomWatch", Counting)
    gc.collect()
    run(folder, WRITE_OK + "    import time; time.sleep(1.5); write()")
    assert switches[1] - switches[0] < 60


def test_a_worker_that_hangs_after_its_record_is_still_ok(folder):
    record = run(folder, WRITE_OK + "    import time; write(); time.sleep(60)", deadline_s=3.0)
    assert record.status == "ok"


def test_a_failed_retry_replaces_the_old_record(folder):
    folder.write_record(unmeasured(make_cell(), "timeout", "time_limit", "before"))
    record = run(folder, "raise SystemExit('again')")
    assert record.reason == "again"
    assert [kept.reason for kept in folder.records()] == ["again"]


def test_a_damaged_record_is_replaced_by_one_of_the_crash(folder):
    record = run(
        folder,
        WRITE_OK + "    write(); next(Path(sys.argv[2], 'cells').iterdir()).write_text('{')",
    )
    assert (record.status, record.reason_code) == ("crashed", "no_record")
    assert folder.records(report=pytest.fail) == [record]


def test_an_interrupt_leaves_no_worker_and_no_record(folder):
    marker = folder.path / "worker"

    def interrupt() -> None:
        while not marker.exists() or not marker.read_text():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    script = f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        run(folder, script)
    assert gone(int(marker.read_text()))
    assert folder.records() == []


def test_a_worker_dies_with_a_parent_that_is_killed(tmp_path):
    pid_file = tmp_path / "pid"
    worker = f"""
import os, sys, time
from bench.run.worker import die_with_parent
die_with_parent(int(sys.argv[1]))
open({str(pid_file)!r}, "w").write(str(os.getpid()))
time.sleep(60)
"""
    parent = f"""
import os, subprocess, sys
command = [sys.executable, "-c", {worker!r}, str(os.getpid())]
subprocess.Popen(command, start_new_session=True).wait()
"""
    environment = worker_environment(make_cell())
    with subprocess.Popen([sys.executable, "-c", parent], env=environment) as process:
        while not pid_file.exists() or not pid_file.read_text():
            time.sleep(0.02)
        process.kill()
    assert gone(int(pid_file.read_text()))


def test_a_worker_whose_parent_is_gone_already_ends_at_once(tmp_path):
    script = "from bench.run.worker import die_with_parent; die_with_parent(1 << 22); print('on')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=worker_environment(make_cell()),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")


def gone(pid: int) -> bool:
    """Whether the process has ended, or ends within some seconds."""
    for _ in range(200):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_the_workers_environment(monkeypatch):
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:64")
    monkeypatch.setenv("KEPT", "yes")
    on_cpu = worker_environment(make_cell(threads=3))
    assert on_cpu["OMP_NUM_THREADS"] == "3"
    assert on_cpu["THP_MEM_ALLOC_ENABLE"] == on_cpu["PYTHONUNBUFFERED"] == "1"
    assert on_cpu["KEPT"] == "yes"
    assert not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & set(on_cpu)
    on_cuda = worker_environment(make_cell(device="cuda:1"))
    assert on_cuda["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert "PYTORCH_CUDA_ALLOC_CONF" not in on_cuda


def test_a_folder_of_the_same_name_where_one_stands_is_not_run(folder, tmp_path, monkeypatch):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("raise SystemExit('the wrong bench')")
    monkeypatch.chdir(tmp_path)
    command = [*executor.WORKER[:2], "-c", "import bench; print(bench.__file__)"]
    printed = subprocess.run(
        command, env=worker_environment(make_cell()), capture_output=True, text=True, check=True
    )
    assert Path(printed.stdout.strip()) == Path(bench.__file__)


def copy_of_the_code(folder: Path) -> Path:
    """Packages that import, and a worker that says which it is."""
    root = Path(bench.__file__).parents[1]
    ignored = shutil.ignore_patterns("__pycache__", "assets")
    for package in ("bench", "distill"):
        shutil.copytree(root / package, folder / package, ignore=ignored)
    return folder


@pytest.mark.parametrize("name", ["with:colon", "with blank", "plain"])
def test_a_worker_runs_the_code_of_its_parent_wherever_that_lies(tmp_path, name):
    place = copy_of_the_code(tmp_path / name)
    (place / "bench/run/probe.py").write_text(
        "import sys, bench, distill; print(bench.__file__, distill.__file__, *sys.argv[1:])"
    )
    ask = "import subprocess, sys; sys.path.insert(0, sys.argv[1])\n"
    ask += "from bench.run.launch import module_command\n"
    ask += "subprocess.run([*module_command('bench.run.probe'), 'a b'], check=True)"
    printed = subprocess.run(
        [sys.executable, "-P", "-c", ask, str(place)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed == f"{place}/bench/__init__.py {place}/distill/__init__.py a b\n"


@pytest.mark.parametrize("digest", [source_digest(), "0123456789"])
def test_a_worker_of_other_code_ends_the_run_with_what_it_was(folder, digest):
    cell = make_cell(code_version=f"1+src.{digest}", model="adain-vgg16-16x:/no/such")
    command = (sys.executable, "-m", "bench.run.worker")
    if digest == source_digest():
        assert run_cell(cell, folder, deadline_s=60.0, worker=command).status == "crashed"
        return
    with pytest.raises(EnvironmentUnfitError, match=f"begun with the sources {digest}, and /"):
        run_cell(cell, folder, deadline_s=60.0, worker=command)
    assert folder.records() == []


def test_images_whose_names_are_not_unicode_reach_the_worker(folder):
    name = os.fsdecode(b"caf\xe9.jpg")
    record = run(folder, WRITE_OK + "    write()", cell=make_cell(content=(name,)))
    assert record.content == [name]

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.measure import oom_killer
from bench.measure.oom_killer import OomWatch, oom_kills
from distill import host
from distill.host import cgroup_files, counter, memory_limit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Empty /proc, control groups and log of the kernel, on a machine of 8 GB."""
    monkeypatch.setattr(host, "PROC", tmp_path / "proc")
    monkeypatch.setattr(host, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(oom_killer, "_LOG", str(tmp_path / "kmsg"))
    machine = SimpleNamespace(total=8 * 10**9)
    monkeypatch.setattr(oom_killer.psutil, "virtual_memory", lambda: machine)
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "cgroup").mkdir()
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def in_groups(kernel, *lines):
    write(kernel / "proc" / "self" / "cgroup", "".join(f"{line}\n" for line in lines))


# ------------------------------------------------------------------------------------ the counter


def test_the_machines_kills_are_counted(kernel):
    write(kernel / "proc" / "vmstat", "oom_kill_other 9\noom_kill 3\nnr_free 1\n")
    assert oom_kills() == 3


@pytest.mark.parametrize(
    ("membership", "file", "text"),
    [
        ("0::/jobs", "jobs/memory.events", "low 0\noom 1\noom_kill 1\noom_group_kill 0\n"),
        (
            "4:memory:/jobs",
            "memory/jobs/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        ),
        ("3:cpu,memory:/jobs", "cpu,memory/jobs/memory.oom_control", "oom_kill 1\n"),
        # In a container the path can be that of the host, while its files lie at the top.
        ("0::/docker/1234", "memory.events", "oom_kill 1\n"),
        ("4:memory:/docker/1234", "memory/memory.oom_control", "oom_kill 1\n"),
    ],
)
def test_the_control_groups_own_count_comes_first(kernel, membership, file, text):
    write(kernel / "proc" / "vmstat", "oom_kill 3\n")
    in_groups(kernel, "1:name=systemd:/", membership)
    assert oom_kills() == 3
    write(kernel / "cgroup" / file, text)
    assert oom_kills() == 1


def test_a_system_that_does_not_count_says_none(kernel):
    assert oom_kills() is None
    write(kernel / "proc" / "vmstat", "oom_kill many\n")
    assert oom_kills() is None


def test_files_of_a_group_are_listed_from_the_inside_out(kernel):
    in_groups(kernel, "0::/a/b")
    for folder in ("a/b", "a", "."):
        write(kernel / "cgroup" / folder / "cpu.stat", f"nr_throttled {len(folder)}\n")
    root = kernel / "cgroup"
    files = [root / "a" / "b" / "cpu.stat", root / "a" / "cpu.stat", root / "cpu.stat"]
    assert cgroup_files("cpu", "cpu.stat") == files
    assert [counter(file, "nr_throttled") for file in files] == [3, 1, 1]


@pytest.mark.parametrize(
    ("limits", "least"),
    [
        ({"memory.max": "max\n"}, None),
        ({"memory.max": "max\n", "jobs/memory.max": "700\n"}, 700),
        ({"memory.max": "600\n", "jobs/memory.max": "700\n"}, 600),
    ],
)
def test_the_least_limit_around_the_process_counts(kernel, limits, least):
    in_groups(kernel, "0::/jobs")
    for name, text in limits.items():
        write(kernel / "cgroup" / name, text)
    assert memory_limit() == least


def test_the_largest_number_is_no_limit_under_version_1(kernel):
    in_groups(kernel, "4:memory:/")
    write(kernel / "cgroup" / "memory" / "memory.limit_in_bytes", "9223372036854771712\n")
    assert memory_limit() is None


# ------------------------------------------------------------------------------ children that died


def killed(code="", *arguments):
    """Process number and peak of a real child that ran ``code`` and then ended by SIGKILL."""
    script = f"import os, sys\n{code}\nos.kill(os.getpid(), 9)"
    child = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == -signal.SIGKILL
    return child.pid, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def evidence(watch, child):
    pid, peak = child
    return watch.evidence(pid, peak_rss_bytes=peak)


def test_a_kill_by_hand_has_no_evidence(kernel):
    in_groups(kernel, "0::/")
    write(kernel / "cgroup" / "memory.events", "oom_kill 4\n")
    write(kernel / "cgroup" / "memory.max", "500000000\n")
    write(kernel / "kmsg", "6,1,1,-;Killed process 1 (before)\n")
    write(kernel / "proc" / "self" / "status", "VmHWM:\t 99000000 kB\n")
    with OomWatch() as watch:
        assert evidence(watch, killed()) is None


@pytest.mark.parametrize("file", ["memory.events", "memory.oom_control"])
def test_the_groups_count_that_rose_is_evidence(kernel, file):
    in_groups(kernel, "0::/", "4:memory:/")
    path = kernel / "cgroup" / ("memory" if "control" in file else "") / file
    write(path, "oom_kill 4\n")
    with OomWatch() as watch:
        child = killed("open(sys.argv[1], 'w').write('oom 9\\noom_kill 5\\n')", path)
        assert evidence(watch, child) == "its count of such kills rose meanwhile"


HOLDING = """
import os, subprocess, sys
from pathlib import Path
from bench.measure import oom_killer
from distill import host
oom_killer._LOG = "missing"
host.CGROUPS = host.PROC = Path(sys.argv[1])
with oom_killer.OomWatch() as watch:
    hold = f"import os; held = bytearray(b'x') * {sys.argv[2]}; os.kill(os.getpid(), 9)"
    child = subprocess.Popen([sys.executable, "-c", hold])
    _, status, usage = os.wait4(child.pid, 0)
    print(watch.evidence(child.pid, peak_rss_bytes=usage.ru_maxrss * 1024))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's control groups")
@pytest.mark.parametrize(("held", "known"), [(190_000_000, True), (100_000_000, False)])
def test_a_child_that_held_most_of_its_groups_memory_is_evidence(tmp_path, held, known):
    # From a small process: a child is handed the peak of the one that starts it.
    write(tmp_path / "self" / "cgroup", "0::/\n")
    write(tmp_path / "memory.max", "200000000\n")
    command = [sys.executable, "-c", HOLDING, str(tmp_path), str(held)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ("MB of the control group's 200 MB" in done.stdout) == known
    assert known or done.stdout == "None\n"


def test_a_peak_that_the_child_was_handed_is_no_evidence(kernel):
    write(kernel / "proc" / "self" / "status", "VmHWM:\t 7000000 kB\n")
    with OomWatch() as watch:
        assert watch.evidence(1, peak_rss_bytes=7 * 10**9) is None


def test_a_child_that_held_most_of_the_machines_memory_is_evidence(kernel):
    write(kernel / "proc" / "self" / "status", "VmHWM:\t 1000000 kB\n")
    with OomWatch() as watch:
        assert watch.evidence(1, peak_rss_bytes=6 * 10**9) is None
        found = watch.evidence(1, peak_rss_bytes=7 * 10**9)
    assert found == "the process had held 7000 MB of the machine's 8000 MB"


LOG_LINE = "3,70,9,-;Memory cgroup out of memory: Killed process {} (python) total-vm:9kB\n"


def test_the_kernels_log_names_the_process(kernel):
    write(kernel / "kmsg", LOG_LINE.format(77))
    with OomWatch() as watch:
        with (kernel / "kmsg").open("a") as log:
            log.write(LOG_LINE.format(123) + LOG_LINE.format(456))
        assert watch.evidence(456, peak_rss_bytes=0) == "the kernel's log names the process"
    with OomWatch() as watch:
        # What stood there before says nothing of this one, nor does another process's end.
        assert watch.evidence(456, peak_rss_bytes=0) is None


def test_records_of_the_log_that_were_overwritten_are_passed_over(kernel, monkeypatch):
    answers = iter([BrokenPipeError(), LOG_LINE.format(9).encode(), BlockingIOError()])

    def read(descriptor, size):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    write(kernel / "kmsg", "")
    with OomWatch() as watch:
        monkeypatch.setattr(oom_killer.os, "read", read)
        assert watch.evidence(9, peak_rss_bytes=0) == "the kernel's log names the process"

"""Memory and cores that may be had, of imitated kernels' files."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from distill import host

ROOT = Path(__file__).parents[2]
GB = 10**9


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight cores and 8 GB of which 6 are free; no groups yet."""
    monkeypatch.setattr(host, "PROC", tmp_path / "proc")
    monkeypatch.setattr(host, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host, "_AT_START", tuple(range(8)))
    memory = SimpleNamespace(total=8 * GB, available=6 * GB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    unlimited = resource.RLIM_INFINITY, resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda which: unlimited)
    (tmp_path / "cgroup").mkdir()
    return tmp_path


def groups(machine, membership, files):
    """This process's groups, and the files of groups: text by path."""
    for path, text in {"proc/self/cgroup": f"{membership}\n", **files}.items():
        file = machine / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")


STAT_2 = "anon 300000000\nfile 500000000\ninactive_file 200000000\nactive_file 100000000\n"
STAT_1 = "cache 7\ninactive_file 1\ntotal_inactive_file 250000000\ntotal_active_file 50000000\n"


@pytest.mark.parametrize(
    ("membership", "files", "total", "available"),
    [
        ("0::/", {}, 8 * GB, 6 * GB),
        # Version 2: the caches of files are given up before anything is killed.
        (
            "0::/",
            {
                "cgroup/memory.max": "1000000000",
                "cgroup/memory.current": "800000000",
                "cgroup/memory.stat": STAT_2,
            },
            GB,
            500_000_000,
        ),
        ("0::/", {"cgroup/memory.max": "max", "cgroup/memory.current": "9"}, 8 * GB, 6 * GB),
        # The group around has less than its own.
        (
            "0::/pod/box",
            {
                "cgroup/pod/box/memory.max": "3000000000",
                "cgroup/pod/box/memory.current": "100000000",
                "cgroup/pod/memory.max": "2000000000",
                "cgroup/pod/memory.current": "1900000000",
            },
            2 * GB,
            100_000_000,
        ),
        # Slowed down from memory.high on.
        (
            "0::/box",
            {"cgroup/box/memory.high": "500000000", "cgroup/box/memory.current": "100000000"},
            500_000_000,
            400_000_000,
        ),
        # In a container the path can be that of the host, while the files lie at the top.
        (
            "4:memory:/docker/1234",
            {
                "cgroup/memory/memory.limit_in_bytes": "900000000",
                "cgroup/memory/memory.usage_in_bytes": "700000000",
                "cgroup/memory/memory.stat": STAT_1,
            },
            900_000_000,
            500_000_000,
        ),
        (
            "4:memory:/",
            {
                "cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "cgroup/memory/memory.usage_in_bytes": "7000000000",
            },
            8 * GB,
            6 * GB,
        ),
        # Both versions at once: memory under version 1, version 2 beside it without controllers.
        (
            "4:memory:/box\n0::/",
            {
                "cgroup/memory/box/memory.limit_in_bytes": "2000000000",
                "cgroup/memory/box/memory.usage_in_bytes": "2100000000",
            },
            2 * GB,
            0,
        ),
        # A limit that the machine cannot keep.
        (
            "0::/",
            {"cgroup/memory.max": "90000000000", "cgroup/memory.current": "1000000"},
            8 * GB,
            6 * GB,
        ),
    ],
)
def test_memory_within_control_groups(machine, membership, files, total, available):
    groups(machine, membership, files)
    memory = host.usable_memory()
    assert (memory.total, memory.available) == (total, available)
    assert (memory.limited_by is not None) == (total < 8 * GB)


def test_a_limit_of_the_shell_counts(machine, monkeypatch):
    groups(machine, "0::/", {"proc/self/status": "VmSize:\t  500000 kB\nVmData:\t 100 kB"})
    limits = {resource.RLIMIT_AS: 2 * GB}
    monkeypatch.setattr(
        resource,
        "getrlimit",
        lambda which: (limits.get(which, resource.RLIM_INFINITY), resource.RLIM_INFINITY),
    )
    memory = host.usable_memory()
    assert (memory.total, memory.available) == (2 * GB, 2 * GB - 500_000 * 1024)
    assert "ulimit" in memory.limited_by


@pytest.mark.parametrize(
    ("membership", "files", "quota", "cores"),
    [
        ("0::/", {}, None, 8),
        ("0::/", {"cgroup/cpu.max": "max 100000"}, None, 8),
        ("0::/", {"cgroup/cpu.max": "150000 100000"}, 1.5, 2),
        ("0::/", {"cgroup/cpu.max": "10000 100000"}, 0.1, 1),
        ("0::/", {"cgroup/cpu.max": "6400000 100000"}, 64.0, 8),
        ("0::/", {"cgroup/cpu.max": "nonsense"}, None, 8),
        (
            "0::/pod/box",
            {"cgroup/pod/box/cpu.max": "max 100000", "cgroup/pod/cpu.max": "300000 100000"},
            3.0,
            3,
        ),
        (
            "2:cpu,cpuacct:/box",
            {
                "cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "200000",
                "cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000",
            },
            2.0,
            2,
        ),
        (
            "2:cpu:/",
            {"cgroup/cpu/cpu.cfs_quota_us": "-1", "cgroup/cpu/cpu.cfs_period_us": "100000"},
            None,
            8,
        ),
    ],
)
def test_cores_within_a_quota(machine, membership, files, quota, cores):
    groups(machine, membership, files)
    assert host.cpu_quota() == quota
    assert host.usable_cores() == cores


@pytest.mark.parametrize(("text", "together"), [("1", True), ("0", False), (None, False)])
def test_whether_the_kernel_ends_the_whole_container(machine, text, together):
    groups(machine, "0::/box", {} if text is None else {"cgroup/box/memory.oom.group": text})
    assert host.killed_together() == together


def test_files_that_cannot_be_read_say_nothing(machine, monkeypatch):
    groups(machine, "0::/", {"cgroup/memory.max": "1000"})

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert host.usable_memory() == host.Memory(8 * GB, 6 * GB)
    assert host.cpu_quota() is None


def test_threads_are_not_more_than_the_quota_unless_chosen(machine, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    host.limit_threads()
    assert asked == []
    groups(machine, "0::/", {"cgroup/cpu.max": "200000 100000"})
    host.limit_threads()
    assert asked == [2]
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    host.limit_threads()
    assert asked == [2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
@pytest.mark.parametrize("package", ["bench", "distill"])
def test_cores_are_counted_before_a_library_binds_the_process(package):
    # As OMP_PROC_BIND has the OpenMP library do, when PyTorch first works.
    code = (
        "import PACKAGE, os; before = len(os.sched_getaffinity(0)); "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import distill.host as host; "
        "print(before == len(host.core_numbers()))"
        "; host.unbind(); print(before == len(os.sched_getaffinity(0)))"
    ).replace("PACKAGE", package)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True\nTrue\n"


# ------------------------------------------------------------------------ of this machine, really


def memory_group(limit):
    """A new memory control group of this machine; None where none can be made."""
    for base, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        folder = Path("/sys/fs/cgroup") / base / f"ultrastyle-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(limit))
            return folder
        except OSError:
            folder.rmdir()
    return None


REPORT = (
    "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); "
    "from distill.host import usable_memory; found = usable_memory(); "
    "print(found.total, found.available, found.limited_by)"
)


def test_a_real_control_group_is_found():
    folder = memory_group(300_000_000)
    if folder is None:
        pytest.skip("no memory control group can be made: needs root and writable control groups")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", REPORT, str(folder / "cgroup.procs")],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        folder.rmdir()
    total, available, limited_by = done.stdout.split(maxsplit=2)
    assert abs(int(total) - 300_000_000) < 8192
    assert 200_000_000 < int(available) < int(total)
    assert "control group" in limited_by

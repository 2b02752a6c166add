"""The memory and the processor time that this process may have, also inside a container.

A container's share is set by control groups, of version 1 or 2, each within others; a shell's
``ulimit`` and ``taskset`` narrow it further. Whoever plans with memory or cores asks here.
"""

import math
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from distill.files import is_visible_file

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60
"""Bytes; version 1 writes 2^63 less a page for no limit."""
_RECLAIMABLE = ("inactive_file", "active_file", "slab_reclaimable")
"""What a group's usage holds of caches, which the kernel gives up before it kills."""


def _affinity() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


_AT_START = _affinity()
"""Read when this module is first imported, before PyTorch is: with ``OMP_PROC_BIND`` or
``GOMP_CPU_AFFINITY`` its OpenMP library binds the main thread to a single core."""


# --- Processor time -------------------------------------------------------------------------------


def core_numbers() -> tuple[int, ...]:
    """Numbers of the logical cores that this process may run on, whatever PyTorch has bound."""
    return _AT_START


def unbind() -> None:
    """Let this thread, and the processes it starts, run on all of :func:`core_numbers` again.

    A process that PyTorch has bound hands its single core on to its children.
    """
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):  # cores may have been taken away meanwhile
            os.sched_setaffinity(0, _AT_START)


def cpu_quota() -> float | None:
    """Cores' worth of time that the control groups allow; None without a limit."""
    quotas = []
    for path in cgroup_files("cpu", "cpu.max"):
        # "max 100000" or "150000 100000"
        quotas.append(_ratio(*(_text(path) or "").split()[:2]))
    for path in cgroup_files("cpu", "cpu.cfs_quota_us"):
        # -1 for none
        quotas.append(_ratio(_text(path), _text(path.with_name("cpu.cfs_period_us"))))
    return min((quota for quota in quotas if quota is not None), default=None)


def usable_cores() -> int:
    """How many cores are worth a thread each: those of the process, within the quota."""
    quota = cpu_quota()
    cores = len(core_numbers())
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def limit_threads() -> None:
    """Have PyTorch start no more threads than there is processor time for.

    By itself it starts one for each core, also where a container has a quota of two: they would
    stop each other. ``OMP_NUM_THREADS`` and ``MKL_NUM_THREADS`` are a choice, which stands.
    """
    import torch

    chosen = os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS")
    if not chosen and torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())


def _ratio(quota: str | None = None, period: str | None = None) -> float | None:
    try:
        cores = int(quota or "") / int(period or "")
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


# --- Memory ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Memory in bytes that this process may have."""

    total: int
    """The machine's, or the least limit below it."""
    available: int
    """What can be taken now without swapping and without passing a limit."""
    limited_by: str | None = None
    """What sets a total below the machine's, in words."""


def usable_memory() -> Memory:
    """What may be had: of the machine, within every control group and the shell's limits."""
    import psutil  # not at every start

    machine = psutil.virtual_memory()
    total, available, limited_by = machine.total, machine.available, None
    for limit, free in _groups():
        if limit < total:
            total, limited_by = limit, "a control group (container)"
        available = min(available, free)
    for limit, free in _process_limits():
        if limit < total:
            total, limited_by = limit, "a limit of this process (ulimit)"
        available = min(available, free)
    return Memory(total, max(0, available), limited_by)


def memory_limit() -> int | None:
    """Bytes beyond which the kernel kills for want of memory in this process's groups.

    The least of the limits of the group and of those around it; None without one.
    """
    names = ("memory.max", "memory.limit_in_bytes")
    limits = [_limit(path) for name in names for path in cgroup_files("memory", name)]
    return min((limit for limit in limits if limit is not None), default=None)


def killed_together() -> bool:
    """Whether the kernel ends every process of the container when one lacks memory.

    ``memory.oom.group`` of version 2, as Kubernetes sets it: then no record of it can be written.
    """
    return any(_text(path) == "1" for path in cgroup_files("memory", "memory.oom.group"))


def _groups() -> list[tuple[int, int]]:
    """Limit and what is left of it, for each group that has one."""
    found = []
    limits = {
        # Above memory.high the kernel slows a group down until it stands still.
        "memory.max": "memory.current",
        "memory.high": "memory.current",
        "memory.limit_in_bytes": "memory.usage_in_bytes",
    }
    for name, usage in limits.items():
        for path in cgroup_files("memory", name):
            limit = _limit(path)
            if limit is None:
                continue
            used = _limit(path.with_name(usage)) or 0
            stat = path.with_name("memory.stat")
            # Version 1 has the sums with the groups inside under names of their own.
            caches = [counter(stat, f"total_{one}", one) or 0 for one in _RECLAIMABLE]
            found.append((limit, limit - max(0, used - sum(caches))))
    return found


def _process_limits() -> list[tuple[int, int]]:
    """Limit and what is left of it, of address space and of data."""
    if sys.platform != "linux":
        return []
    import resource

    found = []
    for which, field in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(which)[0]
        if 0 <= limit < _UNLIMITED:
            found.append((limit, limit - (status_bytes(field) or 0)))
    return found


def _limit(path: Path) -> int | None:
    text = _text(path) or ""
    # "max", or under version 1 the largest number of pages, stands for no limit.
    return int(text) if text.isdecimal() and int(text) < _UNLIMITED else None


# --- The kernel's files ---------------------------------------------------------------------------


def status_bytes(field: str) -> int | None:
    """A memory field of this process's ``/proc/self/status``; None where there is none."""
    text = _text(PROC / "self" / "status") or ""
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def cgroup_files(controller: str, name: str) -> list[Path]:
    """Files called ``name`` of this process's groups, its own first, then those around it.

    ``controller`` counts under version 1 only, where each has groups of its own. Inside a
    container the path of the group can be that of the host, and its files lie at the top.
    """
    found = []
    for root, path in _memberships(controller):
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            file = root / group / name
            if is_visible_file(file):
                found.append(file)
    return list(dict.fromkeys(found))


def counter(path: Path, *names: str) -> int | None:
    """The first counter of these names of a file of ``NAME VALUE`` lines; None without one."""
    lines = (_text(path) or "").splitlines()
    values = {line.split()[0]: line.split()[1] for line in lines if len(line.split()) > 1}
    for name in names:
        if values.get(name, "").isdecimal():
            return int(values[name])
    return None


def _memberships(controller: str) -> list[tuple[Path, str]]:
    """Where the groups lie, and the path of this process's there: version 2's first."""
    unified: list[tuple[Path, str]] = []
    own: list[tuple[Path, str]] = []
    for line in (_text(PROC / "self" / "cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            # "unified": where both versions are mounted at once
            unified += [(CGROUPS, path), (CGROUPS / "unified", path)]
        elif controller in names.split(","):
            own += [(CGROUPS / names, path), (CGROUPS / controller, path)]
    return [*unified, *own]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None

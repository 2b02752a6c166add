"""Whether the kernel killed a process for want of memory: what speaks for it."""

import contextlib
import os
import re
from typing import Self

import psutil

from distill import host
from distill.host import cgroup_files, counter, memory_limit

_MOST_OF_MEMORY = 0.8
"""Share of the memory that a process must have held for its SIGKILL to be put down to it."""
_LOG = "/dev/kmsg"
_LOG_RECORD = 8192
_KILLED = re.compile(r"Killed process (\d+) ")


def offer_to_oom_killer() -> None:
    """Have the kernel kill this process, and what it starts, before any other for want of memory.

    In a container it would often choose the command that waits for this process, and so end the
    run instead of a cell. Done first, in every process that measures.
    """
    with contextlib.suppress(OSError):  # not Linux, or no /proc
        (host.PROC / "self" / "oom_score_adj").write_text("1000", encoding="ascii")


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory; None if it does not tell.

    Of this process's control group where that counts (version 2: ``memory.events``, version 1:
    ``memory.oom_control``), else of the whole machine (``/proc/vmstat``).
    """
    own = [
        *cgroup_files("memory", "memory.events")[:1],
        *cgroup_files("memory", "memory.oom_control")[:1],
    ]
    for path in (*own, host.PROC / "vmstat"):
        count = counter(path, "oom_kill")
        if count is not None:
            return count
    return None


class OomWatch:
    """Notes what the kernel has counted and logged before a child starts. A context manager."""

    def __init__(self) -> None:
        self._kills = oom_kills()
        self._log = _open_log()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            os.close(self._log)

    def evidence(self, pid: int, *, peak_rss_bytes: int) -> str | None:
        """What speaks for it that a child which ended by SIGKILL was killed for want of memory.

        In this order: the kernel's log names it; the kernel's count of such kills rose meanwhile;
        or the child had held most of the memory that it could have. None: nothing speaks for it.
        Asked once, since the log is read on.
        """
        if self._log is not None and pid in _killed_since(self._log):
            return "the kernel's log names the process"
        kills = oom_kills()
        if kills is not None and self._kills is not None and kills > self._kills:
            return "its count of such kills rose meanwhile"
        # Containers often hide the counter, or count in a group that is not visible from inside.
        total, whose = psutil.virtual_memory().total, "the machine's"
        limit = memory_limit()
        if limit is not None and limit < total:
            total, whose = limit, "the control group's"
        # Linux hands a child the mark of the process that started it: up to that it tells nothing.
        handed_on = host.status_bytes("VmHWM") or 0
        if peak_rss_bytes > handed_on and peak_rss_bytes >= _MOST_OF_MEMORY * total:
            return (
                f"the process had held {peak_rss_bytes / 1e6:.0f} MB of {whose} "
                f"{total / 1e6:.0f} MB"
            )
        return None


def _open_log() -> int | None:
    """The kernel's log, at its end; None where it may not be read."""
    try:
        descriptor = os.open(_LOG, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _killed_since(log: int) -> set[int]:
    """Processes that the log says were killed, from where it was left to its end."""
    killed: set[int] = set()
    while True:
        try:
            record = os.read(log, _LOG_RECORD)
        except BrokenPipeError:  # records were overwritten before they were read: go on after them
            continue
        except OSError:  # BlockingIOError at the end
            return killed
        if not record:
            return killed
        killed |= {int(pid) for pid in _KILLED.findall(record.decode("utf-8", "replace"))}

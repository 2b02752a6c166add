"""One cell in one fresh process: start it, wait for it, and say how it ended.

The parent reads files and exit statuses only. It never touches CUDA, so it holds no part of the
card that is measured, and it sleeps in the kernel while a worker runs.
"""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cells import Cell
from bench.errors import EnvironmentUnfitError
from bench.measure.oom_killer import OomWatch
from bench.record import SOME_PAIRS, Record
from bench.run.draft import timestamp, unmeasured
from bench.run.launch import INSTALLED, OTHER_CODE, ROOT, module_command
from bench.run.records import read_record, take_part
from bench.run.store import RunFolder
from distill import host

WORKER = module_command("bench.run.worker")
_TAIL_BYTES = 8192
_REASON_LENGTH = 600


@dataclass(frozen=True)
class Ending:
    """How a worker process ended."""

    returncode: int
    """Exit status, or minus the signal, as :mod:`subprocess` has it."""
    timed_out: bool
    duration_s: float
    killed_for_memory: str | None
    """For a SIGKILL that was not this process's: what says that it was for want of memory."""
    output: str
    """End of what the worker printed."""


def run_cell(
    cell: Cell,
    folder: RunFolder,
    *,
    deadline_s: float,
    deadline_code: str = "time_limit",
    repeat: int = 0,
    known: Mapping[str, Any] | None = None,
    worker: Sequence[str] = WORKER,
) -> Record:
    """Measure a cell in a fresh process, and return the record that is then in the folder.

    The worker is called as ``*worker CELL_FILE RUN_DIR REPEAT PARENT_PID`` and writes the record;
    when it cannot (killed, crashed, over ``deadline_s`` seconds), the record is made up here from
    how it ended, with ``known`` facts about the model. ``deadline_code`` says which limit the
    deadline stands for. Whatever happens, also an exception here, no process is left behind.

    Call from the main thread: the kernel ends a worker with the *thread* that started it.
    """
    cell_file = folder.worker_dir / "cell.json"
    # Not by pydantic: file names need not be Unicode, and its JSON must.
    cell_file.write_text(json.dumps(cell.model_dump()), encoding="ascii")
    take_part(folder.path, cell.id)  # of a worker that was killed together with its parent
    path = folder.record_path(cell.id, repeat)
    before = _identity(path)
    started_at = timestamp()
    command = [*worker, str(cell_file), str(folder.path), str(repeat), str(os.getpid())]
    ending = _run(
        command,
        environment=worker_environment(cell),
        output=folder.worker_dir / "output.txt",
        deadline_s=deadline_s,
    )
    # A retry leaves the old record in place until the new one is whole: tell them apart.
    if _identity(path) != before:
        with contextlib.suppress(ValueError):
            return read_record(path)
    if ending.returncode == OTHER_CODE:
        raise EnvironmentUnfitError(_last_line(ending.output))
    fields = classify(ending, cell, deadline_s=deadline_s, deadline_code=deadline_code)
    fields |= {"started_at": started_at, "duration_s": round(ending.duration_s, 3)}
    part = take_part(folder.path, cell.id)
    if part is None:
        record = unmeasured(cell, **fields, repeat=repeat, known=known)
    elif ending.timed_out:
        # What was finished counts, as it does where fewer pairs are asked for.
        reason = f"{part.reason}; {fields['reason']}".removesuffix(" without a result")
        fields |= {"status": "ok", "reason_code": SOME_PAIRS, "reason": reason}
        record = part.model_copy(update=fields)
    else:
        record = part.model_copy(update=fields)
    folder.write_record(record)
    return record


def classify(
    ending: Ending, cell: Cell, *, deadline_s: float, deadline_code: str
) -> dict[str, Any]:
    """Status, reason and signal of a cell whose worker left no valid record."""
    last = _last_line(ending.output)
    if ending.timed_out:
        return stopped(deadline_s, deadline_code)
    if ending.killed_for_memory:
        return {
            "status": "out_of_memory",
            "reason_code": "killed",
            "reason": f"killed by the operating system for want of memory: "
            f"{ending.killed_for_memory}",
            "signal": int(signal.SIGKILL),
        }
    # Native code that meets the cap may end the process instead of raising MemoryError.
    if re.search(r"std::bad_alloc|^MemoryError", ending.output, re.MULTILINE):
        return {
            "status": "out_of_memory",
            "reason_code": "host_allocator",
            "reason": f"an allocation failed and ended the process: {last}",
            **({"signal": -ending.returncode} if ending.returncode < 0 else {}),
        }
    if ending.returncode < 0:
        number = -ending.returncode
        said = f"; last words: {last}" if last else ""
        return {
            "status": "crashed",
            "reason_code": "signal",
            "reason": f"ended by signal {number} ({_signal_name(number)}){said}",
            "signal": number,
        }
    return {
        "status": "crashed",
        "reason_code": "exception" if ending.returncode else "no_record",
        "reason": last or f"exit status {ending.returncode} without a record and without a word",
    }


def stopped(deadline_s: float, deadline_code: str) -> dict[str, Any]:
    """Status and reason of a cell that was stopped at a deadline.

    Only its own limit says that the model is too slow. What the run's limit cuts off was not
    measured, as if it had not been started.
    """
    if deadline_code == "run_time_limit":
        return {
            "status": "skipped",
            "reason_code": deadline_code,
            "reason": f"the run's time limit stopped it after {deadline_s:.0f} s",
        }
    return {
        "status": "timeout",
        "reason_code": deadline_code,
        "reason": f"stopped after {deadline_s:.0f} s without a result",
    }


def worker_environment(cell: Cell) -> dict[str, str]:
    """Environment variables of a worker: the caller's, with what must be the same in every run."""
    environment = dict(os.environ)
    # Older and newer name of one setting; the older would be read as well.
    environment.pop("PYTORCH_CUDA_ALLOC_CONF", None)
    environment.pop("PYTORCH_ALLOC_CONF", None)
    environment["PYTHONUNBUFFERED"] = "1"
    # Huge pages: fewer page faults on maps of hundreds of megabytes. Read once, at start.
    environment["THP_MEM_ALLOC_ENABLE"] = "1"
    if cell.device.partition(":")[0] == "cuda":
        # One growing segment instead of many: what is reserved stays near what is allocated.
        environment["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    if cell.threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = str(cell.threads)
    # Whatever a worker starts must run the parent's code, too (itself it gets it as an argument).
    if not INSTALLED and os.pathsep not in str(ROOT):
        inherited = environment.get("PYTHONPATH")
        paths = [str(ROOT), *([inherited] if inherited else [])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


def _run(
    command: Sequence[str], *, environment: dict[str, str], output: Path, deadline_s: float
) -> Ending:
    started = time.monotonic()
    with OomWatch() as watch:
        host.unbind()
        with output.open("wb") as sink:
            # A session of its own: Ctrl-C in the terminal reaches the parent alone, which decides.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        timed_out = False
        try:
            timed_out = not _ended_within(process.pid, deadline_s)
        finally:
            # Before it is reaped, the number cannot belong to anybody else. Also after a normal
            # end, for what the worker may have started.
            _kill_group(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        duration_s = time.monotonic() - started
        rss_unit = 1 if sys.platform == "darwin" else 1024
        evidence = None
        if process.returncode == -signal.SIGKILL and not timed_out:
            evidence = watch.evidence(process.pid, peak_rss_bytes=usage.ru_maxrss * rss_unit)
    return Ending(
        returncode=process.returncode,
        timed_out=timed_out,
        duration_s=duration_s,
        killed_for_memory=evidence,
        output=_tail(output),
    )


def _ended_within(pid: int, seconds: float) -> bool:
    """Sleep until the child has ended or the time is over. Leaves it to be reaped."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an old kernel, or a sandbox that forbids it
        return _ended_within_by_timer(pid, seconds)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _ended_within_by_timer(pid: int, seconds: float) -> bool:
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _kill_group(pid)

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    finally:
        timer.cancel()
        timer.join()  # the caller reaps next, after which the number is no longer the worker's
    return not expired.is_set()


def _kill_group(pid: int) -> None:
    # PermissionError is how macOS answers for a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace")


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:_REASON_LENGTH] if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"

"""Work that needs PyTorch, done in a process of its own by one that must stay small."""

import contextlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from bench.errors import EnvironmentUnfitError
from bench.measure.oom_killer import offer_to_oom_killer
from bench.run.worker import die_with_parent

Result = TypeVar("Result")


def apart(work: Callable[[], Result], *, what: str) -> Result:
    """Return what ``work`` returns, computed in a child process that has gone when it is there.

    PyTorch takes 300 MB of a process for as long as that lives, and may bind it to one core. The
    parent of the workers waits beside them all the time, so it leaves that to the child: its
    results are pickled, and so are its exceptions. Where PyTorch is loaded already there is nothing
    to save, and the work is done here.

    Args:
        work: may print; changes of this process's state are lost.
        what: it does, for messages: ``preparing the run``.

    Raises:
        EnvironmentUnfitError: when the child was killed; else what ``work`` raises.
    """
    if "torch" in sys.modules or not hasattr(os, "fork"):
        return work()
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    parent = os.getpid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _answer(work, write, parent)
    os.close(write)
    try:
        with os.fdopen(read, "rb") as source:
            answer = source.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if not answer:
        code = os.waitstatus_to_exitcode(status)
        killed = code == -signal.SIGKILL
        why = "was killed, as the system does for want of memory" if killed else f"ended: {code}"
        raise EnvironmentUnfitError(f"{what} {why}")
    succeeded, value = pickle.loads(answer)
    if not succeeded:
        raise value
    result: Result = value
    return result


def _answer(work: Callable[[], Any], write: int, parent: int) -> NoReturn:
    offer_to_oom_killer()
    die_with_parent(parent)
    try:
        answer = _pickled((True, work()))
    except BaseException as error:
        error.add_note("".join(traceback.format_tb(error.__traceback__)))
        try:
            answer = _pickled((False, error))
        except Exception:
            answer = _pickled((False, RuntimeError("".join(traceback.format_exception(error)))))
    with contextlib.suppress(BrokenPipeError), os.fdopen(write, "wb") as sink:
        sink.write(answer)
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    # Without the parent's handlers and what else ends with a process.
    os._exit(0)


def _pickled(value: object) -> bytes:
    content = pickle.dumps(value)
    pickle.loads(content)  # an exception may be written and not be read
    return content


def _flush(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, full, or none at all
        stream.flush()

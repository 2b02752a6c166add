"""What is measured once, beside the cells, in a fresh process under a worker's environment."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.cells import Cell
from bench.errors import EnvironmentUnfitError
from bench.run.executor import worker_environment
from bench.run.launch import module_command
from distill import host


def measure_aside(
    module: str,
    arguments: Sequence[str],
    *,
    like: Cell,
    out: Path,
    longest_s: float,
    what: str,
    advice: str,
) -> bytes:
    """Run ``python -m MODULE ARGUMENTS`` as a worker of a cell would run, and read what it wrote.

    Args:
        module: what to run.
        arguments: its command line.
        like: the cell whose device and threads it has.
        out: the file that it writes.
        longest_s: after which it is stopped.
        what: for messages: ``calibrating cpu``.
        advice: what to do when it takes too long.

    Raises:
        EnvironmentUnfitError: when it takes too long, fails or writes nothing.
    """
    host.unbind()
    try:
        done = subprocess.run(
            [*module_command(module), *arguments],
            env=worker_environment(like),
            capture_output=True,
            text=True,
            timeout=longest_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentUnfitError(
            f"{what} took longer than {longest_s:.0f} s; {advice}"
        ) from None
    if done.returncode != 0 or not out.is_file():
        if done.returncode == -signal.SIGKILL:
            raise EnvironmentUnfitError(
                f"{what} was killed, as the system does for want of memory: {advice}"
            )
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise EnvironmentUnfitError(f"{what} failed: {last}")
    return out.read_bytes()

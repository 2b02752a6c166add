"""One version measuring itself, a process at a time when it has its turn.

    python -P driver.py READ_FD WRITE_FD

This file belongs to the version that compares and runs in the environment of one that is compared,
so it imports nothing of ``bench`` but what that one must have. It does what ``bench run`` does, and
before each worker process says so and waits. Lines of JSON: first comes the job, then it answers

    {"event": "ready", "cell": ..., "repeat": ...}     and waits for a line: its turn
    {"event": "done", "record": PATH}                  the process has ended
    {"event": "end"}                                   all is measured
    {"event": "failed", "problems": [...], "exit_code": ...}

A closed pipe ends it, as an interrupt does: what was measured is kept.
"""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ("bench", "distill", "reports")
_OPTIONS = frozenset({"out", "device", "resume", "quiet", "processes", "worker"})
_WHERE = "import json; import {}; print(json.dumps([m.__file__ for m in ({},)]))"


class RefusedError(Exception):
    """The version cannot be measured; as the project's ``UserError`` is, which may not be there."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Channel:
    """Two pipes to whoever gives the turns."""

    def __init__(self, read: int, write: int) -> None:
        self._read = os.fdopen(read, encoding="utf-8")
        self._write = os.fdopen(write, "w", encoding="utf-8")

    def say(self, event: str, **fields: Any) -> None:
        """Send an event."""
        print(json.dumps({"event": event, **fields}), file=self._write, flush=True)

    def listen(self) -> Any:
        """Wait for a line. Raises ``KeyboardInterrupt`` if there is nobody to send one."""
        line = self._read.readline()
        if not line:
            raise KeyboardInterrupt
        return json.loads(line)


def main() -> int:
    """Do the job. Returns the exit status."""
    channel = Channel(int(sys.argv[1]), int(sys.argv[2]))
    # They are not the workers' business: a worker that outlived us would keep the pipe open.
    for descriptor in map(int, sys.argv[1:3]):
        os.set_inheritable(descriptor, False)
    try:
        measure(channel.listen(), channel)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        problems = getattr(error, "problems", None)
        if problems is None:
            raise
        channel.say("failed", problems=problems, exit_code=getattr(error, "exit_code", 2))
        return 1
    channel.say("end")
    return 0


def measure(job: dict[str, Any], channel: Channel) -> None:
    """Run the job's scenario, or complete the job's run."""
    check_imports(Path(job["root"]))
    from bench.run import runner
    from bench.scenario import load_scenario

    lacking = _OPTIONS - inspect.signature(runner.run_scenario).parameters.keys()
    if lacking or not hasattr(runner, "run_cell"):
        raise RefusedError("cannot be measured in turn: it is older than what that takes")
    runner.run_cell = in_turn(runner.run_cell, channel)
    resume = job["resume"]
    options: dict[str, Any] = {} if job["worker"] is None else {"worker": tuple(job["worker"])}
    runner.run_scenario(
        None if resume else load_scenario(Path(job["scenario"]), job["overrides"]),
        out=Path(job["out"]),
        device=job["device"],
        resume=Path(resume) if resume else None,
        processes=job["processes"] if resume else None,
        quiet=True,
        **options,
    )


def check_imports(root: Path) -> None:
    """Raise ``RefusedError`` unless packages come from ``root``, here and in processes of ours."""
    for package in PACKAGES:
        __import__(package)
    names = ", ".join(PACKAGES)
    asked = [sys.executable, "-P", "-c", _WHERE.format(names, names)]
    told = subprocess.run(asked, capture_output=True, check=True).stdout
    for files in ([sys.modules[name].__file__ for name in PACKAGES], json.loads(told)):
        for file in files:
            if not Path(str(file)).resolve().is_relative_to(root):
                raise RefusedError(f"runs {file} instead of its own code in {root}")


def in_turn(run_cell: Callable[..., Any], channel: Channel) -> Callable[..., Any]:
    """``run_cell`` that first waits for its turn."""

    def wait_and_run(cell: Any, folder: Any, *, repeat: int = 0, **options: Any) -> Any:
        channel.say("ready", cell=cell.label(), repeat=repeat)
        channel.listen()
        record = run_cell(cell, folder, repeat=repeat, **options)
        channel.say("done", record=str(folder.record_path(cell.id, repeat)))
        return record

    return wait_and_run


if __name__ == "__main__":
    sys.exit(main())

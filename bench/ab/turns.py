"""Whose turn it is: two versions that measure themselves, one process at a time."""

import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from bench.errors import EnvironmentUnfitError, UserError
from bench.run.interrupts import undisturbed
from distill.suggest import one_line

Side = Literal["base", "new"]
SIDES: tuple[Side, Side] = ("base", "new")
_DRIVER = Path(__file__).with_name("driver.py")
_PATIENCE_S = 30.0
"""For a version to put away what it has, before it is killed."""


class Task(NamedTuple):
    """One process that a side is about to start."""

    cell: str
    """What sets the cell apart, in words."""
    repeat: int


class Driver:
    """A version that measures itself; a context manager that leaves no process behind.

    Args:
        label: of the version, for messages.
        python: what runs it.
        environment: variables under which ``python`` finds the version's code.
        log: file for what it prints.
    """

    def __init__(
        self, label: str, *, python: str, environment: Mapping[str, str], log: Path
    ) -> None:
        self.label = label
        self._log = log
        theirs_read, ours_write = os.pipe()
        ours_read, theirs_write = os.pipe()
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [python, "-P", str(_DRIVER), str(theirs_read), str(theirs_write)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                pass_fds=(theirs_read, theirs_write),
                start_new_session=True,  # Ctrl-C reaches us alone, who then end it
            )
        os.close(theirs_read)
        os.close(theirs_write)
        self._read = os.fdopen(ours_read, encoding="utf-8")
        self._write = os.fdopen(ours_write, "w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with undisturbed():
            # A request to end, for it may be measuring; it takes its worker with it.
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            with contextlib.suppress(BrokenPipeError):
                self._write.close()
            self._read.close()

    def send(self, message: Any = None) -> None:
        """The job, or the word that it is its turn. A version that is gone shows when asked."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(message), file=self._write, flush=True)

    def parked(self) -> Task | None:
        """Wait until it wants its turn; None once it has measured all.

        Raises ``UserError`` or ``EnvironmentUnfitError`` if it cannot go on.
        """
        event = self._receive()
        return None if event["event"] == "end" else Task(event["cell"], event["repeat"])

    def record_path(self) -> Path:
        """Wait until the process whose turn it was has ended. Raises as :meth:`parked` does."""
        return Path(self._receive()["record"])

    def _receive(self) -> Any:
        line = self._read.readline()
        if not line:
            raise UserError(one_line(f"{self.label}: stopped unexpectedly: {self._last_words()}"))
        event = json.loads(line)
        if event["event"] == "failed":
            kind = EnvironmentUnfitError if event["exit_code"] == 4 else UserError
            raise kind(*(one_line(f"{self.label}: {text}") for text in event["problems"]))
        return event

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"{said[-1][:300]} (more in {self._log})" if said else f"{self._log} is empty"


def take_turns(base: Driver, new: Driver, *, seed: int) -> Iterator[tuple[Side, Task, Path]]:
    """Give turns until both have measured all; yields each process that has ended, and its record.

    Nobody measures before both wait: what one does between two processes must not disturb the
    other.
    """
    drivers: dict[Side, Driver] = {"base": base, "new": new}
    waiting = _all(drivers)
    done: dict[Side, set[Task]] = {"base": set(), "new": set()}
    while (side := whose_turn(waiting, done, seed=seed)) is not None:
        driver, task = drivers[side], waiting[side]
        assert task is not None
        driver.send()
        record = driver.record_path()
        done[side].add(task)
        waiting[side] = driver.parked()
        yield side, task, record


def whose_turn(
    waiting: Mapping[Side, Task | None], done: Mapping[Side, set[Task]], *, seed: int
) -> Side | None:
    """The side that goes next; None if neither waits.

    Both measure the same cells in the same rounds, mostly: a cell that failed on one side has no
    further rounds there. So that the sides' n-th processes of a cell stand next to each other,
    nobody gets a round ahead, and what the other has just measured comes first.
    """
    base, new = waiting["base"], waiting["new"]
    if base is None or new is None:
        return "new" if new else "base" if base else None
    if base == new:
        return first_of(base, seed=seed)
    if base.repeat != new.repeat:
        return "base" if base.repeat < new.repeat else "new"
    return "new" if new in done["base"] else "base"


def first_of(task: Task, *, seed: int) -> Side:
    """The side that begins: drawn for every second round of a cell, and reversed in the next.

    So of base (A) and new (B) a cell is measured ABBA or BAAB, and a drift of the machine that is
    the same from process to process cancels.
    """
    # Text as a seed gives the same numbers in every version of Python.
    drawn = random.Random(f"{seed}/{task.cell}/{task.repeat // 2}").random() < 0.5
    return SIDES[drawn ^ (task.repeat % 2)]


def _all(drivers: Mapping[Side, Driver]) -> dict[Side, Task | None]:
    """Wait for both, and tell what is wrong with either."""
    found: dict[Side, Task | None] = {}
    errors: list[UserError] = []
    for side, driver in drivers.items():
        try:
            found[side] = driver.parked()
        except UserError as error:
            errors.append(error)
    if errors:
        kind = type(errors[0])
        raise kind(*dict.fromkeys(problem for error in errors for problem in error.problems))
    return found

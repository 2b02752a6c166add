"""A measurement of two versions in turn: its folder, from which it can be resumed, and the run.

ab-NAME-TIME/  ab.json  base/RUN_FOLDER  new/RUN_FOLDER  base.log  new.log
"""

import contextlib
import json
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from bench.ab.checkouts import Version, checked_out, find_repository
from bench.ab.interpreters import (
    Kind,
    compile_packages,
    environment_for,
    needs_own,
    own_interpreter,
)
from bench.ab.turns import SIDES, Driver, Side, take_turns
from bench.cells import Cell, Frozen
from bench.errors import UserError, disk_error
from bench.run.interrupts import interruptible
from bench.run.progress import duration_text, label, outcome, printable
from bench.run.records import read_record, read_records, write_file
from bench.run.store import SCENARIO, make_unique
from bench.run.turn_numbers import TurnCounter
from bench.scenario import load_scenario
from distill.files import folder_made, read_regular
from distill.suggest import one_line

PLAN = "ab.json"


class Plan(Frozen):
    """What is measured and how; ``ab.json``."""

    format: Literal["ultrastyle-bench ab"] = "ultrastyle-bench ab"
    schema_version: Literal[1] = 1
    base: Version
    new: Version
    scenario: str
    """Absolute path of the file, which both versions read."""
    overrides: tuple[str, ...] = ()
    """``KEY=VALUE``, as ``--set`` takes them."""
    device: str | None = None
    """None for what the scenario says."""
    processes: int
    """Of each side for each timed cell."""
    seed: int = 0
    """Of the order within each pair."""
    environment: Kind = "auto"

    def version(self, side: Side) -> Version:
        """The version of a side."""
        return self.base if side == "base" else self.new


class Runs(NamedTuple):
    """The run folders of the two sides."""

    base: Path
    new: Path


def create(plan: Plan, out: Path) -> Path:
    """Make ``out/ab-NAME-TIME`` for a measurement."""
    name = load_scenario(Path(plan.scenario), plan.overrides).name
    try:
        with folder_made(out):
            folder = make_unique(out, f"ab-{name}-{datetime.now():%Y%m%d-%H%M%S}")
            try:
                write_plan(plan, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except OSError as error:
        message = one_line(f"{out}: no folder can be made there: {error.strerror}")
        raise disk_error(error, message) from None
    return folder


def write_plan(plan: Plan, folder: Path) -> None:
    """Keep the plan."""
    write_file(folder / PLAN, (json.dumps(plan.model_dump(), indent=1) + "\n").encode())


def read_plan(folder: Path) -> Plan:
    """The plan of a measurement. Raises ``UserError`` if ``folder`` holds none."""
    path = folder / PLAN
    try:
        return Plan.model_validate(json.loads(read_regular(path)))
    except OSError as error:
        raise UserError(
            one_line(
                f"{folder}: not a folder of 'bench ab': {PLAN}: {error.strerror}{_below(folder)}"
            )
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(one_line(f"{path}: {key}: {first['msg']}")) from None
    except ValueError as error:
        raise UserError(one_line(f"{path}: not a whole JSON file: {error}")) from None


def _below(folder: Path) -> str:
    """Where the folder above was named: the newest measurement in it."""
    found = sorted(folder.glob(f"*/{PLAN}"), key=lambda path: path.stat().st_mtime)
    return f"; it holds {shlex.quote(str(found[-1].parent))}" if found else ""


class Place(NamedTuple):
    """Where a version runs."""

    tree: Path
    """Its checkout."""
    python: str
    """Its interpreter."""


@contextlib.contextmanager
def prepared(
    plan: Plan, folder: Path, *, say: Callable[[str], object]
) -> Iterator[Mapping[Side, Place]]:
    """Both versions checked out and ready to run, to be measured as often as need be.

    Args:
        plan: the folder's.
        folder: as :func:`create` made it.
        say: is told what goes on, a line at a time.

    Raises:
        UserError: if a version cannot be checked out or installed.
        KeyboardInterrupt: on Ctrl-C, SIGTERM and SIGHUP, also while it is measured, with the
            worktrees gone, no process left and all that was measured kept.
    """
    versions = [plan.version(side) for side in SIDES]
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible())
        trees = stack.enter_context(checked_out(find_repository(Path()), versions))
        why = needs_own(versions, trees) if plan.environment == "auto" else None
        own = plan.environment == "own" or why is not None
        if why:
            say(f"each version gets an environment of its own: {why}")
        places: dict[Side, Place] = {}
        for side, tree in zip(SIDES, trees, strict=True):
            python = sys.executable
            if own:
                say(f"installing {plan.version(side).label}")
                scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-ab-"))
                log = folder / f"{side}-install.log"
                python = own_interpreter(tree, plan.version(side), Path(scratch), log)
            compile_packages(python, tree)
            places[side] = Place(tree, python)
        yield places


def measure(
    plan: Plan,
    folder: Path,
    places: Mapping[Side, Place],
    *,
    say: Callable[[str], object],
    worker: Sequence[str] | None = None,
) -> Runs:
    """Measure what the folder still lacks.

    Args:
        plan: the folder's.
        folder: as :func:`create` made it.
        places: of both versions, as :func:`prepared` has them.
        say: is told what goes on, a line at a time.
        worker: command of the worker process, for tests.

    Raises:
        UserError: if a version cannot read the scenario or be measured in turn.
    """
    each = [plan.processes if cell.kind == "performance" else 1 for cell in _cells(plan)]
    total = len(SIDES) * sum(each)
    with contextlib.ExitStack() as stack:
        drivers: dict[Side, Driver] = {}
        for side, (tree, python) in places.items():
            drivers[side] = stack.enter_context(
                Driver(
                    f"{side} {plan.version(side).label}",
                    python=python,
                    environment=environment_for(tree),
                    log=folder / f"{side}.log",
                )
            )
            job = _job(plan, folder, side) | {"root": str(tree), "worker": worker}
            drivers[side].send(job)
        begun = [run for side in SIDES if (run := _run_folder(folder, side))]
        _watch(drivers, plan, begun=begun, done=_records(begun), total=total, say=say)
    return Runs(*(_found(folder, side) for side in SIDES))


def _cells(plan: Plan) -> list[Cell]:
    """The scenario's cells, for counting: the versions' own have other ids."""
    scenario = load_scenario(Path(plan.scenario), plan.overrides)
    return scenario.cells("cpu", weights_digest=lambda _: "", code_version="")


def _job(plan: Plan, folder: Path, side: Side) -> dict[str, object]:
    """What a side is to do: start its run, or complete it."""
    begun = _run_folder(folder, side)
    return {
        "scenario": plan.scenario,
        "overrides": [*plan.overrides, f"measure.processes={plan.processes}"],
        "out": str(folder / side),
        "resume": None if begun is None else str(begun),
        "device": plan.device,
        "processes": plan.processes,
    }


def _watch(
    drivers: Mapping[Side, Driver],
    plan: Plan,
    *,
    begun: Sequence[Path],
    done: int,
    total: int,
    say: Callable[[str], object],
) -> None:
    turns = TurnCounter(*begun)
    began: float | None = None
    before = done + 1
    for side, _, path in take_turns(drivers["base"], drivers["new"], seed=plan.seed):
        done += 1
        turns.ended(path)
        try:
            record = read_record(path)
        except ValueError as error:
            raise UserError(one_line(f"{drivers[side].label}: {error}")) from None
        line = f"[{done}/{total}] {side:<4} {record.status:<13} {label(record)}: {outcome(record)}"
        if began is None:  # the versions' own start came before
            began = time.monotonic()
        elif done < total:
            left_s = (time.monotonic() - began) / (done - before) * (total - done)
            line += f"; about {duration_text(left_s)} left"
        say(printable(line))


def _records(runs: Sequence[Path]) -> int:
    """How many processes have been measured before."""
    return sum(len(read_records(run, report=lambda _: None)) for run in runs)


def _run_folder(folder: Path, side: Side) -> Path | None:
    """The run folder of a side; None before it has been made."""
    found = [path.parent for path in (folder / side).glob(f"*/{SCENARIO}")]
    if len(found) > 1:
        raise UserError(one_line(f"{folder / side}: holds several runs; one is expected"))
    return found[0] if found else None


def _found(folder: Path, side: Side) -> Path:
    run = _run_folder(folder, side)
    assert run is not None
    return run

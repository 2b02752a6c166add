"""A run from beginning to end: new or resumed, until done, out of time or interrupted."""

import contextlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.cells import Cell
from bench.errors import UserError
from bench.measure.environment_differences import environment_differences
from bench.record import Record
from bench.run.apart import apart
from bench.run.executor import WORKER, run_cell
from bench.run.foresight import Facts, Foresight, Preparation
from bench.run.interrupts import interruptible
from bench.run.loop import Surroundings, measure_all
from bench.run.progress import duration_text, printable, progress_for, summary
from bench.run.rounds import rounds, unfinished
from bench.run.schedule import Run, in_order
from bench.run.store import RunFolder
from bench.scenario import Scenario, check_storable, load_scenario


def run_scenario(
    scenario: Scenario | None,
    *,
    out: Path,
    device: str | None = None,
    resume: Path | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
    allow_mixed: bool = False,
    processes: int | None = None,
    worker: Sequence[str] = WORKER,
) -> RunFolder:
    """Measure all cells of a scenario, or those that a run folder still lacks.

    Args:
        scenario: what to measure; with ``resume`` None or the same as in the folder.
        out: where a new run folder is made.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; None for what the scenario says.
        resume: a run folder to complete; ``out`` is not used then.
        retry_failed: with ``resume``, repeat the cells that failed, and those that were skipped
            for what failed or for want of time.
        quiet: print only how it ended.
        allow_mixed: with ``resume``, go on although the machine, the versions or the settings have
            changed.
        processes: with ``resume``, measure each cell in this many processes from now on, not fewer
            than so far; the folder's scenario is changed accordingly.
        worker: command of the worker process, for tests.

    Returns:
        The run folder, closed, with ``records.parquet`` written.

    Raises:
        UserError: for a scenario, folder or device that will not do; nothing was measured.
        KeyboardInterrupt: on Ctrl-C, SIGTERM and SIGHUP, once the worker is gone and everything
            that was measured is kept; how to resume has been printed.
    """
    began = time.monotonic()
    folder = None
    if resume is not None:
        folder = RunFolder.open(resume)
    with contextlib.ExitStack() as stack:
        if folder is not None:
            stack.enter_context(folder)
            scenario = _scenario_of(folder, scenario)
        if scenario is None:
            raise UserError("neither a scenario nor a run folder to resume was given")
        if folder is None:
            check_storable(scenario)
        elif processes is not None:
            scenario = _with_processes(folder, scenario, processes)
        say = _say_nothing if quiet else _say
        ready = apart(
            partial(_prepare, scenario, device or scenario.device, say), what="preparing the run"
        )
        if folder is not None:
            if not allow_mixed:
                _refuse_other_environment(folder, ready.environment)
            if processes is not None:
                folder.write_scenario(scenario)
        else:
            folder = stack.enter_context(RunFolder.create(out, scenario, ready.environment))
        gmacs = {key: value["gmacs"] for key, value in ready.facts.items()}
        with interruptible():
            _run(
                folder,
                in_order(
                    ready.cells, gmacs, ready.foresight.seconds(ready.cells), rank=scenario.rank
                ),
                ready.facts,
                ready.foresight,
                listed=lambda cell: scenario.rank(cell) < len(scenario.priority),
                began=began,
                processes=scenario.measure.processes,
                run_time_limit_s=scenario.run_time_limit,
                device=ready.device,
                retry_failed=retry_failed,
                quiet=quiet,
                notes=[text] if (text := ready.environment.get("git_problem")) else [],
                worker=worker,
            )
    return folder


def _run(
    folder: RunFolder,
    cells: Sequence[Cell],
    facts: Mapping[str, Facts],
    foresight: Foresight,
    *,
    listed: Callable[[Cell], bool],
    began: float,
    processes: int,
    run_time_limit_s: float | None,
    device: str,
    retry_failed: bool,
    quiet: bool,
    notes: Sequence[str],
    worker: Sequence[str],
) -> None:
    problems: list[str] = []
    records = folder.records(report=problems.append)
    tasks = rounds(cells, processes)
    todo = unfinished(tasks, records, retry_failed=retry_failed)
    progress = progress_for(total=len(tasks), done=len(tasks) - len(todo), quiet=quiet)

    def end(how: str, *more: str) -> None:
        folder.write_parquet()
        ours = {cell.id for cell in cells}
        kept = [r for r in folder.records(report=lambda _: None) if r.id in ours]
        took = duration_text(time.monotonic() - began)
        what = f"{len({r.id for r in kept})} of {len(cells)} cells"
        if processes > 1:
            what += f" in {len(kept)} processes"
        what += f" ({summary(kept)})"
        progress.end("; ".join([f"{folder.path}: {how} after {took} with {what}", *more]))

    try:
        with progress:
            for text in (*notes, *problems):
                progress.note(text)
            again = {(task.cell.id, task.repeat) for task in todo}
            measure_all(
                todo,
                # A failure that is to be repeated must not decide about other cells.
                [record for record in records if (record.id, record.repeat) not in again],
                Surroundings(
                    facts=facts,
                    foresight=foresight,
                    progress=progress,
                    measure=partial(_measure, folder, foresight, worker),
                    write=folder.write_record,
                    now=time.monotonic,
                    listed=listed,
                ),
                run_ends=None if run_time_limit_s is None else began + run_time_limit_s,
            )
    except KeyboardInterrupt:
        scenario, path = (shlex.quote(str(p)) for p in (folder.scenario_path, folder.path))
        end(
            "stopped",
            f"go on with: bench run {scenario} --device {device} --resume {path}",
        )
        raise
    folder.remove_teacher()
    end("done")


def _measure(
    folder: RunFolder,
    foresight: Foresight,
    worker: Sequence[str],
    cell: Cell,
    run: Run,
    *,
    repeat: int,
    known: Facts,
) -> Record:
    """Measure one cell in a fresh process; its record is in the folder then."""
    record = run_cell(
        cell,
        folder,
        deadline_s=run.deadline_s,
        deadline_code=run.deadline_code,
        repeat=repeat,
        known=known,
        worker=worker,
    )
    record = record.model_copy(update=foresight.fields(cell))
    folder.write_record(record)
    return record


def _say(text: str) -> None:
    print(printable(text), flush=True)


def _say_nothing(_: str) -> None:
    """For quiet runs."""


def _prepare(scenario: Scenario, device: str, report: Callable[[str], object]) -> Preparation:
    from bench.run.preparation import prepare  # with PyTorch, which this process does without

    return prepare(scenario, device, report=report)


def _scenario_of(folder: RunFolder, given: Scenario | None) -> Scenario:
    try:
        kept = load_scenario(folder.scenario_path, ())
    except UserError as error:
        raise UserError(
            *(f"{problem}; the run cannot be resumed" for problem in error.problems)
        ) from None
    same = given is None or (
        # More processes may have been asked for since.
        _measured_in(given, kept.measure.processes).resolved_yaml() == kept.resolved_yaml()
    )
    if not same:
        raise UserError(
            f"{folder.path}: was made by another scenario than the one given; start a new run, or "
            f"resume with {folder.scenario_path}"
        )
    return kept


def _with_processes(folder: RunFolder, scenario: Scenario, processes: int) -> Scenario:
    """The folder's scenario with more processes."""
    before = scenario.measure.processes
    if processes < before:
        raise UserError(
            f"{folder.path}: measures each cell in {before} processes; {processes} are fewer, and "
            "a run keeps what it has"
        )
    return _measured_in(scenario, processes)


def _measured_in(scenario: Scenario, processes: int) -> Scenario:
    measure = scenario.measure.model_copy(update={"processes": processes})
    return scenario.model_copy(update={"measure": measure})


def _refuse_other_environment(folder: RunFolder, environment: dict[str, Any]) -> None:
    differences = environment_differences(folder.environment(), environment)
    if differences:
        raise UserError(
            *(
                f"{folder.path}: was measured in another environment: {difference}"
                for difference in differences
            ),
            f"{folder.path}: numbers of two environments do not compare: start a new run, or "
            "complete this one all the same with --allow-mixed",
        )

"""A run from beginning to end: new or resumed, until done, out of time or interrupted."""

import contextlib
import shlex
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.cells import Cell
from bench.errors import UserError
from bench.measure.environment_differences import environment_differences
from bench.record import Record
from bench.run.apart import apart
from bench.run.draft import random_weights_reason, unmeasured
from bench.run.executor import WORKER, run_cell
from bench.run.foresight import Facts, Foresight, Preparation
from bench.run.interrupts import interruptible
from bench.run.progress import Progress, duration_text, progress_for, summary
from bench.run.rounds import Task, ended, rounds, unfinished
from bench.run.schedule import (
    Measured,
    Run,
    Skip,
    by_work,
    decide,
    least_times_s,
    time_left_s,
)
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
        ready = apart(
            partial(_prepare, scenario, device or scenario.device), what="preparing the run"
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
                by_work(ready.cells, gmacs, ready.foresight.seconds(ready.cells)),
                ready.facts,
                ready.foresight,
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
    processes: int,
    run_time_limit_s: float | None,
    device: str,
    retry_failed: bool,
    quiet: bool,
    notes: Sequence[str],
    worker: Sequence[str],
) -> None:
    began = time.monotonic()
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
            _measure_all(
                folder,
                todo,
                # A failure that is to be repeated must not decide about other cells.
                [record for record in records if (record.id, record.repeat) not in again],
                facts,
                foresight,
                progress,
                run_ends=None if run_time_limit_s is None else began + run_time_limit_s,
                worker=worker,
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


def _measure_all(
    folder: RunFolder,
    tasks: Sequence[Task],
    records: list[Record],
    facts: Mapping[str, Facts],
    foresight: Foresight,
    progress: Progress,
    *,
    run_ends: float | None,
    worker: Sequence[str],
) -> None:
    measured = Measured(records, prior=foresight.prior)
    gmacs = {key: value["gmacs"] for key, value in facts.items()}
    cells = [task.cell for task in tasks]
    over = ended(records)
    for position, (cell, repeat) in enumerate(tasks):
        if repeat and cell.id in over:
            continue
        known = {**facts[cell.id], **foresight.fields(cell)}
        estimate = measured.estimate(cell, gmacs=gmacs[cell.id])
        later = [] if run_ends is None else cells[position + 1 :]
        others = least_times_s(later, measured, gmacs, fits=foresight.fits)
        decision = decide(
            cell,
            records,
            estimate,
            run_time_left_s=None if run_ends is None else run_ends - time.monotonic(),
            others_s=sum(others),
            others=len(others),
        )
        if cell.kind == "quality" and known["weights"] == "random":
            record = unmeasured(
                cell,
                "skipped",
                "random_weights",
                random_weights_reason(cell.model),
                repeat=repeat,
                known=known,
            )
            folder.write_record(record)
        elif isinstance(decision, Run) and (hopeless := foresight.hopeless(cell)):
            record = unmeasured(cell, "skipped", "predicted", hopeless, repeat=repeat, known=known)
            folder.write_record(record)
        elif isinstance(decision, Skip):
            record = unmeasured(
                cell,
                "skipped",
                decision.reason_code,
                decision.reason,
                repeat=repeat,
                known=known,
                estimate_s=decision.estimate_s,
            )
            folder.write_record(record)
        else:
            progress.started(
                cell,
                estimate_s=None if estimate is None else estimate.seconds,
                time_left_s=time_left_s(cells[position:], measured, gmacs),
            )
            record = run_cell(
                _within(cell, decision.budget_s),
                folder,
                deadline_s=decision.deadline_s,
                deadline_code=decision.deadline_code,
                repeat=repeat,
                known=known,
                worker=worker,
            )
            record = record.model_copy(update=foresight.fields(cell))
            folder.write_record(record)
        records.append(record)
        over |= ended([record])
        measured.add(record)
        progress.finished(record)


def _within(cell: Cell, budget_s: float) -> Cell:
    """The same cell (its id does not change) with no more time than the run has left."""
    if budget_s >= cell.measure.cell_time_limit_s:
        return cell
    measure = cell.measure.model_copy(update={"cell_time_limit_s": budget_s})
    return cell.model_copy(update={"measure": measure})


def _prepare(scenario: Scenario, device: str) -> Preparation:
    from bench.run.preparation import prepare  # with PyTorch, which this process does without

    return prepare(scenario, device)


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
            f"{folder.path}: numbers of two environments do not compare: start a new run, or allow "
            "the mixture",
        )

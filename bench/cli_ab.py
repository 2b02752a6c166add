"""``bench ab``: two versions of the code, measured in turn and compared."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli_compare import (
    AllOption,
    AllowDifferent,
    FormatOption,
    MaxMemoryGrowth,
    MaxQualityLoss,
    MaxSlowdown,
    MetricOption,
    OutputOption,
    Partial,
    checked,
    compared,
    tell,
    write,
)
from bench.errors import UserError

if TYPE_CHECKING:
    from bench.ab.session import Plan

PROCESSES = 5
"""Of each side, where neither the command nor the scenario says."""

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.


def ab(
    base_ref: Annotated[
        str | None,
        typer.Argument(metavar="BASE_REF", help="Commit, branch or tag to compare with."),
    ] = None,
    new_ref: Annotated[
        str | None,
        typer.Argument(
            metavar="NEW_REF",
            help="What is compared: as BASE_REF, or '.' for the tree as it stands, with what is "
            "not committed.",
        ),
    ] = None,
    scenario: Annotated[
        Path | None, typer.Argument(help="Scenario file; both versions read this one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder in which ab-NAME-TIME is made; runs if not given.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N; overrides the scenario's.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--repeats-across-processes",
            metavar="N",
            min=1,
            max=1000,
            help=f"Processes of each side for each timed cell; {PROCESSES} unless the scenario "
            "asks for several. With --resume, raise the number to N.",
        ),
    ] = None,
    again: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=1000,
            help="Where these cannot tell, go on, once, to N processes of each side: twice as many "
            "if not given, not at all with 0 or with --resume.",
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            help="auto (if not given); shared: this Python's packages with each version's code; "
            "own: a virtual environment for each, made with pip. auto is shared if both versions "
            "declare the same dependencies and they are met, else own."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the order within each pair of processes; 0.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Complete this folder of 'bench ab', instead of naming versions."),
    ] = None,
    max_slowdown: MaxSlowdown = "5%",
    max_memory_growth: MaxMemoryGrowth = "2%",
    max_quality_loss: MaxQualityLoss = "2%",
    metric: MetricOption = None,
    partial: Partial = False,
    allow_different_environment: AllowDifferent = False,
    format_: FormatOption = None,
    output: OutputOption = None,
    all_: AllOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")] = False,
) -> int:
    """Measure two commits in turn on this machine, process by process, and compare them.

    Exit codes as those of 'bench compare'.
    """
    wanted = checked(
        max_slowdown=max_slowdown,
        max_memory_growth=max_memory_growth,
        max_quality_loss=max_quality_loss,
        metric=metric,
        partial=partial,
        allow_different_environment=allow_different_environment,
        format_=format_,
        output=output,
        everything=all_,
    )
    from bench.ab.session import create, measure, prepared, read_plan, write_plan

    def say(text: str) -> None:  # standard output is the comparison's
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    if resume is not None:
        if base_ref is not None or set_ or (out, device, environment, seed) != (None,) * 4:
            raise UserError(
                "--resume DIR takes versions, scenario, settings and place from DIR alone: leave "
                "out --out, --set, --device, --environment and --seed"
            )
        plan = read_plan(resume)
        if processes is not None and processes < plan.processes:
            raise UserError(
                f"{resume}: has {plan.processes} processes a side; {processes} are fewer, and what "
                "is measured is kept"
            )
        plan = plan.model_copy(update={"processes": processes or plan.processes})
    elif base_ref is None or new_ref is None or scenario is None:
        raise UserError("give BASE_REF NEW_REF SCENARIO, or --resume DIR to complete a measurement")
    else:
        plan = _plan(
            base_ref,
            new_ref,
            scenario,
            overrides=tuple(set_ or ()),
            device=device,
            processes=processes,
            environment=environment or "auto",
            seed=seed or 0,
        )
    if again is None:
        again = 0 if resume else 2 * plan.processes
    if again and again <= plan.processes:
        raise UserError(
            f"--again {again}: not more than the {plan.processes} processes a side of before"
        )
    folder = resume or create(plan, out or Path("runs"))
    write_plan(plan, folder)
    for name, version in (("base", plan.base), ("new", plan.new)):
        say(f"{name + ':':<6}{version.label}")
    if (plan.base.commit, plan.base.tree) == (plan.new.commit, plan.new.tree):
        say("both are the same code: what differs is this machine's noise")
    try:
        with prepared(plan, folder, say=say) as places:
            comparison = compared(*measure(plan, folder, places, say=say), wanted)
            if again and comparison.exit_code == 3 and comparison.more_processes_may_tell:
                say(f"{plan.processes} processes a side cannot tell: going on to {again}")
                plan = plan.model_copy(update={"processes": again})
                write_plan(plan, folder)
                comparison = compared(*measure(plan, folder, places, say=say), wanted)
    except KeyboardInterrupt:
        resumed = shlex.join(["bench", "ab", "--resume", str(folder)])
        print(f"{folder}: stopped; go on with: {resumed}", file=sys.stderr)
        raise
    kept = {folder / "comparison.json": "json", folder / "comment.md": "md"}
    write(comparison, kept, everything=True)
    tell(comparison, wanted)
    if comparison.exit_code == 3 and comparison.more_processes_may_tell:
        resumed = shlex.join(["bench", "ab", "--resume", str(folder)])
        say(f"more processes: {resumed} --repeats-across-processes N")
    return comparison.exit_code


def _plan(
    base_ref: str,
    new_ref: str,
    scenario: Path,
    *,
    overrides: tuple[str, ...],
    device: str | None,
    processes: int | None,
    environment: str,
    seed: int,
) -> "Plan":
    """What is to be measured. Raises ``UserError`` before anything is checked out."""
    from bench.ab.checkouts import UNCOMMITTED, find_repository, find_version, has_changes
    from bench.ab.interpreters import parse_kind
    from bench.ab.session import Plan
    from bench.scenario import load_scenario

    kind = parse_kind(environment)
    loaded = load_scenario(scenario, overrides)
    repository = find_repository(Path())
    plan = Plan(
        base=find_version(repository, base_ref),
        new=find_version(repository, new_ref),
        scenario=str(scenario.resolve()),
        overrides=overrides,
        device=device,
        processes=processes
        or (loaded.measure.processes if loaded.measure.processes > 1 else PROCESSES),
        seed=seed,
        environment=kind,
    )
    if not {base_ref, new_ref} & {*UNCOMMITTED} and has_changes(repository):
        print("what is not committed is not measured; NEW_REF '.' measures it", file=sys.stderr)
    return plan

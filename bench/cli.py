"""``bench``: measure stylizers, and report what was measured."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli_ab import ab
from bench.cli_baseline import baseline_app
from bench.cli_compare import compare
from bench.cli_max_resolution import max_resolution, search_largest
from bench.cli_plan import plan
from bench.cli_report import report, write_run_report
from bench.cli_roofline import roofline
from bench.cli_study import study_app
from bench.errors import UserError
from distill.command_line import add_version, console, run_app
from distill.streams import courtesy

if TYPE_CHECKING:
    from bench.scenario import Scenario

app = typer.Typer(
    name="bench",
    help="How big an image can a stylizer do on this machine, how fast, at what memory, and what "
    "did compression cost in quality? Exit codes: 0 done, 1 a check failed, 2 wrong use or bad "
    "input, 3 inconclusive, 4 the environment cannot do it, 70 the tool itself failed, 130 "
    "interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
add_version(app)
app.add_typer(study_app)
app.add_typer(baseline_app)
app.command()(compare)
app.command()(ab)
app.command()(report)
app.command()(plan)
app.command("max-resolution")(max_resolution)
app.command()(roofline)

RUNS = Path("runs")
"""Where run folders are made if nothing else is said."""

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.

DeviceOption = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or cuda:N; overrides the scenario's.")
]


@app.command()
def run(
    scenario: Annotated[
        Path | None, typer.Argument(help="Scenario file; not needed with --resume.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder in which the run's own folder is made; runs if not given."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated."),
    ] = None,
    device: DeviceOption = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--repeats-across-processes",
            metavar="N",
            min=1,
            max=1000,
            help="Measure each timed cell in N fresh processes, in rounds over all cells, as "
            "'bench compare' needs it (measure.processes); with --resume, raise the number to N.",
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Complete this run folder instead of starting one.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: repeat failed cells too.")
    ] = False,
    allow_mixed: Annotated[
        bool,
        typer.Option("--allow-mixed", help="With --resume: go on in a changed environment."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate and list the cells; measure nothing.")
    ] = False,
    search: Annotated[
        bool,
        typer.Option(
            "--max-resolution",
            help="Afterwards search for the largest image of each model under the memory cap, as "
            "'bench max-resolution' does, for the table of models: minutes to hours. With "
            "--resume, for a run that is done.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit with 1 if a cell crashed, timed out, lacked memory, or was skipped for want "
            "of time or memory.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the end.")] = False,
) -> int:
    """Measure every cell of a scenario, each in a fresh process, and write the report."""
    from bench.scenario import load_scenario

    if scenario is None and resume is None:
        raise UserError("give a scenario file, or --resume RUN_DIR to complete a run")
    if resume is not None and out is not None:
        raise UserError("--out does not go with --resume: a run stays in its folder")
    if resume is not None and set_:
        raise UserError("--set does not go with --resume: a run keeps its settings")
    if resume is None and (retry_failed or allow_mixed):
        raise UserError("--retry-failed and --allow-mixed go with --resume RUN_DIR")
    overrides = list(set_ or ())
    if processes is not None and resume is None:
        overrides.append(f"measure.processes={processes}")
    notes: list[str] = []
    loaded = None if scenario is None else load_scenario(scenario, overrides, report=notes.append)
    if not quiet and resume is None:
        for note in notes:
            print(note)
    if dry_run:
        if loaded is None or resume is not None:
            raise UserError("--dry-run goes with a scenario file alone")
        return _list_cells(loaded, device)

    from bench.record import FAILED
    from bench.run.rounds import fell_short
    from bench.run.runner import run_scenario

    if search and loaded is not None:
        from bench.searches import check_searchable

        check_searchable(loaded)

    with courtesy():  # the run folder has it all
        folder = run_scenario(
            loaded,
            out=out or RUNS,
            device=device,
            resume=resume,
            retry_failed=retry_failed,
            quiet=quiet,
            allow_mixed=allow_mixed,
            processes=processes if resume is not None else None,
        )
        if search:
            search_largest(folder.path, quiet=quiet)
        write_run_report(folder.path)
    short = Counter(
        record.status if record.status in FAILED else f"{record.status} ({record.reason_code})"
        for record in folder.records()
        if fell_short(record)
    )
    if not (strict and short):
        return 0
    listed = ", ".join(f"{count} {how}" for how, count in short.most_common())
    print(f"bench: --strict: not all was measured: {listed}", file=sys.stderr)
    return 1


def _list_cells(scenario: "Scenario", device: str | None) -> int:
    from functools import partial

    from rich.table import Table

    from bench.measure.code_version import code_version
    from bench.measure.devices import resolve_device
    from bench.stylizers import model_facts

    facts = partial(model_facts, seed=scenario.seed)
    cells = scenario.cells(
        resolve_device(device or scenario.device),
        weights_digest=lambda model: facts(model, 1, 1).weights_digest,
        code_version=code_version(),
    )
    table = Table("id", "kind", "model", "execution", "precision", "size", "weights", box=None)
    table.add_column("GMAC", justify="right")
    for cell in cells:
        known = facts(cell.model, cell.width, cell.height)
        size = f"{cell.width}x{cell.height}"
        row = (cell.id, cell.kind, cell.model, cell.execution, cell.precision, size, known.weights)
        table.add_row(*row, f"{known.macs / 1e9:,.0f}")
    console().print(table)
    print(f"{len(cells)} cells on {cells[0].device}; nothing was measured")
    return 0


@app.command()
@courtesy()
def stylize(
    content: Annotated[Path, typer.Argument(help="Image to stylise.")],
    style: Annotated[Path, typer.Argument(help="Image to take the style from.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Image to write: .png, .jpg, .tif or .webp.")
    ],
    model: Annotated[
        str, typer.Option(help="METHOD-FAMILY-RATIOx:WEIGHTS, such as wct-vgg19-16x:FOLDER.")
    ],
    size: Annotated[
        str | None, typer.Option(help="WxH or 12.5MP: resize both images to this first.")
    ] = None,
    style_size: Annotated[
        str | None, typer.Option(help="Resize the style to this instead of --size.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Strength of the style, 0 to 1.")] = 1.0,
    precision: Annotated[str, typer.Option(help="fp32, tf32, bf16 or fp16.")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    execution: Annotated[
        str,
        typer.Option(
            help="whole, strips (any size, the same result), thumbnail (URST's scheme), or auto: "
            "whole if it fits, else strips."
        ),
    ] = "auto",
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What the run may take of the device's memory, such as 2GB; without it, what is "
            "free.",
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(help="Bits a channel, 8 or 16; without it, the content's if OUT can hold it."),
    ] = None,
    keep_metadata: Annotated[
        bool,
        typer.Option(
            "--keep-metadata",
            help="Write the content's EXIF (with its time and place) and resolution into OUT.",
        ),
    ] = False,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for scratch files instead of the system's.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Stylise one image; sizes stay the content's unless --size is given."""
    from bench.stylize import stylize_file

    stylize_file(
        content,
        style,
        out,
        model=model,
        size=size,
        style_size=style_size,
        alpha=alpha,
        precision=precision,
        device=device,
        execution=execution,
        memory=memory,
        depth=depth,
        keep_metadata=keep_metadata,
        scratch=scratch,
        quiet=quiet,
    )


@app.command()
def models(
    metrics: Annotated[
        bool,
        typer.Option("--metrics", help="List the quality metrics instead, with definitions."),
    ] = False,
) -> None:
    """List the models that can be named, with their cost and their weights; or the metrics."""
    if metrics:
        _list_metrics()
        return
    from rich.table import Table

    from distill.cascades import architecture, weights_kind
    from distill.models import model_names, parse_model
    from distill.networks import student_widths

    table = Table("model", "widths", box=None)
    for column in ("parameters", "MACs a pixel"):
        table.add_column(column, justify="right")
    table.add_column("weights without :FOLDER")
    specs = [parse_model(name) for name in model_names()]
    # Those that can be tried at once come first.
    specs.sort(key=lambda spec: weights_kind(spec) == "random")
    for spec in specs:
        cost = architecture(spec)
        widths = "/".join(map(str, student_widths(spec.ratio)))
        numbers = f"{cost.parameters:,}", f"{cost.macs_per_pixel:,.0f}"
        weights = "random" if weights_kind(spec) == "random" else "trained, embedded"
        table.add_row(str(spec), widths, *numbers, weights)
    console().print(table)
    print(
        "Random weights measure speed and memory, and no quality; add :FOLDER for trained ones. "
        "The scenarios of the project name trained models only."
    )


def _list_metrics() -> None:
    from rich.table import Table
    from rich.text import Text

    from bench.quality.catalogue import GROUP, find_metric, metric_names

    table = Table("metric", "better", "unit", "of each", "compares with", "definition", box=None)
    for name in metric_names():
        try:
            metric = find_metric(name)
        except UserError as error:  # a plug-in that does not work hides no other metric
            table.add_row(name, "", "", "", "", Text(str(error), style="red"))
            continue
        needs = ", ".join(sorted(metric.needs)) or "nothing"
        definition = metric.definition.replace("{network}", "quality.network's")
        definition = definition.replace("{alexnet}", "AlexNet")
        better = metric.better if metric.better != "none" else ""
        table.add_row(name, better, metric.unit, metric.per, needs, Text(definition))
    console().print(table)
    print(f"Records add resolution and pairing. Packages add metrics by the entry points {GROUP}.")


@app.command()
def doctor() -> int:
    """Say what this machine has and lacks for benchmarks."""
    from bench.doctor import examine

    healthy = True
    for check in examine():
        healthy = healthy and (check.ok or not check.essential)
        print(f"{'ok  ' if check.ok else 'no  '} {check.text}")
    return 0 if healthy else 4


@app.command()
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from bench.scenario import scenario_json_schema

    print(json.dumps(scenario_json_schema(), indent=2))


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_app(app, "bench"))


if __name__ == "__main__":
    main()

"""``bench baseline``: runs kept as small files, to compare later runs with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import UserError
from distill.streams import courtesy

if TYPE_CHECKING:
    from bench.baseline import Baseline

FOLDER = Path("baselines")

baseline_app = typer.Typer(
    name="baseline",
    help="Runs kept as small files, to compare later runs with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.

FolderOption = Annotated[Path, typer.Option("--dir", help="Folder of the baselines.")]


@baseline_app.command()
@courtesy()
def save(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    name: Annotated[str, typer.Argument(help="Name of the baseline.")],
    folder: FolderOption = FOLDER,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite a baseline of this name.")
    ] = False,
) -> None:
    """Keep a run as a baseline: records without samples and images, scenario, environment."""
    from bench.baseline import save_baseline

    path = save_baseline(run_dir, name, folder=folder, replace=replace)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


@baseline_app.command("list")
def list_(folder: FolderOption = FOLDER) -> None:
    """List the baselines."""
    from rich.table import Table

    from bench.baseline import list_baselines
    from distill.command_line import console

    found, problems = list_baselines(folder)
    table = Table("name", "saved", "scenario", "device", "CPU or GPU", "code", box=None)
    for heading in ("cells", "processes"):
        table.add_column(heading, justify="right")
    for baseline in found:
        table.add_row(*_row(baseline))
    if found:
        console().print(table)
    elif not problems:
        print(f"{folder}: no baselines; 'bench baseline save RUN NAME' makes one")
    if problems:
        raise UserError(*problems)


def _row(baseline: "Baseline") -> list[str]:
    environment, records = baseline.stored["environment"], baseline.stored.records
    cells = {record.id for record in records}
    return [
        baseline.name,
        baseline.saved_at[:16].replace("T", " "),
        str(baseline.stored["scenario"].get("name", "")),
        str(environment.get("device", "")),
        str(environment.get("gpu") or environment.get("cpu") or ""),
        str(environment.get("code_version", "")),
        str(len(cells)),
        str(len(records)),
    ]


@baseline_app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name or file of a baseline.")],
    folder: FolderOption = FOLDER,
) -> None:
    """Show a baseline's cells, with medians over their processes, and its environment."""
    from bench.baseline import describe, find_baseline
    from distill.command_line import console

    console().print(describe(find_baseline(name, folder=folder)))

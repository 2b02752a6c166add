"""``bench compare`` and ``bench baseline``: did a change make things slower, larger or worse?"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.baseline import Baseline
    from bench.compare.result import Comparison, Limits

FOLDER = Path("baselines")
_ENDINGS = {".txt": "text", ".json": "json", ".md": "md", ".xml": "junit"}

baseline_app = typer.Typer(
    name="baseline",
    help="Runs kept as small files, to compare later runs with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.

FolderOption = Annotated[Path, typer.Option("--dir", help="Folder of the baselines.")]


def compare(
    base: Annotated[
        Path,
        typer.Argument(
            help="What to compare with: a run folder, a baseline (name or file), or "
            "pytest-benchmark's JSON (a file, or a folder with one for each process)."
        ),
    ],
    new: Annotated[Path, typer.Argument(help="What is compared: as BASE.")],
    max_slowdown: Annotated[
        str, typer.Option(metavar="SHARE", help="Slowdown from which a latency is a regression.")
    ] = "5%",
    max_memory_growth: Annotated[
        str, typer.Option(metavar="SHARE", help="Growth of peak memory, parameters and storage.")
    ] = "2%",
    max_quality_loss: Annotated[
        str,
        typer.Option(metavar="SHARE", help="Loss of a quality metric, by which way is better."),
    ] = "2%",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="Judge these only, such as latency_ms or quality; may be repeated. How cells "
            "ended always counts.",
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Compare the cells that both have, list the others.")
    ] = False,
    allow_different_environment: Annotated[
        bool,
        typer.Option(
            "--allow-different-environment",
            help="Compare although machine, versions or settings differ; the result says so.",
        ),
    ] = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="text, json, md (pull request) or junit.")
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write to this file, as --format or its ending says (.txt, .json, .md, .xml), "
            "and print the text; may be repeated."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Text: show what is unchanged too.")] = False,
    baselines: Annotated[
        Path, typer.Option(help="Folder in which a baseline's name is looked up.")
    ] = FOLDER,
) -> int:
    """Say whether NEW is slower, larger or worse than BASE.

    Exit codes: 0 it is not, 1 it is, 2 bad input, 3 it cannot be told (too noisy, too few
    repeats).
    """
    from bench.compare.comparison import compare as compare_sides
    from bench.compare.load import load_side
    from bench.compare.metrics import chosen

    limits = _limits(
        max_slowdown=max_slowdown,
        max_memory_growth=max_memory_growth,
        max_quality_loss=max_quality_loss,
    )
    metrics, quality = chosen(metric or ())
    targets = _targets(format_, output or ())
    comparison = compare_sides(
        load_side(base, baselines=baselines),
        load_side(new, baselines=baselines),
        limits=limits,
        metrics=metrics,
        quality=quality,
        allow_different_environment=allow_different_environment,
        partial=partial,
    )
    _all_judged(comparison, metric or ())
    _show(comparison, "text" if output else format_ or "text", everything=all_)
    _write(comparison, targets, everything=all_)
    return comparison.exit_code


def _all_judged(comparison: "Comparison", asked: Iterable[str]) -> None:
    """Raise ``UserError`` for a metric that was asked for and that neither side has.

    Where cells were not measured, that is the finding.
    """
    from bench.compare.metrics import QUALITY

    findings = [finding for cell in comparison.cells for finding in cell.findings]
    if any(finding.family == "status" for finding in findings):
        return
    found = {name for finding in findings for name in (finding.metric, finding.family)}
    stands_for = {"latency_ms": {"latency_ms", "first_call_ms"}, QUALITY: {QUALITY}}
    absent = [name for name in asked if not found & stands_for.get(name, {name})]
    if absent:
        raise UserError(*(f"--metric {name}: neither side has it" for name in absent))


def _limits(**given: str) -> "Limits":
    from bench.compare.result import Limits
    from bench.units import parse_fraction

    problems: list[str] = []
    found: dict[str, float] = {}
    for option, text in given.items():
        try:
            found[option.removeprefix("max_")] = parse_fraction(_number(text))
        except ValueError as error:
            problems.append(f"--{option.replace('_', '-')}: {error}")
    if problems:
        raise UserError(*problems)
    return Limits(**found)


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _targets(format_: str | None, outputs: Iterable[Path]) -> dict[Path, str]:
    """Files to write with their formats; checked before anything is compared."""
    from distill.suggest import did_you_mean

    known = tuple(_ENDINGS.values())
    if format_ is not None and format_ not in known:
        hint = did_you_mean(format_, known)
        raise UserError(f"--format {format_}: allowed are {', '.join(known)}{hint}")
    found: dict[Path, str] = {}
    for path in outputs:
        kind = format_ or _ENDINGS.get(path.suffix.lower())
        if kind is None:
            raise UserError(
                f"--output {path}: give --format, or an ending of {', '.join(_ENDINGS)}"
            )
        if path.is_dir():
            raise UserError(f"--output {path}: is a folder; name a file")
        found[path] = kind
    return found


def _texts(comparison: "Comparison", *, everything: bool) -> dict[str, Callable[[], str]]:
    from bench.compare.junit import junit
    from bench.compare.markdown import markdown
    from bench.compare.result import json_text
    from bench.compare.terminal import plain

    return {
        "text": lambda: plain(comparison, everything=everything),
        "json": lambda: json_text(comparison),
        "md": lambda: markdown(comparison),
        "junit": lambda: junit(comparison),
    }


def _show(comparison: "Comparison", format_: str, *, everything: bool) -> None:
    from bench.compare.terminal import render
    from distill.command_line import console

    if format_ == "text":
        console().print(render(comparison, everything=everything))
    else:
        print(_texts(comparison, everything=everything)[format_](), end="")


def _write(comparison: "Comparison", targets: dict[Path, str], *, everything: bool) -> None:
    from bench.run.records import write_file

    for path, kind in targets.items():
        text = _texts(comparison, everything=everything)[kind]()
        write_file(path, text.encode("utf-8", "backslashreplace"))


@baseline_app.command()
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
    console().print(table)
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

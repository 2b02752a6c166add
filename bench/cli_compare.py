"""``bench compare``: did a change make things slower, larger or worse?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bench.cli_baseline import FOLDER
from bench.errors import UserError
from distill.streams import courtesy

if TYPE_CHECKING:
    from bench.compare.metrics import Compared
    from bench.compare.result import Comparison, Limits

_ENDINGS = {".txt": "text", ".json": "json", ".md": "md", ".xml": "junit"}

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.

MaxSlowdown = Annotated[
    str, typer.Option(metavar="SHARE", help="Slowdown from which a latency is a regression.")
]
MaxMemoryGrowth = Annotated[
    str, typer.Option(metavar="SHARE", help="Growth of peak memory, parameters and storage.")
]
MaxQualityLoss = Annotated[
    str, typer.Option(metavar="SHARE", help="Loss of a quality metric, by which way is better.")
]
MetricOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        help="Judge these only, such as latency_ms or quality; may be repeated. How cells "
        "ended always counts.",
    ),
]
Partial = Annotated[
    bool, typer.Option("--partial", help="Compare the cells that both have, list the others.")
]
AllowDifferent = Annotated[
    bool,
    typer.Option(
        "--allow-different-environment",
        help="Compare although machine, versions or settings differ; the result says so.",
    ),
]
FormatOption = Annotated[
    str | None, typer.Option("--format", help="text, json, md (pull request) or junit.")
]
OutputOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Write to this file, as its ending says (.txt, .json, .md, .xml) or else --format, "
        "and print the text; may be repeated."
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Text: show what is unchanged too.")]


class Wanted(NamedTuple):
    """How to compare and what to do with the result: the options, checked."""

    limits: "Limits"
    asked: Sequence[str]
    """What ``--metric`` named."""
    metrics: "Sequence[Compared]"
    quality: bool
    partial: bool
    allow_different_environment: bool
    shown: str
    """Format of what is printed."""
    targets: Mapping[Path, str]
    """Files to write with their formats."""
    everything: bool


def compare(
    base: Annotated[
        Path,
        typer.Argument(
            help="What to compare with: a run folder, a baseline (name or file), or "
            "pytest-benchmark's JSON (a file, or a folder with one for each process)."
        ),
    ],
    new: Annotated[Path, typer.Argument(help="What is compared: as BASE.")],
    max_slowdown: MaxSlowdown = "5%",
    max_memory_growth: MaxMemoryGrowth = "2%",
    max_quality_loss: MaxQualityLoss = "2%",
    metric: MetricOption = None,
    partial: Partial = False,
    allow_different_environment: AllowDifferent = False,
    format_: FormatOption = None,
    output: OutputOption = None,
    all_: AllOption = False,
    baselines: Annotated[
        Path, typer.Option(help="Folder in which a baseline's name is looked up.")
    ] = FOLDER,
) -> int:
    """Say whether NEW is slower, larger or worse than BASE.

    Exit codes: 0 it is not, 1 it is, 2 bad input, 3 it cannot be told (too noisy, too few
    repeats, not measured), 4 the environment cannot do it, 70 the tool itself failed.
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
    comparison = compared(base, new, wanted, baselines=baselines)
    tell(comparison, wanted)
    return comparison.exit_code


def checked(
    *,
    max_slowdown: str,
    max_memory_growth: str,
    max_quality_loss: str,
    metric: Sequence[str] | None,
    partial: bool,
    allow_different_environment: bool,
    format_: str | None,
    output: Sequence[Path] | None,
    everything: bool,
) -> Wanted:
    """The options of a comparison. Raises ``UserError`` for what they cannot be."""
    from bench.compare.metrics import chosen

    limits = _limits(
        max_slowdown=max_slowdown,
        max_memory_growth=max_memory_growth,
        max_quality_loss=max_quality_loss,
    )
    metrics, quality = chosen(metric or ())
    targets = _targets(format_, output or ())
    return Wanted(
        limits=limits,
        asked=metric or (),
        metrics=metrics,
        quality=quality,
        partial=partial,
        allow_different_environment=allow_different_environment,
        shown="text" if output else format_ or "text",
        targets=targets,
        everything=everything,
    )


def compared(base: Path, new: Path, wanted: Wanted, *, baselines: Path = FOLDER) -> "Comparison":
    """Compare as is wanted."""
    from bench.compare.comparison import compare as compare_sides
    from bench.compare.load import load_side

    comparison = compare_sides(
        load_side(base, baselines=baselines),
        load_side(new, baselines=baselines),
        limits=wanted.limits,
        metrics=wanted.metrics,
        quality=wanted.quality,
        allow_different_environment=wanted.allow_different_environment,
        partial=wanted.partial,
    )
    _all_judged(comparison, wanted.asked)
    return comparison


def tell(comparison: "Comparison", wanted: Wanted) -> None:
    """Write and print as is wanted; where files have the result, what is printed may be lost."""
    write(comparison, wanted.targets, everything=wanted.everything)
    with courtesy() if wanted.targets else nullcontext():
        _show(comparison, wanted.shown, everything=wanted.everything)


def _all_judged(comparison: "Comparison", asked: Iterable[str]) -> None:
    """Raise ``UserError`` for a metric that was asked for and that neither side has.

    Where cells were not measured, that is the finding.
    """
    from bench.compare.metrics import QUALITY

    findings = [finding for cell in comparison.cells for finding in cell.findings]
    if any(f.family == "status" and f.code != "not_compared" for f in findings):
        return
    found = {name for finding in findings for name in (finding.metric, finding.family)}
    stands_for = {"latency_ms": {"latency_ms", "first_call_ms"}, QUALITY: {QUALITY}}
    absent = [name for name in asked if not found & stands_for.get(name, {name})]
    if absent:
        raise UserError(*(f"--metric {name}: neither side has it" for name in absent))


def _limits(**given: str) -> "Limits":
    from bench.compare.result import Limits
    from bench.scenario.values import read_fraction
    from bench.scenario.yaml_lines import as_written

    problems: list[str] = []
    found: dict[str, float] = {}
    for option, text in given.items():
        try:
            found[option.removeprefix("max_")] = read_fraction(as_written(text.strip()))
        except ValueError as error:
            problems.append(f"--{option.replace('_', '-')}: {error}")
    if problems:
        raise UserError(*problems)
    return Limits(**found)


def _targets(format_: str | None, outputs: Iterable[Path]) -> dict[Path, str]:
    """Files to write with their formats; checked before anything is compared."""
    from distill.suggest import did_you_mean, one_line

    known = tuple(_ENDINGS.values())
    if format_ is not None and format_ not in known:
        hint = did_you_mean(format_, known)
        raise UserError(f"--format {format_}: allowed are {', '.join(known)}{hint}")
    found: dict[Path, str] = {}
    for path in outputs:
        kind = _ENDINGS.get(path.suffix.lower(), format_)
        if kind is None:
            raise UserError(
                f"--output {path}: give --format, or an ending of {', '.join(_ENDINGS)}"
            )
        if path.is_dir():
            raise UserError(one_line(f"--output {path}: is a folder; name a file"))
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
        screen = console()
        screen.print(render(comparison, everything=everything, width=screen.width))
    else:
        print(_texts(comparison, everything=everything)[format_](), end="")


def write(comparison: "Comparison", targets: Mapping[Path, str], *, everything: bool) -> None:
    """Write the comparison to files of the given formats."""
    from bench.run.records import write_file

    for path, kind in targets.items():
        text = _texts(comparison, everything=everything)[kind]()
        write_file(path, text.encode("utf-8", "backslashreplace"))

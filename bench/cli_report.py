"""``bench report``: tables, figures and pages of a run, or of several laid over each other."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import UserError, disk_error
from distill.streams import courtesy
from distill.suggest import did_you_mean_path, shown

if TYPE_CHECKING:
    from reports.comparable import Run

OUT = Path("report")
"""Where a report of several runs goes if nothing else is said."""

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.


@courtesy()
def report(
    run_dirs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_DIR",
            help="Folder of a run, finished or not; or of a 'distill evaluate'. Several runs are "
            "laid over each other, the first being the one compared with.",
        ),
    ],
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Some of html, md, latex, csv and parquet, with commas; else all."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder to write to: the run's own if there is one run, 'report' if several.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Names of several runs, with commas; else what they differ in, or their folders'.",
        ),
    ] = None,
    allow_mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed", help="Show runs together that do not compare; the report says so."
        ),
    ] = False,
    gallery: Annotated[
        Path | None,
        typer.Option(
            metavar="PAGE.md",
            help="Write a page of Markdown with the run's figures, tables and small pictures, and "
            "the run's report as md, latex and csv: for documentation.",
        ),
    ] = None,
) -> None:
    """Write tables, figures, report.html and report.md of a run; lay several over each other."""
    from reports.formats import FORMATS, parse_formats
    from reports.ratio_figure import TABLE, write_ratio_figure

    wanted = FORMATS if formats is None else parse_formats(formats)
    if gallery is not None:
        if len(run_dirs) > 1 or formats or out or labels or allow_mixed:
            raise UserError("--gallery goes with one run and no other option")
        _write_gallery(run_dirs[0], gallery)
        return
    evaluations = [path for path in run_dirs if (path / TABLE).is_file()]
    if evaluations and (len(run_dirs) > 1 or formats or out or labels or allow_mixed):
        raise UserError(
            f"{evaluations[0]}: is the folder of a 'distill evaluate', of which a figure is drawn; "
            "it goes with no option and no other folder"
        )
    if evaluations:
        print(f"figure: {write_ratio_figure(run_dirs[0])[0]}")
        return
    if len(run_dirs) == 1:
        if labels is not None or allow_mixed:
            raise UserError("--labels and --allow-mixed go with several runs")
        write_run_report(run_dirs[0], formats=wanted, out=out)
        return
    _report_overlay(run_dirs, wanted, out or OUT, labels, allow_mixed)


def write_run_report(
    run_dir: Path, *, formats: Sequence[str] | None = None, out: Path | None = None
) -> None:
    """Write a run's report to its own folder, or to ``out``, and print where.

    Raises:
        UserError: for what is no run folder, or one whose records cannot be read.
    """
    from reports.formats import FORMATS
    from reports.report import write_report
    from reports.runs import led_from

    run = read_run(run_dir)
    formats = formats or FORMATS
    elsewhere = out is not None and out.resolve() != run_dir.resolve()
    target = _folder(out, []) if out is not None and elsewhere else run_dir
    frame = led_from(target, run) if elsewhere else run.frame
    write_report(
        target,
        frame,
        run.environment,
        run.scenario,
        formats=formats,
        unreadable=run.unreadable,
    )
    _say(target, formats)


def _write_gallery(run_dir: Path, page: Path) -> None:
    from reports.gallery import write_gallery

    if page.suffix != ".md":
        raise UserError(f"--gallery: {page} is no page of Markdown; its name ends in .md")
    run = read_run(run_dir)
    try:
        write_gallery(run, page)
    except OSError as error:
        raise UserError(f"--gallery: {page} cannot be written: {error.strerror}") from None
    print(f"gallery: {page}")


def read_run(run_dir: Path) -> "Run":
    """A run folder's records, environment and scenario.

    Raises:
        UserError: for what is no run folder, and one of which nothing can be read.
    """
    import yaml

    from bench.run.records import CELLS
    from bench.run.store import ENVIRONMENT, SCENARIO, check_run_folder, load_frame
    from bench.searches import with_searches
    from reports.comparable import Run

    if not run_dir.exists():
        raise UserError(f"{run_dir}: no such run folder{did_you_mean_path(run_dir)}")
    check_run_folder(run_dir)
    problems: list[str] = []
    frame = load_frame(run_dir, report=problems.append)
    if problems and frame.empty:
        raise UserError(
            f"{run_dir / CELLS}: none of {len(problems)} records can be read: {problems[0]}"
        )
    for problem in problems:
        typer.echo(f"bench: {problem}", err=True)
    environment = _mapping(run_dir / ENVIRONMENT, json.loads)
    scenario = _mapping(run_dir / SCENARIO, yaml.safe_load)
    return Run(run_dir, with_searches(frame, run_dir), environment, scenario, len(problems))


def _report_overlay(
    run_dirs: Sequence[Path],
    formats: Sequence[str],
    out: Path,
    labels: str | None,
    allow_mixed: bool,
) -> None:
    from reports.report import write_report
    from reports.runs import overlay

    names = [] if labels is None else [name.strip() for name in labels.split(",")]
    runs = [read_run(path) for path in run_dirs]
    together = overlay(runs, out, labels=names, allow_mixed=allow_mixed)
    target = _folder(out, run_dirs)
    for label, path in zip(together.labels, run_dirs, strict=True):
        print(f"{label}: {path}")
    write_report(
        target,
        together.frame,
        together.environment,
        together.scenario,
        formats=formats,
        overlay=together,
    )
    _say(target, formats)


def _folder(out: Path, runs: Sequence[Path]) -> Path:
    """``out``, made; refused where it would overwrite what is no report."""
    if out.is_file():
        raise UserError(f"{out}: is a file; --out takes a folder")
    if out.resolve() in [run.resolve() for run in runs]:
        raise UserError(f"{out}: is a run's own folder; give another one with --out")
    known = any((out / name).exists() for name in ("report.md", "report.html", "tables"))
    if out.is_dir() and any(out.iterdir()) and not known:
        raise UserError(f"{out}: is not empty and holds no report; give another one with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, f"{out}: cannot be made: {error.strerror}") from None
    return out


def _mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    import yaml

    from distill.files import read_regular

    try:
        content = parse(read_regular(path).decode())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a mapping is expected; got {shown(content)}")
    return content


def _say(folder: Path, formats: Sequence[str]) -> None:
    names = {"html": "report.html", "md": "report.md"}
    pages = [str(folder / names[name]) for name in formats if name in names]
    print(f"report: {', '.join(pages) or folder / 'tables'}")

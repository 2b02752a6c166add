"""``bench study``: ask people which results they prefer, and make sense of what they answered."""

from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UserError
from distill.streams import courtesy

study_app = typer.Typer(
    name="study",
    help="A blind comparison by people: export a page to answer, analyse the answers; and a proxy.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.


@study_app.command()
@courtesy()
def export(
    run_dir: Annotated[
        Path | None, typer.Argument(help="Run folder with quality cells; or give --folder.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Pictures laid out as METHOD/PAIR.png, content/PAIR.*, style/PAIR.*."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder to make for raters; the key is written beside it.")
    ] = Path("study"),
    pairs: Annotated[
        int | None, typer.Option(help="Content-style pairs, drawn at random; without it, all.")
    ] = None,
    questions: Annotated[
        int | None,
        typer.Option(help="Questions for each rater, besides checks; 24, or all if fewer."),
    ] = None,
    attention: Annotated[
        int, typer.Option(help="Checks for each rater in which one result is plainly broken.")
    ] = 3,
    repeats: Annotated[
        int, typer.Option(help="Questions for each rater that come again, mirrored.")
    ] = 3,
    sheets: Annotated[
        int, typer.Option(help="Different sheets of questions, even; index.html#N opens the N-th.")
    ] = 24,
    seed: Annotated[
        int, typer.Option(help="Of what is drawn, but for the names of files.", min=0)
    ] = 0,
    ask: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The question, if not the usual one.")
    ] = None,
    image_format: Annotated[
        str, typer.Option("--format", help="png (exact), jpg or webp (smaller, quality 95).")
    ] = "png",
    max_side: Annotated[
        int | None,
        typer.Option(metavar="PX", help="Reduce pictures to this side; without it, full size."),
    ] = None,
    embed: Annotated[
        bool, typer.Option("--embed", help="One file to pass on: pictures inside the page.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the end.")] = False,
) -> None:
    """Write a page on which people compare a run's results, blind; needs no server, no network."""
    from typing import cast, get_args

    from bench.study.export import ASK, Format, StudyOptions, export_study
    from bench.study.sources import material_of_folder, material_of_run
    from distill.command_line import progress_bar
    from distill.suggest import did_you_mean

    if (run_dir is None) == (folder is None):
        raise UserError("give a run folder, or --folder with pictures, and not both")
    formats = get_args(Format)
    if image_format not in formats:
        hint = did_you_mean(image_format, formats)
        raise UserError(f"format: {image_format!r}; allowed are {', '.join(formats)}{hint}")
    if ask is not None and not ask.strip():
        raise UserError("ask: the question is empty")
    material = (
        material_of_run(run_dir) if run_dir is not None else material_of_folder(folder or out)
    )
    options = StudyOptions(
        pairs=pairs,
        questions=questions,
        attention=attention,
        repeats=repeats,
        sheets=sheets,
        seed=seed,
        ask=ask or ASK,
        image_format=cast(Format, image_format),
        max_side=max_side,
        embed=embed,
    )
    with progress_bar("pictures", quiet=quiet) as report:
        written = export_study(material, out, options, report=report)
    for note in written.notes:
        print(f"note: {note}")
    where = written.folder / "index.html"
    print(
        f"{where}: {written.comparisons} comparisons of {len(material.methods)} methods, "
        f"{written.questions} questions for each rater, {written.megabytes:.1f} MB of pictures"
    )
    print(f"{written.key}: the key; keep it from raters, 'bench study analyze' needs it")


@study_app.command()
def analyze(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES...", help="Answers that raters saved, or folders of them."),
    ],
    key: Annotated[
        Path, typer.Option(help="The key that 'bench study export' wrote beside the folder.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables as CSV and study.json.")
    ] = None,
    max_failed: Annotated[
        int, typer.Option(help="Attention checks that a rater may fail and still count.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.", min=0)] = 0,
) -> None:
    """Merge answers, leave out raters who fail the checks, and say what the others preferred."""
    from bench.study.analyze import analyze_study, write_analysis
    from bench.study.tables import print_analysis
    from distill.command_line import console

    analysis = analyze_study(files, key, max_failed=max_failed, seed=seed)
    print_analysis(analysis, console())
    if out is not None:
        write_analysis(analysis, out)
        print(f"tables: {out}")


@study_app.command()
def proxy(
    run_dir: Annotated[
        Path, typer.Argument(help="Run folder whose quality cells have style and content losses.")
    ],
    style_weight: Annotated[
        float, typer.Option(help="The raters' mean weight of style: 0 content alone, 1 style.")
    ] = 0.5,
    raters: Annotated[int, typer.Option(help="Simulated raters.", min=2, max=1000)] = 40,
    noise: Annotated[
        float, typer.Option(help="Their decision noise, in log units, above 0.")
    ] = 0.4,
    seed: Annotated[int, typer.Option(help="Of raters, answers and bootstrap.", min=0)] = 0,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Show the win rates at weights of style from 0 to 1."),
    ] = False,
) -> None:
    """Ask simulated raters, made of the losses, what they prefer: a proxy, no person is asked."""
    from bench.run.store import load_frame
    from bench.study.proxy import proxy_preference, proxy_sensitivity
    from bench.study.proxy_tables import print_proxy, print_sensitivity
    from bench.study.raters import ProxyRaters
    from distill.command_line import console
    from reports.proxy_study import proxy_losses, raters_words, turning
    from reports.reading import read_results
    from reports.text import one_line, short_names

    asked = ProxyRaters(raters=raters, style_weight=style_weight, noise=noise, seed=seed)
    known = proxy_losses(read_results(load_frame(run_dir)))
    if known.losses.empty:
        why = f"; {'; '.join(known.left_out)}" if known.left_out else ""
        raise UserError(
            f"{run_dir}: no two methods to compare: the proxy needs style_loss and content_loss of "
            "the same pictures from quality cells of at least two models (or settings) with "
            f"trained weights{one_line(why)}"
        )
    found = proxy_preference(known.losses, asked)
    names = {method: one_line(name) for method, name in short_names(known.methods).items()}
    print(
        f"proxy: nobody was asked; {len(known.methods)} methods, {known.pairs} image pair"
        f"{'' if known.pairs == 1 else 's'}, {raters_words(found.proxy_raters)}"
    )
    for reason in known.left_out:
        print(f"left out: {one_line(reason)}")
    print()
    print_proxy(found, names, console())
    if sensitivity:
        grid = proxy_sensitivity(known.losses, asked)
        print()
        print_sensitivity(grid, turning(grid), names, console())

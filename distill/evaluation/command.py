"""``distill evaluate``: compressed models against their teacher, measured and tabulated."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from distill.streams import courtesy

# pandas and SciPy take seconds to import: other commands do without.


@courtesy()
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="METHOD-FAMILY-RATIOx[:WEIGHTS], or folders of weights that this project wrote.",
        ),
    ],
    content: Annotated[
        list[str],
        typer.Option(help="Photographs: a folder, glob, tar or image file; may be repeated."),
    ],
    style: Annotated[
        list[str], typer.Option(help="Styles: a folder, glob, tar or image file; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; made if it is not there.")],
    size: Annotated[int, typer.Option(help="Side of the square images, in pixels.")] = 512,
    pairs: Annotated[
        int | None,
        typer.Option(
            help="Pairs of a photograph and a style; without it, every photograph with one style."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the drawing of pairs.", min=0)] = 0,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="What outputs and losses are compared with, if not the first trained model of "
            "ratio 1; repeated for each method and family.",
        ),
    ] = None,
    network: Annotated[
        str, typer.Option(help="Weights on which the losses are computed ('distill info').")
    ] = "vgg16-normalised",
    lpips_backbone: Annotated[
        str,
        typer.Option(
            help="AlexNet for LPIPS: cache (PyTorch's folder of downloads, else the embedded "
            "copy), embedded, download, or a file."
        ),
    ] = "cache",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the end.")] = False,
) -> None:
    """Measure models on held-out photographs: cost, reconstruction, losses, distance to teacher.

    Writes evaluate.csv (a row for each model), pairs.csv (a row for each model and pair) and
    evaluate.md; 'bench report OUT' then draws quality against compression ratio.
    """
    from distill.command_line import memory_advice, progress_bar
    from distill.devices import resolve_device
    from distill.errors import disk_error
    from distill.evaluation.measure import Evaluation, Settings
    from distill.evaluation.measure import evaluate as measure
    from distill.evaluation.page import evaluation_page
    from distill.evaluation.summary import model_table, pair_table
    from distill.files import write_bytes_atomically
    from distill.host import limit_threads
    from distill.training.data import list_images

    limit_threads()
    settings = Settings(
        size=size,
        pairs=pairs,
        seed=seed,
        network=network,
        lpips_backbone=lpips_backbone,
        device=resolve_device(device),
    )
    say: Callable[[str], object] = (lambda _: None) if quiet else print
    photographs, styles = (list_images(images, report=say) for images in (content, style))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, f"{out}: cannot be made a folder ({error.strerror})") from error

    def write(found: Evaluation) -> int:
        """The tables and the page; how many models they have."""
        table = model_table(found)
        page = evaluation_page(found, table, photographs, styles)
        contents = {
            "evaluate.csv": table.to_csv(index=False),
            "pairs.csv": pair_table(found).to_csv(index=False),
            "evaluate.md": page,
        }
        for name, text in contents.items():
            write_bytes_atomically(out / name, text.encode())
        if found.stopped:
            print(f"{out}: {found.stopped}; these are kept there", file=sys.stderr)
        return len(table)

    with (
        memory_advice("give a smaller --size, or fewer models"),
        progress_bar("pairs", quiet=quiet) as report,
    ):
        found = measure(
            models,
            photographs,
            styles,
            settings,
            teachers=teacher or (),
            report=report,
            keep=write,
        )
    count = write(found)
    print(f"{out / 'evaluate.md'}: {count} models")
    print(f"figure: bench report {shlex.quote(str(out))}")

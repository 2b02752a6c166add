"""The commands of ``distill``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from distill.cascades import convert_published
from distill.cli_info import info
from distill.command_line import add_version
from distill.evaluation.command import evaluate
from distill.exporting.command import export
from distill.gatys.command import gatys
from distill.normalise import normalise
from distill.streams import courtesy
from distill.training.command import train
from distill.weights import load_named

app = typer.Typer(
    name="distill",
    help="Compressed networks for style transfer: what they are, and their weights. Exit codes: 0 "
    "done, 1 a check failed, 2 wrong use or bad input, 4 the environment cannot do it, 70 the tool "
    "itself failed, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
add_version(app)


@app.command("import")
@courtesy()
def import_(
    source: Annotated[Path, typer.Argument(help="Folder with the paper's 1SE.pth .. 5SD.pth.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; made if it is not there.")],
) -> None:
    """Convert the published 16x students of the paper to this project's layout (safetensors)."""
    written = convert_published(source, target)
    print(f"wrote {len(written)} files; use them as {shlex.quote(f'wct-vgg19-16x:{target}')}")


@app.command()
@courtesy()
def fetch(name: Annotated[str, typer.Argument(help="A name that 'distill info' lists.")]) -> None:
    """Have registered weights at hand: download them if need be, and verify their checksum."""
    encoder = load_named(name)
    print(f"{name}: {sum(p.numel() for p in encoder.parameters()):,} parameters, checksum right")


# The sub-commands that have files of their own.
app.command("info")(info)
app.command("evaluate")(evaluate)
app.command("export")(export)
app.command("gatys")(gatys)
app.command("normalise")(normalise)
app.command("train")(train)

"""``distill``: the compressed networks."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from distill.cascades import architecture, convert_published, load_cascade, model_widths
from distill.command_line import console, run_app
from distill.errors import UserError
from distill.models import ModelSpec, parse_model
from distill.networks import count_macs_per_pixel, count_parameters
from distill.registry import REGISTRY
from distill.weights import load_named, read_tensors, sha256

app = typer.Typer(
    name="distill",
    help="Compressed networks for style transfer: what they are, and their weights.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def info(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL|FILE|weights]",
            help="A model (METHOD-FAMILY-RATIOx[:WEIGHTS]), a weights file, or 'weights' for the "
            "registry.",
        ),
    ] = "weights",
) -> None:
    """Show a model's widths, parameters and MACs; a weights file's content; or the registry."""
    out = console()
    if what == "weights":
        out.print(_registry_table())
    elif Path(what).is_file():
        _show_file(out, Path(what))
    else:
        try:
            spec = parse_model(what)
        except ValueError as error:
            raise UserError(f"{what}: no such file, and no model: {error}") from error
        _show_model(out, spec)


def _registry_table() -> Table:
    table = Table("name", "family", "source", "licence", "about", box=None)
    for entry in REGISTRY.values():
        table.add_row(entry.name, entry.family, entry.source, entry.licence, entry.about)
    return table


def _show_file(out: Console, path: Path) -> None:
    tensors, metadata = read_tensors(path)
    for key, value in sorted(metadata.items()):
        out.print(f"{key}: {value}")
    out.print(f"SHA-256: {sha256(path)}")
    for name, tensor in tensors.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        out.print(f"  {name}  {'x'.join(map(str, tensor.shape))}  {kind}")
    out.print(f"parameters: {sum(t.numel() for t in tensors.values()):,}")


def _show_model(out: Console, spec: ModelSpec) -> None:
    networks = load_cascade(spec)
    table = Table("stage", "widths", "encoder parameters", "decoder parameters", box=None)
    table.add_column("MACs a pixel", justify="right")
    for stage in spec.stages:
        widths = model_widths(spec, stage)
        counts = count_parameters(spec.family, widths, stage)
        macs = sum(count_macs_per_pixel(spec.family, widths, stage))
        table.add_row(
            f"relu{stage}_1",
            "/".join(map(str, widths)),
            *(f"{n:,}" for n in counts),
            f"{macs:,.0f}",
        )
    out.print(table)
    cost = architecture(spec)
    out.print(f"parameters: {cost.parameters:,}")
    out.print(f"MACs a pixel: {cost.macs_per_pixel:,.0f}")
    out.print(f"weights: {networks.weights} ({networks.detail})")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder with the paper's 1SE.pth .. 5SD.pth.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; made if it is not there.")],
) -> None:
    """Convert the published 16x students of the paper to this project's layout (safetensors)."""
    written = convert_published(source, target)
    print(f"wrote {len(written)} files; use them as wct-vgg19-16x:{target}")


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="A name that 'distill info' lists.")]) -> None:
    """Have registered weights at hand: download them if need be, and verify their checksum."""
    encoder = load_named(name)
    print(f"{name}: {sum(p.numel() for p in encoder.parameters()):,} parameters, checksum right")


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_app(app, "distill"))


if __name__ == "__main__":
    main()

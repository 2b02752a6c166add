"""``distill export``: a model as one folder, and as ONNX."""

import math
import re
import shlex
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.table import Table

from distill.command_line import console, parse_ridges
from distill.errors import UserError
from distill.exporting.manifest import DTYPES, DType
from distill.exporting.model import ImageSize, ModelExport, export_model
from distill.exporting.onnx_check import TOLERANCE
from distill.models import parse_model
from distill.streams import courtesy


@courtesy()
def export(
    model: Annotated[
        str,
        typer.Argument(help="METHOD-FAMILY-RATIOx[:WEIGHTS], with trained weights."),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx",
            help="Encoders and decoders as ONNX, too, with any batch, height and width, compared "
            "with PyTorch at several sizes.",
        ),
    ] = False,
    check_size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WxH", help="A further size of image to compare ONNX at; may be repeated."
        ),
    ] = None,
    ridge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE=VALUE",
            help="Ridge of a stage's whitening and colouring (wct), as a part of the mean "
            "eigenvalue, such as 5=10; repeatable; else as the model has it, 0 as in the paper.",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="How weights are stored: fp32 or fp16; both compute in fp32.")
    ] = "fp32",
) -> None:
    """Write a model as one folder: its weights, a manifest (model.json), and ONNX if asked for."""
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype}: must be one of {', '.join(DTYPES)}")
    try:
        spec = parse_model(model)
    except ValueError as error:
        raise UserError(str(error)) from error
    result = export_model(
        spec,
        out,
        onnx=onnx,
        dtype=cast("DType", dtype),
        ridges=parse_ridges(ridge or (), spec),
        check_sizes=[_parse_size(text) for text in check_size or ()],
    )
    _show(result, out)


def _parse_size(text: str) -> ImageSize:
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text.strip())
    if not match:
        raise UserError(f"--check-size {text}: expected WxH in pixels, such as 256x128")
    return ImageSize(int(match[1]), int(match[2]))


def _show(result: ModelExport, out: Path) -> None:
    table = Table("file", box=None)
    table.add_column("MB", justify="right")
    table.add_column("largest difference from PyTorch")
    for network in result.networks:
        for path in (network.weights, network.onnx):
            if path is not None:
                difference = network.largest if path == network.onnx else None
                table.add_row(path.name, f"{path.stat().st_size / 1e6:.3f}", str(difference or ""))
    table.add_row(result.manifest.name, f"{result.manifest.stat().st_size / 1e6:.3f}", "")
    console().print(table)
    if differences := [n.largest for n in result.networks if n.largest is not None]:
        print(
            f"ONNX differs from PyTorch by {max(d.relative for d in differences):.1e} of the "
            f"outputs' magnitude at most; up to {TOLERANCE:.0e} is taken for rounding"
        )
    worst = min(picture.psnr_db for picture in result.pictures)
    print(
        "pictures made by the manifest alone are "
        + ("the source's" if worst == math.inf else f"{worst:.1f} dB from the source's at least")
    )
    print(f"wrote {out}; use it as {shlex.quote(str(result.spec))}")

"""``distill info``: what a model is and costs, what a weights file holds, what is registered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from distill.cascades import architecture, load_cascade, model_widths
from distill.command_line import console
from distill.embedded import NETWORKS, embedded_headers, read_headers
from distill.errors import UserError
from distill.header import Header
from distill.models import ModelSpec, parse_model
from distill.networks import count_macs_per_pixel, count_parameters
from distill.quantise import INPUT_SCALE, is_quantised, is_scale
from distill.registry import REGISTRY
from distill.weights import read_stored, restore_tensors, sha256


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
    stored, metadata = read_stored(path)
    whole = restore_tensors(path, stored)
    headers = read_headers(metadata)
    for key, value in sorted(metadata.items()):
        if key != NETWORKS or not headers:
            out.print(f"{key}: {value}")
    _show_headers(out, headers)
    out.print(f"SHA-256: {sha256(path)}")
    for name, tensor in stored.items():
        if not is_scale(name, stored):
            shape = "x".join(map(str, tensor.shape))
            out.print(f"  {name}  {shape}  {_stored_as(name, stored)}")
    out.print(f"parameters: {sum(tensor.numel() for tensor in whole.values()):,}")
    out.print(f"bytes: {path.stat().st_size:,}")


def _stored_as(name: str, stored: Mapping[str, Tensor]) -> str:
    kind = str(stored[name].dtype).removeprefix("torch.")
    if not is_quantised(name, stored):
        return kind
    inputs = " and input" if name + INPUT_SCALE in stored else ""
    return f"{kind}, with a scale for each output{inputs} channel"


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
    if spec.weights is None and (headers := embedded_headers(spec)) is not None:
        _show_headers(out, headers)


def _show_headers(out: Console, headers: Mapping[str, Header]) -> None:
    """How networks were made: each value once, with the networks it holds for."""
    lines: dict[tuple[str, str], list[str]] = {}
    for name, header in headers.items():
        for key, value in header.metadata().items():
            if key not in ("stage", "role"):
                lines.setdefault((key, value), []).append(name)
    for (key, value), names in sorted(lines.items(), key=lambda line: line[0][0]):
        of = "" if len(names) == len(headers) else f" of {', '.join(names)}"
        out.print(f"{key}{of}: {value}", soft_wrap=True)

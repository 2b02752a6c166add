"""Put trained models into the package: ``python -m distill.embed MODEL:FOLDER...``.

Each folder is one that training wrote, with ``stage{k}-encoder.safetensors`` and
``stage{k}-decoder.safetensors`` of every stage; at ratio 1 the encoders may be missing. It becomes
one file among the package's assets (:mod:`distill.embedded` describes it), smaller than the folder:
float16, or int8 in large models, and without the embeddings, which only training needs. All
embedded weights together may take 40 MB; nothing is written if they would take more.
Without a model it lists what is embedded, and forgets files that were deleted.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor, nn

from distill.cascades import build_pair, fill, own_files, published_files
from distill.command_line import console, run_app
from distill.embedded import (
    DIGESTS,
    NETWORKS,
    TEACHER_ENCODERS,
    embedded_file,
    network_name,
    read_digests,
)
from distill.errors import UserError
from distill.header import Header, read_header
from distill.models import ModelSpec, parse_model
from distill.quantise import quantise, restored
from distill.weights import load_named, read_tensors, sha256

LIMIT_BYTES = 40_000_000
"""Of all embedded weights together."""
INT8_FROM = 2_000_000
"""Models of this many stored parameters or more are quantised."""
FINE_BELOW = 50_000
"""Tensors of fewer elements stay float16 in any case: they are the convolutions next to the image,
whose errors are seen as they are, and together take next to nothing."""
SAME_ENCODER = 0.05
"""Largest relative difference of a teacher's encoder from the embedded one, which is quantised."""


@dataclass(frozen=True)
class Made:
    """An embedded file, written beside its place."""

    name: str
    temporary: Path
    digest: str
    size: int
    parameters: int
    error: float
    """Largest relative error of a tensor, by the Frobenius norm."""


@dataclass(frozen=True)
class Entry:
    """One file of weights among the assets."""

    name: str
    parameters: int
    size: int
    """Bytes."""
    error: float | None = None
    """Largest relative error of a tensor, where the file is new."""


def embed(specs: Sequence[ModelSpec], assets: Path, *, dry_run: bool = False) -> list[Entry]:
    """Embed trained models: all of them, or none if there is a problem.

    Args:
        specs: models, each with the folder that training wrote.
        assets: the folder of embedded weights.
        dry_run: whether to leave everything as it is.

    Returns:
        Every file of weights in ``assets`` as it is (or would be) afterwards.

    Raises:
        UserError: for a folder that is incomplete or not of its model, and if all weights together
            would take more than :data:`LIMIT_BYTES`.
    """
    digests = {
        name: digest for name, digest in read_digests(assets).items() if (assets / name).is_file()
    }
    with ExitStack() as cleaning:
        made = []
        for spec in specs:
            tensors, headers = _read_model(spec)
            temporary = assets / f".{embedded_file(spec)}.{os.getpid()}"
            cleaning.callback(temporary.unlink, missing_ok=True)
            made.append(_write(spec, tensors, headers, temporary))
        entries = _entries(assets, made)
        total = sum(entry.size for entry in entries)
        if total > LIMIT_BYTES:
            raise UserError(
                f"{assets}: all embedded weights would take {total:,} bytes, and {LIMIT_BYTES:,} "
                f"are allowed: {', '.join(f'{e.name} {e.size:,}' for e in entries)}; nothing was "
                "changed"
            )
        if not dry_run:
            for new in made:
                new.temporary.replace(assets / new.name)
            _write_digests(assets, digests | {new.name: new.digest for new in made})
    return entries


def _entries(assets: Path, made: Sequence[Made]) -> list[Entry]:
    new = {one.name for one in made}
    entries = [Entry(one.name, one.parameters, one.size, one.error) for one in made]
    for path in assets.glob("[!.]*.safetensors"):
        if path.name not in new:
            count = sum(tensor.numel() for tensor in read_tensors(path)[0].values())
            entries.append(Entry(path.name, count, path.stat().st_size))
    return sorted(entries, key=lambda entry: entry.name)


def _write_digests(assets: Path, digests: Mapping[str, str]) -> None:
    temporary = assets / f".{DIGESTS}.{os.getpid()}"
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items())]
    temporary.write_text("".join(lines), encoding="utf-8")
    temporary.replace(assets / DIGESTS)


# --------------------------------------------------------------------------- what training wrote


def _read_model(spec: ModelSpec) -> tuple[dict[str, Tensor], dict[str, Header]]:
    """Tensors and headers of a model's folder, by the names that the embedded file has.

    Raises:
        UserError: for everything about the folder that is not right.
    """
    folder = Path(spec.weights or "")
    if spec.weights is None or not folder.is_dir():
        raise UserError(f"{spec}: name the folder that training wrote: {spec}:FOLDER")
    if spec.ratio == 1 and spec.family not in TEACHER_ENCODERS:
        raise UserError(
            f"{spec}: a teacher is embedded without encoders, and there is no embedded network of "
            f"{spec.family} to be them; there is one of {', '.join(TEACHER_ENCODERS)}"
        )
    if published_files(folder, spec.stages):
        raise UserError(f"{spec}: {folder} holds the paper's published files, which stay outside")
    problems: list[str] = []
    tensors: dict[str, Tensor] = {}
    headers: dict[str, Header] = {}
    for stage, role, path, network in _networks(spec, folder):
        teacher_encoder = spec.ratio == 1 and role == "encoder"
        if teacher_encoder and not path.is_file():
            continue
        try:
            found, metadata = read_tensors(path)
            fill(network, found, str(path))
        except UserError as error:
            problems += error.problems
            continue
        if teacher_encoder:
            problems += _other_encoder(spec, network, path)
            continue
        header = read_header(metadata)
        problems += _other_header(header, spec, stage, role, path)
        if header is not None:
            name = network_name(stage, role)
            headers[name] = _publishable(header)
            tensors |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
    if problems:
        raise UserError(*problems)
    return tensors, headers


def _networks(spec: ModelSpec, folder: Path) -> Iterator[tuple[int, str, Path, nn.Module]]:
    """Stage, role, file and network (to be filled) of each of a model's networks."""
    plain = spec._replace(weights=None)
    for stage, files in zip(spec.stages, own_files(folder, spec.stages), strict=True):
        pair = build_pair(plain, stage)
        yield stage, "encoder", files[0], pair.encoder
        yield stage, "decoder", files[1], pair.decoder


def _other_encoder(spec: ModelSpec, network: nn.Module, path: Path) -> list[str]:
    name = TEACHER_ENCODERS[spec.family]
    embedded = load_named(name).state_dict()
    for key, value in network.state_dict().items():
        if (value - embedded[key]).norm() > SAME_ENCODER * embedded[key].norm():
            return [
                f"{path}: {key} is not that of {name}, which is the encoder of embedded teachers"
            ]
    return []


def _other_header(
    header: Header | None, spec: ModelSpec, stage: int, role: str, path: Path
) -> list[str]:
    if header is None:
        return [f"{path}: has no header that says how it was trained, as 'distill train' writes it"]
    wanted = {
        "method": spec.method,
        "family": spec.family,
        "ratio": spec.ratio,
        "stage": stage,
        "role": role,
    }
    return [
        f"{path}: its header says {key} {getattr(header, key)!r}, not {value!r}"
        for key, value in wanted.items()
        if getattr(header, key) != value
    ]


def _publishable(header: Header) -> Header:
    """The header without the absolute folders of the machine that trained."""
    absolute = r"(?<![^\s='\":,\[(])/(?:[^/\s'\":,]+/)+"
    command, data = (re.sub(absolute, "", text) for text in (header.command, header.data))
    return replace(header, command=command, data=data)


# ------------------------------------------------------------------------------ what is embedded


def _write(
    spec: ModelSpec, tensors: Mapping[str, Tensor], headers: Mapping[str, Header], path: Path
) -> Made:
    parameters = sum(tensor.numel() for tensor in tensors.values())
    stored: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        fine = parameters < INT8_FROM or tensor.numel() < FINE_BELOW
        stored |= {key: tensor.half().contiguous()} if fine else quantise(tensor).named(key)
    values = restored(stored)
    if lost := [key for key in tensors if not values[key].isfinite().all()]:
        raise UserError(f"{spec}: {lost[0]} holds values beyond float16, {65504:,}; not embedded")
    error = max(
        ((values[key].float() - tensor).norm() / tensor.norm().clamp_min(1e-30)).item()
        for key, tensor in tensors.items()
    )
    # One key only: safetensors writes several in any order, and equal models get equal files.
    metadata = {NETWORKS: json.dumps({name: made.metadata() for name, made in headers.items()})}
    save_file(stored, path, metadata=metadata)
    path.chmod(0o644)  # safetensors makes private files
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return Made(embedded_file(spec), path, sha256(path), path.stat().st_size, parameters, error)


# ------------------------------------------------------------------------------- the command line

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def command(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL:FOLDER]...", help="Models and the folders of training."),
    ] = None,
    assets: Annotated[Path, typer.Option(help="The folder of embedded weights.")] = (
        Path(__file__).parent / "assets"
    ),
    dry_run: Annotated[bool, typer.Option(help="Check and print sizes, write nothing.")] = False,
) -> None:
    """Put trained models into the package, and list all that it holds."""
    specs: dict[str, ModelSpec] = {}
    for text in models or ():
        try:
            spec = parse_model(text)
        except ValueError as error:
            raise UserError(str(error)) from error
        if embedded_file(spec) in specs:
            raise UserError(f"{text}: {spec._replace(weights=None)} is named twice")
        specs[embedded_file(spec)] = spec
    if not assets.is_dir():
        raise UserError(f"--assets {assets}: there is no such folder")
    entries = embed(list(specs.values()), assets, dry_run=dry_run)
    table = Table("file", box=None)
    for column in ("parameters", "bytes", "largest error of a tensor"):
        table.add_column(column, justify="right")
    for entry in entries:
        lost = "" if entry.error is None else f"{entry.error:.2%}"
        table.add_row(entry.name, f"{entry.parameters:,}", f"{entry.size:,}", lost)
    console().print(table)
    total = sum(entry.size for entry in entries)
    print(f"{total:,} of {LIMIT_BYTES:,} bytes{', had they been written' if dry_run else ''}")


if __name__ == "__main__":
    sys.exit(run_app(app, "distill.embed"))

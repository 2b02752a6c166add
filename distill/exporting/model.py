"""A model as one folder that can be handed on: weights, a manifest, and ONNX if asked for.

    OUT/model.json                     what it is, and how it is to be fed
        stage{k}-encoder.safetensors   and decoder; `METHOD-FAMILY-RATIOx:OUT` is the model again
        stage{k}-encoder.onnx          and decoder

A failure leaves no such folder, and its ONNX files have been compared with PyTorch.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from distill.cascades import CascadeNetworks, Pair, load_cascade, own_files
from distill.errors import UserError
from distill.exporting.headers import source_headers
from distill.exporting.manifest import DType, NetworkExport, Role, alignment, describe, roles
from distill.exporting.onnx_check import (
    TOLERANCE,
    CheckFailedError,
    Difference,
    OnnxNetwork,
    compare,
)
from distill.exporting.onnx_graph import require_onnx, to_onnx
from distill.exporting.picture_check import (
    LEAST_DB,
    Network,
    PictureDifference,
    compare_pictures,
)
from distill.models import ModelSpec
from distill.networks import Decoder, Encoder
from distill.weights import read_tensors

MANIFEST = "model.json"
SEED = 0
"""Of the images that ONNX is checked with."""


class ImageSize(NamedTuple):
    """Of a check, in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class ModelExport:
    """What :func:`export_model` wrote."""

    spec: ModelSpec
    """The model as exported; load_cascade and the command line take it."""
    networks: tuple[NetworkExport, ...]
    manifest: Path
    pictures: tuple[PictureDifference, ...]
    """Whole pictures by the manifest against the suite's with the source."""


def export_model(
    spec: ModelSpec,
    out: Path,
    *,
    onnx: bool = False,
    dtype: DType = "fp32",
    ridges: Mapping[int, float] | None = None,
    check_sizes: Sequence[ImageSize] = (),
) -> ModelExport:
    """Write a model's folder: weights with their headers, manifest, and ONNX if asked for.

    The layers that only training needs (the embeddings of student encoders) are left out.

    Args:
        spec: the model; it must have trained weights.
        out: folder to write; made if it is not there, and otherwise empty.
        onnx: write encoder and decoder of every stage as ONNX, too, and compare each with PyTorch
            at several sizes of image.
        dtype: how the weights are stored; the networks compute in float32 with either.
        ridges: of stages of WCT that are to have another ridge than the model has; 0 for none.
        check_sizes: sizes of image to compare at besides those of :func:`default_check_sizes`.

    Raises:
        UserError: for weights that are missing or random, a folder that is in use, sizes that the
            model cannot take, or weights beyond the range of float16.
        CheckFailedError: if ONNX and PyTorch differ by more than rounding, or a picture by the
            manifest alone is another than the suite's; no folder is left.
        EnvironmentUnfitError: for ONNX without the ``onnx`` extra.
    """
    if onnx:
        require_onnx()
    _validate_sizes(spec, check_sizes, onnx=onnx)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; expected the name of a folder to write")
    if out.is_dir() and (first := next(iter(sorted(out.iterdir())), None)):
        raise UserError(f"{out}: holds {first.name} already; name a new or an empty folder")
    networks = load_cascade(spec)
    if networks.weights == "random":
        raise UserError(
            f"model {str(spec)!r}: its weights here are not trained ({networks.detail}); only "
            f"trained ones are exported: name their folder, as in '{spec._replace(weights=None)}"
            ":FOLDER'"
        )
    ridges = ridges or {}
    networks = replace(
        networks,
        pairs=tuple(
            replace(pair, ridge=ridges.get(pair.encoder.stage, pair.ridge))
            for pair in networks.pairs
        ),
    )
    with _staging(out) as folder:
        headers = source_headers(spec, folder)
        for stage, ridge in ridges.items():
            headers[own_files(folder, (stage,))[0][1].name]["ridge"] = repr(ridge)
        for pair in networks.pairs:
            for role, network in roles(pair):
                path = _file(folder, pair, role)
                save_file(_stored(network, dtype, path.name), path, metadata=headers[path.name])
        staged = spec._replace(weights=str(folder))
        # Read back, so that what is checked is what was written.
        pairs = load_cascade(staged).pairs
        exports = [
            _export_network(
                pair,
                role,
                _file(folder, pair, role),
                onnx=onnx,
                half=dtype == "fp16",
                sizes=(*default_check_sizes(pair.encoder.stage), *check_sizes),
            )
            for pair in pairs
            for role, _ in roles(pair)
        ]
        manifest = describe(spec, staged, pairs, exports, dtype=dtype)
        pictures = _compare_pictures(networks, pairs, exports, manifest)
        manifest["pictures"] = {
            "compared": "made by this file alone with the networks of this folder"
            + (" in ONNX Runtime" if onnx else "")
            + ", against the suite's with the model that was exported, in float32",
            "differences": [
                {"width": p.width, "height": p.height, "psnr_db": _finite(p.psnr_db)}
                for p in pictures
            ],
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    moved = tuple(
        replace(
            export,
            weights=out / export.weights.name,
            onnx=out / export.onnx.name if export.onnx else None,
        )
        for export in exports
    )
    return ModelExport(spec._replace(weights=str(out)), moved, out / MANIFEST, pictures)


def _finite(value: float) -> float | None:
    """JSON has no infinity: equal pictures have None."""
    return round(value, 1) if math.isfinite(value) else None


def _compare_pictures(
    source: CascadeNetworks,
    pairs: Sequence[Pair],
    exports: Sequence[NetworkExport],
    manifest: Mapping[str, Any],
) -> tuple[PictureDifference, ...]:
    """Compare pictures made by the manifest with the suite's.

    Raises:
        CheckFailedError: for another picture.
    """
    networks: dict[tuple[int, str], Network] = {
        (pair.encoder.stage, role): network for pair in pairs for role, network in roles(pair)
    }
    networks |= {
        (export.stage, export.role): OnnxNetwork(export.onnx) for export in exports if export.onnx
    }
    pictures = compare_pictures(source, manifest["method"], manifest, networks)
    least = LEAST_DB[manifest["dtype"]]
    for picture in pictures:
        if not picture.psnr_db >= least:
            raise CheckFailedError(
                f"{manifest['name']}: run by its manifest in {manifest['dtype']}, it gives a "
                f"picture of {picture.width}x{picture.height} px {picture.psnr_db:.1f} dB from the "
                f"suite's; at least {least:g} is wanted: nothing was exported"
            )
    return pictures


def default_check_sizes(stage: int) -> tuple[ImageSize, ...]:
    """Sizes at which a stage's ONNX is always compared: the smallest there is, wide, and tall.

    In steps of the stage's own alignment, so that maps inside have odd sides.
    """
    step = alignment(stage)
    return (
        ImageSize(2 * step, 2 * step),
        ImageSize(96 + step, 32 + step),
        ImageSize(32 + step, 64 + 3 * step),
    )


def _validate_sizes(spec: ModelSpec, sizes: Sequence[ImageSize], *, onnx: bool) -> None:
    if sizes and not onnx:
        raise UserError("sizes to check are given, but only ONNX is checked; ask for ONNX, too")
    step, name = alignment(max(spec.stages)), spec._replace(weights=None)
    problems = []
    for size in sizes:
        width, height = (max(2, round(side / step)) * step for side in size)
        if (width, height) != size:
            problems.append(
                f"size to check {size.width}x{size.height}: images of {name} have sides of "
                f"multiples of {step}, {2 * step} at the least; the nearest is {width}x{height}"
            )
    if problems:
        raise UserError(*problems)


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A folder whose files move to ``out`` at the end; on an error nothing is left."""
    made = not out.is_dir()
    folder = out / f".export.{os.getpid()}"
    try:
        folder.mkdir(parents=True)
        yield folder
        # The manifest last: a folder that has one is whole.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST):
            shutil.copymode(folder / MANIFEST, path)  # safetensors lets only the owner read
            path.replace(out / path.name)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{out}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def _file(folder: Path, pair: Pair, role: Role) -> Path:
    encoder, decoder = own_files(folder, (pair.encoder.stage,))[0]
    return encoder if role == "encoder" else decoder


def _stored(network: Encoder | Decoder, dtype: DType, name: str) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    if dtype == "fp32":
        return state
    halves = {key: value.half() for key, value in state.items()}
    for key, value in halves.items():
        if not value.isfinite().all():
            raise UserError(
                f"{name}: {key} holds values up to {state[key].abs().max():.3g}, beyond the range "
                "of fp16 (65504); export it as fp32"
            )
    return halves


def _export_network(
    pair: Pair,
    role: Role,
    weights: Path,
    *,
    onnx: bool,
    half: bool,
    sizes: Sequence[ImageSize],
) -> NetworkExport:
    stage = pair.encoder.stage
    if not onnx:
        return NetworkExport(stage, role, weights, None, ())
    import onnx as onnx_package

    network = pair.encoder if role == "encoder" else pair.decoder
    path = weights.with_suffix(".onnx")
    model = to_onnx(network, half=half, metadata=read_tensors(weights)[1])
    onnx_package.save_model(model, str(path))
    differences = _compare(pair, role, path, sizes)
    for difference in differences:
        if not difference.ok:
            raise CheckFailedError(
                f"{path.name} differs from PyTorch by {difference}; allowed is {TOLERANCE:.0e} of "
                "the largest output: nothing was exported"
            )
    return NetworkExport(stage, role, weights, path, differences)


def _compare(
    pair: Pair, role: Role, path: Path, sizes: Sequence[ImageSize]
) -> tuple[Difference, ...]:
    onnx_network = OnnxNetwork(path)
    generator = torch.Generator().manual_seed(SEED)
    differences = []
    for index, (width, height) in enumerate(sizes):
        # Batches of one and of two in turn, for the batch is free as well.
        x = torch.rand(1 + index % 2, 3, height, width, generator=generator)
        if role == "encoder":
            differences.append(compare(pair.encoder, onnx_network, x))
        else:
            with torch.inference_mode():
                features = pair.encoder(x)
            differences.append(compare(pair.decoder, onnx_network, features))
    return tuple(differences)

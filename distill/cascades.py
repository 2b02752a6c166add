"""The networks of a named model: encoder and decoder of each stage, with their weights.

Four sources: a folder in this project's layout (``stage{k}-encoder.safetensors`` and
``stage{k}-decoder.safetensors``), a folder with the paper's published students (``{k}SE.pth`` and
``{k}SD.pth``), or no folder: trained weights that come with the package (:mod:`distill.embedded`),
and where it has none random weights, seeded, for measuring speed and memory only.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from distill.embedded import (
    TEACHER_ENCODERS,
    EmbeddedModel,
    embedded_digest,
    embedded_file,
    network_name,
    read_embedded,
    training_summary,
)
from distill.errors import UserError
from distill.header import Header, read_header, save_network
from distill.models import ModelSpec
from distill.networks import (
    STAGES,
    Decoder,
    Encoder,
    count_macs_per_pixel,
    count_parameters,
    seed_weights,
    student_widths,
)
from distill.registry import REGISTRY
from distill.weights import load_named, read_tensors, sha256

PUBLISHED = ("wct", "vgg19", 16)
"""Method, family and ratio of the paper's published students."""
PUBLISHED_STAGE1_WIDTH = 24
"""The published 16x students have 24 channels in stage 1 instead of 16."""


@dataclass(frozen=True)
class Pair:
    """One stage's networks, plain form, frozen, float32 on the CPU."""

    encoder: Encoder
    decoder: Decoder
    ridge: float = 0.0
    """Of whitening and colouring between them (WCT), as a part of the mean eigenvalue."""


@dataclass(frozen=True)
class Architecture:
    """What a model costs, known without building it."""

    parameters: int
    macs_per_pixel: float


@dataclass(frozen=True)
class CascadeNetworks:
    """All stages of a model, in the order they run."""

    pairs: tuple[Pair, ...]
    weights: Literal["trained", "random"]
    detail: str
    """Where the weights come from, in words."""


def model_widths(spec: ModelSpec, stage: int) -> tuple[int, ...]:
    """Channels of blocks 1 to ``stage`` of a model's networks."""
    if stage == 1 and _has_published_stage1(spec):
        return (PUBLISHED_STAGE1_WIDTH,)
    return student_widths(spec.ratio)[:stage]


def _has_published_stage1(spec: ModelSpec) -> bool:
    """Whether a folder's stage 1 is the published one, as published or converted."""
    if spec.weights is None or (spec.method, spec.family, spec.ratio) != PUBLISHED:
        return False
    folder = Path(spec.weights)
    if published_files(folder, (1,)):
        return True
    encoder = own_files(folder, (1,))[0][0]
    if not encoder.is_file():
        return False
    bias = read_tensors(encoder)[0].get("conv1_1.bias")
    return bias is not None and bias.shape == (PUBLISHED_STAGE1_WIDTH,)


def architecture(spec: ModelSpec) -> Architecture:
    """Parameters, and multiply-accumulates for each content pixel, over all stages."""
    parameters, macs = 0, 0.0
    for stage in spec.stages:
        widths = model_widths(spec, stage)
        parameters += sum(count_parameters(spec.family, widths, stage))
        macs += sum(count_macs_per_pixel(spec.family, widths, stage))
    return Architecture(parameters, macs)


def published_files(folder: Path, stages: Sequence[int] = STAGES) -> list[tuple[Path, Path]]:
    """The paper's encoder and decoder files of the stages in a folder; empty if it has none."""
    pairs = [(folder / f"{k}SE.pth", folder / f"{k}SD.pth") for k in stages]
    return pairs if any(path.exists() for pair in pairs for path in pair) else []


def own_files(folder: Path, stages: Sequence[int] = STAGES) -> list[tuple[Path, Path]]:
    """Encoder and decoder files of the stages in this project's layout; they may not exist."""
    return [
        (folder / f"stage{k}-encoder.safetensors", folder / f"stage{k}-decoder.safetensors")
        for k in stages
    ]


def weights_files(spec: ModelSpec) -> list[tuple[Path, Path]]:
    """The files that a model with a weights folder is read from, a pair for each stage.

    Raises:
        UserError: for a folder that is not there or does not hold all of them.
    """
    folder = Path(spec.weights or "")
    if not folder.is_dir():
        raise UserError(f"model {str(spec)!r}: there is no folder {spec.weights}")
    pairs = published_files(folder, spec.stages)
    if pairs and (spec.method, spec.family, spec.ratio) != PUBLISHED:
        raise UserError(
            f"model {str(spec)!r}: {folder} holds the paper's published students, which are "
            f"'wct-vgg19-16x:{folder}'"
        )
    pairs = pairs or own_files(folder, spec.stages)
    missing = [path.name for pair in pairs for path in pair if not path.is_file()]
    if missing:
        raise UserError(
            f"model {str(spec)!r}: {folder} lacks {', '.join(missing)}; expected "
            "stage{k}-encoder.safetensors and stage{k}-decoder.safetensors, or the paper's "
            "{k}SE.pth and {k}SD.pth, for every stage k"
        )
    return pairs


def weights_kind(spec: ModelSpec) -> Literal["trained", "random"]:
    """Whether a model has trained weights, in its folder or embedded, without reading them."""
    trained = spec.weights is not None or embedded_digest(spec) is not None
    return "trained" if trained else "random"


def weights_digest(spec: ModelSpec, *, seed: int = 0) -> str:
    """What tells one set of weights from another: 16 hexadecimal digits."""
    if spec.weights is not None:
        content = " ".join(sha256(path) for pair in weights_files(spec) for path in pair)
    elif (digest := embedded_digest(spec)) is not None:
        encoders = REGISTRY[TEACHER_ENCODERS[spec.family]].digest if spec.ratio == 1 else ""
        content = f"embedded {digest} {encoders}"
    else:
        content = f"random {seed} {REGISTRY['vgg16-normalised'].digest}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def load_cascade(spec: ModelSpec, *, seed: int = 0) -> CascadeNetworks:
    """Build a model's networks and read (or draw) their weights.

    Args:
        spec: the model; without a weights folder it has the embedded weights, if there are any.
        seed: of the random weights, where there are no trained ones.

    Raises:
        UserError: for weights that are missing, unreadable or of another shape.
    """
    pairs = [build_pair(spec, stage) for stage in spec.stages]
    weights: Literal["trained", "random"] = "trained"
    if spec.weights is not None:
        pairs = [_read(p, files) for p, files in zip(pairs, weights_files(spec), strict=True)]
        detail = f"read from {spec.weights}"
    elif (embedded := read_embedded(spec)) is not None:
        pairs = _fill_embedded(spec, pairs, embedded)
        detail = f"embedded: {training_summary(embedded.headers.values())}"
    else:
        weights, detail = "random", _draw(spec, pairs, seed)
    return CascadeNetworks(tuple(map(_freeze, pairs)), weights, detail)


def _freeze(pair: Pair) -> Pair:
    pair.encoder.requires_grad_(False).eval()
    pair.decoder.requires_grad_(False).eval()
    return pair


def build_pair(spec: ModelSpec, stage: int) -> Pair:
    """A stage's networks, with weights that mean nothing yet."""
    widths = model_widths(spec, stage)
    return Pair(
        Encoder(spec.family, widths, stage),
        Decoder(spec.family, widths, stage, final_relu=spec.method == "wct"),
    )


def _draw(spec: ModelSpec, pairs: Sequence[Pair], seed: int) -> str:
    for index, pair in enumerate(pairs):
        seed_weights(pair.encoder, seed + 2 * index)
        seed_weights(pair.decoder, seed + 2 * index + 1)
    if spec.ratio != 1 or spec.family not in TEACHER_ENCODERS:
        return f"random, seed {seed}"
    _fill_teacher_encoders(spec, pairs)
    return f"encoders {TEACHER_ENCODERS[spec.family]} (embedded), decoders random, seed {seed}"


def _fill_teacher_encoders(spec: ModelSpec, pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        teacher = load_named(TEACHER_ENCODERS[spec.family], pair.encoder.stage)
        pair.encoder.load_state_dict(teacher.state_dict())


def _read(pair: Pair, files: tuple[Path, Path]) -> Pair:
    """A stage with the weights and the ridge of its two files."""
    for network, path in zip((pair.encoder, pair.decoder), files, strict=True):
        tensors, metadata = read_tensors(path)
        fill(network, tensors, str(path))
    return replace(pair, ridge=_ridge(read_header(metadata), str(path)))


def _ridge(header: Header | None, where: str) -> float:
    """What a decoder's header says of the match before it; none where there is no header."""
    ridge = 0.0 if header is None else header.ridge
    if not 0 <= ridge < math.inf:
        raise UserError(f"{where}: its header says ridge {ridge:g}; it is a number from 0 up")
    return ridge


def _fill_embedded(spec: ModelSpec, pairs: Sequence[Pair], embedded: EmbeddedModel) -> list[Pair]:
    if spec.ratio == 1:
        _fill_teacher_encoders(spec, pairs)
    found = []
    for pair in pairs:
        networks = {"encoder": pair.encoder, "decoder": pair.decoder}
        for role, network in networks.items():
            if role == "decoder" or spec.ratio != 1:
                name = network_name(pair.encoder.stage, role)
                where = f"{embedded_file(spec)}, {name}"
                fill(network, embedded.networks.get(name, {}), where)
        header = embedded.headers.get(network_name(pair.encoder.stage, "decoder"))
        found.append(replace(pair, ridge=_ridge(header, embedded_file(spec))))
    return found


def read_network(network: nn.Module, path: Path) -> None:
    """Give a network its weights from a file; raises as :func:`fill`."""
    fill(network, read_tensors(path)[0], str(path))


def fill(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Give a network its weights, under the project's names or the published ones.

    Args:
        network: an encoder or decoder.
        tensors: of the network; training's embeddings may be among them and are left out.
        where: the tensors come from, for messages.

    Raises:
        UserError: for tensors that are missing, too many, of another shape, integers or not
            finite.
    """
    state = {_own_name(key): value for key, value in tensors.items()}
    embedding = {key for key in state if key.startswith("embedding")}
    wanted = network.state_dict()
    for key in sorted(wanted.keys() | (state.keys() - embedding)):
        if key not in state:
            raise UserError(f"{where}: has no tensor {key!r}; it holds {', '.join(state)}")
        if key not in wanted:
            raise UserError(f"{where}: has a tensor {key!r} that this network has no place for")
        if state[key].shape != wanted[key].shape:
            raise UserError(
                f"{where}: {key} is {tuple(state[key].shape)} where the model has "
                f"{tuple(wanted[key].shape)}; is it of another ratio or stage?"
            )
        if not state[key].is_floating_point():
            raise UserError(f"{where}: {key} holds integers and has no scales beside it")
        if not state[key].isfinite().all():
            raise UserError(f"{where}: {key} holds values that are not finite numbers")
    network.load_state_dict({key: state[key].float() for key in wanted})


def _own_name(key: str) -> str:
    """``conv21.weight`` to ``conv2_1.weight``, ``conv21_aux.bias`` to ``embedding2_1.bias``."""
    if match := re.fullmatch(r"conv([1-5])([1-4])(_aux)?\.(weight|bias)", key):
        block, index, auxiliary, part = match.groups()
        return f"{'embedding' if auxiliary else 'conv'}{block}_{index}.{part}"
    return key


def convert_published(source: Path, target: Path) -> list[Path]:
    """Write the paper's published 16x students in this project's layout, embeddings included.

    Returns:
        The files written.

    Raises:
        UserError: for files that are missing or not of these networks.
    """
    spec = ModelSpec("wct", "vgg19", 16, str(source))
    if not published_files(source):
        raise UserError(f"{source}: no published students there; expected 1SE.pth to 5SD.pth")
    load_cascade(spec)
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for stage in STAGES:
        files = zip(
            published_files(source, (stage,))[0], own_files(target, (stage,))[0], strict=True
        )
        for role, (old, new) in zip(("encoder", "decoder"), files, strict=True):
            tensors = {_own_name(key): value for key, value in read_tensors(old)[0].items()}
            header = Header(
                spec.family,
                spec.method,
                spec.ratio,
                stage,
                role,
                "collaborative",
                source=f"Collaborative Distillation (CVPR 2020), MIT, {old.name}",
            )
            save_network(new, tensors, header)
            written.append(new)
    return written

"""Models to compare: what each is, as far as the headers of its weights files say."""

import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import as_file
from itertools import pairwise
from pathlib import Path

from distill import embedded
from distill.cascades import own_files, published_files, weights_files
from distill.errors import UserError
from distill.header import Header, read_header
from distill.models import ModelSpec, parse_model
from distill.training.recipes import DECODER_WEIGHTS, ENCODER_WEIGHTS
from distill.weights import read_metadata

UNKNOWN = "unknown"
"""Compressor of weights whose files have no header of this project."""


@dataclass(frozen=True)
class Candidate:
    """A model, and how it was made."""

    spec: ModelSpec
    compressor: str
    """With what differs from its own recipe, as in ``collaborative, embedding=0``. ``unknown``
    without a header; several names with a plus between, if its files differ; empty for random
    weights."""
    seed: str
    """Of the training; empty where no file says, several with a plus between."""
    steps: int | None
    """Of the training, over all files; None where no file says."""
    data: str
    """What it was trained on, as the headers say."""
    storage_bytes: int | None
    """Of the weights files; None for random weights."""
    training: str = ""
    """What else of the training, beside the seed, its files' headers say: equal for replicates."""

    @property
    def name(self) -> str:
        """As it was named, or would be."""
        return str(self.spec)

    @property
    def kind(self) -> str:
        """Method and family, such as ``wct-vgg16``: what has one teacher."""
        return f"{self.spec.method}-{self.spec.family}"


def find_candidates(models: Sequence[str]) -> list[Candidate]:
    """The models named, each once.

    Args:
        models: names (``METHOD-FAMILY-RATIOx[:WEIGHTS]``), or folders of weights whose files'
            headers say what they are.

    Raises:
        UserError: for each that is neither, one problem; or for files that belie their headers.
    """
    specs: dict[ModelSpec, None] = {}
    problems: list[str] = []
    for text in models:
        try:
            specs[_spec(text)] = None
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return [_candidate(spec) for spec in specs]


def _spec(text: str) -> ModelSpec:
    try:
        return parse_model(text)
    except ValueError as error:
        folder = Path(text)
        if not folder.is_dir():
            raise UserError(f"{text}: no folder of weights, and no model: {error}") from error
    if published_files(folder):
        return parse_model(f"wct-vgg19-16x:{text}")
    encoders = [encoder for encoder, _ in own_files(folder) if encoder.is_file()]
    if not encoders:
        raise UserError(
            f"{text}: holds no weights; expected stage{{k}}-encoder.safetensors, or the paper's "
            "{k}SE.pth"
        )
    header = read_header(read_metadata(encoders[0]))
    if header is None:
        raise UserError(
            f"{encoders[0]}: its header does not say what it is; name the model with it, as in "
            f"wct-vgg16-16x:{text}"
        )
    try:
        return parse_model(f"{header.method}-{header.family}-{header.ratio}x:{text}")
    except ValueError as error:
        raise UserError(f"{encoders[0]}: by its header, {error}") from error


def _candidate(spec: ModelSpec) -> Candidate:
    if spec.weights is None:
        return _without_folder(spec)
    files = [path for pair in weights_files(spec) for path in pair]
    storage = sum(path.stat().st_size for path in files)
    if published_files(Path(spec.weights), spec.stages):
        return Candidate(spec, "collaborative", "", None, "", storage)
    headers = [_checked(spec, path, read_header(read_metadata(path))) for path in files]
    return _described(spec, [header for header in headers if header], storage)


def _checked(spec: ModelSpec, path: Path, header: Header | None) -> Header | None:
    # An encoder may serve both methods, a decoder only one; the networks' shapes need not differ.
    if header is not None and (
        (header.family, header.ratio) != (spec.family, spec.ratio)
        or (header.role == "decoder" and header.method != spec.method)
    ):
        raise UserError(
            f"{path}: named {spec.method}-{spec.family}-{spec.ratio}x, but its header says "
            f"{header.method}-{header.family}-{header.ratio}x"
        )
    return header


def _described(spec: ModelSpec, headers: Sequence[Header], storage: int) -> Candidate:
    # A teacher's encoders are nobody's work here: what was trained says how.
    trained = [header for header in headers if header.steps] or list(headers)
    return Candidate(
        spec,
        compressor=_compressor(trained),
        seed="+".join(dict.fromkeys(str(header.seed) for header in trained if header.steps)),
        steps=sum(header.all_steps for header in trained) or None,
        data="; ".join(dict.fromkeys(header.data for header in trained if header.data)),
        storage_bytes=storage,
        training=repr([_training(header) for header in trained]),
    )


def _compressor(headers: Sequence[Header]) -> str:
    """The compressors of a model's files, with what differs from their own recipes."""
    names = "+".join(dict.fromkeys(header.compressor for header in headers)) or UNKNOWN
    if names == "teacher":
        return names
    variants = dict.fromkeys(header.variant for header in headers if header.variant)
    without = dict.fromkeys(part for header in headers for part in _left_out(header))
    return ", ".join([names, *variants, *without])


def _left_out(header: Header) -> list[str]:
    """Loss terms of the recipe that were left out, such as ``embedding=0``: an ablation.

    Terms that weigh otherwise are another tuning: a group apart, of the same compressor.
    """
    on_features = header.role == "encoder" and header.compressor in ("collaborative", "fitnet")
    stylising = header.role == "decoder" and header.method == "adain"
    own = asdict(ENCODER_WEIGHTS if on_features or stylising else DECODER_WEIGHTS)
    if not header.loss_weights:  # of a version that stated none; the command does
        stated = _weights_of(header.command)
    else:
        stated = json.loads(header.loss_weights)
    return [f"{key}=0" for key, value in stated.items() if value == 0 and own.get(key)]


def _weights_of(command: str) -> dict[str, float]:
    """The values of ``--loss-weight`` in a command of training."""
    try:
        words = shlex.split(command)
    except ValueError:
        return {}
    texts = [after for word, after in pairwise(words) if word == "--loss-weight"]
    texts += [word.partition("=")[2] for word in words if word.startswith("--loss-weight=")]
    weights = {}
    for text in texts:
        key, _, value = text.partition("=")
        with suppress(ValueError):
            weights[key] = float(value)
    return weights


def _training(header: Header) -> tuple[object, ...]:
    """All that must be the same of replicates: neither the seed nor what follows from it."""
    return (
        *(header.stage, header.role, header.data, header.teacher),
        *(header.steps, header.earlier_steps, header.batch, header.crop),
        *(header.learning_rate, header.schedule, header.variant),
        header.loss_weights or sorted(_weights_of(header.command).items()),
    )


def _without_folder(spec: ModelSpec) -> Candidate:
    headers = embedded.embedded_headers(spec)
    if headers is None:
        return Candidate(spec, "", "", None, "", None)
    with as_file(embedded.ASSETS / embedded.embedded_file(spec)) as path:
        storage = path.stat().st_size
    return _described(spec, list(headers.values()), storage)

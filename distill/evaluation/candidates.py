"""Models to compare: what each is, as far as the headers of its weights files say."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file
from pathlib import Path

from distill import embedded
from distill.cascades import own_files, published_files, weights_files
from distill.errors import UserError
from distill.header import Header, read_header
from distill.models import ModelSpec, parse_model
from distill.weights import read_metadata

UNKNOWN = "unknown"
"""Compressor of weights whose files have no header of this project."""


@dataclass(frozen=True)
class Candidate:
    """A model, and how it was made."""

    spec: ModelSpec
    compressor: str
    """``unknown`` without a header; several names with a plus between, if its files differ; empty
    for random weights."""
    seed: str
    """Of the training; empty where no file says, several with a plus between."""
    steps: int | None
    """Of the training, over all files; None where no file says."""
    data: str
    """What it was trained on, as the headers say."""
    storage_bytes: int | None
    """Of the weights files; None for random weights."""

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
        compressor="+".join(dict.fromkeys(header.compressor for header in trained)) or UNKNOWN,
        seed="+".join(dict.fromkeys(str(header.seed) for header in trained if header.steps)),
        steps=sum(header.steps for header in trained) or None,
        data="; ".join(dict.fromkeys(header.data for header in trained if header.data)),
        storage_bytes=storage,
    )


def _without_folder(spec: ModelSpec) -> Candidate:
    headers = embedded.embedded_headers(spec)
    if headers is None:
        return Candidate(spec, "", "", None, "", None)
    with as_file(embedded.ASSETS / embedded.embedded_file(spec)) as path:
        storage = path.stat().st_size
    return _described(spec, list(headers.values()), storage)

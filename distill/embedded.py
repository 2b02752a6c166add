"""Models whose trained weights come with the package: one file for each, with its checksum.

``METHOD-FAMILY-RATIOx.safetensors`` holds ``stage{k}.encoder.conv1_1.weight`` and so on, in float16
or quantised (:mod:`distill.quantise`), and in its metadata the header of each network
(:mod:`distill.header`). A teacher's file has decoders only: its encoders are the family's own
network (:data:`TEACHER_ENCODERS`). ``SHA256SUMS`` lists the files; ``python -m distill.embed``
writes both.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from torch import Tensor

from distill.errors import UserError
from distill.header import Header, read_header
from distill.models import ModelSpec
from distill.weights import read_metadata, read_tensors, sha256

ASSETS: Traversable = files("distill") / "assets"
"""The folder they are in; tests put another in its place."""
DIGESTS = "SHA256SUMS"
NETWORKS = "networks"
"""Key of the metadata: the header of each network, as JSON."""
TEACHER_ENCODERS: Mapping[str, str] = {"vgg16": "vgg16-normalised"}
"""The registered network whose beginnings are a family's encoders at ratio 1."""


@dataclass(frozen=True)
class EmbeddedModel:
    """What an embedded file holds."""

    networks: Mapping[str, Mapping[str, Tensor]]
    """Tensors in float16 or float32 of each network, such as ``stage5.decoder``."""
    headers: Mapping[str, Header]
    """How each network was made."""


def network_name(stage: int, role: str) -> str:
    """Name of a network in an embedded file."""
    return f"stage{stage}.{role}"


def embedded_file(spec: ModelSpec) -> str:
    """Name of a model's file, embedded or not."""
    return f"{spec._replace(weights=None)}.safetensors"


def read_digests(assets: Traversable) -> dict[str, str]:
    """SHA-256 of each embedded model's file in a folder of them; empty if none is listed.

    Raises:
        UserError: for a list that is damaged.
    """
    listing = assets / DIGESTS
    if not listing.is_file():
        return {}
    found = {}
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        if not (match := re.fullmatch(r"([0-9a-f]{64})  (\S+)", line)):
            raise UserError(
                f"{listing}: line {number} is no SHA-256 and file name; install the project again"
            )
        found[match[2]] = match[1]
    return found


def embedded_digest(spec: ModelSpec) -> str | None:
    """SHA-256 of a model's embedded file; None where the package has none."""
    return read_digests(ASSETS).get(embedded_file(spec))


def read_embedded(spec: ModelSpec) -> EmbeddedModel | None:
    """A model's embedded weights; None where the package has none.

    Raises:
        UserError: for a file that is missing or damaged.
    """
    with _verified(spec) as path:
        if path is None:
            return None
        tensors, metadata = read_tensors(path)
    networks: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        stage, role, own = key.split(".", 2)
        networks.setdefault(f"{stage}.{role}", {})[own] = tensor
    return EmbeddedModel(networks, read_headers(metadata))


def embedded_headers(spec: ModelSpec) -> dict[str, Header] | None:
    """How each network of a model's embedded weights was made; None where the package has none.

    Raises:
        UserError: for a file that is missing or damaged.
    """
    with _verified(spec) as path:
        return None if path is None else read_headers(read_metadata(path))


@contextmanager
def _verified(spec: ModelSpec) -> Iterator[Path | None]:
    """The embedded file of a model, its checksum right; None where there is none."""
    name, digest = embedded_file(spec), embedded_digest(spec)
    if digest is None:
        yield None
        return
    with as_file(ASSETS / name) as path:
        if not path.is_file():
            raise UserError(
                f"{path}: is listed in {DIGESTS} but missing; install the project again"
            )
        if (found := sha256(path)) != digest:
            raise UserError(
                f"{path}: SHA-256 is {found}, not {digest}: the installed file is damaged; install "
                "the project again"
            )
        yield path


def read_headers(metadata: Mapping[str, str]) -> dict[str, Header]:
    """Headers of the networks in an embedded file's metadata; empty for another file's."""
    try:
        found = json.loads(metadata.get(NETWORKS, "{}"))
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    headers = {
        name: read_header(values) for name, values in found.items() if isinstance(values, dict)
    }
    return {name: header for name, header in headers.items() if header is not None}


def training_summary(headers: Iterable[Header]) -> str:
    """Compressors and steps of networks, in words: ``compressor teacher, 900 to 1,200 steps``."""
    made = list(headers)
    compressors = ", ".join(dict.fromkeys(header.compressor for header in made))
    steps = sorted(header.all_steps for header in made)
    if not steps or not steps[-1]:
        return f"compressor {compressors or 'unknown'}"
    each = " for each network" if len(made) > 1 else ""
    span = f"{steps[0]:,} to {steps[-1]:,}" if steps[0] != steps[-1] else f"{steps[-1]:,}"
    return f"compressor {compressors}, {span} steps{each}"

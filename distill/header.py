"""Weights as files: safetensors with a header that says what the network is and how it was made."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from distill.files import write_bytes_atomically


@dataclass(frozen=True)
class Header:
    """What the metadata of a weights file says; every value is a string in the file."""

    family: str
    method: str
    ratio: int
    stage: int
    role: str
    """``encoder`` or ``decoder``."""
    compressor: str
    """``teacher``, ``collaborative``, ``pruned``, ``fitnet`` or ``scratch``."""
    source: str = ""
    """Where weights that were not trained here come from, with their licence."""
    data: str = ""
    """What was trained on: number of images and a digest."""
    teacher: str = ""
    """Digest of the networks that were learnt from: of the decoder, and of an encoder that is none
    of the registry's."""
    steps: int = 0
    """Of this training; see ``earlier_steps``."""
    earlier_steps: int = 0
    """Of the network that ``--start`` began from, with all before it."""
    start: str = ""
    """Digest of that network."""
    batch: int = 0
    """Images of one step, over all devices."""
    crop: int = 0
    """Side of the crops, pixels."""
    learning_rate: float | None = None
    """At its peak."""
    schedule: str = ""
    loss_weights: str = ""
    """JSON: the weight of each loss term."""
    variant: str = ""
    """How the recipe differs from its compressor's own, such as ``embedding relu``."""
    seed: int | None = None
    ridge: float = 0.0
    """Of a WCT decoder: the ridge of whitening and colouring before it, as a part of the mean
    eigenvalue (:func:`distill.transforms.whiten`); 0 for none, as in the paper."""
    losses: str = ""
    """JSON: each loss term's weighted mean over the last tenth of the steps."""
    command: str = ""
    version: str = ""
    """Of this project."""

    def metadata(self) -> dict[str, str]:
        """The header as safetensors keeps it, without what is not known."""
        known = {key: value for key, value in asdict(self).items() if value not in ("", None)}
        return {
            key: str(value)
            for key, value in known.items()
            if value or key not in ("steps", "earlier_steps", "batch", "crop", "ridge")
        }

    @property
    def all_steps(self) -> int:
        """Steps of the network in all its trainings."""
        return self.steps + self.earlier_steps


def project_version() -> str:
    """Version of the installed project."""
    try:
        return version("ultrastyle-bench")
    except PackageNotFoundError:
        return "unknown"


def losses_json(losses: Mapping[str, float]) -> str:
    """Loss terms for :attr:`Header.losses`."""
    return json.dumps({key: float(f"{value:.5g}") for key, value in losses.items()})


def save_network(path: Path, tensors: Mapping[str, Tensor], header: Header) -> None:
    """Write a weights file atomically."""
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    # As bytes: where a disk is full, the library's own writing raises what does not say so.
    write_bytes_atomically(path, save(plain, metadata=header.metadata()))


def read_header(metadata: Mapping[str, str]) -> Header | None:
    """The header in a file's metadata; None if the file has none of this project's."""
    known = {field.name: field.type for field in fields(Header)}
    needed = ("family", "method", "ratio", "stage", "role", "compressor")
    if any(key not in metadata for key in needed):
        return None
    values = {key: metadata[key] for key in known if key in metadata}
    kinds: dict[object, type[int] | type[float]] = {
        int: int,
        int | None: int,
        float | None: float,
        float: float,
    }
    try:
        numbers = {
            key: kind(values[key]) for key in values if (kind := kinds.get(known[key])) is not None
        }
        return Header(**values | numbers)  # type: ignore[arg-type]
    except ValueError:
        return None

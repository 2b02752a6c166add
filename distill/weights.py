"""Reading weights: those of the registry, checksummed, and files in any place."""

import hashlib
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from distill.errors import UserError
from distill.files import is_visible_file
from distill.networks import TEACHER_WIDTHS, Encoder
from distill.quantise import restored
from distill.registry import REGISTRY, NamedWeights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
NETWORK_TIMEOUT_S = 10.0
"""Seconds without an answer after which a download is given up."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a weights file, on the CPU; quantised tensors are restored.

    As :func:`read_stored`, but an int8 tensor with its scales (:mod:`distill.quantise`) is the
    float32 one that it stands for.

    Raises:
        UserError: for a file that is missing, that is no such file, or whose scales do not fit.
    """
    stored, metadata = read_stored(path)
    return restore_tensors(path, stored), metadata


def restore_tensors(path: Path, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that a file's stored ones (:func:`read_stored`) stand for.

    Raises:
        UserError: for scales that do not fit.
    """
    try:
        return restored(stored)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a weights file, without its tensors; empty for a PyTorch checkpoint.

    Raises:
        UserError: for a file that is missing, or that is no safetensors file by that name.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such weights file")
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(_unreadable(path, error)) from error


def read_stored(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors as stored, and metadata, of a safetensors file or a PyTorch checkpoint (on the CPU).

    Checkpoints are read with ``weights_only``; a wrapping ``model`` or ``state_dict`` is opened.

    Raises:
        UserError: for a file that is missing or that is no such file.
    """
    metadata = read_metadata(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path), metadata
        except (SafetensorError, OSError) as error:
            raise UserError(_unreadable(path, error)) from error
    try:
        with warnings.catch_warnings():  # about protocols, of what is no pickle at all
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Broad with reason: it interprets the bytes as a program, and can stumble in any way. What
        # it says then is advice to those who program, over many lines.
        raise UserError(
            f"{path}: cannot be read as weights: it is no PyTorch file, damaged, or holds more "
            "than tensors; expected a state_dict of plain tensors, or a file named .safetensors"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise UserError(f"{path}: holds no table of tensors; a state_dict is expected")
    return dict(content), metadata


def _unreadable(path: Path, error: Exception) -> str:
    first = str(error).strip().splitlines()[0][:160] if str(error).strip() else ""
    return (
        f"{path}: cannot be read as weights ({type(error).__name__}: {first}); expected a "
        "safetensors file or a PyTorch state_dict of plain tensors"
    )


def load_named(name: str, stage: int = 5) -> Encoder:
    """The encoder to ``relu{stage}_1`` with a registry entry's weights, in float32 on the CPU.

    Raises:
        UserError: for an unknown name, a failed download, or a file whose digest is wrong.
    """
    if name not in REGISTRY:
        raise UserError(f"unknown weights {name!r}; known are {', '.join(REGISTRY)}")
    entry = REGISTRY[name]
    if entry.source == "embedded":
        tensors = _read_embedded(entry)
        conv0 = torch.eye(3), torch.zeros(3)
    else:
        tensors = _from_torchvision(download(str(entry.torchvision)), entry.family)
        scale = 1 / torch.tensor(IMAGENET_DEVIATION)
        conv0 = scale.diag(), -torch.tensor(IMAGENET_MEAN) * scale
    encoder = Encoder(entry.family, TEACHER_WIDTHS, stage)
    state = dict(tensors)
    state["conv0.weight"], state["conv0.bias"] = conv0[0][:, :, None, None], conv0[1]
    encoder.load_state_dict({key: state[key].float() for key in encoder.state_dict()})
    return encoder.requires_grad_(False)


def _read_embedded(entry: NamedWeights) -> dict[str, Tensor]:
    with as_file(files("distill") / "assets" / f"{entry.name}.safetensors") as path:
        return read_checked(path, entry.digest)


def read_checked(path: Path, digest: str) -> dict[str, Tensor]:
    """Tensors of a file that came with the package, as :func:`read_tensors` gives them.

    Raises:
        UserError: for a file that is missing, or whose SHA-256 is not ``digest``.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such weights file; install the project again")
    if (found := sha256(path)) != digest:
        raise UserError(
            f"{path}: SHA-256 is {found}, not {digest}: the installed file is damaged; "
            "install the project again"
        )
    return read_tensors(path)[0]


def torchvision_file(weights: str) -> tuple[str, Path]:
    """Address of a torchvision entry, and where torch's cache keeps its file."""
    from torchvision.models import get_weight

    url: str = get_weight(weights).url
    return url, Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def download(weights: str) -> dict[str, Tensor]:
    """Tensors of a torchvision entry, from torch's cache or by a download with progress.

    Args:
        weights: such as ``VGG19_Weights.IMAGENET1K_V1``.

    Raises:
        UserError: when there is no network, or the digest of the file, new or from the cache, is
            not the publisher's.
    """
    url, target = torchvision_file(weights)
    # The publisher puts it into the name; torch checks it after a download only.
    stated = target.stem.rpartition("-")[2]
    if is_visible_file(target) and not (found := sha256(target)).startswith(stated):
        raise UserError(
            f"{weights}: {target} is damaged (SHA-256 {found[:8]}..., not {stated}...); delete it "
            "and try again"
        )
    if not target.is_file():
        fetch(url, target, what=weights, digest=stated)
    tensors: dict[str, Tensor] = torch.load(target, map_location="cpu", weights_only=True)
    return tensors


def fetch(url: str, target: Path, *, what: str, digest: str) -> None:
    """Download a file, with progress; it is there whole and right, or not at all.

    Args:
        url: where it is.
        target: where to put it; folders on the way are made.
        what: it is, for messages.
        digest: SHA-256 of the file, or the first digits of it.

    Raises:
        UserError: when there is no answer for ``NETWORK_TIMEOUT_S``, what came has another digest,
            or the disk refuses.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _network_timeout(NETWORK_TIMEOUT_S):
            torch.hub.download_url_to_file(url, str(target), hash_prefix=digest, progress=True)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{what} must be downloaded, and that failed ({reason}); with a network try again, or "
            f"put the file from {url} at {target}"
        ) from error
    except RuntimeError as error:  # the hash
        raise UserError(f"{what}: what came from {url} is damaged ({error}); try again") from error


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    """torch.hub opens addresses without a limit of its own: only the process's counts."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_torchvision(tensors: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """torchvision's ``features.N.weight`` under the names of the VGG paper."""
    plain = Encoder(family, TEACHER_WIDTHS, 5)
    indices = sorted({int(key.split(".")[1]) for key in tensors if key.startswith("features.")})
    return {
        f"{conv.name}.{part}": tensors[f"features.{index}.{part}"]
        for conv, index in zip(plain.description, indices, strict=False)
        for part in ("weight", "bias")
    }

"""Checkpoints: a training's state in one file, to go on from as if it had never stopped.

A training that runs away does so some steps before its loss shows it. So the checkpoint before is
kept beside a new one until the window after that has passed its check.
"""

import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from distill.errors import UserError
from distill.files import write_atomically, write_bytes_atomically
from distill.training.history import Outcome, Window
from distill.training.recipes import Recipe
from distill.training.settings import Settings

FORMAT = 1
CHANGEABLE = ("learning_rate", "clip", "steps", "minutes")
"""Settings that may be others from a checkpoint on: what helps where a training ran away, and the
budget."""


class Restored(NamedTuple):
    """What a checkpoint held, and what its reader ought to know."""

    outcome: Outcome
    notes: tuple[str, ...]


def save_checkpoint(
    path: Path,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    identity: Mapping[str, str],
    outcome: Outcome,
) -> None:
    """Write the state after a step, whole or not at all."""
    content = {
        "format": FORMAT,
        "settings": asdict(settings),
        "identity": dict(identity),
        "trainable": recipe.trainable.state_dict(),
        "optimizer": optimizer.state_dict(),
        "outcome": asdict(outcome),
    }
    # To memory first: where a disk is full, torch.save raises what does not say so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes_atomically(path, buffer.getbuffer())


def keep_before(path: Path) -> None:
    """Keep a checkpoint while another is written in its place, until that is confirmed."""

    def copy(temporary: Path) -> None:
        shutil.copyfile(path, temporary)

    write_atomically(_before(path), copy)


def confirm(path: Path) -> None:
    """The training went well beyond a checkpoint: the one before is not needed any more."""
    _before(path).unlink(missing_ok=True)


def fall_back(path: Path, *, fresh: bool) -> None:
    """The training ran away right after a checkpoint: put the one before in its place.

    Args:
        path: of the checkpoint.
        fresh: it was written in the window before this; without one before it is deleted then.
    """
    if _before(path).is_file():
        _before(path).replace(path)
    elif fresh:
        path.unlink()


def _before(path: Path) -> Path:
    return path.with_stem(f"{path.stem}-before")


def restore(
    path: Path,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    identity: Mapping[str, str],
    device: torch.device,
) -> Restored:
    """Put a checkpoint's state into a recipe and its optimiser.

    Args:
        path: of the checkpoint.
        recipe: at its start.
        optimizer: of its trained parameters.
        settings: of now; only ``CHANGEABLE`` ones may differ.
        identity: what is trained, on what (:func:`distill.training.identity.identity`). A
            checkpoint of a version that kept none is taken if its tensors fit.
        device: to read to.

    Raises:
        UserError: for a file that is no checkpoint of this version, or of another training.
    """
    kept = _read(path, device)
    content = kept.content
    refuse_others(path, kept.differing(settings, identity))
    try:
        recipe.trainable.load_state_dict(content["trainable"])
        optimizer.load_state_dict(content["optimizer"])
        outcome = Outcome(**content["outcome"])
        outcome.windows = [Window(**window) for window in content["outcome"]["windows"]]
    except Exception as error:
        # Broad with reason: what torch raises for other names and shapes is its own affair.
        raise UserError(
            f"{path}: does not fit the network to be trained: it is of another model, compressor "
            "or version; give what it was trained with, or another --out"
        ) from error
    notes = []
    if kept.identity is None:
        notes.append(f"{path}: is of an older version, and cannot say what it was trained on")
    now = asdict(settings)
    changed = differences(kept.settings, {key: now[key] for key in CHANGEABLE})
    if kept.identity is not None and "encoder" in identity:
        changed += differences(kept.identity, {"encoder": identity["encoder"]})
    if changed:
        notes.append(f"{path}: goes on from step {kept.steps} with {'; '.join(changed)}")
    return Restored(outcome, tuple(notes))


class _Kept(NamedTuple):
    """What a checkpoint says of itself."""

    content: dict[str, Any]
    settings: dict[str, Any]
    identity: dict[str, str] | None
    """None of a version that kept none."""
    steps: int
    seconds: float

    def differing(self, settings: Settings, identity: Mapping[str, str]) -> list[str]:
        """What must be the same and is not, in words."""
        fixed = {key: value for key, value in asdict(settings).items() if key not in CHANGEABLE}
        others = differences(self.settings, fixed)
        if self.identity is None:
            return others
        # A decoder that goes on beyond its budget may do so for an encoder that went on before it.
        ended = Settings(**self.settings).progress(self.steps, self.seconds) >= 1
        same = {key: value for key, value in identity.items() if not (ended and key == "encoder")}
        return differences(self.identity, same) + others


def _read(path: Path, device: torch.device) -> _Kept:
    """Read a checkpoint.

    Raises:
        UserError: for a file that is none of this version.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        outcome = content["outcome"]
        # Settings that came later were at their defaults.
        settings = asdict(Settings(steps=1)) | content["settings"]
        identity: dict[str, str] | None = content.get("identity")
        return _Kept(content, settings, identity, int(outcome["steps"]), float(outcome["seconds"]))
    except Exception as error:
        # Broad with reason: torch.load interprets the bytes as a program.
        raise UserError(
            f"{path}: cannot be resumed from: it is damaged, or no checkpoint of this version; "
            "delete it to train this network anew"
        ) from error


def budget_left(
    path: Path, settings: Settings, identity: Mapping[str, str]
) -> tuple[bool, list[str]]:
    """Tell whether a finished training has budget left now, and what stands in its way.

    Args:
        path: of its checkpoint.
        settings: of now.
        identity: what is trained now, on what.

    Returns:
        Whether the budget is larger than what was trained, and in what else it would differ.

    Raises:
        UserError: for a file that is no checkpoint of this version.
    """
    content = _read(path, torch.device("cpu"))
    left = settings.progress(content.steps, content.seconds) < 1
    return left, content.differing(settings, identity)


def refuse_others(file: Path, differing: Sequence[str]) -> None:
    """Raise ``UserError`` for a file that differs in what must be the same, if it does in any."""
    if differing:
        raise UserError(
            f"{file}: is of another training ({'; '.join(differing)}); give the same, or another "
            "--out"
        )


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What of ``now`` was otherwise, in words."""
    return [
        f"{key} {then.get(key)} then, {value} now"
        for key, value in now.items()
        if then.get(key) != value
    ]

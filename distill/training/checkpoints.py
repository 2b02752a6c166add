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
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        # Settings that came later were at their defaults.
        saved = asdict(Settings(steps=1)) | content["settings"]
        known: dict[str, str] | None = content.get("identity")
        step = int(content["outcome"]["steps"])
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
    except Exception as error:
        # Broad with reason: torch.load interprets the bytes as a program.
        raise UserError(
            f"{path}: cannot be resumed from: it is damaged, or no checkpoint of this version; "
            "delete it to train this network anew"
        ) from error
    now = asdict(settings)
    ended = Settings(**saved).progress(step, float(content["outcome"]["seconds"])) >= 1
    # A decoder that goes on beyond its budget may do so for an encoder that went on before it.
    moved = ("encoder",) if ended else ()
    others = [] if known is None else differences(known, _without(identity, moved))
    fixed = {key: value for key, value in now.items() if key not in CHANGEABLE}
    refuse_others(path, others + differences(saved, fixed))
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
    if known is None:
        notes.append(f"{path}: is of an older version, and cannot say what it was trained on")
    changed = differences(saved, {key: now[key] for key in CHANGEABLE})
    changed += (
        []
        if known is None
        else differences(known, {k: identity[k] for k in moved if k in identity})
    )
    if changed:
        notes.append(f"{path}: goes on from step {step} with {'; '.join(changed)}")
    return Restored(outcome, tuple(notes))


def _without(identity: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    return {key: value for key, value in identity.items() if key not in keys}


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

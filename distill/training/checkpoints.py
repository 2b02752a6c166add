"""Checkpoints: a training's state in one file, to go on from as if it had never stopped."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from distill.errors import UserError
from distill.files import write_atomically
from distill.training.history import Outcome, Window
from distill.training.recipes import Recipe
from distill.training.settings import Settings

FORMAT = 1


def save_checkpoint(
    path: Path,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    outcome: Outcome,
) -> None:
    """Write the state after a step, whole or not at all."""
    content = {
        "format": FORMAT,
        "settings": asdict(settings),
        "trainable": recipe.trainable.state_dict(),
        "optimizer": optimizer.state_dict(),
        "outcome": asdict(outcome),
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def restore(
    path: Path,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    device: torch.device,
) -> Outcome:
    """Put a checkpoint's state into a recipe and its optimiser; what was trained up to there.

    Raises:
        UserError: for a file that is no checkpoint of this version, or of other settings.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        # Settings that came later were at their defaults.
        saved = asdict(Settings(steps=1)) | content["settings"]
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, not {FORMAT}")
    except Exception as error:
        # Broad with reason: torch.load interprets the bytes as a program.
        raise UserError(
            f"{path}: cannot be resumed from ({type(error).__name__}: {error}); delete it to "
            "train this network anew"
        ) from error
    now = asdict(settings)
    changed = [
        f"{key} {saved[key]} then, {value} now" for key, value in now.items() if saved[key] != value
    ]
    if changed:
        raise UserError(
            f"{path}: was trained with other settings ({'; '.join(changed)}); give the same, or "
            "another --out"
        )
    recipe.trainable.load_state_dict(content["trainable"])
    optimizer.load_state_dict(content["optimizer"])
    outcome = Outcome(**content["outcome"])
    outcome.windows = [Window(**window) for window in content["outcome"]["windows"]]
    return outcome

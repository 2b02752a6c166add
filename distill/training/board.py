"""Curves and sample images of a training, for TensorBoard."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.errors import EnvironmentUnfitError
from distill.training.history import Outcome, Window
from distill.training.recipes import Recipe

SAMPLES = 4
"""Images of the batch that are shown."""


class Board:
    """TensorBoard's files of one network.

    Args:
        folder: to write to.
        begun: what was trained before; what an earlier run wrote of later steps is void.

    Raises:
        EnvironmentUnfitError: without the package.
    """

    def __init__(self, folder: Path, begun: Outcome) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise EnvironmentUnfitError(
                "TensorBoard's logs need its package: pip install 'ultrastyle-bench[training]', or "
                "--no-tensorboard"
            ) from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=begun.steps + 1)
        self._images, self._seconds = begun.images, begun.seconds

    def curves(self, window: Window) -> None:
        """Add the numbers of a window."""
        speed = (window.images - self._images) / max(window.seconds - self._seconds, 1e-9)
        self._images, self._seconds = window.images, window.seconds
        numbers = {
            "loss": window.loss,
            "learning rate": window.rate,
            "images per second": speed,
            **{f"loss/{key}": value for key, value in window.terms.items()},
        }
        if window.held_out:
            numbers["held-out loss"] = sum(window.held_out.values())
            numbers |= {f"held-out loss/{key}": value for key, value in window.held_out.items()}
        for tag, number in numbers.items():
            self._writer.add_scalar(tag, number, window.step)

    def samples(self, step: int, recipe: Recipe, content: Tensor, style: Tensor | None) -> None:
        """Add what the networks make of a batch, (N, 3, H, W) in 0..1."""
        few, paintings = content[:SAMPLES], None if style is None else style[:SAMPLES]
        rows = [few, *([] if paintings is None else [paintings]), recipe.sample(few, paintings)]
        picture = torch.cat([torch.cat(list(row), -1) for row in rows], -2)
        tag = "given above, made below"
        self._writer.add_image(tag, picture.float().clamp(0, 1), step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

"""How a network is trained: budget, optimiser, precision."""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch

from distill.errors import UserError

Schedule = Literal["cosine", "constant"]
Precision = Literal["fp32", "bf16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """How one network is trained."""

    steps: int | None = None
    """Length in steps, or ..."""
    minutes: float | None = None
    """... in minutes of training; one of the two."""
    batch: int = 16
    """Images of one step, over all devices."""
    learning_rate: float = 1e-4
    schedule: Schedule = "constant"
    warmup: float = 0.0
    """Part of the budget over which the learning rate rises from 0."""
    rate_decay: float = 0.0
    """At step n the learning rate is divided by 1 + this x n (Huang and Belongie's code: 5e-5)."""
    weight_decay: float = 0.0
    clip: float | None = None
    """Largest norm of the gradient; None for no limit."""
    precision: Precision = "fp32"
    seed: int = 0
    loss_weights: dict[str, float] = field(default_factory=dict)
    """Of loss terms, by the names of ``LossWeights``, in the place of the recipe's own."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise UserError("the budget is given in steps or in minutes: one of the two")
        for name in ("steps", "minutes", "batch", "learning_rate", "clip"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UserError(f"{name}: {value} is not above 0")
        if not 0 <= self.warmup < 1:
            raise UserError(f"warmup: {self.warmup} is not a part of the budget from 0 to below 1")
        for name in ("weight_decay", "rate_decay"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"{name}: {value} is not 0 or above")
        for name, value in self.loss_weights.items():
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"loss_weight: {name}={value} is not 0 or above")

    def progress(self, step: int, elapsed_s: float) -> float:
        """Part of the budget that is used up, from 0 upwards."""
        if self.steps is not None:
            return step / self.steps
        assert self.minutes is not None
        return elapsed_s / (60 * self.minutes)

    def rate(self, progress: float, step: int = 0) -> float:
        """Return the learning rate at a part of the budget, which is at a step."""
        return self._scheduled(progress) / (1 + self.rate_decay * step)

    def _scheduled(self, progress: float) -> float:
        if progress < self.warmup:
            return self.learning_rate * max(progress / self.warmup, 1e-3)
        if self.schedule == "constant":
            return self.learning_rate
        part = min(1.0, (progress - self.warmup) / (1 - self.warmup))
        return self.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2)

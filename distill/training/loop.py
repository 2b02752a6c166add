"""The training loop: steps, schedule, checkpoints, logs, and an end that is never a surprise."""

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from distill.errors import EnvironmentUnfitError, UserError
from distill.files import write_atomically
from distill.training.recipes import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

Schedule = Literal["cosine", "constant"]
Precision = Literal["fp32", "bf16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

DIVERGED = 50.0
"""A window's loss above this multiple of the best window's so far is a divergence."""
CHECKPOINT_FORMAT = 1


class TrainingFailedError(UserError):
    """The loss is no longer a number, or ran away."""

    exit_code = 1


@dataclass(frozen=True)
class Settings:
    """How one network is trained. What must be the same when a training is resumed."""

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
        if not self.weight_decay >= 0:
            raise UserError(f"weight_decay: {self.weight_decay} is below 0")
        for name, value in self.loss_weights.items():
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"loss_weight: {name}={value} is not 0 or above")

    def progress(self, step: int, elapsed_s: float) -> float:
        """Part of the budget that is used up, from 0 upwards."""
        if self.steps is not None:
            return step / self.steps
        assert self.minutes is not None
        return elapsed_s / (60 * self.minutes)

    def rate(self, progress: float) -> float:
        """Learning rate at a part of the budget."""
        if progress < self.warmup:
            return self.learning_rate * max(progress / self.warmup, 1e-3)
        if self.schedule == "constant":
            return self.learning_rate
        part = min(1.0, (progress - self.warmup) / (1 - self.warmup))
        return self.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2)


@dataclass
class Window:
    """Means over some steps: one line of the log."""

    step: int
    images: int
    seconds: float
    """Of training up to here."""
    rate: float
    terms: dict[str, float]

    @property
    def loss(self) -> float:
        """Sum of the weighted terms."""
        return sum(self.terms.values())


@dataclass
class Outcome:
    """How a training ended."""

    steps: int
    images: int
    seconds: float
    windows: list[Window] = field(default_factory=list)

    def final_terms(self) -> dict[str, float]:
        """Each term's mean over the last tenth of the windows, at least one."""
        last = self.windows[-max(1, len(self.windows) // 10) :]
        return {key: sum(w.terms[key] for w in last) / len(last) for key in last[0].terms}


class Batches(Protocol):
    """Makes the batches of a training from a step on, for one of several processes."""

    def __call__(
        self, *, start: int, batch: int, seed: int, rank: int, processes: int
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Content (and style) images, uint8 (n, 3, H, W)."""
        ...


Report = Callable[[Window], None]


def make_accelerator(device: str) -> "Accelerator":
    """The devices to train on: ``auto``, ``cpu`` or ``cuda``; several when launched so."""
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise EnvironmentUnfitError(
            "training needs the package accelerate: pip install 'ultrastyle-bench[training]'"
        ) from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise EnvironmentUnfitError(f"device {device!r}: this machine has no usable CUDA device")
    return Accelerator(cpu=device == "cpu", mixed_precision="no")


def train(
    recipe: Recipe,
    batches: Batches,
    settings: Settings,
    folder: Path,
    *,
    accelerator: "Accelerator",
    resume: bool = False,
    log_every: int = 10,
    checkpoint_every: int = 200,
    tensorboard: bool = False,
    report: Report | None = None,
) -> Outcome:
    """Train a recipe's ``trainable`` module in place.

    Args:
        recipe: what and on which loss; moved to the device.
        batches: the images of each step.
        settings: budget, optimiser, precision.
        folder: for ``checkpoint.pt``, ``log.csv`` and TensorBoard's files; made if need be.
        accelerator: device and processes.
        resume: go on from the folder's checkpoint if there is one.
        log_every: steps of one window: one line of the log, one check of the loss.
        checkpoint_every: steps between checkpoints (in whole windows); one is written at the end.
        tensorboard: write scalars and sample images for TensorBoard.
        report: called with every window on the main process.

    Raises:
        TrainingFailedError: when the loss is not finite or has run away; the checkpoint in the
            folder is the last good one.
        UserError: for a checkpoint of other settings.
    """
    dtype = DTYPES[settings.precision]
    recipe.set_precision(dtype)
    recipe.weights = replace(recipe.weights, **settings.loss_weights)
    recipe.to(memory_format=torch.channels_last)
    trained = [p for p in recipe.trainable.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(
        trained, settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    model, optimizer = accelerator.prepare(recipe, optimizer)
    outcome = Outcome(0, 0, 0.0)
    checkpoint = folder / "checkpoint.pt"
    if resume and checkpoint.is_file():
        outcome = _restore(checkpoint, recipe, optimizer, settings, accelerator.device)
    main = accelerator.is_main_process
    folder.mkdir(parents=True, exist_ok=True)
    board = _board(folder) if tensorboard and main else None
    stream = batches(
        start=outcome.steps,
        batch=settings.batch,
        seed=settings.seed,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    step, begun, before = outcome.steps, time.monotonic(), outcome.seconds
    sums: dict[str, Tensor] = {}
    best = min((window.loss for window in outcome.windows), default=math.inf)
    while settings.progress(step, outcome.seconds) < 1:
        rate = settings.rate(settings.progress(step, outcome.seconds))
        for group in optimizer.param_groups:
            group["lr"] = rate
        photographs, paintings = next(stream)
        content = _to_device(photographs, accelerator.device, dtype)
        style = None if paintings is None else _to_device(paintings, accelerator.device, dtype)
        terms = model(content, style)
        loss = torch.stack(list(terms.values())).sum()
        accelerator.backward(loss)
        if settings.clip is not None:
            accelerator.clip_grad_norm_(trained, settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for key, value in terms.items():
            sums[key] = sums.get(key, 0) + value.detach()
        step += 1
        # All processes must agree on when to stop: the main one's clock counts.
        outcome.seconds = before + _agreed(accelerator, time.monotonic() - begun, settings)
        ended = settings.progress(step, outcome.seconds) >= 1
        if step % log_every and not ended:
            continue
        count = step % log_every or log_every
        window = _window(accelerator, sums, count, step, settings.batch, outcome.seconds, rate)
        sums = {}
        _check(window, best, checkpoint, settings)
        best = min(best, window.loss)
        outcome.steps, outcome.images = step, step * settings.batch
        outcome.windows.append(window)
        if not main:
            continue
        if report is not None:
            report(window)
        due = ended or step % (max(1, checkpoint_every // log_every) * log_every) == 0
        if due:
            _save(checkpoint, recipe, optimizer, settings, outcome)
            write_log(folder / "log.csv", outcome.windows)
        if board is not None:
            _show(board, window, recipe if due else None, content, style)
    if board is not None:
        board.close()
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    return outcome


def _to_device(images: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    there = images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
    return there.to(torch.float32).div_(255).to(dtype)


def _agreed(accelerator: "Accelerator", seconds: float, settings: Settings) -> float:
    if accelerator.num_processes == 1 or settings.minutes is None:
        return seconds
    from accelerate.utils import broadcast

    shared = torch.tensor(seconds, dtype=torch.float64, device=accelerator.device)
    return float(broadcast(shared))


def _window(
    accelerator: "Accelerator",
    sums: dict[str, Tensor],
    count: int,
    step: int,
    batch: int,
    seconds: float,
    rate: float,
) -> Window:
    keys = list(sums)
    means = torch.stack([sums[key].float() for key in keys]) / count
    means = accelerator.reduce(means, "mean")
    terms = dict(zip(keys, means.tolist(), strict=True))
    return Window(step, step * batch, seconds, rate, terms)


def _check(window: Window, best: float, checkpoint: Path, settings: Settings) -> None:
    kept = f"{checkpoint} holds the last good state" if checkpoint.is_file() else "none was saved"
    advice = f"try a learning rate below {settings.learning_rate:g}, or --clip 1"
    if not math.isfinite(window.loss):
        bad = [key for key, value in window.terms.items() if not math.isfinite(value)]
        raise TrainingFailedError(
            f"training stopped at step {window.step}: {', '.join(bad)} is not a finite number; "
            f"{kept}; {advice}"
        )
    if window.loss > DIVERGED * best:
        raise TrainingFailedError(
            f"training diverged at step {window.step}: the loss is {window.loss:.4g} after "
            f"{best:.4g}; {kept}; {advice}"
        )


def _save(
    path: Path,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    outcome: Outcome,
) -> None:
    content = {
        "format": CHECKPOINT_FORMAT,
        "settings": asdict(settings),
        "trainable": recipe.trainable.state_dict(),
        "optimizer": optimizer.state_dict(),
        "outcome": asdict(outcome),
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def _restore(
    path: Path,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    device: torch.device,
) -> Outcome:
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        saved = content["settings"]
        if content["format"] != CHECKPOINT_FORMAT:
            raise ValueError(f"format {content['format']}, not {CHECKPOINT_FORMAT}")
    except Exception as error:
        # Broad with reason: torch.load interprets the bytes as a program.
        raise UserError(
            f"{path}: cannot be resumed from ({type(error).__name__}: {error}); delete it to "
            "train this network anew"
        ) from error
    now = asdict(settings)
    changed = [
        f"{key} {saved.get(key)} then, {value} now"
        for key, value in now.items()
        if saved.get(key) != value
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


def write_log(path: Path, windows: list[Window]) -> None:
    """The curves: one line for each window."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            keys = list(windows[0].terms) if windows else []
            rows.writerow(["step", "images", "seconds", "learning_rate", "loss", *keys])
            for window in windows:
                numbers = [window.rate, window.loss, *(window.terms[key] for key in keys)]
                rows.writerow(
                    [window.step, window.images, f"{window.seconds:.2f}"]
                    + [f"{number:.6g}" for number in numbers]
                )

    write_atomically(path, write)


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise EnvironmentUnfitError(
            "TensorBoard's logs need its package: pip install 'ultrastyle-bench[training]', or "
            "--no-tensorboard"
        ) from error
    return SummaryWriter(str(folder / "tensorboard"))


def _show(
    board: Any, window: Window, recipe: Recipe | None, content: Tensor, style: Tensor | None
) -> None:
    board.add_scalar("loss", window.loss, window.step)
    board.add_scalar("learning rate", window.rate, window.step)
    for key, value in window.terms.items():
        board.add_scalar(f"loss/{key}", value, window.step)
    if recipe is not None:
        few = content[:4]
        made = recipe.sample(few, None if style is None else style[: len(few)])
        both = torch.cat((few, made)).float().clamp(0, 1)
        board.add_images("given above, made below", both, window.step)

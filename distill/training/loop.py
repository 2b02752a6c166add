"""The training loop: steps, checkpoints, logs, and an end that is never a surprise."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from distill.errors import EnvironmentUnfitError, UserError
from distill.training.checkpoints import (
    confirm,
    fall_back,
    keep_before,
    restore,
    save_checkpoint,
)
from distill.training.history import Outcome, Window, write_log
from distill.training.recipes import Recipe
from distill.training.settings import DTYPES, Settings

if TYPE_CHECKING:
    from accelerate import Accelerator

DIVERGED = 50.0
"""A window's loss above this multiple of the best window's so far is a divergence."""


class TrainingFailedError(UserError):
    """The loss or the weights are no longer numbers, or ran away."""

    exit_code = 1


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
    note: Callable[[str], None] | None = None,
    identity: Mapping[str, str] | None = None,
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
        note: told what is worth knowing of the checkpoint that is resumed.
        identity: what is trained, on what; kept in checkpoints, and compared with those resumed.

    Raises:
        TrainingFailedError: when loss or weights are not finite or have run away; the checkpoint in
            the folder is the last good one.
        UserError: for a checkpoint of another training.
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
    ours = resume and checkpoint.is_file()  # not what another training left there
    if ours:
        outcome, notes = restore(
            checkpoint, recipe, optimizer, settings, identity or {}, accelerator.device
        )
        if note is not None and settings.progress(outcome.steps, outcome.seconds) < 1:
            for line in notes:
                note(line)
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
    step, begun, spent = outcome.steps, time.monotonic(), outcome.seconds
    sums: dict[str, Tensor] = {}
    best = min((window.loss for window in outcome.windows), default=math.inf)
    fresh = False
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
        outcome.seconds = spent + _agreed(accelerator, time.monotonic() - begun, settings)
        ended = settings.progress(step, outcome.seconds) >= 1
        if step % log_every and not ended:
            continue
        count = step % log_every or log_every
        window = _window(accelerator, sums, count, step, settings.batch, outcome.seconds, rate)
        sums = {}
        if problem := _window_problem(window, best):
            if main and ours:
                fall_back(checkpoint, fresh=fresh)
            accelerator.wait_for_everyone()
            raise _failed(problem, ours, checkpoint, settings)
        if main:
            confirm(checkpoint)
        best = min(best, window.loss)
        outcome.steps, outcome.images = step, step * settings.batch
        outcome.windows.append(window)
        if main and report is not None:
            report(window)
        fresh = due = ended or step % (max(1, checkpoint_every // log_every) * log_every) == 0
        if due and (problem := _weights_problem(step, recipe, optimizer)):
            raise _failed(problem, ours, checkpoint, settings)
        if ended:
            # No window follows that would show what the last update did.
            before, after = _losses_around(accelerator, model, content, style, loss)
            if not after <= DIVERGED * max(best, before):
                problem = f"diverged at step {step}, its last: {before:.4g} became {after:.4g}"
                raise _failed(problem, ours, checkpoint, settings)
        had, ours = ours, ours or due
        if not main:
            continue
        if due:
            if had and not ended:
                keep_before(checkpoint)
            save_checkpoint(checkpoint, recipe, optimizer, settings, identity or {}, outcome)
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


def _window_problem(window: Window, best: float) -> str | None:
    if not math.isfinite(window.loss):
        bad = [key for key, value in window.terms.items() if not math.isfinite(value)]
        return f"stopped at step {window.step}: {', '.join(bad)} is not a finite number"
    if window.loss > DIVERGED * best:
        return f"diverged at step {window.step}: the loss is {window.loss:.4g} after {best:.4g}"
    return None


def _weights_problem(step: int, recipe: Recipe, optimizer: torch.optim.Optimizer) -> str | None:
    """The window's losses are of weights before its last update; what is saved is after it."""
    moments = (value for known in optimizer.state.values() for value in known.values())
    tensors = [*recipe.trainable.parameters(), *filter(torch.is_tensor, moments)]
    if all(bool(tensor.isfinite().all()) for tensor in tensors):
        return None
    return f"stopped at step {step}: the updated weights or their moments are not finite numbers"


@torch.no_grad()
def _losses_around(
    accelerator: "Accelerator",
    model: Recipe,
    content: Tensor,
    style: Tensor | None,
    before: Tensor,
) -> tuple[float, float]:
    """A batch's loss before the last update, and with the weights as they are now."""
    after = torch.stack(list(model(content, style).values())).sum()
    both = accelerator.reduce(torch.stack((before.detach(), after)).float(), "mean").tolist()
    return both[0], both[1]


def _failed(what: str, ours: bool, checkpoint: Path, settings: Settings) -> TrainingFailedError:
    clip = f"--clip {min(1.0, (settings.clip or 10) / 10):g}"
    advice = f"a --learning-rate below {settings.learning_rate:g}, or {clip}"
    if ours and checkpoint.is_file():
        return TrainingFailedError(
            f"training {what}; {checkpoint} holds the last good state: go on from it with "
            f"--resume and {advice}"
        )
    return TrainingFailedError(f"training {what}; no checkpoint was saved yet: try {advice}")


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

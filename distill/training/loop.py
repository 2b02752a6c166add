"""The training loop: steps, checkpoints, logs, and an end that is never a surprise."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import torch
from torch import Tensor

from distill.devices import resolve_device
from distill.errors import EnvironmentUnfitError, UserError
from distill.training.board import Board
from distill.training.checkpoints import (
    confirm,
    fall_back,
    keep_before,
    restore,
    save_checkpoint,
)
from distill.training.history import Log, Outcome, Window
from distill.training.interrupts import deferred
from distill.training.recipes import Recipe
from distill.training.settings import DTYPES, Settings

if TYPE_CHECKING:
    from accelerate import Accelerator

DIVERGED = 50.0
"""A window's loss above this multiple of the best window's so far, or of the first step's, is a
divergence."""


WORKERS_FIRST_S = 0.5
"""A request to end may reach the processes that decode images before it reaches this one."""


class TrainingFailedError(UserError):
    """The loss or the weights are no longer numbers, or ran away."""

    exit_code = 1


Batch = tuple[Tensor, Tensor | None]
"""Content (and style) images, uint8 (n, 3, H, W)."""


class Batches(Protocol):
    """Makes the batches of a training from a step on, for one of several processes."""

    def __call__(
        self, *, start: int, batch: int, seed: int, rank: int, processes: int
    ) -> Iterator[Batch]:
        """Yield the batch of each step."""
        ...


Report = Callable[[Window], None]


def make_accelerator(device: str) -> "Accelerator":
    """Choose the devices to train on, several when launched so.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``. ``auto`` is resolved first: left to accelerate, each
            process that torchrun starts without a GPU would train alone.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise EnvironmentUnfitError(
            "training needs the package accelerate: pip install 'ultrastyle-bench[training]'"
        ) from error
    return Accelerator(cpu=resolve_device(device) == "cpu", mixed_precision="no")


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
    held_out: Sequence[Batch] = (),
) -> Outcome:
    """Train a recipe's ``trainable`` module in place.

    Ctrl-C, SIGTERM and SIGHUP end it after the step (with several processes: the window) that is
    being computed, with a checkpoint from which it goes on as if it had never stopped.

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
        note: told what is worth knowing of checkpoints.
        identity: what is trained, on what; kept in checkpoints, and compared with those resumed.
        held_out: batches that are not trained on; their loss is measured with every checkpoint.

    Raises:
        TrainingFailedError: when loss or weights are not finite or have run away; the checkpoint in
            the folder is the last good one.
        UserError: for a checkpoint of another training.
        KeyboardInterrupt: on a request to end, once the checkpoint is written.
    """
    training = _Training(recipe, settings, folder, accelerator, log_every, held_out, note)
    outcome = training.begin(identity or {}, resume=resume)
    training.open_logs(tensorboard=tensorboard)
    stream = batches(
        start=outcome.steps,
        batch=settings.batch,
        seed=settings.seed,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    every = max(1, checkpoint_every // log_every) * log_every
    with deferred() as asked_to_end, training:
        while not training.ended:
            try:
                batch = next(stream)
            except UserError:
                training.keep()
                time.sleep(WORKERS_FIRST_S)
                if asked_to_end():
                    training.end_by_request()
                raise
            training.step(*batch)
            if training.whole_window:
                stopping = training.anyone(asked_to_end())
                training.end_window(due=stopping or training.steps % every == 0)
                if report is not None and accelerator.is_main_process:
                    report(outcome.windows[-1])
                if stopping and not training.ended:
                    training.end_by_request()
            # Several processes would have to agree after every step: they end after a window.
            elif accelerator.num_processes == 1 and asked_to_end():
                training.keep()
                training.end_by_request()
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    return outcome


class _Training:
    """A training's state, and what is done to it; a context that closes its logs.

    Args:
        recipe: what and on which loss.
        settings: budget, optimiser, precision.
        folder: for all files.
        accelerator: device and processes.
        log_every: steps of one window.
        held_out: batches that are not trained on.
        note: told what is worth knowing.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        folder: Path,
        accelerator: "Accelerator",
        log_every: int,
        held_out: Sequence[Batch],
        note: Callable[[str], None] | None,
    ) -> None:
        self.recipe, self.settings, self.folder = recipe, settings, folder
        self.accelerator, self.log_every, self.held_out = accelerator, log_every, held_out
        self.note = note if accelerator.is_main_process else None
        self.main = accelerator.is_main_process
        self.dtype = DTYPES[settings.precision]
        recipe.set_precision(self.dtype)
        recipe.weights = replace(recipe.weights, **settings.loss_weights)
        recipe.to(memory_format=torch.channels_last)
        self.trained = [p for p in recipe.trainable.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(
            self.trained, settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.model, self.optimizer = accelerator.prepare(recipe, optimizer)
        self.checkpoint = folder / "checkpoint.pt"
        self.outcome = Outcome(0, 0, 0.0)
        self.steps = 0
        self._at_end = ExitStack()

    def __enter__(self) -> None:
        self._begun, self._spent = time.monotonic(), self.outcome.seconds

    def __exit__(self, *_: object) -> None:
        self._at_end.close()

    def begin(self, identity: Mapping[str, str], *, resume: bool) -> Outcome:
        """Start, or go on from the checkpoint if asked to; the outcome as it grows."""
        self.identity = identity
        # A checkpoint that another training left there is neither resumed nor fallen back to.
        self._ours = resume and self.checkpoint.is_file()
        if self._ours:
            self.outcome, notes = restore(
                self.checkpoint,
                self.recipe,
                self.optimizer,
                self.settings,
                identity,
                self.accelerator.device,
            )
            self.steps = self.outcome.steps
            if self.note is not None and not self.ended:
                for line in notes:
                    self.note(line)
        outcome, device = self.outcome, self.accelerator.device
        self._sums = {key: torch.tensor(v, device=device) for key, v in outcome.partial.items()}
        self._since = outcome.windows[-1].step if outcome.windows else 0
        losses = [window.loss for window in outcome.windows]
        first = math.inf if outcome.first_loss is None else outcome.first_loss
        self._best = min([*losses, first])
        self._fresh, self._saved = False, self.steps
        return outcome

    def open_logs(self, *, tensorboard: bool) -> None:
        """Open what is written of each window, on the main process."""
        self._log: Log | None = None
        self._board: Board | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.main:
            return
        windows = self.outcome.windows
        self._log = Log(self.folder / "log.csv", windows, held_out=bool(self.held_out))
        if tensorboard:
            self._board = Board(self.folder / "tensorboard", self.outcome)
            self._at_end.callback(self._board.close)

    @property
    def ended(self) -> bool:
        """Whether the budget is used up."""
        return self.settings.progress(self.steps, self.outcome.seconds) >= 1

    @property
    def whole_window(self) -> bool:
        """Whether a window ends with the last step."""
        return self.ended or self.steps % self.log_every == 0

    def step(self, photographs: Tensor, paintings: Tensor | None) -> None:
        """Do one step on a batch."""
        settings, accelerator = self.settings, self.accelerator
        self._rate = settings.rate(settings.progress(self.steps, self.outcome.seconds), self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate
        batch = self._placed((photographs, paintings))
        terms = self.model(*batch)
        loss = torch.stack(list(terms.values())).sum()
        if self.steps == 0:
            self._best = accelerator.reduce(loss.detach(), "mean").item()
            self.outcome.first_loss = self._best
        accelerator.backward(loss)
        if settings.clip is not None:
            accelerator.clip_grad_norm_(self.trained, settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for key, value in terms.items():
            self._sums[key] = self._sums.get(key, 0) + value.detach()
        self._batch, self._loss = batch, loss.detach()
        self.steps += 1
        # All processes must agree on when to stop: the main one's clock counts.
        spent = self._spent + time.monotonic() - self._begun
        self.outcome.seconds = _agreed(accelerator, spent, settings)

    def end_window(self, *, due: bool) -> None:
        """Check a window, and write it down; if ``due`` or at the end with a checkpoint."""
        window = self._checked_window()
        outcome, ended = self.outcome, self.ended
        self._sums, self._since = {}, self.steps
        if self.main:
            confirm(self.checkpoint)
        self._best = min(self._best, window.loss)
        outcome.steps, outcome.images, outcome.partial = window.step, window.images, {}
        outcome.windows.append(window)
        self._fresh = due = due or ended
        if due:
            self._check_weights()
        if ended:
            self._check_last_update()
        had, self._ours = self._ours, self._ours or due
        if not self.main:
            return
        if due:
            window.held_out = self._held_out_terms()
            if had and not ended:
                keep_before(self.checkpoint)
            self._save()
        if self._log is not None:
            self._log.add(window)
        if self._board is not None:
            self._board.curves(window)
            if due:
                self._board.samples(self.steps, self.recipe, *self._batch)

    def keep(self) -> None:
        """Save what was trained since the last checkpoint, if that is one process's to decide."""
        if self.accelerator.num_processes > 1 or self.steps == self._saved:
            return
        if self._sums:
            self._checked_window()
        self._check_weights()
        outcome = self.outcome
        outcome.steps, outcome.images = self.steps, self.steps * self.settings.batch
        outcome.partial = {key: value.item() for key, value in self._sums.items()}
        if self._ours:
            keep_before(self.checkpoint)
        self._save()
        self._ours = True

    def end_by_request(self) -> NoReturn:
        """End by ``KeyboardInterrupt``, and say how to go on."""
        self.accelerator.wait_for_everyone()
        if self.note is not None:
            where = f"{self.checkpoint} holds it; --resume goes on from there"
            kept = self._ours and self.checkpoint.is_file()
            self.note(f"asked to end at step {self.steps}: {where if kept else 'nothing to keep'}")
        raise KeyboardInterrupt

    def anyone(self, asked: bool) -> bool:
        """Whether any of the processes was asked to end: all must end at one step."""
        if self.accelerator.num_processes == 1:
            return asked
        flag = torch.tensor(float(asked), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item())

    def _placed(self, batch: Batch) -> Batch:
        """A batch on the device, in 0..1 and in the precision of the computation."""

        def place(images: Tensor) -> Tensor:
            there = images.to(self.accelerator.device, non_blocking=True)
            there = there.contiguous(memory_format=torch.channels_last)
            return there.to(torch.float32).div_(255).to(self.dtype)

        content, style = batch
        return place(content), None if style is None else place(style)

    def _checked_window(self) -> Window:
        """The means of the steps since the last window.

        Raises:
            TrainingFailedError: for a loss that is not finite or has run away.
        """
        keys = list(self._sums)
        count = self.steps - self._since
        means = torch.stack([self._sums[key].float() for key in keys]) / count
        means = self.accelerator.reduce(means, "mean")
        images = self.steps * self.settings.batch
        terms = dict(zip(keys, means.tolist(), strict=True))
        window = Window(self.steps, images, self.outcome.seconds, self._rate, terms)
        if problem := _window_problem(window, self._best):
            if self.main and self._ours:
                fall_back(self.checkpoint, fresh=self._fresh)
            self.accelerator.wait_for_everyone()
            raise self._failed(problem)
        return window

    def _check_weights(self) -> None:
        """A window's losses are of weights before its last update; what is saved is after it."""
        moments = (v for known in self.optimizer.state.values() for v in known.values())
        tensors = [*self.recipe.trainable.parameters(), *filter(torch.is_tensor, moments)]
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise self._failed(
                f"stopped at step {self.steps}: the updated weights or their moments are not "
                "finite numbers"
            )

    @torch.no_grad()
    def _check_last_update(self) -> None:
        """No window follows that would show what it did."""
        after = torch.stack(list(self.model(*self._batch).values())).sum()
        both = torch.stack((self._loss, after)).float()
        before, now = self.accelerator.reduce(both, "mean").tolist()
        if not now <= DIVERGED * max(self._best, before):
            step = self.steps
            raise self._failed(f"diverged at step {step}, its last: {before:.4g} became {now:.4g}")

    @torch.no_grad()
    def _held_out_terms(self) -> dict[str, float]:
        """Each weighted term's mean over the batches that are not trained on."""
        sums: dict[str, float] = {}
        for batch in self.held_out:
            for key, value in self.recipe(*self._placed(batch)).items():
                sums[key] = sums.get(key, 0.0) + value.item() / len(self.held_out)
        return sums

    def _save(self) -> None:
        save_checkpoint(
            self.checkpoint,
            self.recipe,
            self.optimizer,
            self.settings,
            self.identity,
            self.outcome,
        )
        self._saved = self.steps

    def _failed(self, what: str) -> TrainingFailedError:
        settings = self.settings
        clip = f"--clip {min(1.0, (settings.clip or 10) / 10):g}"
        advice = f"a --learning-rate below {settings.learning_rate:g}, or {clip}"
        if self._ours and self.checkpoint.is_file():
            return TrainingFailedError(
                f"training {what}; {self.checkpoint} holds the last good state: go on from it with "
                f"--resume and {advice}"
            )
        return TrainingFailedError(f"training {what}; no checkpoint was saved yet: try {advice}")


def _agreed(accelerator: "Accelerator", seconds: float, settings: Settings) -> float:
    if accelerator.num_processes == 1 or settings.minutes is None:
        return seconds
    from accelerate.utils import broadcast

    shared = torch.tensor(seconds, dtype=torch.float64, device=accelerator.device)
    return float(broadcast(shared))


def _window_problem(window: Window, best: float) -> str | None:
    if not math.isfinite(window.loss):
        bad = [key for key, value in window.terms.items() if not math.isfinite(value)]
        return f"stopped at step {window.step}: {', '.join(bad)} is not a finite number"
    if window.loss > DIVERGED * best:
        return f"diverged at step {window.step}: the loss is {window.loss:.4g} after {best:.4g}"
    return None

"""``distill train``: the command line of training."""

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from distill.cascades import own_files
from distill.command_line import memory_advice, parse_ridges
from distill.devices import resolve_device
from distill.errors import UserError
from distill.host import limit_threads
from distill.models import FAMILIES, METHODS, RATIOS, ModelSpec
from distill.streams import courtesy
from distill.training.book import COMPRESSORS, EMBEDDINGS, ROLES, Job, Recipebook, Role
from distill.training.data import Crops, list_images
from distill.training.history import Window
from distill.training.loop import make_accelerator
from distill.training.make import make
from distill.training.recipes import LossWeights
from distill.training.settings import DTYPES, Schedule, Settings

LOSS_TERMS = tuple(field.name for field in fields(LossWeights))
OF_ADAIN = ("content", "style", "output")
"""Loss terms that WCT's recipes do not have."""
LINE_EVERY_S = 30.0
"""Without a terminal, a line of progress at most this often."""


def _one_of(option: str, allowed: tuple[object, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in map(str, allowed):
            raise UserError(f"{option}: {value!r} is none of {', '.join(map(str, allowed))}")
        return value

    return check


@courtesy()
def train(
    out: Annotated[Path, typer.Option("--out", help="Folder of the model to make.")],
    data: Annotated[
        list[str], typer.Option("--data", help="Photographs: folder, glob or tar file; repeatable.")
    ],
    method: Annotated[
        str, typer.Option(help="wct or adain.", callback=_one_of("method", METHODS))
    ] = "wct",
    family: Annotated[
        str, typer.Option(help="vgg16 or vgg19.", callback=_one_of("family", FAMILIES))
    ] = "vgg16",
    ratio: Annotated[
        int, typer.Option(help="Compression ratio: 1 makes the teacher's decoders.")
    ] = 16,
    compressor: Annotated[
        str,
        typer.Option(
            help="collaborative, pruned, fitnet or scratch.",
            callback=_one_of("compressor", COMPRESSORS),
        ),
    ] = "collaborative",
    styles: Annotated[
        list[str] | None,
        typer.Option("--styles", help="Paintings (adain): folder, glob or tar file; repeatable."),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out",
            help="Photographs that are not trained on, to measure the loss on with every "
            "checkpoint; repeatable.",
        ),
    ] = None,
    held_out_styles: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out-styles",
            help="Paintings beside --held-out (adain); those of --styles if not given; repeatable.",
        ),
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="Stages to make, such as 1,2,3; all if not given.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Make only the encoders or only the decoders.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps for each network.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Minutes for each network, instead of steps.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images of one step, over all devices.")] = 16,
    crop: Annotated[int, typer.Option(help="Side of the crops, pixels.")] = 256,
    resize: Annotated[
        str | None,
        typer.Option(
            help="Shorter side before cropping, pixels, or a range such as 150-300 to draw from; "
            "300 for a crop of 256, in proportion for others."
        ),
    ] = None,
    flip: Annotated[bool, typer.Option(help="Mirror half of the crops.")] = True,
    learning_rate: Annotated[float, typer.Option(help="Adam's learning rate, at its peak.")] = 1e-4,
    schedule: Annotated[
        str,
        typer.Option(help="constant or cosine.", callback=_one_of("schedule", get_args(Schedule))),
    ] = "constant",
    warmup: Annotated[
        float, typer.Option(help="Part of the budget over which the learning rate rises.")
    ] = 0.0,
    rate_decay: Annotated[
        float,
        typer.Option(
            "--rate-decay", help="The rate at step n is divided by 1 + this x n (AdaIN: 5e-5)."
        ),
    ] = 0.0,
    weight_decay: Annotated[float, typer.Option(help="Adam's weight decay.")] = 0.0,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient.")] = None,
    loss_weight: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Weight of a loss term, in the place of the recipe's, such as output=0; "
            f"repeatable; terms: {', '.join(LOSS_TERMS)}."
        ),
    ] = None,
    ridge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE=VALUE",
            help="Ridge of a stage's whitening and colouring (wct), as a part of the mean "
            "eigenvalue, such as 5=10; repeatable; 0, as in the paper, if not given.",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, or bf16 (float32 weights, bfloat16 computation).",
            callback=_one_of("precision", tuple(DTYPES)),
        ),
    ] = "fp32",
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the teacher: its decoders for a student, its encoders, where it has "
            "them, also for --ratio 1; embedded if not set."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="Folder of networks to start from, where layers have the same shape."),
    ] = None,
    aligned: Annotated[
        bool,
        typer.Option(
            "--align/--no-align",
            help="Refit a pruned start to the teacher by least squares; without, it is plainly "
            "pruned, as in the paper.",
        ),
    ] = True,
    embedding: Annotated[
        str,
        typer.Option(
            help="What maps a student's features to the teacher's: linear, or relu (ends with it).",
            callback=_one_of("embedding", EMBEDDINGS),
        ),
    ] = "linear",
    seed: Annotated[
        int, typer.Option(help="Of weights, order and augmentation.", min=0, max=2**63 - 1)
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int, typer.Option(help="Processes that decode images; 0: none beside this one.", min=0)
    ] = 0,
    threads: Annotated[
        int | None,
        typer.Option(
            help="CPU threads for computing; PyTorch's choice if not given.", min=1, max=1024
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a training of --out stopped.")
    ] = False,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable",
            help="Name images that cannot be read, and take the next in order, instead of ending.",
        ),
    ] = False,
    log_every: Annotated[int, typer.Option(help="Steps of one line of the log.", min=1)] = 10,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 200,
    tensorboard: Annotated[
        bool, typer.Option(help="Write curves and sample images for TensorBoard.")
    ] = True,
) -> None:
    """Make a model: teacher decoders (--ratio 1), or a student and its decoders.

    Writes stage{k}-encoder.safetensors and stage{k}-decoder.safetensors to --out, with curves and
    checkpoints in its training folder. On several devices: accelerate launch -m distill.cli train
    ...
    """
    if ratio not in RATIOS:
        raise UserError(f"ratio: {ratio} is none of {', '.join(map(str, RATIOS))}")
    if threads is None:
        limit_threads()
    else:
        import torch

        torch.set_num_threads(threads)
    spec = ModelSpec(method, family, ratio)  # type: ignore[arg-type]
    settings = Settings(
        steps=steps,
        minutes=minutes,
        batch=batch,
        learning_rate=learning_rate,
        schedule=schedule,  # type: ignore[arg-type]
        rate_decay=rate_decay,
        warmup=warmup,
        weight_decay=weight_decay,
        clip=clip,
        precision=precision,  # type: ignore[arg-type]
        seed=seed,
        loss_weights=_loss_weights(loss_weight or [], spec),
    )
    book = Recipebook(
        spec=spec,
        compressor=compressor,  # type: ignore[arg-type]
        out=out,
        content=list_images(data, report=print),
        styles=list_images(styles, report=print) if styles else None,
        crops=Crops(crop, _range(resize, crop), flip),
        settings=settings,
        teacher=teacher,
        start=start,
        stages=_stages(stages, spec),
        only=_role(only, spec),
        held_out=list_images(held_out) if held_out else None,
        held_out_styles=list_images(held_out_styles) if held_out_styles else None,
        aligned=aligned,
        embedding=embedding,  # type: ignore[arg-type]
        workers=workers,
        skip=_Once("skipped: ") if skip_unreadable else None,
        ridges=parse_ridges(ridge or (), spec),
        command=shlex.join(["distill", *sys.argv[1:]]),
    )
    if book.held_out is not None and book.held_out.digest() == book.content.digest():
        raise UserError("held_out: these are the photographs that are trained on; give others")
    if resolve_device(device).startswith("cuda:"):
        import torch

        torch.cuda.set_device(device)  # which is what accelerate means by "cuda"
    accelerator = make_accelerator(device)
    with (
        memory_advice("give a smaller --batch or --crop, or fewer --workers"),
        _Progress(book, shown=accelerator.is_main_process) as progress,
    ):
        made = make(
            book,
            accelerator,
            resume=resume,
            log_every=log_every,
            checkpoint_every=checkpoint_every,
            tensorboard=tensorboard,
            report=progress.report,
            note=progress.note,
            starting=progress.starting,
        )
    if accelerator.is_main_process:
        print(_ending(book, len(made)))


def _ending(book: Recipebook, made: int) -> str:
    """What was done, and how to use it once the model is whole."""
    out, spec = book.out, book.spec
    done = f"wrote {made} network{'s' if made != 1 else ''}" if made else "complete already"
    files = [file for pair in own_files(out, spec.stages) for file in pair]
    if missing := sum(not file.is_file() for file in files):
        return f"{out}: {done}, as far as asked; a {spec} needs {missing} of {len(files)} more"
    return f"{out}: {done}; use it as {shlex.quote(f'{spec}:{out}')}"


def _range(text: str | None, crop: int) -> tuple[int, int]:
    if text is None:
        return (round(crop * 300 / 256),) * 2
    low, dash, high = text.partition("-")
    try:
        return int(low), int(high if dash else low)
    except ValueError:
        raise UserError(
            f"resize: {text!r} is neither a number of pixels nor a range such as 150-300"
        ) from None


def _loss_weights(texts: list[str], spec: ModelSpec) -> dict[str, float]:
    terms = [term for term in LOSS_TERMS if spec.method == "adain" or term not in OF_ADAIN]
    weights = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in terms:
            raise UserError(
                f"loss_weight: {name!r} is no loss term of {spec.method}, which has "
                f"{', '.join(terms)}"
            )
        try:
            weights[name] = float(value)
        except ValueError:
            raise UserError(f"loss_weight: {text!r} is not of the form {name}=1.5") from None
    return weights


def _stages(text: str | None, spec: ModelSpec) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    allowed = sorted(spec.stages)
    if bad := [part for part in parts if part not in map(str, allowed)]:
        raise UserError(
            f"stages: {bad[0]!r} is no stage of {spec.method}, which has "
            f"{', '.join(map(str, allowed))}"
        )
    return tuple(sorted({int(part) for part in parts}))


def _role(text: str | None, spec: ModelSpec) -> Role | None:
    if text is None:
        return None
    role = _one_of("only", ROLES)(text)
    if role == "encoder" and spec.ratio == 1:
        raise UserError("only: the teacher's encoders are given; ratio 1 trains its decoders")
    return role  # type: ignore[return-value]


class _Once:
    """Says each line once, on standard error: an image comes again in every epoch."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._said: set[str] = set()

    def __call__(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            print(f"{self._prefix}{line}", file=sys.stderr, flush=True)


class _Progress:
    """A bar on a terminal, a line now and then elsewhere: loss, images/s, time left."""

    def __init__(self, book: Recipebook, *, shown: bool) -> None:
        self.book, self.shown = book, shown
        self._names = [job.name for job in book.jobs()]
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if shown and console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
        self._task: TaskID | None = None
        self._job, self._printed = "", 0.0
        self._last = Window(0, 0, 0.0, 0.0, {})

    def __enter__(self) -> "_Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, line: str) -> None:
        """Show what is worth knowing."""
        if self.shown:
            print(f"note: {line}", file=sys.stderr, flush=True)

    def starting(self, job: Job, what: str, done: int, total: int) -> None:
        """Show how far the start of a network is computed."""
        if not self.shown:
            return
        text = f"{self._numbered(job)}: start: {what} ({done + 1} of {total})"
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(text, total=total, completed=done)
        elif done == 0 or time.monotonic() - self._printed > LINE_EVERY_S:
            self._printed = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def _numbered(self, job: Job) -> str:
        return f"{job.name} ({self._names.index(job.name) + 1}/{len(self._names)})"

    def report(self, job: Job, window: Window) -> None:
        """Show one window."""
        if not self.shown:
            return
        fresh = job.name != self._job
        if fresh:
            self._job, self._last = job.name, Window(0, 0, 0.0, 0.0, {})
        seconds = max(window.seconds - self._last.seconds, 1e-9)
        speed = (window.images - self._last.images) / seconds
        self._last = window
        part = min(1.0, self.book.settings.progress(window.step, window.seconds))
        terms = ", ".join(f"{key} {value:.4g}" for key, value in window.terms.items())
        text = f"{self._numbered(job)} step {window.step}: {terms}; {speed:.1f} images/s"
        if self._bar is not None:
            if fresh or self._task is None:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(text, total=1.0)
            self._bar.update(self._task, completed=part, description=text)
        elif fresh or part >= 1 or time.monotonic() - self._printed > LINE_EVERY_S:
            self._printed = time.monotonic()
            left = window.seconds / part - window.seconds if part else 0.0
            print(f"{text}; {left:.0f} s left", file=sys.stderr, flush=True)

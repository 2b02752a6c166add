"""Making a model: training its networks one after another, and keeping them.

A model is made from its shallowest stage to its deepest. A teacher (ratio 1) has its encoder given
and trains decoders; a student trains, for every stage, first its encoder, then on that, frozen, its
decoder.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.cascades import own_files
from distill.errors import UserError
from distill.header import Header, losses_json, project_version, read_header, save_network
from distill.training.alignment import ignore
from distill.training.book import Job, Recipebook
from distill.training.building import (
    TEACHER_WEIGHTS,
    build_recipe,
    check_start,
    fitting_crops,
    joint_decoder,
    own_teacher_encoder,
    teacher_encoder,
)
from distill.training.checkpoints import budget_left
from distill.training.cost import announce
from distill.training.data import ImageSet, batches
from distill.training.history import Outcome, Window
from distill.training.identity import (
    check_encoder,
    check_finished,
    identity,
    start_header,
    teacher_digest,
)
from distill.training.lock import lock_networks
from distill.training.loop import TrainingFailedError, train
from distill.training.pruning import level_features
from distill.training.recipes import EncoderRecipe, JointRecipe, Recipe
from distill.weights import read_metadata

if TYPE_CHECKING:
    from accelerate import Accelerator


def make(
    book: Recipebook,
    accelerator: "Accelerator",
    *,
    resume: bool = False,
    log_every: int = 10,
    checkpoint_every: int = 200,
    tensorboard: bool = False,
    report: Callable[[Job, Window], None] | None = None,
    note: Callable[[str], None] | None = None,
    starting: Callable[[Job, str, int, int], None] | None = None,
) -> list[Job]:
    """Train all networks of a model that are not there yet, or whose budget has grown.

    Args:
        book: how the model is made.
        accelerator: device and processes.
        resume: go on with what ``book.out`` has.
        log_every: steps of one window; see :func:`distill.training.loop.train`.
        checkpoint_every: steps between checkpoints.
        tensorboard: write TensorBoard's files.
        report: called with every window of each network.
        note: told what is worth knowing.
        starting: told of each convolution of a start that is fitted: of which network, what, how
            many are done, of how many.

    Returns:
        The networks that were made now, each a weights file of this project's layout in
        ``book.out``.

    Raises:
        UserError: for a folder that holds networks already (without ``resume``, or of another
            training), or in which another training makes one of them; a teacher that has no
            trained decoders; or images that cannot be read.
        TrainingFailedError: when a training ran away.
    """
    jobs = book.jobs()
    files = [book.out / f"{job.name}.safetensors" for job in jobs]
    if not resume and (there := [file.name for file in files if file.exists()]):
        raise UserError(
            f"{book.out}: holds {', '.join(there)} already; give --resume to make only what is "
            "missing, or another --out"
        )
    if book.spec.method == "adain" and book.styles is None:
        raise UserError("adain: trains on styles too; give a folder or tar file with --styles")
    _check_folder(book)
    pairs = zip(jobs, files, strict=True)
    missing = [job for job, file in pairs if not file.exists() or _goes_on(book, job, file, note)]
    lacking = check_start(book) if missing else []
    if lacking and note is not None:
        note(f"start: {book.start} has no {', '.join(lacking)}: begun as without --start")
    if missing and note is not None and accelerator.is_main_process:
        note(announce(book, missing, accelerator.device, accelerator.num_processes))
    names = [job.name for job in missing]
    with lock_networks(book.out, names, writes=accelerator.is_main_process):
        for job in missing:
            recipe = build_recipe(
                book,
                job,
                accelerator.device,
                ignore if starting is None else partial(starting, job),
            )
            outcome = train(
                recipe,
                _batches(book, recipe),
                book.settings,
                book.out / "training" / job.name,
                accelerator=accelerator,
                resume=resume,
                log_every=log_every,
                checkpoint_every=checkpoint_every,
                tensorboard=tensorboard,
                report=None if report is None else partial(report, job),
                note=note,
                identity=identity(book, job),
                held_out=book.held_out_batches(styled=recipe.needs_style),
            )
            if accelerator.is_main_process:
                _level(book, recipe)
                _save(book, job, recipe, outcome)
            accelerator.wait_for_everyone()
    return missing


def _goes_on(book: Recipebook, job: Job, file: Path, note: Callable[[str], None] | None) -> bool:
    """Whether a network that is there is to be trained further: its budget has grown."""
    checkpoint = book.out / "training" / job.name / "checkpoint.pt"
    header = read_header(read_metadata(file))
    steps, now = 0 if header is None else header.steps, book.settings.steps
    why = "has no checkpoint to go on from"
    if checkpoint.is_file():
        left, differing = budget_left(checkpoint, book.settings, identity(book, job))
        if not left or not differing:
            return left
        why = f"was trained otherwise ({'; '.join(differing)})"
    if note is not None and now is not None and 0 < steps < now:
        note(f"{file}: stays at {steps} steps: it {why}")
    return False


def _teacher_source(book: Recipebook, stage: int) -> str:
    """Where a teacher's given encoder comes from."""
    own = own_teacher_encoder(book, stage)
    if own is None:
        return TEACHER_WEIGHTS[book.spec.family]
    header = read_header(read_metadata(own))
    return (header.source if header is not None else "") or own.parent.name


def _check_folder(book: Recipebook) -> None:
    """What the folder has already must go with what is to be made."""
    for job in book.jobs():
        file = book.out / f"{job.name}.safetensors"
        encoder = own_files(book.out, (job.stage,))[0][0]
        joint = joint_decoder(book, job.stage)
        if file.exists():
            check_finished(book, job, file)
        elif job.role == "encoder" and joint.exists():  # a decoder would start from it
            check_finished(book, job, joint)
        elif job.role == "decoder" and book.spec.ratio != 1 and encoder.exists():
            check_encoder(book, encoder)


def _batches(
    book: Recipebook, recipe: Recipe
) -> Callable[..., Iterator[tuple[Tensor, Tensor | None]]]:
    def stream(
        *, start: int, batch: int, seed: int, rank: int, processes: int
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        def images(source: ImageSet, seed: int) -> Iterator[Tensor]:
            return batches(
                source,
                book.crops,
                batch=batch,
                seed=seed,
                start=start,
                workers=book.workers,
                rank=rank,
                processes=processes,
                skip=book.skip,
            )

        if recipe.needs_style:
            assert book.styles is not None
            yield from zip(images(book.content, seed), images(book.styles, seed + 1), strict=True)
        else:
            for content in images(book.content, seed):
                yield content, None

    return stream


def _level(book: Recipebook, recipe: Recipe) -> None:
    """Bring a student encoder's features to a size that AdaIN's statistics are made for."""
    reader: nn.Module
    if isinstance(recipe, EncoderRecipe):
        encoder = recipe.student.encoder
        reader = recipe.student.embedding(encoder.stage)
    elif isinstance(recipe, JointRecipe):
        encoder = recipe.encoder
        reader = recipe.decoder.get_submodule(f"conv{encoder.stage}_1")
    else:
        return
    assert isinstance(reader, nn.Conv2d)
    images = torch.cat(fitting_crops(book, book.content))
    level_features(encoder, reader, images.to(reader.weight.device))


def _save(book: Recipebook, job: Job, recipe: Recipe, outcome: Outcome) -> None:
    spec, settings = book.spec, book.settings
    terms = outcome.final_terms()
    start, earlier_steps = start_header(book, job)
    header = Header(
        family=spec.family,
        method=spec.method,
        ratio=spec.ratio,
        stage=job.stage,
        role=job.role,
        compressor=book.made_by,
        data=book.data,
        teacher=teacher_digest(book, job),
        steps=outcome.steps,
        earlier_steps=earlier_steps,
        start=start,
        batch=settings.batch,
        crop=book.crops.size,
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        loss_weights=losses_json({key: getattr(recipe.weights, key) for key in terms}),
        variant=book.variant,
        seed=settings.seed,
        ridge=book.ridges.get(job.stage, 0.0) if job.role == "decoder" else 0.0,
        losses=losses_json(terms),
        command=book.command,
        version=project_version(),
    )
    network = recipe.trainable
    tensors = network.state_dict()
    if isinstance(recipe, EncoderRecipe):
        tensors = {key.removeprefix("encoder."): value for key, value in tensors.items()}
    # Of old checkpoints nobody looked at the weights themselves.
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise TrainingFailedError(
            f"{job.name}: its weights are not finite numbers and are not written; delete "
            f"{book.out / 'training' / job.name} and train it anew"
        )
    if isinstance(recipe, JointRecipe):
        save_network(joint_decoder(book, job.stage), recipe.decoder.state_dict(), header)
        tensors = recipe.encoder.state_dict()
    if spec.ratio == 1:
        # The given encoder, so that the folder is a whole model.
        given = Header(
            spec.family,
            spec.method,
            1,
            job.stage,
            "encoder",
            "teacher",
            source=_teacher_source(book, job.stage),
        )
        encoder = teacher_encoder(spec.family, job.stage, book.teacher)
        save_network(own_files(book.out, (job.stage,))[0][0], encoder.state_dict(), given)
    save_network(book.out / f"{job.name}.safetensors", tensors, header)

"""Making a model: training its networks one after another, and keeping them.

A model is made from its shallowest stage to its deepest. A teacher (ratio 1) has its encoder given
and trains decoders; a student trains, for every stage, first its encoder, then on that, frozen, its
decoder.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.cascades import own_files
from distill.errors import UserError
from distill.header import Header, losses_json, project_version, save_network
from distill.training.book import Job, Recipebook
from distill.training.building import (
    TEACHER_WEIGHTS,
    build_recipe,
    check_start,
    fitting_crops,
    joint_decoder,
    teacher_encoder,
)
from distill.training.data import ImageSet, batches
from distill.training.history import Outcome, Window
from distill.training.identity import check_encoder, check_finished, identity
from distill.training.loop import TrainingFailedError, train
from distill.training.pruning import level_features
from distill.training.recipes import EncoderRecipe, JointRecipe, Recipe

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
) -> list[Job]:
    """Train all networks of a model that are not there yet.

    Returns:
        The networks that were made now, each a weights file of this project's layout in
        ``book.out``.

    Raises:
        UserError: for a folder that holds networks already (without ``resume``, or of another
            training), a teacher that has no trained decoders, or images that cannot be read.
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
    missing = [job for job, file in zip(jobs, files, strict=True) if not file.exists()]
    _check_folder(book)
    lacking = check_start(book) if missing else []
    if lacking and note is not None:
        note(f"start: {book.start} has no {', '.join(lacking)}: begun as without --start")
    for job in missing:
        recipe = build_recipe(book, job)
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
        )
        if accelerator.is_main_process:
            _level(book, recipe)
            _save(book, job, recipe, outcome)
        accelerator.wait_for_everyone()
    return missing


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
    header = Header(
        family=spec.family,
        method=spec.method,
        ratio=spec.ratio,
        stage=job.stage,
        role=job.role,
        compressor=book.made_by,
        data=book.data,
        steps=outcome.steps,
        batch=settings.batch,
        seed=settings.seed,
        losses=losses_json(outcome.final_terms()),
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
            source=TEACHER_WEIGHTS[spec.family],
        )
        encoder = teacher_encoder(spec.family, job.stage)
        save_network(own_files(book.out, (job.stage,))[0][0], encoder.state_dict(), given)
    save_network(book.out / f"{job.name}.safetensors", tensors, header)

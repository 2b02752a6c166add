"""Making a model: which networks are trained, in which order, from which start.

A model is made from its shallowest stage to its deepest, each network starting, in the layers that
they share, from the one before: in a short training this is worth many steps. A teacher (ratio 1)
has its encoder given and trains decoders; a student trains, for every stage, first its encoder,
then on that, frozen, its decoder.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from distill.cascades import load_cascade, own_files, read_network
from distill.errors import UserError
from distill.header import Header, losses_json, project_version, save_network
from distill.models import ModelSpec
from distill.networks import TEACHER_WIDTHS, Decoder, Encoder, seed_weights, student_widths
from distill.training.alignment import align, mirror
from distill.training.data import Crops, ImageSet, batches
from distill.training.loop import Outcome, Settings, Window, train
from distill.training.losses import adain
from distill.training.pruning import level_features, prune_encoder
from distill.training.recipes import (
    AdainDecoderRecipe,
    EmbeddedEncoder,
    EncoderRecipe,
    JointRecipe,
    Recipe,
    ReconstructionRecipe,
)
from distill.weights import load_named, read_tensors

if TYPE_CHECKING:
    from accelerate import Accelerator

Role = Literal["encoder", "decoder"]
ROLES: tuple[str, ...] = get_args(Role)
Compressor = Literal["collaborative", "pruned", "fitnet", "scratch"]
COMPRESSORS: tuple[str, ...] = get_args(Compressor)
TEACHER_WEIGHTS = {"vgg16": "vgg16-normalised", "vgg19": "vgg19-torchvision"}
FITTING_IMAGES = 128
"""Crops on which least-squares starts are computed, and the features' sizes taken."""
FITTING_SIDE = 128
"""Of these crops at most, pixels."""


class Job(NamedTuple):
    """One network to be trained."""

    stage: int
    role: Role

    @property
    def name(self) -> str:
        """Stem of its weights file, and name of its training folder."""
        return f"stage{self.stage}-{self.role}"


@dataclass(frozen=True)
class Recipebook:
    """All that says how a model is made."""

    spec: ModelSpec
    compressor: Compressor
    out: Path
    content: ImageSet
    crops: Crops
    settings: Settings
    """Of each network's training."""
    styles: ImageSet | None = None
    teacher: Path | None = None
    """Folder of the teacher's networks; None for the embedded ones."""
    start: Path | None = None
    """Folder whose networks are started from, where it has the same layers."""
    stages: tuple[int, ...] | None = None
    """Those to make; None for all of the method's."""
    only: Role | None = None
    """The role to make; None for both."""
    workers: int = 0
    command: str = ""

    def jobs(self) -> list[Job]:
        """The networks to be trained, in order."""
        roles: tuple[Role, ...] = ("decoder",) if self.spec.ratio == 1 else ("encoder", "decoder")
        return [
            Job(k, role)
            for k in sorted(self.stages or self.spec.stages)
            for role in roles
            if self.only in (None, role)
        ]

    @property
    def data(self) -> str:
        """What is trained on, for headers."""
        text = f"{len(self.content)} images, digest {self.content.digest()}"
        if self.styles is not None:
            text += f"; {len(self.styles)} styles, digest {self.styles.digest()}"
        return text


def make(
    book: Recipebook,
    accelerator: "Accelerator",
    *,
    resume: bool = False,
    log_every: int = 10,
    checkpoint_every: int = 200,
    tensorboard: bool = False,
    report: Callable[[Job, Window], None] | None = None,
) -> list[Path]:
    """Train all networks of a model that are not there yet.

    Returns:
        The weights files, of this project's layout in ``book.out``.

    Raises:
        UserError: for a folder that holds networks already (without ``resume``), a teacher that
            has no trained decoders, or images that cannot be read.
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
    for job, file in zip(jobs, files, strict=True):
        if file.exists():
            continue
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
        )
        if accelerator.is_main_process:
            _level(book, recipe)
            _save(book, job, recipe, outcome)
        accelerator.wait_for_everyone()
    return files


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
            )

        if recipe.needs_style:
            assert book.styles is not None
            yield from zip(images(book.content, seed), images(book.styles, seed + 1), strict=True)
        else:
            for content in images(book.content, seed):
                yield content, None

    return stream


def teacher_encoder(family: str, stage: int) -> Encoder:
    """The teacher's encoder to ``relu{stage}_1``, float32, its own copy."""
    return load_named(TEACHER_WEIGHTS[family], stage)


def teacher_decoder(spec: ModelSpec, stage: int, folder: Path | None) -> Decoder:
    """The teacher's trained decoder of a stage, from a folder or embedded.

    Raises:
        UserError: when there is none.
    """
    own = ModelSpec(spec.method, spec.family, 1, None if folder is None else str(folder))
    if folder is None:
        cascade = load_cascade(own)
        if cascade.weights == "random":
            raise UserError(
                f"{own}: has no trained decoders here, and a student learns from them; train them "
                f"with --ratio 1, and give their folder with --teacher"
            )
        return cascade.pairs[own.stages.index(stage)].decoder
    decoder = Decoder(spec.family, TEACHER_WIDTHS, stage, final_relu=spec.method == "wct")
    read_network(decoder, own_files(folder, (stage,))[0][1])
    return decoder


def build_recipe(book: Recipebook, job: Job) -> Recipe:
    """The recipe of one network, its networks at their start."""
    spec, stage = book.spec, job.stage
    teacher = teacher_encoder(spec.family, stage)
    if spec.ratio == 1:
        decoder = Decoder(spec.family, TEACHER_WIDTHS, stage, final_relu=spec.method == "wct")
        _draw(decoder, book.settings.seed)
        _inherit(book, job, decoder)
        return _decoder_recipe(book, teacher, decoder, teacher)
    widths = student_widths(spec.ratio)[:stage]
    if job.role == "decoder":
        encoder = Encoder(spec.family, widths, stage)
        read_network(encoder, own_files(book.out, (stage,))[0][0])
        return _decoder_recipe(book, encoder, _student_decoder(book, teacher, encoder), teacher)
    encoder = _student_encoder(book, job, teacher, widths)
    if book.compressor in ("pruned", "scratch"):
        return JointRecipe(encoder, _student_decoder(book, teacher, encoder), teacher)
    collaborator = (
        teacher_decoder(spec, stage, book.teacher) if book.compressor == "collaborative" else None
    )
    recipe = EncoderRecipe(
        EmbeddedEncoder(encoder, TEACHER_WIDTHS[:stage]),
        teacher,
        collaborator,
        style=spec.method == "adain",
    )
    recipe.fit_embeddings(_fitting_crops(book, book.content))
    return recipe


def _draw(decoder: Decoder, seed: int) -> None:
    """Random weights that start with a grey image: below a final ReLU black would not learn."""
    seed_weights(decoder, seed)
    with torch.no_grad():
        decoder.get_parameter("conv1_1.weight").mul_(0.1)
        decoder.get_parameter("conv1_1.bias").fill_(0.5)


def _fitting_crops(book: Recipebook, images: ImageSet) -> list[Tensor]:
    """Batches of images (N, 3, H, W) in 0..1, ``FITTING_IMAGES`` of them in all."""
    settings = book.settings
    stream = batches(images, book.crops, batch=settings.batch, seed=settings.seed)
    found = [next(stream).float() / 255 for _ in range(-(-FITTING_IMAGES // settings.batch))]
    return [crops[..., :FITTING_SIDE, :FITTING_SIDE] for crops in found]


def _student_encoder(
    book: Recipebook, job: Job, teacher: Encoder, widths: tuple[int, ...]
) -> Encoder:
    """A student's encoder at its start."""
    if book.compressor == "scratch":
        encoder = Encoder(teacher.family, widths, job.stage)
        seed_weights(encoder, book.settings.seed)
        # Not a layer to be learnt: the colours as the teacher takes them.
        encoder.conv0.load_state_dict(teacher.conv0.state_dict())
        _inherit(book, job, encoder)
        return encoder
    encoder = prune_encoder(teacher, widths, job.stage)
    inherited = _inherit(book, job, encoder)
    align(encoder, teacher, _fitting_crops(book, book.content), keep=inherited)
    return encoder


def _student_decoder(book: Recipebook, teacher: Encoder, encoder: Encoder) -> Decoder:
    """The decoder of a student's encoder, at its start."""
    job = Job(encoder.stage, "decoder")
    final_relu = book.spec.method == "wct"
    decoder = Decoder(teacher.family, encoder.widths, encoder.stage, final_relu=final_relu)
    joint = _joint_decoder(book, encoder.stage)
    if joint.exists():
        read_network(decoder, joint)
    elif book.compressor == "scratch":
        _draw(decoder, book.settings.seed + 1)
        _inherit(book, job, decoder)
    else:
        mirror(decoder, encoder, *_decoder_work(book, encoder, teacher))
        # A decoder's inner channels have no names that two stages share: half of one and half of
        # another make no picture.
        _inherit(book, job, decoder, shallower=False)
    return decoder


@torch.no_grad()
def _decoder_work(
    book: Recipebook, encoder: Encoder, teacher: Encoder
) -> tuple[list[Tensor], list[Tensor]]:
    """Batches of what a student's decoder is given, and of what it is to make of it."""
    contents = _fitting_crops(book, book.content)
    if book.spec.method == "wct":
        return [encoder(images) for images in contents], contents
    assert book.styles is not None
    theirs = teacher_decoder(book.spec, encoder.stage, book.teacher)
    pairs = list(zip(contents, _fitting_crops(book, book.styles), strict=True))
    return (
        [adain(encoder(content), encoder(style)) for content, style in pairs],
        [theirs(adain(teacher(content), teacher(style))).clamp(0, 1) for content, style in pairs],
    )


def _joint_decoder(book: Recipebook, stage: int) -> Path:
    """Where the decoder that was trained along with an encoder waits for its own training."""
    return book.out / "training" / f"stage{stage}-encoder" / "joint-decoder.safetensors"


def _decoder_recipe(
    book: Recipebook, encoder: Encoder, decoder: Decoder, teacher: Encoder
) -> Recipe:
    spec = book.spec
    if spec.method != "adain":
        return ReconstructionRecipe(encoder, decoder, teacher)
    theirs = None if spec.ratio == 1 else teacher_decoder(spec, teacher.stage, book.teacher)
    return AdainDecoderRecipe(encoder, decoder, teacher, theirs)


def _inherit(
    book: Recipebook, job: Job, network: nn.Module, *, shallower: bool = True
) -> frozenset[str]:
    """Start from another network of the same role, in the layers that both have: their names.

    The one of this stage in the start folder, else (``shallower``) the next shallower one of this
    model.
    """
    candidates = [] if book.start is None else [book.start / f"{job.name}.safetensors"]
    if shallower:
        others = [Job(k, job.role) for k in range(job.stage - 1, 0, -1)]
        candidates += [book.out / f"{other.name}.safetensors" for other in others]
    for path in candidates:
        if path.is_file():
            given = read_tensors(path)[0]
            own = network.state_dict()
            same = {
                key: value.float()
                for key, value in given.items()
                if key in own and own[key].shape == value.shape
            }
            network.load_state_dict(own | same)
            return frozenset(key.rpartition(".")[0] for key in same)
    return frozenset()


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
    images = torch.cat(_fitting_crops(book, book.content))
    level_features(encoder, reader, images.to(reader.weight.device))


def _save(book: Recipebook, job: Job, recipe: Recipe, outcome: Outcome) -> None:
    spec, settings = book.spec, book.settings
    header = Header(
        family=spec.family,
        method=spec.method,
        ratio=spec.ratio,
        stage=job.stage,
        role=job.role,
        compressor="teacher" if spec.ratio == 1 else book.compressor,
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
    elif isinstance(recipe, JointRecipe):
        save_network(_joint_decoder(book, job.stage), recipe.decoder.state_dict(), header)
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

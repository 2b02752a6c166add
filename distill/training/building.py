"""The recipe of each network of a model, its networks at their start.

Each network starts, in the layers that they share, from the one before (a shallower stage, or a
folder that is given), a student's else from what its teacher has: in a short training this is worth
many steps.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.cascades import load_cascade, own_files, read_network
from distill.errors import UserError
from distill.models import ModelSpec
from distill.networks import TEACHER_WIDTHS, Decoder, Encoder, seed_weights, student_widths
from distill.suggest import did_you_mean_path
from distill.training.alignment import align, mirror
from distill.training.book import Job, Recipebook
from distill.training.data import ImageSet, batches
from distill.training.losses import adain
from distill.training.pruning import prune_encoder
from distill.training.recipes import (
    AdainDecoderRecipe,
    EmbeddedEncoder,
    EncoderRecipe,
    JointRecipe,
    Recipe,
    ReconstructionRecipe,
)
from distill.weights import load_named, read_tensors

TEACHER_WEIGHTS = {"vgg16": "vgg16-normalised", "vgg19": "vgg19-torchvision"}
FITTING_IMAGES = 128
"""Crops on which least-squares starts are computed, and the features' sizes taken."""
FITTING_SIDE = 128
"""Of these crops at most, pixels."""


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
    recipe.fit_embeddings(fitting_crops(book, book.content))
    return recipe


def _draw(decoder: Decoder, seed: int) -> None:
    """Random weights that start with a grey image: below a final ReLU black would not learn."""
    seed_weights(decoder, seed)
    with torch.no_grad():
        decoder.get_parameter("conv1_1.weight").mul_(0.1)
        decoder.get_parameter("conv1_1.bias").fill_(0.5)


def fitting_crops(book: Recipebook, images: ImageSet) -> list[Tensor]:
    """Batches of images (N, 3, H, W) in 0..1, ``FITTING_IMAGES`` of them in all."""
    settings = book.settings
    stream = batches(images, book.crops, batch=settings.batch, seed=settings.seed, skip=book.skip)
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
    align(encoder, teacher, fitting_crops(book, book.content), keep=inherited)
    return encoder


def _student_decoder(book: Recipebook, teacher: Encoder, encoder: Encoder) -> Decoder:
    """The decoder of a student's encoder, at its start."""
    job = Job(encoder.stage, "decoder")
    final_relu = book.spec.method == "wct"
    decoder = Decoder(teacher.family, encoder.widths, encoder.stage, final_relu=final_relu)
    joint = joint_decoder(book, encoder.stage)
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
    contents = fitting_crops(book, book.content)
    if book.spec.method == "wct":
        return [encoder(images) for images in contents], contents
    assert book.styles is not None
    theirs = teacher_decoder(book.spec, encoder.stage, book.teacher)
    pairs = list(zip(contents, fitting_crops(book, book.styles), strict=True))
    return (
        [adain(encoder(content), encoder(style)) for content, style in pairs],
        [theirs(adain(teacher(content), teacher(style))).clamp(0, 1) for content, style in pairs],
    )


def joint_decoder(book: Recipebook, stage: int) -> Path:
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
    wanted = None if book.start is None else book.start / f"{job.name}.safetensors"
    candidates = [] if wanted is None else [wanted]
    if shallower:
        others = [Job(k, job.role) for k in range(job.stage - 1, 0, -1)]
        candidates += [book.out / f"{other.name}.safetensors" for other in others]
    for path in candidates:
        if path.is_file():
            layers = _take_layers(network, read_tensors(path)[0])
            if path == wanted and layers <= {"conv0"}:  # the colours are in every encoder
                raise UserError(
                    f"start: {path} has no layer of the shape wanted here; is it of another ratio?"
                )
            return layers
    return frozenset()


def _take_layers(network: nn.Module, given: Mapping[str, Tensor]) -> frozenset[str]:
    """Give a network the layers that tensors hold in its shapes, whole ones; their names."""
    own = network.state_dict()
    fitting = {key for key in own if key in given and given[key].shape == own[key].shape}
    layers = {key.rpartition(".")[0] for key in fitting}
    layers -= {key.rpartition(".")[0] for key in own.keys() - fitting}
    same = {key: given[key].float() for key in own if key.rpartition(".")[0] in layers}
    network.load_state_dict(own | same)
    return frozenset(layers)


def check_start(book: Recipebook) -> list[str]:
    """See that a start folder has something to start from; names of the networks that it lacks.

    It need not have all: encoders alone, or some stages, are a start as well.

    Raises:
        UserError: for a folder that is not there, or that has none of the networks to be made.
    """
    if book.start is None:
        return []
    if not book.start.is_dir():
        raise UserError(f"start: there is no folder {book.start}{did_you_mean_path(book.start)}")
    names = [job.name for job in book.jobs()]
    lacking = [name for name in names if not (book.start / f"{name}.safetensors").is_file()]
    if lacking == names:
        raise UserError(
            f"start: {book.start} has none of the networks to be made: "
            f"{', '.join(f'{name}.safetensors' for name in names)}"
        )
    return lacking

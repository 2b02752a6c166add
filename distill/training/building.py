"""The recipe of each network of a model, its networks at their start.

Each network starts, in the layers that they share, from the one before (a shallower stage, or a
folder that is given), a student's else from what its teacher has: in a short training this is worth
many steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.cascades import load_cascade, own_files, read_network
from distill.errors import UserError
from distill.models import ModelSpec
from distill.networks import (
    TEACHER_WIDTHS,
    Decoder,
    Encoder,
    seed_weights,
    student_widths,
)
from distill.registry import REGISTRY
from distill.suggest import did_you_mean_path
from distill.training.alignment import Progress, align, ignore, mirror
from distill.training.book import Job, Recipebook
from distill.training.data import ImageSet, batches
from distill.training.losses import adain
from distill.training.pruning import prune_decoder, prune_encoder
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


def teacher_encoder(family: str, stage: int, folder: Path | None = None) -> Encoder:
    """Load the teacher's encoder to ``relu{stage}_1``, float32, its own copy.

    Args:
        family: ``vgg16`` or ``vgg19``.
        stage: 1..5.
        folder: of the teacher; its own encoder is taken if it has one, else the registered one.

    Raises:
        UserError: for a file that is no such encoder.
    """
    file = None if folder is None else own_files(folder, (stage,))[0][0]
    if file is None or not file.is_file():
        return load_named(TEACHER_WEIGHTS[family], stage)
    encoder = Encoder(family, TEACHER_WIDTHS, stage)
    read_network(encoder, file)
    return encoder.requires_grad_(False)


def own_teacher_encoder(book: Recipebook, stage: int) -> Path | None:
    """Find the encoder that the teacher's folder has in the place of the registered one, if any."""
    if book.teacher is None:
        return None
    file = own_files(book.teacher, (stage,))[0][0]
    if not file.is_file():
        return None
    name = TEACHER_WEIGHTS[book.spec.family]
    if REGISTRY[name].source != "embedded":  # nothing is downloaded to be compared
        return file
    theirs = teacher_encoder(book.spec.family, stage, book.teacher).state_dict()
    registered = load_named(name, stage).state_dict()
    same = all(torch.equal(value, registered[key]) for key, value in theirs.items())
    return None if same else file


def teacher_decoder(spec: ModelSpec, stage: int, folder: Path | None) -> Decoder:
    """The teacher's trained decoder of a stage, from a folder or embedded.

    Raises:
        UserError: when there is none.
    """
    own = ModelSpec(spec.method, spec.family, 1)
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


def build_recipe(
    book: Recipebook, job: Job, device: str | torch.device = "cpu", progress: Progress = ignore
) -> Recipe:
    """Build the recipe of one network, its networks at their start, on a device.

    Args:
        book: how the model is made.
        job: the network.
        device: to compute the start on.
        progress: told of each convolution that is fitted: which, how many are done, of how many.
    """
    return _Builder(book, torch.device(device), progress).recipe(job)


@dataclass(frozen=True)
class _Builder:
    """Builds recipes of a book on a device."""

    book: Recipebook
    device: torch.device
    progress: Progress

    def recipe(self, job: Job) -> Recipe:
        book, spec, stage = self.book, self.book.spec, job.stage
        teacher = teacher_encoder(spec.family, stage, book.teacher).to(self.device)
        if spec.ratio == 1:
            decoder = Decoder(spec.family, TEACHER_WIDTHS, stage, final_relu=spec.method == "wct")
            _draw(decoder, book.settings.seed)
            _inherit(book, job, decoder)
            return self._decoder_recipe(teacher, decoder, teacher)
        if job.role == "decoder":
            encoder = Encoder(spec.family, student_widths(spec.ratio)[:stage], stage)
            read_network(encoder, own_files(book.out, (stage,))[0][0])
            encoder.to(self.device)
            return self._decoder_recipe(encoder, self._student_decoder(teacher, encoder), teacher)
        return self._encoder_recipe(job, teacher)

    def _encoder_recipe(self, job: Job, teacher: Encoder) -> Recipe:
        book, style = self.book, self.book.spec.method == "adain"
        encoder = self._student_encoder(job, teacher)
        if book.compressor in ("pruned", "scratch"):
            decoder = self._student_decoder(teacher, encoder)
            return JointRecipe(encoder, decoder, teacher, style=style)
        collaborator = self._teacher_decoder(job.stage) if book.made_by == "collaborative" else None
        student = EmbeddedEncoder(
            encoder, TEACHER_WIDTHS[: job.stage], relu=book.embedding == "relu"
        ).to(self.device)
        recipe = EncoderRecipe(student, teacher, collaborator, style=style)
        recipe.fit_embeddings(self._crops(book.content))
        return recipe

    def _decoder_recipe(self, encoder: Encoder, decoder: Decoder, teacher: Encoder) -> Recipe:
        decoder.to(self.device)
        if self.book.spec.method != "adain":
            return ReconstructionRecipe(encoder, decoder, teacher)
        theirs = None if self.book.spec.ratio == 1 else self._teacher_decoder(teacher.stage)
        return AdainDecoderRecipe(encoder, decoder, teacher, theirs)

    def _teacher_decoder(self, stage: int) -> Decoder:
        return teacher_decoder(self.book.spec, stage, self.book.teacher).to(self.device)

    def _crops(self, images: ImageSet) -> list[Tensor]:
        return [crops.to(self.device) for crops in fitting_crops(self.book, images)]

    def _student_encoder(self, job: Job, teacher: Encoder) -> Encoder:
        """A student's encoder at its start."""
        book = self.book
        widths = student_widths(book.spec.ratio)[: job.stage]
        if book.compressor == "scratch":
            encoder = Encoder(teacher.family, widths, job.stage)
            seed_weights(encoder, book.settings.seed)
            # Not a layer to be learnt: the colours as the teacher takes them.
            encoder.conv0.load_state_dict(teacher.conv0.state_dict())
            _inherit(book, job, encoder)
            return encoder.to(self.device)
        encoder = prune_encoder(teacher, widths, job.stage).to(self.device)
        inherited = _inherit(book, job, encoder)
        if book.aligned:
            crops = self._crops(book.content)
            align(encoder, teacher, crops, keep=inherited, progress=self.progress)
        return encoder

    def _student_decoder(self, teacher: Encoder, encoder: Encoder) -> Decoder:
        """The decoder of a student's encoder, at its start."""
        book, stage = self.book, encoder.stage
        job = Job(stage, "decoder")
        final_relu = book.spec.method == "wct"
        decoder = Decoder(teacher.family, encoder.widths, stage, final_relu=final_relu)
        joint = joint_decoder(book, stage)
        if joint.exists():
            read_network(decoder, joint)
        elif book.compressor == "scratch":
            _draw(decoder, book.settings.seed + 1)
            _inherit(book, job, decoder)
        elif not book.aligned:
            theirs = teacher_decoder(book.spec, stage, book.teacher)
            decoder = prune_decoder(theirs, teacher, encoder.widths)
            _inherit(book, job, decoder, shallower=False)
        else:
            decoder.to(self.device)
            mirror(decoder, encoder, *self._decoder_work(encoder, teacher), progress=self.progress)
            # A decoder's inner channels have no names that two stages share: half of one and half
            # of another make no picture.
            _inherit(book, job, decoder, shallower=False)
        return decoder.to(self.device)

    @torch.no_grad()
    def _decoder_work(
        self, encoder: Encoder, teacher: Encoder
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Batches of what a student's decoder is given, and of what it is to make of it."""
        contents = self._crops(self.book.content)
        if self.book.spec.method == "wct":
            return [encoder(images) for images in contents], contents
        assert self.book.styles is not None
        theirs = self._teacher_decoder(encoder.stage)
        pairs = list(zip(contents, self._crops(self.book.styles), strict=True))
        return (
            [adain(encoder(content), encoder(style)) for content, style in pairs],
            [
                theirs(adain(teacher(content), teacher(style))).clamp(0, 1)
                for content, style in pairs
            ],
        )


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


def joint_decoder(book: Recipebook, stage: int) -> Path:
    """Where the decoder that was trained along with an encoder waits for its own training."""
    return book.out / "training" / f"stage{stage}-encoder" / "joint-decoder.safetensors"


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

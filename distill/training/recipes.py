"""What is trained, and on which loss: one module for each recipe.

Each takes a batch of images, (N, 3, H, W), RGB in 0..1, whose dtype is the precision of the
computation, and returns its loss terms, weighted; their sum is the loss. What it trains is its
``trainable`` module; everything else is frozen. A frozen network's features of the batch are
computed once for all terms.

Sources: reconstruction of decoders after Li et al. 2017 (WCT); the AdaIN decoder after Huang and
Belongie 2017; the linear embedding and the collaboration after Wang et al. 2020.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.networks import Decoder, Encoder, convolve
from distill.training.losses import adain, features_mse, mse, style_statistics

Terms = dict[str, Tensor]
FITTING_POSITIONS = 8192
"""Of each batch and layer, for the least-squares start of the embeddings."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms; a recipe uses those that it has."""

    embedding: float = 10.0
    pixel: float = 1.0
    perceptual: float = 1.0
    content: float = 1.0
    style: float = 10.0
    output: float = 2000.0


ENCODER_WEIGHTS = LossWeights()
"""Collaborative distillation: 10 / 1 / 1 (Wang et al. 2020)."""
DECODER_WEIGHTS = LossWeights(perceptual=0.01)
"""Decoders that rebuild images: 1 / 0.01 (Wang et al. 2020, for the student's)."""


def layers_to(stage: int) -> tuple[str, ...]:
    """The layers that losses compare: ``relu1_1`` to ``relu{stage}_1``."""
    return tuple(f"relu{k}_1" for k in range(1, stage + 1))


class Recipe(nn.Module, ABC):
    """What all recipes share: a frozen loss network, and a name for what is trained."""

    needs_style = False
    """Whether a batch of style images is wanted beside the content images."""

    def __init__(self, loss_network: Encoder, trainable: nn.Module, weights: LossWeights) -> None:
        super().__init__()
        self.loss_network = loss_network.requires_grad_(False)
        self.trainable = trainable
        self.weights = weights
        self.layers = layers_to(loss_network.stage)

    def set_precision(self, dtype: torch.dtype) -> None:
        """Cast the frozen networks; those that are trained keep float32 weights."""
        trained = {id(parameter) for parameter in self.trainable.parameters()}
        for parameter in self.parameters():
            if id(parameter) not in trained:
                parameter.data = parameter.data.to(dtype)

    @torch.no_grad()
    def teacher_features(self, images: Tensor) -> list[Tensor]:
        """The loss network's features of the batch, without gradient."""
        return self.loss_network.features(images, self.layers)

    @abstractmethod
    def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
        """Weighted loss terms of a batch."""

    @abstractmethod
    def sample(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        """What the networks make of a batch, to look at: images of its shape."""

    def reconstruction_terms(
        self, rebuilt: Tensor, content: Tensor, teacher: Sequence[Tensor]
    ) -> Terms:
        """``pixel`` and ``perceptual`` of images that should be the content again.

        Args:
            rebuilt: (N, 3, H, W).
            content: of its shape.
            teacher: the content's teacher features.
        """
        again = self.loss_network.features(rebuilt, self.layers)
        return {
            "pixel": self.weights.pixel * mse(rebuilt, content),
            "perceptual": self.weights.perceptual * features_mse(again, teacher),
        }

    def adain_terms(self, stylised: Tensor, teacher: Sequence[Tensor], target: Tensor) -> Terms:
        """``content`` and ``style`` of stylised images (N, 3, H, W).

        Args:
            stylised: the images.
            teacher: teacher features of contents and styles, one after the other.
            target: AdaIN of the deepest of them.
        """
        again = self.loss_network.features(stylised, self.layers)
        theirs = [features.chunk(2)[1] for features in teacher]
        return {
            "content": self.weights.content * mse(again[-1], target),
            "style": self.weights.style * style_statistics(again, theirs),
        }


class ReconstructionRecipe(Recipe):
    """A decoder that rebuilds the image from the features of a frozen encoder.

    Args:
        encoder: teacher or student, frozen.
        decoder: to be trained.
        loss_network: the teacher's encoder to the same stage, for the perceptual term.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        loss_network: Encoder,
        weights: LossWeights = DECODER_WEIGHTS,
    ) -> None:
        super().__init__(loss_network, decoder, weights)
        self.encoder = encoder.requires_grad_(False)

    def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
        """``pixel`` and ``perceptual``."""
        teacher = self.teacher_features(content)
        if self.encoder is self.loss_network:
            features = teacher[-1]
        else:
            with torch.no_grad():
                features = self.encoder(content)
        return self.reconstruction_terms(self.trainable(features), content, teacher)

    @torch.no_grad()
    def sample(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        """The rebuilt images."""
        return self.trainable(self.encoder(content))  # type: ignore[no-any-return]


class AdainDecoderRecipe(Recipe):
    """A decoder of AdaIN's features, of the teacher's encoder or of a frozen student's.

    The target is AdaIN of the teacher's features in both cases.

    Args:
        encoder: teacher or student, frozen.
        decoder: to be trained.
        loss_network: the teacher's encoder.
        teacher_decoder: whose pictures a student's decoder is also drawn to (pixel by pixel; it
            gives the colours early in a short training); None for a teacher's own.
        weights: of the terms.
    """

    needs_style = True

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        loss_network: Encoder,
        teacher_decoder: Decoder | None = None,
        weights: LossWeights = ENCODER_WEIGHTS,
    ) -> None:
        super().__init__(loss_network, decoder, weights)
        self.encoder = encoder.requires_grad_(False)
        self.teacher_decoder = teacher_decoder and teacher_decoder.requires_grad_(False)

    def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
        """``content`` and ``style``, and with a teacher's decoder ``output``."""
        assert style is not None
        teacher = self.teacher_features(torch.cat((content, style)))
        target = adain(*teacher[-1].chunk(2))
        if self.encoder is self.loss_network:
            features = target
        else:
            with torch.no_grad():
                features = adain(*self.encoder(torch.cat((content, style))).chunk(2))
        stylised = self.trainable(features)
        terms = self.adain_terms(stylised, teacher, target)
        if self.teacher_decoder is not None and self.weights.output:
            with torch.no_grad():
                picture = self.teacher_decoder(target)
            terms["output"] = self.weights.output * mse(stylised, picture)
        return terms

    @torch.no_grad()
    def sample(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        """The stylised images."""
        assert style is not None
        both = self.encoder(torch.cat((content, style)))
        return self.trainable(adain(*both.chunk(2)))  # type: ignore[no-any-return]


class EmbeddedEncoder(nn.Module):
    """A student encoder with its embeddings: ``embedding{k}_1``, 1x1, student to teacher.

    Args:
        encoder: the student's.
        teacher_widths: channels of the teacher's blocks 1 to the encoder's stage.
        relu: end each embedding with a ReLU; without, it is linear.
    """

    def __init__(
        self, encoder: Encoder, teacher_widths: tuple[int, ...], *, relu: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.relu = encoder, relu
        # The colour conversion belongs to the input, not to what is compressed.
        encoder.conv0.requires_grad_(False)
        for k, wide in enumerate(teacher_widths, start=1):
            self.add_module(f"embedding{k}_1", nn.Conv2d(encoder.widths[k - 1], wide, 1))

    def embedding(self, k: int) -> nn.Conv2d:
        """That of ``relu{k}_1``."""
        layer = self.get_submodule(f"embedding{k}_1")
        assert isinstance(layer, nn.Conv2d)
        return layer

    def embed(self, features: list[Tensor]) -> list[Tensor]:
        """Student features of relu1_1, relu2_1, ... in the teacher's widths."""
        mapped = [convolve(x, self.embedding(k)) for k, x in enumerate(features, start=1)]
        return [x.relu() for x in mapped] if self.relu else mapped

    def forward(self, images: Tensor) -> list[Tensor]:
        """Embedded features of every layer."""
        return self.embed(self.encoder.features(images, layers_to(self.encoder.stage)))

    @torch.no_grad()
    def fit(self, ours: list[Tensor], theirs: list[Tensor], ridge: float = 1e-2) -> None:
        """Set the embeddings to the linear least-squares map between two networks' features.

        Features are (positions, channels) for each layer. The closed form (ridge regression, in
        float64) is where training would arrive with the encoder frozen; starting there saves it
        the way. ``ridge``, over the mean variance of the channels, keeps small what depends on
        channels that hardly ever fire.
        """
        for k, (x, y) in enumerate(zip(ours, theirs, strict=True), start=1):
            a, b = x.double(), y.double()
            a = torch.cat((a, a.new_ones(len(a), 1)), 1)
            normal = a.T @ a
            normal.diagonal().add_(ridge * normal.diagonal().mean())
            solution = torch.linalg.solve(normal, a.T @ b).float()
            conv = self.embedding(k)
            assert conv.bias is not None
            conv.weight.copy_(solution[:-1].T[:, :, None, None])
            conv.bias.copy_(solution[-1])


def _joined(batches: list[list[Tensor]]) -> list[Tensor]:
    """Layer by layer, the batches one after another."""
    return [torch.cat(layer) for layer in zip(*batches, strict=True)]


def _some(features: Tensor) -> Tensor:
    """A few thousand of the positions of (N, C, H, W), evenly spread: (positions, C)."""
    every = features.movedim(1, -1).flatten(0, -2)
    return every[:: max(1, len(every) // FITTING_POSITIONS)]


class EncoderRecipe(Recipe):
    """A student encoder: linear embeddings, and with the teacher's decoder collaboration.

    Args:
        student: to be trained, with its embeddings.
        teacher: the teacher's encoder, frozen.
        decoder: the teacher's decoder, frozen, through which the embedded features must rebuild
            the image (WCT) or give the stylised one (AdaIN); None trains on the features alone
            (``fitnet``).
        style: for AdaIN: paintings are seen beside the photographs, and the collaboration is
            AdaIN's (content and style loss) in the place of the image's reconstruction (pixel and
            perceptual loss).
    """

    def __init__(
        self,
        student: EmbeddedEncoder,
        teacher: Encoder,
        decoder: Decoder | None,
        *,
        style: bool,
        weights: LossWeights = ENCODER_WEIGHTS,
    ) -> None:
        super().__init__(teacher, student, weights)
        self.student = student
        self.decoder = None if decoder is None else decoder.requires_grad_(False)
        self.needs_style = style

    @torch.no_grad()
    def fit_embeddings(self, batches: Iterable[Tensor]) -> None:
        """Start the embeddings at their least-squares solution on some batches of images."""
        ours, theirs = [], []
        for images in batches:
            ours.append([_some(x) for x in self.student.encoder.features(images, self.layers)])
            theirs.append([_some(x) for x in self.teacher_features(images)])
        self.student.fit(_joined(ours), _joined(theirs))

    def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
        """``embedding``, and with a decoder ``pixel`` and ``perceptual``, or AdaIN's terms."""
        if self.needs_style:
            assert style is not None
            content = torch.cat((content, style))
        teacher = self.teacher_features(content)
        embedded = self.student(content)
        terms = {"embedding": self.weights.embedding * features_mse(embedded, teacher)}
        if self.decoder is None:
            return terms
        if self.needs_style:
            target = adain(*teacher[-1].chunk(2))
            stylised = self.decoder(adain(*embedded[-1].chunk(2)))
            return terms | self.adain_terms(stylised, teacher, target)
        return terms | self.reconstruction_terms(self.decoder(embedded[-1]), content, teacher)

    @torch.no_grad()
    def sample(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        """The image through the teacher's decoder; without one, the images as they are."""
        if self.decoder is None:
            return content
        return self.decoder(self.student(content)[-1])  # type: ignore[no-any-return]


class JointRecipe(Recipe):
    """Encoder and decoder of a student trained together to rebuild images.

    What ``pruned`` (from the teacher's strongest filters) and ``scratch`` (from random weights)
    do for their encoder: the teacher serves the perceptual term only.

    Args:
        encoder: the student's, to be trained.
        decoder: the student's, to be trained.
        loss_network: the teacher's encoder to the same stage.
        style: for AdaIN: rebuild paintings beside the photographs, so that every compressor's
            encoder sees the same images.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        loss_network: Encoder,
        weights: LossWeights = DECODER_WEIGHTS,
        *,
        style: bool = False,
    ) -> None:
        encoder.conv0.requires_grad_(False)
        super().__init__(
            loss_network, nn.ModuleDict({"encoder": encoder, "decoder": decoder}), weights
        )
        self.encoder, self.decoder = encoder, decoder
        self.needs_style = style

    def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
        """``pixel`` and ``perceptual``."""
        if self.needs_style:
            assert style is not None
            content = torch.cat((content, style))
        rebuilt = self.decoder(self.encoder(content))
        return self.reconstruction_terms(rebuilt, content, self.teacher_features(content))

    @torch.no_grad()
    def sample(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        """The rebuilt images."""
        return self.decoder(self.encoder(content))  # type: ignore[no-any-return]

"""Which network judges an image that is optimised: a teacher, or a compressed student.

A student's features have another width and another scale than the teacher's, and losses go with
the second and fourth power of that scale: with the same weights, style and content would balance
elsewhere. So :meth:`LossNetwork.matched_to` multiplies each layer by one number, which gives it
the root mean square that the teacher has there on the images at hand. Nothing else is touched: a
student is optimised in its own features unless its linear embeddings are asked for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.cascades import load_cascade, weights_files
from distill.embedded import TEACHER_ENCODERS
from distill.errors import UserError
from distill.inference import Layout
from distill.models import ModelSpec, model_names, parse_model
from distill.networks import TEACHER_WIDTHS, Encoder, pad_to_alignment
from distill.registry import REGISTRY
from distill.weights import load_named, read_tensors

TEACHER = "vgg16-normalised"
"""The teacher whose weights come with the project, and whose space comparisons are made in."""

_EMBEDDING = re.compile(r"(?:embedding([1-5])_1|conv([1-5])1_aux)\.(weight|bias)")
"""Tensors of the linear embeddings, by this project's name or the paper's."""


@dataclass(frozen=True)
class LossNetwork:
    """A frozen encoder whose features are compared."""

    name: str
    encoder: Encoder
    embeddings: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Weight (C_teacher, C, 1, 1) and bias of a 1x1 convolution for each layer, which takes the
    student's features into the teacher's space; empty for the encoder's own features."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """What each layer's features are multiplied by; 1 where none is given."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be compared, from shallow to deep."""
        names = (conv.name.replace("conv", "relu") for conv in self.encoder.description)
        return tuple(name for name in names if not self.embeddings or name in self.embeddings)

    def features(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features of an image (1, 3, H, W), RGB in 0..1, at the layers: each (1, C, h, w).

        Sides that are no multiples of 16 are continued by reflection, as in the quality metrics,
        so that pooling drops no border.

        Raises:
            ValueError: for a layer that is none of :attr:`layers`.
        """
        if unknown := [name for name in layers if name not in self.layers]:
            raise ValueError(f"{self.name} has no layer {unknown[0]!r}: {', '.join(self.layers)}")
        # On CPUs, convolutions convert anything else at every layer.
        memory_format = Layout.of(image.device.type, image.dtype).memory_format
        aligned = pad_to_alignment(image).contiguous(memory_format=memory_format)
        found = dict(zip(layers, self.encoder.features(aligned, layers), strict=True))
        for name, features in found.items():
            if name in self.embeddings:
                features = F.conv2d(features, *self.embeddings[name])
            found[name] = features * self.scales[name] if name in self.scales else features
        return found

    def matched_to(self, teacher: Self, images: Sequence[Tensor]) -> Self:
        """This network with scales that give each ``relu{k}_1`` the teacher's root mean square.

        Args:
            teacher: the network whose scale is taken; matched to itself, nothing changes.
            images: (1, 3, H, W) each, RGB in 0..1, on the networks' device; squares are averaged
                over the images, each counting the same.
        """
        layers = [f"relu{block}_1" for block in range(1, 1 + self.encoder.stage)]
        layers = [name for name in layers if name in self.layers and name in teacher.layers]
        plain = replace(self, scales={})
        ours, theirs = (_mean_squares(network, images, layers) for network in (plain, teacher))
        scales = {
            name: (theirs[name] / ours[name]) ** 0.5
            for name in layers
            if ours[name] > 0 and theirs[name] > 0  # a layer that is silent has no scale
        }
        return replace(self, scales=scales)

    def to(self, device: str | torch.device) -> Self:
        """The network on a device; the encoder itself is moved."""
        embeddings = {
            name: (weight.to(device), bias.to(device))
            for name, (weight, bias) in self.embeddings.items()
        }
        return replace(self, encoder=self.encoder.to(device), embeddings=embeddings)


@torch.no_grad()
def _mean_squares(
    network: LossNetwork, images: Sequence[Tensor], layers: Sequence[str]
) -> dict[str, float]:
    sums = dict.fromkeys(layers, 0.0)
    for image in images:
        for name, features in network.features(image, layers).items():
            sums[name] += features.square().mean().item() / len(images)
    return sums


def width_factor(layer: str, channels: int) -> float:
    """What makes a Gram loss over C * H * W of a narrow layer count like the teacher's.

    The mean squared difference of such Gram matrices falls with the square of the width; this is
    ``(channels / teacher's channels)^2``, 1 for the teacher.
    """
    block = int(layer.removeprefix("relu")[0])
    return (channels / TEACHER_WIDTHS[block - 1]) ** 2


def load_loss_network(name: str, *, embedded: bool = False) -> LossNetwork:
    """The loss network of a name, frozen, float32, on the CPU, its scales not matched.

    Args:
        name: registered weights such as ``vgg16-normalised``, or a model
            ``METHOD-FAMILY-RATIOx[:FOLDER]``, which means the encoder of its deepest stage.
        embedded: compare a student's features after its linear embeddings (1x1 convolutions
            learnt with it), in the teacher's space and width.

    Raises:
        UserError: for an unknown name, a model without trained weights, and for embeddings that
            the weights do not hold.
    """
    if name in REGISTRY:
        if embedded:
            raise UserError(f"{name} is a teacher and has no embeddings; leave --embedded out")
        return LossNetwork(name, load_named(name))
    try:
        spec = parse_model(name)
    except ValueError as error:
        near = "" if name.partition(":")[0] in model_names() else f" or {', '.join(REGISTRY)}"
        raise UserError(f"--model {name}: {error}{near}") from error
    cascade = load_cascade(spec)
    pair = max(cascade.pairs, key=lambda pair: pair.encoder.stage)
    teacher = spec.ratio == 1 and spec.family in TEACHER_ENCODERS  # if only its decoders are drawn
    if cascade.weights == "random" and not teacher:
        raise UserError(
            f"--model {name}: has no trained weights in this version, and a random network judges "
            f"nothing; name a folder of weights ({name}:FOLDER) or one of {', '.join(REGISTRY)}"
        )
    embeddings = _embeddings(spec, pair.encoder) if embedded else {}
    return LossNetwork(name, pair.encoder, embeddings)


def _embeddings(spec: ModelSpec, encoder: Encoder) -> dict[str, tuple[Tensor, Tensor]]:
    """Embeddings of ``relu1_1`` to the encoder's last layer, from the encoder's own file."""
    if spec.weights is None:
        raise UserError(
            f"--embedded: {spec} comes without embeddings; name a folder of weights: {spec}:FOLDER"
        )
    path = weights_files(spec)[spec.stages.index(encoder.stage)][0]
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in read_tensors(path)[0].items():
        if match := _EMBEDDING.fullmatch(key):
            layer = f"relu{match[1] or match[2]}_1"
            parts.setdefault(layer, {})[match[3]] = tensor.float()
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for block, width in enumerate(encoder.widths, start=1):
        layer = f"relu{block}_1"
        weight, bias = (parts.get(layer, {}).get(part) for part in ("weight", "bias"))
        if weight is None or bias is None:
            raise UserError(
                f"--embedded: {path} holds no embedding{block}_1.weight and .bias; only students "
                "trained with embeddings do"
            )
        if weight.dim() != 4 or weight.shape[1:] != (width, 1, 1) or len(weight) != len(bias):
            raise UserError(
                f"{path}: embedding{block}_1 is {tuple(weight.shape)}, not a 1x1 convolution of "
                f"{width} channels"
            )
        found[layer] = (weight, bias)
    return found

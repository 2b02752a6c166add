"""Weights that have a name: where they come from, and what their files hash to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NamedWeights:
    """One entry of the registry: a VGG encoder's weights, to relu5_1."""

    name: str
    family: Literal["vgg16", "vgg19"]
    source: Literal["embedded", "download"]
    digest: str
    """SHA-256, or (download) the first digits of it that its publisher states."""
    about: str
    licence: str
    torchvision: str | None = None
    """Name of torchvision's entry, which knows the address."""


REGISTRY: Mapping[str, NamedWeights] = {
    entry.name: entry
    for entry in (
        NamedWeights(
            "vgg16-normalised",
            "vgg16",
            "embedded",
            "9957bbdecb1a5d35e6e5828a01964aa232f2806903584a558311b63f166ff7e6",
            "VGG-16 (ImageNet, the authors' own), mean activations 1, takes RGB in 0..1",
            "CC BY 4.0, Oxford VGG",
        ),
        NamedWeights(
            "vgg16-torchvision",
            "vgg16",
            "download",
            "397923af",
            "VGG-16 (ImageNet) as trained by torchvision, not normalised",
            "BSD-3-Clause",
            "VGG16_Weights.IMAGENET1K_V1",
        ),
        NamedWeights(
            "vgg19-torchvision",
            "vgg19",
            "download",
            "dcbb9e9d",
            "VGG-19 (ImageNet) as trained by torchvision, not normalised",
            "BSD-3-Clause",
            "VGG19_Weights.IMAGENET1K_V1",
        ),
    )
}

"""The embedded VGG as a feature extractor that torch-fidelity knows by name.

``calculate_metrics(feature_extractor="vgg16-normalised-gap", ...)`` takes it once this module is
imported. What comes of it is no FID: call it ``fd_vgg``, ``kd_vgg``.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from bench.quality.set_metrics import NETWORKS
from distill.weights import load_named

_FACTS = NETWORKS["vgg"]
SIDE = _FACTS.side
LAYERS = ("relu4_1", "relu5_1")


class EmbeddedVgg(FeatureExtractorBase):  # type: ignore[misc]  # torch-fidelity has no types
    """Global averages of VGG-16's ``relu4_1`` and ``relu5_1`` (512 channels each), scaled.

    The averages of an image and layer are scaled to a mean square of 1, so that x.y / D in the
    polynomial kernel is their cosine. Averages after a ReLU have long tails: unscaled, a few images
    decide the kernel's third power, and 45 photographs cannot be told from 45 paintings.

    Images are brought to 256x256, the aspect ratio not kept, by bilinear interpolation with
    antialiasing; this is what they are judged at, whatever their own size.
    """

    INPUT_IMAGE_SIZE = SIDE

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)
        self.encoder = load_named(_FACTS.weights)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features (B, 512) for each layer asked for, of uint8 images (B, 3, H, W), RGB."""
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images are uint8 (B, 3, H, W); got {images.dtype} {tuple(images.shape)}"
            )
        small = images.float().div_(255)
        if images.shape[-2:] != (SIDE, SIDE):
            small = F.interpolate(
                small, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
            )
        found = self.encoder.features(small, self.features_list)
        return tuple(_scaled(layer.mean((2, 3))) for layer in found)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The layers there are."""
        return LAYERS

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """``relu5_1`` for distances; there are no classes for an inception score.

        Raises:
            ValueError: for ``isc``.
        """
        if metric == "isc":
            raise ValueError(
                f"{_FACTS.extractor} has no classes, which an inception score is made of"
            )
        return _FACTS.layer

    @staticmethod
    def can_be_compiled() -> bool:
        """False: layers are looked up by name."""
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """An image of the right kind."""
        return torch.zeros((1, 3, SIDE, SIDE), dtype=torch.uint8)


def _scaled(features: Tensor) -> Tensor:
    return features / features.square().mean(1, keepdim=True).sqrt().clamp(min=1e-12)


register_feature_extractor(_FACTS.extractor, EmbeddedVgg)

"""Content and style losses on a fixed reference network.

Definitions (each record names the network):

- content loss: mean squared difference of the features at ``relu4_1`` of output and content
  (Johnson et al. 2016, with the layer of Huang and Belongie 2017);
- style loss at a layer: mean squared difference of the Gram matrices of output and style, each
  normalised by C * H * W (Wang et al. 2020); the total is the sum over ``relu1_1`` .. ``relu5_1``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.networks import Encoder, pad_to_alignment
from distill.weights import load_named

CONTENT_LAYER = "relu4_1"
STYLE_LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))


@dataclass(frozen=True)
class ImageFeatures:
    """What the losses compare of one image."""

    content: Tensor
    """Features at the content layer, (1, C, H, W)."""
    grams: dict[str, Tensor]
    """Gram matrix of each style layer, (C, C)."""


def gram(features: Tensor) -> Tensor:
    """Gram matrix (C, C) of features (1, C, H, W), over C * H * W."""
    matrix = features.flatten(2)[0]
    return matrix @ matrix.T / features[0].numel()


class ReferenceLosses:
    """The losses on one reference network.

    Args:
        network: name of registered weights, such as ``vgg16-normalised``.
        device: where to compute.
    """

    def __init__(self, network: str, device: str) -> None:
        self.network = network
        self._encoder: Encoder = load_named(network).to(device)

    @torch.inference_mode()
    def features(self, image: Tensor) -> ImageFeatures:
        """What the losses compare of an image (1, 3, H, W), RGB in 0..1."""
        layers = self._encoder.features(pad_to_alignment(image), STYLE_LAYERS)
        found = dict(zip(STYLE_LAYERS, layers, strict=True))
        grams = {layer: gram(features) for layer, features in found.items()}
        return ImageFeatures(found[CONTENT_LAYER], grams)

    @staticmethod
    def content_loss(output: ImageFeatures, content: ImageFeatures) -> float:
        """Content loss, 0 upwards; both images of one size."""
        return torch.mean((output.content - content.content) ** 2).item()

    @staticmethod
    def style_losses(output: ImageFeatures, style: ImageFeatures) -> dict[str, float]:
        """Style loss of each layer, 0 upwards; the images may differ in size."""
        return {
            layer: torch.mean((output.grams[layer] - style.grams[layer]) ** 2).item()
            for layer in STYLE_LAYERS
        }

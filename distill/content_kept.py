"""Whether a stylised picture still shows its content: likeness of the two pictures' layouts.

A style changes what features are, but not which places of a picture are alike: a roof is like the
roof beside it and unlike the sky, whatever colours and strokes they are given. So each picture is
described by the cosines between its own places (self-similarity, as in the content loss of Kolkin
et al. 2019), on features at ``relu4_1`` of ``vgg16-normalised``, and *content kept* is the
correlation of the two descriptions: 1 for the picture itself, about 0.1 for noise, 0.1 to 0.3 for a
painting that has nothing to do with it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.networks import Encoder, pad_to_alignment
from distill.weights import load_named

NETWORK, STAGE = "vgg16-normalised", 4
SIDE = 256
"""Pictures are brought to this longer side, pixels: the measure is of layout, not of strokes."""
KEPT = 0.4
"""Content kept from here on. Of pictures looked at (eight pairs at 512x512), those whose subject
nobody could name had 0.21 to 0.36, the style images themselves 0.10 to 0.31, those whose subject
can be named 0.44 to 0.92."""


class ContentKept:
    """The measure, with its network.

    Args:
        device: where to compute.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._encoder: Encoder = load_named(NETWORK, STAGE).to(device).requires_grad_(False)

    def __call__(self, output: Tensor, content: Tensor) -> float:
        """Measure a stylised picture against its content.

        Args:
            output: (1, 3, H, W), RGB in 0..1.
            content: of its shape.

        Returns:
            -1 to 1; 1 for pictures of one layout. 0 where one of them is the same everywhere.

        Raises:
            ValueError: for pictures of two shapes.
        """
        if output.shape != content.shape:
            raise ValueError(
                f"an output is as large as its content; got {tuple(output.shape)} and "
                f"{tuple(content.shape)}"
            )
        ours, theirs = self._layout(output), self._layout(content)
        return float((ours * theirs).sum().clamp(-1, 1))

    @torch.inference_mode()
    def _layout(self, image: Tensor) -> Tensor:
        """Cosines between the places of a picture, standardised: (places, places)."""
        scale = SIDE / max(image.shape[-2:])
        size = [max(16, round(side * scale)) for side in image.shape[-2:]]
        small = F.interpolate(image.float(), size=size, mode="area")
        features = self._encoder(pad_to_alignment(small))[0].flatten(1)
        places = F.normalize(features - features.mean(1, keepdim=True), dim=0, eps=1e-6)
        cosines = places.T @ places
        centred = cosines - cosines.mean()
        norm: Tensor = centred.norm()
        # Of a flat picture only rounding is left.
        return centred / norm if norm > 1e-3 * len(centred) else torch.zeros_like(centred)

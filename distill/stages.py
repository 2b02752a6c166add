"""A cascade ready to run on whole images: the fast networks, and the match between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from distill.cascades import CascadeNetworks, Pair
from distill.inference import FastDecoder, FastEncoder, Layout
from distill.models import Method
from distill.networks import pad_to_alignment
from distill.transforms import ChannelAffine, FeatureStats, color, rescale, standardize, whiten


@dataclass(frozen=True)
class Stage:
    """One encoder and decoder, and the two halves of the match between them."""

    encoder: FastEncoder
    decoder: FastDecoder
    normalize: Callable[[FeatureStats], ChannelAffine]
    """From the content's statistics to the map that makes them standard."""
    restyle: Callable[[FeatureStats], ChannelAffine]
    """From the style's statistics to the map from standard to the style's."""


StyleCode = tuple[ChannelAffine, ...]
"""What a style image comes down to: the restyling map of each stage."""


def build_stages(networks: CascadeNetworks, method: Method, layout: Layout) -> tuple[Stage, ...]:
    """The stages of a model, in the order they run."""
    return tuple(
        Stage(FastEncoder(p.encoder, layout), FastDecoder(p.decoder, layout), *_match(method, p))
        for p in networks.pairs
    )


def _match(
    method: Method, pair: Pair
) -> tuple[Callable[[FeatureStats], ChannelAffine], Callable[[FeatureStats], ChannelAffine]]:
    """The two halves of a stage's match."""
    if method == "adain":
        return standardize, rescale
    return partial(whiten, ridge=pair.ridge), partial(color, ridge=pair.ridge)


@torch.inference_mode()
def encode_style(stages: Sequence[Stage], style: Tensor) -> StyleCode:
    """What the stages need to know of a style (1, 3, H, W), RGB in 0..1."""
    padded = pad_to_alignment(style)
    return tuple(stage.restyle(FeatureStats.of(stage.encoder([padded]))) for stage in stages)


@torch.inference_mode()
def stylize_whole(stages: Sequence[Stage], content: Tensor, style: StyleCode) -> Tensor:
    """The content in the full style, all of it at once.

    Args:
        stages: from :func:`build_stages`.
        content: (1, 3, H, W), RGB in 0..1, of any size.
        style: from :func:`encode_style`.

    Returns:
        (1, 3, H, W), RGB, in the networks' type, not yet clamped to 0..1: a network that overflows
        can be told from one that paints white.
    """
    height, width = content.shape[-2:]
    box = [pad_to_alignment(content)]
    for stage, restyle in zip(stages, style, strict=True):
        box.append(stage.encoder(box))
        match = restyle.after(stage.normalize(FeatureStats.of(box[0])))
        box.append(stage.decoder(box, match))
    return box.pop()[..., :height, :width]


@torch.inference_mode()
def rebuild(stage: Stage, image: Tensor) -> Tensor:
    """decoder(encoder(image)) of one stage, clamped: (1, 3, H, W) to the same, RGB in 0..1."""
    height, width = image.shape[-2:]
    box = [stage.encoder([pad_to_alignment(image)])]
    return stage.decoder(box)[..., :height, :width].clamp(0, 1)

"""Thumbnail: URST's scheme, which reaches any size by changing the result, to compare against.

Chen et al., "Towards Ultra-Resolution Neural Style Transfer via Thumbnail Instance Normalization",
AAAI 2022: the statistics are taken from a small copy of the image, and the image is run in patches
with those. A patch sees 32 px beyond its edges, less than the networks do, and begins wherever the
grid puts it, not on the networks' pooling grid; so its edges differ too.

Where this departs from the authors' code: a patch ends at the image's own borders, where the
networks reflect as they do in every execution, instead of being reflected by 32 px beforehand; and
the sides of a patch are reflected up to a multiple of 16, instead of rounded down by the pooling
and stretched afterwards.
"""

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.networks import pad_to_alignment
from distill.transforms import ChannelAffine, FeatureStats

if TYPE_CHECKING:
    from bench.stylizers.cascade import Stylizer
    from distill.stages import StyleCode

PATCH = 1000
"""Side in px of a square patch; patches of another shape have its area at most, padding apart."""
PADDING = 32
"""Pixels of its neighbours that a patch is run with."""
THUMBNAIL = 1024
"""Height of the thumbnail in px."""


def run_thumbnail(
    stylizer: "Stylizer",
    content: Tensor,
    style: "StyleCode",
    alpha: float,
    *,
    patch: int = PATCH,
    padding: int = PADDING,
    thumbnail: int = THUMBNAIL,
) -> Tensor:
    """Run the stages patch by patch with a thumbnail's statistics; see :meth:`Stylizer.stylize`.

    The same as whole execution for an image that is one patch and not higher than the thumbnail.

    Args:
        stylizer: the cascade.
        content: (1, 3, H, W), RGB in 0..1.
        style: from :meth:`Stylizer.encode_style`.
        alpha: strength of the style, 0..1.
        patch: side in px of a square patch; see :func:`patch_edges`.
        padding: px of its neighbours that a patch is run with.
        thumbnail: height of the thumbnail in px; a lower image is its own.
    """
    maps = thumbnail_maps(stylizer, content, style, alpha, thumbnail=thumbnail)
    return run_patches(stylizer, content, maps, patch=patch, padding=padding)


def run_patches(
    stylizer: "Stylizer",
    content: Tensor,
    maps: Sequence[ChannelAffine],
    *,
    patch: int = PATCH,
    padding: int = PADDING,
) -> Tensor:
    """Run the stages patch by patch with a given map each; as :func:`run_thumbnail`."""
    layout = stylizer.layout
    height, width = content.shape[-2:]
    output = torch.empty(
        (1, 3, height, width),
        dtype=layout.dtype,
        device=layout.device,
        memory_format=layout.memory_format,
    )
    rows, columns = patch_edges(width, height, patch)
    for (top, bottom), (left, right) in product(pairwise(rows), pairwise(columns)):
        y, x = max(0, top - padding), max(0, left - padding)
        box = [layout.place(content[..., y : bottom + padding, x : right + padding])]
        size = box[0].shape[-2:]
        box.append(pad_to_alignment(box.pop()))
        for stage, match in zip(stylizer.stages, maps, strict=True):
            box.append(stage.encoder(box))
            box.append(stage.decoder(box, match))
        result = box.pop()[..., : size[0], : size[1]]
        inner = result[..., top - y : bottom - y, left - x : right - x]
        output[..., top:bottom, left:right] = inner.clamp_(0, 1)
    return output


def patch_edges(width: int, height: int, patch: int = PATCH) -> tuple[list[int], list[int]]:
    """Where patches meet, in lines and in columns, the image's borders included.

    As in the authors' code the grid has as many rows as columns: the fewest with which no patch has
    more than ``patch`` squared pixels.
    """
    count = math.ceil(math.sqrt(width * height / patch**2))
    return _edges(height, count), _edges(width, count)


def _edges(length: int, count: int) -> list[int]:
    step = math.ceil(length / count)
    return [*range(0, length, step), length]


def shrink(content: Tensor, height: int = THUMBNAIL) -> Tensor:
    """The image (1, 3, H, W) scaled to a height, by antialiased cubics as the authors' code does.

    An image that is not higher is returned as it is.
    """
    full_height, full_width = content.shape[-2:]
    if full_height <= height:
        return content
    size = (height, max(1, full_width * height // full_height))
    # Channel by channel: what lies between the two directions is as high as the image.
    channels = [
        F.interpolate(channel.float(), size, mode="bicubic", antialias=True)
        for channel in torch.split(content, 1, 1)
    ]
    return torch.cat(channels, 1).clamp_(0, 1)


def thumbnail_maps(
    stylizer: "Stylizer",
    content: Tensor,
    style: "StyleCode",
    alpha: float,
    *,
    thumbnail: int = THUMBNAIL,
) -> list[ChannelAffine]:
    """The map of each stage, from the thumbnail's own way through the cascade.

    As :func:`run_thumbnail`.
    """
    maps: list[ChannelAffine] = []
    box = [pad_to_alignment(stylizer.layout.place(shrink(content, thumbnail)))]
    for stage, restyle in zip(stylizer.stages, style, strict=True):
        box.append(stage.encoder(box))
        maps.append(restyle.after(stage.normalize(FeatureStats.of(box[0]))).blend(alpha))
        if len(maps) < len(stylizer.stages):
            box.append(stage.decoder(box, maps[-1]))
    return maps

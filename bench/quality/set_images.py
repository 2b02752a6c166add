"""Sets of images as an extractor of features takes them: one uint8 tensor after the other."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.image_specs import expand_images
from bench.images import read_image

ImageSet = str | Path | Iterable[str | Path | Tensor]
"""A folder, glob or file; or paths; or uint8 tensors (3, H, W) or (B, 3, H, W), RGB.

Sizes may differ. A folder's images come by name, those of folders in it not at all.
"""

BATCH_PIXELS = 4 * 2**20
"""A batch holds at most this many pixels, or one image."""


def read_set(images: ImageSet, role: str, *, side: int | None = None) -> Iterator[Tensor]:
    """The images of a set in their order, one at a time, as uint8 (3, H, W), RGB.

    Args:
        images: see :data:`ImageSet`.
        role: what messages call the set, such as ``outputs``.
        side: bring each to this many pixels a side first, bicubic with antialiasing, the aspect
            ratio not kept.

    Raises:
        UserError: for a file that is missing or no image, or a folder without any.
        ValueError: for tensors of another type or shape.
    """
    found: Iterable[str | Path | Tensor]
    if isinstance(images, str | Path):
        found = expand_images(str(images), key=role, base=Path())
    elif isinstance(images, Tensor):
        found = [images]
    else:
        found = images
    for item in found:
        for image in _tensors(item, role):
            yield image if side is None else _resized(image, side)


def _tensors(item: str | Path | Tensor, role: str) -> Iterable[Tensor]:
    if not isinstance(item, Tensor):
        return (torch.from_numpy(read_image(item)).permute(2, 0, 1),)
    if item.dtype != torch.uint8 or item.dim() not in (3, 4) or item.shape[-3] != 3:
        raise ValueError(
            f"{role}: images are uint8 tensors (3, H, W) or (B, 3, H, W), RGB; got {item.dtype} "
            f"{tuple(item.shape)}"
        )
    return (item,) if item.dim() == 3 else item


def _resized(image: Tensor, side: int) -> Tensor:
    if image.shape[-2:] == (side, side):
        return image
    small = F.interpolate(
        image[None].float(), (side, side), mode="bicubic", align_corners=False, antialias=True
    )
    return small[0].round_().clamp_(0, 255).to(torch.uint8)


def batches(images: Iterable[Tensor], limit: int) -> Iterator[Tensor]:
    """Neighbours of one size as (B, 3, H, W), at most ``limit`` of them and ``BATCH_PIXELS``."""
    held: list[Tensor] = []
    for image in images:
        if held and (
            image.shape != held[0].shape
            or len(held) >= limit
            or (len(held) + 1) * image[0].numel() > BATCH_PIXELS
        ):
            yield torch.stack(held)
            held = []
        held.append(image)
    if held:
        yield torch.stack(held)

"""Metrics of images too large for their network, by tiles."""

from collections.abc import Callable, Iterator
from itertools import pairwise

from torch import Tensor

TILE = 1024
"""Longest side of a tile, pixels."""
WHOLE = 2048 * 2048
"""Pixels up to which an image is not cut."""
_GRID = 16


def tile_slices(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of tiles that cover an image once, nearly equal in size.

    One tile up to ``WHOLE`` pixels; else sides are cut into the fewest parts of at most ``TILE``
    (and up to 8 more, since cuts are at multiples of 16).
    """
    if height * width <= WHOLE:
        yield slice(0, height), slice(0, width)
        return
    for rows in _parts(height):
        for columns in _parts(width):
            yield rows, columns


def _parts(side: int) -> list[slice]:
    count = -(-side // TILE)
    cuts = [_GRID * round(side * i / count / _GRID) for i in range(count)] + [side]
    return [slice(start, end) for start, end in pairwise(cuts)]


def tiled_mean(measure: Callable[[Tensor, Tensor], float], first: Tensor, second: Tensor) -> float:
    """``measure`` of two images (1, 3, H, W): the mean over tiles, weighted by their pixels.

    ``second`` may lie on another device: its tiles are moved to the first's.
    """
    height, width = first.shape[-2:]
    total = 0.0
    for rows, columns in tile_slices(height, width):
        one, other = first[..., rows, columns], second[..., rows, columns].to(first.device)
        total += measure(one, other) * one.shape[-2] * one.shape[-1]
    return total / (height * width)

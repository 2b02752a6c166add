"""Which pictures are stylised with which styles."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

C = TypeVar("C")
S = TypeVar("S")


def image_pairs(contents: Sequence[C], styles: Sequence[S], limit: int) -> list[tuple[C, S]]:
    """At most ``limit`` distinct pairs of content and style, each image used evenly.

    Both lists go round; when their rounds end together, the styles move on by one.
    """
    period = math.lcm(len(contents), len(styles))
    return [
        (contents[i % len(contents)], styles[(i + i // period) % len(styles)])
        for i in range(min(limit, len(contents) * len(styles)))
    ]


def draw_pairs(contents: int, styles: int, count: int, *, seed: int) -> list[tuple[int, int]]:
    """``count`` distinct pairs of indices (content, style), drawn in a seed's order.

    Each image is used evenly: up to ``contents`` pairs, no content comes twice. Sorted by style, so
    that what is computed of a style is needed once only.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(contents).tolist(), rng.permutation(styles).tolist()
    return sorted(image_pairs(*order, count), key=lambda pair: (pair[1], pair[0]))

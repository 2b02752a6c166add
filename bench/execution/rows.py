"""Images as rows that come and go in bands, wherever they lie."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from distill.inference import Layout
from distill.networks import ALIGNMENT, reflect_index, reflect_pad


class RowSource(Protocol):
    """An image that can be read from top to bottom, more than once."""

    @property
    def width(self) -> int:
        """In pixels."""

    @property
    def height(self) -> int:
        """In pixels."""

    def bands(self, rows: int) -> Iterator[Tensor]:
        """The image in bands (1, 3, ``rows`` or fewer at the end, W), RGB in 0..1, in order."""


class RowSink(Protocol):
    """Something that takes an image from top to bottom."""

    def write(self, rows: Tensor) -> None:
        """Take the next band (1, 3, h, W), RGB in 0..1."""


class TensorSource:
    """An image in memory, (1, 3, H, W)."""

    def __init__(self, image: Tensor) -> None:
        self._image = image
        self.height, self.width = image.shape[-2:]

    def bands(self, rows: int) -> Iterator[Tensor]:
        """Views of the image."""
        for top in range(0, self.height, rows):
            yield self._image[:, :, top : top + rows]


class TensorSink:
    """An image in memory to be filled: ``image``, (1, 3, H, W)."""

    def __init__(self, width: int, height: int, layout: Layout) -> None:
        self.image = torch.empty(
            (1, 3, height, width),
            dtype=layout.dtype,
            device=layout.device,
            memory_format=layout.memory_format,
        )
        self._filled = 0

    def write(self, rows: Tensor) -> None:
        """Copy the next band into its place."""
        self.image[:, :, self._filled : self._filled + rows.shape[2]] = rows
        self._filled += rows.shape[2]


def padded_size(width: int, height: int) -> tuple[int, int]:
    """Width and height that the networks work on."""
    return width + -width % ALIGNMENT, height + -height % ALIGNMENT


def padded_bands(source: RowSource, rows: int, layout: Layout) -> Iterator[Tensor]:
    """The source's bands in a layout, reflected at the right and below to the alignment."""
    width, height = padded_size(source.width, source.height)
    tail: Tensor | None = None
    for given in source.bands(rows):
        band = reflect_pad(layout.place(given), 0, width - source.width, 0, 0)
        yield band
        # No reflection reaches further up than the alignment.
        tail = band if tail is None else torch.cat((tail, band), 2)
        tail = tail[:, :, -ALIGNMENT:].clone()
    if height > source.height and tail is not None:
        lines = reflect_index(source.height, 0, height - source.height)[source.height :]
        yield tail.index_select(2, (lines - source.height + tail.shape[2]).to(tail.device))

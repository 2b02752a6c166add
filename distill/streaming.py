"""Networks over bands of rows: any height in bounded memory, and nothing computed twice.

A network is a chain of steps, and each needs of the image only three neighbouring lines. So rows
can be pushed through it band by band: every step keeps the last two lines it was given and joins
them to the next band. The result is that of the whole image, with reflection at its true borders
alone, whatever the heights of the bands.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from distill.inference import Layout, Step


class _StreamedStep:
    """A step that remembers what the next band will need of the last."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._odd: Tensor | None = None
        """A line that waits for the other half of its pooling window."""
        self._lines: Tensor | None = None
        """The last two lines given to the convolution; one while that is all there is."""
        self._started = False
        # What lies beyond a border: its own line before upsampling, the one inside it elsewhere.
        self._inside = 0 if step.before == "transpose" else 1

    def push(self, rows: Tensor) -> Tensor | None:
        """The lines that can be computed now, or None."""
        if self._step.before == "pool":
            rows = rows if self._odd is None else torch.cat((self._odd, rows), 2)
            even = rows.shape[2] // 2 * 2
            self._odd = rows[:, :, even:].clone() if even < rows.shape[2] else None
            rows = rows[:, :, :even]
            if not even:
                return None
        rows = self._step.prepare(rows)
        lines = rows if self._lines is None else torch.cat((self._lines, rows), 2)
        if not self._started:
            if lines.shape[2] == 1:
                # Reflection at the top needs the second line, if there is one.
                self._lines = lines.clone()
                return None
            self._started = True
            lines = torch.cat((lines[:, :, self._inside : self._inside + 1], lines), 2)
        self._lines = lines[:, :, -2:].clone()
        return self._step.convolve(lines, vertical=False)

    def finish(self) -> Tensor | None:
        """What the last line comes to, with the border below it; None if there was no line."""
        lines, self._lines = self._lines, None
        if lines is None:
            return None
        if not self._started:
            lines = torch.cat((lines, lines, lines), 2)
        else:
            lines = torch.cat((lines, lines[:, :, 1 - self._inside : 2 - self._inside]), 2)
        return self._step.convolve(lines, vertical=False)


class StreamedNetwork:
    """Steps over an image that comes in bands, from top to bottom: push them, then finish.

    Args:
        steps: of a :class:`~distill.inference.FastEncoder` or ``FastDecoder``.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = [_StreamedStep(step) for step in steps]

    def push(self, box: list[Tensor]) -> Tensor | None:
        """Lines (1, C, h', W') that can be computed from the band (1, C, h, W) in ``box``, if any.

        The band is taken out of the box, and freed early if nobody else holds it.
        """
        return self._push(box, 0)

    def finish(self) -> Iterator[Tensor]:
        """The lines that waited for those below them, in bands.

        One step after the other: all at once they would be a band as high as the image is seen
        from one of its lines, which is far more than a low band takes.
        """
        for index, step in enumerate(self._steps, start=1):
            last = step.finish()
            if last is not None:
                box = [last]
                del last
                rows = self._push(box, index)
                if rows is not None:
                    yield rows

    def _push(self, box: list[Tensor], first: int) -> Tensor | None:
        rows = box.pop()
        for step in self._steps[first:]:
            result = step.push(rows)
            if result is None:
                return None
            rows = result
        return rows


def stream(steps: Sequence[Step], bands: Iterable[Tensor]) -> Iterator[Tensor]:
    """Bands of an image, from top to bottom, through a network, lazily."""
    network = StreamedNetwork(steps)
    for band in bands:
        result = network.push([band])
        if result is not None:
            yield result
    yield from network.finish()


def band_bytes(steps: Sequence[Step], layout: Layout, width: int, rows: int) -> int:
    """Most memory that a band of ``rows`` input lines takes on its way, in bytes.

    Counted: for the step that needs most, its input, the joined copy and its output; and the two
    lines that every step keeps. Not counted: the weights and what the convolutions allocate.
    """
    item = layout.dtype.itemsize
    peak, kept = 0, 0
    for step in steps:
        transposed = step.before == "transpose"
        inputs, outputs = step.weight.shape[:2] if transposed else step.weight.shape[1::-1]
        given = inputs * rows * width
        if step.before == "pool":
            rows, width = rows // 2 or 1, width // 2
        elif step.before == "upsample":
            rows, width = 2 * rows, 2 * width
        joined = inputs * (rows + 3) * (width + 2)
        if transposed:
            rows, width = 2 * rows, 2 * width
            joined *= 2
        peak = max(peak, given + joined + outputs * (rows + 3) * width)
        kept += 2 * inputs * width
    return (peak + kept) * item

"""Networks over bands of rows: any height in bounded memory, and nothing computed twice.

A network is a chain of steps, and each needs of the image only three neighbouring lines. So rows
can be pushed through it band by band: every step keeps the last two lines it was given and joins
them to the next band. The result is that of the whole image, with reflection at its true borders
alone, whatever the heights of the bands.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.inference import Layout, Step


class _StreamedStep:
    """A step that remembers what the next band will need of the last."""

    def __init__(self, step: Step, height: int) -> None:
        self._step = step
        # Heights after the preparation, which is what the convolution and its borders see.
        self._height = {"pool": height // 2, "upsample": 2 * height}.get(step.before, height)
        self._taken = 0
        self._odd: Tensor | None = None
        """A line that waits for the other half of its pooling window."""
        self._lines: Tensor | None = None
        """The last two lines given to the convolution; one while that is all there is."""
        self._started = False
        # What lies beyond a border: its own line before upsampling, the one inside it elsewhere.
        self._inside = 0 if step.before == "transpose" or self._height == 1 else 1

    @property
    def height_out(self) -> int:
        return 2 * self._height if self._step.before == "transpose" else self._height

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
        self._taken += rows.shape[2]
        last = self._taken == self._height
        lines = rows if self._lines is None else torch.cat((self._lines, rows), 2)
        if not self._started:
            if lines.shape[2] == 1 and not last:
                # Reflection at the top needs the second line.
                self._lines = lines.clone()
                return None
            self._started = True
            beyond = lines[:, :, self._inside : self._inside + 1]
            lines = torch.cat((beyond, lines), 2)
        if last:
            beyond = lines[:, :, lines.shape[2] - 1 - self._inside :][:, :, :1]
            lines = torch.cat((lines, beyond), 2)
        self._lines = lines[:, :, -2:].clone()
        return self._step.convolve(lines, vertical=False)


class StreamedNetwork:
    """Steps over an image of known height that comes in bands, from top to bottom.

    Args:
        steps: of a :class:`~distill.inference.FastEncoder` or ``FastDecoder``.
        height: of the whole input, in its own lines.
    """

    def __init__(self, steps: Sequence[Step], height: int) -> None:
        self._steps = []
        for step in steps:
            self._steps.append(_StreamedStep(step, height))
            height = self._steps[-1].height_out
        self.height_out = height

    def push(self, box: list[Tensor]) -> Tensor | None:
        """Lines (1, C, h', W') that can be computed from the band (1, C, h, W) in ``box``, if any.

        The band is taken out of the box, and freed early if nobody else holds it.
        """
        rows = box.pop()
        for step in self._steps:
            result = step.push(rows)
            if result is None:
                return None
            rows = result
        return rows


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

"""What an operation costs: multiply-accumulates, and bytes read and written.

The least that the operation must do, by the shapes of its tensors: caches may save traffic, and
kernels may compute or move more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.prediction.shapes import CONVOLUTION, TRANSPOSED, ShapeTensor

LANES = {"cpu": 16, "cuda": 32}
"""Output channels that a convolution's kernel computes at a time, by device: 3 cost what 16 do.

CPU: float32 lanes of AVX-512, and oneDNN's blocks. CUDA: the narrowest tiles of cuDNN's implicit
matrix products; not yet compared with a measurement.
"""


FRESH = 32 << 20
"""Bytes of a block from which on a CPU's memory is mapped for it alone, whatever was freed before:
the most that glibc's ``M_MMAP_THRESHOLD`` grows to."""


@dataclass(frozen=True, slots=True)
class Work:
    """Costs that add up."""

    macs: float = 0.0
    """Multiply-accumulates of convolutions and matrix products."""
    lane_macs: float = 0.0
    """The same, with the output channels of convolutions rounded up to what kernels work on."""
    bytes: float = 0.0
    """Read and written."""
    fresh_bytes: float = 0.0
    """Of blocks that the system hands out anew each time and clears: from ``FRESH`` on."""
    launches: float = 0.0
    """Operations."""

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.macs + other.macs,
            self.lane_macs + other.lane_macs,
            self.bytes + other.bytes,
            self.fresh_bytes + other.fresh_bytes,
            self.launches + other.launches,
        )

    def __sub__(self, other: "Work") -> "Work":
        return self + -1.0 * other

    def __rmul__(self, factor: float) -> "Work":
        return Work(
            factor * self.macs,
            factor * self.lane_macs,
            factor * self.bytes,
            factor * self.fresh_bytes,
            factor * self.launches,
        )


_NONE = Work()
_PRODUCTS = ("aten::mm", "aten::bmm", "aten::mv")


def work_of(name: str, inputs: Sequence[ShapeTensor], outputs: Sequence[ShapeTensor]) -> Work:
    """What one operation costs.

    Args:
        name: as in :meth:`bench.prediction.shapes.Observer.ran`.
        inputs: its tensors; of a convolution the map, the weight and perhaps the bias.
        outputs: what it makes or writes to.
    """
    # Making room for a tensor moves nothing.
    if name.startswith("aten::empty"):
        return _NONE
    output = outputs[0]
    moved = _bytes(output)
    for tensor in inputs:
        if tensor is not output:
            moved += _bytes(tensor)
    if name in (CONVOLUTION, TRANSPOSED):
        x, weight = inputs[0], inputs[1]
        # In a transposed convolution every input meets the whole kernel, else every output does.
        over = x if name == TRANSPOSED else output
        channels = int(output.shape[1])
        macs = float(over.numel() // over.shape[1] * weight.numel())
        lanes = LANES.get(output.claimed.type, 1)
        return Work(macs, macs / channels * (channels + -channels % lanes), moved, 0.0, 1.0)
    if name in _PRODUCTS:
        a = inputs[-2]
        macs = float(output.numel() * a.shape[-1])
        return Work(macs, macs, moved, 0.0, 1.0)
    return Work(0.0, 0.0, moved, 0.0, 1.0)


def _bytes(tensor: ShapeTensor) -> int:
    on_meta = tensor.on_meta
    return on_meta.numel() * on_meta.element_size()

"""What kernels allocate for themselves: unseen by shapes alone, seen in the process's memory.

Found by comparing the allocations that ``torch.profiler`` records of each kernel with those that
follow from its outputs (PyTorch 2.15, oneDNN 3.13). Each lives as long as its operation.
"""

from collections.abc import Sequence

from bench.prediction.shapes import CONVOLUTION, TRANSPOSED, ShapeTensor


def workspace_bytes(
    name: str, inputs: Sequence[ShapeTensor], outputs: Sequence[ShapeTensor]
) -> list[int]:
    """Blocks that one operation allocates beside its outputs, in bytes.

    CPUs with AVX2 or more only: below, oneDNN's convolutions gather their input first, for each
    thread its part, which is not counted. What cuDNN takes depends on the algorithm that it picks,
    and is measured instead (see :mod:`bench.prediction.calibration`).

    Args:
        name: as in :meth:`bench.prediction.shapes.Observer.ran`.
        inputs: tensors of the operation.
        outputs: what it makes or writes to.
    """
    if not outputs or outputs[0].device.type != "cpu":
        return []
    if name in (CONVOLUTION, TRANSPOSED):
        # Weights are brought into oneDNN's blocked order by every call; a transposed convolution
        # copies its input into the order that it wants, too.
        x, weight = inputs[:2]
        return [_bytes(weight), _bytes(x)] if name == TRANSPOSED else [_bytes(weight)]
    return []


def _bytes(tensor: ShapeTensor) -> int:
    return int(tensor.numel()) * tensor.dtype.itemsize

"""Peak memory of a pass, in the terms of the counter that a record has it in.

On CUDA the allocator's own count is predicted, which a trace gives but for the workspaces of cuDNN.
On a CPU it is the growth of the resident set. That is measured while large blocks are mapped by
themselves (:mod:`bench.measure.heap`), so it is what a pass holds at one time, and what libraries
take.

The constants were learnt from 40 measured cells of both methods, three ratios and all executions,
float32 and bfloat16, from 0.3 to 4 MP, on one machine (glibc 2.36, PyTorch 2.15, oneDNN 3.13).
``tests/performance/prediction_accuracy.py`` compares them with cells of any machine.
"""

from dataclasses import dataclass
from itertools import pairwise

from bench.prediction.ledger import Trace
from bench.prediction.samples import PatchesTrace, StripsTrace

PROCESS_BYTES = 10 * 10**6
"""CPU: code and data of the libraries that a first pass touches, and the kernels it generates."""
TWO_BYTES_BYTES = 8 * 10**6
"""CPU: what bfloat16 and float16 add to these."""
WHITENING_BYTES = 18 * 10**6
"""CPU: what whitening adds to these: LAPACK, and buffers that MKL keeps."""
HELD = 1.92
"""CPU: memory that the strips of a large image take over what is live of them at one time, since
what is freed is not all used again. Measured in float32: 1.85 to 2.14, five cells beyond 40 MP."""
DATA_BYTES = 56 * 10**6
"""CPU: what a cap on the data segment counts beyond what is resident: address space of generated
kernels and of the allocator, and the stack of the thread that watches, 8 MB. Measured where passes
begin to fail, under ten caps of 150 MB to 1.2 GB: 45 to 65 MB, once up to 84."""


@dataclass(frozen=True)
class Overheads:
    """What a GPU's kernels take beside the traced peak of a pass, such as cuDNN's workspaces."""

    fixed_bytes: float = 0.0
    share: float = 0.0
    """Over the traced peak."""

    def on_top_of(self, peak_bytes: float) -> float:
        """Bytes of the peak and of what is beside it."""
        return self.fixed_bytes + (1 + self.share) * peak_bytes


def process_bytes(*, itemsize: int, whitening: bool) -> int:
    """CPU: by how much a process grows in a first pass, beside the pass's own memory.

    Args:
        itemsize: bytes of a number in the maps.
        whitening: whether the method whitens.
    """
    more = TWO_BYTES_BYTES if itemsize == 2 else 0
    return PROCESS_BYTES + more + (WHITENING_BYTES if whitening else 0)


def peak_of_whole(trace: Trace, overheads: Overheads) -> float:
    """Bytes that whole execution takes at most, beside content, weights and the process itself."""
    return overheads.on_top_of(trace.peak_bytes)


def peak_of_patches(traced: PatchesTrace, overheads: Overheads) -> float:
    """Bytes that the thumbnail's scheme takes at most; as :func:`peak_of_whole`."""
    patches = overheads.on_top_of(traced.patches.peak_bytes)
    return max(
        overheads.on_top_of(traced.thumbnail.peak_bytes),
        patches + traced.result_bytes - traced.shown_result_bytes,
    )


def peak_of_strips(traced: StripsTrace, overheads: Overheads) -> float:
    """Bytes that strips take at most, beside content, weights and the process itself.

    While a pass writes what stays of it for the next, or the result, what stayed of the one before
    is read and freed.
    """
    if traced.whole is not None:
        return overheads.on_top_of(traced.whole.peak_bytes)
    stays = [0, *(keep.memory_bytes for keep in traced.plan.keeps), traced.result_bytes]
    return max(
        overheads.on_top_of(passing) + max(ends)
        for passing, ends in zip(traced.passing_bytes, pairwise(stays), strict=True)
    )

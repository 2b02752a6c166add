"""Peak memory of a pass, in the terms of the counter that a record has it in.

On CUDA the allocator's own count is predicted, which a trace gives but for the workspaces of cuDNN.
On a CPU it is the growth of the resident set, to which the C library and the process itself add.

The constants were learnt from measured cells: 62 of whole execution and 20 of strips, float32 and
bfloat16, of both methods and six ratios, from 0.3 to 100 MP, on one machine (glibc 2.36, PyTorch
2.15, oneDNN 3.13). ``tests/performance/prediction_accuracy.py`` compares them with cells of any
machine.
"""

from dataclasses import dataclass
from itertools import pairwise

from bench.execution.strip_plan import StripPlan
from bench.prediction.heap import PAGE_ALIGNED, resident_peak
from bench.prediction.ledger import Trace
from bench.prediction.samples import PatchesTrace, StripsTrace
from bench.prediction.traffic import FRESH

PROCESS_BYTES = 27 * 10**6
"""CPU: code and data of the libraries that a first pass touches, and the kernels it generates."""
PRODUCTS_BYTES = 20 * 10**6
"""CPU: buffers that MKL keeps of products of matrices, from ``PRODUCTS_CHANNELS`` channels on."""
PRODUCTS_CHANNELS = 256
DATA_BYTES = 48 * 10**6
"""CPU: what a cap on the data segment counts beyond what is resident: address space of generated
kernels and of the allocator, and the stack of the thread that watches, 8 MB. Measured where passes
begin to fail, under caps of 150 MB to 1.2 GB: 30 to 70 MB."""
KEPT_BLOCK_BYTES = 1_050_000
"""CPU: what a block that stays wastes, half of the huge page at either of its ends; only those that
are aligned for huge pages do."""
HELD = 2.0
"""CPU: memory that strips take over that of what is live of them at one time, since what is freed
is not all used again. Measured: 1.5 to 2.5 in float32 for AdaIN, 2.5 to 3.1 for WCT."""
HELD_IN_TWO_BYTES = 2.6
"""CPU: the same in bfloat16 and float16, where maps are doubled in size before they are convolved.
Measured: 1.7 to 3.4."""


@dataclass(frozen=True)
class Overheads:
    """What a GPU's kernels take beside the traced peak of a pass, such as cuDNN's workspaces."""

    fixed_bytes: float = 0.0
    share: float = 0.0
    """Over the traced peak."""

    def on_top_of(self, peak_bytes: float) -> float:
        """Bytes of the peak and of what is beside it."""
        return self.fixed_bytes + (1 + self.share) * peak_bytes


def process_bytes(channels: int) -> int:
    """CPU: by how much a process grows that passes over small images, of so many features."""
    return PROCESS_BYTES + (PRODUCTS_BYTES if channels >= PRODUCTS_CHANNELS else 0)


def peak_of_whole(trace: Trace, style: Trace, *, kind: str, overheads: Overheads) -> float:
    """Bytes that whole execution takes at most, beside content, weights and the process itself.

    Args:
        trace: of the pass.
        style: of encoding the style, which comes before.
        kind: ``cpu`` or ``cuda``.
        overheads: of the device.
    """
    if kind == "cuda":
        return overheads.on_top_of(trace.peak_bytes)
    return resident_peak(style.events, trace.events, peak=trace.peak_bytes)


def peak_of_patches(
    traced: PatchesTrace, style: Trace, *, kind: str, overheads: Overheads
) -> float:
    """Bytes that the thumbnail's scheme takes at most; as :func:`peak_of_whole`."""
    shown = peak_of_whole(traced.shown, style, kind=kind, overheads=overheads)
    return shown + traced.result_bytes - traced.shown_result_bytes


def peak_of_strips(
    traced: StripsTrace, style: Trace, *, kind: str, itemsize: int, overheads: Overheads
) -> float:
    """Bytes that strips take at most, beside content, weights and the process itself.

    Args:
        traced: the pass.
        style: of encoding the style, which comes before.
        kind: ``cpu`` or ``cuda``.
        itemsize: bytes of a number in the maps.
        overheads: of the device.
    """
    if traced.whole is not None:
        return peak_of_whole(traced.whole, style, kind=kind, overheads=overheads)
    kept = _kept_bytes(traced.plan, traced.strips, on_cpu=kind == "cpu")
    if kind == "cuda":
        return overheads.on_top_of(traced.passing_bytes) + kept + traced.result_bytes
    held = HELD if itemsize == 4 else HELD_IN_TWO_BYTES
    return held * traced.passing_bytes + kept + traced.result_bytes


def _kept_bytes(plan: StripPlan, strips: int, *, on_cpu: bool) -> float:
    """Most that is there at one time of what stays of each stage's first pass for its second.

    While one stage's is written that of the stage before is read and freed. On a CPU small blocks
    of the one do not fit into the holes that those of the other leave.
    """
    most = 0.0
    for before, after in pairwise([0, *(keep.memory_bytes for keep in plan.keeps), 0]):
        if on_cpu and min(before, after) < FRESH * strips:
            blocks = strips * sum(kept >= PAGE_ALIGNED * strips for kept in (before, after))
            most = max(most, before + after + KEPT_BLOCK_BYTES * blocks)
        else:
            most = max(most, before, after)
    return most

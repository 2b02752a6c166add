"""The process that calibrates: ``python -m bench.prediction.calibration_worker DEVICE THREADS
PRECISIONS OUT``, THREADS ``-`` for PyTorch's choice and PRECISIONS separated by commas.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from scipy.optimize import nnls

from bench.cells import Execution, Precision
from bench.measure.card_memory import process_used, used_before_cuda
from bench.measure.latency import Clock, clock_for
from bench.measure.oom_killer import offer_to_oom_killer
from bench.prediction.calibration import CalibrationFile, PrecisionPasses, TimedPass
from bench.prediction.samples import trace_strips
from bench.prediction.trace import shape_model, trace_pass
from bench.stylizers import Unsupported, load_stylizer
from distill.host import limit_threads, usable_memory


class _Small(NamedTuple):
    model: str
    execution: Execution
    width: int
    height: int


# Narrow and wide networks; maps that the system hands out anew and that it does not; strips.
_PASSES = {
    "cpu": (
        _Small("adain-vgg16-16x", "whole", 512, 512),
        _Small("adain-vgg16-16x", "whole", 2304, 1728),
        _Small("adain-vgg16-16x", "strips", 1632, 1232),
        _Small("adain-vgg16-1x", "whole", 224, 224),
        _Small("wct-vgg16-16x", "whole", 384, 384),
    ),
    "cuda": (
        _Small("adain-vgg16-16x", "whole", 512, 512),
        _Small("adain-vgg16-16x", "whole", 2304, 1728),
        _Small("adain-vgg16-16x", "strips", 2304, 1728),
        _Small("adain-vgg16-1x", "whole", 1024, 1024),
        _Small("wct-vgg16-16x", "whole", 1024, 1024),
    ),
}
_ROUNDS = 2
"""Over all passes: what disturbs the machine for some seconds does not disturb all repeats."""
_REPEATS = 3
"""In a round. Of all the fastest counts."""
_STRIPS_BYTES = 2 * 10**9
_NEW_BYTES = 2 << 30
"""Touched for the first time, or an eighth of what is free if that is less: enough to come upon
memory that no process has lately given back."""


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the file. Returns the exit status."""
    offer_to_oom_killer()
    device, threads, names, out = arguments
    before = used_before_cuda() if device.startswith("cuda") else {}
    if threads == "-":
        limit_threads()
    else:
        torch.set_num_threads(int(threads))
    new_byte_s = _new_byte_s() if device == "cpu" else 0.0
    precisions = [name for name in get_args(Precision) if name in names.split(",")]
    found = {}
    for precision in precisions:
        try:
            found[precision] = _passes(device, precision)
        except Unsupported:
            found[precision] = PrecisionPasses(passes=())
    context = None
    if device.startswith("cuda"):
        used = process_used(device, before=before)
        context = None if used is None else used - torch.cuda.memory_reserved(device)
    file = CalibrationFile(
        identity={},
        measured_at="",
        precisions=found,
        context_bytes=context,
        new_byte_s=new_byte_s,
    )
    Path(out).write_text(file.model_dump_json(), encoding="utf-8")
    return 0


def _new_byte_s() -> float:
    """Seconds of a byte that is touched for the first time, over those of one used before.

    Before anything else in the process. A virtual machine's memory may have to be fetched from the
    host first, which takes several times as long as to clear it.
    """
    count = min(_NEW_BYTES, usable_memory().available // 8)
    seconds = []
    for _ in range(2):
        block = torch.empty(count, dtype=torch.uint8)
        began = time.perf_counter()
        block.fill_(0)
        seconds.append(time.perf_counter() - began)
        del block
    return max(0.0, seconds[0] - seconds[1]) / count


def _passes(device: str, precision: Precision) -> PrecisionPasses:
    kind = device.partition(":")[0]
    clock = clock_for(device)
    passes: list[TimedPass] = []
    beside: list[tuple[int, int]] = []
    rounds = [
        [_timed(small, device, precision, clock) for small in _PASSES[kind]] for _ in range(_ROUNDS)
    ]
    for small, times in zip(_PASSES[kind], zip(*rounds, strict=True), strict=True):
        seconds, taken = min(times)
        shapes = shape_model(
            small.model,
            device=device,
            precision=precision,
            execution=small.execution,
            memory_bytes=_STRIPS_BYTES,
        ).stylizer
        if small.execution == "strips":
            work = trace_strips(shapes, small.width, small.height).work
        else:
            trace = trace_pass(shapes, small.width, small.height)
            work = trace.work
            beside.append((trace.peak_bytes, taken - trace.peak_bytes))
        passes.append(TimedPass(**asdict(work), seconds=seconds))
    fixed, share = _workspaces(beside) if kind == "cuda" else (0.0, 0.0)
    return PrecisionPasses(passes=tuple(passes), workspace_bytes=fixed, workspace_share=share)


def _workspaces(beside: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """What kernels take: bytes that do not depend on the traced peak, and a share of it."""
    peaks = np.array([[1.0, peak] for peak, _ in beside])
    # By their shares of the peaks, so that the largest pass does not decide alone.
    weights = peaks[:, 1:]
    scale = np.array([peaks[:, 1].min(), 1.0])
    taken = np.array([max(0, more) for _, more in beside])
    (fixed, share), _ = nnls(peaks * scale / weights, taken / weights[:, 0])
    return float(fixed * scale[0]), float(share)


@torch.inference_mode()
def _timed(small: _Small, device: str, precision: Precision, clock: Clock) -> tuple[float, int]:
    """Seconds of a pass at best, and on CUDA the bytes that it took at most beside what stood."""
    stylizer = load_stylizer(
        small.model,
        device=device,
        precision=precision,
        execution=small.execution,
        memory_bytes=_STRIPS_BYTES,
    )
    layout = stylizer.layout
    generator = torch.Generator().manual_seed(0)
    content = torch.rand((1, 3, small.height, small.width), generator=generator)
    code = stylizer.encode_style(content[..., :128, :128])
    content = content.to(layout.device, layout.dtype)
    on_cuda = device.startswith("cuda")
    stylizer.stylize(content, code)
    before = 0
    if on_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    milliseconds = min(
        clock.time(lambda: stylizer.stylize(content, code)).wall_ms for _ in range(_REPEATS)
    )
    most = torch.cuda.max_memory_allocated(device) - before if on_cuda else 0
    return milliseconds / 1e3, most


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How a performance cell is measured: what is timed, in which order, and what is given up first.

In inference mode, in a process that has done nothing else, and whose large blocks are mapped since
its start (``bench.measure.heap``); the model is loaded already.
"""

import time
from typing import Any, Literal

import torch

from bench.cells import Cell
from bench.image_tensors import load_tensor
from bench.measure.energy import energy_meter
from bench.measure.heap import keep_large_blocks, metered_mapped
from bench.measure.latency import throughput_seconds_per_call
from bench.measure.memory import MemoryMeter
from bench.measure.watch import Watch
from bench.run.stage import Stage
from bench.run.timing import time_watched
from bench.stylizers import Stylizer
from bench.stylizers.cascade import DTYPES
from bench.units import Size

_THROUGHPUT_S = 1.0
"""Seconds of back-to-back passes that a throughput is taken from; three passes if they take longer.
"""
_THROUGHPUT_PASSES = 3


def measure_performance(
    cell: Cell, stylizer: Stylizer, meter: MemoryMeter, fields: dict[str, Any], stage: Stage
) -> None:
    """Fill ``fields`` with times, memory and energy of a performance cell, as far as it comes.

    What was measured before an exception stays in ``fields``. A cell whose first pass leaves no
    time for another is measured once, and says so.
    """
    device = cell.device
    on_cuda = device.startswith("cuda")
    content = _load(cell, "content", fields, stage)
    style = _load(cell, "style", fields, stage)

    meter.baseline()
    limit_s = cell.measure.cell_time_limit_s
    measuring_since = time.perf_counter()

    def run() -> None:
        stylizer.stylize(content, code, cell.alpha)

    def metered_pass() -> float:
        """One pass under the memory meter; its wall time in ms."""
        meter.start()
        began = time.perf_counter()
        run()
        synchronise(device)
        elapsed_ms = milliseconds_since(began)
        fields.update(meter.stop())
        return elapsed_ms

    # On a CPU the first pass is the one whose memory counts: none of its blocks lies in a hole that
    # something else has left.
    if not metered_mapped(cell):
        keep_large_blocks()
    stage.now = "encoding the style"
    code = stylizer.encode_style(style)
    synchronise(device)
    fields["style_encode_ms"] = milliseconds_since(measuring_since)
    del style

    # On a GPU metered as well, for the case that there is no time for another pass.
    stage.now = "stylizing for the first time"
    with Watch(device) as watch:
        first_ms = metered_pass()
    keep_large_blocks()
    fields["first_call_ms"] = first_ms
    # The first pass is the slowest, so none of those to come takes longer.
    pass_s = first_ms / 1e3

    def left_s() -> float:
        return limit_s - (time.perf_counter() - measuring_since)

    if 2 * pass_s > left_s():
        fields |= _measured_once(cell, first_ms, limit_s) | watch.fields
        return

    meter_of_energy = energy_meter(device, cell.measure.energy)
    try:
        # On CUDA the last pass belongs to the memory meter, and some before it to the throughput.
        kept_s = pass_s + max(_THROUGHPUT_PASSES * pass_s, _THROUGHPUT_S) if on_cuda else 0.0
        if (needed_s := meter_of_energy.needs_s(pass_s)) <= left_s() / 3:
            kept_s += needed_s
        stage.now = "timing"
        latency, conditions = time_watched(
            run,
            device=device,
            settings=cell.measure,
            pass_s=pass_s,
            budget_s=lambda: left_s() - kept_s,
        )
        fields |= latency.record_fields() | conditions
        median_s = latency.median_ms / 1e3
        if not on_cuda:
            # Nothing is queued on the CPU: a pass ends before the next can start.
            fields["throughput_mp_s"] = cell.megapixels / median_s
        elif (_THROUGHPUT_PASSES + 1) * median_s <= left_s():
            stage.now = "measuring the throughput"
            seconds = min(_THROUGHPUT_S, left_s() - median_s)
            fields["throughput_mp_s"] = cell.megapixels / throughput_seconds_per_call(
                run, device=device, repeats=max(_THROUGHPUT_PASSES, int(seconds / median_s))
            )

        if on_cuda:
            # A pass of its own: what the meter does would show in the times.
            stage.now = "measuring the memory"
            metered_pass()
        fields["status"] = "ok"

        # Last, because it heats the device up.
        stage.now = "measuring the energy"
        with Watch(device) as watch:
            fields |= meter_of_energy.measure(
                run,
                synchronise=lambda: synchronise(device),
                pass_s=median_s,
                left_s=left_s(),
                megapixels=cell.megapixels,
            )
        if fields.get("energy_source"):
            # It idles and then works, so its clock changes.
            found = watch.fields["conditions"]
            fields["energy_conditions"] = [one for one in found if one != "clock_changed"]
    finally:
        meter_of_energy.close()


def _load(
    cell: Cell, role: Literal["content", "style"], fields: dict[str, Any], stage: Stage
) -> torch.Tensor:
    """The cell's image of that role on its device; how long it took goes into ``fields``."""
    stage.now = f"loading the {role}"
    source, size = (
        (cell.content[0], Size(cell.width, cell.height))
        if role == "content"
        else (cell.style[0], Size(cell.style_width, cell.style_height))
    )
    began = time.perf_counter()
    image = load_tensor(source, size, role=role, device=cell.device, dtype=DTYPES[cell.precision])
    synchronise(cell.device)
    fields[f"{role}_load_ms"] = milliseconds_since(began)
    return image


def _measured_once(cell: Cell, first_ms: float, limit_s: float) -> dict[str, Any]:
    """Record fields of a cell whose first pass was its only one."""
    return {
        "status": "ok",
        "reason_code": "measured_once",
        "reason": f"the first pass took {first_ms / 1e3:.1f} s and a cell has {limit_s:.0f} s: no "
        "other was made, so the cold start is included and there is no interval",
        "latency_ms": first_ms,
        "latency_samples_ms": [first_ms],
        "latency_outliers": [],
        "repeats": 1,
        "warmup": 0,
        "converged": False,
        "throughput_mp_s": None
        if cell.device.startswith("cuda")
        else cell.megapixels / first_ms * 1e3,
        "energy_reason": "the cell's time limit leaves no second pass",
    }


def synchronise(device: str) -> None:
    """Wait until the device has done all it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def milliseconds_since(began: float) -> float:
    """Since a reading of ``time.perf_counter``."""
    return (time.perf_counter() - began) * 1e3

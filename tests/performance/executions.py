"""The three executions over the size of the image: time, memory, and what they change.

    python -m tests.performance.executions --sizes 1MP,4MP,9MP --model adain-vgg16-16x

Whole and strips give the same image, the thumbnail's scheme another one; this measures by how much,
and what each takes. Memory is that of one pass in a fresh process: on a CPU the growth of the
resident set, on a GPU what PyTorch allocated at most, weights and content included. Times are
medians of passes taken in turn in one process. Where the whole image does not fit, strips are what
the thumbnail's result is compared with.

The model runs with random weights unless it names a folder: that changes neither time nor memory,
but the differences are then those of random networks, and the table says so.
"""

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, get_args

import psutil
import torch
from torch import Tensor

from bench.cells import Execution
from bench.errors import EnvironmentUnfitError
from bench.execution.strip_plan import FIXED, plan_strips
from bench.execution.thumbnail import patch_edges
from bench.image_tensors import load_tensor
from bench.measure.cap import apply_cap
from bench.measure.environment import collect_environment
from bench.measure.latency import clock_for
from bench.measure.memory import meter_for
from bench.measure.out_of_memory import out_of_memory
from bench.stylizers import load_stylizer
from bench.stylizers.cascade import Stylizer
from bench.units import Size, parse_bytes, parse_size
from distill.stages import StyleCode
from tests.performance.executions_figure import write_figure

EXECUTIONS: tuple[Execution, ...] = get_args(Execution)
OUT = Path(__file__).parents[2] / "docs" / "results" / "executions"
STYLE = Size(512, 512)
_AROUND = 16
"""Lines on either side that the jump at a seam is compared with."""


@dataclass(frozen=True)
class Job:
    """One size, as the processes that measure it are told."""

    model: str
    device: str
    width: int
    height: int
    repeats: int
    strips_bytes: int
    """What strips may take."""
    cap_bytes: int | None
    """What any process may take: beyond it an execution counts as too large."""


@dataclass
class Row:
    """One execution at one size, as a line of the table; empty where it was not measured."""

    execution: str
    model: str
    weights: str
    device: str
    width: int
    height: int
    megapixels: float
    status: str = "ok"
    """``ok``, or why there is nothing: it did not fit."""
    seconds: float | None = None
    """Median wall time of a pass."""
    samples_s: str = ""
    memory_mb: float | None = None
    memory_counter: str = ""
    largest_difference: float | None = None
    """Of a pixel from the reference, in 0..1."""
    psnr_db: float | None = None
    """Against the reference; infinite for the same image."""
    reference: str = ""
    seam: float | None = None
    """Largest jump at an edge of strips or patches, over the median of the 16 lines around."""
    seam_in_reference: float | None = None
    """The same at the same places of the reference, where there is no edge."""
    strip_rows: int | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the table, the figure and the machine into a folder."""
    options = _options(arguments)
    rows: list[Row] = []
    for size in options.sizes:
        free = psutil.virtual_memory().available
        on_cpu = not options.device.startswith("cuda")
        job = Job(
            model=options.model,
            device=options.device,
            width=size.width,
            height=size.height,
            repeats=options.repeats,
            strips_bytes=options.memory,
            # So that a size that does not fit is an error of one process, not of the machine.
            cap_bytes=int(0.8 * free) if on_cpu else None,
        )
        rows += measure(job)
        write(rows, options.out, options.device)
    print(f"written to {options.out}")


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.executions")
    parser.add_argument(
        "--sizes",
        type=lambda text: [parse_size(size) for size in text.split(",")],
        default="1MP,2MP,4MP,9MP,20MP,41.9MP",
        help="megapixels or WxH, separated by commas (default: %(default)s)",
    )
    parser.add_argument("--model", default="adain-vgg16-16x", help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--memory",
        type=parse_bytes,
        default="1.5GB",
        help="what strips may take (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder (default: %(default)s)")
    return parser.parse_args(arguments)


def measure(job: Job) -> list[Row]:
    """All executions at one size: memory each in a process of its own, the rest in one."""
    rows = []
    for execution in EXECUTIONS:
        row = _fresh(measure_memory, job, execution)
        rows.append(row if isinstance(row, Row) else _row(job, execution, status=row))
        print(json.dumps(asdict(rows[-1])), flush=True)
    fitting = [row.execution for row in rows if row.status == "ok"]
    found = _fresh(measure_times, job, fitting)
    for row in rows:
        if isinstance(found, str):
            row.status = f"{row.status}; times: {found}"
        else:
            for name, value in found.get(row.execution, {}).items():
                setattr(row, name, value)
        print(json.dumps(asdict(row)), flush=True)
    return rows


def _fresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a new process, or in words why there is none."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            return "does not fit: the process was killed"
        except EnvironmentUnfitError as error:
            return f"does not fit: {error}"
        except (RuntimeError, MemoryError) as error:
            shortage = out_of_memory(error)
            if shortage is None:
                raise
            return f"does not fit: {shortage.message}"


def _row(job: Job, execution: str, **values: Any) -> Row:
    weights = "trained" if ":" in job.model else "random"
    megapixels = job.width * job.height / 1e6
    return Row(
        *(execution, job.model.partition(":")[0], weights, job.device, job.width, job.height),
        megapixels,
        **values,
    )


# ----------------------------------------------------------------------- in processes of their own


def _loaded(job: Job, execution: Execution) -> tuple[Stylizer, Tensor, StyleCode]:
    limit = job.strips_bytes if execution == "strips" else None
    stylizer = load_stylizer(job.model, device=job.device, execution=execution, memory_bytes=limit)
    size = Size(job.width, job.height)
    content = load_tensor("builtin", size, role="content", device=job.device)
    style = load_tensor("builtin", STYLE, role="style", device=job.device)
    return stylizer, content, stylizer.encode_style(style)


@torch.inference_mode()
def measure_memory(job: Job, execution: Execution) -> Row:
    """The peak of one pass."""
    meter = meter_for(job.device)
    apply_cap(job.cap_bytes, job.device)
    stylizer, content, code = _loaded(job, execution)
    row = _row(job, execution)
    if execution == "strips":
        row.strip_rows = _strip_rows(stylizer, job)
    meter.baseline()
    meter.start()
    stylizer.stylize(content, code)
    peaks = meter.stop()
    row.memory_counter = next(iter(peaks), "")
    row.memory_mb = peaks.get(row.memory_counter)
    return row


@torch.inference_mode()
def measure_times(job: Job, executions: Sequence[Execution]) -> dict[str, dict[str, Any]]:
    """Times in turn, and differences from the first, by the names of a row's fields."""
    apply_cap(job.cap_bytes, job.device)
    stylizer, content, code = _loaded(job, executions[0])
    ways = {
        name: replace(
            stylizer,
            execution=name,
            memory_bytes=job.strips_bytes if name == "strips" else None,
        )
        for name in executions
    }
    found: dict[str, dict[str, Any]] = {}
    # The pass that warms up is the one that is compared.
    reference = ways[executions[0]].stylize(content, code)
    for name in executions:
        image = reference if name == executions[0] else ways[name].stylize(content, code)
        found[name] = {"reference": executions[0], **_difference(image, reference)}
        edges = _edges(name, ways[name], job)
        found[name]["seam"] = seam(image, *edges)
        found[name]["seam_in_reference"] = seam(reference, *edges)
        del image
    del reference
    clock = clock_for(job.device)
    samples: dict[str, list[float]] = {name: [] for name in executions}
    for _ in range(job.repeats):
        for name, way in ways.items():
            timing = clock.time(lambda way=way: way.stylize(content, code))
            samples[name].append(timing.wall_ms / 1e3)
    for name, seconds in samples.items():
        found[name]["seconds"] = median(seconds)
        found[name]["samples_s"] = " ".join(f"{one:.3f}" for one in seconds)
    return found


def _difference(image: Tensor, reference: Tensor) -> dict[str, float]:
    largest, total = 0.0, 0.0
    # In bands, so that no third image is held.
    for found, expected in zip(image.split(256, 2), reference.split(256, 2), strict=True):
        error = found.double() - expected.double()
        largest = max(largest, float(error.abs().max()))
        total += float(error.square().sum())
    mean = total / image.numel()
    psnr = float("inf") if mean == 0 else float(-10 * torch.tensor(mean).log10())
    return {"largest_difference": largest, "psnr_db": psnr}


def _strip_rows(stylizer: Stylizer, job: Job) -> int:
    output = 3 * job.width * job.height * stylizer.layout.dtype.itemsize
    limit = stylizer.memory_bytes
    plan = plan_strips(stylizer, job.width, job.height, budget=limit, fixed=FIXED + output)
    return plan.rows


def _edges(execution: Execution, stylizer: Stylizer, job: Job) -> tuple[list[int], list[int]]:
    """Lines and columns that strips or patches meet at, the image's own borders left out."""
    if execution == "whole":
        return [], []
    if execution == "strips":
        rows = _strip_rows(stylizer, job)
        return [*range(rows, job.height, rows)], []
    lines, columns = patch_edges(job.width, job.height)
    return lines[1:-1], columns[1:-1]


def seam(image: Tensor, lines: Sequence[int], columns: Sequence[int]) -> float | None:
    """The largest jump between neighbouring lines at these places, over what is usual around.

    A jump is the mean absolute difference of a line to the one before it; what is usual is the
    median of the jumps of the 16 lines on either side. About 1 where nothing is to be seen; None
    without a place to look at.
    """
    found = []
    for axis, places in ((2, lines), (3, columns)):
        for at in places:
            start = max(0, at - _AROUND - 1)
            length = min(2 * _AROUND + 2, image.shape[axis] - start)
            near = image.narrow(axis, start, length).float()
            jumps = near.diff(dim=axis).abs().mean([dim for dim in range(4) if dim != axis])
            found.append(float(jumps[at - 1 - start] / jumps.median().clamp_min(1e-9)))
    return max(found, default=None)


# --------------------------------------------------------------------------------------- results


def write(rows: Sequence[Row], folder: Path, device: str) -> None:
    """``executions.csv``, the figure, and what it was measured on."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "executions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Row)])
        table.writeheader()
        table.writerows(map(asdict, rows))
    facts = collect_environment(device) | {"torch_threads": torch.get_num_threads()}
    text = json.dumps(facts, indent=2, sort_keys=True)
    (folder / "environment.json").write_text(text + "\n", encoding="utf-8")
    write_figure(folder / "executions.csv", folder)


if __name__ == "__main__":
    main()

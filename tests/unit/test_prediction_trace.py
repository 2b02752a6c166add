"""Traces on shapes: what they say of a pass is what PyTorch does in one."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.cells import Execution, Precision
from bench.execution import EXECUTIONS
from bench.prediction import samples
from bench.prediction.ledger import Ledger, Trace
from bench.prediction.memory import Overheads, peak_of_patches
from bench.prediction.samples import trace_patches, trace_strips
from bench.prediction.shapes import ShapeMode, ShapeTensor
from bench.prediction.trace import (
    shape_model,
    style_code,
    trace_pass,
    traced,
    without_values,
)
from bench.stylizers import load_stylizer
from bench.stylizers.cascade import Stylizer, native_on_cpu
from distill.kernels import convolve_reflect, transposed_kernel, upsample_convolve
from distill.networks import reflect_pad
from distill.transforms import FeatureStats

pytestmark = pytest.mark.numerical


@cache
def shapes_of(
    model: str,
    *,
    device: str = "cpu",
    precision: Precision = "fp32",
    execution: Execution = "whole",
    memory_bytes: int | None = None,
) -> Stylizer:
    return shape_model(
        model, device=device, precision=precision, execution=execution, memory_bytes=memory_bytes
    ).stylizer


# --------------------------------------------------------------- shapes are those of real tensors


def on_shapes(real: torch.Tensor) -> torch.Tensor:
    last = real.dim() == 4 and real.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(tuple(real.shape), dtype=real.dtype, memory_format=layout)


@settings(max_examples=40)
@given(
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    height=st.integers(2, 20),
    width=st.integers(2, 20),
    relu=st.booleans(),
    vertical=st.booleans(),
    kernel=st.sampled_from(["convolve", "upsample", "pool", "nearest", "pad", "statistics"]),
)
def test_every_kernel_makes_what_it_makes_of_real_tensors(
    channels, height, width, relu, vertical, kernel
):
    x = torch.rand(1, channels[0], height + 2, width).to(memory_format=torch.channels_last)
    weight = torch.rand(channels[1], channels[0], 3, 3)
    bias = torch.rand(channels[1])

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if kernel == "convolve":
            return convolve_reflect(x, weight, bias, relu=relu, vertical=vertical)
        if kernel == "upsample":
            wide = transposed_kernel(weight)
            return upsample_convolve(x, wide, bias, relu=relu, vertical=vertical)
        if kernel == "pool":
            return F.max_pool2d(x, 2)
        if kernel == "nearest":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        if kernel == "pad":
            # More than once over: by indices instead of by the padding kernel.
            return reflect_pad(x, 0, 3 * width, height, 1)
        lines = x[0].permute(1, 2, 0)
        centred = lines - lines.mean(1, dtype=torch.float32)[:, None]
        return torch.bmm(centred.transpose(1, 2), centred).sum(0, dtype=torch.float64)

    expected = run(x, weight, bias)
    with torch.no_grad(), ShapeMode(Ledger("cpu")):
        found = run(on_shapes(x), on_shapes(weight), on_shapes(bias))
        assert isinstance(found, ShapeTensor)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("model", ["adain-vgg16-64x", "wct-vgg16-64x"])
def test_a_traced_execution_ends_in_an_image_of_its_size(model, execution):
    stylizer = shapes_of(model, execution=execution)
    width, height = 83, 61
    ended: list[Any] = []

    def run(content: torch.Tensor, ledger: Ledger) -> None:
        traced_stylizer = without_values(stylizer, ledger)
        image = EXECUTIONS[execution](traced_stylizer, content, style_code(stylizer), 1.0)
        ended.append((image.shape, image.dtype, image.device.type))

    trace = traced(stylizer, width, height, run)
    assert ended == [((1, 3, height, width), torch.float32, "cpu")]
    assert len(trace.matches) == len(stylizer.stages)
    # Nothing is held when it is over.
    assert sum(event.bytes for event in trace.events) == 0


def test_without_its_trace_a_tensor_refuses():
    with torch.no_grad(), ShapeMode(Ledger("cpu")):
        x = torch.empty(3)
    with pytest.raises(RuntimeError, match="outside its trace"):
        x.add(1)


def test_a_card_is_traced_without_one():
    stylizer = shapes_of("wct-vgg16-64x", device="cuda:1")
    trace = trace_pass(stylizer, 3200, 2400)
    assert not torch.cuda.is_initialized()
    # Both maps of the full-resolution convolution, 8 channels each.
    assert trace.peak_bytes == pytest.approx(2 * 8 * 3200 * 2400 * 4, rel=0.02)


def test_an_image_of_a_terabyte_is_traced_without_its_memory():
    before = psutil.Process().memory_info().rss
    trace = trace_pass(shapes_of("adain-vgg16-16x"), 100_000, 80_000)
    assert trace.peak_bytes > 10**12
    assert psutil.Process().memory_info().rss - before < 200 * 10**6


# ----------------------------------------------------------------- memory is what PyTorch allocates

_RUN = """
import json, sys
import torch
from torch.profiler import ProfilerActivity, profile
from bench.stylizers import load_stylizer

width, height = map(int, sys.argv[1:3])
peaks = []
for name in sys.argv[3:]:
    model, precision = name.split(",")
    with torch.inference_mode():
        stylizer = load_stylizer(model, precision=precision)
        code = stylizer.encode_style(torch.rand(1, 3, 64, 64))
        content = torch.rand(1, 3, height, width).to(stylizer.layout.dtype)
        stylizer.stylize(content, code)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            stylizer.stylize(content, code)
    found = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(found, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    peaks.append(peak)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="without AVX2, oneDNN's convolutions gather their input, which is not predicted",
)
def test_the_peak_is_that_of_pytorchs_own_records():
    width, height = 512, 384
    cases: list[tuple[str, Precision]] = [("adain-vgg16-4x", "fp32")]
    if native_on_cpu("bf16"):
        cases.append(("wct-vgg16-16x", "bf16"))
    command = [sys.executable, "-c", _RUN, str(width), str(height), *map(",".join, cases)]
    done = subprocess.run(
        command, capture_output=True, cwd=Path(__file__).parents[2], text=True, check=True
    )
    for (model, precision), recorded in zip(
        cases, json.loads(done.stdout.splitlines()[-1]), strict=True
    ):
        trace = trace_pass(shapes_of(model, precision=precision), width, height)
        assert trace.peak_bytes == pytest.approx(recorded, rel=0.05)


@pytest.mark.parametrize("ratio", [1, 4, 16])
def test_whole_execution_takes_its_largest_convolutions_maps(ratio):
    """``docs/execution.md``: 4 bytes x pixels x (channels in + channels out)."""
    channels = {1: 64, 4: 32, 16: 16}[ratio]
    trace = trace_pass(shapes_of(f"adain-vgg16-{ratio}x"), 4096, 3072)
    assert trace.peak_bytes == pytest.approx(4 * 4096 * 3072 * 2 * channels, rel=0.02)


# --------------------------------------------------------------------------------- work


def test_convolutions_count_what_they_multiply():
    model = "adain-vgg16-16x"
    real = load_stylizer(model)
    (stage,) = real.stages
    width, height = 640, 480
    encoder = stage.encoder.macs_per_pixel * width * height

    def encode(image: Tensor, ledger: Ledger) -> None:
        FeatureStats.of(stylizer.stages[0].encoder([image]))

    stylizer = shapes_of(model)
    trace = traced(stylizer, width, height, encode)
    channels = stage.encoder.channels
    statistics = (channels + 1) ** 2 * width * height / 64
    # On top come the borders, which are computed twice.
    assert encoder + statistics < trace.work.macs < 1.06 * (encoder + statistics)
    # All channels here fill the lanes; the 3 of the decoder's last convolution do not.
    assert trace.work.lane_macs == trace.work.macs
    whole = trace_pass(shapes_of(model), width, height).work
    last = 9 * 16 * width * height
    assert whole.lane_macs - whole.macs == pytest.approx((16 - 3) * last, rel=0.06)


@settings(max_examples=10)
@given(factor=st.integers(2, 6), model=st.sampled_from(["adain-vgg16-64x", "wct-vgg16-64x"]))
def test_work_and_memory_grow_with_the_pixels(factor, model):
    stylizer = shapes_of(model)
    small, large = (trace_pass(stylizer, 512, 512 * times) for times in (1, factor))
    assert large.work.macs == pytest.approx(factor * small.work.macs, rel=0.05)
    assert large.work.bytes == pytest.approx(factor * small.work.bytes, rel=0.2)
    assert large.peak_bytes == pytest.approx(factor * small.peak_bytes, rel=0.15)


# ------------------------------------------------------------------------ parts stand for the whole


@pytest.mark.parametrize(
    ("model", "memory_bytes"),
    [("adain-vgg16-16x", 350 * 10**6), ("wct-vgg16-16x", 10**10), ("wct-vgg16-64x", 3 * 10**8)],
)
def test_a_few_strips_tell_of_all(model, memory_bytes, monkeypatch):
    stylizer = shapes_of(model, execution="strips", memory_bytes=memory_bytes)
    width, height = 4000, 1200
    part = trace_strips(stylizer, width, height)
    monkeypatch.setattr(samples, "_STRIPS", 10**6)
    full = trace_strips(stylizer, width, height)
    assert (part.plan, part.result_bytes) == (full.plan, full.result_bytes)
    assert part.passing_bytes == pytest.approx(full.passing_bytes, rel=0.05)
    assert part.work.macs == pytest.approx(full.work.macs, rel=0.08)
    assert part.work.bytes == pytest.approx(full.work.bytes, rel=0.25)


def test_strips_that_come_and_go_take_the_same_at_any_height():
    stylizer = shapes_of("adain-vgg16-16x", execution="strips")
    traces = [trace_strips(stylizer, 8000, height) for height in (4000, 40_000)]
    assert traces[0].passing_bytes == traces[1].passing_bytes
    assert traces[1].work.macs == pytest.approx(10 * traces[0].work.macs, rel=0.001)


@pytest.mark.parametrize(
    ("model", "width", "height"),
    [
        ("adain-vgg16-64x", 5000, 5000),
        ("wct-vgg16-64x", 3000, 2000),
        ("adain-vgg16-16x", 9000, 1200),  # the thumbnail is larger than a patch
    ],
)
def test_a_few_patches_tell_of_all(model, width, height):
    stylizer = shapes_of(model, execution="thumbnail")
    part = trace_patches(stylizer, width, height)
    full = trace_pass(stylizer, width, height)
    assert peak_of_patches(part, Overheads()) == pytest.approx(full.peak_bytes, rel=0.05)
    assert part.work.macs == pytest.approx(full.work.macs, rel=0.05)


def test_a_trace_is_the_same_each_time():
    traces: list[Trace] = [trace_pass(shapes_of("wct-vgg16-64x"), 320, 240) for _ in range(2)]
    assert traces[0] == traces[1]

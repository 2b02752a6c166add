"""The fast form of a cascade against the same networks run plainly, in one run.

Plainly: NCHW, nothing folded or fused, padded and upsampled copies, whitening in float64 over all
pixels, as public code does it. The published 16x students where they lie beside the project, else
random weights of the same widths but stage 1, which cost the same within a few per cent.

    python -m pytest tests/performance -n 0 --benchmark-enable --benchmark-only
"""

import os
from pathlib import Path

import pytest
import torch

from bench.stylizers import load_stylizer
from distill.cascades import load_cascade
from distill.models import parse_model
from tests.plain import plain_stylize

STUDENTS = Path(__file__).parents[2].parent / "shared/weights/collaborative-distillation-16x"
MODEL = f"wct-vgg19-16x:{STUDENTS}" if STUDENTS.is_dir() else "wct-vgg19-16x"
SIDE = int(os.environ.get("ULTRASTYLE_BENCH_SIDE", "1536"))


@pytest.fixture(scope="module")
def images(timed) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sides = (SIDE, 512) if timed else (96, 64)
    content, style = (torch.rand(1, 3, side, side, generator=generator) for side in sides)
    return content, style


@pytest.mark.benchmark(group="wct-16x")
def test_plain(benchmark, images):
    networks = load_cascade(parse_model(MODEL))
    content, style = images
    benchmark.pedantic(
        lambda: plain_stylize(networks, "wct", content, style), rounds=3, warmup_rounds=1
    )


@pytest.mark.benchmark(group="wct-16x")
@pytest.mark.parametrize(
    "precision", ["fp32", pytest.param("bf16", marks=pytest.mark.native("bf16"))]
)
def test_fast(benchmark, images, precision):
    stylizer = load_stylizer(MODEL, precision=precision)
    content, style = images
    benchmark.pedantic(
        lambda: stylizer.stylize(content, stylizer.encode_style(style)), rounds=3, warmup_rounds=1
    )

"""The thumbnail's scheme: the whole image where it is one patch, something near it elsewhere."""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.execution.thumbnail import patch_edges, run_thumbnail, shrink
from bench.execution.whole import run_whole
from bench.stylizers import load_stylizer
from distill.stages import StyleCode
from tests.unit.test_strips import jumps, noise, picture

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("no_embedded_models")]
SMALL = ("wct-vgg19-64x", "adain-vgg16-16x")

load = cache(load_stylizer)


@cache
def code(model: str) -> StyleCode:
    return load(model).encode_style(noise(48, 40, seed=1))


def run(model: str, content: Tensor, alpha: float = 1.0, **sizes: int) -> Tensor:
    with torch.inference_mode():
        return run_thumbnail(load(model), content, code(model), alpha, **sizes)


def whole(model: str, content: Tensor, alpha: float = 1.0) -> Tensor:
    with torch.inference_mode():
        return run_whole(load(model), content, code(model), alpha)


def psnr(found: Tensor, expected: Tensor) -> float:
    error = (found.double() - expected.double()).square().mean()
    return float("inf") if error == 0 else -10 * math.log10(error)


sides = st.integers(1, 90)


@settings(max_examples=25)
@given(
    model=st.sampled_from(SMALL),
    height=sides,
    width=sides,
    patch=st.integers(8, 100),
    padding=st.integers(0, 40),
    thumbnail=st.integers(1, 100),
)
@example(SMALL[0], 1, 1, 1000, 32, 1024)
@example(SMALL[0], 90, 1, 8, 32, 1)
@example(SMALL[1], 1, 90, 8, 0, 1)
@example(SMALL[1], 33, 17, 16, 32, 20)
def test_a_picture_of_the_content_s_size(model, height, width, patch, padding, thumbnail):
    content = noise(height, width)
    before = content.clone()
    found = run(model, content, patch=patch, padding=padding, thumbnail=thumbnail)
    assert found.shape == (1, 3, height, width)
    assert found.isfinite().all()
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(content, before)


@pytest.mark.parametrize("size", [(1, 1), (17, 31), (61, 200), (150, 40)])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("model", SMALL)
def test_one_patch_that_is_its_own_thumbnail_is_the_whole_image(model, size, alpha):
    content = picture(*size)
    assert torch.equal(run(model, content, alpha), whole(model, content, alpha))
    found = load_stylizer(model, execution="thumbnail").stylize(content, code(model), alpha)
    assert torch.equal(found, whole(model, content, alpha))


@pytest.mark.parametrize("model", SMALL)
def test_larger_ones_are_something_else(model):
    """The price of the scheme, of which exact execution in strips asks nothing."""
    content = picture(200, 300)
    expected = whole(model, content)
    for sizes in ({"patch": 100, "padding": 8}, {"thumbnail": 64}, {"patch": 100, "thumbnail": 64}):
        assert 5 < psnr(run(model, content, **sizes), expected) < 100


def test_with_the_halo_the_grid_and_the_statistics_patches_are_exact():
    """So nothing else sets the scheme apart from exact execution."""
    model, patch = "adain-vgg16-16x", {"patch": 80}
    # Two by two patches: of 80 x 80 px on the pooling grid, and of 74 x 80 beside it.
    aligned, beside = noise(160, 160), noise(160, 148)
    assert psnr(run(model, aligned, padding=64, **patch), whole(model, aligned)) > 90
    assert psnr(run(model, aligned, padding=8, **patch), whole(model, aligned)) < 60
    assert psnr(run(model, beside, padding=64, **patch), whole(model, beside)) < 60


def test_a_patch_shows_at_its_edges_without_padding():
    """Seams are what padding is for; the measure that finds none in strips finds these."""
    model, content = "adain-vgg16-16x", picture(240, 240)
    edge = patch_edges(240, 240, 120)[0][1] - 1
    ratios = {}
    for padding in (0, 32):
        found = jumps(run(model, content, patch=120, padding=padding))
        near = found[edge - 12 : edge + 13]
        ratios[padding] = found[edge] / near.median()
    assert ratios[0] > 1.5
    assert ratios[32] < ratios[0]


@pytest.mark.parametrize(
    ("size", "count"),
    [((1000, 1000), 1), ((1, 1), 1), ((1920, 1152), 2), ((10240, 4096), 7), ((20480, 8192), 13)],
)
def test_the_grid_has_as_many_rows_as_columns(size, count):
    rows, columns = patch_edges(*size)
    assert (len(rows) - 1, len(columns) - 1) == (count, count)


@given(width=st.integers(1, 100_000), height=st.integers(1, 100_000))
def test_patches_cover_the_image_and_are_of_bounded_area(width, height):
    for edges, length in zip(patch_edges(width, height), (height, width), strict=True):
        assert edges[0] == 0
        assert edges[-1] == length
        assert edges == sorted(set(edges))
    rows, columns = patch_edges(width, height)
    tallest, widest = (max(b - a for a, b in pairwise(edges)) for edges in (rows, columns))
    # Sides are rounded up to whole pixels.
    assert (tallest - 1) * (widest - 1) < 1000**2


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 3000), (1024, 3000)), ((2048, 3000), (1024, 1500)), ((1536, 1), (1024, 1))],
)
def test_the_size_of_a_thumbnail(size, expected):
    assert shrink(noise(*size)).shape[-2:] == expected


def test_a_thumbnail_keeps_the_mean_and_loses_what_it_cannot_show():
    checks = torch.zeros(1, 3, 256, 256)
    checks[..., ::2, ::2] = checks[..., 1::2, 1::2] = 1
    small = shrink(checks, 64)
    assert (small[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.01
    step = torch.zeros(1, 3, 256, 256)
    step[..., 128:] = 1
    small = shrink(step, 64)
    assert 0 <= small.min() <= small.max() <= 1
    assert abs(small.mean() - 0.5) < 1e-3
    assert torch.equal(shrink(step, 256), step)

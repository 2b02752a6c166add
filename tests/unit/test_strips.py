"""Strips are the whole image, whatever their height and whatever is kept between the passes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.errors import EnvironmentUnfitError
from bench.execution.rows import TensorSink, TensorSource, padded_size
from bench.execution.strip_plan import Keep, StripPlan
from bench.execution.strips import stylize_rows
from bench.stylizers import load_stylizer
from bench.stylizers.cascade import Stylizer
from distill.models import FAMILIES, METHODS

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("no_embedded_models")]
TOLERANCE = 3e-4
"""In float32. On most processors the two are equal to the last bit."""
SMALL = "wct-vgg19-64x"
KEEPS = tuple(
    Keep(what, place, 0)
    for what, place in [
        ("features", "memory"),
        ("features", "host"),
        ("features", "scratch"),
        ("image", "memory"),
        ("image", "scratch"),
    ]
)
AGAIN = Keep("nothing", "memory", 0)

load = cache(load_stylizer)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=seeded(seed))


def picture(height: int, width: int) -> Tensor:
    """Smooth, with a little noise: as pictures are, where a seam would be seen."""
    row = torch.linspace(0, 1, height)[:, None].expand(height, width)
    column = torch.linspace(0, 1, width).expand(height, width)
    smooth = torch.stack([row, column, (7 * row * column).sin() / 2 + 0.5])[None]
    return 0.95 * smooth + 0.05 * noise(height, width)


def in_strips(
    stylizer: Stylizer,
    content: Tensor,
    *,
    rows: int = 16,
    keeps: tuple[Keep, ...] | None = None,
    alpha: float = 1.0,
    scratch: Path | None = None,
) -> Tensor:
    height, width = content.shape[-2:]
    sink = TensorSink(width, height, stylizer.layout)
    plan = StripPlan(rows, keeps or (KEEPS[0],) * len(stylizer.stages), 0)
    with torch.inference_mode():
        stylize_rows(
            stylizer, TensorSource(content), sink, code_of(stylizer), alpha, plan=plan,
            scratch=scratch,
        )  # fmt: skip
    return sink.image


def code_of(stylizer: Stylizer):
    return stylizer.encode_style(noise(48, 40, seed=1))


def whole(stylizer: Stylizer, content: Tensor, alpha: float = 1.0) -> Tensor:
    return replace(stylizer, execution="whole").stylize(content, code_of(stylizer), alpha)


def assert_whole(stylizer: Stylizer, content: Tensor, found: Tensor, alpha: float = 1.0) -> None:
    """Hold a result of strips against that of the whole image.

    Which convolution a library chooses for a height is its own affair, and what whitening with
    random weights makes of the last bit is large: as large as when the content itself is changed
    by half a bit, which is asked only where the two differ.
    """
    expected = whole(stylizer, content, alpha)
    difference = (found - expected).abs().max()
    if difference > TOLERANCE:
        noises = (torch.randn(content.shape, generator=seeded(seed)) for seed in range(3))
        nudged = [content * (1 + torch.finfo(content.dtype).eps / 2 * some) for some in noises]
        reactions = [(whole(stylizer, each, alpha) - expected).abs().max() for each in nudged]
        assert difference <= 3 * max(reactions)


def keeps_of(stylizer: Stylizer, choices: list[int], again: bool) -> tuple[Keep, ...]:
    keeps = [KEEPS[choice] for choice in choices[: len(stylizer.stages)]]
    return (AGAIN, *keeps[1:]) if again else tuple(keeps)


@settings(max_examples=30)
@given(
    method=st.sampled_from(METHODS),
    family=st.sampled_from(FAMILIES),
    stages=st.sets(st.integers(0, 4), min_size=1),
    height=st.integers(1, 130),
    width=st.integers(1, 70),
    rows=st.sampled_from([1, 5, 16, 32, 48, 80]),
    choices=st.lists(st.integers(0, len(KEEPS) - 1), min_size=5, max_size=5),
    again=st.booleans(),
    alpha=st.sampled_from([0.0, 0.6, 1.0]),
)
@example("wct", "vgg19", {0, 1, 2, 3, 4}, 1, 1, 16, [0] * 5, True, 1.0)
@example("wct", "vgg16", {0, 1, 2, 3, 4}, 130, 1, 16, [2] * 5, False, 1.0)
@example("wct", "vgg19", {0, 1, 2, 3, 4}, 1, 70, 16, [4] * 5, True, 1.0)
@example("wct", "vgg19", {0, 1, 2, 3, 4}, 113, 33, 16, [3] * 5, True, 1.0)
@example("adain", "vgg16", {0}, 17, 31, 16, [2] * 5, False, 0.6)
def test_strips_are_the_whole_image(
    method, family, stages, height, width, rows, choices, again, alpha
):
    stylizer = load(f"{method}-{family}-16x")
    kept = tuple(stage for index, stage in enumerate(stylizer.stages) if index in stages)
    stylizer = replace(stylizer, stages=kept or stylizer.stages)
    content = noise(height, width)
    before = content.clone()
    keeps = keeps_of(stylizer, choices, again)
    found = in_strips(stylizer, content, rows=rows, keeps=keeps, alpha=alpha)
    assert found.shape == (1, 3, height, width)
    assert_whole(stylizer, content, found, alpha)
    assert torch.equal(content, before)


@pytest.mark.parametrize(
    ("model", "height", "width", "rows"),
    [
        ("wct-vgg19-16x", 703, 18, 48),
        ("wct-vgg16-16x", 37, 901, 16),
        ("adain-vgg19-16x", 450, 130, 64),
        ("wct-vgg16-1x", 33, 20, 16),
        ("adain-vgg19-1x", 50, 33, 16),
    ],
)
def test_long_wide_and_full_width_ones(model, height, width, rows):
    stylizer = load_stylizer(model)
    content = picture(height, width)
    found = in_strips(stylizer, content, rows=rows)
    assert_whole(stylizer, content, found)


def test_trained_students_too(students):
    stylizer = load_stylizer(f"wct-vgg19-16x:{students}")
    content = picture(150, 90)
    found = in_strips(stylizer, content, keeps=(AGAIN, *KEEPS[1:]))
    assert_whole(stylizer, content, found)


@pytest.mark.parametrize("budget", [None, 300 * 10**6])
def test_as_an_execution(budget):
    """By the name that a scenario gives, with a budget and without."""
    stylizer = load_stylizer(SMALL, execution="strips", memory_bytes=budget)
    content = picture(200, 120)
    found = stylizer.stylize(content, code_of(stylizer), 0.8)
    assert_whole(stylizer, content, found, 0.8)


def test_a_budget_that_the_output_alone_takes_is_refused():
    stylizer = load_stylizer(SMALL, execution="strips", memory_bytes=200 * 10**6)
    content = torch.zeros(1, 1, 1, 1).expand(1, 3, 4000, 4000)
    with pytest.raises(EnvironmentUnfitError, match="at the least"):
        stylizer.stylize(content, code_of(stylizer))


@pytest.mark.parametrize("keep", KEEPS, ids=lambda keep: f"{keep.what}-{keep.place}")
def test_what_is_kept_and_where_makes_no_difference(keep, tmp_path):
    """Not one bit: the same bands come back, or the same are computed again."""
    stylizer = load(SMALL)
    content = picture(90, 50)
    plain = in_strips(stylizer, content)
    for first in (keep, AGAIN):
        found = in_strips(stylizer, content, keeps=(first, *(keep,) * 4), scratch=tmp_path)
        assert torch.equal(found, plain)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.native("bf16")
@pytest.mark.parametrize("model", ["wct-vgg16-16x", "adain-vgg19-16x"])
def test_bfloat16(model):
    stylizer = load_stylizer(model, precision="bf16")
    content = picture(100, 60)
    found = in_strips(stylizer, content, keeps=(KEEPS[2],) * len(stylizer.stages))
    expected = whole(stylizer, content)
    assert found.dtype == torch.bfloat16
    assert (found - expected).float().square().mean().sqrt() < 0.01


def jumps(image: Tensor) -> Tensor:
    """Mean difference of each line to the one above it, (H - 1,)."""
    return image[0].diff(dim=1).abs().mean((0, 2))


@pytest.mark.parametrize(("model", "rows"), [("adain-vgg16-16x", 16), (SMALL, 32)])
def test_there_is_no_seam_where_strips_meet(model, rows):
    stylizer = load(model)
    found = jumps(in_strips(stylizer, picture(257, 80), rows=rows))
    edge = torch.zeros(len(found), dtype=torch.bool)
    edge[rows - 1 :: rows] = True
    assert found.max() > 0
    assert found[edge].max() <= 1.1 * found[~edge].max()


class Counting:
    """A source that counts how often it was read."""

    def __init__(self, image: Tensor) -> None:
        self._source = TensorSource(image)
        self.width, self.height = self._source.width, self._source.height
        self.lines = 0

    def bands(self, rows: int) -> Iterator[Tensor]:
        for band in self._source.bands(rows):
            assert band.shape[2] <= rows
            self.lines += band.shape[2]
            yield band


@pytest.mark.parametrize(
    ("model", "first", "keep"),
    [*product((SMALL, "adain-vgg16-16x"), (AGAIN, KEEPS[0]), KEEPS[2:4])],
)
def test_progress_ends_where_it_said_and_the_source_is_read_as_planned(model, first, keep):
    stylizer = load(model)
    source = Counting(picture(75, 40))
    told: list[tuple[int, int]] = []
    sink = TensorSink(40, 75, stylizer.layout)
    keeps = (first, *(keep,) * (len(stylizer.stages) - 1))
    with torch.inference_mode():
        stylize_rows(
            stylizer,
            source,
            sink,
            code_of(stylizer),
            1.0,
            plan=StripPlan(16, keeps, 0),
            report=lambda done, total: told.append((done, total)),
        )
    done = [lines for lines, _ in told]
    assert done == sorted(set(done))
    assert {total for _, total in told} == {done[-1]}
    assert source.lines == (2 if first == AGAIN else 1) * 75


def test_scratch_that_cannot_be_had_is_refused_before_the_work(tmp_path):
    stylizer = load(SMALL)
    source = Counting(picture(40, 40))
    plan = StripPlan(16, (Keep("features", "scratch", 10**18),) * 5, 0)
    sink = TensorSink(40, 40, stylizer.layout)
    for folder, problem in ((tmp_path, "of scratch are needed"), (tmp_path / "gone", "no such")):
        with pytest.raises(EnvironmentUnfitError, match=problem):
            stylize_rows(stylizer, source, sink, code_of(stylizer), 1.0, plan=plan, scratch=folder)
    assert source.lines == 0


@pytest.mark.parametrize(("size", "padded"), [((1, 1), (16, 16)), ((16, 33), (16, 48))])
def test_the_size_the_networks_work_on(size, padded):
    assert padded_size(*size) == padded

"""From scenario to cells: which there are, in which order, and what their id depends on."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cells import Cell
from bench.image_specs import builtin_names
from bench.scenario import Scenario, load_scenario
from bench.scenario.exclusion import size_matches
from bench.units import Size, parse_size

SCENARIOS = Path(__file__).parents[2] / "scenarios"
BASE: dict[str, Any] = {
    "name": "x",
    "models": ["wct-vgg16-1x", "adain-vgg16-16x"],
    "resolutions": ["4MP", "512x512"],
}


def digest(model: str) -> str:
    return f"digest of {model}"


def cells_of(device: str = "cpu", version: str = "1", **keys: Any) -> list[Cell]:
    scenario = Scenario.model_validate(BASE | keys)
    return scenario.cells(device, weights_digest=digest, code_version=version)


def test_cells_are_the_product_in_the_order_of_the_lists() -> None:
    cells = cells_of(precision=["fp32", "tf32"], memory_cap=[None, "4GB"], alpha=[0.5, 1])
    order = [
        (cell.memory_cap_bytes, cell.model, cell.precision, cell.alpha, cell.width)
        for cell in cells
    ]
    assert order == [
        (cap, model, precision, alpha, width)
        for cap in (None, 4 * 10**9)
        for model in BASE["models"]
        for precision in ("fp32", "tf32")
        for alpha in (0.5, 1)
        for width in (2304, 512)
    ]
    assert {cell.kind for cell in cells} == {"performance"}
    assert len({cell.id for cell in cells}) == len(cells)


def test_a_cell_carries_all_that_its_worker_needs() -> None:
    (cell,) = cells_of(
        "cuda:1",
        models="wct-vgg16-1x",
        resolutions="3840x2160",
        style_resolution="300x200",
        seed=7,
        threads=3,
        measure={"warmup": 0, "min_repeats": 5, "target_ci": "1%", "cell_time_limit": "2min"},
    )
    assert cell.model_dump(exclude={"measure"}) == {
        "kind": "performance",
        "model": "wct-vgg16-1x",
        "execution": "whole",
        "precision": "fp32",
        "device": "cuda:1",
        "width": 3840,
        "height": 2160,
        "style_width": 300,
        "style_height": 200,
        "memory_cap_bytes": None,
        "alpha": 1.0,
        "seed": 7,
        "threads": 3,
        "cudnn_benchmark": False,
        "content": ("builtin",),
        "style": ("builtin",),
        "quality": None,
        "weights_digest": "digest of wct-vgg16-1x",
        "code_version": "1",
    }
    assert cell.measure.model_dump() == {
        "warmup": 0,
        "min_repeats": 5,
        "max_repeats": 50,
        "target_ci": 0.01,
        "cell_time_limit_s": 120.0,
        "energy": "auto",
        "retry_disturbed": 0,
    }


def test_quality_is_one_cell_for_all_images_at_its_own_resolution() -> None:
    cells = cells_of(quality={"resolution": "300x200", "max_pairs": 2}, alpha=[0.5, 1])
    performance = [cell for cell in cells if cell.kind == "performance"]
    quality = cells[len(performance) :]
    assert len(performance) == 8
    assert [(cell.model, cell.alpha) for cell in quality] == [
        (model, alpha) for model in BASE["models"] for alpha in (0.5, 1)
    ]
    for cell in quality:
        assert (cell.kind, cell.width, cell.height) == ("quality", 300, 200)
        assert cell.content == builtin_names("content")
        assert cell.style == builtin_names("style")
        assert cell.quality is not None
        assert cell.quality.max_pairs == 2
    assert all(cell.quality is None for cell in performance)


def test_weights_are_asked_for_once_a_model() -> None:
    asked: list[str] = []

    def ask(model: str) -> str:
        asked.append(model)
        return model

    Scenario.model_validate(BASE | {"quality": {}}).cells(
        "cpu", weights_digest=ask, code_version="1"
    )
    assert asked == BASE["models"]


def test_id_depends_on_what_defines_the_cell_and_on_nothing_else() -> None:
    def first(**keys: Any) -> str:
        return cells_of(**keys)[0].id

    same = first()
    assert same == first(measure={"max_repeats": 9}, device="cpu", name="y", quality={})
    assert first(device="cuda:0") == first(device="cuda:1") != same
    others: list[dict[str, Any]] = [
        {"models": ["wct-vgg16-2x"]},
        {"resolutions": ["512x512"]},
        {"precision": "fp16"},
        {"memory_cap": "4GB"},
        {"alpha": 0.5},
        {"seed": 1},
        {"threads": 1},
        {"style_resolution": "256x256"},
        {"images": {"content": "builtin:coffee"}},
        {"version": "2"},
    ]
    assert len({same, *(first(**keys) for keys in others)}) == 1 + len(others)
    quality = [cells_of(quality={"max_pairs": pairs})[-1].id for pairs in (1, 2)]
    assert quality[0] != quality[1]


# ---- exclude


def left(*exclude: dict[str, Any], **keys: Any) -> list[tuple[str, str, str]]:
    cells = cells_of(exclude=list(exclude), **keys)
    return [(cell.model, cell.precision, f"{cell.width}x{cell.height}") for cell in cells]


def test_an_entry_leaves_out_what_matches_all_its_keys() -> None:
    both = ["fp32", "fp16"]
    everything = left(precision=both)
    kept = left({"model": "wct-*-1x", "resolution": ">=4MP", "precision": "fp16"}, precision=both)
    assert set(everything) - set(kept) == {("wct-vgg16-1x", "fp16", "2304x1728")}
    assert kept == [cell for cell in everything if cell in kept]


def test_entries_and_the_values_of_a_key_are_alternatives() -> None:
    assert left({"model": "wct-vgg16-1x", "resolution": "4MP"}, {"model": "adain-*"}) == [
        ("wct-vgg16-1x", "fp32", "512x512")
    ]
    assert left({"resolution": ["4MP", ">100x100"], "model": "wct-*"}) == [
        ("adain-vgg16-16x", "fp32", "2304x1728"),
        ("adain-vgg16-16x", "fp32", "512x512"),
    ]


def test_null_names_the_cells_without_a_cap() -> None:
    cells = cells_of(memory_cap=[None, "4GB"], exclude={"memory_cap": None})
    assert {cell.memory_cap_bytes for cell in cells} == {4 * 10**9}


def test_quality_cells_are_left_out_by_the_same_rules() -> None:
    cells = cells_of(quality={"resolution": "300x200"}, exclude={"resolution": "<=300x200"})
    assert {cell.kind for cell in cells} == {"performance"}
    cells = cells_of(quality={"resolution": "300x200"}, exclude={"resolution": ">300x200"})
    assert {cell.kind for cell in cells} == {"quality"}


def test_too_many_cells_are_refused() -> None:
    sizes = [f"{side}x{side}" for side in range(1, 20_002)]
    with pytest.raises(ValueError, match="more than 20000 cells"):
        cells_of(models="wct-vgg16-1x", resolutions=sizes)


SIDE = st.integers(1, 20_000)


@given(SIDE, SIDE, SIDE, SIDE)
def test_conditions_on_sizes_compare_pixels(a: int, b: int, c: int, d: int) -> None:
    size, bound = Size(a, b), Size(c, d)
    assert size_matches(f">{bound}", size) == (size.pixels > bound.pixels)
    assert size_matches(f">={bound}", size) == (size.pixels >= bound.pixels)
    assert size_matches(f"<{bound}", size) == (size.pixels < bound.pixels)
    assert size_matches(f"<={bound}", size) == (size.pixels <= bound.pixels)
    assert size_matches(f"{bound}", size) == (size == bound)


@given(st.integers(1, 500))
def test_a_size_in_megapixels_is_neither_more_nor_less_than_itself(millions: int) -> None:
    text = f"{millions}MP"
    for size in (parse_size(text), Size(millions * 1000, 1000)):
        assert size_matches(f">={text}", size)
        assert size_matches(f"<={text}", size)
        assert not size_matches(f">{text}", size)
        assert not size_matches(f"<{text}", size)


# ---- the project's own scenarios


def test_the_ultra_resolution_scenario_reaches_the_papers_size_and_beyond() -> None:
    scenario = load_scenario(SCENARIOS / "ultrares.yaml")
    cells = scenario.cells("cpu", weights_digest=digest, code_version="1")
    assert scenario.memory_cap == (12 * 10**9,)
    student = [cell for cell in cells if cell.model == "adain-vgg16-16x"]
    assert (10240, 4096) in {(cell.width, cell.height) for cell in student}
    assert max(cell.megapixels for cell in student) == pytest.approx(100, rel=1e-3)
    # Five models in two precisions.
    assert sum(cell.kind == "quality" for cell in cells) == 10


def test_the_quick_scenario_is_small() -> None:
    scenario = load_scenario(SCENARIOS / "quick.yaml")
    cells = scenario.cells("cpu", weights_digest=digest, code_version="1")
    assert [cell.kind for cell in cells] == ["performance"] * 9 + ["quality"] * 3
    assert max(cell.megapixels for cell in cells) <= 1
    assert {cell.measure.cell_time_limit_s for cell in cells} == {15.0}


def test_trying_cudnns_algorithms_makes_another_cell_on_a_gpu_alone() -> None:
    def ids(device: str) -> list[str]:
        return [cells_of(device, cudnn_benchmark=switch)[0].id for switch in (False, True)]

    assert len(set(ids("cuda:0"))) == 2
    assert len(set(ids("cpu"))) == 1

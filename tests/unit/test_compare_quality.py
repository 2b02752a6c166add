"""Quality: by which way is better, on the same pictures."""

from collections.abc import Sequence
from typing import Any

import pytest

from bench.compare.quality import compare_quality
from bench.compare.result import Finding
from bench.compare.side import Quality, cells_of
from bench.record import Record
from tests.unit.compare_data import quality

INFINITY = float("inf")


def side(values: dict[str, float | Sequence[float]], **fields: Any) -> Quality:
    (cell,) = cells_of([Record(**r) for r in quality(values, **fields)], path="run").values()
    assert cell.quality is not None
    return cell.quality


def judge(name: str, before: float | Sequence[float], after: float | Sequence[float]) -> Finding:
    (finding,) = compare_quality(side({name: before}), side({name: after}), limit=0.02)
    return finding


@pytest.mark.parametrize(
    ("metric", "before", "after", "verdict"),
    [
        ("style_loss", 0.0100, 0.0103, "regression"),
        ("style_loss", 0.0100, 0.0101, "unchanged"),
        ("style_loss", 0.0100, 0.0090, "improvement"),
        ("lpips", 0.50, 0.52, "regression"),
        ("ssim", 0.50, 0.48, "regression"),  # higher is better
        ("ssim", 0.50, 0.52, "improvement"),
        ("fid", 100.0, 103.0, "regression"),
        ("precision_vgg", 0.9, 0.8, "regression"),
        ("lpips_teacher", 0.0, 0.0, "unchanged"),
        ("lpips_teacher", 0.0, 1e-8, "unchanged"),  # rounding
        ("lpips_teacher", 0.0, 0.01, "regression"),
    ],
)
def test_worse_is_worse_whichever_way_is_better(metric, before, after, verdict: str):
    assert judge(metric, before, after).verdict == verdict


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (30.0, 29.9, "unchanged"),  # 1.2 % more error
        (30.0, 29.8, "regression"),  # 2.3 %
        (30.0, 30.5, "improvement"),
        (INFINITY, INFINITY, "unchanged"),
        (INFINITY, 120.0, "unchanged"),  # as good as equal
        (INFINITY, 60.0, "regression"),
        (40.0, INFINITY, "improvement"),
    ],
)
def test_decibels_are_judged_by_the_error_they_stand_for(before, after, verdict: str):
    finding = judge("psnr_teacher", before, after)
    assert finding.verdict == verdict
    if verdict == "regression":
        assert finding.change is not None and finding.change < 0


def test_a_decibel_is_twelve_per_cent_of_error():
    change = judge("psnr_teacher", 30.0, 29.0).change
    assert change == pytest.approx(-(10 ** (1 / 20) - 1))


def test_pairs_tell_how_even_a_loss_is():
    even = judge("style_loss", [0.01, 0.02, 0.03], [0.011, 0.021, 0.031])
    assert "worse in 3 of 3 pairs" in even.reason
    assert even.change_low == pytest.approx(even.change, abs=1e-9)
    uneven = judge("style_loss", [0.01, 0.02, 0.03], [0.008, 0.018, 0.040])
    assert "worse in 1 of 3 pairs" in uneven.reason
    assert uneven.change_low is not None and uneven.change_low < 0
    # the same pictures did get worse on the whole, whichever they are
    assert even.verdict == uneven.verdict == "regression"


def test_what_the_pairs_say_stands_beside_a_change_that_one_large_value_rules():
    finding = judge("style_loss", [0.01, 0.01, 0.01, 1.0], [0.011, 0.012, 0.011, 0.9])
    assert finding.change == pytest.approx(-0.093, abs=1e-3)
    words = finding.reason.split("; ")[-1]
    assert words.startswith("6.9 % [")
    assert words.endswith("] in the geometric mean of the pairs")
    # Decibels are logarithms as they are, and two pairs have no interval.
    assert "geometric" not in judge("psnr_teacher", [30.0, 31.0, 32.0], [29.0, 30.0, 32.0]).reason
    assert "geometric" not in judge("style_loss", [0.01, 0.02], [0.012, 0.02]).reason


def test_an_improvement_of_some_pictures_alone_is_none():
    finding = judge("style_loss", [0.01, 0.02, 0.03], [0.012, 0.022, 0.020])
    assert finding.change is not None and finding.change < -0.02
    assert finding.verdict == "unchanged"


def test_a_set_metric_within_its_own_interval_has_not_changed():
    ends = {"kid_low": -0.004, "kid_high": 0.006}
    before, after = side({"kid": 0.001} | ends), side({"kid": 0.002} | ends)
    assert compare_quality(before, after, limit=0.02)[0].verdict == "unchanged"
    far = side({"kid": 0.02, "kid_low": 0.015, "kid_high": 0.025})
    assert compare_quality(before, far, limit=0.02)[0].verdict == "regression"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"definitions": {"style_loss": "another way"}}, "other_definition"),
        ({"per_pair": [{"content": "x.jpg", "style": "s0.jpg"}]}, "other_images"),
    ],
)
def test_other_definitions_and_other_images_do_not_compare(changed: dict[str, Any], code: str):
    before, after = side({"style_loss": 1.0}), side({"style_loss": 2.0}, **changed)
    (finding,) = compare_quality(before, after, limit=0.02)
    assert (finding.verdict, finding.code) == ("not_comparable", code)


def test_images_of_another_checkout_are_the_same_images():
    pairs = [{"content": f"/elsewhere/c{n}.jpg", "style": f"s{n}.jpg"} for n in range(2)]
    moved = side({"style_loss": 1.0}, per_pair=pairs)
    assert compare_quality(side({"style_loss": 1.0}), moved, limit=0.02)[0].code == "same"


def test_a_metric_that_can_no_longer_be_computed_is_not_passed_over():
    before = side({"style_loss": 1.0, "lpips": 0.5})
    after = side({"style_loss": 1.0}, metrics_absent={"lpips": "no backbone"})
    found = {f.metric: f for f in compare_quality(before, after, limit=0.02)}
    assert (found["lpips"].verdict, found["lpips"].code) == ("inconclusive", "metric_missing")
    assert "no backbone" in found["lpips"].reason
    gained = {f.metric: f for f in compare_quality(after, before, limit=0.02)}
    assert gained["lpips"].verdict == "not_comparable"


def test_a_plug_ins_metric_that_is_not_installed_is_not_judged():
    finding = judge("edge_loss", 1.0, 2.0)
    assert (finding.verdict, finding.code) == ("not_comparable", "no_direction")


@pytest.mark.parametrize("metric", ["style_loss", "ssim", "psnr_teacher"])
def test_a_value_that_is_no_number_any_more_is_worse_than_any(metric: str):
    finding = judge(metric, 1.0, float("nan"))
    assert (finding.verdict, finding.code) == ("regression", "worse")
    before = judge(metric, float("nan"), 1.0)
    assert (before.verdict, before.code) == ("not_comparable", "not_finite")


def test_an_infinite_loss_is_worse_than_any():
    assert judge("content_loss", 1.0, float("inf")).verdict == "regression"

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cells import Cell, MeasureSettings, QualitySettings
from bench.record import Record
from bench.run.draft import draft_fields
from bench.run.schedule import (
    STARTUP_S,
    Estimate,
    Measured,
    Run,
    Skip,
    by_work,
    decide,
    expected_s,
    in_order,
    least_times_s,
    time_left_s,
)


def make_cell(
    width: int = 1000, height: int = 1000, *, limit_s: float = 100, **fields: Any
) -> Cell:
    return Cell(
        **{
            "kind": "performance",
            "model": "adain-vgg16-16x",
            "execution": "whole",
            "precision": "fp32",
            "device": "cpu",
            "width": width,
            "height": height,
            "style_width": 512,
            "style_height": 512,
            "memory_cap_bytes": None,
            "alpha": 1.0,
            "seed": 0,
            "threads": None,
            "content": ("builtin",),
            "style": ("builtin",),
            "measure": MeasureSettings(
                warmup=2, min_repeats=5, max_repeats=50, target_ci=0.02, cell_time_limit_s=limit_s
            ),
            "weights_digest": "",
            "code_version": "1",
            **fields,
        }
    )


def quality_cell(pairs: int, **fields: Any) -> Cell:
    settings = QualitySettings(
        metrics=("content_loss",), network="vgg16", lpips_backbone="cache", max_pairs=pairs
    )
    return make_cell(
        kind="quality", content=("a", "b"), style=("c", "d"), quality=settings, **fields
    )


def record_of(cell: Cell, status: str = "ok", **fields: Any) -> Record:
    return Record(**{**draft_fields(cell), "status": status, **fields})


def test_small_work_comes_first_and_uncounted_models_last():
    big, small, unknown = make_cell(2000), make_cell(500), make_cell(model="wct-vgg16-64x")
    gmacs = {big.id: 20.0, small.id: 5.0, unknown.id: None}
    assert by_work([big, unknown, small], gmacs) == [small, big, unknown]


def test_a_quality_cell_counts_a_pass_for_each_pair():
    quality, single = quality_cell(3), make_cell(2000)
    assert by_work([quality, single], {quality.id: 10.0, single.id: 20.0}) == [single, quality]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12, unique=True), st.randoms())
def test_the_order_does_not_depend_on_how_cells_are_listed(
    sides: list[int], shuffling: random.Random
):
    cells = [make_cell(16 * side, 16) for side in sides]
    gmacs = {cell.id: cell.megapixels for cell in cells}
    ordered = by_work(cells, gmacs)
    shuffling.shuffle(cells)
    assert by_work(cells, gmacs) == ordered
    assert [cell.width for cell in ordered] == sorted(16 * side for side in sides)


def test_estimate_is_in_proportion_to_the_only_measured_size():
    records = [
        record_of(make_cell(1000), latency_ms=1500.0),
        record_of(make_cell(1500), "out_of_memory", latency_ms=1.0),
    ]
    estimate = Measured(records).estimate(make_cell(4000))
    assert estimate is not None
    assert estimate.seconds == estimate.least_s == pytest.approx(6.0)
    assert "1 MP measured at 1.5 s" in estimate.basis


def test_two_sizes_tell_what_grows_with_the_pixels():
    sizes = {500: 900.0, 1000: 1500.0}  # 0.3 s, and 1.2 s a megapixel
    records = [record_of(make_cell(side), latency_ms=time) for side, time in sizes.items()]
    estimate = Measured(records).estimate(make_cell(4000))
    assert estimate is not None
    assert estimate.seconds == pytest.approx(0.3 + 4 * 1.2)
    assert "1 MP measured at 1.5 s, 0.5 MP at 0.9 s, and what grew" in estimate.basis


@pytest.mark.parametrize("small_ms", [1400.0, 1600.0, 100.0])
def test_a_cold_pass_or_a_busy_moment_does_not_make_growth(small_ms):
    """0.5 MP as slow as 1 MP, slower, or far below its share: the second size tells nothing."""
    records = [
        record_of(make_cell(500), latency_ms=small_ms),
        record_of(make_cell(1000), latency_ms=1500.0, reason_code="measured_once"),
    ]
    estimate = Measured(records).estimate(make_cell(4000))
    assert estimate is not None
    assert 1.5 + 3 * 0.75 <= estimate.seconds <= 6.0


def test_a_small_image_alone_does_not_say_that_a_large_one_is_out_of_reach():
    """64x64 took 14.7 s to start up: 512x512, 64 times the pixels, need not take 940 s."""
    slow = record_of(make_cell(64, 64), latency_ms=14_700.0, reason_code="measured_once")
    cell = make_cell(512, 512, limit_s=120)
    estimate = Measured([slow]).estimate(cell)
    assert estimate is not None
    assert estimate.least_s == pytest.approx(14.7)
    assert isinstance(decide(cell, [], estimate, run_time_left_s=600.0), Run)
    pairs = quality_cell(4, width=512, height=512)
    estimate = Measured([slow]).estimate(pairs)
    assert isinstance(decide(pairs, [], estimate, run_time_left_s=600.0), Run)
    # What the small one took is certain, whatever grows.
    assert isinstance(decide(pairs, [], estimate, run_time_left_s=60.0), Skip)


@given(st.floats(1, 1e5), st.integers(1, 40))
def test_estimate_of_what_was_measured_is_what_was_measured(latency_ms: float, side: int):
    cell = make_cell(100 * side)
    estimate = Measured([record_of(cell, latency_ms=latency_ms)]).estimate(cell)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(latency_ms / 1e3)


@pytest.mark.parametrize(
    "other", [{"precision": "fp16"}, {"device": "cuda:0"}, {"threads": 1}, {"kind": "quality"}]
)
def test_nothing_is_extrapolated_from_another_precision_device_or_kind(other):
    cell = quality_cell(1) if other.get("kind") else make_cell(**other)
    records = [record_of(cell, latency_ms=1.0, gmacs=1.0)]
    assert Measured(records).estimate(make_cell(2000), gmacs=2.0) is None


def test_another_model_of_the_method_lends_its_speed():
    records = [
        record_of(make_cell(model="adain-vgg16-64x"), latency_ms=1000.0, gmacs=100.0),
        record_of(make_cell(500, model="adain-vgg16-64x"), latency_ms=1000.0, gmacs=10.0),
        record_of(make_cell(model="wct-vgg19-1x"), latency_ms=1000.0, gmacs=900.0),
    ]
    estimate = Measured(records).estimate(make_cell(), gmacs=400.0)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(4.0)
    assert "adain-vgg16-64x" in estimate.basis
    stranger = Measured(records).estimate(make_cell(model="wct-vgg16-64x"), gmacs=450.0)
    assert stranger is not None
    assert stranger.seconds == pytest.approx(0.5)
    assert "wct-vgg19-1x" in stranger.basis


@pytest.mark.parametrize("fields", [{}, {"reason_code": "measured_once"}])
@pytest.mark.parametrize("side", [256, 1024])
def test_a_slow_start_of_another_model_skips_nothing(fields, side):
    """A 16x student's first pass of 256x256 took 5.9 s on a busy machine: 4x need not take four
    times as long."""
    cold = make_cell(side, side, model="adain-vgg16-16x")
    measured = Measured([record_of(cold, latency_ms=5900.0, gmacs=1.7, **fields)])
    estimate = measured.estimate(make_cell(side, side, model="adain-vgg16-4x"), gmacs=6.8)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(23.6)
    doubtful = side == 256 or bool(fields)
    assert estimate.least_s == pytest.approx(5.9 if doubtful else 23.6 / 1.5)


def test_no_estimate_without_a_measurement_or_a_count():
    lent = [record_of(make_cell(model="adain-vgg16-64x"), latency_ms=1.0, gmacs=1.0)]
    assert Measured([]).estimate(make_cell(), gmacs=1.0) is None
    assert Measured(lent).estimate(make_cell(), gmacs=None) is None


def test_nothing_is_extrapolated_far_from_what_was_measured():
    tiny = [record_of(make_cell(10, 10), latency_ms=200.0, gmacs=0.01)]
    assert Measured(tiny).estimate(make_cell(80, 80), gmacs=0.64) is not None
    assert Measured(tiny).estimate(make_cell(81, 80), gmacs=0.65) is None
    assert Measured(tiny).estimate(make_cell(model="adain-vgg16-1x"), gmacs=0.65) is None


def test_a_cell_runs_with_twice_its_limit_and_a_minute():
    assert decide(make_cell(limit_s=100), [], None, run_time_left_s=None) == Run(
        100, 260, "time_limit"
    )


def test_a_pass_over_the_limit_is_skipped_with_its_estimate():
    decision = decide(make_cell(limit_s=100), [], Estimate(130.0, "so"), run_time_left_s=None)
    assert isinstance(decision, Skip)
    assert (decision.reason_code, decision.estimate_s) == ("time_limit", 130.0)
    assert "estimated at 130 s" in decision.reason
    assert "(so)" in decision.reason


def test_a_pass_within_the_limit_runs():
    decision = decide(make_cell(limit_s=100), [], Estimate(100.0, ""), run_time_left_s=None)
    assert isinstance(decision, Run)


def test_the_runs_limit_skips_what_does_not_fit():
    cell = make_cell(limit_s=100)
    over = decide(cell, [], None, run_time_left_s=0.0)
    late = decide(cell, [], Estimate(50.0, ""), run_time_left_s=49.0)
    assert isinstance(over, Skip)
    assert isinstance(late, Skip)
    assert over.reason_code == late.reason_code == "run_time_limit"


def test_the_runs_limit_shortens_the_last_cells():
    decision = decide(make_cell(limit_s=100), [], Estimate(5.0, ""), run_time_left_s=90.0)
    assert decision == Run(60.0, 90.0, "run_time_limit")


def test_repeats_are_given_up_for_the_cells_to_come():
    alone, among = (
        decide(
            make_cell(limit_s=100),
            [],
            Estimate(5.0, ""),
            run_time_left_s=400.0,
            others_s=10.0 * others,
            others=others,
        )
        for others in (0, 37)
    )
    assert isinstance(alone, Run)
    assert isinstance(among, Run)
    assert alone.budget_s == 100.0
    assert 5.0 < among.budget_s < 20.0


def test_a_small_cell_has_its_even_share_though_large_ones_need_more_than_there_is():
    run = decide(
        make_cell(limit_s=100),
        [],
        Estimate(0.1, ""),
        run_time_left_s=600.0,
        others_s=4000.0,
        others=9,
    )
    assert isinstance(run, Run)
    assert run.budget_s == pytest.approx(600.0 / 2 / 10 * 2 / 3)


def test_what_does_not_fit_is_no_more_than_a_start_for_the_time_left():
    cells = [make_cell(limit_s=100), make_cell(limit_s=100)]
    measured = Measured(prior=lambda _: Estimate(50.0, "", measured=False))
    assert sum(least_times_s(cells, measured, {})) == 2 * (STARTUP_S + 50.0)
    none = least_times_s(cells, measured, {}, fits=lambda _: False)
    assert none == [STARTUP_S, STARTUP_S]


def test_spare_time_is_shared_with_the_cells_to_come():
    few, many = (
        decide(
            make_cell(limit_s=100),
            [],
            Estimate(4.0, ""),
            run_time_left_s=1000.0,
            others_s=500.0,
            others=others,
        )
        for others in (1, 96)
    )
    assert isinstance(few, Run)
    assert isinstance(many, Run)
    assert few.budget_s == 100.0
    assert 4.0 < many.budget_s < 25.0


def test_the_least_time_counts_one_pass_of_each_cell_that_will_run():
    measured = Measured([record_of(make_cell(1000, 1000), latency_ms=2000.0)])
    cells = [make_cell(2000, 1000), make_cell(50_000, 1000, limit_s=50)]
    assert least_times_s(cells, measured, {}) == [STARTUP_S + 4.0]


@given(
    st.none() | st.floats(0.001, 1e4),
    st.none() | st.floats(-10, 1e4),
    st.floats(0.1, 1e3),
)
def test_no_cell_outlives_the_run(seconds, left_s, limit_s):
    estimate = None if seconds is None else Estimate(seconds, "")
    decision = decide(make_cell(limit_s=limit_s), [], estimate, run_time_left_s=left_s)
    if isinstance(decision, Run):
        assert decision.budget_s <= limit_s
        assert decision.budget_s < decision.deadline_s
        assert left_s is None or decision.deadline_s <= left_s
        assert seconds is None or seconds <= limit_s
    else:
        assert seconds is not None or (left_s is not None and left_s < STARTUP_S)


@given(st.floats(0.1, 1e3), st.floats(1, 1e4), st.floats(0, 1e4))
def test_repeats_never_take_what_important_cells_need(seconds, left_s, reserved_s):
    decision = decide(
        make_cell(limit_s=1e3),
        [],
        Estimate(seconds, ""),
        run_time_left_s=left_s,
        others_s=reserved_s + 1e4,
        others=3,
        reserved_s=reserved_s,
    )
    if isinstance(decision, Run):
        once_s = STARTUP_S + seconds
        assert decision.budget_s <= max(once_s, left_s - reserved_s) * 2 / 3 + 1e-9


def test_an_important_cell_is_tried_though_a_pass_passes_its_limit():
    cell = make_cell(limit_s=100)
    for seconds, tried in ((90, True), (150, True), (253, True), (270, False)):
        decision = decide(cell, [], Estimate(seconds, ""), run_time_left_s=None, listed=True)
        assert isinstance(decision, Run) == tried
    assert isinstance(decide(cell, [], Estimate(150, ""), run_time_left_s=None), Skip)


def test_what_is_only_predicted_is_skipped_where_it_is_far_beyond_the_time_left():
    cell = make_cell(limit_s=1000)
    predicted = Estimate(300.0, "so", measured=False, slack=1.5)
    assert isinstance(decide(cell, [], predicted, run_time_left_s=250.0), Run)
    far = decide(cell, [], predicted, run_time_left_s=150.0)
    assert isinstance(far, Skip)
    assert far.reason_code == "run_time_limit"
    # It does not tell that the cell passes its own limit.
    assert isinstance(decide(make_cell(limit_s=100), [], predicted, run_time_left_s=None), Run)


def test_the_most_important_come_first_and_of_equals_the_least_work():
    cells = [make_cell(side, precision=p) for p in ("bf16", "fp32") for side in (2000, 500)]
    ordered = in_order(
        cells, {cell.id: cell.megapixels for cell in cells}, rank=lambda c: c.precision != "fp32"
    )
    assert ordered == [cells[3], cells[2], cells[1], cells[0]]


def test_larger_than_what_was_out_of_memory_is_skipped():
    records = [record_of(make_cell(2000), "out_of_memory")]
    decision = decide(make_cell(3000), records, None, run_time_left_s=None)
    assert isinstance(decision, Skip)
    assert decision.reason_code == "smaller_size_out_of_memory"
    assert "2000x1000" in decision.reason


@pytest.mark.parametrize(
    "other",
    [
        {"width": 500},
        {"height": 999},
        {"memory_cap_bytes": 10**9},
        {"precision": "fp16"},
        {"model": "adain-vgg16-64x"},
        {"device": "cuda:0"},
        {"style_width": 256},
    ],
)
def test_out_of_memory_says_nothing_of_other_ways_to_run(other):
    cell = make_cell(**{"width": 3000, **other})
    records = [record_of(make_cell(2000), "out_of_memory")]
    assert isinstance(decide(cell, records, None, run_time_left_s=None), Run)


def test_larger_than_what_was_over_time_is_skipped():
    records = [record_of(make_cell(2000), "timeout", reason_code="time_limit")]
    decision = decide(make_cell(3000), records, None, run_time_left_s=None)
    assert isinstance(decision, Skip)
    assert decision.reason_code == "time_limit"
    cut_short = [record_of(make_cell(2000), "timeout", reason_code="run_time_limit")]
    assert isinstance(decide(make_cell(3000), cut_short, None, run_time_left_s=None), Run)


def test_expected_time_of_a_cell():
    cell = make_cell(limit_s=100)
    assert expected_s(cell, None) is None
    assert expected_s(cell, Estimate(1.0, "")) == STARTUP_S + 9  # 2 warm-up, 5 timed, first, memory
    assert expected_s(cell, Estimate(90.0, "")) == STARTUP_S + 100
    assert expected_s(cell, Estimate(101.0, "")) == 0
    assert expected_s(quality_cell(3), Estimate(2.0, "")) == STARTUP_S + 6


def student_cell(pairs: int, **fields: Any) -> Cell:
    cell = quality_cell(pairs, model="adain-vgg16-16x", weights_digest="student", **fields)
    assert cell.quality is not None
    settings = cell.quality.model_copy(update={"teacher_digest": "teacher"})
    return cell.model_copy(update={"quality": settings})


def test_metrics_count_once_a_quality_cell_was_measured():
    pace = record_of(make_cell(), latency_ms=2000.0)
    small = record_of(quality_cell(2, width=500), metrics_s=3.0, quality_pairs=2)
    measured = Measured([pace])
    before = expected_s(quality_cell(4), measured.estimate(quality_cell(4)))
    assert before == STARTUP_S + 4 * 2
    measured.add(small)  # 3 s for two pairs of half a megapixel
    after = measured.estimate(quality_cell(4))
    assert expected_s(quality_cell(4), after) == pytest.approx(before + 4 * 3)
    assert least_times_s([quality_cell(4)], measured, {}) == [pytest.approx(before + 4 * 3)]
    late = decide(quality_cell(4), [], after, run_time_left_s=before)
    assert isinstance(late, Skip)
    assert "4 pairs with their metrics" in late.reason


def test_only_the_metrics_that_grow_are_scaled_with_the_pixels():
    pace = record_of(make_cell(), latency_ms=1000.0)
    done = record_of(
        quality_cell(2, width=250),
        metrics_s=9.0,
        metrics_load_s=4.0,
        metrics_set_s=3.0,
        quality_pairs=2,
    )
    estimate = Measured([pace, done]).estimate(quality_cell(4))
    assert estimate is not None
    # Loading once, 1.5 s a pair of the set's, and 1 s a pair at a quarter of the pixels.
    assert estimate.extra_s == pytest.approx(4.0 + 4 * (1.5 + 4 * 1.0))


def test_a_teachers_outputs_count_until_they_are_there():
    cell = student_cell(3)
    paces = [
        record_of(make_cell(), latency_ms=1000.0),
        record_of(make_cell(model="adain-vgg16-1x"), latency_ms=5000.0),
    ]
    assert expected_s(cell, Measured(paces).estimate(cell)) == STARTUP_S + 3 * (1 + 5)
    taught = record_of(cell, quality_teacher="adain-vgg16-1x")
    assert expected_s(cell, Measured([*paces, taught]).estimate(cell)) == STARTUP_S + 3 * 1
    itself = student_cell(3).model_copy(update={"weights_digest": "teacher"})
    assert expected_s(itself, Measured(paces).estimate(itself)) == STARTUP_S + 3 * 1


def test_time_left_counts_unknown_cells_as_the_mean_of_the_known():
    known, unknown = make_cell(1000), make_cell(1000, precision="bf16")
    measured = Measured([record_of(known, latency_ms=1000.0)])
    one = time_left_s([known], measured, {})
    assert one == STARTUP_S + 9
    assert time_left_s([known, unknown, unknown], measured, {}) == pytest.approx(3 * one)
    assert time_left_s([unknown], measured, {}) is None
    assert time_left_s([], measured, {}) == 0

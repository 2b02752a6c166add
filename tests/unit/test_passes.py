"""Which values of two records compare: first passes with first passes, warm ones with warm ones."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports_data import frame, record

from bench.passes import (
    is_cold,
    is_disturbed,
    latency_pass,
    like_bounds,
    like_peaks,
    like_times,
    no_like_times,
    pass_ms,
    peak_pass,
    with_like_peaks,
)
from bench.record import Record
from reports.model_table import model_table
from reports.page.highlights import highlights
from reports.page.links import RecordIndex
from reports.quality_figure import _costs
from reports.quality_points import trained_points
from reports.reading import read_results
from reports.results import Results
from reports.runs_table import runs_table
from reports.settings_figure import _PANELS, settings_pairs
from reports.sweep_panels import lines
from reports.sweep_quantities import latency, throughput

COLD = 7.0
"""By how much the first pass of a random record is slower than its warm ones."""


def cell(model: str = "wct-vgg16-1x", **fields: Any) -> Record:
    return Record.model_validate(record(model, (512, 512), **fields))


def warm(ms: float, **fields: Any) -> dict[str, Any]:
    bounds = {"latency_ci_low_ms": 0.9 * ms, "latency_ci_high_ms": 1.1 * ms}
    return {"latency_ms": ms, "first_call_ms": COLD * ms, "repeats": 9, **bounds, **fields}


def cold(ms: float, **fields: Any) -> dict[str, Any]:
    return {
        "latency_ms": COLD * ms,
        "first_call_ms": COLD * ms,
        "repeats": 1,
        "reason_code": "measured_once",
        **fields,
    }


def test_a_first_pass_is_compared_with_a_first_pass():
    teacher, student = cell(**cold(2000.0)), cell("wct-vgg16-16x", **warm(200.0))
    found = like_times((student, teacher))
    assert found is not None
    assert (found.of, found.each) == ("first", (1400.0, 14000.0))
    assert found.ratio == pytest.approx(10)
    assert like_bounds(student, teacher) is None


def test_warm_passes_are_compared_where_both_have_them_with_their_intervals():
    teacher, student = cell(**warm(2000.0)), cell("wct-vgg16-16x", **warm(200.0))
    found = like_times((student, teacher))
    assert found is not None
    assert (found.of, found.ratio) == ("warm", pytest.approx(10))
    assert like_bounds(teacher, student) == pytest.approx((0.9 / 1.1 * 10, 1.1 / 0.9 * 10))


def test_without_a_first_pass_of_both_there_is_no_factor_but_a_reason():
    old = cell(**warm(200.0, first_call_ms=None))
    assert like_times((old, cell(**cold(2000.0)))) is None
    assert "first pass" in no_like_times((old, cell(**cold(2000.0))))
    assert like_times((old, cell(status="crashed"))) is None
    assert "a time" in no_like_times((old, cell(status="crashed")))
    assert like_times(()) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (warm(5.0), "warm"),
        (cold(5.0), "first"),
        # One repeat after a first pass: warm, if short of an interval.
        (warm(5.0, repeats=1), "warm"),
        # A single pass in all, by what it says of itself and without.
        ({"latency_ms": 5.0, "first_call_ms": 5.0, "repeats": 1}, "first"),
        ({"latency_ms": 5.0, "repeats": 1}, "first"),
        ({"latency_ms": 5.0}, "warm"),
        ({}, None),
    ],
)
def test_the_kind_of_a_latency(fields: dict[str, Any], expected: str | None):
    assert latency_pass(cell(**fields)) == expected


def test_peaks_of_a_cpu_are_of_the_first_pass_and_those_of_a_card_of_the_latencys():
    cpu = [cell(**made, peak_rss_growth_mb=mb) for made, mb in ((warm(1), 90.0), (cold(1), 30.0))]
    assert [peak_pass(one) for one in cpu] == ["first", "first"]
    assert like_peaks(cpu).ratio == pytest.approx(1 / 3)
    card = [
        cell(**made, device="cuda:0", peak_allocated_mb=mb)
        for made, mb in ((warm(1), 90.0), (cold(1), 30.0))
    ]
    assert [peak_pass(one) for one in card] == ["warm", "first"]
    assert like_peaks(card) is None
    assert like_peaks((cpu[0], card[0])) is None


def test_the_least_memory_is_among_peaks_of_one_kind():
    """On a card, the peak of a cell measured once also holds what its first pass loads."""
    peaks = {"adain-vgg16-1x": 90.0, "adain-vgg16-4x": 60.0, "adain-vgg16-16x": 30.0}
    records = [
        record(model, (512, 512), device="cuda:0", peak_allocated_mb=mb, **made(5.0))
        for (model, mb), made in zip(peaks.items(), (warm, warm, cold), strict=True)
    ]
    results = read_results(frame(records))
    assert [one.model for one in with_like_peaks(results.records)] == list(peaks)[:2]
    found = {one.heading: one for one in highlights(results, RecordIndex(results.records))}
    assert found["Least memory at 0.262 MP"].who == "adain-vgg16-4x"
    table = model_table(results)
    (column,) = [one for one in table.columns if one.key == "peak_memory_mb"]
    cells = [cell for (cell,) in table.cells([column])]
    assert [cell.rank for cell in cells] == [None, "best", None]
    assert [[mark.sign for mark in cell.marks] for cell in cells] == [[], [], ["‖"]]
    reductions = {row["model"]: row["memory_reduction"] for row in table.rows}
    assert reductions == {
        "adain-vgg16-1x": None,
        "adain-vgg16-4x": 1.5,
        "adain-vgg16-16x": None,
    }


def test_what_was_watched_are_the_passes_that_count_as_the_latency():
    timed, once = (cell(**made, conditions=["shared"]) for made in (warm(1.0), cold(1.0)))
    assert is_disturbed(timed)
    assert is_disturbed(timed, "warm")
    assert not is_disturbed(timed, "first")
    assert is_disturbed(once, "first")
    assert not is_disturbed(cell(**warm(1.0), conditions=["power_capped"]))
    assert not is_disturbed(cell(**warm(1.0)))


MODELS = ("adain-vgg16-1x", "adain-vgg16-4x", "adain-vgg16-16x", "wct-vgg16-1x", "wct-vgg16-16x")
WARM_MS = dict(zip(MODELS, (640.0, 320.0, 160.0, 1280.0, 200.0), strict=True))


@st.composite
def runs(draw: st.DrawFn) -> Results:
    """Runs whose warm times all have a known ratio, and first passes the same, COLD times as long.

    So a quotient of two like passes is exactly that ratio, and one of unlike passes is off by COLD.
    """
    found = []
    labels = draw(st.sampled_from([(), ("a", "b")]))
    for run in labels or ("",):
        for model in MODELS:
            for execution in ("whole", "strips"):
                kind = draw(st.sampled_from(["warm", "cold", "old", "absent"]))
                ms = WARM_MS[model] * (3 if execution == "strips" else 1) * (2 if run == "b" else 1)
                made = warm(ms) if kind in ("warm", "old") else cold(ms)
                if kind == "old":
                    made["first_call_ms"] = None
                if kind == "absent":
                    made = {"status": "skipped"}
                conditions = draw(st.sampled_from([None, [], ["shared"]]))
                more = {"peak_rss_growth_mb": 50.0, "throughput_mp_s": 1.0, "weights": "trained"}
                fields = {**made, "conditions": conditions, "execution": execution}
                if kind == "absent":
                    more = {"weights": "trained"}
                one = record(model, (512, 512), **fields, **more)
                found.append({**one, "run": run} if labels else one)
                if execution == "whole":
                    judged = {"style_loss": 1.0, "weights": "trained", "quality_pairs": 1}
                    judge = record(model, (512, 512), kind="quality", **judged)
                    found.append({**judge, "run": run} if labels else judge)
    return read_results(frame(found), labels)


@given(runs())
def test_no_derived_number_mixes_kinds_of_passes(results: Results):
    for row in model_table(results).rows:
        if row["speed_up"] is not None:
            expected = WARM_MS[row["baseline"]] / WARM_MS[row["model"]]
            assert row["speed_up"] == pytest.approx(expected)
        # A column holds one kind of pass only.
        factor = (3 if row["execution"] == "strips" else 1) * (2 if row["run"] == "b" else 1)
        ms = factor * WARM_MS[row["model"]]
        assert row["latency_ms"] in (None, pytest.approx(ms))
        assert row["first_call_ms"] in (None, pytest.approx(COLD * ms))
    if results.runs:
        for row in runs_table(results).rows:
            assert row.get("speed_up_2") in (None, pytest.approx(0.5))
    for pair in settings_pairs(results):
        assert _PANELS[0].value(pair) in (None, pytest.approx(3))
    for one in highlights(results, RecordIndex(results.records)):
        if "astest" in one.heading and one.detail:
            # The next one is at most as much slower as the models are apart.
            assert float(one.detail.split(" times")[0]) <= 1.01 * max(WARM_MS.values()) / 160
    points = trained_points(results)
    for cost in _costs(points):
        if cost.of:
            values = {p.quality.label: cost.value(p.cost) for p in points if p.cost}
            kinds = {
                round(value * 1e3 / WARM_MS[p.quality.model] / (2 if p.quality.run == "b" else 1))
                for p in points
                if p.cost and (value := values[p.quality.label]) is not None
            }
            assert len(kinds) == 1


@given(runs())
def test_no_line_of_a_figure_joins_a_cold_and_a_warm_pass(results: Results):
    for quantity in (latency(), throughput()):
        for one in results.performance:
            found = quantity.measured(one)
            for start, end, faint in lines(found, quantity):
                joined = [record for record, _ in found[start : end + 1]]
                assert len({is_cold(record) for record in joined}) == 1
                if not faint:
                    assert not any(map(quantity.disturbed, joined))


@given(st.lists(st.booleans(), min_size=2, max_size=7))
def test_every_two_neighbours_of_a_kind_are_joined(kinds: list[bool]):
    quantity = latency()
    made = [
        cell(**(cold if is_it_cold else warm)(float(n + 1))) for n, is_it_cold in enumerate(kinds)
    ]
    found = [(one, float(one.latency_ms or 0)) for one in made]
    joined = {(n, n + 1) for start, end, _ in lines(found, quantity) for n in range(start, end)}
    assert joined == {(n, n + 1) for n in range(len(kinds) - 1) if kinds[n] == kinds[n + 1]}


def test_repeats_of_one_cell_are_merged_by_kind():
    repeats = [
        record("wct-vgg16-1x", (512, 512), repeat=n, **made)
        for n, made in enumerate((cold(100.0), warm(100.0), warm(120.0)))
    ]
    for order in permutations(repeats):
        (series,) = read_results(frame(list(order))).performance
        (merged,) = series.ok
        assert latency_pass(merged) == "warm"
        assert merged.latency_ms == pytest.approx(110)
        # First passes are of all three.
        assert pass_ms(merged, "first") == pytest.approx(COLD * 100)


def test_a_repeat_that_the_run_stopped_does_not_fail_its_cell():
    stopped = {"status": "timeout", "reason_code": "run_time_limit"}
    ok = record("wct-vgg16-1x", (512, 512), **warm(5.0))
    late = record("wct-vgg16-1x", (512, 512), repeat=1, **stopped)
    over = late | {"reason_code": "time_limit"}
    for other, expected in ((late, "ok"), (over, "timeout")):
        (series,) = read_results(frame([ok, other])).performance
        assert [one.status for one in series.cells] == [expected]

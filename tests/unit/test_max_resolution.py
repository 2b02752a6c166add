"""The search for the largest image: brackets, bisects, and says what it rests on."""

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import EnvironmentUnfitError, UserError
from bench.max_resolution import (
    TOLERANCE,
    Probe,
    evidence,
    find_largest,
    longest_side,
    predicted_side,
    prober,
    size_of_side,
)
from bench.prediction.predict import Predictor
from bench.record import Record
from bench.run.draft import draft_fields
from bench.units import MAX_SIDE, Size
from tests.unit.test_prediction_calibration import make_cell

PHOTO = Fraction(4, 3)


def probe_of(size: Size, status: str = "ok") -> Probe:
    fits = status == "ok"
    return Probe(
        size=size,
        predicted_mb=size.pixels / 1e4,
        predicted_peak_mb=size.pixels / 2e4,
        measured_peak_mb=size.pixels / 2.1e4 if fits else None,
        counter="peak_rss_growth_mb",
        status=status,
        reason="" if fits else "no room",
        seconds=size.pixels / 1e6 if fits else None,
    )


def up_to(pixels: float, status: str = "out_of_memory") -> Callable[[Size], Probe]:
    return lambda size: probe_of(size, "ok" if size.pixels <= pixels else status)


@given(
    limit=st.integers(40_000, 10**9),
    start=st.integers(1, 60_000),
    aspect=st.sampled_from([PHOTO, Fraction(1), Fraction(16, 9), Fraction(9, 16), Fraction(5, 2)]),
)
def test_the_answer_runs_and_two_percent_more_does_not_wherever_it_begins(limit, start, aspect):
    found = find_largest(up_to(limit), aspect=aspect, start=start, bound=10**6)
    assert found.beyond is not None
    assert found.size.pixels <= limit < found.beyond.pixels
    next_width = size_of_side(found.size.width + 1, aspect)
    assert (
        # Rounding the height to whole pixels adds to the tolerance what half a line is.
        found.beyond.pixels <= (1 + TOLERANCE + 2 / found.size.height) * found.size.pixels
        or found.beyond == next_width
    )
    assert found.limit == "memory"
    ran = {probe.size: probe.fits for probe in found.probes}
    assert ran[found.size]
    assert not ran[found.beyond]


@pytest.mark.parametrize(("factor", "most"), [(1.3, 8), (2.0, 12), (4.0, 15)])
@given(limit=st.integers(10**6, 10**9), error=st.floats(-1, 1))
def test_the_nearer_the_prediction_the_fewer_probes_and_only_the_answer_is_run_twice(
    factor, most, limit, error
):
    """As many as ``docs/prediction.md`` says."""
    start = int((limit * factor**error * PHOTO) ** 0.5)
    found = find_largest(up_to(limit), aspect=PHOTO, start=start, bound=10**6)
    sizes = [probe.size for probe in found.probes]
    assert [size for size in set(sizes) if sizes.count(size) > 1] == [found.size]
    assert sizes.count(found.size) == 2
    assert len(sizes) <= most


@given(seed=st.randoms(use_true_random=False), limit=st.integers(10**5, 10**8))
def test_where_sizes_near_the_limit_fit_by_chance_the_answer_is_one_that_ran_twice(seed, limit):
    def noisy(size: Size) -> Probe:
        return up_to(limit * seed.uniform(0.95, 1.05))(size)

    found = find_largest(noisy, aspect=PHOTO, start=int(limit**0.5), bound=10**6)
    assert [probe.fits for probe in found.probes if probe.size == found.size] == [True, True]
    assert found.beyond is not None
    assert found.beyond.pixels > found.size.pixels
    assert any(probe.size == found.beyond and not probe.fits for probe in found.probes)
    # Chance decides within its range; bracket and tolerance add to it at its ends.
    assert 0.91 * limit < found.size.pixels < 1.06 * limit


def test_where_no_size_runs_a_second_time_there_is_no_answer():
    tried: set[Size] = set()

    def once(size: Size) -> Probe:
        again = size in tried
        tried.add(size)
        return probe_of(size, "out_of_memory" if again else "ok")

    with pytest.raises(EnvironmentUnfitError, match=r"not even \d+x\d+ runs: out_of_memory"):
        find_largest(once, aspect=PHOTO, start=100, bound=200)


def test_what_runs_at_the_bound_ends_the_search():
    found = find_largest(up_to(1e12), aspect=PHOTO, start=3000, bound=4000)
    assert (found.size.width, found.beyond, found.limit) == (4000, None, "bound")


@pytest.mark.parametrize(("status", "limit"), [("timeout", "time"), ("crashed", "crash")])
def test_what_was_not_stopped_by_memory_is_told_from_it(status, limit):
    found = find_largest(up_to(10**6, status), aspect=PHOTO, start=1000, bound=10**6)
    assert found.limit == limit


def test_where_nothing_runs_the_reason_is_told():
    with pytest.raises(EnvironmentUnfitError, match=r"not even 22x16 runs: out_of_memory: no room"):
        find_largest(up_to(0), aspect=PHOTO, start=100, bound=1000)


def test_the_evidence_has_every_probe_in_the_order_of_size():
    found = find_largest(up_to(10**6), aspect=PHOTO, start=2000, bound=10**6)
    rows = evidence(found.probes)
    assert len(rows) == len(found.probes)
    assert [row["megapixels"] for row in rows] == sorted(p.size.megapixels for p in found.probes)
    statuses = [row["status"] for row in rows]
    assert statuses == sorted(statuses), "all that ran are smaller than all that did not"
    first, last = rows[0], rows[-1]
    assert first["measured_peak_rss_growth_mb"] == pytest.approx(
        first["megapixels"] * 1e6 / 2.1e4, abs=0.1
    )
    assert (last["measured_peak_rss_growth_mb"], last["reason"]) == (None, "no room")


def test_the_start_is_the_largest_size_that_is_predicted_to_fit():
    cell = make_cell(model="adain-vgg16-16x")
    predictor = Predictor()
    width = predicted_side(cell, predictor, aspect=PHOTO, room_bytes=10**9, bound=20_000)
    needs = [
        predictor.predict(cell.model_copy(update=size_of_side(one, PHOTO)._asdict())).needed_mb
        for one in (width, width + 1)
    ]
    assert needs[0] <= 1000 < needs[1]
    assert predicted_side(cell, predictor, aspect=PHOTO, room_bytes=10**13, bound=500) == 500


def test_no_side_is_longer_than_an_image_may_be():
    assert longest_side(PHOTO, 12) == 4000
    assert size_of_side(4000, PHOTO) == (4000, 3000)
    assert longest_side(Fraction(1000), 1e6) == MAX_SIDE
    assert longest_side(Fraction(1, 1000), 1e6) == MAX_SIDE


@pytest.mark.parametrize("aspect", [Fraction(1, 50), Fraction(50), Fraction(1, 20)])
def test_a_narrow_image_is_found_as_nearly_as_a_wide_one(aspect: Fraction):
    found = find_largest(up_to(4_123_456), aspect=aspect, start=1000, bound=10**6)
    assert found.beyond is not None
    rounding = 1 / min(found.size)
    assert found.beyond.pixels <= (1 + TOLERANCE + rounding) * found.size.pixels


def test_a_bound_below_the_smallest_size_is_named():
    with pytest.raises(UserError, match=r"--max-megapixels: 0.01 is less than .* 16000x16 "):
        longest_side(Fraction(1000), 0.01)


def test_a_cap_that_is_not_enforced_has_no_largest_image(monkeypatch):
    cell = make_cell(memory_cap_bytes=10**8)
    fields = draft_fields(cell) | {"status": "ok", "memory_cap_mechanism": "not enforced: no /proc"}
    monkeypatch.setattr("bench.max_resolution.run_cell", lambda *_, **__: Record(**fields))
    probe = prober(cell, Predictor(), None, deadline_s=1, report=lambda _: None)
    with pytest.raises(EnvironmentUnfitError, match=r"the memory cap is not enforced: no /proc"):
        probe(Size(64, 64))


def test_nothing_that_is_predicted_to_fit_is_zero():
    cell = make_cell(width=512, height=512)
    assert predicted_side(cell, Predictor(), aspect=PHOTO, room_bytes=1, bound=500) == 0


MODEL = ["max-resolution", "--model", "adain-vgg16-64x"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["max-resolution", "--model", "adain-vgg16-61x"], "--model: "),
        ([*MODEL, "--aspect", "4"], "--aspect: width to height such as 16:9 is needed; got '4'"),
        ([*MODEL, "--aspect", "4:0"], "--aspect: "),
        ([*MODEL, "--aspect", "4000:1"], "--aspect: at most 1000:1"),
        ([*MODEL, "--memory-cap", "12"], "--memory-cap: "),
        ([*MODEL, "--memory-cap", "0GB"], "--memory-cap: "),
        ([*MODEL, "--execution", "strip"], "did you mean 'strips'?"),
        ([*MODEL, "--precision", "fp8"], "--precision: "),
        ([*MODEL, "--max-megapixels", "0"], "--max-megapixels: must be 0.001 to 1000000, got 0"),
        ([*MODEL, "--time-limit", "soon"], "--time-limit: "),
        ([*MODEL, "--format", "jsn"], "did you mean 'json'?"),
        ([*MODEL, "--device", "gpu"], "gpu"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(options, says, tmp_path):
    result = CliRunner().invoke(app, [*options, "--out", str(tmp_path)])
    assert isinstance(result.exception, UserError)
    (problem,) = result.exception.problems
    assert says in problem
    assert "\n" not in problem
    assert list(tmp_path.iterdir()) == []

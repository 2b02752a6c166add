import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.energy_series import (
    advance,
    counter_energy_j,
    power_energy_j,
    relative_spread,
    update_period_s,
)

SPAN = 262_143_328_851  # of a real package's counter, in microjoules


@given(
    start=st.integers(0, SPAN - 1),
    steps=st.lists(st.integers(0, SPAN - 1), max_size=20),
)
def test_a_counter_that_wraps_around_loses_nothing(start, steps):
    shown, total = start, 0
    for step in steps:
        after = (shown + step) % SPAN
        total += advance(shown, after, SPAN)
        shown = after
    assert total == sum(steps)


def stepped(power, *, period, length, interval):
    """Readings of a counter that moves once a period, to the energy that was used by then."""
    count = int(length / interval)
    times = [n * interval for n in range(count)]
    return [(at, energy(power, math.floor(at / period + 1e-9) * period)) for at in times]


def energy(power, until):
    """Integral of ``power`` from 0: 50 W, then ``power`` from 2 s on."""
    return 50 * min(until, 2.0) + power * max(0.0, until - 2.0)


@given(
    power=st.floats(60, 700),
    period=st.sampled_from([0.02, 0.05, 0.1]),
    start=st.floats(2.2, 3.0),
    length=st.floats(1.0, 4.0),
)
def test_a_steady_power_is_found_within_the_sampling_by_a_counter_that_moves_in_steps(
    power, period, start, length
):
    series = stepped(power, period=period, length=8.0, interval=0.01)
    found = counter_energy_j(series, start, start + length)
    # A step is seen up to one reading late.
    assert found == pytest.approx(power * length, abs=power * 0.011)


def test_energy_before_the_work_is_not_counted_to_it():
    series = stepped(650.0, period=0.1, length=8.0, interval=0.01)
    assert counter_energy_j(series, 0.5, 1.5) == pytest.approx(50)


@pytest.mark.parametrize(
    ("series", "problem"),
    [
        ([(0.1 * n, 5.0) for n in range(50)], "did not move"),
        ([(0.0, 1.0), (1.0, 2.0)], "did not move"),
        ([], "did not move"),
        ([(0.0, 0.0), (0.5, 1.0), (1.5, 9.0), (2.5, 2.0), (3.5, 3.0)], "ran backwards"),
        ([(0.0, 0.0), (1.2, 1.0), (1.5, 9.0), (3.5, 10.0)], "not read around"),
        ([(0.0, 0.0), (0.5, 1.0), (1.5, 9.0), (1.9, 10.0)], "not read around"),
    ],
)
def test_readings_that_do_not_tell_are_refused(series, problem):
    with pytest.raises(ValueError, match=problem):
        counter_energy_j(series, 1.0, 2.0)


@given(
    base=st.floats(0, 500),
    slope=st.floats(-20, 200),
    start=st.floats(0.0, 3.0),
    length=st.floats(0.1, 6.0),
    times=st.lists(st.floats(0.01, 9.9), max_size=30, unique=True),
)
def test_power_that_changes_evenly_is_integrated_exactly(base, slope, start, length, times):
    def power(at):
        return base + 200 + slope * at

    series = [(at, power(at)) for at in sorted({0.0, 10.0, *times})]
    end = start + length
    expected = (power(start) + power(end)) / 2 * length
    assert power_energy_j(series, start, end) == pytest.approx(expected, rel=1e-9)


def test_the_error_of_the_trapezoid_rule_is_the_known_one():
    # Of t^2 over an even grid of steps h it is length * h^2 / 6.
    series = [(n * 0.25, (n * 0.25) ** 2) for n in range(17)]
    assert power_energy_j(series, 0.0, 4.0) == pytest.approx(64 / 3 + 4 * 0.25**2 / 6)


@given(split=st.floats(1.01, 2.99))
def test_parts_of_a_window_make_up_the_whole(split):
    counter = stepped(321.0, period=0.05, length=5.0, interval=0.01)
    power = [(n * 0.1, 100 + 37.0 * (n % 3)) for n in range(50)]
    for found, series in ((counter_energy_j, counter), (power_energy_j, power)):
        parts = found(series, 1.0, split) + found(series, split, 3.0)
        assert parts == pytest.approx(found(series, 1.0, 3.0))


def test_the_period_of_a_counter_is_that_of_its_moves():
    series = stepped(300.0, period=0.1, length=2.0, interval=0.01)
    assert update_period_s(series) == pytest.approx(0.1)
    assert update_period_s(series[:35]) is None
    assert update_period_s([]) is None


def test_the_spread_is_the_range_over_the_mean():
    assert relative_spread([9.0, 10.0, 11.0]) == pytest.approx(0.2)
    assert relative_spread([10.0]) is None
    assert relative_spread([0.0, 0.0]) is None

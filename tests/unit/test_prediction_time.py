"""Times from rates, and rates from times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.prediction.time import Roofline, Timed, fit_roofline
from bench.prediction.traffic import Work

amounts = st.tuples(
    st.floats(1e6, 1e13), st.floats(1e5, 1e12), st.floats(0, 1e11), st.floats(1, 1e6)
)
works = amounts.map(lambda found: Work(0.0, *found))
rates = st.tuples(
    *(st.floats(*span) for span in ((1e-14, 1e-10), (1e-13, 1e-9), (0, 1e-9), (0, 1e-4)))
)


@given(rates=rates, works=st.lists(works, min_size=5, max_size=12))
def test_passes_that_were_timed_are_predicted_as_they_were(rates, works):
    device = Roofline(*rates)
    timed = [Timed(work, device.seconds(work)) for work in works]
    fitted = fit_roofline(timed)
    for work, seconds in timed:
        assert fitted.seconds(work) == pytest.approx(seconds, rel=1e-3)


@given(works=st.lists(works, min_size=1, max_size=6), data=st.data())
def test_no_rate_is_negative_however_noisy_the_times(works, data):
    timed = [Timed(work, data.draw(st.floats(1e-3, 1e3))) for work in works]
    fitted = fit_roofline(timed)
    assert min(vars(fitted).values()) >= 0
    more = 2.0 * works[0]
    assert fitted.seconds(more) == pytest.approx(2 * fitted.seconds(works[0]))


def test_each_rate_is_told_from_the_others():
    # Four passes, each of one thing alone.
    timed = [
        Timed(Work(lane_macs=1e12), 10.0),
        Timed(Work(bytes=1e9), 0.1),
        Timed(Work(fresh_bytes=1e9), 0.25),
        Timed(Work(launches=1e3), 0.02),
    ]
    assert fit_roofline(timed) == Roofline(*map(pytest.approx, (1e-11, 1e-10, 2.5e-10, 2e-5)))


def test_rates_cannot_come_from_nothing():
    with pytest.raises(ValueError, match="no pass"):
        fit_roofline([])


def test_work_adds_up():
    a, b = Work(1, 2, 3, 4, 5), Work(10, 20, 30, 40, 50)
    assert a + b == Work(11, 22, 33, 44, 55)
    assert b - a == Work(9, 18, 27, 36, 45)
    assert 3 * a == Work(3, 6, 9, 12, 15)

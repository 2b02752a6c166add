import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.measure.statistics import median_interval, tukey_outliers

FINITE = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


def _normal(rng, shape):
    return rng.normal(10, 2, shape)


def _lognormal(rng, shape):
    return rng.lognormal(0, 1.5, shape)


def _bimodal(rng, shape):
    """70 % at 1 and 30 % at 5: the mean lies far from the median."""
    return np.where(rng.random(shape) < 0.7, rng.normal(1, 0.1, shape), rng.normal(5, 0.1, shape))


TRUE_MEDIAN = {
    _normal: 10.0,
    _lognormal: 1.0,
    # The median of the mixture is the 0.5/0.7 quantile of its lower mode.
    _bimodal: float(stats.norm.ppf(0.5 / 0.7, 1, 0.1)),
}


@pytest.mark.parametrize("draw", TRUE_MEDIAN)
@pytest.mark.parametrize("count", [6, 11, 30, 75])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_covers_the_true_median_as_often_as_it_says(draw, count, confidence):
    trials = 2000
    rng = np.random.default_rng(20240607)
    covered = 0
    for sample in draw(rng, (trials, count)):
        low, high = median_interval(sample.tolist(), confidence)
        covered += low <= TRUE_MEDIAN[draw] <= high
    # If the coverage is at least `confidence`, fewer than this happen once in 10,000 times.
    assert covered >= stats.binom.ppf(1e-4, trials, confidence)


@pytest.mark.parametrize("count", [6, 20, 50, 200])
def test_the_interval_is_the_shortest_that_keeps_its_confidence(count):
    low, high = median_interval([float(i) for i in range(1, count + 1)])
    rank = int(low)
    assert high == count + 1 - rank
    assert 1 - 2 * stats.binom.cdf(rank - 1, count, 0.5) >= 0.95
    assert 1 - 2 * stats.binom.cdf(rank, count, 0.5) < 0.95


@pytest.mark.parametrize(("confidence", "enough"), [(0.9, 5), (0.95, 6), (0.99, 8)])
def test_there_is_no_interval_of_too_few_samples(confidence, enough):
    assert median_interval([], confidence) is None
    assert median_interval([1.0] * (enough - 1), confidence) is None
    assert median_interval([1.0] * enough, confidence) == (1.0, 1.0)


@given(st.lists(FINITE, min_size=6, max_size=60), st.randoms())
def test_the_interval_holds_the_sample_median_and_ignores_the_order(samples, random):
    low, high = median_interval(samples)
    assert low <= np.median(samples) <= high
    shuffled = samples.copy()
    random.shuffle(shuffled)
    assert median_interval(shuffled) == (low, high)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.5])
def test_a_confidence_outside_0_and_1_is_refused(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        median_interval([1.0] * 10, confidence)


def test_outliers_lie_beyond_three_interquartile_ranges():
    # Of 0..8 and one more the quartiles are 2.25 and 6.75: the upper fence is at 20.25.
    inside, outside = [*range(9), 20.2], [*range(9), 20.3]
    assert tukey_outliers(inside) == []
    assert tukey_outliers(outside) == [9]


def test_outliers_are_found_on_both_sides_and_given_by_position():
    assert tukey_outliers([-100.0, 1, 2, 3, 4, 5, 100.0, 6]) == [0, 6]


def test_no_samples_have_no_outliers():
    assert tukey_outliers([]) == []


@given(st.lists(FINITE, min_size=1, max_size=40))
def test_at_most_half_of_the_samples_are_outliers(samples):
    assert len(tukey_outliers(samples)) <= math.floor(len(samples) / 2)

"""Effects and intervals against scipy, closed forms, and by coverage."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from bench.compare.statistics import (
    Effect,
    alternating,
    drift_per_round,
    holm,
    repeats_needed,
    separate,
    with_shared_spread,
)
from tests.performance.compare_simulation import NOISES, simulate, with_noise

values = st.floats(-2, 2).map(lambda value: round(value, 2))


@given(st.lists(values, min_size=5, max_size=5), st.lists(values, min_size=5, max_size=5))
def test_equal_numbers_give_welchs_test(base: list[float], new: list[float]):
    assume(min(np.std(base), np.std(new)) > 0.01)
    effect, expected = separate(base, new), stats.ttest_ind(new, base, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert effect.interval(0.95) == pytest.approx((low, high))
    one_sided = stats.ttest_ind(new, base, equal_var=False, alternative="greater").pvalue
    assert effect.chance_of_no_increase() == pytest.approx(one_sided)
    assert effect.chance_of_no_decrease() == pytest.approx(1 - one_sided)


@given(st.lists(values, min_size=2, max_size=4), st.lists(values, min_size=5, max_size=9))
def test_few_against_many_are_never_trusted_more_than_welch_does(
    base: list[float], new: list[float]
):
    assume(min(np.std(base), np.std(new)) > 0.01)
    low, high = separate(base, new).interval(0.95)
    expected = stats.ttest_ind(new, base, equal_var=False).confidence_interval(0.95)
    assert low <= expected.low + 1e-9
    assert high >= expected.high - 1e-9


@given(st.lists(st.tuples(values, values), min_size=3, max_size=9))
def test_turns_give_the_paired_test(turns: list[tuple[float, float]]):
    base, new = zip(*turns, strict=True)
    assume(np.std(np.subtract(new, base)) > 0.01)
    low, high = stats.ttest_rel(new, base).confidence_interval(0.95)
    assert alternating(base, new).interval(0.95) == pytest.approx((low, high))


def test_what_both_of_a_turn_share_cancels():
    machine = [0.0, 0.3, -0.2, 0.5]
    effect = alternating(machine, [value + 0.1 for value in machine])
    assert effect.value == pytest.approx(0.1)
    assert effect.chance_of_no_increase() < 1e-3
    assert separate(machine, [value + 0.1 for value in machine]).chance_of_no_increase() > 0.2


def test_values_that_agree_to_the_last_digit_are_not_known_without_error():
    effect = separate([1.0] * 5, [1.0] * 5)
    assert effect.interval(0.95)[1] == pytest.approx(2.306 * 0.002 * math.sqrt(0.4), rel=1e-3)


def test_a_cell_far_quieter_than_the_others_is_taken_for_lucky():
    effects = [Effect(0.1, spread, 0.5, 8, "separate") for spread in (0.001, 0.1, 0.2)]
    assert [effect.spread for effect in with_shared_spread(effects)] == pytest.approx(
        [0.07, 0.1, 0.2]
    )


def test_holm_against_his_procedure_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferronis(chances: list[float]):
    for adjusted, chance in zip(holm(chances), chances, strict=True):
        assert chance <= adjusted <= min(1, len(chances) * chance) + 1e-12


def test_drift_is_the_slope_of_a_line_without_noise():
    base = [[0.02 * turn for turn in range(5)], [1 + 0.02 * turn for turn in range(5)]]
    new = [[0.3 + 0.02 * turn for turn in range(5)]]
    assert drift_per_round(base, new) == pytest.approx(0.02)
    assert drift_per_round(new, base) == pytest.approx(0.02)


def test_no_drift_is_seen_in_noise_around_one_level_more_than_stated():
    rng = np.random.default_rng(1)
    seen = sum(
        drift_per_round(rng.standard_normal((3, 5)).tolist(), rng.standard_normal((3, 5)).tolist())
        > 0
        for _ in range(400)
    )
    assert seen <= stats.binom.ppf(0.9999, 400, 0.05)


@given(
    st.sampled_from(["separate", "alternating"]),
    st.floats(0.005, 0.3),
    st.floats(0.02, 0.3),
    st.floats(0, 0.01),
)
def test_that_many_processes_settle_it_and_one_fewer_does_not(
    design, spread: float, distance: float, drift: float
):
    effect = Effect(0.0, spread, 1.0, 4, design, drift)
    count = repeats_needed(effect, distance, 0.025)
    each = 1 if design == "alternating" else 2

    def half_width(n: int) -> float:
        return stats.t.ppf(0.975, each * (n - 1)) * spread * math.sqrt(each / n)

    if count is None:
        assert half_width(1000) > distance - drift
        return
    assert half_width(count) <= distance - drift
    assert count == 3 or half_width(count - 1) > distance - drift


def test_no_number_of_processes_helps_against_a_drift():
    assert repeats_needed(Effect(0.03, 0.01, 0.6, 8, "separate", 0.05), 0.02, 0.025) is None


@pytest.mark.parametrize("noise", sorted(NOISES))
@pytest.mark.parametrize(("base", "new"), [(4, 4), (5, 7), (10, 10)])
def test_intervals_cover_as_stated(noise: str, base: int, new: int):
    draw = with_noise(noise, cells=1, base=base, new=new, rng=np.random.default_rng(2))
    outcome = simulate(draw, noise=noise, change=0.1, comparisons=400)
    # fewer would happen once in 10,000 such tests if they covered 95 %
    assert outcome.covered >= 100 * stats.binom.ppf(1e-4, 400, 0.95) / 400

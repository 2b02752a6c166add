"""Statistics of pairwise preferences: closed forms, and what no order or name may change."""

import math
from itertools import combinations

import choix
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from bench.study.resampling import fit_many, mean_prior
from bench.study.statistics import (
    Comparison,
    agreement,
    bootstrap_shares,
    bradley_terry,
    head_to_head,
    preference_shares,
    win_rates,
)


def answers(first: str, second: str, wins: int, losses: int) -> list[Comparison]:
    """Answers of raters of their own, on a few image pairs."""
    return [
        Comparison(f"r{n}", f"p{n % 5}", first, second, first if n < wins else second)
        for n in range(wins + losses)
    ]


def study(chances, raters=6, pairs=5, seed=0) -> list[Comparison]:
    """Every rater on every pair; ``chances`` of the first of two methods beating the second."""
    rng = np.random.default_rng(seed)
    return [
        Comparison(f"r{rater}", f"p{pair}", a, b, a if rng.random() < chance else b)
        for rater in range(raters)
        for pair in range(pairs)
        for (a, b), chance in chances.items()
    ]


comparison = st.tuples(
    st.sampled_from("rst"), st.sampled_from("pq"), st.sampled_from(list(combinations("abcd", 2)))
).flatmap(
    lambda drawn: st.builds(
        Comparison,
        rater=st.just(drawn[0]),
        pair=st.just(drawn[1]),
        first=st.just(drawn[2][0]),
        second=st.just(drawn[2][1]),
        winner=st.sampled_from(drawn[2]),
    )
)


def test_an_answer_names_two_methods_and_one_of_them():
    with pytest.raises(ValueError, match="'c' is neither 'a' nor 'b'"):
        Comparison("r", "p", "a", "b", "c")
    with pytest.raises(ValueError, match="'a' twice"):
        Comparison("r", "p", "a", "a", "a")


def test_win_rates_are_shares_of_what_was_compared():
    rates = win_rates(answers("a", "b", 3, 1) + answers("c", "b", 0, 2))
    assert rates.loc["a", "b"] == 0.75
    assert rates.loc["b", "a"] == 0.25
    assert rates.loc["b", "c"] == 1
    assert math.isnan(rates.loc["a", "c"])
    assert math.isnan(rates.loc["a", "a"])


# Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17,
# 1998, table I, method 3.
@pytest.mark.parametrize(
    ("wins", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_shares_have_wilsons_interval(wins, n, low, high):
    share = preference_shares(answers("a", "b", wins, n - wins)).set_index("method").loc["a"]
    assert (share["wins"], share["n"], share["share"]) == (wins, n, wins / n)
    assert share["low"] == pytest.approx(low, abs=5e-5)
    assert share["high"] == pytest.approx(high, abs=5e-5)


def test_wilsons_interval_follows_the_confidence():
    z, n, p = 1.6448536269514722, 40, 0.75  # of 90 %
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    share = preference_shares(answers("a", "b", 30, 10), 0.9).iloc[0]
    assert share["low"] == pytest.approx((centre - half) / (1 + z * z / n))
    assert share["high"] == pytest.approx((centre + half) / (1 + z * z / n))


@given(st.integers(0, 200), st.integers(0, 200))
def test_bradley_terry_of_two_is_the_log_odds(wins, losses):
    assume(wins + losses)
    found = bradley_terry(answers("a", "b", wins, losses), resamples=2)["strength"]
    assert found[0] - found[1] == pytest.approx(math.log((wins + 0.5) / (losses + 0.5)), abs=1e-6)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_bradley_terry_finds_the_strengths_that_made_the_answers():
    truth = {"a": 1.2, "b": 0.1, "c": -0.3, "d": -1.0}
    made = []
    for one, other in combinations(truth, 2):
        chance = 1 / (1 + math.exp(truth[other] - truth[one]))
        made += answers(one, other, round(10_000 * chance), round(10_000 * (1 - chance)))
    found = bradley_terry(made, resamples=2).set_index("method")["strength"]
    assert found.to_dict() == pytest.approx(truth, abs=2e-3)


def test_a_method_that_always_wins_is_finite_and_its_interval_open_to_more():
    made = study({("a", "b"): 1.0, ("b", "c"): 0.5, ("a", "c"): 1.0})
    found = bradley_terry(made).set_index("method")
    assert np.isfinite(found.to_numpy()).all()
    assert found["strength"].idxmax() == "a"
    # an always-winner of 60 may win 199 of 200: log odds of 5 and more are not excluded
    best = found.loc["a"]
    assert best["high"] - best["strength"] > 1
    assert best["low"] > found["high"].drop("a").max()


def test_methods_that_never_met_are_not_ranked_with_confidence():
    made = answers("a", "b", 20, 10) + answers("c", "d", 20, 10)
    found = bradley_terry(made).set_index("method")
    assert found.loc["a", "strength"] == pytest.approx(found.loc["c", "strength"], abs=1e-6)
    assert (found["high"] - found["low"]).min() > 4


@settings(max_examples=30)
@given(st.lists(comparison, min_size=1, max_size=30))
def test_strengths_are_finite_ordered_and_independent_of_the_order_of_answers(made):
    found = bradley_terry(made, resamples=20)
    assert np.isfinite(found[["strength", "low", "high"]].to_numpy()).all()
    assert (found["low"] <= found["strength"]).all()
    assert (found["strength"] <= found["high"]).all()
    assert found.equals(bradley_terry(made[::-1], resamples=20))


@settings(max_examples=30)
@given(st.lists(comparison, min_size=1, max_size=30))
def test_who_was_shown_first_changes_nothing(made):
    swapped = [Comparison(c.rater, c.pair, c.second, c.first, c.winner) for c in made]
    assert win_rates(made).equals(win_rates(swapped))
    for statistic in (bradley_terry, bootstrap_shares, head_to_head):
        assert statistic(made, resamples=5).equals(statistic(swapped, resamples=5))
    assert repr(agreement(made, resamples=5)) == repr(agreement(swapped, resamples=5))


@settings(max_examples=30)
@given(st.integers(2, 7), st.integers(0, 10**6), st.sampled_from([1, 30, 1000]))
def test_resamples_are_fitted_as_choix_fits(methods, seed, games):
    rng = np.random.default_rng(seed)
    wins = rng.integers(0, games + 1, (methods, methods)) * (1 - np.eye(methods))
    wins = wins + mean_prior(methods)
    expected = choix.ilsr_pairwise_dense(wins, max_iter=10_000, tol=1e-10)
    found = fit_many(np.stack([wins, wins.T]), np.zeros(methods))
    assert found[0] == pytest.approx(expected - expected.mean(), abs=1e-6)
    assert found[1] == pytest.approx(-found[0], abs=1e-6)  # losses for wins


def test_the_bootstrap_sees_that_raters_are_few():
    # Two kinds of raters, each sure: 200 answers of 4 raters say less than of 40.
    def of(raters: int) -> float:
        made = [
            Comparison(f"r{n}", f"p{k}", "a", "b", "a" if n % 2 else "b")
            for n in range(raters)
            for k in range(200 // raters)
        ]
        found = bootstrap_shares(made).iloc[0]
        assert found["share"] == 0.5
        return found["high"] - found["low"]

    wilson = preference_shares(answers("a", "b", 100, 100)).iloc[0]
    # The share of n raters, weighted as in the Bayesian bootstrap, is Beta(n/2, n/2).
    for raters in (4, 40):
        low, high = beta.ppf([0.025, 0.975], raters / 2, raters / 2)
        assert of(raters) == pytest.approx(high - low, rel=0.1)
    assert of(4) > 3 * (wilson["high"] - wilson["low"])


def test_the_bootstrap_sees_that_image_pairs_are_few():
    made = [
        Comparison(f"r{n}", f"p{k}", "a", "b", "a" if k % 2 else "b")
        for n in range(50)
        for k in range(4)
    ]
    found = bootstrap_shares(made).iloc[0]
    low, high = beta.ppf([0.025, 0.975], 2, 2)
    assert found["high"] - found["low"] == pytest.approx(high - low, rel=0.1)


def test_head_to_head_of_two_methods_is_their_share():
    made = study({("a", "b"): 0.7})
    duel, share = head_to_head(made).iloc[0], bootstrap_shares(made).iloc[0]
    assert (duel["method"], duel["opponent"]) == ("a", "b")
    for key in ("wins", "n", "share"):
        assert duel[key] == share[key]
    assert duel["low"] == pytest.approx(share["low"], abs=0.02)
    assert duel["high"] == pytest.approx(share["high"], abs=0.02)


def test_more_answers_narrow_the_interval_and_more_confidence_widens_it():
    def width(raters: int, confidence: float = 0.95) -> float:
        made = study({("a", "b"): 0.6, ("b", "c"): 0.6}, raters=raters, pairs=raters)
        found = bradley_terry(made, confidence)
        return float((found["high"] - found["low"]).mean())

    assert width(24) < 0.7 * width(6)
    assert width(6, 0.99) > width(6) > width(6, 0.5)


def test_the_bootstrap_repeats_itself_with_its_seed():
    made = study({("a", "b"): 0.6})
    assert bradley_terry(made, seed=3).equals(bradley_terry(made, seed=3))
    assert not bradley_terry(made, seed=3).equals(bradley_terry(made, seed=4))


def test_agreement_is_full_nil_and_kendalls():
    same = study({("a", "b"): 1.0, ("b", "c"): 1.0, ("a", "c"): 1.0})
    found = agreement(same)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert (found.n_units, found.n_raters, found.reason) == (15, 6, "")
    coins = agreement(study({("a", "b"): 0.5, ("a", "c"): 0.5}, raters=12, pairs=60))
    assert coins.low < 0 < coins.high
    assert abs(coins.value) < 0.05
    # Two raters who always differ: u is -1, its least value.
    opposed = [
        Comparison(rater, f"p{k}", "a", "b", method)
        for rater, method in (("r", "a"), ("s", "b"))
        for k in range(4)
    ]
    assert agreement(opposed).value == -1
    # Kendall and Babington Smith's u: 2 S / (C(m, 2) C(n, 2)) - 1. Four raters, one question
    # decided 3 to 1 (3 couples agree of 6) and one 4 to 0 (6 of 6): 2 * 9 / 12 - 1.
    votes = {"p": "aaab", "q": "aaaa"}
    made = [
        Comparison(f"r{n}", k, "a", "b", v) for k, vs in votes.items() for n, v in enumerate(vs)
    ]
    assert agreement(made).value == pytest.approx(0.5)


def test_agreement_counts_what_raters_have_in_common_only():
    made = study({("a", "b"): 0.8}, raters=4, pairs=6)
    alone = [Comparison("hermit", f"own{k}", "a", "b", "b") for k in range(9)]
    found, with_hermit = agreement(made), agreement(made + alone)
    assert with_hermit.value == found.value
    assert (with_hermit.n_raters, with_hermit.n_units) == (4, 6)
    # Answering the same question twice is no agreement with anyone.
    twice = agreement([c for c in alone for _ in range(2)])
    assert math.isnan(twice.value)


@pytest.mark.parametrize("made", [[], answers("a", "b", 3, 3), study({("a", "b"): 1}, 1, 9)])
def test_agreement_without_overlap_says_so(made):
    found = agreement(made[:5])
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert "0 questions in common" in found.reason


@pytest.mark.parametrize(
    "statistic", [preference_shares, bradley_terry, bootstrap_shares, head_to_head]
)
def test_no_answers_give_an_empty_table_and_a_wrong_confidence_an_error(statistic):
    empty = statistic([])
    assert len(empty) == 0
    assert list(empty.columns) == list(statistic(answers("a", "b", 1, 1)).columns)
    with pytest.raises(ValueError, match="confidence"):
        statistic(answers("a", "b", 1, 1), confidence=95)

"""Errors of the decision at every small number of processes, and what it says."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.compare.decide import LEVEL, Sampled, decide
from bench.compare.metrics import COMPARED
from bench.compare.result import Finding
from tests.performance.compare_simulation import (
    DRIFTS,
    NOISES,
    simulate,
    with_drift,
    with_noise,
)

COUNTS = [(1, 1), (1, 5), (2, 2), (3, 3), (4, 4), (5, 5), (5, 7), (6, 6), (4, 10)]
RARE = 1e-4


def at_most(rate: float, draws: int) -> float:
    """Per cent that draws of this rate pass once in 10,000 tests."""
    return 100 * float(stats.binom.ppf(1 - RARE, draws, rate)) / draws


def judge(
    base: list[float],
    new: list[float],
    *,
    metric: str = "latency_ms",
    limit: float = 0.05,
    taking_turns: bool = False,
) -> Finding:
    (finding,) = decide([Sampled(COMPARED[metric], tuple(base), tuple(new), limit, taking_turns)])
    return finding


def around(level: float, count: int, spread: float = 0.01) -> list[float]:
    # forwards as backwards: no trend
    half = [(-1.0) ** n for n in range(count // 2)]
    steps = [*half, *([0.0] * (count % 2)), *reversed(half)]
    return [level * math.exp(spread * step) for step in steps]


# ---- errors


@pytest.mark.parametrize("noise", sorted(NOISES))
@pytest.mark.parametrize("cells", [1, 6])
def test_false_alarms_stay_under_the_stated_level(noise: str, cells: int):
    rng = np.random.default_rng(3)
    for base, new in COUNTS:
        draws = 150 if cells == 1 else 40
        draw = with_noise(noise, cells=cells, base=base, new=new, rng=rng)
        outcome = simulate(draw, noise=noise, comparisons=draws)
        assert outcome.any_regression <= at_most(LEVEL, draws), (base, new)


@pytest.mark.parametrize("drift", sorted(DRIFTS))
def test_no_drift_gives_false_alarms_when_sides_take_turns(drift: str):
    rng = np.random.default_rng(4)
    draw = with_drift(drift, cells=4, processes=5, taking_turns=True, rng=rng)
    outcome = simulate(draw, noise=drift, comparisons=200, taking_turns=True)
    assert outcome.any_regression <= at_most(LEVEL, 200)


def test_a_steady_drift_over_both_runs_is_seen():
    rng = np.random.default_rng(5)
    drift = "slower by 1 % a round"
    draw = with_drift(drift, cells=4, processes=5, taking_turns=False, rng=rng)
    assert simulate(draw, noise=drift, comparisons=200).any_regression <= at_most(LEVEL, 200)


@pytest.mark.parametrize("noise", sorted(NOISES))
def test_a_threefold_slowdown_never_passes_as_unchanged(noise: str):
    rng = np.random.default_rng(6)
    for base, new in COUNTS:
        for cells in (1, 6):
            draw = with_noise(noise, cells=cells, base=base, new=new, rng=rng)
            outcome = simulate(draw, noise=noise, change=2.0, comparisons=25)
            assert outcome.unchanged == outcome.improvement == 0, (base, new)


@pytest.mark.parametrize("count", [5, 7])
def test_a_slowdown_of_a_tenth_is_found_in_little_noise_and_a_fifth_always(count: int):
    rng = np.random.default_rng(7)
    for noise in ("normal 1 %", "normal 2 %"):
        draw = with_noise(noise, cells=4, base=count, new=count, rng=rng)
        assert simulate(draw, noise=noise, change=0.1, comparisons=100).regression >= 95
        assert simulate(draw, noise=noise, change=0.2, comparisons=100).regression == 100


@given(st.integers(4, 8), st.floats(1.03, 3), st.integers(0, 2**32 - 1))
def test_memory_that_grows_by_three_per_cent_is_always_found(count: int, growth: float, seed: int):
    rng = np.random.default_rng(seed)
    base, new = 200 + 0.3 * rng.uniform(-1, 1, (2, count))
    finding = judge(list(base), list(new * growth), metric="peak_rss_growth_mb", limit=0.02)
    assert finding.verdict == "regression"
    assert finding.code == "more_memory"


# ---- what it says


def test_a_plain_slowdown_and_its_interval():
    finding = judge(around(100, 5), around(120, 5))
    assert (finding.verdict, finding.code) == ("regression", "slower")
    assert finding.change == pytest.approx(0.2)
    assert finding.change_low is not None and 0.15 < finding.change_low < 0.2
    assert finding.processes_base == finding.processes_new == 5
    assert (finding.base, finding.new) == (pytest.approx(100), pytest.approx(120))


def test_faster_is_an_improvement_and_never_hides_behind_the_limit():
    assert judge(around(100, 5), around(80, 5)).code == "faster"
    assert judge(around(100, 5), around(99, 5)).code == "within_limit"


def test_a_slowdown_below_the_limit_passes_however_sure_it_is():
    finding = judge(around(100, 10, 0.001), around(103, 10, 0.001))
    assert (finding.verdict, finding.code) == ("unchanged", "within_limit")
    assert finding.chance is not None and finding.chance < 1e-6


def test_at_the_limit_it_asks_for_more_and_says_so():
    finding = judge(around(100, 5), around(104.5, 5))
    assert (finding.verdict, finding.code) == ("inconclusive", "near_limit")
    assert finding.more_processes is not None and finding.more_processes > 5


def test_noise_asks_for_as_many_more_as_would_tell():
    base, new = around(100, 5, 0.08), around(100, 5, 0.08)
    finding = judge(base, new)
    assert (finding.verdict, finding.code) == ("inconclusive", "noisy")
    assert finding.more_processes is not None
    fewer = 4 * ((4 + finding.more_processes) // 4)
    assert judge(around(100, fewer - 4, 0.08), around(100, fewer - 4, 0.08)).code == "noisy"
    assert judge(around(100, fewer + 4, 0.08), around(100, fewer + 4, 0.08)).verdict == "unchanged"


@pytest.mark.parametrize(("base", "new", "more"), [(1, 1, 4), (1, 9, 4), (2, 3, 3), (3, 3, 2)])
def test_too_few_processes_decide_nothing_but_say_what_it_looks_like(
    base: int, new: int, more: int
):
    finding = judge([100.0] * base, [300.0] * new)
    assert (finding.verdict, finding.code) == ("inconclusive", "too_few_repeats")
    assert finding.change == pytest.approx(2)
    assert finding.more_processes == more


def test_a_drift_explains_itself():
    rounds = np.arange(8)
    base, new = (100 * np.exp(0.01 * (rounds + start)) for start in (0, 8))
    finding = judge(list(base), list(new))
    assert (finding.verdict, finding.code) == ("inconclusive", "drift")
    assert "in turn" in finding.reason
    turns = judge(list(base), list(base * 1.001), taking_turns=True)
    assert turns.verdict == "unchanged"


def test_in_turn_finds_what_a_drifting_machine_hides():
    machine = 100 * np.exp(np.linspace(0, 0.5, 6))
    base, new = list(machine), [1.1 * value for value in machine]
    assert judge(base, new).verdict == "inconclusive"
    finding = judge(base, new, taking_turns=True)
    assert (finding.verdict, finding.design) == ("regression", "alternating")


def test_many_cells_must_show_more_than_one():
    rng = np.random.default_rng(9)
    one = Sampled(
        COMPARED["latency_ms"],
        tuple(100 * np.exp(0.03 * rng.standard_normal(5))),
        tuple(109 * np.exp(0.03 * rng.standard_normal(5))),
        0.05,
    )
    same = Sampled(COMPARED["latency_ms"], one.base, one.base, 0.05)
    (alone,) = decide([one])
    among = decide([one, *[same] * 50])[0]
    assert alone.chance is not None and among.chance is not None
    assert among.chance > 10 * alone.chance
    assert among.change == alone.change


# ---- counters


@pytest.mark.parametrize(
    ("metric", "new", "verdict", "code"),
    [
        ("peak_allocated_mb", 103.0, "regression", "more_memory"),
        ("peak_allocated_mb", 101.0, "unchanged", "within_limit"),
        ("peak_allocated_mb", 100.0, "unchanged", "same"),
        ("peak_allocated_mb", 90.0, "improvement", "less_memory"),
        ("storage_mb", 103.0, "regression", "larger"),
        ("parameters", 50.0, "improvement", "smaller"),
        ("peak_rss_growth_mb", 300.0, "regression", "more_memory"),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_counters_tell_from_one_process(metric, new: float, verdict: str, code: str, count: int):
    finding = judge([100.0] * count, [new] * count, metric=metric, limit=0.02)
    assert (finding.verdict, finding.code) == (verdict, code)


def test_the_resident_set_moves_a_little_from_process_to_process_and_that_means_nothing():
    few = judge([10.0, 10.2], [10.4, 10.1], metric="peak_rss_growth_mb", limit=0.02)
    assert few.verdict == "unchanged"
    near = judge([20.0], [20.6], metric="peak_rss_growth_mb", limit=0.02)
    assert (near.verdict, near.code) == ("inconclusive", "too_few_repeats")
    sure = judge([20.0], [23.0], metric="peak_rss_growth_mb", limit=0.02)
    assert sure.verdict == "regression"


@pytest.mark.parametrize("seed", range(20))
def test_three_per_cent_more_memory_is_found_in_small_cells_too(seed: int):
    # As measured of the cells of scenarios/ci.yaml: processes differ by 0.1 to 0.25 MB.
    rng = np.random.default_rng(seed)
    base, new = rng.normal(25.0, 0.12, (2, 5))
    judged = partial(judge, metric="peak_rss_growth_mb", limit=0.02)
    assert judged(base, 1.03 * new).verdict == "regression"
    assert judged(base, new).verdict == "unchanged"


def test_a_peak_below_what_the_counter_tells_is_shown_as_it_was():
    finding = judge([0.2] * 5, [0.3] * 5, metric="peak_rss_growth_mb", limit=0.02)
    assert (finding.base, finding.new, finding.verdict) == (0.2, 0.3, "unchanged")


def test_times_that_happen_to_be_equal_are_still_times():
    assert judge([100.0], [100.0]).verdict == "inconclusive"

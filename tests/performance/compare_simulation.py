"""How often ``bench compare`` errs on times, on synthetic noise.

    python -m tests.performance.compare_simulation

Comparisons are drawn in which the truth is known: processes of two sides with noise of one kind,
and in one cell a true change. It writes how they were judged to
``docs/results/compare/simulation.csv``. Every draw comes from ``--seed``.
"""

import argparse
import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.compare.decide import Sampled, decide
from bench.compare.metrics import COMPARED

OUT = Path(__file__).parents[2] / "docs" / "results" / "compare"
LIMIT = 0.05
Numbers = npt.NDArray[np.float64]
Shape = tuple[int, int]
_LATENCY = COMPARED["latency_ms"]
_WILDEST = 4.0
"""Log of the largest factor by which a process may be off: 55."""


def _mixed(rng: np.random.Generator, shape: Shape) -> Numbers:
    spreads = rng.choice([0.005, 0.02, 0.08], size=(shape[0], 1))
    return np.asarray(spreads * rng.standard_normal(shape))


NOISES: dict[str, Callable[[np.random.Generator, Shape], Numbers]] = {
    "normal 1 %": lambda rng, shape: 0.01 * rng.standard_normal(shape),
    "normal 2 %": lambda rng, shape: 0.02 * rng.standard_normal(shape),
    "normal 3 %": lambda rng, shape: 0.03 * rng.standard_normal(shape),
    "normal 5 %": lambda rng, shape: 0.05 * rng.standard_normal(shape),
    "normal 15 %": lambda rng, shape: 0.15 * rng.standard_normal(shape),
    "cells of 0.5, 2 or 8 %": _mixed,
    "heavy tails (t, 2 df)": lambda rng, shape: 0.03 * rng.standard_t(2, shape),
    "heaviest tails (Cauchy)": lambda rng, shape: 0.02 * rng.standard_t(1, shape),
    "skewed (exponential)": lambda rng, shape: 0.05 * rng.standard_exponential(shape),
    "skewed (log-normal)": lambda rng, shape: 0.03 * np.exp(rng.standard_normal(shape)),
    "two clocks 30 % apart, half": lambda rng, shape: _clocks(rng, shape, 0.26, 0.5),
    "two clocks 10 % apart, half": lambda rng, shape: _clocks(rng, shape, 0.095, 0.5),
    "two clocks 30 % apart, a fifth": lambda rng, shape: _clocks(rng, shape, 0.26, 0.2),
    "every third disturbed": lambda rng, shape: (
        (rng.random(shape) < 0.3) * rng.random(shape) + 0.01 * rng.standard_normal(shape)
    ),
}
"""Logarithms of what each process is off by, (cells, processes)."""


def _clocks(rng: np.random.Generator, shape: Shape, apart: float, share: float) -> Numbers:
    slow = rng.random(shape) < share
    return np.asarray(apart * slow + 0.01 * rng.standard_normal(shape))


def _correlated(rng: np.random.Generator, steps: int) -> Numbers:
    values = np.zeros(steps)
    values[0] = 0.03 * rng.standard_normal()
    for step in range(1, steps):
        values[step] = 0.8 * values[step - 1] + 0.018 * rng.standard_normal()
    return values


DRIFTS: dict[str, Callable[[np.random.Generator, int], Numbers]] = {
    "slower by 0.3 % a round": lambda rng, steps: 0.003 * np.arange(steps),
    "slower by 1 % a round": lambda rng, steps: 0.01 * np.arange(steps),
    "random walk, 1 % a round": lambda rng, steps: np.cumsum(0.01 * rng.standard_normal(steps)),
    "random walk, 3 % a round": lambda rng, steps: np.cumsum(0.03 * rng.standard_normal(steps)),
    "correlated (0.8), 3 %": _correlated,
    "one step of 10 %": lambda rng, steps: 0.095 * (np.arange(steps) >= rng.integers(steps)),
}
"""What the machine is off by in each process of a cell, one after the other; besides 1 % noise."""


@dataclass(frozen=True)
class Outcome:
    """How comparisons of one kind were judged; shares in per cent."""

    noise: str
    design: str
    cells: int
    base: int
    """Processes a side, as ``new``."""
    new: int
    change: float
    """The true one, of the first cell; 0.1 is 10 % slower."""
    comparisons: int
    any_regression: float
    """Comparisons in which any cell was called a regression."""
    regression: float
    """Of the first cell, as the following."""
    improvement: float
    unchanged: float
    inconclusive: float
    covered: float
    """First cells whose 95 % interval held the true change; 100 where none is given."""


def simulate(
    draw: Callable[[], tuple[Numbers, Numbers]],
    *,
    noise: str,
    change: float = 0.0,
    comparisons: int,
    taking_turns: bool = False,
) -> Outcome:
    """Judge as many comparisons; ``draw`` gives the noise of both sides, (cells, processes)."""
    verdicts: list[str] = []
    any_regression = covered = 0
    cells = base = new = 0
    for _ in range(comparisons):
        before, after = (np.clip(side, -_WILDEST, _WILDEST) for side in draw())
        after[0] += math.log1p(change)
        (cells, base), new = before.shape, after.shape[1]
        findings = decide(
            [
                Sampled(_LATENCY, tuple(one), tuple(other), LIMIT, taking_turns)
                for one, other in zip(100 * np.exp(before), 100 * np.exp(after), strict=True)
            ]
        )
        first = findings[0]
        verdicts.append(first.verdict)
        any_regression += any(finding.verdict == "regression" for finding in findings)
        low, high = first.change_low, first.change_high
        covered += low is None or high is None or low <= change <= high

    def share(count: int) -> float:
        return round(100 * count / comparisons, 2)

    return Outcome(
        noise=noise,
        design="in turn" if taking_turns else "separate",
        cells=cells,
        base=base,
        new=new,
        change=change,
        comparisons=comparisons,
        any_regression=share(any_regression),
        regression=share(verdicts.count("regression")),
        improvement=share(verdicts.count("improvement")),
        unchanged=share(verdicts.count("unchanged")),
        inconclusive=share(verdicts.count("inconclusive")),
        covered=share(covered),
    )


def with_noise(
    noise: str, *, cells: int, base: int, new: int, rng: np.random.Generator
) -> Callable[[], tuple[Numbers, Numbers]]:
    """Draws independent noise of a kind for both sides."""
    return lambda: (NOISES[noise](rng, (cells, base)), NOISES[noise](rng, (cells, new)))


def with_drift(
    drift: str, *, cells: int, processes: int, taking_turns: bool, rng: np.random.Generator
) -> Callable[[], tuple[Numbers, Numbers]]:
    """Draws a machine that drifts, common to the cells: run after run, or in (drawn) turns."""

    def draw() -> tuple[Numbers, Numbers]:
        machine = DRIFTS[drift](rng, 2 * processes)
        order = np.arange(2 * processes)
        if taking_turns:
            sides = machine[rng.permuted(order.reshape(processes, 2), axis=1).T]
        else:
            sides = machine[order.reshape(2, processes)]
        noise = 0.01 * rng.standard_normal((2, cells, processes))
        return sides[0] + noise[0], sides[1] + noise[1]

    return draw


def outcomes(comparisons: int, seed: int) -> Iterator[Outcome]:
    """Everything that is simulated."""
    rng = np.random.default_rng(seed)
    counts = [(1, 1), (2, 2), (3, 3), (4, 4), (4, 10), (5, 5), (5, 7), (6, 6), (10, 10)]
    for noise in NOISES:
        for base, new in counts:
            for cells in (1, 5, 20):
                draw = with_noise(noise, cells=cells, base=base, new=new, rng=rng)
                yield simulate(draw, noise=noise, comparisons=comparisons)
            for change in (0.1, 0.2, 2.0):
                draw = with_noise(noise, cells=5, base=base, new=new, rng=rng)
                yield simulate(draw, noise=noise, change=change, comparisons=comparisons)
    for drift in DRIFTS:
        for processes in (5, 7):
            for turns in (False, True):
                for change in (0.0, 0.1):
                    draw = with_drift(
                        drift, cells=5, processes=processes, taking_turns=turns, rng=rng
                    )
                    yield simulate(
                        draw,
                        noise=drift,
                        change=change,
                        comparisons=comparisons,
                        taking_turns=turns,
                    )


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=2000, help="of each kind")
    parser.add_argument("--seed", type=int, default=20260217)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "simulation.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Outcome)])
        table.writeheader()
        for outcome in outcomes(given.comparisons, given.seed):
            table.writerow(asdict(outcome))


if __name__ == "__main__":
    main()

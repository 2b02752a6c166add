"""Bootstrap of pairwise answers over image pairs and raters at once, and fits of many resamples.

Answers are crossed: each belongs to a rater and to an image pair, and both were drawn from many.
Resampling single answers would treat 20 answers of one rater as 20 raters. Here each rater and
each pair gets a random weight, and an answer the product of its two (the Bayesian pigeonhole
bootstrap: Owen and Eckles, "Bootstrapping data arrays of arbitrary order", Annals of Applied
Statistics 6(3), 2012, with the exponential weights of Rubin, "The Bayesian bootstrap", 1981). It is
conservative: where neither raters nor pairs differ at all, intervals are up to sqrt(3) too wide.

Counts alone say nothing of methods that always win. So each resample gets its own draw of the half
win and half loss that the estimates are given (Jeffreys' prior: a weight of 1/2 of an answer is a
Gamma(1/2) where that of an answer is exponential), which leaves the interval of 10 wins of 10 open
to stronger methods instead of closing it at the estimate.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]

_LEAST = 1e-6
"""Answers: the least draw of a prior's count, so that its logarithm stays tame."""


@dataclass(frozen=True)
class Answers:
    """Pairwise answers as codes from 0, each array (N,)."""

    raters: tuple[str, ...]
    pairs: tuple[str, ...]
    methods: tuple[str, ...]
    rater: Codes
    pair: Codes
    winner: Codes
    loser: Codes

    @property
    def wins(self) -> Numbers:
        """How often the row beat the column, (M, M)."""
        count = len(self.methods)
        flat = np.bincount(self.winner * count + self.loser, minlength=count * count)
        return flat.reshape(count, count).astype(float)


@dataclass(frozen=True)
class Weights:
    """Weights of raters (B, R) and pairs (B, P) in each of B resamples; means 1."""

    rater: Numbers
    pair: Numbers

    @classmethod
    def draw(cls, raters: int, pairs: int, resamples: int, rng: np.random.Generator) -> "Weights":
        """Exponential weights; a single rater or pair has weight 1, for it cannot vary."""

        def weights(count: int) -> Numbers:
            if count < 2:
                return np.ones((resamples, count))
            drawn = rng.standard_exponential((resamples, count))
            scaled: Numbers = drawn / drawn.mean(axis=1, keepdims=True)
            return scaled

        return cls(weights(raters), weights(pairs))


def resampled_wins(answers: Answers, weights: Weights) -> Numbers:
    """How often the row beat the column in each resample, weighted: (B, M, M)."""
    count = len(answers.methods)
    shape = len(answers.raters), len(answers.pairs)
    found = np.zeros((len(weights.rater), count, count))
    duel = answers.winner * count + answers.loser
    for code in np.unique(duel):
        here = duel == code
        cells = np.bincount(
            answers.rater[here] * shape[1] + answers.pair[here], minlength=shape[0] * shape[1]
        ).reshape(shape)
        found[:, code // count, code % count] = np.einsum(
            "bp,bp->b", weights.rater @ cells, weights.pair
        )
    return found


def prior_wins(methods: int, resamples: int, rng: np.random.Generator) -> Numbers:
    """Draws of the prior's wins of row over column, (B, M, M): means as :func:`mean_prior`."""
    shape = (resamples, methods, methods)
    drawn = np.maximum(rng.standard_gamma(_per_duel(methods), shape), _LEAST)
    off_diagonal: Numbers = drawn * ~np.eye(methods, dtype=bool)
    return off_diagonal


def mean_prior(methods: int) -> Numbers:
    """The prior's wins of row over column, (M, M): half a win and half a loss for each method."""
    prior: Numbers = _per_duel(methods) * (1 - np.eye(methods))
    return prior


def _per_duel(methods: int) -> float:
    return 0.5 / max(methods - 1, 1)


def fit_many(wins: Numbers, start: Numbers) -> Numbers:
    """Bradley-Terry strengths that maximise the likelihood of each (M, M) of wins: (B, M).

    Newton's method on all at once, where choix would take a second for a few hundred of them; for
    the same wins both give the same (a test holds them together).

    Args:
        wins: (B, M, M), positive off the diagonal, zero on it.
        start: (M,), log units.

    Returns:
        Log units, each row centred to mean 0.
    """
    count = wins.shape[1]
    games = wins + wins.transpose(0, 2, 1)
    strengths = np.broadcast_to(start, wins.shape[:2]).copy()
    for _ in range(200):
        expected = games * expit(strengths[:, :, None] - strengths[:, None, :])
        gradient = (wins - expected).sum(axis=2)
        curvature = expected * (1 - expected / np.where(games > 0, games, 1))
        hessian = -curvature
        hessian[:, np.arange(count), np.arange(count)] += curvature.sum(axis=2)
        # only differences are determined: the sum is held at 0
        step = np.linalg.solve(hessian + 1 / count, gradient[:, :, None])[:, :, 0]
        # far from the optimum the likelihood is nearly linear and a whole step overshoots
        largest = np.abs(step).max(axis=1, keepdims=True)
        strengths += step * np.minimum(1, 1.5 / np.maximum(largest, 1e-300))
        if largest.max() < 1e-8:
            break
    centred: Numbers = strengths - strengths.mean(axis=1, keepdims=True)
    return centred


def percentiles(values: Numbers, confidence: float) -> Any:
    """The two ends of a percentile interval over the first axis, an array each."""
    tail = 100 * (1 - confidence) / 2
    return np.percentile(values, [tail, 100 - tail], axis=0)

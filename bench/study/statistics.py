"""Statistics of pairwise preferences, of people and of simulated raters alike.

Intervals are of two kinds. Wilson's takes every answer as independent of all others, as is usual
in papers; since a rater gives many answers and an image pair gets many, it is too narrow. The
bootstrap over image pairs and raters (:mod:`bench.study.resampling`) says what other raters and
other images would have given.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import choix
import numpy as np
import pandas as pd
from scipy.stats import binomtest

from bench.study.resampling import (
    Answers,
    Codes,
    Numbers,
    Weights,
    fit_many,
    mean_prior,
    percentiles,
    prior_wins,
    resampled_wins,
)

AGREEMENT = "Kendall's u"


@dataclass(frozen=True)
class Comparison:
    """One answer: which of two methods was preferred on one content-style pair; no ties.

    Raises:
        ValueError: for a method against itself, or a winner that is neither of the two.
    """

    rater: str
    pair: str
    """Name of the content-style pair."""
    first: str
    second: str
    winner: str
    """``first`` or ``second``."""

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise ValueError(f"a comparison needs two methods; got {self.first!r} twice")
        if self.winner not in (self.first, self.second):
            raise ValueError(
                f"winner {self.winner!r} is neither {self.first!r} nor {self.second!r}"
            )

    @property
    def loser(self) -> str:
        """The method that was not preferred."""
        return self.second if self.winner == self.first else self.first


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on questions that several of them answered."""

    name: str
    """The coefficient's name."""
    value: float
    """1 is full agreement, 0 what chance gives; NaN where it cannot be said, see ``reason``."""
    low: float
    high: float
    n_units: int
    """Questions (content-style pair and two methods) that at least two raters answered."""
    n_raters: int
    """Raters who answered at least one of these."""
    reason: str = ""
    """Why ``value`` or its interval is NaN; empty otherwise."""


def win_rates(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Share in 0..1 of the row beating the column.

    Returns:
        Methods x methods, by name; NaN where two were never compared, and on the diagonal.
    """
    answers = encode(comparisons)
    wins = answers.wins
    games = wins + wins.T
    shares = np.divide(wins, games, out=np.full_like(wins, np.nan), where=games > 0)
    return pd.DataFrame(shares, index=list(answers.methods), columns=list(answers.methods))


def preference_shares(comparisons: Sequence[Comparison], confidence: float = 0.95) -> pd.DataFrame:
    """How often each method was preferred, of all its comparisons, with Wilson's interval.

    A share depends on the opponents: shares compare only if all methods met each other equally
    often; otherwise see :func:`bradley_terry`. Of the interval, see the module: it takes answers
    as independent (Wilson 1927; no continuity correction).

    Args:
        comparisons: in any order.
        confidence: of the interval, strictly between 0 and 1.

    Returns:
        Columns ``method`` (by name), ``wins``, ``n``, ``share``, ``low``, ``high``, in 0..1.
    """
    _check(confidence)
    frame = _shares(encode(comparisons))
    ends = [
        binomtest(int(wins), int(n)).proportion_ci(confidence, method="wilson")
        for wins, n in zip(frame["wins"], frame["n"], strict=True)
    ]
    return frame.assign(
        low=[float(end.low) for end in ends], high=[float(end.high) for end in ends]
    )


def bootstrap_shares(
    comparisons: Sequence[Comparison],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> pd.DataFrame:
    """:func:`preference_shares` with an interval by bootstrap over image pairs and raters."""
    answers = encode(comparisons)
    frame = _shares(answers)
    drawn, prior = _resample(answers, confidence, seed, resamples)
    won = (drawn + prior).sum(axis=2)
    lost = (drawn + prior).sum(axis=1)
    return _with_interval(frame, won / (won + lost), confidence)


def head_to_head(
    comparisons: Sequence[Comparison],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> pd.DataFrame:
    """Each two methods that were compared, with an interval by bootstrap over pairs and raters.

    Returns:
        Columns ``method``, ``opponent``, ``wins``, ``n``, ``share`` (of the method beating the
        opponent), ``low``, ``high``; one row for each two methods, by name.
    """
    answers = encode(comparisons)
    wins = answers.wins
    games = wins + wins.T
    first, second = np.nonzero(np.triu(games > 0, 1))
    frame = pd.DataFrame(
        {
            "method": [answers.methods[i] for i in first],
            "opponent": [answers.methods[j] for j in second],
            "wins": wins[first, second].astype(int),
            "n": games[first, second].astype(int),
            "share": wins[first, second] / games[first, second],
        }
    )
    drawn, _ = _resample(answers, confidence, seed, resamples)
    # Between these two alone, as if there were no other: half a win and half a loss.
    drawn = drawn + np.random.default_rng((seed, 1)).standard_gamma(0.5, drawn.shape)
    won, lost = drawn[:, first, second], drawn[:, second, first]
    return _with_interval(frame, won / (won + lost), confidence)


def bradley_terry(
    comparisons: Sequence[Comparison],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> pd.DataFrame:
    """Bradley-Terry strengths: the log odds of A beating B are A's strength less B's.

    The model is fitted by I-LSR (Maystre and Grossglauser 2015, in the package choix). Each method
    is given half a win and half a loss, spread evenly over all others, so that one that always
    wins has a finite strength and methods that never met, even through others, have one at all (its
    interval says that it means little). Of two methods the difference is thus
    ``log((wins + 1/2) / (losses + 1/2))``.

    Args:
        comparisons: in any order.
        confidence: of the interval, strictly between 0 and 1.
        seed: of the bootstrap.
        resamples: of image pairs and raters together (:mod:`bench.study.resampling`). With a single
            rater or a single pair, the interval says nothing of others.

    Returns:
        Columns ``method`` (by name), ``strength``, ``low``, ``high``: log units, mean strength 0.
    """
    answers = encode(comparisons)
    frame = pd.DataFrame({"method": list(answers.methods)}, dtype=object)
    count = len(answers.methods)
    drawn, prior = _resample(answers, confidence, seed, resamples)
    strengths = np.zeros(count)
    if count > 1:
        strengths = choix.ilsr_pairwise_dense(
            answers.wins + mean_prior(count), max_iter=10_000, tol=1e-9
        )
        strengths = strengths - strengths.mean()
    fits = fit_many(drawn + prior, strengths) if count > 1 else np.zeros((resamples, count))
    return _with_interval(frame.assign(strength=strengths), fits, confidence)


def agreement(
    comparisons: Sequence[Comparison],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> Agreement:
    """Kendall's coefficient of agreement u, with a bootstrap over image pairs and raters.

    ``u = 2 * (share of agreeing answers) - 1``, over all couples of answers that two raters gave to
    one question (Kendall and Babington Smith, "On the method of paired comparisons", Biometrika 31,
    1940); here over whichever questions two raters have in common, so designs may be incomplete.
    1 is full agreement, 0 that of coins. Of m raters some always agree, so the least value is about
    -1/m; of two raters it is -1.

    Krippendorff's alpha and Fleiss' kappa have the same form but take their chance agreement from
    how often each answer was given. Which of two methods is called "the first" is arbitrary here,
    and both change with it: raters who all prefer A to B to C agree fully and have an undefined
    alpha. With a chance of 1/2, both are u.

    Returns:
        NaN with a reason where fewer than two questions were answered by two raters or more.
    """
    _check(confidence)
    answers = encode(comparisons)
    count = len(answers.methods)
    lower = np.minimum(answers.winner, answers.loser)
    upper = np.maximum(answers.winner, answers.loser)
    asked = (answers.pair * count + lower) * count + upper
    _, question = np.unique(asked, return_inverse=True)
    questions = int(question.max()) + 1 if len(question) else 0
    said = np.zeros((2, len(answers.raters), questions))
    np.add.at(said, ((answers.winner == lower).astype(int), answers.rater, question), 1)
    shared = (said.sum(axis=0) > 0).sum(axis=0) > 1
    units = int(shared.sum())
    raters = int((said.sum(axis=0)[:, shared] > 0).any(axis=1).sum())
    if units < 2:
        reason = f"two raters or more answered {units} questions in common; at least 2 are needed"
        return Agreement(AGREEMENT, math.nan, math.nan, math.nan, units, raters, reason)
    said = said[:, :, shared]
    pair_of = np.zeros(questions, dtype=np.int64)
    pair_of[question] = answers.pair
    pair_of = pair_of[shared]
    plain = Weights(np.ones((1, len(answers.raters))), np.ones((1, len(answers.pairs))))
    value = float(_kendall(said, pair_of, plain)[0])
    weights = Weights.draw(
        len(answers.raters), len(answers.pairs), resamples, np.random.default_rng(seed)
    )
    low, high = percentiles(_kendall(said, pair_of, weights), confidence)
    return Agreement(
        AGREEMENT, value, min(float(low), value), max(float(high), value), units, raters
    )


def encode(comparisons: Sequence[Comparison]) -> Answers:
    """The answers as numbers; raters, pairs and methods each by name."""

    def codes(names: list[str], known: dict[str, int]) -> Codes:
        return np.array([known[name] for name in names], dtype=np.int64)

    raters = _numbered(one.rater for one in comparisons)
    pairs = _numbered(one.pair for one in comparisons)
    methods = _numbered(name for one in comparisons for name in (one.first, one.second))
    return Answers(
        tuple(raters),
        tuple(pairs),
        tuple(methods),
        codes([one.rater for one in comparisons], raters),
        codes([one.pair for one in comparisons], pairs),
        codes([one.winner for one in comparisons], methods),
        codes([one.loser for one in comparisons], methods),
    )


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)))}


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1; got {confidence}")


def _shares(answers: Answers) -> pd.DataFrame:
    wins = answers.wins.sum(axis=1)
    games = wins + answers.wins.sum(axis=0)
    return pd.DataFrame(
        {
            "method": pd.Series(list(answers.methods), dtype=object),
            "wins": wins.astype(int),
            "n": games.astype(int),
            "share": wins / games,
        }
    )


def _resample(
    answers: Answers, confidence: float, seed: int, resamples: int
) -> tuple[Numbers, Numbers]:
    """Wins and the prior's wins of row over column in each resample, (B, M, M) each."""
    _check(confidence)
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; got {resamples}")
    rng = np.random.default_rng(seed)
    weights = Weights.draw(len(answers.raters), len(answers.pairs), resamples, rng)
    prior = prior_wins(len(answers.methods), resamples, rng)
    return resampled_wins(answers, weights), prior


def _with_interval(frame: pd.DataFrame, values: Numbers, confidence: float) -> pd.DataFrame:
    """The frame with ``low`` and ``high``; an interval holds its estimate, its last column."""
    low, high = percentiles(values, confidence)
    estimate = frame.iloc[:, -1].to_numpy(dtype=float)
    return frame.assign(low=np.minimum(low, estimate), high=np.maximum(high, estimate))


def _kendall(said: Numbers, pair_of: Codes, weights: Weights) -> Numbers:
    """u in each resample, (B,).

    Args:
        said: how often each rater gave each of the two answers, (2, R, Q).
        pair_of: the image pair of each question, (Q,).
        weights: of raters and pairs.
    """
    pair = weights.pair[:, pair_of]
    squares = weights.rater**2

    def couples(counts: Numbers) -> Numbers:
        # twice the weight of couples of answers by two different raters
        found: Numbers = (weights.rater @ counts) ** 2 - squares @ counts**2
        return found

    agreeing = couples(said[0]) + couples(said[1])
    everything = couples(said.sum(axis=0))
    value: Numbers = 2 * (agreeing * pair).sum(axis=1) / (everything * pair).sum(axis=1) - 1
    return value

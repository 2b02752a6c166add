"""How well losses, and the proxy made of them, predicted what people preferred."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from bench.errors import UserError
from bench.study.proxy import LOSSES, expected_proxy_win_rates, with_references
from bench.study.raters import ProxyRaters
from bench.study.statistics import Comparison

PROXY = "simulated raters (proxy)"
MIN_MATCHUPS = 3
"""Matchups below which a correlation says nothing: with both directions of each, two always lie on
a line through 1/2 or nearly so."""

Losses = Mapping[str, Mapping[str, Mapping[str, float]]]
"""From pair and method to ``style_loss`` and ``content_loss``."""


@dataclass(frozen=True)
class Prediction:
    """How well each predictor did."""

    table: pd.DataFrame
    """Columns ``predictor``, ``answers`` (of which losses are known), ``agreement`` (share of these
    that chose what the predictor favours; where it favours neither, half), ``matchups`` (every two
    methods that met), ``winners`` (share of these whose winner it tells; a draw counts half),
    ``pearson`` and ``spearman`` (of its win rates and the raters', over matchups in both
    directions, so that they do not depend on which method is called first; NaN below
    ``MIN_MATCHUPS``), ``error`` (mean absolute difference of these win rates; NaN for predictors
    that give no chances)."""
    matchups: pd.DataFrame
    """Columns ``method``, ``opponent``, ``answers``, ``raters`` (share preferring the method) and
    one column for each predictor: what it expected of the same answers."""
    notes: tuple[str, ...]
    """What could not be said, and why."""


def predict(comparisons: Sequence[Comparison], losses: Losses) -> Prediction:
    """Compare answers with what the losses of the pictures led to expect.

    Predictors are the proxy's raters with their defaults, of whom infinitely many are asked, and
    either loss alone: the picture with the lower one is expected to win.

    Args:
        comparisons: people's answers.
        losses: of the pictures, as far as they are known.
    """
    asked = pd.DataFrame(
        {
            "pair": [one.pair for one in comparisons],
            "method": [min(one.first, one.second) for one in comparisons],
            "opponent": [max(one.first, one.second) for one in comparisons],
            "raters": [float(one.winner == min(one.first, one.second)) for one in comparisons],
        }
    )
    notes: list[str] = []
    for name, chances in _predictors(losses, notes).items():
        keys = zip(asked["pair"], asked["method"], asked["opponent"], strict=True)
        asked[name] = [chances.get(key, math.nan) for key in keys]
    predictors = [name for name in asked.columns[4:] if asked[name].notna().any()]
    known = asked.dropna(subset=predictors) if predictors else asked.iloc[:0]
    if not predictors:
        notes.append("the key holds no losses of what was compared: nothing to predict from")
    elif len(known) < len(asked):
        notes.append(f"predictions cover {len(known)} of {len(asked)} answers: losses are missing")
    grouped = known.groupby(["method", "opponent"])[["raters", *predictors]]
    matchups = grouped.mean()
    matchups.insert(0, "answers", grouped.size())
    rows = [_row(name, known, matchups) for name in predictors]
    if rows and len(matchups) < MIN_MATCHUPS:
        notes.append(
            f"{len(matchups)} matchup{'' if len(matchups) == 1 else 's'} of methods: a correlation "
            f"needs {MIN_MATCHUPS}"
        )
    columns = ["predictor", "answers", "agreement", "matchups", "winners"]
    table = pd.DataFrame(rows, columns=[*columns, "pearson", "spearman", "error"])
    return Prediction(table, matchups.reset_index(), tuple(notes))


Chances = dict[tuple[str, str, str], float]
"""From pair, method and opponent, by name, to the chance that the method is preferred."""


def _predictors(losses: Losses, notes: list[str]) -> dict[str, Chances]:
    rows = [
        {"pair": pair, "method": method, **{key: values[key] for key in LOSSES}}
        for pair, methods in losses.items()
        for method, values in methods.items()
        if all(key in values for key in LOSSES)
    ]
    if not rows:
        return {}
    frame = pd.DataFrame(rows)
    found: dict[str, Chances] = {}
    try:
        raters = with_references(frame, ProxyRaters())
    except UserError as error:
        notes += error.problems
    else:
        found[PROXY] = {}
        for pair, part in frame.groupby("pair"):
            if len(part) > 1:
                rates = expected_proxy_win_rates(part, raters)
                found[PROXY] |= {
                    (str(pair), method, opponent): float(rates.loc[method, opponent])
                    for method in rates.index
                    for opponent in rates.columns
                    if method < opponent
                }
    for key in LOSSES:
        found[f"lower {key.replace('_', ' ')}"] = {
            (str(pair), one, other): (float(np.sign(values[other] - values[one])) + 1) / 2
            for pair, part in frame.groupby("pair")
            for values in [dict(zip(part["method"], part[key], strict=True))]
            for one in values
            for other in values
            if one < other
        }
    return found


def _row(name: str, known: pd.DataFrame, matchups: pd.DataFrame) -> dict[str, object]:
    favoured = (np.sign(known[name] - 0.5) + 1) / 2
    agrees = np.where(favoured == 0.5, 0.5, favoured == known["raters"])
    expected, found = (np.sign(matchups[column] - 0.5) for column in (name, "raters"))
    winners = np.where(expected * found == 0, 0.5, expected == found)
    both = [np.concatenate([matchups[column], 1 - matchups[column]]) for column in (name, "raters")]
    varied = len(matchups) >= MIN_MATCHUPS and all(np.ptp(values) > 0 for values in both)
    error = float(np.abs(both[0] - both[1]).mean())
    return {
        "predictor": name,
        "answers": len(known),
        "agreement": float(agrees.mean()),
        "matchups": len(matchups),
        "winners": float(winners.mean()),
        "pearson": float(pearsonr(*both).statistic) if varied else math.nan,
        "spearman": float(spearmanr(*both).statistic) if varied else math.nan,
        "error": error if name == PROXY else math.nan,
    }

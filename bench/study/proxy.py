"""A proxy of the user study: simulated raters who weigh style against content.

No person is asked, and the model of a rater is chosen, not fitted to people: what comes out is a
way to read two losses as preferences, and carries ``proxy`` in every name.

Rater ``r`` sees a stylised picture as worse by

    cost_r = w_r * ln(fs + S / S0) + (1 - w_r) * ln(fc + C / C0)

with the picture's style loss S and content loss C, and prefers ``a`` to ``b`` with probability
``logistic((cost_r(b) - cost_r(a)) / noise)``, so that pictures with the same losses give 1/2.

- *Logged*, because what is seen of a loss is its ratio rather than its difference, as of other
  magnitudes (Fechner's law).
- *With floors* fs and fc, below which nothing more is seen. That of style (0.01) only keeps the
  logarithm finite. That of content is 1: raters ask for a stylised picture whose content is still
  there, and give little for more. Otherwise a picture that is hardly stylised, whose content loss
  goes to zero, would win against everything.
- *Standardised over the study*: S0 and C0 are what is ordinary in it, the median over its methods
  of each one's median over the pictures. Not per image pair: with two methods that would turn
  every difference, however small, into the same one, and no degradation could be told from a worse
  one. Since medians change with the methods in a study, numbers of two studies compare only under
  the same S0 and C0, which :class:`bench.study.raters.ProxyRaters` can fix.
- *Weights* w_r are drawn for each rater from a Beta distribution of a stated mean and
  concentration; :func:`proxy_sensitivity` shows what the mean does.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit

from bench.errors import UserError
from bench.study.raters import ProxyRaters
from bench.study.resampling import Numbers
from bench.study.statistics import (
    Agreement,
    Comparison,
    agreement,
    bootstrap_shares,
    bradley_terry,
    head_to_head,
    win_rates,
)
from distill.suggest import did_you_mean

LOSSES = ("style_loss", "content_loss")
COLUMNS = ("pair", "method", *LOSSES)
STYLE_WEIGHTS = tuple(step / 10 for step in range(11))
_SHOWN = 3
"""Rows of each kind of mistake that are named."""


@dataclass(frozen=True)
class ProxyPreference:
    """What simulated raters preferred. A proxy: no person was asked."""

    proxy_raters: ProxyRaters
    """With the references that were used."""
    proxy_win_rates: pd.DataFrame
    """:func:`bench.study.statistics.win_rates`; its index is named ``proxy_win_rate``."""
    proxy_head_to_head: pd.DataFrame
    """:func:`bench.study.statistics.head_to_head`, its numbers' columns as ``proxy_share``."""
    proxy_shares: pd.DataFrame
    """:func:`bench.study.statistics.bootstrap_shares`, the same."""
    proxy_strengths: pd.DataFrame
    """:func:`bench.study.statistics.bradley_terry`, the same."""
    proxy_agreement: Agreement
    """Between the simulated raters."""


def proxy_preference(
    losses: pd.DataFrame,
    raters: ProxyRaters | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> ProxyPreference:
    """Ask simulated raters about every two methods on every image pair.

    Args:
        losses: columns ``pair``, ``method``, ``style_loss``, ``content_loss`` (0 upwards, one
            definition for the whole study), one row for each picture. Two methods meet on the
            pairs that both have.
        raters: None for the defaults.
        confidence: of all intervals, which are by bootstrap over image pairs and raters.
        resamples: of the bootstrap.

    Raises:
        UserError: for a frame that lacks a column or holds other values, and where no two methods
            meet.
    """
    fixed = with_references(losses, raters or ProxyRaters())
    answers = proxy_comparisons(losses, fixed)
    rates = win_rates(answers)
    rates.index.name = "proxy_win_rate"
    options = (confidence, fixed.seed, resamples)
    agreed = agreement(answers, *options)
    return ProxyPreference(
        fixed,
        rates,
        _proxy(head_to_head(answers, *options)),
        _proxy(bootstrap_shares(answers, *options)),
        _proxy(bradley_terry(answers, *options)),
        replace(agreed, name=f"proxy {agreed.name}"),
    )


def proxy_comparisons(losses: pd.DataFrame, raters: ProxyRaters | None = None) -> list[Comparison]:
    """The answers of simulated raters, who are named ``proxy-1`` and so on.

    Which method comes first is drawn too. The order of the frame's rows changes nothing.

    Args:
        losses: as for :func:`proxy_preference`.
        raters: None for the defaults.

    Raises:
        UserError: as :func:`proxy_preference`.
    """
    fixed = with_references(losses, raters or ProxyRaters())
    # not the stream that the bootstrap of the same seed draws from
    rng = np.random.default_rng((fixed.seed, 2))
    weights = fixed.draw_weights(rng)
    duels = list(_duels(losses, fixed))
    chances = np.concatenate([_chance(duel, weights, fixed.noise) for duel in duels], axis=1)
    won = rng.random(chances.shape) < chances
    swapped = rng.random(chances.shape) < 0.5
    asked = [(duel, pair) for duel in duels for pair in duel.pairs]
    count = min(fixed.questions or len(asked), len(asked))
    digits = len(str(fixed.raters))
    found = []
    for rater in range(fixed.raters):
        name = f"proxy-{rater + 1:0{digits}d}"
        chosen = np.sort(rng.permutation(len(asked))[:count]).tolist()
        for index in chosen:
            duel, pair = asked[index]
            first, second = duel.method, duel.opponent
            winner = first if won[rater, index] else second
            if swapped[rater, index]:
                first, second = second, first
            found.append(Comparison(name, pair, first, second, winner))
    return found


def expected_proxy_win_rates(
    losses: pd.DataFrame, raters: ProxyRaters | None = None
) -> pd.DataFrame:
    """Win rates that infinitely many simulated raters would give on these image pairs: no chance.

    Args:
        losses: as for :func:`proxy_preference`.
        raters: None for the defaults; how many they are and their seed change nothing.

    Returns:
        Methods x methods, by name, index named ``proxy_win_rate``: share of the row beating the
        column; NaN on the diagonal and where two have no pair in common.

    Raises:
        UserError: as :func:`proxy_preference`.
    """
    fixed = with_references(losses, raters or ProxyRaters())
    weights = fixed.quantiles()
    methods = sorted({str(name) for name in losses["method"]})
    rates = pd.DataFrame(math.nan, index=methods, columns=methods)
    rates.index.name = "proxy_win_rate"
    for duel in _duels(losses, fixed):
        rate = float(_chance(duel, weights, fixed.noise).mean())
        rates.loc[duel.method, duel.opponent] = rate
        rates.loc[duel.opponent, duel.method] = 1 - rate
    return rates


def proxy_sensitivity(
    losses: pd.DataFrame,
    raters: ProxyRaters | None = None,
    style_weights: Sequence[float] = STYLE_WEIGHTS,
) -> pd.DataFrame:
    """Expected win rates over a grid of the raters' mean weight of style, all else as it is.

    A comparison whose winner changes along the grid is decided by the weights, not by the pictures.

    Args:
        losses: as for :func:`proxy_preference`.
        raters: None for the defaults; their ``style_weight`` is replaced.
        style_weights: 0 to 1.

    Returns:
        Columns ``style_weight``, ``method``, ``opponent``, ``proxy_win_rate``; every two methods
        that meet once, by name.

    Raises:
        UserError: as :func:`proxy_preference`, and for a weight out of range.
    """
    rows = []
    for weight in style_weights:
        rates = expected_proxy_win_rates(
            losses, replace(raters or ProxyRaters(), style_weight=float(weight))
        )
        values = rates.to_numpy()
        for one, other in combinations(range(len(rates)), 2):
            if not math.isnan(values[one, other]):
                names = rates.columns[one], rates.columns[other]
                rows.append((float(weight), *names, float(values[one, other])))
    return pd.DataFrame(rows, columns=["style_weight", "method", "opponent", "proxy_win_rate"])


def with_references(losses: pd.DataFrame, raters: ProxyRaters) -> ProxyRaters:
    """The raters with S0 and C0 set to what is ordinary in the study where they are None.

    Raises:
        UserError: for losses that are none (see :func:`proxy_preference`), or 0 for so many that
            what is ordinary would be 0.
    """
    style, content = _references(_checked(losses), raters)
    return replace(raters, style_reference=style, content_reference=content)


def _references(checked: pd.DataFrame, raters: ProxyRaters) -> tuple[float, float]:
    given = (raters.style_reference, raters.content_reference)
    found = [
        float(checked.groupby("method")[key].median().median()) if value is None else value
        for key, value in zip(LOSSES, given, strict=True)
    ]
    if problems := [
        f"proxy: the ordinary {key} of the study is 0; set {key.replace('loss', 'reference')} of "
        "the raters to a number above 0"
        for key, value in zip(LOSSES, found, strict=True)
        if value == 0
    ]:
        raise UserError(*problems)
    return found[0], found[1]


@dataclass(frozen=True)
class _Duel:
    """Two methods on the P pairs that both have."""

    method: str
    opponent: str
    pairs: tuple[str, ...]
    style: Numbers
    """How much worse the opponent is in style, logged and standardised, (P,)."""
    content: Numbers
    """The same in content."""


def _duels(losses: pd.DataFrame, raters: ProxyRaters) -> Iterator[_Duel]:
    checked = _checked(losses)
    costs = [
        np.log(floor + checked.pivot(index="pair", columns="method", values=key) / reference)
        for key, reference, floor in zip(
            LOSSES,
            _references(checked, raters),
            (raters.style_floor, raters.content_floor),
            strict=True,
        )
    ]
    met = False
    for method, opponent in combinations(sorted(set(checked["method"])), 2):
        style, content = ((cost[opponent] - cost[method]).dropna().sort_index() for cost in costs)
        if len(style):
            met = True
            pairs = tuple(style.index)
            yield _Duel(method, opponent, pairs, style.to_numpy(), content.to_numpy())
    if not met:
        raise UserError(
            "proxy: no two methods have an image pair in common; preferences need at least two "
            "methods on the same pairs"
        )


def _chance(duel: _Duel, weights: Numbers, noise: float) -> Numbers:
    """Chance that raters of these weights of style (R,) prefer the method: (R, P)."""
    worse = np.outer(weights, duel.style) + np.outer(1 - weights, duel.content)
    chance: Numbers = expit(worse / noise)
    return chance


def _proxy(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with ``proxy_`` before each column of numbers."""
    names = {name: f"proxy_{name}" for name in frame.columns if name not in ("method", "opponent")}
    return frame.rename(columns=names)


def _checked(losses: pd.DataFrame) -> pd.DataFrame:
    """The four columns, names as text and losses as float64."""
    columns = [str(name) for name in losses.columns]
    if missing := [name for name in COLUMNS if name not in columns]:
        raise UserError(
            *(
                f"proxy: the losses have no column {name}; they have "
                f"{', '.join(columns) or 'none'}{did_you_mean(name, columns)}"
                for name in missing
            )
        )
    checked = losses[list(COLUMNS)].astype({"pair": str, "method": str})
    problems = []
    for key in LOSSES:
        checked[key] = pd.to_numeric(losses[key], errors="coerce").astype(float)
        wrong = ~(np.isfinite(checked[key]) & (checked[key] >= 0))
        problems += [
            f"proxy: {key} of {row.method} on {row.pair} is {getattr(row, key)}; allowed: a finite "
            "number from 0 up"
            for row in losses[wrong].head(_SHOWN).itertuples()
        ]
    problems += [
        f"proxy: {row.method} on {row.pair} stands more than once; allowed: one row a picture"
        for row in checked[checked.duplicated(["pair", "method"])].head(_SHOWN).itertuples()
    ]
    if checked.empty:
        problems.append("proxy: the losses have no row; preferences need at least two methods")
    if problems:
        raise UserError(*problems)
    return checked

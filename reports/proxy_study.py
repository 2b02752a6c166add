"""The proxy of the user study, of a run: which losses it takes, and its section in the report."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from bench.errors import UserError
from bench.record import Record
from bench.study.proxy import COLUMNS, LOSSES, proxy_preference, proxy_sensitivity
from bench.study.raters import ProxyRaters
from reports.preference_table import preference_table
from reports.preferences import Preferences, Shares, of_proxy
from reports.results import Results, RunRecord, Series
from reports.table import Table
from reports.text import count, listing, markdown, number, short_names

HEADING = "Preference (a proxy)"
_NAMED = 3
"""Comparisons that a sentence names."""
_DRAW = 0.005


@dataclass(frozen=True)
class ProxyLosses:
    """The losses of a run that the proxy can compare."""

    losses: pd.DataFrame
    """As :func:`bench.study.proxy.proxy_preference` takes them; without a row where no two methods
    have an image pair in common."""
    left_out: tuple[str, ...]
    """What is not in it, and why: a sentence without its full stop each, names as they are."""
    cells: Mapping[str, tuple[str, str]]
    """Label of the run, and id, of each method's record."""

    @property
    def methods(self) -> list[str]:
        """By name."""
        return sorted(set(self.losses["method"]))

    @property
    def pairs(self) -> int:
        """How many image pairs there are."""
        return int(self.losses["pair"].nunique())


@dataclass(frozen=True)
class ProxyStudy:
    """What a report says of the proxy."""

    sentences: tuple[str, ...]
    """Markdown."""
    preferences: Preferences | None = None
    """None where the proxy cannot be computed; then the sentences say why."""
    cells: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Label of the run, and id, of each method's record."""

    @property
    def preferred(self) -> Shares:
        """What each record got."""
        if self.preferences is None:
            return {}
        shares = self.preferences.shares.set_index("method")[["share", "low", "high"]] * 100
        return {
            self.cells[str(method)]: (float(share), float(low), float(high))
            for method, share, low, high in shares.itertuples()
        }

    @property
    def tables(self) -> list[Table]:
        """The table, if there is one."""
        return [preference_table(self.preferences, self.cells)] if self.preferences else []


def proxy_losses(results: Results) -> ProxyLosses:
    """Style and content losses of each picture of a run's quality cells.

    A method is a series: the model by its full name, with the settings that tell it from the others
    that are compared, such as ``adain-vgg16-4x (fp16, alpha 0.5)``. Models with random weights are
    left out, so are losses that are not finite, and of losses that do not compare (another
    reference network or another size) all but the kind that most methods have.
    """
    found: dict[str, RunRecord] = {}
    measured = [one for one in results.quality if one.ok and not one.random]
    common = _shared_settings(measured)
    for one in measured:
        settings = ", ".join(part for part in _settings(one) if part not in common)
        name = f"{one.model} ({settings})" if settings else one.model
        # settings so near that they read the same
        found[name if name not in found else f"{name} {one.ok[-1].id}"] = one.ok[-1]
    short = short_names(list(found))
    kinds = {method: _definition(record) for method, record in found.items()}
    rows = {method: _rows(method, record) for method, record in found.items()}
    usual = Counter(kinds[method] for method in found if rows[method]).most_common(1)
    left_out = []
    kept: list[dict[str, object]] = []
    for method, record in found.items():
        if not rows[method]:
            left_out.append(f"{short[method]}: no picture with a finite style and content loss")
        elif kinds[method] != usual[0][0]:
            left_out.append(f"{short[method]}: its losses are of {_kind_words(record)}")
        else:
            kept += rows[method]
            if lost := len(record.per_pair or []) - len(rows[method]):
                left_out.append(
                    f"{count(lost, 'picture')} of {short[method]}: no finite style and content loss"
                )
    frame = pd.DataFrame(kept, columns=list(COLUMNS))
    shared = frame[frame.groupby("pair")["method"].transform("size") > 1]
    left_out += [
        f"{short[method]}: no image pair in common with another"
        for method in dict.fromkeys(frame["method"])
        if method not in set(shared["method"])
    ]
    cells = {method: (record.run, record.id) for method, record in found.items()}
    return ProxyLosses(shared.reset_index(drop=True), tuple(left_out), cells)


def proxy_study(results: Results) -> ProxyStudy | None:
    """The proxy with its default raters; None where a run has no two methods to compare."""
    known = proxy_losses(results)
    if known.losses.empty:
        return None
    left_out = [f"Left out: {markdown(reason)}." for reason in known.left_out]
    try:
        found = proxy_preference(known.losses)
        sensitivity = proxy_sensitivity(known.losses)
    except UserError as error:
        reasons = [f"No preference: {markdown(problem)}." for problem in error.problems]
        return ProxyStudy((*reasons, *left_out))
    return ProxyStudy(
        (
            f"A proxy of a user study, made of style and content losses: nobody was asked. "
            f"It tells of {_count(known)} and of these pictures only.",
            f"{raters_words(found.proxy_raters)}. These are choices, not measurements; "
            "docs/quality.md gives the model.",
            _turning_words(sensitivity),
            *left_out,
        ),
        of_proxy(found),
        known.cells,
    )


def raters_words(raters: ProxyRaters) -> str:
    """The parameters of the simulated raters, without a full stop."""
    asked = "all questions" if raters.questions is None else count(raters.questions, "question")
    ordinary = [
        f"{name} of {'the run' if value is None else number(value)}"
        for name, value in (
            ("style loss", raters.style_reference),
            ("content loss", raters.content_reference),
        )
    ]
    return (
        f"{raters.raters} simulated raters, each asked {asked} (seed {raters.seed}); weight of "
        f"style against content: mean {raters.style_weight:g}, standard deviation between raters "
        f"{raters.style_weight_deviation:.2g} (Beta, concentration {raters.concentration:g}); "
        f"decision noise {raters.noise:g} (logistic, log units); floors {raters.style_floor:g} "
        f"(style) and {raters.content_floor:g} (content); ordinary are a {' and a '.join(ordinary)}"
    )


def turning(sensitivity: pd.DataFrame) -> list[tuple[str, str]]:
    """The comparisons (method, opponent) whose winner changes with the raters' weights.

    What rounds to 50 % has no winner.

    Args:
        sensitivity: of :func:`bench.study.proxy.proxy_sensitivity`.
    """
    rates = sensitivity.groupby(["method", "opponent"])["proxy_win_rate"]
    turns = (rates.min() < 0.5 - _DRAW) & (rates.max() > 0.5 + _DRAW)
    return [(str(method), str(opponent)) for method, opponent in turns[turns].index]


def _settings(one: Series) -> list[str]:
    return [part for part in one.variant.split(", ") if part]


def _shared_settings(series: Sequence[Series]) -> set[str]:
    """What all have in common, and so tells none from another."""
    return set.intersection(*(set(_settings(one)) for one in series)) if series else set()


def _definition(record: Record) -> tuple[object, ...]:
    """What must be equal for losses to compare."""
    sizes = (record.width, record.height, record.style_width, record.style_height)
    return (record.quality_network, *sizes)


def _kind_words(record: Record) -> str:
    return (
        f"another size or reference network ({record.width}x{record.height}, style "
        f"{record.style_width}x{record.style_height}, {record.quality_network})"
    )


def _rows(method: str, record: Record) -> list[dict[str, object]]:
    """A row for each picture with both losses; of a pair that comes twice the last."""
    rows: dict[str, dict[str, object]] = {}
    for entry in record.per_pair or []:
        values = [entry.get(key) for key in LOSSES]
        if all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            pair = str((entry.get("content"), entry.get("style")))
            rows[pair] = dict(zip(COLUMNS, (pair, method, *values), strict=True))
    return list(rows.values())


def _count(known: ProxyLosses) -> str:
    methods, pairs = count(len(known.methods), "method"), count(known.pairs, "image pair")
    return f"{methods} on {pairs}"


def _turning_words(sensitivity: pd.DataFrame) -> str:
    turns = turning(sensitivity)
    every = len(sensitivity.groupby(["method", "opponent"]))
    low, high = sensitivity["style_weight"].min(), sensitivity["style_weight"].max()
    span = f"between mean weights of style of {low:g} and {high:g}"
    if not turns:
        return f"The winner of no comparison changes {span}."
    names = short_names([*sensitivity["method"], *sensitivity["opponent"]])
    return (
        f"The winner of {len(turns)} of {count(every, 'comparison')} changes {span}, so the "
        f"raters' weights decide there: {_examples(turns, names)}."
    )


def _examples(turns: Sequence[tuple[str, str]], names: dict[str, str]) -> str:
    words = [f"{markdown(names[a])} against {markdown(names[b])}" for a, b in turns[:_NAMED]]
    more = [f"{len(turns) - _NAMED} more"] if len(turns) > _NAMED else []
    return listing([*words, *more])

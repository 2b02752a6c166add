"""What people answered in a study: shares, strengths, agreement, and how well it was predicted."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from bench.errors import UserError
from bench.study.formats import Key, read_answers, read_key
from bench.study.prediction import Prediction, predict
from bench.study.screening import Rater, judge_rater, merge
from bench.study.statistics import (
    Agreement,
    Comparison,
    agreement,
    bradley_terry,
    head_to_head,
    preference_shares,
)
from distill.files import write_bytes_atomically
from distill.suggest import did_you_mean_path

FAST_MS = 1000.0
"""A rater whose median answer is quicker is warned of."""
FEW_RATERS = 5
CONFIDENCE = 0.95


@dataclass(frozen=True)
class SelfAgreement:
    """How often raters whose answers count answered a mirrored repeat as the first time."""

    consistent: int
    repeats: int
    share: float
    """NaN without repeats, and so its 95 % Wilson interval."""
    low: float
    high: float


@dataclass(frozen=True)
class Analysis:
    """What a study gave. All intervals are of 95 %."""

    key: Key
    raters: tuple[Rater, ...]
    """All, also those left out."""
    comparisons: tuple[Comparison, ...]
    """Of the raters who count."""
    methods: pd.DataFrame
    """Columns ``method``, ``wins``, ``n``, ``share``, ``low``, ``high`` (Wilson), ``strength``,
    ``strength_low``, ``strength_high`` (Bradley-Terry, bootstrap); the strongest first."""
    matchups: pd.DataFrame
    """Columns of :func:`bench.study.statistics.head_to_head`."""
    agreement: Agreement
    repeats: SelfAgreement
    prediction: Prediction
    warnings: tuple[str, ...]

    @property
    def kept(self) -> tuple[Rater, ...]:
        """Raters who count."""
        return tuple(rater for rater in self.raters if not rater.dropped)


def answer_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders by their files that end in ``.json``.

    Raises:
        UserError: for a path that is not there, and a folder without any.
    """
    found: dict[Path, None] = {}
    problems = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.glob("*.json"))
            if not inside:
                problems.append(f"{path}: no .json file in this folder")
            found |= dict.fromkeys(inside)
        elif path.exists():
            found[path] = None
        else:
            problems.append(f"{path}: no such file or folder{did_you_mean_path(path)}")
    if problems:
        raise UserError(*problems)
    return list(found)


def analyze_study(
    paths: Sequence[Path], key_file: Path, *, max_failed: int = 0, seed: int = 0
) -> Analysis:
    """Read, merge and screen answers, and compute everything.

    Args:
        paths: answer files, and folders of them.
        key_file: of the study; left out where it lies in one of the folders.
        max_failed: attention checks that a rater may fail.
        seed: of the bootstrap.

    Raises:
        UserError: a line for each file that is no answers to this study; where no rater is left.
    """
    if max_failed < 0:
        raise UserError(f"max_failed: {max_failed}; 0 or more are needed")
    key = read_key(key_file)
    read = []
    problems: list[str] = []
    for path in answer_files(paths):
        if path.resolve() == key_file.resolve():
            continue
        try:
            read.append((path, read_answers(path, key)))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    merged, warnings = merge(read)
    raters = tuple(
        judge_rater(path, answers, key, max_failed=max_failed) for path, answers in merged
    )
    kept = [rater for rater in raters if not rater.dropped]
    if not kept:
        dropped = [
            f"{rater.file}: rater {rater.name} is left out: {rater.dropped}" for rater in raters
        ]
        raise UserError(*dropped, "no raters are left: nothing to analyse")
    comparisons = tuple(one for rater in kept for one in rater.comparisons)
    shares = preference_shares(comparisons, CONFIDENCE)
    strengths = bradley_terry(comparisons, CONFIDENCE, seed).rename(
        columns={"low": "strength_low", "high": "strength_high"}
    )
    methods = shares.merge(strengths, on="method").sort_values("strength", ascending=False)
    return Analysis(
        key=key,
        raters=raters,
        comparisons=comparisons,
        methods=methods.reset_index(drop=True),
        matchups=head_to_head(comparisons, CONFIDENCE, seed),
        agreement=agreement(comparisons, CONFIDENCE, seed),
        repeats=_self_agreement(kept),
        prediction=predict(comparisons, key.losses),
        warnings=(*warnings, *_warnings(kept, methods, key)),
    )


def raters_table(analysis: Analysis) -> pd.DataFrame:
    """One row for each rater, also those left out; ``dropped`` says why, empty if they count."""
    rows = [
        {
            "rater": rater.name,
            "file": rater.file.name,
            "answers": rater.answers,
            "asked": rater.asked,
            "attention_checks": rater.attention,
            "attention_failed": rater.failed,
            "repeats": rater.repeats,
            "repeats_consistent": rater.consistent,
            "left_share": rater.left / rater.answers if rater.answers else math.nan,
            "median_s": rater.median_ms / 1000,
            "dropped": rater.dropped,
        }
        for rater in analysis.raters
    ]
    return pd.DataFrame(rows)


def write_analysis(analysis: Analysis, out: Path) -> None:
    """Write the tables as CSV, and all but the single answers as ``study.json``.

    The tables are ``methods``, ``matchups``, ``raters``, ``answers``, ``predictions`` and
    ``predicted_matchups``.

    Raises:
        UserError: if the folder cannot be written.
    """
    tables = {
        "methods": analysis.methods,
        "matchups": analysis.matchups,
        "raters": raters_table(analysis),
        "answers": pd.DataFrame([asdict(one) for one in analysis.comparisons]),
        "predictions": analysis.prediction.table,
        "predicted_matchups": analysis.prediction.matchups,
    }
    whole: dict[str, Any] = {
        "study": analysis.key.study,
        "ask": analysis.key.ask,
        "confidence": CONFIDENCE,
        "raters_kept": len(analysis.kept),
        "raters_dropped": len(analysis.raters) - len(analysis.kept),
        "agreement": asdict(analysis.agreement),
        "self_agreement": asdict(analysis.repeats),
        "warnings": list(analysis.warnings),
        "prediction_notes": list(analysis.prediction.notes),
        **{
            name: json.loads(table.to_json(orient="records", double_precision=15))
            for name, table in tables.items()
            if name != "answers"
        },
    }
    text = json.dumps(_without_nan(whole), indent=1, allow_nan=False) + "\n"
    try:
        for name, table in tables.items():
            write_bytes_atomically(out / f"{name}.csv", table.to_csv(index=False).encode())
        write_bytes_atomically(out / "study.json", text.encode())
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None


def _self_agreement(kept: Sequence[Rater]) -> SelfAgreement:
    consistent = sum(rater.consistent for rater in kept)
    repeats = sum(rater.repeats for rater in kept)
    if repeats == 0:
        return SelfAgreement(0, 0, math.nan, math.nan, math.nan)
    ends = binomtest(consistent, repeats).proportion_ci(CONFIDENCE, method="wilson")
    return SelfAgreement(
        consistent, repeats, consistent / repeats, float(ends.low), float(ends.high)
    )


def _warnings(kept: Sequence[Rater], methods: pd.DataFrame, key: Key) -> list[str]:
    told = []
    for rater in kept:
        if rater.answers < rater.asked:
            told.append(
                f"{rater.file}: {rater.answers} of {rater.asked} questions answered; they count"
            )
        if rater.median_ms < FAST_MS:
            told.append(
                f"{rater.file}: {rater.median_ms / 1000:.1f} s for half of the answers or less: "
                "hardly looked at; they count"
            )
    if len(kept) < FEW_RATERS:
        told.append(
            f"{len(kept)} rater{'' if len(kept) == 1 else 's'}: Wilson's intervals take answers as "
            "independent, so they say little about other people; the bootstrap's do not either"
        )
    if unseen := sorted(set(key.methods) - set(methods["method"])):
        told.append(f"no answer about {', '.join(unseen)}")
    return told


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what cannot be said is null."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

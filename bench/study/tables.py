"""A study's result on the terminal."""

import math

import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.study.analyze import Analysis


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Print who counts, the methods, their matchups, agreement and predictions."""
    kept = analysis.kept
    console.print(
        f"study {analysis.key.study}: {analysis.key.ask!r}; {len(analysis.comparisons)} answers of "
        f"{len(kept)} raters, {len(analysis.raters) - len(kept)} left out"
    )
    for rater in analysis.raters:
        if rater.dropped:
            console.print(
                f"left out: rater {rater.name} ({rater.file}): {rater.dropped}", soft_wrap=True
            )
    for warning in analysis.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    console.print()
    console.print(_methods(analysis.methods))
    console.print(
        "share: of its comparisons that the method won, with Wilson's 95 % interval; strength: "
        "Bradley-Terry, log odds, mean 0, with the bootstrap's over pairs and raters\n",
        soft_wrap=True,
    )
    console.print(_matchups(analysis.matchups))
    console.print()
    _print_agreement(analysis, console)
    if len(analysis.prediction.table):
        console.print()
        console.print(_predictions(analysis.prediction.table))
    for note in analysis.prediction.notes:
        console.print(f"prediction: {note}", soft_wrap=True)


def _methods(frame: pd.DataFrame) -> Table:
    table = _table("method", "won", "of", "share", "95 %", "strength", "95 %")
    for row in frame.to_dict("records"):
        strengths = f"{row['strength_low']:+.2f} to {row['strength_high']:+.2f}"
        table.add_row(
            row["method"],
            *(
                str(row["wins"]),
                str(row["n"]),
                _percent(row["share"]),
                _range(row["low"], row["high"]),
            ),
            *(f"{row['strength']:+.2f}", strengths),
        )
    return table


def _matchups(frame: pd.DataFrame) -> Table:
    table = _table("method", "won", "of", "share", "95 %, bootstrap")
    for row in frame.to_dict("records"):
        table.add_row(
            f"{row['method']} over {row['opponent']}",
            *(
                str(row["wins"]),
                str(row["n"]),
                _percent(row["share"]),
                _range(row["low"], row["high"]),
            ),
        )
    return table


def _print_agreement(analysis: Analysis, console: Console) -> None:
    found = analysis.agreement
    if math.isnan(found.value):
        console.print(f"agreement of raters: cannot be said: {found.reason}", soft_wrap=True)
    else:
        ends = "" if math.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
        console.print(
            f"agreement of raters: {found.name} {found.value:.2f}{ends}, 1 is full and 0 chance; "
            f"{found.n_units} questions shared by {found.n_raters} raters",
            soft_wrap=True,
        )
    again = analysis.repeats
    if again.repeats:
        console.print(
            f"agreement with themselves: {again.consistent} of {again.repeats} mirrored repeats "
            f"answered alike ({_range(again.low, again.high)})",
            soft_wrap=True,
        )


def _predictions(frame: pd.DataFrame) -> Table:
    table = _table(
        "predictor", "answers it tells", "of", "winners", "of", "Pearson", "Spearman", "error"
    )
    for row in frame.to_dict("records"):
        table.add_row(
            row["predictor"],
            *(
                _percent(row["agreement"]),
                str(row["answers"]),
                _percent(row["winners"]),
                str(row["matchups"]),
            ),
            *(_number(row["pearson"]), _number(row["spearman"]), _percent(row["error"])),
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(first, box=None)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"

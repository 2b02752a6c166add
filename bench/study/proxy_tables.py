"""The proxy's result on the terminal; everything there is called a proxy."""

import math
from collections.abc import Mapping

import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.study.proxy import ProxyPreference


def print_proxy(found: ProxyPreference, names: Mapping[str, str], console: Console) -> None:
    """Print methods, the strongest first, their matchups and the raters' agreement.

    Args:
        found: the result.
        names: from each method to what it is called here.
        console: where to.
    """
    console.print(_methods(found, names))
    console.print(
        "proxy share: of its comparisons that the method won; proxy strength: Bradley-Terry, log "
        "odds, mean 0; intervals by bootstrap over image pairs and raters\n",
        soft_wrap=True,
    )
    console.print(_matchups(found.proxy_head_to_head, names))
    agreed = found.proxy_agreement
    if math.isnan(agreed.value):
        text = f"cannot be said: {agreed.reason}"
    else:
        text = (
            f"{agreed.name} {agreed.value:.2f} ({agreed.low:.2f} to {agreed.high:.2f}), 1 is full "
            f"and 0 chance"
        )
    console.print(f"\nagreement of simulated raters: {text}", soft_wrap=True)


def print_sensitivity(
    frame: pd.DataFrame,
    turning: list[tuple[str, str]],
    names: Mapping[str, str],
    console: Console,
) -> None:
    """Print win rates over the grid of weights, a line for each two methods.

    Args:
        frame: of :func:`bench.study.proxy.proxy_sensitivity`.
        turning: the comparisons in it whose winner changes.
        names: from each method to what it is called here.
        console: where to.
    """
    weights = [f"{weight:g}" for weight in sorted(set(frame["style_weight"]))]
    table = _table("proxy win rate, %,\nat mean weights of style", *weights, "winner")
    table.padding = (0, 1, 0, 0)
    for (method, opponent), part in frame.groupby(["method", "opponent"]):
        rates = part.sort_values("style_weight")["proxy_win_rate"]
        table.add_row(
            f"{names[str(method)]} over {names[str(opponent)]}",
            *(f"{100 * rate:.0f}" for rate in rates),
            "changes" if (method, opponent) in turning else "same",
        )
    console.print(table)
    console.print(
        "expected of infinitely many simulated raters; where the winner changes, the weights "
        "decide and not the pictures",
        soft_wrap=True,
    )


def _methods(found: ProxyPreference, names: Mapping[str, str]) -> Table:
    table = _table("method", "proxy\nshare", "95 %", "of", "proxy\nstrength", "95 %")
    strengths = found.proxy_strengths.sort_values(
        ["proxy_strength", "method"], ascending=[False, True]
    )
    shares = found.proxy_shares.set_index("method")
    for row in strengths.to_dict("records"):
        share = shares.loc[row["method"]]
        table.add_row(
            names[row["method"]],
            *(_percent(share["proxy_share"]), _range(share), str(int(share["proxy_n"]))),
            f"{row['proxy_strength']:+.2f}",
            f"{row['proxy_low']:+.2f} to {row['proxy_high']:+.2f}",
        )
    return table


def _matchups(frame: pd.DataFrame, names: Mapping[str, str]) -> Table:
    table = _table("proxy matchup", "proxy\nshare", "95 %", "of")
    for _, row in frame.iterrows():
        table.add_row(
            f"{names[row['method']]} over {names[row['opponent']]}",
            *(_percent(row["proxy_share"]), _range(row), str(row["proxy_n"])),
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    # a narrow terminal breaks names, and cuts neither them nor numbers
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _range(row: "pd.Series[float]") -> str:
    return f"{100 * row['proxy_low']:.1f} to {100 * row['proxy_high']:.1f} %"

"""Preferences between methods as figures and tables take them, of people or of a proxy."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from bench.study.proxy import ProxyPreference
from bench.study.statistics import Agreement

PROXY = "proxy_"
PROXY_WORDS = "Proxy: simulated raters, nobody was asked."
Shares = Mapping[tuple[str, str], tuple[float, float, float]]
"""Of a record, by the label of its run and its id: percent of its comparisons that it won, and the
ends of the 95 % interval."""


@dataclass(frozen=True)
class Preferences:
    """What raters preferred, with 95 % intervals."""

    win_rates: pd.DataFrame
    """Methods x methods: share of the row beating the column, NaN where never compared."""
    shares: pd.DataFrame
    """Columns ``method``, ``wins``, ``n``, ``share``, ``low``, ``high``."""
    strengths: pd.DataFrame
    """Columns ``method``, ``strength``, ``low``, ``high``."""
    agreement: Agreement
    proxy: bool
    """Whether the raters are simulated."""
    shares_interval: str = "Wilson"
    """How the shares' interval was made."""

    @property
    def order(self) -> list[str]:
        """Methods, the strongest first, equals by name."""
        ranked = self.strengths.sort_values(["strength", "method"], ascending=[False, True])
        return [str(name) for name in ranked["method"]]

    @property
    def answers(self) -> int:
        """How many judgements there are."""
        return int(self.shares["n"].sum()) // 2


def of_proxy(found: ProxyPreference) -> Preferences:
    """A proxy's result."""
    return Preferences(
        found.proxy_win_rates,
        _plain(found.proxy_shares),
        _plain(found.proxy_strengths),
        found.proxy_agreement,
        proxy=True,
        shares_interval="bootstrap over image pairs and raters",
    )


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns=lambda name: str(name).removeprefix(PROXY))

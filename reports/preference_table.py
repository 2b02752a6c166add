"""Preferences between methods as a table: a share for each, as user studies report them."""

from collections.abc import Mapping
from typing import Any

from reports.preferences import PROXY, PROXY_WORDS, Preferences
from reports.table import Column, Row, Table
from reports.text import count, interval, short_names


def preference_table(
    preferences: Preferences, cells: Mapping[str, tuple[str, str]] | None = None
) -> Table:
    """One row a method, the strongest first.

    The CSV's columns begin with ``proxy_`` where the raters are simulated.

    Args:
        preferences: what the raters preferred.
        cells: label of the run, and id, of the record that each method was judged by, to which the
            page leads from its row.
    """
    prefix = PROXY if preferences.proxy else ""
    names = short_names(preferences.order)

    def ends(key: str) -> tuple[str, str, str]:
        return f"{prefix}{key}", f"{prefix}{key}_low", f"{prefix}{key}_high"

    share, strength = ends("preferred_percent"), ends("strength")
    word = "proxy, " if preferences.proxy else ""

    def cell(keys: tuple[str, str, str], digits: int) -> Any:
        def text(row: Row) -> str:
            value, low, high = (row[key] for key in keys)
            return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

        return text

    columns = (
        Column("method", "Method", lambda row: names[row["method"]]),
        Column(share[0], f"Preferred ({word}%) [95 % interval]", cell(share, 1)),
        Column(share[1]),
        Column(share[2]),
        Column(f"{prefix}answers", "Answers"),
        Column(strength[0], f"Bradley-Terry strength ({word}log units) [95 %]", cell(strength, 2)),
        Column(strength[1]),
        Column(strength[2]),
    )
    shares = preferences.shares.set_index("method")
    strengths = preferences.strengths.set_index("method")
    rows = []
    for method in preferences.order:
        row: dict[str, Any] = {"method": method}
        if cells and method in cells:
            row["run"], row["id"] = cells[method]
        row[f"{prefix}answers"] = int(shares["n"][method])
        for key, column in zip(share, ("share", "low", "high"), strict=True):
            row[key] = 100 * float(shares[column][method])
        for key, column in zip(strength, ("strength", "low", "high"), strict=True):
            row[key] = float(strengths[column][method])
        rows.append(row)
    return Table(
        "preference_proxy" if preferences.proxy else "preference",
        "Preference between methods" + (" (proxy)" if preferences.proxy else ""),
        preference_note(preferences),
        columns,
        tuple(rows),
        "No two methods were compared.",
    )


def preference_note(preferences: Preferences) -> str:
    """What the numbers are, in a few sentences."""
    found = preferences.agreement
    parts = [
        *([PROXY_WORDS] if preferences.proxy else []),
        f"{count(preferences.answers, 'answer')}.",
        f"Preferred: share of a method's comparisons that it won (95 % interval: "
        f"{preferences.shares_interval}). Strength: Bradley-Terry, log odds of beating a method of "
        "mean strength (95 % interval: bootstrap over image pairs and raters).",
    ]
    if found.reason:
        parts.append(f"No agreement between raters: {found.reason}.")
    else:
        parts.append(
            f"Agreement of {count(found.n_raters, 'rater')} on {count(found.n_units, 'question')}: "
            f"{found.name} {interval(found.value, found.low, found.high)} (1 full, 0 chance)."
        )
    return " ".join(parts)

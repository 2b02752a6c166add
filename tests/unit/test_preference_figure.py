"""Preferences as a figure and a table: what is a proxy says so, and no number is made up."""

import math

import pandas as pd
import pytest

from bench.study.proxy import proxy_preference
from bench.study.raters import ProxyRaters
from bench.study.statistics import (
    Comparison,
    agreement,
    bradley_terry,
    preference_shares,
    win_rates,
)
from reports.preference_figure import preference_figure, write_preference_figure
from reports.preference_table import preference_table
from reports.preferences import Preferences, of_proxy
from reports.style import paper_style


def preferences(comparisons: list[Comparison]) -> Preferences:
    return Preferences(
        win_rates(comparisons),
        preference_shares(comparisons),
        bradley_terry(comparisons, resamples=20),
        agreement(comparisons, resamples=20),
        proxy=False,
    )


def asked(first: str, second: str, winners: str) -> list[Comparison]:
    return [Comparison(f"r{n}", "p", first, second, winner) for n, winner in enumerate(winners)]


@pytest.fixture
def people() -> Preferences:
    return preferences(asked("a", "b", "bbba") + asked("b", "c", "bbbb"))


@pytest.fixture
def proxy() -> Preferences:
    rows = [
        {"pair": f"p{n}", "method": method, "style_loss": loss + n, "content_loss": 1.0}
        for n in range(4)
        for method, loss in (("mild_1", 9.0), ("strong", 1.0))
    ]
    return of_proxy(proxy_preference(pd.DataFrame(rows), ProxyRaters(raters=5), resamples=20))


def drawn(preferences: Preferences):
    with paper_style():
        return preference_figure(preferences)


def texts(figure) -> list[str]:
    heat = figure.axes[0]
    return [text.get_text() for text in heat.texts]


def test_the_heat_map_gives_each_rate_and_a_dash_where_none_is_known(people):
    figure = drawn(people)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["b", "a", "c"]
    # b: itself, against a, against c; then a and c, who never met
    assert texts(figure) == ["", "75", "100", "25", "", "–", "0", "–", ""]


def test_dots_stand_in_the_rows_of_the_heat_map(people):
    _, share, strength = drawn(people).axes
    shares, strengths = (axes.lines[0].get_xdata().tolist() for axes in (share, strength))
    assert shares == pytest.approx([100 * 7 / 8, 25, 0])
    assert strengths == sorted(strengths, reverse=True)


def test_a_proxy_is_called_so_wherever_it_is_shown(proxy, tmp_path):
    figure = drawn(proxy)
    heat, share, strength = figure.axes
    for shown in (heat.get_title(), share.get_xlabel(), strength.get_xlabel()):
        assert shown.startswith("Proxy: ")
    note = figure.texts[-1].get_text()
    assert "nobody was asked" in " ".join(note.split())
    assert {path.name for path in write_preference_figure(proxy, tmp_path)} == {
        f"preference_proxy.{suffix}" for suffix in ("png", "pdf", "svg")
    }
    table = preference_table(proxy)
    assert "proxy" in table.name
    assert "(proxy)" in table.title
    head = table.csv().splitlines()[0].split(",")
    assert all(name.startswith("proxy_") for name in head[1:])
    assert "(proxy, %)" in table.markdown()


def test_what_people_said_is_not_called_a_proxy(people, tmp_path):
    figure = drawn(people)
    shown = [axes.get_title() + axes.get_xlabel() for axes in figure.axes]
    assert not any("roxy" in text for text in shown)
    table = preference_table(people)
    assert "roxy" not in table.csv() + table.markdown() + table.title + table.note
    names = {path.name for path in write_preference_figure(people, tmp_path)}
    assert "preference.png" in names


def test_the_table_has_the_shares_of_a_user_study(people):
    table = preference_table(people)
    assert [row["method"] for row in table.rows] == ["b", "a", "c"]
    best = table.rows[0]
    assert best["answers"] == 8
    assert best["preferred_percent"] == 87.5
    assert best["preferred_percent_low"] < 87.5 < best["preferred_percent_high"]
    assert "| 87.5 \\[" in table.markdown().replace("  ", "")
    assert "8 answers." in table.note
    assert "No agreement" not in table.note


def test_a_study_without_overlap_says_that_no_agreement_is_known():
    lonely = [Comparison("r", f"p{n}", "a", "b", "a") for n in range(3)]
    found = preferences(lonely)
    assert math.isnan(found.agreement.value)
    assert "No agreement between raters" in preference_table(found).note
    assert "nan" not in preference_table(found).note


def test_no_comparison_has_no_figure_and_is_said_in_words(tmp_path):
    empty = preferences([])
    assert write_preference_figure(empty, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert preference_table(empty).markdown() == "No two methods were compared.\n"

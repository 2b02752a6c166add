"""Ratios of losses over pairs of images: what they are of, and how sure they are."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports_data import quality
from test_reports_figures_quality import made

from bench.record import Record
from distill.evaluation.ratios import paired_ratio
from reports.evaluation_table import read_table
from reports.loss_ratios import loss_ratio


def crossed(contents: int, styles: int) -> tuple[list[int], list[int]]:
    places = [(content, style) for content in range(contents) for style in range(styles)]
    return [content for content, _ in places], [style for _, style in places]


def test_a_few_large_losses_do_not_rule_the_ratio():
    """Nineteen pairs twice as lossy, and one of a thousandfold loss half as lossy."""
    theirs = [1.0] * 19 + [1000.0]
    ours = [2.0] * 19 + [500.0]
    names = list(range(20))
    found = paired_ratio(ours, theirs, names, names)
    assert sum(ours) / sum(theirs) < 0.6
    assert found.value == pytest.approx(2 ** ((19 - 1) / 20))
    assert found.pairs == 20


@given(
    st.lists(st.floats(0.01, 100), min_size=9, max_size=9),
    st.lists(st.floats(0.01, 100), min_size=9, max_size=9),
    st.floats(0.01, 100),
)
def test_the_ratio_turned_round_is_its_reciprocal_and_scales(ours, theirs, factor):
    places = crossed(3, 3)
    one, other = paired_ratio(ours, theirs, *places), paired_ratio(theirs, ours, *places)
    assert one.value * other.value == pytest.approx(1)
    assert one.low * other.high == pytest.approx(1)
    scaled = paired_ratio([factor * value for value in ours], theirs, *places)
    assert scaled.value == pytest.approx(factor * one.value)
    assert scaled.low == pytest.approx(factor * one.low)
    assert one.low <= one.value <= one.high


def test_values_without_a_logarithm_do_not_count():
    names = list(range(5))
    found = paired_ratio(
        [0.0, math.nan, math.inf, 2.0, 8.0], [1.0, 1.0, 1.0, 1.0, 1.0], names, names
    )
    assert (found.value, found.pairs) == (pytest.approx(4), 2)
    assert math.isnan(found.low)
    none = paired_ratio([0.0], [1.0], ["a"], ["b"])
    assert math.isnan(none.value)
    assert none.pairs == 0


def test_one_style_leaves_an_interval_over_photographs_and_two_of_each_leave_none():
    values = [1.0, 2.0, 4.0, 3.0]
    ones = [1.0] * 4
    alone = paired_ratio(values, ones, [0, 1, 2, 3], ["s"] * 4)
    t3, logs = 3.182446, np.log(values)
    half = t3 * logs.std(ddof=1) / 2
    assert math.log(alone.high / alone.value) == pytest.approx(half, rel=1e-5)
    assert math.isnan(paired_ratio(values, ones, *crossed(2, 2)).low)


@pytest.mark.parametrize("design", ["crossed", "each photograph once", "one to one"])
@pytest.mark.parametrize("shared", [(0.0, 0.0, 1.0), (1.0, 1.0, 1.0), (0.0, 1.0, 0.3)])
def test_the_interval_covers_the_ratio_as_often_as_it_says(design, shared):
    """Where photographs and styles shift whole groups of pairs, as they do."""
    rng = np.random.default_rng(5)
    by_content, by_style, by_pair = shared
    trials, covered = 300, 0
    for _ in range(trials):
        if design == "crossed":
            contents, styles = crossed(10, 8)
        elif design == "one to one":
            contents = styles = list(range(6))
        else:
            contents, styles = list(range(60)), rng.integers(14, size=60).tolist()
        logs = by_pair * rng.normal(size=len(contents))
        logs += by_content * rng.normal(size=60)[contents] + by_style * rng.normal(size=60)[styles]
        found = paired_ratio(np.exp(logs), np.ones(len(logs)), contents, styles)
        covered += found.low <= 1 <= found.high
    # 95 %, less what few styles of unequal weight lose, and three standard errors of the trials
    assert covered / trials > 0.88


def test_losses_of_records_are_matched_by_the_names_of_their_pictures():
    ours, theirs = made("wct-vgg16-16x", 3.0), made("wct-vgg16-1x", 2.0)
    for pair in theirs["per_pair"]:
        pair["content"] = f"/elsewhere/{pair['content']}"
    theirs["per_pair"].reverse()
    records = [Record.model_validate(one) for one in (ours, theirs)]
    found = loss_ratio(records[0], records[1], "style_loss")
    assert found is not None
    assert found.value == pytest.approx(1.5)
    larger = records[1].model_copy(update={"width": 1024})
    assert loss_ratio(records[0], larger, "style_loss") is None
    bare = Record.model_validate(quality("wct-vgg16-1x", pairs=0))
    assert loss_ratio(records[0], bare, "style_loss") is None


def test_an_older_evaluation_gets_its_ratios_from_its_pairs(tmp_path):
    """As ``distill evaluate`` wrote them before: ratios of means alone."""
    losses = {"teacher": [1.0, 1.0, 100.0], "student": [2.0, 2.0, 50.0]}
    pairs = [
        {"model": model, "content": f"c{n}", "style": f"s{n}", "content_loss": 1.0, "style_loss": v}
        for model, values in losses.items()
        for n, v in enumerate(values)
    ]
    pd.DataFrame(pairs).to_csv(tmp_path / "pairs.csv", index=False)
    numbers = dict.fromkeys(
        f"{key}{part}"
        for key in ("reconstruction_psnr_relu4_1", "lpips_teacher", "style_loss_ratio")
        for part in ("", "_low", "_high")
    )
    rows = [
        {
            **{"model": model, "group": model, "method": "wct", "family": "vgg16", "ratio": ratio},
            **{"compressor": "pruned", "weights": "trained", "network": "n", "teacher": "teacher"},
            **{"size_px": 512, "photographs": 3, "pairs": 3, **numbers, "absent": ""},
        }
        for model, ratio in (("teacher", 1), ("student", 16))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "evaluate.csv", index=False)
    table = read_table(tmp_path / "evaluate.csv").set_index("model")
    assert table["style_loss_geometric_ratio"]["student"] == pytest.approx(2 ** (1 / 3))
    assert table["style_loss_geometric_ratio"]["teacher"] == 1
    assert table["content_loss_geometric_ratio"]["student"] == 1
    assert table["style_loss_geometric_ratio_low"]["student"] < 1


DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["evaluation-wct", "evaluation-adain", "compressors"])
def test_committed_ratios_are_those_of_the_committed_pairs(name, tmp_path):
    folder = DOCS / "results" / name
    written = read_table(folder / "evaluate.csv")
    ratios = [column for column in written if "_geometric_ratio" in column]
    assert len(ratios) == 6
    shutil.copy(folder / "pairs.csv", tmp_path)
    written.drop(columns=ratios).to_csv(tmp_path / "evaluate.csv", index=False)
    again = read_table(tmp_path / "evaluate.csv")
    pd.testing.assert_frame_equal(written[ratios], again[ratios], rtol=1e-9)


def test_the_readme_states_the_committed_ratios():
    readme = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    for method, words in (("adain", "{} in style and {} in content"), ("wct", "{} and {} for WCT")):
        table = read_table(DOCS / "results" / f"evaluation-{method}" / "evaluate.csv")
        student = table.set_index("model").loc[f"{method}-vgg16-16x"]
        texts = []
        for loss in ("style_loss", "content_loss"):
            value, low, high = (
                student[f"{loss}_geometric_ratio{e}"] for e in ("", "_low", "_high")
            )
            texts.append(f"{value:.2f} [{low:.2f}, {high:.2f}]")
        assert words.format(*texts) in readme

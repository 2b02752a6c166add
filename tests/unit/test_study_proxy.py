"""Simulated raters: fair to equals, hard on what is worse, and sure only of what they can know."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import gaussian_blur

from bench.errors import UserError
from bench.image_specs import BUILTIN_CONTENTS, BUILTIN_STYLES
from bench.image_tensors import load_tensor
from bench.study.proxy import (
    expected_proxy_win_rates,
    proxy_comparisons,
    proxy_preference,
    proxy_sensitivity,
    with_references,
)
from bench.study.raters import ProxyRaters
from bench.study.statistics import bootstrap_shares, bradley_terry, head_to_head
from bench.stylizers import load_stylizer
from bench.units import Size
from distill.reference_losses import ReferenceLosses


def study(methods, pairs=20, spread=0.0, seed=0) -> pd.DataFrame:
    """Losses of pictures: those of a pair times the method's factors of style and content loss.

    ``spread`` is the standard deviation, in logarithms, of what is the picture's own.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 0.6, (2, pairs))
    frames = []
    for method, (style, content) in methods.items():
        own = base + rng.normal(0, spread, (2, pairs)) if spread else base
        frames.append(
            pd.DataFrame(
                {
                    "pair": [f"p{n:04d}" for n in range(pairs)],
                    "method": method,
                    "style_loss": 0.004 * style * np.exp(own[0]),
                    "content_loss": 3 * content * np.exp(own[1]),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def against_first(losses: pd.DataFrame, raters: ProxyRaters | None = None) -> list[float]:
    """How often the first method by name is expected to beat each, itself at 1/2."""
    return expected_proxy_win_rates(losses, raters).iloc[0].fillna(0.5).tolist()


raters = st.builds(
    ProxyRaters,
    style_weight=st.floats(0, 1),
    concentration=st.floats(0.1, 1e6),
    noise=st.floats(0.01, 10),
)


# ------------------------------------------------------------------------------------------ equals


@settings(max_examples=25)
@given(raters, st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=6))
def test_the_same_losses_are_expected_to_be_preferred_equally(raters, values):
    losses = pd.DataFrame(
        [
            {"pair": f"p{n}", "method": method, "style_loss": value, "content_loss": 2 * value}
            for n, value in enumerate(values)
            for method in "abc"
        ]
    )
    rates = expected_proxy_win_rates(losses, raters).to_numpy()
    assert rates[~np.eye(3, dtype=bool)] == pytest.approx(0.5)


def test_identical_methods_get_half_within_every_interval():
    found = proxy_preference(study({"a": (1, 1), "b": (1, 1), "c": (1, 1)}))
    for frame, centre in (
        (found.proxy_head_to_head, 0.5),
        (found.proxy_shares, 0.5),
        (found.proxy_strengths, 0),
    ):
        assert (frame["proxy_low"] <= centre).all()
        assert (centre <= frame["proxy_high"]).all()
    # The intervals are no wider than they must be to be of use: 2400 answers.
    shares = found.proxy_shares
    assert (shares["proxy_high"] - shares["proxy_low"]).max() < 0.15
    assert found.proxy_agreement.low < 0.02


# ------------------------------------------------------------------------------- step by step worse

WORSE = {
    "blur: both losses grow, content's faster": ((1.0, 1.5), (1.5, 3.0), (2.5, 12.0), (5.0, 30.0)),
    "noise: content loss grows, style loss later": ((1.0, 1.5), (1.05, 3), (1.4, 8), (2, 16)),
    "under-stylised: style loss grows, content loss falls": (
        (1.3, 0.9),
        (2.5, 0.6),
        (7.0, 0.25),
        (15.0, 0.0),
    ),
}


@pytest.mark.parametrize("kind", WORSE)
def test_a_method_is_preferred_less_the_worse_it_gets(kind):
    steps = {"0": (1.0, 1.0)} | {str(n): factors for n, factors in enumerate(WORSE[kind], 1)}
    rates = against_first(study(steps, spread=0.1))
    assert rates == sorted(rates)
    assert rates[1] > 0.51
    assert rates[-1] > 0.75
    # and so when only the two are in the study
    alone = [against_first(study({"0": steps["0"], "1": steps[n]}, spread=0.1))[1] for n in "1234"]
    assert alone == sorted(alone)
    # and in the answers, not only in what is expected of them
    found = proxy_preference(study(steps, spread=0.1), ProxyRaters(raters=80))
    strengths = found.proxy_strengths["proxy_strength"].tolist()
    assert strengths == sorted(strengths, reverse=True)


@settings(max_examples=25)
@given(raters, st.floats(1.01, 5), st.floats(1.01, 5), st.floats(0, 3))
def test_more_of_a_loss_is_never_preferred(raters, factor, more, other):
    fixed = replace(raters, style_reference=0.004, content_reference=3.0)
    for place in (0, 1):

        def losses(value, place=place):
            pair = (value, other) if place == 0 else (other, value)
            return study({"a": (1, 1), "b": pair}, pairs=4)

        worse, worst = (against_first(losses(value), fixed)[1] for value in (factor, factor * more))
        assert worst >= worse - 1e-12


@pytest.fixture(scope="module")
def degraded(students) -> dict[str, pd.DataFrame]:
    """Losses of real pictures by the paper's students, degraded in steps named from 0."""
    model = load_stylizer(f"wct-vgg19-16x:{students}")
    measure = ReferenceLosses("vgg16-normalised", "cpu")
    rows: dict[str, list[tuple[str, str, float, float]]] = {"blur": [], "noise": [], "under": []}
    size = Size(64, 64)
    for name, style_name in zip(BUILTIN_CONTENTS[:3], BUILTIN_STYLES, strict=False):
        content = load_tensor(f"builtin:{name}", size, role="content")
        style = load_tensor(f"builtin:{style_name}", size, role="style")
        code = model.encode_style(style)
        output = model.stylize(content, code).clamp(0, 1)
        noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
        pictures = {
            "blur": [output, *(gaussian_blur(output, [25, 25], [s, s]) for s in (0.7, 1.2, 2.5))],
            "noise": [output, *(output + level * noise for level in (0.1, 0.2, 0.4))],
            "under": [model.stylize(content, code, alpha) for alpha in (1, 0.6, 0.3, 0)],
        }
        reached, wanted = measure.features(content), measure.features(style)
        for kind, steps in pictures.items():
            for step, picture in enumerate(steps):
                found = measure.features(picture.clamp(0, 1))
                losses = (
                    sum(measure.style_losses(found, wanted).values()),
                    measure.content_loss(found, reached),
                )
                rows[kind].append((name, str(step), *losses))
    columns = ["pair", "method", "style_loss", "content_loss"]
    return {kind: pd.DataFrame(found, columns=columns) for kind, found in rows.items()}


@pytest.mark.parametrize("kind", ["blur", "noise", "under"])
def test_real_pictures_are_preferred_less_the_more_they_are_degraded(degraded, kind):
    rates = against_first(degraded[kind])
    assert rates == sorted(rates)
    assert rates[-1] > 0.75


# ---------------------------------------------------------------------------------------- the truth


def test_intervals_cover_the_truth_of_all_raters_and_pictures():
    methods = {"a": (1, 1), "b": (1.5, 1.2)}
    crowd = ProxyRaters(raters=12)
    # Image pairs without end, as good as: every study is a sample of these, and of all raters.
    truth = float(expected_proxy_win_rates(study(methods, 4000, 0.3, seed=99)).loc["a", "b"])
    assert 0.55 < truth < 0.75
    share = strength = 0
    for seed in range(100):
        losses = study(methods, 16, 0.3, seed)
        made = proxy_comparisons(losses, replace(crowd, seed=seed))
        duel = head_to_head(made, seed=seed, resamples=200).iloc[0]
        share += duel["low"] <= truth <= duel["high"]
        best = bradley_terry(made, seed=seed, resamples=200).iloc[0]
        strength += best["low"] <= math.log(truth / (1 - truth)) / 2 <= best["high"]
    assert share >= 90
    assert strength >= 90


def test_answers_are_drawn_as_expected():
    losses = study({"a": (1, 1), "b": (2, 0.7), "c": (1, 3)}, pairs=50, spread=0.3)
    many = ProxyRaters(raters=200, seed=5)
    found = proxy_preference(losses, many, resamples=2).proxy_win_rates
    expected = expected_proxy_win_rates(losses, many)
    # 10,000 answers each; raters of their own weights add to the chance of their sum
    assert np.nanmax(np.abs(found.to_numpy() - expected.to_numpy())) < 0.03


def test_weights_are_drawn_as_stated():
    crowd = ProxyRaters(raters=100_000, style_weight=0.3, concentration=5)
    drawn = crowd.draw_weights(np.random.default_rng(0))
    for found in (drawn, crowd.quantiles()):
        assert found.mean() == pytest.approx(0.3, abs=0.003)
        assert found.std() == pytest.approx(crowd.style_weight_deviation, abs=0.003)
        assert ((found > 0) & (found < 1)).all()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_raters_of_one_mind_look_at_one_loss_alone(weight):
    better_style, better_content = (0.5, 1.0), (1.0, 0.5)
    losses = study({"s": better_style, "c": better_content})
    rate = expected_proxy_win_rates(losses, ProxyRaters(style_weight=weight)).loc["s", "c"]
    assert (rate > 0.5) == (weight == 1.0)


def test_documented_odds_are_those_of_the_defaults():
    def chance(style: float, content: float) -> float:
        crowd = ProxyRaters(style_reference=0.004, content_reference=3.0)
        losses = study({"a": (1, 1), "b": (style, content)}, pairs=1)
        losses["style_loss"] *= 0.004 / losses["style_loss"][0]
        losses["content_loss"] *= 3.0 / losses["content_loss"][0]
        return round(100 * against_first(losses, crowd)[1])

    assert [chance(1.1, 1.1), chance(2, 1), chance(1, 2), chance(2, 2)] == [54, 70, 62, 80]


# ---------------------------------------------------------------------------- weights and agreement


def test_sensitivity_shows_whose_turn_it_is():
    losses = study({"painterly": (0.5, 2.0), "faithful": (2.0, 0.5)})
    found = proxy_sensitivity(losses)
    assert found["style_weight"].tolist() == [n / 10 for n in range(11)]
    assert set(found["method"]) == {"faithful"}
    rates = found["proxy_win_rate"].tolist()
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.7
    assert rates[-1] < 0.3
    default = expected_proxy_win_rates(losses).loc["faithful", "painterly"]
    assert found["proxy_win_rate"][5] == default


def test_raters_agree_more_with_less_noise():
    losses = study({"a": (1, 1), "b": (2, 1.5)}, spread=0.5)
    values = [
        proxy_preference(losses, ProxyRaters(noise=noise), resamples=2).proxy_agreement.value
        for noise in (0.01, 0.4, 5.0)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.7
    assert abs(values[2]) < 0.05


# ------------------------------------------------------------------------------------ what is given


def test_everything_is_called_a_proxy():
    found = proxy_preference(study({"a": (1, 1), "b": (2, 1)}), resamples=5)
    for frame in (found.proxy_head_to_head, found.proxy_shares, found.proxy_strengths):
        names = [name for name in frame.columns if name not in ("method", "opponent")]
        assert names
        assert all(name.startswith("proxy_") for name in names)
    assert found.proxy_win_rates.index.name == "proxy_win_rate"
    assert found.proxy_agreement.name.startswith("proxy ")
    made = proxy_comparisons(study({"a": (1, 1), "b": (2, 1)}))
    assert all(answer.rater.startswith("proxy-") for answer in made)


def test_the_units_of_the_losses_change_nothing():
    losses = study({"a": (1, 1), "b": (2, 0.7)}, spread=0.3)
    scaled = losses.assign(
        style_loss=losses["style_loss"] * 1e6, content_loss=losses["content_loss"] / 255
    )
    before, after = (expected_proxy_win_rates(one).to_numpy() for one in (losses, scaled))
    assert after == pytest.approx(before, nan_ok=True)


def test_the_seed_and_nothing_else_decides_the_answers():
    losses = study({"a": (1, 1), "b": (2, 1), "c": (1, 2)})
    crowd = ProxyRaters(raters=5, questions=7, seed=3)
    made = proxy_comparisons(losses, crowd)
    assert made == proxy_comparisons(losses.sample(frac=1, random_state=1), crowd)
    assert made != proxy_comparisons(losses, replace(crowd, seed=4))
    assert len(made) == 5 * 7
    asked = [(one.rater, one.pair, *sorted((one.first, one.second))) for one in made]
    assert len(set(asked)) == len(asked)
    # which comes first says nothing of which is better
    whole = proxy_comparisons(losses)
    assert sum(one.first < one.second for one in whole) == pytest.approx(len(whole) / 2, rel=0.1)


def test_methods_meet_on_the_pairs_that_both_have():
    losses = study({"a": (1, 1), "b": (2, 1), "c": (1, 2)}, pairs=4)
    missing = losses[~((losses["method"] == "b") & (losses["pair"] == "p0000"))]
    met = {(one.pair, one.first, one.second) for one in proxy_comparisons(missing)}
    assert not any(pair == "p0000" and "b" in (a, b) for pair, a, b in met)
    assert any(pair == "p0000" for pair, _, _ in met)
    shares = bootstrap_shares(proxy_comparisons(missing), resamples=2).set_index("method")["n"]
    assert shares["a"] == shares["c"] == 40 * (3 + 4)
    assert shares["b"] == 40 * (3 + 3)


def test_references_are_those_of_the_middle_method_and_can_be_fixed():
    losses = study({"a": (1, 1), "b": (2, 1), "c": (90, 1)})
    found = with_references(losses, ProxyRaters(content_reference=7.0))
    assert found.style_reference == losses[losses["method"] == "b"]["style_loss"].median()
    assert found.content_reference == 7.0
    fixed = ProxyRaters(style_reference=0.004, content_reference=3.0)
    losses = losses[losses["method"] != "c"]
    wider = study({"a": (1, 1), "b": (2, 1), "y": (20, 9), "z": (50, 9)})
    for raters_, same in ((fixed, True), (ProxyRaters(), False)):
        one, other = (expected_proxy_win_rates(x, raters_).loc["a", "b"] for x in (losses, wider))
        assert (one == other) == same


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.rename(columns={"style_loss": "style_los"}), "did you mean 'style_los'"),
        (lambda x: x.assign(content_loss=-1.0), "content_loss of a on p0000 is -1.0; allowed"),
        (lambda x: x.assign(style_loss=math.nan), "style_loss of a on p0000 is nan; allowed"),
        (lambda x: x.assign(style_loss="much"), "style_loss of a on p0000 is much; allowed"),
        (lambda x: pd.concat([x, x[:1]]), "a on p0000 stands more than once"),
        (lambda x: x[x["method"] == "a"], "no two methods have an image pair in common"),
        (lambda x: x[:0], "no row"),
        (lambda x: x.assign(content_loss=0.0), "set content_reference"),
    ],
)
def test_losses_that_are_none_are_refused(change, message):
    losses = change(study({"a": (1, 1), "b": (2, 1)}))
    with pytest.raises(UserError, match=message):
        proxy_preference(losses, resamples=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"raters": 1},
        {"style_weight": 1.1},
        {"style_weight": math.nan},
        {"concentration": 0.01},
        {"noise": 0},
        {"noise": math.inf},
        {"style_floor": 0},
        {"content_floor": -1},
        {"content_reference": 0},
        {"questions": 0},
        {"seed": -1},
    ],
)
def test_raters_that_cannot_be_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=f"proxy raters: {name} is .*; allowed: "):
        ProxyRaters(**wrong)

"""Metrics by name: the built-in ones, those of other packages, and how they are listed."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from bench.cells import QualitySettings
from bench.cli import app
from bench.errors import UserError
from bench.quality import catalogue
from bench.quality.catalogue import (
    GROUP,
    built_in,
    default_teacher,
    find_metric,
    is_built_in,
    may_need_teacher,
    metric_names,
)
from bench.quality.metric import Conditions, Metric
from bench.record import Record
from bench.scenario import Scenario
from bench.units import Size

CONDITIONS = Conditions(
    QualitySettings(
        metrics=("style_loss",), network="some-network", lpips_backbone="cache", max_pairs=1
    ),
    "cpu",
    Size(640, 480),
    Size(320, 240),
)
RED = Metric(
    name="red",
    better="none",
    unit="",
    per="image",
    needs=frozenset(),
    definition="mean of the output's red channel",
    prepare=lambda conditions: lambda pair: {"red": pair.output[:, 0].mean().item()},
)


@pytest.fixture
def register(monkeypatch):
    """Registers plug-ins as an installed package would, from a module of that content."""

    def register(name: str, attribute: str = "PLUGIN", **content: object) -> None:
        monkeypatch.setitem(sys.modules, "some_plugin", SimpleNamespace(**content))
        point = EntryPoint(name, f"some_plugin:{attribute}", GROUP)
        monkeypatch.setattr(catalogue, "_registered", lambda: {name: point})

    return register


def test_metrics_of_a_scenario_that_was_valid_stay_valid():
    assert {"content_loss", "style_loss", "lpips"} <= set(metric_names())


@pytest.mark.parametrize("name", list(built_in()))
def test_every_built_in_metric_has_a_place_in_records_and_says_what_it_is(name):
    metric = find_metric(name)
    assert metric.name == name
    assert is_built_in(metric)
    assert name in Record.model_fields
    description = metric.describe(CONDITIONS)
    assert "640x480" in description
    assert ("320x240" in description) == ("style" in metric.needs)
    assert "{" not in description


def test_a_definition_names_the_network_that_was_used():
    assert "some-network" in find_metric("style_loss").describe(CONDITIONS)


def test_names_are_known_without_loading_pytorch():
    """Bad input is told of at once."""
    code = "import sys, bench.scenario; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(UserError, match="did you mean 'ms_ssim'"):
        find_metric("msssim")


def test_a_plug_in_is_listed_allowed_and_found(register):
    register("red", PLUGIN=RED)
    assert "red" in metric_names()
    assert find_metric("red") is RED
    assert not is_built_in(RED)
    scenario = {"name": "x", "models": "adain-vgg16-16x", "resolutions": "64x64"}
    loaded = Scenario.model_validate(scenario | {"quality": {"metrics": ["red", "lpips"]}})
    assert loaded.quality is not None
    assert loaded.quality.metrics == ("red", "lpips")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("red", {}, "cannot be loaded: AttributeError"),
        ("red", {"PLUGIN": "red"}, "is no bench.quality.metric.Metric of that name"),
        ("blue", {"PLUGIN": RED}, "is no bench.quality.metric.Metric of that name"),
        ("lpips", {"PLUGIN": RED}, "is that of a built-in metric"),
    ],
)
def test_a_plug_in_that_does_not_work_says_why(register, name, content, says):
    register(name, **content)
    with pytest.raises(UserError, match=says) as caught:
        find_metric(name)
    assert "some_plugin:PLUGIN" in str(caught.value)


def listing(monkeypatch) -> str:
    monkeypatch.setenv("COLUMNS", "400")
    result = CliRunner().invoke(app, ["models", "--metrics"])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_listing_has_every_metric_and_its_definition(monkeypatch):
    text = listing(monkeypatch)
    for name in built_in():
        assert f" {name} " in text
    assert "Wang et al. 2020" in text
    assert GROUP in text


def test_a_broken_plug_in_hides_no_other_metric_in_the_listing(monkeypatch, register):
    register("red")
    text = listing(monkeypatch)
    assert "cannot be loaded" in text
    assert " lpips " in text


def test_a_model_s_teacher_is_its_kind_at_ratio_1():
    assert default_teacher("wct-vgg16-16x:some/folder") == "wct-vgg16-1x"
    assert default_teacher("something:else") is None


def test_which_metrics_may_need_a_teacher(register):
    assert not may_need_teacher(["lpips", "style_loss"])
    assert may_need_teacher(["lpips", "psnr_teacher"])
    register("red")
    assert may_need_teacher(["red"])


def test_other_weights_of_the_teacher_make_another_cell_where_it_is_needed():
    def cell_id(metrics: list[str], digest: str, **quality: object) -> str:
        scenario = Scenario.model_validate(
            {
                "name": "x",
                "models": "adain-vgg16-16x",
                "resolutions": "64x64",
                "quality": {"metrics": metrics, **quality},
            }
        )
        cells = scenario.cells(
            "cpu",
            weights_digest=lambda model: digest if "1x" in model else "student",
            code_version="1",
        )
        (cell,) = (cell for cell in cells if cell.kind == "quality")
        return cell.id

    assert cell_id(["lpips_teacher"], "a") != cell_id(["lpips_teacher"], "b")
    assert cell_id(["lpips"], "a") == cell_id(["lpips"], "b")

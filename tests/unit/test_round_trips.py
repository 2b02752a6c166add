"""What is written is read as the same: scenarios, environments, cells, records, baselines, plans.

Names and paths are any that a file system takes: with line breaks, with bytes that are not UTF-8,
and such as YAML would take for numbers, dates or words.
"""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.ab.checkouts import Version
from bench.ab.session import Plan, read_plan, write_plan
from bench.baseline import find_baseline, save_baseline
from bench.cells import Cell
from bench.errors import UserError
from bench.record import Record
from bench.run.draft import draft_fields
from bench.run.runner import run_scenario
from bench.run.store import RunFolder
from bench.scenario import check_storable, load_scenario
from bench.scenario.yaml_lines import load_yaml
from bench.scenario.yaml_writer import dump_yaml
from tests.unit.test_store import make_record

ODD = (
    *("12e4", "1e3", "0x1f", "0o17", "017", "1_000", "1:30", "190:20:30", ".5", "+1", "-0", "1."),
    *("yes", "No", "on", "OFF", "y", "null", "~", "", "true", "True", ".inf", ".nan", "=", "<<"),
    *("2026-11-29", "2026-11-29 04:00:00", "x ", " x", "x\t", "- x", "? x", "x: y", "x #y", "#"),
    *(
        "a\nb",
        "a\n\nb\n",
        "\r",
        "a\x85b",
        "a\u2028b",
        "a\u2029b",
        "\ufeffx",
        "\x07",
        "\x7f",
        "\xa0",
    ),
    *("caf\udce9", "\udc80\udcff", "&a", "*a", "!x", "%x", "@x", "`x", "'", '"', "\\", "\\n", "[x"),
    *("{x", "x]", "a, b", "|", ">", "---", "...", "日本", "\U0001f600", "e\u0301", "word " * 60),
)
# What a name of a file can be: any bytes but "/" and NUL, as Python has them.
NAMES = (
    st.sampled_from([odd for odd in ODD if odd])
    | st.binary(min_size=1, max_size=60).filter(lambda raw: not {0, 47} & set(raw)).map(os.fsdecode)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1)
).filter(lambda name: name not in (".", "..") and len(os.fsencode(name)) <= 200)
TEXTS = st.sampled_from(ODD) | NAMES
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
once = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)


# ------------------------------------------------------------------------------------------- YAML


@given(TREES)
@settings(max_examples=300)
def test_yaml_is_read_as_it_was_written(tree: object) -> None:
    located = load_yaml(dump_yaml(tree))
    assert located.value == tree
    assert located.problems == ()


@pytest.mark.parametrize("odd", ODD)
def test_odd_texts_stay_texts_for_every_reader_of_yaml(odd: str) -> None:
    text = dump_yaml({"key": odd, "list": [odd, odd]})
    assert load_yaml(text).value == {"key": odd, "list": [odd, odd]}
    # By YAML 1.1 too, which most other programs, and older versions of this one, go by.
    assert yaml.safe_load(text) == {"key": odd, "list": [odd, odd]}


def test_what_is_no_name_of_a_file_is_refused() -> None:
    for text in ('a: "\\0"', 'a: "\\ud800"', "a: |\n  x\n  y\n"):
        with pytest.raises(ValueError, match="control character"):
            load_yaml(text)


# --------------------------------------------------------------------------------------- scenarios


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("picture") / "x.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    return path.read_bytes()


def kept(folder: Path, name: str, picture: bytes, *, as_folder: bool) -> Any:
    """A scenario with an image of that name, in a folder of that name or named itself."""
    images = folder / name if as_folder else folder / "images"
    images.mkdir(exist_ok=True)
    file = images / (
        "x.png" if as_folder else f"{name}.png"
    )  # a folder's hidden files do not count
    file.write_bytes(picture)
    path = folder / "x.yaml"
    tree = {
        "name": "x",
        "models": ["adain-vgg16-64x"],
        "resolutions": ["64x64"],
        "images": {"content": str(images if as_folder else file), "style": [str(file)]},
    }
    path.write_text(dump_yaml(tree), encoding="utf-8")
    return load_scenario(path), file


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names must be Unicode")
@once
@given(name=NAMES, as_folder=st.booleans())
@example("a\nb", False)
@example("caf\udce9", True)
@example(".\x01", True)
def test_a_scenario_of_images_of_any_name_is_kept(
    tmp_path_factory: pytest.TempPathFactory, picture: bytes, name: str, as_folder: bool
) -> None:
    folder = tmp_path_factory.mktemp("scenario")
    scenario, file = kept(folder, name, picture, as_folder=as_folder)
    assert str(file) in scenario.images.style
    check_storable(scenario)
    again = folder / "again.yaml"
    again.write_text(scenario.resolved_yaml(), encoding="utf-8")
    assert load_scenario(again) == scenario
    cells = scenario.cells("cpu", weights_digest=lambda _: "0", code_version="1")
    for cell in cells:  # as the worker is given it
        assert Cell.model_validate(json.loads(json.dumps(cell.model_dump()))) == cell


@pytest.mark.parametrize("name", ["12e4", "1_000", "yes", "0x1f", "2026-11-29", "null", "1e-3"])
def test_a_name_like_a_number_is_a_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: '{name}'\nmodels: adain-vgg16-64x\nresolutions: 64x64\n")
    scenario = load_scenario(path)
    path.write_text(scenario.resolved_yaml())
    assert load_scenario(path) == scenario
    assert load_scenario(path).name == name


def test_weights_of_any_name(tmp_path: Path) -> None:
    for name in ("a\nb", "caf\udce9", "12e4", "x: y", "~nobody-has-this-name"):
        (tmp_path / name).mkdir()
        tree = {"name": "x", "models": [f"adain-vgg16-64x:{name}"], "resolutions": ["64x64"]}
        path = tmp_path / "x.yaml"
        path.write_text(dump_yaml(tree), encoding="utf-8")
        scenario = load_scenario(path)
        path.write_text(scenario.resolved_yaml(), encoding="utf-8")
        assert load_scenario(path) == scenario
        assert load_scenario(path).models[0].endswith(name)


def test_what_cannot_be_kept_is_refused_before_anything_is_made(
    tmp_path: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, _ = kept(tmp_path, "x", picture, as_folder=False)
    monkeypatch.setattr("bench.scenario.schema.dump_yaml", yaml.safe_dump)  # that of before
    odd = scenario.model_copy(update={"name": "12e4"})
    with pytest.raises(UserError, match=r"12e4.*: name: ") as caught:
        run_scenario(odd, out=tmp_path / "runs", device="cpu", quiet=True)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "runs").exists()
    monkeypatch.undo()
    monkeypatch.setattr("bench.scenario.load.MAX_FILE_BYTES", 100)
    with pytest.raises(UserError, match="name fewer images"):
        check_storable(scenario)


# ------------------------------------------------------------------------------------ run folders


@once
@given(
    facts=st.dictionaries(
        st.text(min_size=1),
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False)
        | TEXTS,
        max_size=5,
    ),
    variables=st.dictionaries(NAMES, TEXTS, max_size=3),
)
def test_environments_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    picture: bytes,
    facts: dict[str, Any],
    variables: dict[str, str],
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    scenario, _ = kept(folder, "x", picture, as_folder=False)
    environment = {**facts, "variables": variables}
    with RunFolder.create(folder, scenario, environment) as made:
        assert made.environment() == environment
        assert load_scenario(made.scenario_path) == scenario


@once
@given(names=st.lists(NAMES, min_size=1, max_size=3), value=st.floats())
def test_records_and_baselines_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, picture: bytes, names: list[str], value: float
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    scenario, _ = kept(folder, "x", picture, as_folder=False)
    paths = [f"/photos/{name}.png" for name in names]
    record = make_record(
        content=paths,
        style=paths[:1],
        latency_ms=value,
        reason="".join(names),
        per_pair=[{"content": path, "style": path, "lpips": value} for path in paths],
        quality_other={"own": value},
    )
    with RunFolder.create(folder, scenario, {"variables": {"LD_PRELOAD": names[0]}}) as made:
        made.write_record(record)
        assert same(made.records()[0].model_dump(), record.model_dump())
    # A record of the scenario's own cell: a baseline is of a run that is whole.
    (cell,) = scenario.cells("cpu", weights_digest=lambda _: "0", code_version="1")
    of_cell = Record(**draft_fields(cell), status="ok", latency_ms=value, reason=record.reason)
    with RunFolder.create(
        folder, scenario, {"device": "cpu", "variables": {"LD_PRELOAD": names[0]}}
    ) as made:
        made.write_record(of_cell)
        saved = save_baseline(made.path, "base", folder=folder / "baselines")
    stored = find_baseline("base", folder=saved.parent).stored
    assert stored["environment"] == {"device": "cpu", "variables": {"LD_PRELOAD": names[0]}}
    assert stored["scenario"] == scenario.resolved()
    assert same(stored.records[0].reason, of_cell.reason)
    assert same(stored.records[0].latency_ms, value)


def same(one: Any, other: Any) -> bool:
    """Equality by which NaN equals itself, at any depth."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return bool(one == other)


@once
@given(name=NAMES, overrides=st.lists(TEXTS, max_size=2))
def test_plans_of_two_versions_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, name: str, overrides: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ab")
    plan = Plan(
        base=Version(ref="main", commit="0" * 40),
        new=Version(ref=name, commit="1" * 40, tree="2" * 40),
        scenario=f"/photos/{name}.yaml",
        overrides=tuple(overrides),
        processes=5,
    )
    write_plan(plan, folder)
    assert read_plan(folder) == plan

"""Scenario files: what they mean, and that every mistake in one is told on a line of its own."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.scenario import Scenario, load_scenario, scenario_json_schema
from bench.units import Size
from distill.cascades import weights_kind
from distill.models import parse_model

SCENARIOS = Path(__file__).parents[2] / "scenarios"
BASE = "name: x\nmodels: [wct-vgg16-16x, adain-vgg16-1x]\nresolutions: [512x512, 1MP]\n"
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path.relative_to(folder)


def problems(path: Path, overrides: Sequence[str] = ()) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        load_scenario(path, overrides)
    assert caught.value.exit_code == 2
    for problem in caught.value.problems:
        assert problem.isprintable(), problem
        assert "pydantic" not in problem
        assert "Traceback" not in problem
    return caught.value.problems


# ---- what is wrong: file text after BASE (or the whole text), line, key, what is said
MALFORMED: list[tuple[str, str, int, str]] = [
    # keys
    ("modles: [wct-vgg16-1x]", "modles", 4, "did you mean 'models'?"),
    ("measure:\n  warmupp: 3", "measure.warmupp", 5, "did you mean 'measure.warmup'?"),
    ("target_ci: 2%", "target_ci", 4, "did you mean 'measure.target_ci'?"),
    ("quality: {metric: lpips}", "quality.metric", 4, "did you mean 'quality.metrics'?"),
    ("images: {photos: builtin}", "images.photos", 4, "allowed: content, style"),
    ("exclude:\n- precision: fp32\n  models: wct-*", "exclude[0].models", 6, "exclude[0].model'"),
    ("name: y", "name", 4, "given twice, first on line 1"),
    ("measure:\n  warmup: 1\n  warmup: 2", "measure.warmup", 6, "given twice, first on line 5"),
    ("3: x", "3", 4, "cannot be a key"),
    # types
    ("measure: fast", "measure", 4, "a mapping with the keys warmup"),
    ("measure:", "measure", 4, "got nothing"),
    ("quality: no", "quality", 4, "null leaves it out"),
    ("quality: true", "quality", 4, "got true"),
    ("images: [builtin]", "images", 4, "got a list"),
    ("exclude: fp16", "exclude", 4, "a list of mappings"),
    ("exclude:\n- {precision: fp32, model: 'wct-*'}\n- fp16", "exclude[1]", 6, "a mapping"),
    ("seed: true", "seed", 4, "whole number from 0"),
    ("seed: 1.0", "seed", 4, "whole number from 0"),
    ("seed: no", "seed", 4, "got 'no'"),
    ("seed: -1", "seed", 4, "whole number from 0"),
    ("threads: 0", "threads", 4, "whole number from 1"),
    ("threads: two", "threads", 4, "got 'two'"),
    ("alpha: yes", "alpha", 4, "a number from 0 to 1"),
    ("alpha: true", "alpha", 4, "a number from 0 to 1"),
    ("alpha: [0.5, 1.5]", "alpha[1]", 4, "got 1.5"),
    ("alpha: -0.1", "alpha", 4, "got -0.1"),
    ("alpha: .nan", "alpha", 4, "got .nan"),
    ("alpha: .inf", "alpha", 4, "got .inf"),
    ("measure: {warmup: 1e3}", "measure.warmup", 4, "got 1e3"),
    ("measure: {warmup: -1}", "measure.warmup", 4, "from 0 to"),
    ("style_resolution: [512x512]", "style_resolution", 4, "one value is needed"),
    ("device: [cpu]", "device", 4, "not a device"),
    # units
    ("memory_cap: 12", "memory_cap", 4, "did you mean '12GB'?"),
    ("memory_cap: 12000000000", "memory_cap", 4, "did you mean '12GB'?"),
    ("memory_cap: [4GB, 12G]", "memory_cap[1]", 4, "did you mean '12GB'?"),
    ("memory_cap: -4GB", "memory_cap", 4, "memory"),
    ("memory_cap: 0GB", "memory_cap", 4, "above zero"),
    ("memory_cap: 12B", "memory_cap", 4, "1MB to 1000TB"),
    ("memory_cap: .inf", "memory_cap", 4, "memory"),
    (f"memory_cap: {'9' * 400}GB", "memory_cap", 4, "too long"),
    (f"style_resolution: {'9' * 400}MP", "style_resolution", 4, "too long"),
    ("run_time_limit: 22", "run_time_limit", 4, "did you mean '22s'?"),
    ("run_time_limit: 0s", "run_time_limit", 4, "above zero"),
    ("run_time_limit: 9999h", "run_time_limit", 4, "720h"),
    ("measure: {cell_time_limit: 1:30}", "measure.cell_time_limit", 4, "did you mean '90s'?"),
    ("measure: {cell_time_limit: 2m}", "measure.cell_time_limit", 4, "did you mean '2min'?"),
    ("measure: {cell_time_limit: null}", "measure.cell_time_limit", 4, "one value is needed"),
    ("measure: {target_ci: 5}", "measure.target_ci", 4, "did you mean '5%'?"),
    ("measure: {target_ci: 0%}", "measure.target_ci", 4, "fraction"),
    ("measure: {target_ci: .nan}", "measure.target_ci", 4, "fraction"),
    ("style_resolution: 512", "style_resolution", 4, "did you mean '512x512'?"),
    ("style_resolution: 512X512", "style_resolution", 4, "did you mean '512x512'?"),
    ("style_resolution: 4 megapixels", "style_resolution", 4, "did you mean '4MP'?"),
    ("style_resolution: 0x5", "style_resolution", 4, "'0x5' is 0x5"),
    ("style_resolution: 1000000000x1", "style_resolution", 4, "1 to 1000000 px"),
    # choices
    ("device: gpu", "device", 4, "did you mean 'cuda'?"),
    ("device: cuda0", "device", 4, "did you mean 'cuda:0'?"),
    ("precision: fp61", "precision", 4, "did you mean 'fp16'?"),
    ("precision: [fp32, half]", "precision[1]", 4, "allowed: fp32, tf32, bf16, fp16"),
    ("execution: hole", "execution", 4, "did you mean 'whole'?"),
    ("quality:\n  metrics:\n  - lpip", "quality.metrics[0]", 6, "did you mean 'lpips'?"),
    (
        "quality: {network: vgg16-normalized}",
        "quality.network",
        4,
        "did you mean 'vgg16-normalised'?",
    ),
    ("quality: {max_pairs: 0}", "quality.max_pairs", 4, "from 1"),
    ("quality: {metrics: msssim}", "quality.metrics", 4, "did you mean 'ms_ssim'?"),
    ("quality: {teacher: wct-vgg16-3x}", "quality.teacher", 4, "did you mean 'wct-vgg16-4x'?"),
    ("quality: {teacher: 'wct-vgg16-1x:no'}", "quality.teacher", 4, "'no' do not exist"),
    ("quality: {inception: chache}", "quality.inception", 4, "did you mean 'cache'?"),
    ("quality: {lpips_backbone: cahce}", "quality.lpips_backbone", 4, "did you mean 'cache'?"),
    ("quality: {lpips_backbone: .}", "quality.lpips_backbone", 4, "nor an existing file"),
    ("quality: {lpips_backbone: embeded}", "quality.lpips_backbone", 4, "did you mean 'embedded'"),
    ("quality: {inception: embedded}", "quality.inception", 4, "neither cache nor download nor"),
    # lists
    ("execution: []", "execution", 4, "empty list"),
    ("memory_cap: []", "memory_cap", 4, "empty list"),
    ("quality: {metrics: []}", "quality.metrics", 4, "empty list"),
    ("images: {content: []}", "images.content", 4, "empty list"),
    ("precision: [fp32, fp16, fp32]", "precision[2]", 4, "'fp32' repeats entry [0]"),
    ("alpha: [1, 1.0]", "alpha[1]", 4, "both are 1.0"),
    ("memory_cap: [4GB, 4000MB]", "memory_cap[1]", 4, "both are 4GB"),
    ("precision: [[fp32]]", "precision[0]", 4, "a list is not allowed"),
    # across keys
    ("measure:\n  min_repeats: 9\n  max_repeats: 8", "measure.min_repeats", 5, "max_repeats"),
    ("measure:\n  energy: of", "measure.energy", 5, "did you mean 'off'?"),
    ("measure:\n  energy: true", "measure.energy", 5, "allowed: auto, off"),
    ("measure:\n  retry_disturbed: -1", "measure.retry_disturbed", 5, "0 to 100"),
    ("measure:\n  max_repeats: 5", "measure.min_repeats", 4, "6 is more than max_repeats"),
    ("exclude:\n- {}", "exclude[0]", 5, "at least one of model"),
    ("exclude:\n- {model: wct-vgg16-61x}", "exclude[0].model", 5, "did you mean 'wct-vgg16-16x'?"),
    ("exclude:\n- model: ['wct-*', 'gatys-*']", "exclude[0].model[1]", 5, "matches no cell"),
    ("exclude: {precision: fp16}", "exclude.precision", 4, "which has fp32"),
    ("exclude: {resolution: '>4MP'}", "exclude.resolution", 4, "matches no cell"),
    ("exclude: {resolution: '>4GB'}", "exclude.resolution", 4, "a size is"),
    ("exclude: {memory_cap: 8GB}", "exclude.memory_cap", 4, "which has null"),
    (
        "memory_cap: [4GB, 8GB]\nalpha: [0, 1]\nexclude:\n- {memory_cap: 4GB, alpha: 0}\n"
        "- {memory_cap: 4GB, alpha: [0, 1], model: 'wct-*', resolution: 1MP, execution: hole}",
        "exclude[1].execution",
        8,
        "did you mean 'whole'?",
    ),
    ("exclude: {precision: fp32}", "exclude", 4, "leaves no cell of 4"),
    # paths
    ("images: {content: no-such.jpg}", "images.content", 4, "no-such.jpg"),
    ("images:\n  style:\n  - builtin\n  - no-such/*.jpg", "images.style[1]", 7, "no-such/*.jpg"),
    ("images: {content: 3}", "images.content", 4, "got 3"),
    # YAML itself
    (BOMB, "a: ", 4, "'&a' is a YAML anchor"),
    ("alpha: *bomb", "alpha: ", 4, "'*bomb' is a YAML alias"),
    ("exclude: {model: *-1x}", "exclude.model", 4, "alias"),
    ("exclude: {resolution: >4MP}", "exclude.resolution", 4, "in quotes, such as '>4MP'"),
    ("measure:\n\twarmup: 3", "measure", 5, "a tab; YAML is indented"),
    ("alpha: !!python/object/apply:os.system [ls]", "alpha: ", 4, "python/object/apply"),
    ("---\nname: y", "second document", 4, "---"),
    ("alpha: [1, 0.5\nseed: 3", "alpha", 5, "begun on line 4"),
    ("alpha: 'x", "alpha", 5, "quoted scalar"),
    ("seed", "", 4, "expected ':'"),
    ("alpha: " + "[" * 5000, "alpha", 4, "deeper than 16 levels"),
    ("alpha: \x00", "character", 4, "cannot stand in YAML"),
    ('device: "cu\\nda"', "device", 4, "not a device"),
]


@pytest.mark.parametrize(
    ("added", "key", "line", "says"), MALFORMED, ids=[f"{row[0][:30]!a}" for row in MALFORMED]
)
def test_malformed(folder: Path, added: str, key: str, line: int, says: str) -> None:
    path = write(folder, BASE + added + "\n")
    (found,) = problems(path)
    assert found.startswith(f"x.yaml:{line}: ")
    assert key in found
    assert says in found
    assert len(found) < 500


WHOLE_FILES: list[tuple[bytes, str]] = [
    (b"", "x.yaml:1: the scenario is empty"),
    (b"# nothing\n", "x.yaml:1: the scenario is empty"),
    (b"- a\n- b\n", "x.yaml:1: the scenario is not a mapping"),
    (b"\n\njust words\n", "x.yaml:3: the scenario is not a mapping"),
    (b"name: \xff\xfe\n", "x.yaml:1: is not UTF-8 text"),
    (b"name: x\n# caf\xe9\n", "x.yaml:2: is not UTF-8 text"),
    (BASE.encode("utf-16"), "x.yaml:1: is not UTF-8 text"),
    (b"#" * 1_000_001, "x.yaml: is larger than 1 MB"),
    (b"%YAML 1.1\n%YAML 1.1\n--- {}\n", "x.yaml:2: not valid YAML"),
    (b"\x89PNG\r\n\x1a\n\x00\x00", "x.yaml:1: is not UTF-8 text"),
]


@pytest.mark.parametrize(("content", "says"), WHOLE_FILES)
def test_malformed_files(folder: Path, content: bytes, says: str) -> None:
    (found,) = problems(write(folder, content))
    assert found.startswith(says)


def test_required_keys(folder: Path) -> None:
    assert problems(write(folder, "seed: 1\n")) == tuple(
        f"x.yaml:1: {key}: is missing; every scenario needs it"
        for key in ("name", "models", "resolutions")
    )


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ("[wct-vgg16-16x, wct-vgg16-3x]", "x.yaml:2: models[1]: "),
        ("wct-vgg16-3x", "x.yaml:2: models: "),
        ("\n- wct-vgg16-16x\n- adain-vgg-1x", "x.yaml:4: models[1]: "),
        ("[]", "x.yaml:2: models: an empty list"),
        ("", "x.yaml:2: models: nothing stands here"),
        ("7", "x.yaml:2: models: a model is METHOD-FAMILY-RATIOx"),
        ("[wct-vgg16-16x, wct-vgg16-16x]", "x.yaml:2: models[1]: 'wct-vgg16-16x' repeats"),
        ("wct-vgg19-16x:no/weights", "x.yaml:2: models: 'wct-vgg19-16x:no/weights': the weights"),
        ("'wct-vgg19-16x:'", "x.yaml:2: models: a path of weights is missing"),
        ("wct-vgg19-16x:" + "w" * 4000, "x.yaml:2: models: 'wct-vgg19-16x:www"),
        ("w" * 4000, "x.yaml:2: models: 'www"),
    ],
)
def test_malformed_models(folder: Path, models: str, says: str) -> None:
    (found,) = problems(write(folder, f"name: x\nmodels: {models}\nresolutions: 1MP\n"))
    assert found.startswith(says)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a b", "did you mean 'a-b'?"),
        ("../x", "did you mean 'x'?"),
        ("12", "put it in quotes: '12'"),
        ("true", "which is not text"),
        ("''", "got ''"),
        ("n" * 65, "up to 64"),
        ("{a: b}", "got a mapping"),
    ],
)
def test_malformed_names(folder: Path, name: str, says: str) -> None:
    (found,) = problems(write(folder, BASE.replace("name: x", f"name: {name}")))
    assert found.startswith("x.yaml:1: name: ")
    assert says in found


def test_same_pixels_twice(folder: Path) -> None:
    text = BASE.replace("1MP]", "1MP,\n  1152x864]")
    (found,) = problems(write(folder, text))
    assert (
        found == "x.yaml:4: resolutions[2]: '1152x864' repeats entry [1], '1MP': both are 1152x864"
    )


def test_everything_wrong_is_told_at_once_in_the_order_of_the_file(folder: Path) -> None:
    text = (
        "name: a b\nmodels: [wct-vgg16-3x, adain-vgg17-1x]\nmeasure:\n  warmup: no\n  warmup: 1\n"
        "  min_repeats: 0\nresolutions: [0x5, 12]\nextra: 1\nimages: {content: nothing.png}\n"
    )
    found = problems(write(folder, text), ["seed=-1", "quality.max_pairs=0"])
    assert [problem.split(": ")[:2] for problem in found] == [
        ["x.yaml:1", "name"],
        ["x.yaml:2", "models[0]"],
        ["x.yaml:2", "models[1]"],
        ["x.yaml:4", "measure.warmup"],
        ["x.yaml:5", "measure.warmup"],
        ["x.yaml:6", "measure.min_repeats"],
        ["x.yaml:7", "resolutions[0]"],
        ["x.yaml:7", "resolutions[1]"],
        ["x.yaml:8", "extra"],
        ["x.yaml:9", "images.content"],
        ["--set seed=-1", "seed"],
        ["--set quality.max_pairs=0", "quality.max_pairs"],
    ]


@pytest.mark.parametrize("written", ["off", "'off'", "false"])
def test_energy_is_switched_off_in_any_spelling_of_yaml(folder: Path, written: str) -> None:
    scenario = load_scenario(write(folder, BASE + f"measure: {{energy: {written}}}\n"))
    assert scenario.measure.energy == "off"
    again = load_scenario(write(folder, scenario.resolved_yaml()))
    assert again == scenario
    (cell, *_) = again.cells("cpu", weights_digest=str, code_version="1")
    assert (cell.measure.energy, cell.measure.retry_disturbed) == ("off", 0)


def test_a_flood_of_problems_ends_with_their_number(folder: Path) -> None:
    found = problems(write(folder, BASE + f"alpha: [{', '.join(map(str, range(2, 1002)))}]\n"))
    assert found[-1] == "x.yaml: and 900 more problems"


def test_files_that_are_not_there(folder: Path) -> None:
    (folder / "scenarios").mkdir()
    (folder / "scenarios" / "quick.yaml").write_text(BASE)
    near = f"did you mean '{Path('scenarios/quick.yaml')}'?"
    assert near in problems(Path("scenarios/quik.yaml"))[0]
    assert near in problems(Path("scenarios/quick"))[0]
    assert near in problems(Path("quick.yaml"))[0]
    assert problems(Path("other/zzz"))[0].startswith("other/zzz: does not exist")
    assert "is a folder" in problems(Path("scenarios"))[0]
    assert "cannot be read" in problems(Path("scenarios/quick.yaml/x"))[0]
    assert "cannot be read" in problems(Path("a\0b"))[0]
    assert "cannot be read" in problems(Path("n" * 5000))[0]


# ---- overrides


def test_overrides(folder: Path) -> None:
    path = write(folder, BASE + "measure: {warmup: no}\nquality: {max_pairs: 2}\n")
    scenario = load_scenario(
        path,
        [
            "resolutions=[512x512, 2x3]",
            "measure.warmup=0",
            "measure.target_ci=1%",
            "quality=null",
            "quality.max_pairs=3",
            "seed=1",
            "seed=2",
            "exclude={model: 'wct-*', resolution: '<=4x4'}",
        ],
    )
    assert scenario.resolutions == (Size(512, 512), Size(2, 3))
    assert (scenario.measure.warmup, scenario.measure.target_ci) == (0, 0.01)
    assert scenario.quality is not None
    assert scenario.quality.max_pairs == 3
    assert scenario.seed == 2
    assert scenario.exclude[0].resolution == ("<=4x4",)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("measure.warmupp=3", "measure.warmupp: unknown key"),
        ("measure.cell_time_limit.x=3", "measure.cell_time_limit: is not a mapping"),
        ("models.x=3", "models: is not a mapping"),
        ("alpha=[0, 2]", "alpha[1]: a number from 0 to 1"),
        ("alpha=2", "alpha: a number from 0 to 1"),
        ("alpha=[0", "alpha: not valid YAML"),
        ("alpha=*x", "alpha: '*x' is a YAML alias"),
        ("alpha=", "alpha: a value is missing"),
        ("alpha", "write KEY=VALUE"),
        ("=1", "write KEY=VALUE"),
        ("a..b=1", "write KEY=VALUE"),
        (".".join("abcdefgh") + "=1", "write KEY=VALUE"),
        ("measure={warmup: 1, warmup: 2}", "measure: warmup: given twice"),
        ("qualty=null", "did you mean 'quality'?"),
        ("models=wct-vgg16-61x", "did you mean"),
        ("seed=1\n2", "seed: a whole number"),
    ],
)
def test_malformed_overrides(folder: Path, override: str, says: str) -> None:
    path = write(folder, BASE + "measure: {cell_time_limit: 3s}\n")
    (found,) = problems(path, ["seed=3", override])
    assert found.startswith("--set " + override.replace("\n", "\\n") + ": ")
    assert says in found


# ---- what they mean


def test_defaults(folder: Path) -> None:
    scenario = load_scenario(write(folder, BASE))
    assert scenario.resolved() == {
        "name": "x",
        "device": "auto",
        "memory_cap": [None],
        "models": ["wct-vgg16-16x", "adain-vgg16-1x"],
        "execution": ["whole"],
        "precision": ["fp32"],
        "resolutions": ["512x512", "1152x864"],
        "style_resolution": "512x512",
        "images": {"content": ["builtin"], "style": ["builtin"]},
        "alpha": [1.0],
        "seed": 0,
        "threads": None,
        "cudnn_benchmark": False,
        "measure": {
            "warmup": 2,
            "min_repeats": 6,
            "max_repeats": 50,
            "target_ci": "2%",
            "processes": 1,
            "cell_time_limit": "2min",
            "energy": "auto",
            "retry_disturbed": 0,
        },
        "quality": None,
        "run_time_limit": None,
        "skip_predicted": False,
        "exclude": [],
        "priority": [],
    }
    with pytest.raises(ValueError, match="frozen"):
        scenario.seed = 3


def test_paths_are_sought_in_the_working_directory_then_beside_the_scenario(folder: Path) -> None:
    beside = folder / "scenarios"
    for place in (folder / "here", beside / "there", beside / "here"):
        place.mkdir(parents=True)
    (beside / "alex.pth").touch()
    path = beside / "x.yaml"
    models = "[wct-vgg19-16x:here, wct-vgg19-16x:there]"
    path.write_text(
        f"name: x\nmodels: {models}\nresolutions: 1MP\nquality: {{lpips_backbone: alex.pth}}\n"
    )
    relative = path.relative_to(folder)
    scenario = load_scenario(relative)
    found = Path("scenarios/there")
    assert scenario.models == ("wct-vgg19-16x:here", f"wct-vgg19-16x:{found}")
    assert scenario.quality is not None
    assert scenario.quality.lpips_backbone == str(Path("scenarios/alex.pth"))
    (problem,) = problems(relative, ["models=wct-vgg19-16x:her"])
    assert "the weights 'her' do not exist; did you mean 'here'?" in problem


def test_images_are_found_once_and_stay_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, beside = folder / "photos", folder / "scenarios" / "paintings"
    for place in (here, beside):
        place.mkdir(parents=True)
    for image in (here / "b[1].jpg", here / "a.png", here / "notes.txt", beside / "c d.jpg"):
        image.touch()
    path = folder / "scenarios" / "x.yaml"
    path.write_text(BASE + "images: {content: [photos, builtin], style: 'paintings/*.jpg'}\n")
    scenario = load_scenario(path)
    names = [Path(image).name for image in scenario.images.content + scenario.images.style]
    assert names == ["a.png", "b[1].jpg", "builtin", "c d.jpg"]
    path.write_text(scenario.resolved_yaml())
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_scenario(path) == scenario
    (problem,) = problems(path, ["images.content=[builtin, ../photos/*, ../photos/a.png]"])
    assert "images.content[2]: '../photos/a.png' gives" in problem
    assert problem.endswith("a.png' a second time")


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_scenarios_that_come_with_the_project(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert_round_trip(scenario, path.parent)
    keys = {key for key in yaml.safe_load(path.read_text()) if key not in Scenario.model_fields}
    assert not keys


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.name)
def test_they_name_models_with_trained_weights_only(path: Path) -> None:
    """A row without quality in a first report looks broken; random weights are for who asks."""
    models = load_scenario(path).models
    assert {weights_kind(parse_model(model)) for model in models} == {"trained"}


PRIORITY = """name: x
models: [wct-vgg16-16x, adain-vgg16-1x]
execution: [whole, strips]
resolutions: [512x512, 1MP, 8MP]
quality: {resolution: 256x256}
priority:
- {execution: whole, resolution: '<=1MP', model: 'wct-*'}
- {resolution: '<4MP'}
"""


def test_priority_ranks_the_cells_that_its_entries_name(folder: Path) -> None:
    scenario = load_scenario(write(folder, PRIORITY))
    assert_round_trip(scenario, folder)
    cells = scenario.cells("cpu", weights_digest=lambda _: "", code_version="1")
    ranks = {
        (cell.model, cell.execution, cell.width, cell.kind): scenario.rank(cell) for cell in cells
    }
    assert ranks["wct-vgg16-16x", "whole", 512, "performance"] == 0
    assert ranks["wct-vgg16-16x", "whole", 256, "quality"] == 0
    assert ranks["wct-vgg16-16x", "strips", 512, "performance"] == 1
    assert ranks["adain-vgg16-1x", "whole", 512, "performance"] == 1
    assert {rank for (_, _, width, _), rank in ranks.items() if width > 2000} == {2}
    assert load_scenario(write(folder, BASE)).rank(cells[0]) == 0


def test_priority_names_cells_that_are_there(folder: Path) -> None:
    (problem,) = problems(write(folder, PRIORITY.replace("'wct-*'", "'wct-*-4x'")))
    assert "priority[0].model[0]" in problem or "matches no cell" in problem
    gone = PRIORITY + "exclude: {resolution: '<4MP', execution: whole}\n"
    assert any("names nothing" in problem for problem in problems(write(folder, gone)))


def assert_round_trip(scenario: Scenario, folder: Path) -> None:
    text = scenario.resolved_yaml()
    assert yaml.safe_load(text) == scenario.resolved()
    path = folder / "resolved.yaml" if folder.name != "scenarios" else None
    if path is None:  # leave the project's own folder alone
        again = Scenario.model_validate(yaml.safe_load(text), context={"folder": folder})
    else:
        path.write_text(text)
        again = load_scenario(path)
    assert again == scenario
    assert again.resolved_yaml() == text


SIZES = st.one_of(
    st.tuples(st.integers(1, 9999), st.integers(1, 9999)).map("{0[0]}x{0[1]}".format),
    st.decimals("0.01", 900, places=2).map("{}MP".format),
)
CAPS = st.none() | st.tuples(st.decimals(1, 900, places=3), st.sampled_from(["GB", "GiB"])).map(
    "{0[0]}{0[1]}".format
)
TIMES = st.tuples(st.decimals("0.01", 700, places=2), st.sampled_from(["s", "min", "h"])).map(
    "{0[0]}{0[1]}".format
)
FRACTIONS = st.decimals("0.01", 100, places=2).map("{}%".format) | st.floats(1e-6, 1)


def dimension(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3, unique=True)


TREES = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True),
        "models": dimension(
            st.sampled_from(["wct-vgg16-1x", "wct-vgg19-64x", "adain-vgg16-4x", "adain-vgg19-2x"])
        ),
        "resolutions": dimension(SIZES),
    },
    optional={
        "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:3"]),
        "memory_cap": dimension(CAPS),
        "precision": dimension(st.sampled_from(["fp32", "tf32", "bf16", "fp16"])),
        "style_resolution": SIZES,
        "alpha": dimension(st.floats(0, 1)),
        "seed": st.integers(0, 2**32 - 1),
        "threads": st.none() | st.integers(1, 64),
        "measure": st.fixed_dictionaries(
            {},
            optional={
                "warmup": st.integers(0, 9),
                "min_repeats": st.integers(1, 50),
                "target_ci": FRACTIONS,
                "cell_time_limit": TIMES,
            },
        ),
        "quality": st.none()
        | st.fixed_dictionaries(
            {}, optional={"resolution": SIZES, "max_pairs": st.integers(1, 99)}
        ),
        "run_time_limit": st.none() | TIMES,
        "exclude": st.just([{"resolution": "<0.001MP", "model": "*"}]) | st.just([]),
        "priority": st.just([{"resolution": "<1MP"}, {"model": "*"}]) | st.just([]),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(tree=TREES)
def test_a_resolved_scenario_loads_back_equal(tree: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(tree))
    try:
        scenario = load_scenario(path)
    except UserError as error:  # two sizes that come to the same pixels; nothing to exclude
        assert all(
            any(word in p for word in ("repeats", "exclude", "priority")) for p in error.problems
        )
        return
    assert_round_trip(scenario, tmp_path)


# ---- nothing but UserError

TOKENS = st.sampled_from(
    [
        *"[]{}:,-?&*!|>'\"%@#\n\t \\~=<\0\x85\ufeffé",
        *("null", "no", "1e9999", ".nan", "-1", "0x5", "9" * 400, "512x512", "cuda:9"),
        *("!!set", "- ", ": ", "\n  ", "- - ", "exclude:\n"),
    ]
)
EDITS = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 12), TOKENS | st.text(max_size=5)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(edits=EDITS, override=st.none() | st.text("measurodl.=[]{}:,0x%-&*'\n", max_size=12))
def test_a_changed_scenario_loads_or_is_refused_in_lines(
    tmp_path: Path, edits: list[tuple[int, int, str]], override: str | None
) -> None:
    text = (SCENARIOS / "ultrares.yaml").read_text()
    text = "\n".join(line.split("#")[0] for line in text.splitlines() if line.strip())
    for at, length, token in edits[:4]:
        at %= len(text) + 1
        text = text[:at] + token + text[at + length :]
    path = tmp_path / "x.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_scenario(path, [] if override is None else [override])
    except UserError as error:
        assert error.problems
        assert all(p.isprintable() and p.startswith((str(path), "--set")) for p in error.problems)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(content=st.binary(max_size=80))
def test_any_bytes_are_refused_in_lines(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError):
        load_scenario(path)


# ---- JSON Schema


def descriptions(schema: dict[str, Any]) -> dict[str, str | None]:
    parts = {"": schema, **schema["$defs"]}
    return {
        f"{name}.{key}": value.get("description")
        for name, part in parts.items()
        for key, value in part["properties"].items()
    }


def test_json_schema_describes_every_key_and_refuses_others() -> None:
    schema = json.loads(json.dumps(scenario_json_schema()))
    assert set(schema["properties"]) == set(Scenario.model_fields)
    assert schema["required"] == ["name", "models", "resolutions"]
    assert schema["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())
    undescribed = [key for key, text in descriptions(schema).items() if not text]
    assert not undescribed


def test_json_schema_patterns_take_what_the_readers_take() -> None:
    schema = scenario_json_schema()
    size = schema["properties"]["style_resolution"]["pattern"]
    seconds = schema["$defs"]["Measure"]["properties"]["cell_time_limit"]["pattern"]
    cap = schema["properties"]["memory_cap"]["anyOf"][0]["anyOf"][0]["pattern"]
    for pattern, right, wrong in (
        (size, ["512x512", "12.5MP", "1 MP"], ["512", "512X512", "MP", "1.MP", "x5"]),
        (seconds, ["120s", "0.5 min", "10ms", "1h"], ["120", "2m", "1:30", "s"]),
        (cap, ["12GB", "1.5 GiB", "700MB"], ["12", "12G", "GB", "-1GB"]),
    ):
        assert [text for text in right if not re.search(pattern, text)] == []
        assert [text for text in wrong if re.search(pattern, text)] == []


def test_json_schema_accepts_the_projects_scenarios() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="checks the schema if it is installed")
    schema = scenario_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in SCENARIOS.glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)
        jsonschema.validate(load_scenario(path).resolved(), schema)

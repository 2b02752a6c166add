"""Words on the command line: help, hints, versions, and what stands in a narrow terminal."""

import io
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from rich.table import Table

from bench.cli import app
from distill.command_line import run_app, version_line
from distill.commands import app as distill_app
from distill.screen import Screen
from tests.unit.compare_data import ci_run

SCENARIO = "name: {name}\nmodels: [adain-vgg16-64x]\nresolutions: [64x64]\n"


def bench(*arguments: object) -> int:
    return run_app(app, "bench", [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("tool", "arguments", "known"),
    [
        ("bench", [], "stylize"),
        ("bench", ["study"], "analyze"),
        ("bench", ["baseline"], "save"),
        ("distill", [], "evaluate"),
    ],
)
def test_a_command_without_its_sub_command_prints_the_help(
    tool: str, arguments: list[str], known: str, capsys: pytest.CaptureFixture[str]
):
    apps = {"bench": app, "distill": distill_app}
    assert run_app(apps[tool], tool, arguments) == 2
    bare = capsys.readouterr().err
    assert re.search(rf"^  {known}  ", bare, re.MULTILINE)
    assert run_app(apps[tool], tool, [*arguments, "-h"]) == 0
    assert capsys.readouterr().out.strip() == bare.strip()


@pytest.mark.parametrize("tool", ["bench", "distill"])
def test_the_version(tool: str, capsys: pytest.CaptureFixture[str]):
    apps = {"bench": app, "distill": distill_app}
    assert run_app(apps[tool], tool, ["--version"]) == 0
    assert capsys.readouterr().out == version_line(tool) + "\n"
    assert re.fullmatch(rf"{tool} \S+ \(sources \w{{10}}; Python .*\)", version_line(tool))


def test_completion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # of who runs the tests
    assert bench("--show-completion", "bash") == 0
    monkeypatch.setenv("_BENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "bench base")
    monkeypatch.setenv("COMP_CWORD", "1")
    capsys.readouterr()
    assert run_app(app, "bench", []) == 0
    assert capsys.readouterr().out.split() == ["baseline"]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("5", "got 5; did you mean '5%'?"),
        ("7.50", "got 7.50; did you mean '7.50%'?"),
        ("12e4", "got 12e4"),
        ("nan", "got 'nan'"),
        ("5,0%", "got '5,0%'"),
        ("200%", "got '200%'"),
    ],
)
def test_a_limit_is_shown_as_it_was_written(
    text: str, end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert bench("compare", tmp_path, tmp_path, "--max-slowdown", text) == 2
    assert capsys.readouterr().err.strip().endswith(end)


@pytest.mark.parametrize("text", ["12e4", "1.0", "007", "1e3", "+5", "0x10"])
def test_a_number_in_a_scenario_is_shown_as_it_was_written(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO.format(name=text))
    if text == "0x10":  # text in YAML 1.2's core schema, as it is here
        assert bench("run", path, "--dry-run") == 0
        return
    assert bench("run", path, "--dry-run") == 2
    assert f"got {text}, which is not text; put it in quotes: '{text}'" in capsys.readouterr().err
    path.write_text(SCENARIO.format(name="x"))
    assert bench("run", path, "--set", f"memory_cap={text}", "--dry-run") == 2
    assert f"got {text}" in capsys.readouterr().err


def test_a_number_that_is_written_in_another_way_is_that_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO.format(name="x") + "alpha: [5e-1, 1.00]\nseed: 007\n")
    from bench.scenario import load_scenario

    loaded = load_scenario(path, ["measure.target_ci=2e-2", "measure.warmup=03"])
    assert (loaded.alpha, loaded.seed) == ((0.5, 1.0), 7)
    assert (loaded.measure.target_ci, loaded.measure.warmup) == (0.02, 3)
    assert {type(n) for n in (*loaded.alpha, loaded.measure.target_ci)} == {float}
    assert {type(n) for n in (loaded.seed, loaded.measure.warmup)} == {int}
    again = tmp_path / "again.yaml"
    again.write_text(loaded.resolved_yaml())
    assert load_scenario(again, ()).resolved_yaml() == loaded.resolved_yaml()


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "a", "b", "--output", "-"],
        ["compare", "a", "b", "--output=-"],
        ["stylize", "a", "b", "-o", "-", "--model", "adain-vgg16-64x"],
        ["run", "s.yaml", "--out", "-"],
        ["report", "a", "--gallery", "-"],
    ],
)
def test_no_file_is_called_by_a_dash(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert bench(*arguments) == 2
    assert " -: a file or folder is needed; standard output is /dev/stdout" in (
        capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_a_dash_as_a_folder_is_one_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run = ci_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert bench("compare", run, run, "--format", "json", "--output", "./-") == 0
    assert (tmp_path / "-").read_text().startswith("{")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--resume", "x", "--out", "y"], "--out does not go with --resume"),
        (["run", "--resume", "x", "--out", "runs"], "--out does not go with --resume"),
        (["ab", "--resume", "x", "--out", "y"], "leave out --out"),
        (["ab", "--resume", "x", "--seed", "0"], "leave out --out"),
        (["ab", "--resume", "x", "--environment", "own"], "leave out --out"),
    ],
)
def test_what_resuming_does_not_use_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
):
    assert bench(*arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run --resume", "report", "baseline save"])
def test_the_folder_above_runs_names_the_newest(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    above = tmp_path / "my runs"
    for place, name in enumerate(("new one", "old")):
        run = ci_run(above / name)
        os.utime(run / "scenario.yaml", (1e9 - place, 1e9 - place))
    name = ["x"] if command == "baseline save" else []
    assert bench(*command.split(), above, *name) == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith(f"; it holds the 2 runs, the newest {shlex.quote(str(above / 'new one'))}")


def test_the_folder_of_ab_names_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "ab-x"
    folder.mkdir()
    (folder / "ab.json").write_text("{}")
    assert bench("run", "--resume", folder) == 2
    assert f"it is of 'bench ab', and has runs in {folder / 'base'}" in capsys.readouterr().err
    assert bench("ab", "--resume", tmp_path) == 2
    assert f"it holds {folder}" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- tables


def printed(width: int) -> list[str]:
    table = Table("model", "widths", box=None)
    table.add_column("parameters", justify="right")
    table.add_column("weights without :FOLDER")
    table.add_row("adain-vgg16-1x", "64/128/256/512/512", "5,830,799", "trained, embedded")
    table.add_row("adain-vgg19-1x", "64/128/256/512/512", "7,010,959", "")
    screen = Screen(width=width, file=io.StringIO(), color_system=None)
    screen.print(table)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("width", [24, 40, 60, 66, 72, 80, 160])
def test_no_word_and_no_number_is_cut_in_a_narrow_terminal(width: int):
    lines = printed(width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for word in ("adain-vgg16-1x", "64/128/256/512/512", "5,830,799", "trained,", ":FOLDER"):
        assert word in text
    assert "…" not in text


def test_what_does_not_fit_stands_as_a_paragraph():
    assert printed(40) == [
        "adain-vgg16-1x",
        "  widths 64/128/256/512/512; parameters",
        "  5,830,799; weights without :FOLDER",
        "  trained, embedded",
        "adain-vgg19-1x",
        "  widths 64/128/256/512/512; parameters",
        "  7,010,959",
    ]


def test_the_module_of_distill_needs_no_pytorch_to_start(monkeypatch: pytest.MonkeyPatch):
    """So that a machine that cannot load it is told so in a line."""
    import subprocess

    code = "import sys, distill.cli; assert 'torch' not in sys.modules"
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root}, check=True)

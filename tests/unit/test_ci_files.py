"""What is ready to copy: workflows, hooks, tox and documents say only what works."""

import configparser
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from bench.cli import app
from bench.errors import UserError
from bench.scenario import load_scenario
from distill.cascades import weights_kind
from distill.models import parse_model

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
DOCUMENTS = [ROOT / "docs/ci.md", ROOT / "docs/compare.md"]
TOP = {"name", "on", "permissions", "concurrency", "env", "jobs"}
JOB = {"runs-on", "timeout-minutes", "steps", "if"}
STEP = {"name", "if", "uses", "with", "run"}
ACTIONS = {  # majors that exist, and what is used of their inputs
    "actions/checkout@v5": {"persist-credentials", "fetch-depth"},
    "actions/setup-python@v6": {"python-version", "cache", "cache-dependency-path"},
    "actions/upload-artifact@v5": {"name", "path", "if-no-files-found"},
}
CONTEXTS = {"github", "inputs", "vars", "env"}
FUNCTIONS = {"cancelled", "hashFiles"}
OTHER_COMMANDS = {"cat", "echo", "exit", "test", "python", "python3", ".venv/bin/python"}
SHELL = {"if", "then", "fi", "["}


def read(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell text."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=";|&>")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if re.fullmatch(r"[;|&]+", word):
                while command and (command[0] in SHELL or re.match(r"\w+=", command[0])):
                    command = [] if command[0] == "[" else command[1:]
                if command:
                    yield command
                command = []
            else:
                command.append(word)


def check_bench(words: list[str]) -> None:
    """The command, its options and its arguments are there; so are the files it names."""
    command = typer.main.get_command(app)
    words = words[1:]
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, f"bench {words} is no command"
        command, words = command.commands[words[0]], words[1:]
    options = {
        name: parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    given = 0
    rest = iter(words)
    for word in rest:
        if word in options:
            if not options[word].is_flag:
                value = next(rest)
                assert not value.startswith("-"), f"{word} lacks its value"
        else:
            assert not word.startswith("-"), f"bench {command.name} has no option {word}"
            given += 1
            if word.startswith("scenarios/"):
                load_scenario(ROOT / word)
    most = sum(argument.nargs for argument in arguments)
    assert given <= most, f"bench {command.name} takes {most} arguments: {words}"


def check(words: list[str]) -> None:
    """A command of a workflow, a hook or tox."""
    name = words[0]
    if name == "bench":
        end = next((n for n, word in enumerate(words) if word.startswith(">")), len(words))
        check_bench(words[:end])
    elif name == "tox":
        config = configparser.ConfigParser()
        config.read(ROOT / "tox.ini")
        assert words[1] == "-e" and f"testenv:{words[2]}" in config
    elif name.endswith(("python", "python3")) and words[1] == "-m":
        assert words[2] in {"pip", "pytest", "venv", "check_jsonschema"}
        check_extras(words)
    else:
        assert name in OTHER_COMMANDS | {"ruff", "mypy", "pytest", "pip", "git", "pre-commit"}, name
        check_extras(words)


def check_extras(words: list[str]) -> None:
    """The extras that are to be installed are declared."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"^\.\[([\w,-]+)\]$", "\n".join(words), re.MULTILINE):
        assert set(extra.split(",")) <= declared["optional-dependencies"].keys()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_workflows(path: Path):
    workflow = read(path)
    workflow["on"] = workflow.pop(True)  # YAML 1.1 takes the word for a truth value
    assert set(workflow) == TOP
    assert set(workflow["on"]) <= {"pull_request", "workflow_dispatch"}
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow["concurrency"]) == {"group", "cancel-in-progress"}
    for job in workflow["jobs"].values():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job) <= JOB
    for step in steps(workflow):
        assert set(step) <= STEP
        assert ("run" in step) != ("uses" in step)
        if "uses" in step:
            assert set(step.get("with", {})) <= ACTIONS[step["uses"]]
    for expression in re.findall(r"\$\{\{(.*?)\}\}", path.read_text()):
        # strings and operators out: names are left
        names = re.findall(r"[A-Za-z_][\w.]*", re.sub(r"'[^']*'", "", expression))
        assert {name.partition(".")[0] for name in names} <= CONTEXTS | FUNCTIONS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_workflows_run_is_there(path: Path):
    ran = [
        command
        for step in steps(read(path))
        if "run" in step
        # a substitution is a command, too
        for text in (step["run"], *re.findall(r"\$\(([^)]*)\)", step["run"]))
        for command in commands(text)
    ]
    ran = [command for command in ran if command[0] != "nvidia-smi"]
    assert any(command[0] == "bench" for command in ran)
    for command in ran:
        check(command)


@pytest.mark.parametrize(
    "line",
    [
        "x=0; bench ab main . scenarios/ci.yaml --no-such-option || x=$?",
        "if [ 1 = 1 ]; then bench ab a b scenarios/ci.yaml d; fi",
        "bench ab main . scenarios/no-such-file.yaml",
        "bench compara a b",
        "tox -e no-such-environment",
        "python -m pip install '.[no-such-extra]'",
        "curl example.org | sh",
    ],
)
def test_a_command_that_would_fail_is_found(line: str):
    with pytest.raises((AssertionError, UserError)):
        for words in commands(line):
            check(words)


def test_only_one_job_measures_on_the_gpu_at_a_time():
    workflow = read(ROOT / ".github/workflows/gpu-regression.yml")
    assert workflow["concurrency"] == {"group": "gpu-regression", "cancel-in-progress": False}
    (job,) = workflow["jobs"].values()
    assert job["runs-on"] == ["self-hosted", "linux", "gpu"]
    # never for what anybody pushes: their code would run on the machine
    assert workflow[True]["pull_request"] == {"types": ["labeled"]}


def test_hooks_run_what_is_there():
    config = read(ROOT / ".pre-commit-config.yaml")
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert [hook["id"] for hook in hooks if hook.get("stages") == ["pre-push"]] == ["scenario"]
    for hook in hooks:
        check(shlex.split(hook["entry"]))


def test_tox_measures_against_what_it_is_given():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini")
    text = config["testenv:regression"]["commands"]
    assert "{posargs:{env:BASE_REF:main}}" in text
    check(shlex.split(text.replace("{posargs:{env:BASE_REF:main}}", "main")))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_commands_that_are_there(path: Path):
    blocks = re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL)
    found = [words for block in blocks for words in commands(re.sub(r"#.*", "", block))]
    assert found
    for words in found:
        check(words)


def test_the_scenario_of_the_check_needs_no_download_no_gpu_and_cannot_hang():
    scenario = load_scenario(ROOT / "scenarios/ci.yaml")
    assert scenario.device == "cpu"
    assert scenario.run_time_limit is not None and scenario.run_time_limit <= 900
    cells = scenario.cells("cpu", weights_digest=lambda _: "", code_version="")
    assert {cell.execution for cell in cells} == {"whole", "strips"}
    assert {cell.kind for cell in cells} == {"performance", "quality"}
    assert all(cell.measure.cell_time_limit_s <= 10 for cell in cells)
    assert all(weights_kind(parse_model(cell.model)) != "random" for cell in cells)
    assert scenario.quality is not None
    downloaded = ("lpips", "fid", "kid", "isc", "inception", "art")
    assert not [m for m in scenario.quality.metrics if any(part in m for part in downloaded)]

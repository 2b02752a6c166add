"""Two commits of this project measured in turn: worktrees, processes, interruption, verdict."""

import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml

import bench as package
from bench.ab.checkouts import find_version
from bench.ab.session import Plan, Runs, create, measure, prepared, read_plan, write_plan
from bench.cli import app
from bench.cli_compare import checked, compared
from bench.run.store import RunFolder
from distill.command_line import run_app

ROOT = Path(package.__file__).parents[1]
# Takes the time that its own checkout says: what a worker of other code would not know.
WORKER = """
import json, sys
from pathlib import Path
from bench.run.worker import die_with_parent
die_with_parent(int(sys.argv[4]))
import bench
from bench.cells import Cell
from bench.record import Record
from bench.run.draft import draft_fields, timestamp
from bench.run.records import write_record
cell = Cell.model_validate(json.loads(Path(sys.argv[1]).read_bytes()))
repeat = int(sys.argv[3])
speed = float((Path(bench.__file__).parent / "speed.txt").read_text())
fields = {"status": "ok", "latency_ms": speed + 0.01 * repeat, "first_call_ms": 2 * speed,
          "started_at": timestamp(), "duration_s": 0.001}
write_record(Path(sys.argv[2]), Record(**draft_fields(cell, repeat=repeat), **fields))
"""
FAKE_WORKER = (sys.executable, "-P", "-c", WORKER)
SCENARIO = {
    "name": "tiny",
    "device": "cpu",
    "models": ["adain-vgg19-64x"],  # no VGG-19 is embedded
    "resolutions": ["16x16"],
    "style_resolution": "16x16",
}


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with this project's code less its weights, on the second commit slower."""

    def unneeded(folder: str, names: list[str]) -> set[str]:
        return {
            name
            for name in names
            if name == "__pycache__" or name.endswith((".safetensors", ".so"))
        }

    root = tmp_path / "project"
    for name in ("bench", "distill", "reports"):
        shutil.copytree(ROOT / name, root / name, ignore=unneeded)
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    (root / ".gitignore").write_text("__pycache__/\n")
    (root / "tiny.yaml").write_text(yaml.safe_dump(SCENARIO))
    git(root, "init", "--quiet", "--initial-branch", "main")
    for speed in ("10", "13"):
        (root / "bench/speed.txt").write_text(speed)
        git(root, "add", ".")
        git(root, "commit", "--quiet", "-m", f"takes {speed} ms")
    monkeypatch.chdir(root)
    return root


def judged(runs: Runs) -> tuple[int, set[str | None]]:
    wanted = checked(
        max_slowdown="5%",
        max_memory_growth="2%",
        max_quality_loss="2%",
        metric=("latency_ms",),
        partial=False,
        allow_different_environment=False,
        format_=None,
        output=None,
        everything=False,
    )
    comparison = compared(runs.base, runs.new, wanted)
    findings = [finding for cell in comparison.cells for finding in cell.findings]
    return comparison.exit_code, {finding.design for finding in findings}


def test_two_commits_are_measured_in_turn_stopped_resumed_and_compared(
    project: Path, tmp_path: Path
):
    plan = Plan(
        base=find_version(project, "HEAD^"),
        new=find_version(project, "main"),
        scenario=str(project / "tiny.yaml"),
        processes=2,
        environment="shared",
    )
    folder = create(plan, tmp_path / "runs")
    said: list[str] = []

    def stop_after_three(text: str) -> None:
        said.append(text)
        if len(said) == 3:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        prepared(plan, folder, say=stop_after_three) as places,
    ):
        measure(plan, folder, places, say=stop_after_three, worker=FAKE_WORKER)
    assert len(git(project, "worktree", "list").splitlines()) == 1

    # more of them, as one asks for where it could not be told
    plan = read_plan(folder).model_copy(update={"processes": 4})
    write_plan(plan, folder)
    with prepared(plan, folder, say=said.append) as places:
        runs = measure(plan, folder, places, say=said.append, worker=FAKE_WORKER)
    assert [text.partition("]")[0] for text in said] == [f"[{n}/4" for n in (1, 2, 3)] + [
        f"[{n}/8" for n in range(4, 9)
    ]
    for run, speed in zip(runs, (10, 13), strict=True):
        with RunFolder.open(run) as opened:
            records = opened.records(report=pytest.fail)
        assert len(records) == 4
        assert {round(record.latency_ms or 0) for record in records} == {speed}
    commits = [git(project, "rev-parse", "--short=10", ref) for ref in ("HEAD^", "HEAD")]
    versions = [
        (run / "environment.json").read_text().partition('code_version": "')[2][:30] for run in runs
    ]
    assert all(commit in text for commit, text in zip(commits, versions, strict=True))
    assert judged(runs) == (1, {"alternating"})
    for path in (path for run in runs for path in run.glob("cells/*.json")):
        # As if the clock had been set back after the second round.
        record = json.loads(path.read_bytes())
        if record["repeat"] >= 2:
            began = datetime.fromisoformat(record["started_at"]) - timedelta(hours=1)
            path.write_text(json.dumps(record | {"started_at": began.isoformat()}))
    assert judged(runs) == (1, {"alternating"})
    assert not list(Path.cwd().glob("runs"))


def test_where_the_first_processes_cannot_tell_it_goes_on_once(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("bench.ab.session.measure", partial(measure, worker=FAKE_WORKER))
    arguments = ["ab", "HEAD^", "main", "tiny.yaml", "--environment", "shared", "--quiet"]
    arguments += ["--out", str(tmp_path / "runs"), "--metric", "latency_ms"]
    few = ["--repeats-across-processes", "2"]
    assert run_app(app, "bench", [*arguments, *few]) == 1
    (folder,) = (tmp_path / "runs").iterdir()
    assert read_plan(folder).processes == 4
    comparison = json.loads((folder / "comparison.json").read_text())
    (finding,) = (f for cell in comparison["cells"] for f in cell["findings"])
    assert (finding["processes_base"], finding["processes_new"]) == (4, 4)
    assert run_app(app, "bench", [*arguments, *few, "--again", "0"]) == 3
    assert run_app(app, "bench", [*arguments, *few, "--again", "2"]) == 2


def test_a_scenario_that_one_version_does_not_know_is_refused_by_name(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    schema = project / "bench/scenario/schema.py"
    schema.write_text(schema.read_text().replace("style_resolution", "size_of_style"))
    arguments = ["ab", "HEAD", ".", "tiny.yaml", "--environment", "shared", "--out", str(tmp_path)]
    assert run_app(app, "bench", arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench: ")]
    assert line.startswith("bench: new . (") and "+dirty): " in line
    assert "tiny.yaml:" in line and "style_resolution: unknown key" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give BASE_REF NEW_REF SCENARIO, or --resume DIR"),
        (["main", "."], "give BASE_REF NEW_REF SCENARIO"),
        (["main", ".", "no.yaml"], "no.yaml: does not exist"),
        (["main", "--resume", "."], "takes versions, scenario, settings and place from DIR alone"),
        (["--resume", "."], ".: not a folder of 'bench ab': ab.json: No such file or directory"),
        (["--max-slowdown", "x"], "--max-slowdown: "),
        (["a", "b", "c", "--environment", "mine"], "--environment mine: allowed are"),
    ],
)
def test_wrong_use_has_one_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert run_app(app, "bench", ["ab", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "not a whole JSON file"), ("[]", "ab.json: "), ('{"format": 1}', "ab.json: format: ")],
)
def test_a_damaged_plan_has_one_line(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "ab.json").write_text(content)
    assert run_app(app, "bench", ["ab", "--resume", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line

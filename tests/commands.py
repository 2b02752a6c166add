"""Every command of both tools with arguments that it can do, and a way to run them under streams.

What takes minutes (a sweep, a search, a training) is shortened where it would measure; what is
printed, and where from, is the command's own.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import typer
from PIL import Image

import bench.cli
import bench.doctor
import distill.commands
import reports.report
from bench import max_resolution, roofline
from bench.ab import session
from bench.ab.session import Runs
from bench.baseline import save_baseline
from bench.record import Record
from bench.run import runner
from bench.run.draft import draft_fields, timestamp
from bench.study.export import key_path
from tests.study_data import answers_of, make_material, make_study, write_json
from tests.unit.compare_data import ci_run, run_folder
from tests.unit.reports_data import quality
from tests.unit.test_roofline import point

APPS = {"bench": bench.cli.app, "distill": distill.commands.app}
TINY = {
    "name": "tiny",
    "device": "cpu",
    "models": ["adain-vgg16-64x"],
    "resolutions": ["64x64", "80x80", "96x96"],
    "threads": 1,
    "style_resolution": "64x64",
}


class Case(NamedTuple):
    """A command line, and what it leaves."""

    arguments: str
    """Separated by blanks; ``{n}`` is a number of its own."""
    result: bool = False
    """Whether what it prints on standard output is its result."""
    files: str = ""
    """Glob of what it must have written, whatever became of its streams."""


CASES = {
    "bench run": Case("run tiny.json --out out{n}", files="out{n}/tiny-*/report.md"),
    "bench run --dry-run": Case("run tiny.json --dry-run", result=True),
    "bench stylize": Case(
        "stylize c.png s.png -o o{n}.png --model adain-vgg16-64x --size 48x48 --device cpu",
        files="o{n}.png",
    ),
    "bench models": Case("models", result=True),
    "bench models --metrics": Case("models --metrics", result=True),
    "bench doctor": Case("doctor", result=True),
    "bench schema": Case("schema", result=True),
    "bench report": Case("report base --formats csv --out rep{n}", files="rep{n}/tables"),
    "bench plan": Case("plan tiny.json --no-calibration", result=True),
    "bench max-resolution": Case(
        "max-resolution --model adain-vgg16-64x --memory-cap 1GB --max-megapixels 0.01 "
        "--device cpu --out max{n}",
        result=True,
        files="max{n}/*/evidence.csv",
    ),
    "bench roofline": Case(
        "roofline --model adain-vgg16-64x --size 64x64 --repeats 1 --device cpu --out roof{n}",
        files="roof{n}/roofline.csv",
    ),
    "bench compare": Case("compare base new", result=True),
    "bench compare --output": Case("compare base new --output c{n}.json", files="c{n}.json"),
    "bench ab": Case(
        "ab HEAD HEAD tiny.json --out ab{n}", result=True, files="ab{n}/*/comparison.json"
    ),
    "bench baseline save": Case("baseline save base b{n} --dir bases", files="bases/b{n}.json"),
    "bench baseline list": Case("baseline list", result=True),
    "bench baseline show": Case("baseline show kept", result=True),
    "bench study export": Case("study export --folder material --out st{n}", files="st{n}"),
    "bench study analyze": Case(
        "study analyze answers --key key.json --out an{n}", result=True, files="an{n}/study.json"
    ),
    "bench study proxy": Case("study proxy losses", result=True),
    "distill import": Case("import source target"),
    "distill fetch": Case("fetch vgg16-normalised"),
    "distill normalise": Case(
        "normalise vgg16-normalised no{n}", files="no{n}/stage5-encoder.safetensors"
    ),
    "distill info": Case("info adain-vgg16-64x", result=True),
    "distill evaluate": Case(
        "evaluate adain-vgg16-1x adain-vgg16-64x --content c.png --style s.png --size 64 "
        "--device cpu --out ev{n}",
        files="ev{n}/evaluate.md",
    ),
    "distill export": Case("export adain-vgg16-64x ex{n}", files="ex{n}/model.json"),
    "distill gatys": Case(
        "gatys c.png s.png -o g{n}.png --steps 1 --size 24 --device cpu", files="g{n}.png"
    ),
    "distill train": Case(
        "train --ratio 1 --data c.png --out tr{n} --stages 1 --steps 2 --batch 1 --crop 16 "
        "--device cpu --no-tensorboard --skip-unreadable",
        files="tr{n}/stage1-decoder.safetensors",
    ),
}


def all_commands(app: typer.Typer, name: str) -> Iterator[str]:
    """Names of the commands and sub-commands that an application has."""
    command: Any = typer.main.get_command(app)
    stack = [(name, command)]
    while stack:
        path, one = stack.pop()
        children = getattr(one, "commands", None)
        if children is None:
            yield path
        else:
            stack += [(f"{path} {key}", child) for key, child in children.items()]


def prepare(folder: Path) -> None:
    """Write what the cases read."""
    (folder / "tiny.json").write_text(json.dumps(TINY))
    rng = np.random.default_rng(0)
    for name in ("c", "s"):
        low = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(low).resize((48, 48)).save(folder / f"{name}.png")
    ci_run(folder / "base")
    ci_run(folder / "new")
    save_baseline(folder / "base", "kept", folder=folder / "baselines", replace=False)
    make_material(folder / "material")
    study, key = make_study(folder / "made")
    for index in range(4):
        write_json(
            folder / "answers" / f"{index}.json", answers_of(key, f"{index:08x}", sheet=index)
        )
    (folder / "key.json").write_text(key_path(study).read_text())
    models = ("wct-vgg16-1x", "wct-vgg16-16x")
    judged = [quality(m, pairs=3) | {"id": f"{n:012x}"} for n, m in enumerate(models)]
    run_folder(folder / "losses", judged)
    subprocess.run(["git", "init", "--quiet", folder], check=True)


def _record(cell: Any, folder: Any, *, repeat: int = 0, **_: Any) -> Record:
    fields = {"status": "ok", "latency_ms": 7.0, "peak_rss_growth_mb": 9.0}
    made = Record(**draft_fields(cell, repeat=repeat), **fields, started_at=timestamp())
    folder.write_record(made)
    return made


def _sides(plan: Any, folder: Path, places: Any, *, say: Any, **_: Any) -> Runs:
    sides = []
    for name in ("base", "new"):
        say(f"[1/2] {name}: measured")
        path = folder / name / "run"
        sides.append(path if path.exists() else ci_run(path))
    return Runs(*sides)


@contextlib.contextmanager
def without_measuring() -> Iterator[None]:
    """Have cells, searches and versions measured in no time."""
    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (runner, "run_cell", _record),
            (max_resolution, "run_cell", _record),
            (roofline, "measure_roofline", lambda *_, **__: [point()]),
            (session, "prepared", lambda *_, **__: contextlib.nullcontext({})),
            (session, "measure", _sides),
            (bench.cli_ab, "_plan", _plan),
            (reports.report, "write_report", _report),
            (bench.doctor, "examine", lambda: [bench.doctor.Check(True, "enough memory")]),
            (distill.commands, "convert_published", lambda *_: ["one"]),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


def _plan(base: str, new: str, scenario: Path, **_: Any) -> session.Plan:
    version = session.Version(ref=base, commit="a" * 40)
    return session.Plan(base=version, new=version, scenario=str(scenario.resolve()), processes=5)


def _report(target: Path, *_: Any, **__: Any) -> list[Path]:
    """Figures take seconds to draw, and print nothing."""
    (target / "tables").mkdir(parents=True)
    (target / "report.md").write_text("")
    return []


class Server:
    """The other end of :mod:`tests.fork_server`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        theirs, ours_write = os.pipe()
        ours_read, theirs_write = os.pipe()
        command = [sys.executable, "-m", "tests.fork_server", str(theirs), str(theirs_write)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            command,
            pass_fds=(theirs, theirs_write),
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=Path(__file__).parents[1],
        )
        os.close(theirs)
        os.close(theirs_write)
        self._read, self._write = os.fdopen(ours_read), os.fdopen(ours_write, "w")
        assert self._read.readline() == "ready\n"

    def run(
        self, name: str, *, stdout: str = "", stderr: str = "", encoding: str = "utf-8"
    ) -> tuple[int, str, str, bool]:
        """Run a case; streams are ``closed``, ``full``, ``gone`` or a file.

        Returns the exit code, what arrived on both streams, and whether its files are there.
        """
        self._count += 1
        case = CASES[name]
        paths = {stream: self.folder / f"{self._count}.{stream}" for stream in ("stdout", "stderr")}
        request = {
            "tool": name.split()[0],
            "arguments": case.arguments.format(n=self._count).split(),
            "folder": str(self.folder),
            "stdout": stdout or str(paths["stdout"]),
            "stderr": stderr or str(paths["stderr"]),
            "encoding": encoding,
        }
        print(json.dumps(request), file=self._write, flush=True)
        code = int(self._read.readline())
        said = [path.read_text("utf-8") if path.exists() else "" for path in paths.values()]
        files = case.files.format(n=self._count)
        return code, said[0], said[1], not files or bool(list(self.folder.glob(files)))

    def close(self) -> None:
        """End it."""
        self._write.close()
        self._process.wait(30)
        self._read.close()

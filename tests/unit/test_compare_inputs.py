"""What is given to a comparison: runs, baselines, pytest-benchmark's JSON; and what is none."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench import baseline
from bench.cli import app
from bench.compare.load import load_side
from bench.errors import UserError
from distill.command_line import run_app
from tests.unit.compare_data import benchmark_json, ci_run, quality, run_folder


def bench(*arguments: object) -> int:
    return run_app(app, "bench", [str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on bad input."""
    assert bench(*arguments) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    return line


# ---- bad input


def cut(path: Path) -> Path:
    path.write_text(path.read_text()[:-200])
    return path


def spoil_records(run: Path, **fields: Any) -> Path:
    for path in (run / "cells").iterdir():
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return run


def empty(run: Path) -> Path:
    for path in (run / "cells").iterdir():
        path.unlink()
    return run


def without(run: Path, name: str) -> Path:
    (run / name).unlink()
    return run


def with_file(run: Path, name: str, text: str) -> Path:
    (run / name).write_text(text)
    return run


def cut_record(run: Path) -> Path:
    cut(min((run / "cells").iterdir()))
    return run


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda tmp: tmp / "runn", "runn: no such run folder, baseline or .* did you mean 'run'"),
        (lambda tmp: empty(ci_run(tmp / "x")), "x: has no records"),
        (lambda tmp: without(ci_run(tmp / "x"), "environment.json"), "environment.json missing"),
        (lambda tmp: cut_record(ci_run(tmp / "x")), r"not a whole JSON file"),
        (
            lambda tmp: spoil_records(ci_run(tmp / "x"), schema_version=7),
            r"schema_version is 7, this version reads 1 \(and 9 more such files\)",
        ),
        (lambda tmp: spoil_records(ci_run(tmp / "x"), speed=7), "speed: Extra inputs"),
        (lambda tmp: with_file(ci_run(tmp / "x"), "scenario.yaml", "name: 2001-99-99"), "not val"),
        (lambda tmp: with_file(ci_run(tmp / "x"), "scenario.yaml", "[" * 10**5), "not valid YAML"),
        (lambda tmp: with_file(ci_run(tmp / "x"), "cells/x-0.json", "[" * 10**5), "not a whole"),
        (lambda tmp: written(tmp / "x.json", ""), "x.json: is empty"),
        (lambda tmp: written(tmp / "x.json", "[" * 100_000), "x.json: not a whole JSON file"),
        (lambda tmp: written(tmp / "x.json", "{}"), "is neither a run folder, a baseline nor"),
        (lambda tmp: written(tmp / "x.json", "\x00\xff"), "x.json: not a whole JSON file"),
        (lambda tmp: tmp, "not a run folder"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make, says: str, place: int
):
    good = ci_run(tmp_path / "run")
    (tmp_path / "work").mkdir()
    bad = make(tmp_path if says.startswith("runn") else tmp_path / "work")
    sides = [bad, good] if place == 0 else [good, bad]
    line = refused(capsys, "compare", *sides, "--baselines", tmp_path)
    assert re.search(says, line), line


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"schema_version": 2}, "is a baseline of format 2, this version reads 1"),
        ({"records": []}, "has no records"),
        ({"records": None}, "'records' is missing or of another type"),
        ({"environment": 3}, "'environment' is missing or of another type"),
        ({"records": [{"schema_version": 1}]}, r"records\[0\]: id: Field required"),
    ],
)
def test_a_damaged_baseline_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: dict[str, Any], says: str
):
    run = ci_run(tmp_path / "run")
    path = baseline.save_baseline(run, "main", folder=tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    line = refused(capsys, "compare", path, run)
    assert re.search(says, line), line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--max-slowdown", "5 parrots"], "--max-slowdown: a fraction is a percentage"),
        (["--max-quality-loss", "-1%"], "--max-quality-loss: a fraction is a percentage"),
        (["--format", "jsn"], "--format jsn: allowed are .*did you mean 'json'"),
        (["--output", "result.doc"], "--output result.doc: give --format, or an ending"),
        (["--metric", "latency"], "--metric latency: not compared; .*did you mean 'latency_ms'"),
        (["--output", "."], "--output .: "),
        (["--metric", "device_latency_ms"], "--metric device_latency_ms: neither side has it"),
        (["--metric", "quality"], "--metric quality: neither side has it"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
):
    run = ci_run(tmp_path / "run")
    line = refused(capsys, "compare", run, run, *arguments)
    assert re.search(says, line), line


# ---- baselines


def test_a_baseline_is_small_and_compares_as_its_run_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def with_samples(records: list[dict[str, Any]]) -> None:
        records += quality({"style_loss": [0.1, 0.2], "psnr_teacher": float("inf")})
        for record in records:
            record["latency_samples_ms"] = [float(n) for n in range(1000)]

    run = ci_run(tmp_path / "run", change=with_samples)
    folder = tmp_path / "baselines"
    assert bench("baseline", "save", run, "main", "--dir", folder) == 0
    path = folder / "main.json"
    assert str(path) in capsys.readouterr().out
    text = path.read_text()
    assert "samples" not in text
    assert '"image"' not in text
    assert len(text) < 25_000

    slow = ci_run(tmp_path / "slow", factors=(1.5, 1.0), change=with_samples)
    results = []
    for base in (run, path, "main"):
        target = tmp_path / "result.json"
        code = bench("compare", base, slow, "--baselines", folder, "--output", target)
        results.append((code, json.loads(target.read_text())["cells"]))
    assert results[0] == results[1] == results[2]
    assert results[0][0] == 1


def test_baselines_are_listed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = ci_run(tmp_path / "run")
    for name in ("main", "v1.2"):
        assert bench("baseline", "save", run, name, "--dir", tmp_path / "b") == 0
    capsys.readouterr()
    assert bench("baseline", "list", "--dir", tmp_path / "b") == 0
    listed = capsys.readouterr().out
    assert "main" in listed and "v1.2" in listed and "Some CPU" in listed
    assert bench("baseline", "show", "main", "--dir", tmp_path / "b") == 0
    shown = capsys.readouterr().out
    assert "adain-vgg16-16x whole fp32 512x512" in shown
    assert "100 MB" in shown and "torch: 2.12.0" in shown


def test_an_unfinished_run_is_no_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = ci_run(tmp_path / "run", change=lambda records: records.__delitem__(slice(5, None)))
    line = refused(capsys, "baseline", "save", run, "main", "--dir", tmp_path)
    assert re.search(r"run: lacks 1 cell \(.*512x512\): an unfinished run", line)
    assert not (tmp_path / "main.json").exists()


def test_a_copied_process_is_no_second_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = ci_run(tmp_path / "run")
    path = baseline.save_baseline(run, "main", folder=tmp_path)
    content = json.loads(path.read_text())
    content["records"] *= 2
    path.write_text(json.dumps(content))
    assert "has process 0 of cell" in refused(capsys, "compare", path, run)


def test_a_baseline_goes_by_the_name_of_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    baseline.save_baseline(ci_run(tmp_path / "run"), "one", folder=tmp_path / "b")
    (tmp_path / "b/one.json").rename(tmp_path / "b/two.json")
    assert bench("baseline", "list", "--dir", tmp_path / "b") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "two"


def test_a_version_that_is_no_text_is_shown_as_one(tmp_path: Path):
    runs = [ci_run(tmp_path / name, environment={"code_version": 5}) for name in "ab"]
    assert bench("compare", *runs) == 0


def test_a_baseline_is_not_overwritten_by_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = ci_run(tmp_path / "run")
    save = ("baseline", "save", run, "main", "--dir", tmp_path)
    assert bench(*save) == 0
    assert "exists already; --replace overwrites it" in refused(capsys, *save)
    assert bench(*save, "--replace") == 0


@pytest.mark.parametrize("name", ["../main", "", "main.json", ".hidden", "a b", "x" * 101])
def test_names_of_baselines_are_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    run = ci_run(tmp_path / "run")
    assert "a baseline's name is" in refused(capsys, "baseline", "save", run, name)


def test_a_file_among_baselines_that_is_none_is_named_and_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    baseline.save_baseline(ci_run(tmp_path / "run"), "main", folder=tmp_path / "b")
    written(tmp_path / "b" / "notes.json", "{}")
    assert bench("baseline", "list", "--dir", tmp_path / "b") == 2
    captured = capsys.readouterr()
    assert "main" in captured.out
    assert "notes.json: is neither" in captured.err


def test_a_baseline_that_is_not_there_is_looked_for_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    baseline.save_baseline(ci_run(tmp_path / "run"), "main", folder=tmp_path / "b")
    line = refused(capsys, "baseline", "show", "man", "--dir", tmp_path / "b")
    assert "no such baseline; did you mean 'main.json'?" in line


# ---- pytest-benchmark


def benchmark_folder(path: Path, factor: float, *, memory: float = 50.0) -> Path:
    noise = (1.0, 1.01, 0.99, 1.005, 0.995)
    for n, one in enumerate(noise):
        medians = {"test_a.py::test_encode[128]": 0.010 * one * factor, "test_a.py::test_b": 0.1}
        benchmark_json(path / f"{n:04}.json", medians, {"peak_rss_growth_mb": memory, "note": "x"})
    return path


def test_benchmarks_are_cells_and_files_are_processes(tmp_path: Path):
    side = load_side(benchmark_folder(tmp_path / "base", 1.0), baselines=tmp_path)
    assert side.kind == "pytest-benchmark"
    (encode, _) = side.cells.values()
    assert encode.identity == {"benchmark": "test_a.py::test_encode[128]"}
    assert encode.processes[0].values == {"latency_ms": 10.0, "peak_rss_growth_mb": 50.0}
    assert len(encode.processes) == 5


@pytest.mark.parametrize(
    ("factor", "memory", "code"), [(1.0, 50.0, 0), (1.2, 50.0, 1), (1.0, 55.0, 1)]
)
def test_benchmarks_are_judged_like_cells(tmp_path: Path, factor: float, memory: float, code: int):
    base = benchmark_folder(tmp_path / "base", 1.0)
    new = benchmark_folder(tmp_path / "new", factor, memory=memory)
    assert bench("compare", base, new) == code


def test_one_benchmark_file_a_side_is_too_few_processes(tmp_path: Path):
    base = benchmark_json(tmp_path / "base.json", {"test_a": 0.01})
    new = benchmark_json(tmp_path / "new.json", {"test_a": 0.01})
    assert bench("compare", base, new) == 3


def test_a_benchmark_that_is_gone_is_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    base = benchmark_json(tmp_path / "base.json", {"test_a": 0.01, "test_b": 0.01})
    new = benchmark_json(tmp_path / "new.json", {"test_a": 0.01})
    assert "lacks 1 cell (test_b)" in refused(capsys, "compare", base, new)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"benchmarks": []}, "has no benchmarks"),
        ({"benchmarks": [{"fullname": "a", "stats": {}}]}, r"benchmarks\.0\.stats\.median"),
        ({"benchmarks": [{"fullname": "a", "stats": {"median": -1}}]}, "greater than 0"),
        ({"benchmarks": [{"fullname": "a", "stats": {"median": 1}}] * 2}, "has a twice"),
        ({"datetime": "yesterday"}, "datetime: not a date"),
    ],
)
def test_damaged_benchmark_files_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], says: str
):
    good = benchmark_json(tmp_path / "good.json", {"a": 0.1})
    bad = benchmark_json(tmp_path / "bad.json", {"a": 0.1}, **fields)
    line = refused(capsys, "compare", good, bad)
    assert re.search(says, line), line


def test_a_history_of_commits_is_not_taken_for_repeats(tmp_path: Path):
    benchmark_json(tmp_path / "b/1.json", {"a": 0.1})
    benchmark_json(tmp_path / "b/2.json", {"a": 0.1}, commit_info={"id": "bbbb"})
    with pytest.raises(UserError, match="repeats of one measurement are needed, not a history"):
        load_side(tmp_path / "b", baselines=tmp_path)


def test_benchmarks_of_another_machine_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = {"python_version": "3.12.1", "cpu": {"brand_raw": "Other CPU", "count": 2}}
    base = benchmark_json(tmp_path / "base.json", {"a": 0.1})
    new = benchmark_json(tmp_path / "new.json", {"a": 0.1}, machine_info=other)
    assert bench("compare", base, new) == 2
    assert "CPU: Some CPU against Other CPU" in capsys.readouterr().err
    assert bench("compare", base, new, "--allow-different-environment") == 3


def test_a_run_and_benchmarks_have_nothing_in_common(tmp_path: Path):
    run = run_folder(tmp_path / "run", quality({"style_loss": 0.1}))
    file = benchmark_json(tmp_path / "b.json", {"a": 0.1})
    assert bench("compare", run, file, "--allow-different-environment") == 2

"""Several runs in one report: what may be laid over each other, what is refused, what is shown."""

import csv
import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from reports_data import SIZES, frame, latency_ms, pictures
from reports_data import performance as cell
from reports_data import quality as quality_cell

from bench.cli import app
from bench.errors import UserError
from bench.record import Record
from bench.run.records import write_record
from distill.command_line import run_app
from reports.comparable import Run
from reports.latex import snippet
from reports.reading import read_results
from reports.report import write_report
from reports.results import Results
from reports.runs import overlay
from reports.runs_table import runs_table
from reports.summary import findings
from reports.tables import all_tables

XEON = {
    "device": "cpu",
    "cpu": "Intel(R) Xeon(R) Processor",
    "cpu_usable_cores": 2,
    "python": "3.11.7",
    "torch": "2.15.0+cpu",
    "code_version": "0.1.0+aaaaaaaaaa",
    "git_commit": "aaaaaaaaaa",
}
EPYC = XEON | {"cpu": "AMD EPYC 9654 96-Core Processor", "cpu_usable_cores": 96}
CARD = XEON | {"device": "cuda:0", "gpu": "NVIDIA A100", "cudnn": 9, "torch": "2.15.0+cu132"}
NEXT = XEON | {"code_version": "0.1.0+bbbbbbbbbb", "git_commit": "bbbbbbbbbb"}
SCENARIO: dict[str, Any] = {
    "name": "ultrares",
    "models": ["wct-vgg16-16x"],
    "memory_cap": ["12GB"],
    "measure": {"warmup": 2, "processes": 1},
    "quality": {"resolution": "512x512", "max_pairs": 2},
}
MODELS = ("wct-vgg16-1x", "wct-vgg16-16x")


def records(device: str = "cpu", speed: float = 1.0, pairs: int = 2) -> list[dict[str, Any]]:
    made = [cell(m, SIZES[s], device=device) for m in MODELS for s in ("512x512", "1MP")]
    for one in made:
        one["latency_ms"] = latency_ms("wct", one["ratio"], one["megapixels"]) / speed
        one["latency_ci_low_ms"] = one["latency_ci_high_ms"] = None
    return made + [quality_cell(model, pairs=pairs, device=device) for model in MODELS]


def run(
    name: str,
    environment: dict[str, Any] = XEON,
    scenario: dict[str, Any] = SCENARIO,
    made: list[dict[str, Any]] | None = None,
) -> Run:
    return Run(Path(name), frame(records() if made is None else made), environment, scenario)


def together(*runs: Run, **options: Any) -> Results:
    found = overlay(runs, Path("out"), **options)
    return read_results(found.frame, found.labels)


def refusal(*runs: Run) -> str:
    with pytest.raises(UserError) as caught:
        overlay(runs, Path("out"))
    overlay(runs, Path("out"), allow_mixed=True)
    assert all("\n" not in problem for problem in caught.value.problems)
    return str(caught.value)


# ----------------------------------------------------------------------------------- what compares


def test_two_machines_compare_and_are_named_by_what_they_are() -> None:
    found = overlay([run("a"), run("b", EPYC)], Path("out"))
    assert found.labels == ("Intel Xeon", "AMD EPYC 9654 96-Core")
    (words,) = found.compared
    assert "another machine" in words
    assert "CPU: Intel(R) Xeon(R) Processor against AMD EPYC" in words
    assert "usable CPU cores: 2 against 96" in words
    assert found.mixed == ()


def test_a_cpu_and_a_gpu_compare_whatever_only_one_of_them_has() -> None:
    # a build of one version for CUDA is the machine's doing
    found = overlay([run("a"), run("b", CARD, made=records("cuda:0"))], Path("out"))
    assert found.labels == ("Intel Xeon", "NVIDIA A100")


def test_two_commits_compare_and_are_named_by_them() -> None:
    found = overlay([run("a"), run("b", NEXT)], Path("out"))
    assert found.labels == ("aaaaaaaaaa", "bbbbbbbbbb")
    assert "other code" in found.compared[0]


def test_two_versions_of_pytorch_compare() -> None:
    found = overlay([run("a"), run("b", XEON | {"torch": "2.14.0+cpu"})], Path("out"))
    assert found.labels == ("PyTorch 2.15.0+cpu", "PyTorch 2.14.0+cpu")


def test_runs_that_differ_in_nothing_are_named_by_their_folders() -> None:
    found = overlay([run("x/a"), run("y/a")], Path("out"))
    assert found.labels == ("x/a", "y/a")
    assert "nothing that was recorded" in found.compared[0]


def test_two_differences_at_once_are_refused() -> None:
    text = refusal(run("a"), run("b", EPYC | {"code_version": "0.1.0+bbbbbbbbbb"}))
    assert "machine (CPU: " in text
    assert "code (code version: 0.1.0+aaaaaaaaaa against 0.1.0+bbbbbbbbbb)" in text
    assert "--allow-mixed" in text
    # also if each run differs from the first in one
    assert "code and machine differ" in refusal(run("a"), run("b", EPYC), run("c", NEXT))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"memory_cap": ["4GB"]}, "memory_cap: 12GB against 4GB"),
        ({"measure": {"warmup": 5, "processes": 1}}, "measure.warmup: 2 against 5"),
        ({"quality": {"resolution": "256x256"}}, "quality.resolution: 512x512 against 256x256"),
    ],
)
def test_settings_that_differ_are_refused_by_name(change: dict[str, Any], words: str) -> None:
    assert words in refusal(run("a"), run("b", NEXT, SCENARIO | change))


def test_dimensions_repetitions_and_unknown_keys_may_differ() -> None:
    changed = SCENARIO | {
        "name": "other",
        "models": ["adain-vgg16-16x"],
        "measure": {"warmup": 2, "processes": 5, "cooling": "1s"},
    }
    found = overlay([run("a"), run("b", NEXT, changed)], Path("out"))
    assert found.mixed == ()
    assert found.scenario["name"] == "ultrares and other"
    assert found.scenario["bbbbbbbbbb"]["models"] == ["adain-vgg16-16x"]


def test_other_image_pairs_are_refused_with_an_example() -> None:
    text = refusal(run("a"), run("b", NEXT, made=records(pairs=3)))
    assert "image pairs: 0 of 2 against 1 of 3 are not in the other" in text
    assert "photo-2.jpg with painting-2.jpg" in text


def test_the_same_pictures_in_other_folders_are_the_same_pairs() -> None:
    moved = records()
    for made in moved:
        for pair in made["per_pair"] or []:
            pair["content"], pair["style"] = f"/data/{pair['content']}", f"/data/{pair['style']}"
    overlay([run("a"), run("b", EPYC, made=moved)], Path("out"))


def test_other_definitions_of_a_metric_are_refused() -> None:
    def defined(words: str) -> list[dict[str, Any]]:
        extra = {"quality_definitions": {"lpips": words}}
        return [made | extra if made["kind"] == "quality" else made for made in records()]

    text = refusal(run("a", made=defined("of Alex")), run("b", NEXT, made=defined("of VGG")))
    assert "definition of lpips: of Alex against of VGG" in text


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["one"], "1 label (one) for 2 runs"),
        (["one", ""], "a label is empty"),
        (["one", "one"], "two of one, one are the same"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: list[str], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        overlay([run("a"), run("b", EPYC)], Path("out"), labels=labels)


def test_a_run_is_not_compared_with_itself() -> None:
    with pytest.raises(UserError, match="given twice"):
        overlay([run("a"), run("b/../a")], Path("out"))


# ------------------------------------------------------------------------------------ what is shown


def test_series_carry_the_run_and_compare_within_it() -> None:
    results = together(run("a"), run("b", EPYC, made=records(speed=2.0)), labels=["old", "new"])
    labels = [one.label for one in results.performance]
    assert labels == [f"{model} ({name})" for model in MODELS for name in ("old", "new")]
    assert [one.line for one in results.performance] == ["old", "new"] * 2
    # speed-up is against ratio 1 of the same run
    (table,) = [table for table in all_tables(results) if table.name == "models"]
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    gains = {row["run"]: float(row["speed_up"]) for row in rows if row["speed_up"]}
    assert gains["old"] == pytest.approx(gains["new"]) == pytest.approx(16**0.7, rel=1e-5)


def test_devices_of_several_runs_are_drawn_in_one_picture() -> None:
    results = together(run("a"), run("b", CARD, made=records("cuda:0")), labels=["cpu", "gpu"])
    assert {one.facet for one in results.performance} == {""}
    assert {one.line for one in results.performance} == {"cpu", "gpu"}


def test_cells_of_one_id_on_two_machines_are_not_repeats_of_each_other() -> None:
    results = together(run("a"), run("b", EPYC, made=records(speed=2.0)))
    assert [len(one.ok) for one in results.performance] == [2, 2, 2, 2]
    old, new = (one.ok[0].latency_ms for one in results.performance[:2])
    assert old == pytest.approx(2 * (new or 0))


def test_the_runs_table_has_each_shared_cell_once() -> None:
    fewer = [made for made in records(speed=2.0) if made["width"] != 512 or made["ratio"] == 16]
    results = together(run("a"), run("b", EPYC, made=fewer), labels=["old", "new_1"])
    rows = list(csv.DictReader(io.StringIO(runs_table(results).csv())))
    assert [(row["model"], row["width"]) for row in rows] == [
        ("wct-vgg16-1x", "1152"),
        ("wct-vgg16-16x", "512"),
        ("wct-vgg16-16x", "1152"),
    ]
    assert [float(row["speed_up_2"]) for row in rows] == pytest.approx([2, 2, 2])
    assert [float(row["memory_reduction_2"]) for row in rows] == pytest.approx([1, 1, 1])
    assert "Speed-up, new\\_1" not in runs_table(results).markdown()  # literal between letters
    assert r"new\_1" in snippet(runs_table(results))
    heading, sentences = findings(results)[0]
    assert heading == "Runs against each other"
    assert sentences == [
        "**new_1** against **old**: 2.00 times as fast in the median of 3 cells that both "
        "measured, with the same peak memory."
    ]


def test_peaks_of_different_counters_have_no_quotient() -> None:
    results = together(run("a"), run("b", CARD, made=records("cuda:0")))
    for row in csv.DictReader(io.StringIO(runs_table(results).csv())):
        assert row["speed_up_2"]
        assert row["memory_reduction_2"] == ""


def test_runs_without_a_common_cell_say_so() -> None:
    other = [cell("adain-vgg16-16x", SIZES["1MP"])]
    results = together(run("a"), run("b", EPYC, made=other))
    assert runs_table(results).markdown() == "No cell was measured by more than one run.\n"
    assert findings(results)[0][1] == ["No cell was measured by more than one run."]


def test_a_run_without_a_record_does_not_stop_the_others() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = together(run("a"), run("b", EPYC, made=[]))
    assert len(results.records) == len(records())
    assert runs_table(results).rows == ()


def test_three_runs_have_a_column_each(tmp_path: Path) -> None:
    runs = [run("a"), run("b", made=records(speed=2.0)), run("c", made=records(speed=4.0))]
    found = overlay(runs, tmp_path)
    paths = write_report(
        tmp_path, found.frame, found.environment, found.scenario, overlay=found, formats=["csv"]
    )
    (path,) = [path for path in paths if path.name == "runs.csv"]
    for row in csv.DictReader(path.open(encoding="utf-8")):
        assert float(row["speed_up_2"]) == pytest.approx(2, rel=1e-5)
        assert float(row["speed_up_3"]) == pytest.approx(4, rel=1e-5)


def test_what_was_mixed_on_request_is_said_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.report.write_figures", lambda results, run_dir, **_: [])
    both = [run("a"), run("b", EPYC, SCENARIO | {"memory_cap": ["4GB"]})]
    found = overlay(both, tmp_path, allow_mixed=True)
    write_report(
        tmp_path, found.frame, found.environment, found.scenario, overlay=found, formats=["md"]
    )
    head = (tmp_path / "report.md").read_text("utf-8").split("## ")[0]
    assert "Mixed on request" in head
    assert "12GB against 4GB" in head


# --------------------------------------------------------------------------------- the command line


def folder(
    path: Path, made: list[dict[str, Any]], environment: dict[str, Any] = XEON, **more: Any
) -> Path:
    """A run folder with these records."""
    (path / "cells").mkdir(parents=True)
    (path / "scenario.yaml").write_text(yaml.safe_dump(SCENARIO | more))
    (path / "environment.json").write_text(json.dumps(environment))
    for number, record in enumerate(made):
        write_record(path, Record(**{**record, "id": f"{number:012d}"}))
    pictures(path, made)
    return path


def report(*arguments: object) -> int:
    return run_app(app, "bench", ["report", *map(str, arguments)])


def test_the_command_lays_runs_over_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [folder(tmp_path / "a", records()), folder(tmp_path / "b", records(speed=2.0), EPYC)]
    before = [sorted(path.rglob("*")) for path in paths]
    out = tmp_path / "both"
    assert report(*paths, "--out", out, "--labels", "here, there", "--formats", "csv") == 0
    printed = capsys.readouterr().out
    assert f"here: {paths[0]}" in printed
    assert str(out) in printed
    rows = list(csv.DictReader((out / "tables/pairs.csv").open(encoding="utf-8")))
    assert {row["run"] for row in rows} == {"here", "there"}
    # pictures stay where they are, and are found from there
    assert all((out / row["image"]).resolve().is_file() for row in rows)
    assert [sorted(path.rglob("*")) for path in paths] == before


def test_a_report_elsewhere_finds_its_pictures(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", records())
    assert report(path, "--out", tmp_path / "deep/er", "--formats", "csv") == 0
    rows = list(csv.DictReader((tmp_path / "deep/er/tables/pairs.csv").open(encoding="utf-8")))
    assert all((tmp_path / "deep/er" / row["image"]).resolve().is_file() for row in rows)
    assert not (path / "tables").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{a}", "--formats", "htm,latx"], ["'htm'", "did you mean 'html'", "'latx'", "'latex'"]),
        (["{a}", "--formats", ","], ["names no format", "html, md, latex, csv, parquet"]),
        (["{a}x"], ["no such run folder"]),
        (["{a}", "--labels", "x"], ["go with several runs"]),
        (["{a}", "{a}"], ["given twice"]),
        (["{a}", "{b}"], ["memory_cap: 12GB against 1GB", "--allow-mixed"]),
        (["{a}", "{c}", "--out", "{a}"], ["is a run's own folder"]),
        (["{a}", "{c}", "--out", "{full}"], ["not empty and holds no report"]),
        (["{a}", "{c}", "--out", "{full}/notes"], ["is a file"]),
        (["{bad}"], ["environment.json", "cannot be read"]),
        (["{foreign}"], ["none of 1 records can be read", "schema_version is 99"]),
    ],
)
def test_bad_input_is_one_line_for_each_problem(
    arguments: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [cell("wct-vgg16-16x", SIZES["1MP"])]
    folder(tmp_path / "a", made)
    folder(tmp_path / "b", made, NEXT, memory_cap=["1GB"])
    folder(tmp_path / "c", made, NEXT)
    folder(tmp_path / "bad", made)
    (tmp_path / "bad/environment.json").write_text("{")
    foreign = folder(tmp_path / "foreign", made) / "cells/000000000000-0.json"
    foreign.write_text(foreign.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes").write_text("mine")
    names = {name: tmp_path / name for name in ("a", "b", "c", "bad", "full", "foreign")}
    before = sorted(tmp_path.rglob("*"))
    assert report(*(argument.format(**names) for argument in arguments)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("bench: ") for line in lines)
    assert all(word in " ".join(lines) for word in words)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_run_gives_a_report_that_says_so(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", [])
    assert report(path, "--formats", "md,latex,csv,parquet") == 0
    assert "This run is empty" in (path / "report.md").read_text("utf-8")

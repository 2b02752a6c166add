"""Outputs of a comparison: terminal, Markdown, JUnit XML, JSON, and the exit code."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from rich.console import Console

from bench.cli import app
from bench.compare.comparison import compare
from bench.compare.load import load_side
from bench.compare.markdown import LONGEST, markdown
from bench.compare.metrics import chosen
from bench.compare.result import Comparison, Limits, json_text
from bench.compare.terminal import plain, render
from bench.compare.text import rows
from distill.command_line import run_app
from tests.unit.compare_data import (
    SIZES,
    ci_run,
    latencies,
    performance,
    quality,
    run_folder,
)

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = DOCS / "compare.schema.json"


def bench(*arguments: object) -> int:
    return run_app(app, "bench", [str(argument) for argument in arguments])


def mixed(path: Path, *, after: bool) -> Path:
    """Regression, improvement, inconclusive, unchanged, out of memory, and quality."""
    factors = {"slow": 1.25, "fast": 0.7, "same": 1.0, "noisy": 1.02} if after else {}
    records: list[dict[str, Any]] = []
    for n, name in enumerate(("slow", "fast", "same", "noisy"), start=1):
        spread = 0.2 if name == "noisy" else 0.01
        times = latencies(100 * n, factors.get(name, 1.0), spread=spread)
        records += performance((64 * n, 64), times)
    failed = {
        "status": "out_of_memory",
        "reason_code": "host_allocator",
        "reason": "no <room> | `x`",
    }
    records += performance((4096, 4096), [900.0], **(failed if after else {}))
    records += quality({"style_loss": 0.02 if after else 0.019, "psnr_teacher": float("inf")})
    return run_folder(path, records)


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    metrics, judge_quality = chosen(())
    sides = [mixed(tmp_path / name, after=name == "new") for name in ("base", "new")]
    return compare(
        *(load_side(side, baselines=tmp_path) for side in sides),
        limits=Limits(),
        metrics=metrics,
        quality=judge_quality,
    )


def test_the_table_has_the_gravest_first_and_leaves_out_the_unchanged(comparison: Comparison):
    lines = plain(comparison).splitlines()
    verdicts = re.compile("regression|inconclusive|improvement|not comparable|unchanged")
    told = [found[0] for line in lines[:-1] if (found := verdicts.match(line))]
    assert told == ["regression"] * 3 + ["inconclusive"] + ["improvement"]
    assert "out of memory" in lines[lines.index("") + 2]
    assert lines[-1] == (
        "regression: 6 cells, 3 regressed, 1 inconclusive, 1 improved, 1 unchanged"
    )
    assert len(plain(comparison, everything=True).splitlines()) > len(lines)
    assert max(map(len, lines)) <= 160


def test_a_narrow_terminal_has_every_word_unbroken(comparison: Comparison):
    narrow = Console(width=72, color_system=None, file=io.StringIO())
    with narrow.capture() as capture:
        narrow.print(render(comparison, width=72))
    text = " ".join(capture.get().split())
    for row in rows(comparison):
        if row.verdict != "unchanged":
            assert f"{row.metric} {row.base} to {row.new}" in text
            assert row.reason in text


def test_what_disturbed_a_measurement_is_noted(tmp_path: Path):
    def run(name: str, conditions: list[str]) -> Path:
        records = performance(SIZES[0], latencies(10))
        for number, record in enumerate(records):
            record["conditions"] = conditions if number < 3 else []
        return run_folder(tmp_path / name, records)

    sides = run("quiet", ["power_capped"]), run("busy", ["shared", "clock_changed"])
    target = tmp_path / "out.md"
    assert bench("compare", *sides, "--output", target) == 0
    (note,) = [line for line in target.read_text().splitlines() if "disturbance" in line]
    # a card at its power limit is as it always is
    assert note.endswith(
        "disturbance: 0 of 5 processes of the base; 3 of 5 processes of the new side (shared, "
        "clock changed)"
    )


def test_markdown_folds_what_is_unchanged_and_means_only_what_it_shows(comparison: Comparison):
    text = markdown(comparison)
    before, _, folded = text.partition("<details>")
    assert text.startswith("### bench compare: regression: 6 cells")
    assert "**Regression**" in before and "**Improvement**" in before
    assert "<summary>Unchanged: " in "<details>" + folded
    assert text.count("<details>") == text.count("</details>")
    # what a reason holds is text, not markup
    assert r"no &lt;room&gt; \| \`x\`" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_markdown_of_any_size_fits_a_comment_and_says_what_it_leaves_out(tmp_path: Path):
    sizes = [(16 * n, 16) for n in range(1, 150)]

    def run(name: str, factor: float) -> Path:
        records = [r for s in sizes for r in performance(s, [10.0], memory_mb=100 * factor)]
        return run_folder(tmp_path / name, records)

    target = tmp_path / "comment.md"
    assert bench("compare", run("base", 1.0), run("new", 1.5), "--output", target) == 1
    text = target.read_text()
    assert len(text) <= LONGEST
    left_out = int(re.search(r"(\d+) rows are left out", text)[1])  # type: ignore[index]
    rows = [line for line in text.splitlines() if re.match(r"\| (?!cell|---)", line)]
    assert len(rows) + left_out == 4 * len(sizes)
    assert "+50.0\u00a0%" in rows[0]


def test_junit_has_a_case_for_each_cell(comparison: Comparison, tmp_path: Path):
    target = tmp_path / "junit.xml"
    assert bench("compare", tmp_path / "base", tmp_path / "new", "--output", target) == 1
    suite = ElementTree.parse(target).getroot().find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [cell.label for cell in comparison.cells]
    assert len(suite.findall("testcase/failure")) == int(suite.attrib["failures"]) == 3
    assert len(suite.findall("testcase/skipped")) == int(suite.attrib["skipped"]) == 1
    assert int(suite.attrib["tests"]) == len(cases) == 6
    failures = [case for case in cases if case.find("failure") is not None]
    types = {case.find("failure").get("type") for case in failures}  # type: ignore[union-attr]
    assert types == {"now_failing", "slower", "worse"}
    # said once, or a report shows it twice
    assert all(case.find("system-out") is None for case in failures)


def test_junit_of_names_that_xml_does_not_allow(tmp_path: Path):
    def odd(path: Path, factor: float) -> Path:
        records = performance(SIZES[0], latencies(10, factor))
        reason = "\x00\x1b[31m<&\ud800\uffff\U0001f600"
        records += performance(SIZES[1], [1.0], status="crashed", reason=reason)
        return run_folder(path, records)

    target = tmp_path / "junit.xml"
    sides = odd(tmp_path / "a", 1.0), odd(tmp_path / "b", 1.0)
    assert bench("compare", *sides, "--partial", "--output", target) == 0
    ElementTree.parse(target)


def test_json_is_as_documented(comparison: Comparison):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    found = json.loads(json_text(comparison))
    jsonschema.validate(found, schema)
    assert (found["format"], found["schema_version"]) == ("ultrastyle-bench comparison", 2)
    assert found["exit_code"] == 1
    finding = found["cells"][1]["findings"][0]
    assert {"metric", "base", "new", "change", "verdict", "code", "reason"} <= finding.keys()
    assert Comparison.model_validate(found) == comparison


def test_the_documented_schema_is_that_of_the_code():
    expected = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Comparison.model_json_schema(mode="serialization"),
    }
    assert json.loads(SCHEMA.read_text()) == expected


def test_every_code_is_explained():
    codes = json.loads(SCHEMA.read_text())["$defs"]["Finding"]["properties"]["code"]["enum"]
    explained = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "compare.md").read_text(), re.MULTILINE))
    assert set(codes) == explained


def test_formats_are_printed_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base, new = mixed(tmp_path / "base", after=False), mixed(tmp_path / "new", after=True)
    assert bench("compare", base, new, "--format", "json") == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "regression"
    targets = [tmp_path / f"result{end}" for end in (".json", ".md", ".xml", ".txt")]
    outputs = [part for target in targets for part in ("--output", target)]
    assert bench("compare", base, new, *outputs) == 1
    assert "regression: 6 cells" in capsys.readouterr().out
    assert [target.read_text()[:5] for target in targets] == ['{\n "f', "### b", "<?xml", "base:"]


def test_an_ending_says_what_a_file_is_and_the_format_what_one_without_is(tmp_path: Path):
    base, new = mixed(tmp_path / "base", after=False), mixed(tmp_path / "new", after=True)
    junit, other = tmp_path / "junit.xml", tmp_path / "comment"
    assert bench("compare", base, new, "--format", "md", "--output", junit) == 1
    assert bench("compare", base, new, "--format", "md", "--output", other) == 1
    assert [path.read_text()[:5] for path in (junit, other)] == ["<?xml", "### b"]


def test_a_link_stays_and_its_target_is_written(tmp_path: Path):
    run = ci_run(tmp_path / "run")
    (tmp_path / "deep").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "deep/result.json")
    assert bench("compare", run, run, "--output", tmp_path / "link.json") == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "deep/result.json").read_text())["verdict"] == "unchanged"


def test_every_format_says_what_was_compared_and_junit_skips_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    end = {"status": "timeout", "reason_code": "time_limit", "reason": "stopped after 9 s"}
    lost = {"latency_ms": None, "peak_rss_growth_mb": None}
    runs = []
    for name in ("base", "new"):
        records = performance(SIZES[0], latencies(10))
        records += performance(SIZES[1], [1.0], **end, **lost)
        runs.append(run_folder(tmp_path / name, records))
    targets = [tmp_path / f"out{ending}" for ending in (".txt", ".json", ".md", ".xml")]
    outputs = [part for target in targets for part in ("--output", target)]
    assert bench("compare", *runs, *outputs) == 3
    line = "compared 1 of 2 cells; 1 not measured on either side (1 timeout)"
    for text in [capsys.readouterr().out, *(target.read_text() for target in targets)]:
        assert line in text
    suite = ElementTree.fromstring(targets[3].read_text())
    assert (suite.get("skipped"), suite.get("failures"), suite.get("tests")) == ("1", "0", "2")
    assert len(suite.findall(".//testcase/skipped")) == 1
    assert json.loads(targets[1].read_text())["coverage"]["why"] == {"timeout": 1}


@pytest.mark.parametrize("format_", ["text", "json"])
def test_files_and_exit_code_need_no_reader_of_what_is_printed(tmp_path: Path, format_: str):
    base, new = mixed(tmp_path / "base", after=False), mixed(tmp_path / "new", after=True)
    code = "from bench.cli import main; main()"
    command = [sys.executable, "-c", code, "compare", str(base), str(new), "--format", format_]
    reader, writer = os.pipe()
    os.close(reader)
    extra = ["--output", str(tmp_path / "result.json")] if format_ == "text" else []
    done = subprocess.run([*command, *extra], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
    assert (tmp_path / "result.json").exists() == bool(extra)


def test_a_disk_that_refuses_is_the_environments_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = ci_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    assert bench("compare", run, run, "--output", tmp_path / "file" / "result.json") == 4
    assert "cannot be written" in capsys.readouterr().err

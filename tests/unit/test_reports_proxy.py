"""The proxy of a user study, in reports and on the terminal: only where it can be had."""

import json
import math
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from reports_data import frame, pictures
from reports_data import quality as quality_cell

from bench.cli import app
from bench.record import Record
from bench.run.records import write_record
from bench.study.proxy import proxy_sensitivity
from distill.command_line import run_app
from reports.proxy_study import proxy_losses, proxy_study, turning
from reports.reading import read_results
from reports.report import write_report

ODD = "wct-vgg16-16x:/x/$we|ird_名_^2$"
LINKED = "wct-vgg16-16x:/y/b [x](y) \x1b[31mred\n`_"
TABLES = {f"tables/preference_proxy.{suffix}" for suffix in ("csv", "md", "tex")}
FORMATS = ("csv", "md", "latex")
FIGURES = {f"figures/preference_proxy.{suffix}" for suffix in ("png", "pdf", "svg")}
HEADING = "<summary>Preference (a proxy)</summary>"


def cell(model: str, style: float = 1.0, content: float = 1.0, **fields: Any) -> dict[str, Any]:
    """A quality record of three pairs whose losses are these factors of the pair's own."""
    made = quality_cell(model, pairs=3, **fields)
    for number, pair in enumerate(made["per_pair"] or []):
        pair["style_loss"] = 0.1 * style * (1 + number)
        pair["content_loss"] = 2.0 * content * (1 + number)
    return made


def without(record: dict[str, Any], key: str, pairs: tuple[int, ...] = (0, 1, 2)) -> dict[str, Any]:
    for number in pairs:
        record["per_pair"][number][key] = math.nan
    return record


def elsewhere(record: dict[str, Any]) -> dict[str, Any]:
    """The record with other contents."""
    for pair in record["per_pair"]:
        pair["content"] = f"other-{pair['content']}"
    return record


def report(folder: Path, records: list[dict[str, Any]]) -> tuple[set[str], str]:
    """Names of the files that a report writes about preferences, and its text."""
    pictures(folder, records)
    paths = write_report(folder, frame(records), {}, {"name": "x"}, formats=FORMATS)
    names = {str(path.relative_to(folder)) for path in paths}
    return {name for name in names if "preference" in name}, (folder / "report.md").read_text(
        "utf-8"
    )


def section(text: str) -> str:
    return text[text.index(HEADING) :].split("</details>")[0]


def run_folder(folder: Path, records: list[dict[str, Any]]) -> str:
    """A run folder with these records, as the command line takes it."""
    (folder / "cells").mkdir()
    (folder / "scenario.yaml").write_text("name: x\n")
    (folder / "environment.json").write_text("{}\n")
    for number, record in enumerate(records):
        write_record(folder, Record(**{**record, "id": f"{number:012d}"}))
    return str(folder)


def proxy_command(*arguments: str) -> int:
    return run_app(app, "bench", ["study", "proxy", *arguments])


@pytest.fixture(autouse=True)
def no_other_figures(monkeypatch):
    """Reports without the figures that are not about preferences: they take seconds to draw."""
    monkeypatch.setattr("reports.report.write_figures", lambda results, run_dir, **options: [])


TWO = (cell("wct-vgg16-1x"), cell("wct-vgg16-16x", 3.0, 2.0))
NOTHING = {
    "one model": [cell("wct-vgg16-1x")],
    "one with trained weights": [cell("wct-vgg16-1x"), cell("wct-vgg16-4x")],
    "no style loss": [without(cell(m), "style_loss") for m in ("wct-vgg16-1x", "wct-vgg16-16x")],
    "no content loss of one": [
        cell("wct-vgg16-1x"),
        without(cell("wct-vgg16-16x"), "content_loss"),
    ],
    "other pairs": [cell("wct-vgg16-1x"), elsewhere(cell("wct-vgg16-16x"))],
    "other size": [cell("wct-vgg16-1x"), cell("wct-vgg16-16x", width=256)],
    "other network": [cell("wct-vgg16-1x"), cell("wct-vgg16-16x") | {"quality_network": "other"}],
    "one crashed": [cell("wct-vgg16-1x"), cell("wct-vgg16-16x", status="crashed", reason="R")],
}


# ------------------------------------------------------------------------------------------ report


def test_a_report_of_two_models_has_the_proxy_with_its_parameters(tmp_path):
    names, text = report(tmp_path, list(TWO))
    assert names == TABLES | FIGURES
    found = section(text)
    assert "nobody was asked" in found
    assert "2 methods on 3 image pairs" in found
    for parameter in ("40 simulated raters", "mean 0.5", "noise 0.4", "0.01 (style)", "seed 0"):
        assert parameter in found
    # medians over methods of medians over pictures: pair 2, factors 1 and 3 or 1 and 2
    assert "style loss of 0.400 and a content loss of 6.00" in found
    links = re.findall(r"\]\(([^)\s]+)\)", found)
    assert {Path(link).stem for link in links} == {"preference_proxy"}
    assert all((tmp_path / link).is_file() for link in links)


def test_the_better_model_comes_first_and_has_its_full_name_in_the_csv(tmp_path):
    path = "wct-vgg16-16x:/some/where/students"
    report(tmp_path, [cell("wct-vgg16-16x", 3.0, 2.0), cell(path)])
    table = pd.read_csv(tmp_path / "tables/preference_proxy.csv")
    assert table["method"].tolist() == [path, "wct-vgg16-16x"]
    assert table["proxy_preferred_percent"].is_monotonic_decreasing
    markdown = (tmp_path / "tables/preference_proxy.md").read_text("utf-8")
    assert "wct-vgg16-16x:students" in markdown
    assert "/some" not in markdown


@pytest.mark.parametrize("name", NOTHING)
def test_where_no_two_methods_compare_there_is_no_proxy(name):
    assert proxy_study(read_results(frame(NOTHING[name]))) is None


def test_a_report_of_one_model_says_nothing_of_it(tmp_path):
    names, text = report(tmp_path, NOTHING["one model"])
    assert names == set()
    assert "roxy" not in text


def test_settings_of_one_model_are_methods_of_their_own():
    settings = [{"precision": p, "alpha": a} for p in ("fp32", "fp16") for a in (0.5, 1.0)]
    records = [
        cell("adain-vgg16-16x", **setting, id=f"{number}")
        for number, setting in enumerate(settings)
    ]
    known = proxy_losses(read_results(frame(records)))
    assert known.methods == [
        f"adain-vgg16-16x ({precision}, alpha {alpha})"
        for precision in ("fp16", "fp32")
        for alpha in ("0.5", "1")
    ]


def test_settings_that_read_the_same_stay_apart():
    alphas = (0.50001, 0.50002)
    records = [cell("adain-vgg16-16x", alpha=a, id=str(a)) for a in alphas]
    known = proxy_losses(read_results(frame(records)))
    assert len(known.methods) == 2
    assert len(known.losses) == 6


def test_what_is_left_out_is_said():
    records = [
        *TWO,
        without(cell("adain-vgg16-1x"), "style_loss"),
        without(cell("adain-vgg16-16x"), "content_loss", (1,)),
        cell("wct-vgg16-1x:/z/small", width=64, id="small"),
        elsewhere(cell("wct-vgg16-1x:/z/lonely", id="lonely")),
    ]
    found = proxy_study(read_results(frame(records)))
    assert found is not None
    text = " ".join(found.sentences)
    assert "3 methods on 3 image pairs" in text
    assert "Left out: adain-vgg16-1x: no picture with a finite" in text
    assert "Left out: 1 picture of adain-vgg16-16x: no finite" in text
    assert "Left out: wct-vgg16-1x:small: its losses are of another size" in text
    assert "(64x512" in text
    assert "Left out: wct-vgg16-1x:lonely: no image pair in common" in text


def test_names_of_any_characters_stay_in_their_cells(tmp_path):
    records = [cell(ODD), cell(LINKED, 2.0), cell("adain-vgg16-16x", 3.0)]
    names, text = report(tmp_path, records)
    assert names == TABLES | FIGURES
    rows = [line for line in section(text).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert "\x1b" not in text
    assert "[x](y)" not in section(text)
    table = pd.read_csv(StringIO((tmp_path / "tables/preference_proxy.csv").read_text("utf-8")))
    assert set(table["method"]) == {ODD, LINKED, "adain-vgg16-16x"}


def test_losses_that_cannot_be_put_in_proportion_are_explained(tmp_path):
    names, text = report(tmp_path, [cell("wct-vgg16-1x", 0.0), cell("wct-vgg16-16x", 0.0)])
    assert names == set()
    assert "No preference: proxy: the ordinary style_loss of the study is 0" in section(text)
    assert "(figures/preference_proxy" not in text


def test_a_trade_is_called_one_of_the_weights_and_a_better_model_is_not():
    trade = [cell("wct-vgg16-1x", 1.0, 3.0), cell("wct-vgg16-16x", 3.0, 1.0)]
    found = proxy_study(read_results(frame(trade)))
    assert found is not None
    assert any(
        "winner of 1 of 1 comparison changes" in sentence
        and "wct-vgg16-16x against wct-vgg16-1x" in sentence
        for sentence in found.sentences
    )
    found = proxy_study(read_results(frame(list(TWO))))
    assert found is not None
    assert any("winner of no comparison changes" in sentence for sentence in found.sentences)


@pytest.mark.parametrize(("factor", "turns"), [(1 + 1e-6, False), (3.0, True)])
def test_rounding_errors_turn_no_winner(factor, turns):
    records = [cell("wct-vgg16-1x", 1.0, factor), cell("wct-vgg16-16x", factor, 1.0)]
    losses = proxy_losses(read_results(frame(records))).losses
    assert bool(turning(proxy_sensitivity(losses))) is turns


def test_the_order_of_the_records_changes_nothing(tmp_path):
    for name, records in (("one", TWO), ("other", TWO[::-1])):
        (tmp_path / name).mkdir()
        report(tmp_path / name, list(records))
    for name in sorted(TABLES | FIGURES):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_proxy_that_a_run_has_no_longer_is_removed_and_nothing_else(tmp_path):
    report(tmp_path, list(TWO))
    kept = [tmp_path / "figures" / name for name in ("preference.png", "preference_proxy.txt")]
    for path in kept:
        path.write_text("of somebody else")
    names, _ = report(tmp_path, [TWO[0]])
    assert not names & (TABLES | FIGURES)
    assert not [name for name in sorted(TABLES | FIGURES) if (tmp_path / name).exists()]
    assert all(path.is_file() for path in kept)


# ---------------------------------------------------------------------------------------- terminal


def test_the_command_gives_the_numbers_of_the_report(tmp_path, capsys):
    run = run_folder(tmp_path, list(TWO))
    assert proxy_command(run) == 0
    shown = capsys.readouterr().out
    assert run_app(app, "bench", ["report", run]) == 0
    for row in pd.read_csv(tmp_path / "tables/preference_proxy.csv").to_dict("records"):
        line = next(line for line in shown.splitlines() if line.startswith(f"{row['method']} "))
        assert f"{row['proxy_preferred_percent']:.1f} %" in line
        assert f"{row['proxy_strength']:+.2f}" in line
    report_text = (tmp_path / "report.md").read_text("utf-8")
    raters = re.search(r"40 simulated raters.*content loss of [\d.]+\d", shown)
    assert raters
    assert raters.group() in report_text


def test_everything_the_command_prints_is_called_a_proxy(tmp_path, capsys):
    assert proxy_command(run_folder(tmp_path, list(TWO)), "--sensitivity") == 0
    blocks = capsys.readouterr().out.strip().split("\n\n")
    assert len(blocks) == 5
    assert all("proxy" in block for block in blocks)


def test_sensitivity_runs_from_content_alone_to_style_alone(tmp_path, capsys):
    trade = [cell("wct-vgg16-1x", 1.0, 3.0), cell("wct-vgg16-16x", 3.0, 1.0)]
    assert proxy_command(run_folder(tmp_path, trade), "--sensitivity") == 0
    last = capsys.readouterr().out.split("at mean weights of style")[1]
    (row,) = [line for line in last.splitlines() if " over " in line]
    rates = [int(word) for word in row.partition("wct-vgg16-1x ")[2].split()[:-1]]
    assert len(rates) == 11
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 50 > rates[-1]
    assert row.split()[-1] == "changes"


def test_options_reach_the_raters(tmp_path, capsys):
    run = run_folder(tmp_path, list(TWO))
    options = ["--style-weight", "0.8", "--raters", "7", "--noise", "0.9", "--seed", "3"]
    assert proxy_command(run, *options) == 0
    out = capsys.readouterr().out
    assert "7 simulated raters, each asked all questions (seed 3)" in out
    assert "mean 0.8" in out
    assert "decision noise 0.9" in out
    # two methods on three pairs
    assert re.search(rf"over .* {7 * 3} *$", out, re.MULTILINE)


def test_names_reach_the_terminal_without_control_characters(tmp_path, capsys):
    assert proxy_command(run_folder(tmp_path, [cell(ODD), cell(LINKED)])) == 0
    out = capsys.readouterr().out
    assert "$we|ird_名_^2$" in out
    assert "b [x](y) red `_" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("name", NOTHING)
def test_the_command_says_in_a_line_what_it_lacks(name, tmp_path, capsys):
    assert proxy_command(run_folder(tmp_path, NOTHING[name])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no two methods to compare" in line
    assert "style_loss and content_loss" in line


@pytest.mark.parametrize(
    "options",
    [
        ("--style-weight", "1.5"),
        ("--style-weight", "nan"),
        ("--noise", "0"),
        ("--raters", "1"),
        ("--raters", "100000000"),
        ("--seed", "-1"),
    ],
)
def test_values_out_of_range_are_a_line_and_exit_code_2(options, tmp_path, capsys):
    assert proxy_command(run_folder(tmp_path, list(TWO)), *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert options[0].removeprefix("--").replace("-", "_") in line.replace("-", "_")


def test_a_folder_that_is_no_run_is_said(tmp_path, capsys):
    assert proxy_command(str(tmp_path)) == 2
    assert "not a run folder" in capsys.readouterr().err


def test_a_damaged_record_hides_no_other(tmp_path, capsys):
    run = run_folder(tmp_path, list(TWO))
    broken = json.dumps({"schema_version": 1})
    (tmp_path / "cells" / "broken-0.json").write_text(broken)
    assert proxy_command(run) == 0
    assert "2 methods" in capsys.readouterr().out

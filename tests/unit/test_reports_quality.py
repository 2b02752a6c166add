"""The quality table: what limits its numbers, what is missing, and what the proxy prefers."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from reports_data import cpu_run, frame, pictures, quality

from bench.quality.distribution import SetFeatures, compute
from bench.quality.set_metrics import SET_METRICS
from reports.latex import snippet
from reports.page.grid import grid
from reports.page.links import RecordIndex
from reports.proxy_study import proxy_study
from reports.quality_remarks import absent_everywhere, is_biased
from reports.quality_table import PREFERRED, quality_table
from reports.reading import read_results
from reports.report import write_report
from reports.summary import findings
from reports.table import Mark, Rank, Table

ODD = r"wct-vgg16-16x:/x/$we|ird_名_^2$ & 100 % <b>"
INCEPTION = "torch's cache has no Inception"


def of(records: list[dict[str, Any]]) -> Table:
    return quality_table(read_results(frame(records)))


def trained(model: str, **fields: Any) -> dict[str, Any]:
    return quality(model, weights="trained", lpips=True) | fields


def remarks(table: Table, *, paper: bool | None = None) -> list[str]:
    return [one.text for one in table.remarks if paper is None or one.paper is paper]


def cells(table: Table, key: str) -> list[tuple[str, Rank | None, Mark | None]]:
    (column,) = [one for one in table.columns if one.key == key]
    return [(cell.text, cell.rank, *(cell.marks or (None,))) for (cell,) in table.cells([column])]


def heads(table: Table) -> list[str]:
    return [str(column.heading) for column in table.shown_columns]


def note_of(metric: str, images: int) -> str:
    """What the suite says of a set of so many images."""
    if images >= 5 * 512:  # enough for its features: it says no more than the sizes
        return f"{images} outputs and {images} styles"
    torch.manual_seed(0)
    sets = [SetFeatures(torch.randn(images, 512), None, (64, 64), (64, 64)) for _ in "ab"]
    return f"{images} outputs and {images} styles; {compute(SET_METRICS[metric], *sets).warning}"


# ------------------------------------------------------------------------------------------- notes


def test_what_limits_a_value_stands_once_beneath_the_table() -> None:
    notes = {"fd_vgg": "4 outputs; mostly bias", "kd_vgg": "4 outputs; rough"}
    models = ("wct-vgg16-1x", "wct-vgg16-16x")
    table = of([trained(m, fd_vgg=1.0, kd_vgg=2.0, quality_notes=notes) for m in models])
    assert remarks(table) == [
        "Fréchet distance (VGG): 4 outputs; mostly bias.",
        "Kernel distance (VGG): 4 outputs; rough.",
    ]
    assert "- Kernel distance (VGG): 4 outputs; rough." in table.markdown()
    assert r"Kernel distance (VGG): 4 outputs; rough." in snippet(table)
    page = grid(table, RecordIndex(read_results(frame([])).records), lambda places: "#")
    assert list(page.remarks) == remarks(table)


def test_a_note_that_is_not_of_all_models_names_its_own() -> None:
    first = trained("wct-vgg16-1x", kd_vgg=1.0, quality_notes={"kd_vgg": "4 outputs"})
    second = trained("wct-vgg16-16x", kd_vgg=1.0, quality_notes={"kd_vgg": "90 outputs"})
    assert remarks(of([first, second])) == [
        "Kernel distance (VGG) (wct-vgg16-1x): 4 outputs.",
        "Kernel distance (VGG) (wct-vgg16-16x): 90 outputs.",
    ]


@pytest.mark.parametrize(("images", "biased"), [(8, True), (600, True), (2560, False)])
def test_a_frechet_distance_of_a_small_set_is_marked_and_never_the_best(
    images: int, biased: bool
) -> None:
    notes = {name: note_of(name, images) for name in ("fd_vgg", "kd_vgg")}
    assert is_biased("fd_vgg", notes) is biased
    assert not is_biased("kd_vgg", notes)
    assert not is_biased("fd_vgg", None)
    values = {"wct-vgg16-1x": 1.0, "wct-vgg16-4x": 2.0, "wct-vgg16-16x": 3.0}
    records = [trained(m, fd_vgg=v, kd_vgg=v, quality_notes=notes) for m, v in values.items()]
    table = of(records)
    found = cells(table, "fd_vgg")
    if biased:
        assert found == [(text, None, Mark.BIASED) for text in ("1.00", "2.00", "3.00")]
        assert "¶ mostly the bias of a small set" in table.markdown()
        assert r"1.00$^{\P}$" in snippet(table)
    else:
        assert {rank for _, rank, _ in found} == {"best", "second", None}
        assert {mark for _, _, mark in found} == {None}
    assert {rank for _, rank, _ in cells(table, "kd_vgg")} == {"best", "second", None}


# ----------------------------------------------------------------------------------------- missing


def test_metrics_that_are_missing_for_one_reason_share_a_line() -> None:
    absent = {"fid": INCEPTION, "kid": INCEPTION, "isc": INCEPTION, "ms_ssim": "too small."}
    records = [
        trained("wct-vgg16-1x", metrics_absent=absent | {"psnr_teacher": "its own teacher"}),
        trained("wct-vgg16-16x", metrics_absent=absent),
    ]
    table = of(records)
    assert remarks(table) == [
        f"No FID, KID and Inception score: {INCEPTION}.",
        "No MS-SSIM: too small.",
        "No PSNR to teacher (wct-vgg16-1x): its own teacher.",
    ]
    # a paper says what is not there, and not where files were looked for
    text = snippet(table)
    assert "Not computed: FID, Inception score, KID and MS-SSIM." in text
    assert "cache" not in text
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert f"no fid: {INCEPTION}; no isc: {INCEPTION}" in rows[0]["remark"]
    measured = [one for one in read_results(frame(records)).records if one.kind == "quality"]
    assert absent_everywhere(measured) == ["fid", "isc", "kid", "ms_ssim"]
    sentences = dict(findings(read_results(frame(records))))["Quality"]
    assert sum("Not computed" in sentence for sentence in sentences) == 1
    assert not any(INCEPTION in sentence for sentence in sentences)


def test_models_that_were_not_measured_for_one_reason_share_a_line() -> None:
    table = of(
        [
            trained("wct-vgg16-1x"),
            *(
                quality(model, status="skipped", reason=f"{model} has no trained weights here")
                for model in ("wct-vgg16-4x", "adain-vgg16-4x")
            ),
        ]
    )
    assert remarks(table) == [
        "Skipped (adain-vgg16-4x and wct-vgg16-4x): the model has no trained weights here."
    ]
    assert "Status" in heads(table)


def test_what_all_rows_share_is_in_the_note_and_what_they_do_not_in_a_column() -> None:
    same = of([trained("wct-vgg16-1x"), trained("wct-vgg16-16x")])
    assert not {"Size (px)", "Pairs", "Status", "Weights", "Reference network"} & set(heads(same))
    assert "Means over 2 pairs at 512x512 px" in same.note
    assert "vgg16-gatys" in same.note
    other = trained("wct-vgg16-16x", quality_pairs=9, width=256, quality_network="vgg16-other")
    apart = of([trained("wct-vgg16-1x"), other])
    assert {"Size (px)", "Pairs", "Reference network"} <= set(heads(apart))
    assert "Means over the pairs;" in apart.note


def test_one_model_is_not_the_lowest_of_many() -> None:
    sentences = dict(findings(read_results(frame([trained("wct-vgg16-1x")]))))["Quality"]
    assert any(one.startswith("Style loss of **wct-vgg16-1x**: 0.15") for one in sentences)
    assert not any("owest" in one for one in sentences)


# --------------------------------------------------------------------------------------- the proxy


def test_the_lowest_loss_is_said_with_its_interval_and_whose_it_overlaps() -> None:
    def cell(model: str, *losses: float) -> dict[str, Any]:
        made = quality(model, weights="trained", pairs=len(losses))
        made["style_loss"] = sum(losses) / len(losses)
        for pair, loss in zip(made["per_pair"], losses, strict=True):
            pair["style_loss"] = loss
        return made

    def said(*records: dict[str, Any]) -> str:
        sentences = dict(findings(read_results(frame(list(records)))))["Quality"]
        return next(sentence for sentence in sentences if "style loss" in sentence)

    low = cell("wct-vgg16-1x", 1.0, 1.1, 1.2)
    near = cell("wct-vgg16-4x", 1.1, 1.2, 1.3)
    far = cell("wct-vgg16-16x", 3.0, 3.1, 3.2)
    # Student's t with 2 degrees of freedom: 4.303 * 0.1 / sqrt(3)
    assert said(low, near, far).startswith(
        "Lowest style loss: 1.10 ± 0.25, **wct-vgg16-1x** (its 95 % interval overlaps 1 of the 2 "
        "others'); highest: 3.10 ± 0.25"
    )
    assert "(the two 95 % intervals overlap)" in said(low, near)
    assert "overlap" not in said(low, far)


def test_the_table_has_what_the_proxy_prefers(tmp_path: Path) -> None:
    records = [r for r in cpu_run() if r["kind"] == "quality"]
    pictures(tmp_path, records)
    write_report(tmp_path, frame(records), {}, {}, formats=["csv", "latex"], pictures=False)
    read = {
        name: list(csv.DictReader((tmp_path / f"tables/{name}.csv").open()))
        for name in ("quality", "preference_proxy")
    }
    shares = {row["method"]: row for row in read["preference_proxy"]}
    assert len(shares) == 4
    for row in read["quality"]:
        known = shares.get(row["model"], {})
        for end in ("", "_low", "_high"):
            assert row[f"{PREFERRED}{end}"] == known.get(f"proxy_preferred_percent{end}", "")
    text = (tmp_path / "tables/quality.tex").read_text()
    assert r"Preferred\\(proxy, \%) $\uparrow$" in text
    assert "nobody was asked" in text


def test_a_run_without_a_proxy_has_no_such_column() -> None:
    assert not any("roxy" in head for head in heads(of([trained("wct-vgg16-1x")])))


def test_each_setting_of_a_model_and_any_name_gets_its_own_share() -> None:
    models = [("wct-vgg16-1x", "fp32"), ("wct-vgg16-1x", "fp16"), (ODD, "fp32")]
    records = []
    for number, (model, precision) in enumerate(models):
        made = quality(model, precision=precision, weights="trained", pairs=3)
        for entry in made["per_pair"]:
            entry["style_loss"] *= 1 + 3 * number
        records.append(made)
    results = read_results(frame(records))
    proxy = proxy_study(results)
    assert proxy is not None
    table = quality_table(results, proxy.preferred)
    found = {(row["model"], row["precision"]): row[PREFERRED] for row in table.rows}
    assert set(found) == set(models)
    assert found[models[0]] > found[models[1]] > found[models[2]]
    assert sum(found.values()) == pytest.approx(150)
    best = [rank for _, rank, _ in cells(table, PREFERRED)]
    assert sorted(map(str, best)) == ["None", "best", "second"]

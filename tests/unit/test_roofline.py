"""The roofline: work by shapes, ceilings beside it, the file, and the figure."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import roofline_worker
from bench.cli import app
from bench.errors import EnvironmentUnfitError, UserError
from bench.prediction.trace import shape_model
from bench.roofline import FILE, Point, as_csv, measure_roofline, read_roofline
from bench.roofline_worker import stage_works
from reports.figures import write_figures
from reports.reading import read_results
from reports.roofline_figure import roofline_figure
from reports.style import paper_style
from tests.unit.reports_data import frame
from tests.unit.test_prediction_calibration import make_cell


def point(**fields: object) -> Point:
    values = {
        **{"model": "wct-vgg16-16x", "weights": "trained", "stage": "relu4_1", "part": "encoder"},
        **{
            "precision": "fp32",
            "device": "cpu",
            "threads": 2,
            "width": 1152,
            "height": 864,
            "gflop": 26.76,
        },
        **{
            "gb_moved": 0.6098,
            "seconds": 0.5,
            "flop_per_byte": 43.88,
            "gflop_s": 53.5,
            "gb_s": 1.22,
        },
        **{"peak_gflop_s": 112.4, "bandwidth_gb_s": 9.01},
    }
    return Point(**{**values, **fields})


def test_work_of_the_stages_is_that_of_their_networks():
    model, width, height = "wct-vgg16-16x", 1152, 864
    works = stage_works(model, "cpu", "fp32", width, height)
    assert len(works) == 5
    stages = shape_model(model, device="cpu", precision="fp32", execution="whole").stylizer.stages
    for stage, (encoding, decoding) in zip(stages, works, strict=True):
        # The borders, computed twice, come on top.
        expected = stage.encoder.macs_per_pixel * width * height
        assert expected < encoding.macs < 1.06 * expected
        # Upsampling and the convolution after it are one, of 4/9 of the work.
        assert 4 / 9 * expected < decoding.macs < 1.06 * expected
    # relu1_1: a 3x3 convolution from the image to 16 channels; reads 3, writes 16, four bytes each.
    encoding, decoding = works[-1]
    assert encoding.macs == pytest.approx(9 * 3 * 16 * width * height, rel=0.01)
    assert encoding.bytes == pytest.approx(4 * (3 + 16) * width * height, rel=0.35)
    assert decoding.macs == pytest.approx(9 * 3 * 16 * width * height, rel=0.01)
    halved = stage_works(model, "cpu", "bf16", width, height)[0][0]
    assert halved.bytes == pytest.approx(works[0][0].bytes / 2, rel=0.02)


def test_the_worker_measures_every_network_and_the_ceilings(tmp_path, monkeypatch):
    monkeypatch.setattr(roofline_worker, "_MATRIX", {"cpu": 128})
    monkeypatch.setattr(roofline_worker, "_SIDE", {"cpu": 16})
    monkeypatch.setattr(roofline_worker, "_COPIED_BYTES", {"cpu": 10**6})
    asked = {
        **{
            "device": "cpu",
            "threads": 1,
            "models": ["wct-vgg16-64x"],
            "precisions": ["fp32", "tf32"],
        },
        **{"width": 96, "height": 64, "repeats": 2},
    }
    request, out = tmp_path / "request.json", tmp_path / "out.json"
    request.write_text(json.dumps(asked))
    assert roofline_worker.main([str(request), str(out)]) == 0
    found = json.loads(out.read_text())
    assert [(one["stage"], one["part"]) for one in found["points"]] == [
        (f"relu{level}_1", part) for level in (5, 4, 3, 2, 1) for part in ("encoder", "decoder")
    ]
    assert all(one["seconds"] > 0 and one["gflop"] > 0 for one in found["points"])
    fp32, tf32 = found["ceilings"]
    assert fp32["peak_gflop_s"] == max(fp32["product_gflop_s"], fp32["convolution_gflop_s"]) > 0
    assert fp32["bandwidth_gb_s"] > 0
    assert "tf32 needs an NVIDIA GPU" in tf32["absent"]


def test_what_was_measured_is_read_again(tmp_path):
    points = [point(), point(part="decoder", gflop_s=30.25)]
    (tmp_path / FILE).write_text(as_csv(points))
    assert read_roofline(tmp_path) == points
    assert read_roofline(tmp_path / "elsewhere") == []
    (tmp_path / FILE).write_text("model,stage\nx,y\n")
    with pytest.raises(UserError, match="is not what bench roofline writes"):
        read_roofline(tmp_path)


def test_a_process_that_fails_is_told_of_in_one_line():
    cell = make_cell(model="adain-vgg16-64x")
    with pytest.raises(EnvironmentUnfitError) as raised:
        measure_roofline(cell, ["adain-vgg16-63x"], ["fp32"], repeats=1)
    assert "measuring the roofline failed" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_figure_has_a_panel_a_precision_with_its_roof_and_every_point():
    points = [
        point(),
        point(part="decoder", flop_per_byte=35.9, gflop_s=29),
        point(precision="bf16", flop_per_byte=87.8, peak_gflop_s=500, bandwidth_gb_s=8),
    ]
    with paper_style():
        figure = roofline_figure(points)
    assert figure is not None
    left, right = figure.axes
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("fp32", "bf16")
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    for axes, own in ((left, points[:2]), (right, points[2:])):
        drawn = {
            (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
            for line in axes.lines
            if len(line.get_xdata()) == 1
        }
        assert drawn == {(one.flop_per_byte, one.gflop_s) for one in own}
        roof = axes.lines[0]
        expected = [min(own[0].peak_gflop_s, own[0].bandwidth_gb_s * x) for x in roof.get_xdata()]
        assert list(roof.get_ydata()) == pytest.approx(expected)
        low, high = axes.get_xlim()
        assert low < own[0].peak_gflop_s / own[0].bandwidth_gb_s < high
    assert roofline_figure([]) is None


def test_the_report_shows_what_lies_in_the_runs_folder(tmp_path):
    results = read_results(frame([]))
    names = {path.stem for path in write_figures(results, tmp_path)}
    assert "roofline" not in names
    (tmp_path / FILE).write_text(as_csv([point(), replace(point(), part="decoder")]))
    written = write_figures(results, tmp_path)
    assert {path.suffix for path in written if path.stem == "roofline"} == {".png", ".pdf", ".svg"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "wct-vgg16-61x"], "--model: "),
        (["--model", "wct-vgg16-64x", "--size", "2"], "--size: "),
        (["--model", "wct-vgg16-64x", "--precision", "fp8"], "--precision: "),
        (["--model", "wct-vgg16-64x", "--out", __file__], "is a file"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(options, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["roofline", *options])
    assert isinstance(result.exception, UserError)
    (problem,) = result.exception.problems
    assert says in problem
    assert list(Path().iterdir()) == []

"""What is drawn of quality: against cost, ratio and layer; and the pictures themselves."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from reports_data import SIZES, cpu_run, cuda_run, frame, performance, pictures, quality

from reports.bootstrap import mean_interval
from reports.layer_figure import layer_figure
from reports.picture_files import LEAST, MOST, detail, read_picture
from reports.picture_grid import MOST_MODELS, picture_figure
from reports.quality_figure import quality_figure
from reports.quality_points import no_quality, pareto, trained_points
from reports.reading import read_results
from reports.run_ratios import ratio_table, run_ratio_figure
from reports.style import paper_style

MODELS = ("wct-vgg16-1x", "wct-vgg16-4x", "wct-vgg16-16x")
LAYERS = [f"relu{n}_1" for n in range(1, 6)]


def made(model: str, scale: float = 1.0, *, pairs: int = 4, **fields: Any) -> dict[str, Any]:
    """A trained model's quality: pair n has style loss ``scale`` * (n + 1) at every layer."""
    record = quality(model, pairs=pairs, weights="trained", **fields)
    for number, entry in enumerate(record["per_pair"]):
        entry |= {f"style_loss_{layer}": scale * (number + 1) for layer in LAYERS}
        entry["style_loss"] = 5 * scale * (number + 1)
    mean = scale * (pairs + 1) / 2
    return record | {f"style_loss_{layer}": mean for layer in LAYERS} | {"style_loss": 5 * mean}


def drawn(make: Any, records: list[dict[str, Any]]) -> Figure:
    with paper_style():
        figure: Figure | None = make(read_results(frame(records)))
    assert figure is not None
    return figure


def words(figure: Figure) -> str:
    return " ".join(" ".join(t.get_text() for t in figure.findobj(Text)).split())


def texts(figure: Any) -> list[str]:
    """Every visible text of a figure."""
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text()]


def front(axes: Axes) -> list[tuple[float, float]]:
    (line,) = [one for one in axes.lines if one.get_drawstyle() == "steps-post"]
    return list(zip(*(np.asarray(line.get_data()).tolist()), strict=True))


def test_the_front_of_a_metric_to_be_high_lies_above_the_rest() -> None:
    # the slowest is best, the middle one is beaten by the fastest
    scores = dict(zip(MODELS, (0.9, 0.5, 0.6), strict=True))
    records = [performance(model, SIZES["1MP"], weights="trained") for model in MODELS]
    for model, score in scores.items():
        record = made(model) | {"ssim": score, "psnr_teacher": math.inf}
        records.append(record | {"style_loss": None, "content_loss": None})
    latency, memory = drawn(quality_figure, records).axes
    assert latency.get_ylabel() == "SSIM\n(higher is better)"
    seconds = {r["model"]: r["latency_ms"] / 1000 for r in records if r["kind"] == "performance"}
    start, *corners, end = front(latency)
    assert corners == [
        (pytest.approx(seconds["wct-vgg16-16x"]), 0.6),
        (pytest.approx(seconds["wct-vgg16-1x"]), 0.9),
    ]
    assert start[1] == latency.get_ylim()[0]
    assert end == (latency.get_xlim()[1], 0.9)
    assert memory.get_xlabel().startswith("Peak memory at 0.995 MP")


def test_one_model_is_no_comparison() -> None:
    one = [performance("wct-vgg16-16x", SIZES["1MP"]), made("wct-vgg16-16x")]
    with paper_style():
        assert quality_figure(read_results(frame(one))) is None


def test_quality_without_cost_has_a_row_for_each_model() -> None:
    figure = drawn(quality_figure, [made(model) for model in MODELS])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(MODELS)
    assert axes.get_xlabel() == "Style loss\n(lower is better)"
    assert [float(line.get_xdata()[0]) for line in axes.lines] == [12.5, 12.5, 12.5]


def test_settings_of_a_model_differ_in_the_fill_of_its_mark() -> None:
    records = [
        make(model, precision=precision)
        for model in MODELS
        for precision in ("fp32", "fp16")
        for make in (made, lambda m, **f: performance(m, SIZES["1MP"], weights="trained", **f))
    ]
    figure = drawn(quality_figure, records)
    legends = [[text.get_text() for text in one.get_texts()] for one in figure.legends]
    assert legends == [list(MODELS), ["fp32", "fp16", "Pareto front"]]


def test_layers_stand_over_the_teachers_with_the_interval_of_the_pairs() -> None:
    records = [made("wct-vgg16-1x", 2.0), made("wct-vgg16-16x", 3.0)]
    for number, entry in enumerate(records[1]["per_pair"]):
        entry["style_loss_relu3_1"] *= 1 + number % 2
    absolute, relative = drawn(layer_figure, records).axes
    assert [label.get_text() for label in absolute.get_xticklabels()] == LAYERS
    assert sorted(set(absolute.lines[0].get_ydata())) == [5.0]
    (student,) = [line for line in relative.lines if len(line.get_xdata()) == 5]
    # half of the pairs have 3 times the teacher's loss, half 1.5 times: the geometric mean
    expected = [1.5, 1.5, 1.5 * 2**0.5, 1.5, 1.5]
    assert list(student.get_ydata()) == pytest.approx(expected)
    bars = [tuple(y for _, y in bar) for c in relative.collections for bar in c.get_segments()]
    # pairs that are all alike leave nothing open
    assert bars[0] == pytest.approx((1.5, 1.5))
    low, high = bars[2]
    assert low < 1.5 * 2**0.5 < high
    assert low * high == pytest.approx(4.5)


def test_layers_without_ratio_1_stand_alone() -> None:
    figure = drawn(layer_figure, [made("wct-vgg16-16x")])
    assert len(figure.axes) == 1
    with paper_style():
        bare = made("wct-vgg16-16x") | {f"style_loss_{layer}": None for layer in LAYERS}
        assert layer_figure(read_results(frame([bare]))) is None


def test_the_ratios_of_a_run_are_over_its_teacher() -> None:
    said = "embedded: compressor {}, 900 steps for each network"
    records = [
        made("wct-vgg16-1x", 2.0),
        made("wct-vgg16-4x", 3.0, weights_detail=said.format("collaborative")),
        made("wct-vgg16-16x", 4.0, weights_detail=said.format("collaborative")),
        made("wct-vgg16-16x:models/thin", 5.0, weights_detail="read from models/thin"),
        made("adain-vgg16-1x"),
    ]
    table = ratio_table(read_results(frame(records)))
    assert dict(zip(table["model"], table["compressor"], strict=True)) == {
        "wct-vgg16-1x": "teacher",
        "wct-vgg16-4x": "collaborative",
        "wct-vgg16-16x": "collaborative",
        "wct-vgg16-16x:models/thin": "thin",
    }
    assert list(table["style_loss_geometric_ratio"]) == pytest.approx([1.0, 1.5, 2.0, 2.5])
    assert list(table["style_loss_geometric_ratio_low"]) == pytest.approx([1.0, 1.5, 2.0, 2.5])
    figure = drawn(run_ratio_figure, records)
    assert figure.axes[0].get_ylabel() == "Style loss / teacher's\n(lower is better)"
    assert "4 image pairs, 512x512 px; losses on vgg16-gatys" in words(figure)
    assert {"collaborative", "thin"} <= {t.get_text() for t in figure.legends[0].get_texts()}


def test_the_ratios_of_a_run_without_a_teacher_are_its_losses() -> None:
    records = [made("wct-vgg16-4x", 3.0), made("wct-vgg16-16x", 4.0)]
    figure = drawn(run_ratio_figure, records)
    assert [axes.get_ylabel().partition("\n")[0] for axes in figure.axes] == [
        "Style loss",
        "Content loss",
    ]
    with paper_style():
        one_student = read_results(frame([made("wct-vgg16-1x"), made("wct-vgg16-16x")]))
        assert run_ratio_figure(one_student) is None


@given(st.lists(st.floats(0.1, 100), min_size=3, max_size=12))
def test_an_interval_lies_within_the_values(values: list[float]) -> None:
    low, high = mean_interval(values) or (0.0, 0.0)
    assert min(values) * (1 - 1e-9) <= low <= high <= max(values) * (1 + 1e-9)


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = [mean_interval(rng.normal(10, 2, size=30).tolist()) for _ in range(200)]
    covered = np.mean([low <= 10 <= high for low, high in filter(None, found)])
    # 95 % less what a percentile bootstrap of 30 loses, and three standard errors of 200 trials
    assert 0.88 <= covered <= 1.0


def test_two_pairs_have_no_interval() -> None:
    assert mean_interval([1.0, 2.0]) is None


@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_close_ups_lie_within_the_picture_and_apart(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    boxes = detail(pixels, Image.fromarray(pixels))
    assert 1 <= len(boxes) <= 2
    side = min(max(min(width, height) // 4, LEAST), MOST, width, height)
    for box in boxes:
        assert (box.width * width, box.height * height) == pytest.approx((side, side))
        assert 0 <= box.left <= box.left + box.width <= 1 + 1e-9
        assert 0 <= box.top <= box.top + box.height <= 1 + 1e-9
    if len(boxes) == 2:
        one, other = boxes
        beside = abs(one.left - other.left) * width >= side - 1e-6
        above = abs(one.top - other.top) * height >= side - 1e-6
        assert beside or above


def test_a_large_picture_is_reduced_and_its_close_up_is_not(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2600, 3), dtype=np.uint8)
    calm = np.full_like(noise, 90)
    calm[700:860, 1500:1660] = noise[700:860, 1500:1660]
    Image.fromarray(calm).save(tmp_path / "large.png")
    picture, boxes = read_picture(tmp_path / "large.png", 300) or pytest.fail("not read")
    assert picture.whole.shape == (173, 300, 3)
    assert (picture.width, picture.height) == (2600, 1500)
    part, box = picture.parts[0], boxes[0]
    left, top = round(box.left * 2600), round(box.top * 1500)
    # found in a copy of 1024 px a side, so to a few pixels
    assert (left, top) == (pytest.approx(1500, abs=4), pytest.approx(700, abs=4))
    assert (part == calm[top : top + MOST, left : left + MOST]).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P", "1"])
def test_pictures_of_other_kinds_are_shown_as_colours(tmp_path: Path, mode: str) -> None:
    gradient = Image.linear_gradient("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(gradient, dtype=np.uint16) * 257)
    else:
        image = gradient.convert("RGB").convert(mode)
    image.save(tmp_path / "other.png")
    picture, _ = read_picture(tmp_path / "other.png", 256) or pytest.fail("not read")
    assert picture.whole.shape == (256, 256, 3)
    # black above, white below
    assert picture.whole[:40].mean() < 60
    assert picture.whole[-40:].mean() > 195


def test_what_is_no_picture_is_none(tmp_path: Path) -> None:
    Image.effect_noise((200, 200), 50).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    for name in ("half.png", "text.png", "empty.png", "none.png", "."):
        assert read_picture(tmp_path / name, 100) is None, name


def picture_run(folder: Path, models: list[str], side: int, pairs: int = 1) -> Figure | None:
    records = [made(model, pairs=pairs) for model in models]
    pictures(folder, records, side)
    with paper_style():
        return picture_figure(read_results(frame(records)), folder)


def test_every_picture_of_a_pair_has_the_same_close_ups(tmp_path: Path) -> None:
    figure = picture_run(tmp_path, ["wct-vgg16-1x", "wct-vgg16-16x"], 400)
    assert figure is not None
    wholes = [axes for axes in figure.axes if axes.patches]
    assert len(wholes) == 4
    # content, style, and one for each model, each with two close-ups
    assert len(figure.axes) == 4 * 3
    corners = [
        {tuple(round(float(n)) for n in patch.get_xy()) for patch in axes.patches}
        for axes in wholes
    ]
    assert corners[0] == corners[2] == corners[3]
    assert "Close-ups: 100x100 px of 400x400 px, pixel for pixel." in words(figure)
    # within the figure
    for axes in figure.axes:
        box = axes.get_position()
        assert 0 <= box.x0 < box.x1 <= 1
        assert 0 <= box.y0 < box.y1 <= 1


def test_more_models_than_fit_are_counted(tmp_path: Path) -> None:
    models = [f"wct-vgg16-16x:/w/{n:02}" for n in range(MOST_MODELS + 3)]
    figure = picture_run(tmp_path, models, 96)
    assert figure is not None
    assert "3 more models or settings not shown." in words(figure)
    assert figure.get_size_inches()[1] < 10


def test_more_pairs_than_fit_are_counted(tmp_path: Path) -> None:
    figure = picture_run(tmp_path, ["wct-vgg16-1x", "wct-vgg16-16x"], 96, pairs=5)
    assert figure is not None
    assert "2 more image pairs not shown." in words(figure)


def test_pictures_that_are_not_there_make_no_figure(tmp_path: Path) -> None:
    with paper_style():
        assert picture_figure(read_results(frame([made("wct-vgg16-16x")])), tmp_path) is None


def test_pareto_front_is_what_nothing_beats() -> None:
    points = [(1.0, 5.0), (2.0, 3.0), (2.0, 4.0), (3.0, 3.0), (4.0, 1.0), (5.0, 2.0)]
    assert pareto(points) == [(1.0, 5.0), (2.0, 3.0), (4.0, 1.0)]


def test_quality_is_set_against_the_cost_of_the_same_settings() -> None:
    points = trained_points(read_results(frame(cuda_run())))
    assert {(p.quality.model, p.record.precision) for p in points} == {
        (model, precision)
        for model in ("wct-vgg16-1x", "wct-vgg16-16x", "adain-vgg16-16x")
        for precision in ("fp32", "fp16")
    }
    for point in points:
        assert point.cost is not None
        assert (point.cost.execution, point.cost.precision) == ("whole", point.record.precision)
        assert point.cost.width == 3840
    random = [record for record in cpu_run() if record["weights"] == "random"]
    assert trained_points(read_results(frame(random))) == []


def test_no_quality_gives_the_reason() -> None:
    size = SIZES["512x512"]
    failed = [
        performance("wct-vgg16-1x", size),
        quality("wct-vgg16-1x", status="crashed", reason="R"),
    ]
    assert no_quality(read_results(frame(failed))).endswith("no quality cell was measured (R).")


def test_picture_figure_shows_pairs_and_names_what_it_lacks(tmp_path: Path) -> None:
    run = [r for r in cpu_run() if r["kind"] == "quality"]
    pictures(tmp_path, run)
    (tmp_path / "images/adain-vgg16-16x-fp32-1.png").unlink()
    (tmp_path / "images/wct-vgg16-1x-fp32-0.png").write_bytes(b"not a picture")
    stopped = next(r for r in run if r["model"] == "adain-vgg16-1x")
    stopped["per_pair"] = stopped["per_pair"][:1]
    with paper_style():
        figure = picture_figure(read_results(frame(run)), tmp_path)
        words = " ".join(texts(figure)).replace("\n", " ")
    assert words.count("no picture: this pair was not finished") == 1
    assert "content photo-0.jpg" in words
    assert "style painting-1.jpg" in words
    assert words.count("cannot be read") == 2
    assert "Random weights: no picture of adain-vgg16-4x and wct-vgg16-4x." in words
    # two pairs of six pictures, two unreadable and one unfinished, each with its close-up
    assert sum(len(axes.images) for axes in figure.axes) == 2 * (12 - 3)


def test_close_up_is_pixel_for_pixel_where_the_detail_is(tmp_path: Path) -> None:
    run = [quality("wct-vgg16-1x", pairs=1)]
    pictures(tmp_path, run)
    flat = Image.new("RGB", (800, 600), "grey")
    noise = Image.effect_noise((150, 150), 90).convert("RGB")
    flat.paste(noise, (500, 300))
    flat.save(tmp_path / "images/content-0.png")
    with paper_style():
        figure = picture_figure(read_results(frame(run)), tmp_path)
    close = figure.axes[1].images[0].get_array()
    assert close is not None
    assert close.shape == (150, 150, 3)
    # the noise of the content, unscaled
    assert (np.asarray(close) == np.asarray(noise)).all()

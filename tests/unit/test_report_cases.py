"""Reports that once said something wrong: from a run folder to what a reader sees of it."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.path import Path as MplPath
from matplotlib.text import Text
from matplotlib.transforms import Affine2D
from reports_data import SIZES, frame, performance, quality, record

from bench.cli import app
from distill.command_line import run_app
from reports.preference_figure import preference_figure
from reports.proxy_study import proxy_study
from reports.reading import read_results
from reports.style import paper_style
from reports.sweep_figures import latency_figure, memory_figure
from tests.unit.compare_data import run_folder

DRAW = {"latency": latency_figure, "memory": memory_figure}
RATIOS = (1, 4, 16)
SLANT = 40.0
MODELS = tuple(f"{method}-vgg16-{ratio}x" for method in ("adain", "wct") for ratio in RATIOS)


def reported(records: list[dict[str, Any]], tmp_path: Path) -> str:
    """``report.md`` of a run of these records, as the command writes it."""
    named = [{**made, "id": f"{place:012x}"} for place, made in enumerate(records)]
    folder = run_folder(tmp_path / "run", named)
    assert run_app(app, "bench", ["report", str(folder), "--formats", "md"]) == 0
    return (folder / "report.md").read_text(encoding="utf-8")


def drawn(name: str, records: list[dict[str, Any]], runs: tuple[str, ...] = ()) -> Figure:
    with paper_style():
        figure = DRAW[name](read_results(frame(records), runs))
        assert figure is not None
        figure.draw_without_rendering()
    return figure


def words(figure: Figure) -> str:
    return " ".join(" ".join(t.get_text() for t in figure.findobj(Text)).split())


def test_no_factor_is_of_a_cold_pass_over_a_warm_median(tmp_path: Path):
    """The teacher had time for its first pass only: 7.3 times by first passes, 16.4 mixed."""
    size = SIZES["1MP"]
    cold = {"latency_ms": 7421.0, "first_call_ms": 7421.0, "repeats": 1}
    warm = {"latency_ms": 451.0, "first_call_ms": 1016.0, "repeats": 30, "converged": True}
    text = reported(
        [
            performance("adain-vgg16-1x", size, **cold, reason_code="measured_once"),
            performance("adain-vgg16-16x", size, **warm),
        ],
        tmp_path,
    )
    assert "7.30 times as fast (first passes, cold)" in text
    assert "7.30x" in text
    assert "16.4" not in text
    assert "16.5" not in text


def test_a_cell_that_the_run_stopped_is_not_over_time(tmp_path: Path):
    stopped = {"status": "timeout", "reason": "stopped after 2 s without a result"}
    text = reported(
        [
            performance("wct-vgg16-4x", SIZES["1MP"]),
            record("wct-vgg16-4x", SIZES["4MP"], **stopped, reason_code="run_time_limit"),
            record("wct-vgg16-16x", SIZES["4MP"], **stopped, reason_code="time_limit"),
        ],
        tmp_path,
    )
    headline = text.split("\n\n")[1]
    assert headline.endswith("1 measured, 1 over time and 1 not measured (run's time limit).")
    assert "Not measured (run's time limit): 1 performance record of wct-vgg16-4x" in text
    assert "Over time: 1 performance record of wct-vgg16-16x" in text
    figure = drawn(
        "latency",
        [
            performance("wct-vgg16-4x", SIZES["1MP"]),
            record("wct-vgg16-4x", SIZES["4MP"], **stopped, reason_code="run_time_limit"),
        ],
    )
    assert "not measured (run's time limit)" in words(figure)
    assert "over time" not in words(figure)


def test_the_page_tells_them_apart_too_and_marks_cold_and_disturbed_times(tmp_path: Path):
    size = SIZES["1MP"]
    cold = {"latency_ms": 7421.0, "first_call_ms": 7421.0, "repeats": 1, "conditions": ["shared"]}
    warm = {"latency_ms": 451.0, "first_call_ms": 1016.0, "repeats": 30, "converged": True}
    late = {"status": "timeout", "reason_code": "run_time_limit", "reason": "stopped"}
    records = [
        performance("adain-vgg16-1x", size, **cold, reason_code="measured_once"),
        performance("adain-vgg16-16x", size, **warm),
        record("adain-vgg16-16x", SIZES["4MP"], **late),
    ]
    named = [{**made, "id": f"{place:012x}"} for place, made in enumerate(records)]
    folder = run_folder(tmp_path / "run", named)
    assert run_app(app, "bench", ["report", str(folder), "--formats", "html"]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert '<span class="status s-run_limit">1 not measured (run&#39;s time limit)</span>' in page
    assert "s-timeout" not in page.partition("<main")[2].partition("<script")[0]
    assert "7.30x</a><sup>‖◊</sup>" in page
    assert "Fastest first pass at 0.995 MP" in page
    assert "7.30 times as fast as adain-vgg16-1x" in page


def test_runs_laid_over_each_other_share_the_panels_of_their_settings():
    """Six models in two executions on two machines: too many for one panel."""
    records = [
        {**performance(model, SIZES[size], execution=execution), "run": run}
        for run in ("A", "B")
        for model in MODELS
        for execution, size in (("whole", "512x512"), ("strips", "1MP"))
    ]
    figure = drawn("latency", records, ("A", "B"))
    titled = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titled == ["whole", "strips"]
    settings = [text.get_text() for text in figure.legends[1].get_texts()]
    assert settings == ["A", "B"]


def test_memory_that_falls_with_the_size_says_why():
    """As strips plan under a cap: what does not fit between the passes goes to files."""

    def strips(*predicted_mb: float, **fields: Any) -> list[dict[str, Any]]:
        return [
            record(
                "wct-vgg16-1x",
                SIZES[size],
                **{"execution": "strips", "status": "skipped", "reason_code": "time_limit"},
                **{"predicted_peak_mb": mb, **fields},
            )
            for size, mb in zip(("42MP", "100MP"), predicted_mb, strict=True)
        ]

    why = "Less for a larger image (wct-vgg16-1x)"
    assert why in words(drawn("memory", strips(10_655.0, 6_649.0)))
    assert why not in words(drawn("memory", strips(6_649.0, 10_655.0)))
    # Without a cap nothing of it is known.
    assert why not in words(drawn("memory", strips(10_655.0, 6_649.0, memory_cap_mb=None)))


def study(count: int, *, long: str = "") -> Figure:
    """The proxy of methods of two families, of which one cell in bf16 could not be measured."""
    names = [f"{model}{long}" for model in MODELS] + [f"{model}:variant-1" for model in MODELS]
    judged = []
    for place, name in enumerate(names[:count]):
        made = quality(name, pairs=4, weights="trained")
        for number, pair in enumerate(made["per_pair"]):
            pair["style_loss"] *= 1 + 0.1 * place + 0.01 * number
        judged.append(made)
    lost = {"status": "unsupported", "reason_code": "precision", "precision": "bf16"}
    records = [*judged, record(MODELS[0], (512, 512), kind="quality", **lost)]
    found = proxy_study(read_results(frame(records)))
    assert found is not None
    assert found.preferences is not None
    with paper_style():
        figure = preference_figure(found.preferences)
        assert figure is not None
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("count", [2, 5, 10, 12])
@pytest.mark.parametrize("long", ["", ":a-folder-with-a-long-name/of-weights-from-somewhere"])
def test_labels_of_columns_do_not_touch_and_name_no_setting_that_all_share(count: int, long: str):
    figure = study(count, long=long)
    labels = figure.axes[0].get_xticklabels()
    assert len(labels) == count
    assert not any("fp32" in label.get_text() for label in labels)
    assert "fp32" not in words(figure)
    shapes = [outline(label) for label in labels]
    assert not any(overlap(one, other) for one, other in combinations(shapes, 2))


def outline(label: Text) -> MplPath:
    """Of a text as it stands, slanted or upright, in pixels."""
    angle = label.get_rotation()
    if angle != SLANT:
        return MplPath(label.get_window_extent().corners()[[0, 1, 3, 2]], closed=False)
    label.set_rotation(0)
    flat = label.get_window_extent().corners()[[0, 1, 3, 2]]
    label.set_rotation(angle)
    anchor = label.get_transform().transform(label.get_position())
    return MplPath(Affine2D().rotate_deg_around(*anchor, angle).transform(flat))


def overlap(one: MplPath, other: MplPath) -> bool:
    return bool(one.intersects_path(other, filled=True))

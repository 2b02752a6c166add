"""What is drawn against image size, and of settings against the reference."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from reports_data import SIZES, cpu_run, cuda_run, frame, memory_mb, performance, quality

from reports.reading import read_results
from reports.results import Results
from reports.settings_figure import settings_figure, settings_pairs
from reports.style import FAILURE, HOLLOW, paper_style
from reports.sweep_figures import energy_figure, latency_figure, memory_figure, throughput_figure
from reports.sweep_panels import cards

MP = {name: width * height / 1e6 for name, (width, height) in SIZES.items()}


def drawn(make: Any, records: list[dict[str, Any]] | Results) -> Figure:
    results = records if isinstance(records, Results) else read_results(frame(records))
    with paper_style():
        figure: Figure | None = make(results)
    assert figure is not None
    return figure


def words(figure: Figure) -> str:
    return " ".join(" ".join(t.get_text() for t in figure.findobj(Text)).split())


def texts(figure: Any) -> list[str]:
    """Every visible text of a figure."""
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text()]


def horizontals(axes: Axes) -> list[float]:
    """Heights of the lines from edge to edge."""
    lines = [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    return sorted({float(line.get_ydata()[0]) for line in lines})


def points(axes: Axes, marker: Any) -> list[tuple[float, float]]:
    found = [line for line in axes.lines if line.get_marker() == marker]
    return sorted(
        (float(x), float(y))
        for line in found
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )


def test_the_cap_and_the_cards_within_the_axis_are_labelled_lines() -> None:
    figure = drawn(memory_figure, cpu_run())
    axes = figure.axes[0]
    assert horizontals(axes) == [8.0, 12.0]
    assert {"8 GB", "12 GB"} <= {text.get_text() for text in axes.texts}
    assert "memory cap 12 GB" in words(figure)
    large = [
        performance("wct-vgg16-1x", size, memory_cap_mb=80_000.0, limit_s=1e9)
        | {"status": "ok", "peak_rss_growth_mb": memory_mb("wct", 1, size[0] * size[1] / 1e6)}
        for size in SIZES.values()
    ]
    assert horizontals(drawn(memory_figure, large).axes[0]) == [8.0, 12.0, 24.0, 80.0]
    small = [performance("adain-vgg16-16x", SIZES["512x512"], memory_cap_mb=None)]
    assert horizontals(drawn(memory_figure, small).axes[0]) == []
    assert "cap" not in words(drawn(memory_figure, small))


def test_no_run_is_drawn_as_the_cap_is() -> None:
    axes = drawn(memory_figure, cuda_run()).axes[0]
    (cap,) = [
        line
        for line in axes.lines
        if list(line.get_xdata()) == [0, 1] and line.get_ydata()[0] == 12
    ]
    others = [line for line in axes.lines if len(line.get_xdata()) > 2]
    # ticks along it, and none of the dashes that tell settings apart
    assert cap.get_path_effects()
    assert cap.get_linestyle() == "-"
    assert others
    assert not any(line.get_path_effects() for line in others)


def test_a_line_that_lies_on_another_is_said() -> None:
    models = ("wct-vgg16-1x", "wct-vgg16-16x")
    both = [
        {**performance(model, SIZES[size]), "run": run}
        for run in ("A", "B")
        for model in models
        for size in ("512x512", "1MP")
    ]
    one = next(r for r in both if r["run"] == "B" and r["model"] == models[1])
    assert "B lies on A for wct-vgg16-1x and wct-vgg16-16x." in words(drawn(memory_figure, both))
    one["peak_rss_growth_mb"] *= 1.1
    assert "B lies on A for wct-vgg16-1x." in words(drawn(memory_figure, both))
    assert "lies on" not in words(drawn(memory_figure, cuda_run()))


def test_a_card_that_a_cap_would_hide_is_left_out() -> None:
    assert cards([12.0], 0.1, 100.0) == [8, 24]
    assert cards([11.9], 0.1, 100.0) == [8, 24]
    assert cards([12.5], 0.1, 100.0) == [8, 12, 24]
    assert cards([], 9.0, 20.0) == [12]


def test_cards_near_the_cap_are_drawn_and_no_label_touches_another() -> None:
    # from 0.05 to 50 GB: on so long an axis 8 and 12 GB are close
    models = ("wct-vgg16-1x", "adain-vgg16-16x")
    records = [
        performance(model, size, execution=execution, precision=precision, limit_s=1e9)
        | {"status": "ok", "peak_rss_growth_mb": memory_mb("wct", 1, size[0] * size[1] / 2e6)}
        for model in models
        for size in SIZES.values()
        for execution in ("whole", "strips")
        for precision in ("fp32", "bf16", "fp16")
    ]
    records[0]["peak_rss_growth_mb"] = 30.0
    figure = drawn(memory_figure, records)
    figure.draw_without_rendering()
    for axes in figure.axes[::2]:
        assert horizontals(axes) == [8.0, 12.0, 24.0]
    labels = [text for text in figure.axes[4].texts if text.get_text().endswith("GB")]
    assert {text.get_text() for text in labels} == {"8 GB", "12 GB", "24 GB"}
    boxes = sorted((text.get_window_extent() for text in labels), key=lambda box: box.y0)
    assert all(below.y1 < above.y0 for below, above in pairwise(boxes))
    assert "cards of 8 GB and 24 GB" in words(figure)


def test_a_mark_alone_tells_its_setting() -> None:
    strips = {"execution": "strips"}
    foretold = {"status": "predicted", "predicted_peak_mb": 4000.0, "estimate_s": 30.0}
    records = [
        performance("wct-vgg16-16x", SIZES["1MP"]),
        performance("wct-vgg16-16x", SIZES["8MP"], **foretold),
        performance("wct-vgg16-16x", SIZES["4MP"], **strips),
        performance("wct-vgg16-16x", SIZES["42MP"], **strips, **foretold),
    ]
    axes = drawn(memory_figure, records).axes[0]
    assert [x for x, _ in points(axes, "_")] == pytest.approx([MP["4MP"], MP["42MP"]])
    assert "strips" in words(drawn(memory_figure, records))
    whole = drawn(memory_figure, records[:2]).axes[0]
    assert points(whole, "_") == []


def test_what_was_not_measured_stands_above_its_size() -> None:
    sizes = [SIZES["1MP"], SIZES["4MP"], SIZES["8MP"]]
    ends = ["ok", "out_of_memory", "crashed"]
    records = [
        performance("wct-vgg16-16x", size, status=status)
        for size, status in zip(sizes, ends, strict=True)
    ]
    figure = drawn(memory_figure, records)
    strip = figure.axes[1]
    for marker, size in (("x", "4MP"), ("*", "8MP")):
        (mark,) = [line for line in strip.lines if line.get_marker() == marker]
        assert list(mark.get_xdata()) == [pytest.approx(MP[size])]
        assert mark.get_color() == FAILURE
    assert strip.get_xlim() == figure.axes[0].get_xlim()
    assert "out of memory" in words(figure)
    assert "crashed" in words(figure)


def test_predictions_are_hollow_dotted_and_not_listed_as_lost() -> None:
    records = [
        performance("wct-vgg16-16x", SIZES["1MP"]),
        performance(
            "wct-vgg16-16x",
            SIZES["8MP"],
            status="predicted",
            predicted_peak_mb=4000.0,
            estimate_s=30.0,
        ),
    ]
    for make, value in ((memory_figure, 4.0), (latency_figure, 30.0)):
        figure = drawn(make, records)
        axes = figure.axes[0]
        assert points(axes, "D") == [(pytest.approx(MP["8MP"]), value)]
        assert all(
            line.get_markerfacecolor() == "white" for line in axes.lines if line.get_marker() == "D"
        )
        assert ":" in {line.get_linestyle() for line in axes.lines}
        assert not figure.axes[1].lines
        assert "extrapolated, not measured" in words(figure)
    # there is none of the throughput, so there it is lost
    assert "predicted" in words(drawn(throughput_figure, records))


def test_throughput_has_the_interval_of_the_latency_where_it_is_made_from_it() -> None:
    one = performance("wct-vgg16-16x", SIZES["1MP"])
    figure = drawn(throughput_figure, [one])
    (bar,) = [c.get_segments()[0] for c in figure.axes[0].collections]
    assert sorted(y for _, y in bar) == pytest.approx(
        sorted(
            one["megapixels"] / one[key] * 1000
            for key in ("latency_ci_low_ms", "latency_ci_high_ms")
        )
    )
    cuda = drawn(throughput_figure, cuda_run())
    assert not any(axes.collections for axes in cuda.axes[:1])
    assert "Bars" not in words(cuda)
    assert "back to back" in words(cuda)


def test_a_setting_without_any_measurement_is_named_and_has_no_panel() -> None:
    records = [
        performance("wct-vgg16-16x", SIZES["1MP"]),
        performance("wct-vgg16-16x", SIZES["1MP"], precision="fp16", status="unsupported"),
    ]
    figure = drawn(memory_figure, records)
    assert len(figure.axes) == 2
    assert "No peak memory was measured for fp16." in words(figure)


def test_crowded_panels_are_split() -> None:
    models = [f"wct-vgg16-16x:/w/{n}" for n in range(7)]

    def records(executions: tuple[str, ...]) -> list[dict[str, Any]]:
        return [
            performance(model, SIZES["1MP"], execution=execution)
            for model in models
            for execution in executions
        ]

    assert len(drawn(memory_figure, records(("whole",))).axes) == 2
    split = drawn(memory_figure, records(("whole", "strips")))
    assert [axes.get_title() for axes in split.axes[1::2]] == ["whole", "strips"]


def test_energy_is_drawn_where_it_was_measured() -> None:
    results = read_results(frame(cpu_run(("wct-vgg16-1x", "wct-vgg16-16x"))))
    with paper_style():
        assert energy_figure(results) is None

    def with_energy(**fields: float) -> Results:
        return replace(
            results,
            performance=tuple(
                replace(one, cells=tuple(c.model_copy(update=fields) for c in one.cells))
                for one in results.performance
            ),
        )

    per_mp = drawn(energy_figure, with_energy(energy_j_per_mp=5.0))
    assert {y for _, y in points(per_mp.axes[0], "o")} == {5.0}
    assert "joules per megapixel" in per_mp.axes[0].get_ylabel().lower().replace("(j", "joules")
    per_image = drawn(energy_figure, with_energy(energy_j_per_image=6.0))
    found = dict(points(per_image.axes[0], "o"))
    assert all(y == pytest.approx(6 / x) for x, y in found.items())


SETTINGS = [("whole", "fp32"), ("whole", "fp16"), ("strips", "fp32")]


def settings_run(model: str = "wct-vgg16-1x") -> list[dict[str, Any]]:
    return [
        performance(model, size, device="cuda:0", execution=execution, precision=precision)
        for execution, precision in SETTINGS
        for size in SIZES.values()
    ]


def test_settings_are_compared_at_the_largest_size_all_have() -> None:
    pairs = settings_pairs(read_results(frame(settings_run())))
    assert [pair.setting for pair in pairs] == ["whole, fp16", "strips, fp32"]
    for pair in pairs:
        # whole images of 41.9 MP need more than the cap
        assert pair.row == "wct-vgg16-1x\n8.29 MP"
        assert (pair.record.width, pair.reference.width) == (3840, 3840)
    axes = drawn(settings_figure, settings_run()).axes[0]
    assert axes.get_xlabel() == "Latency ratio"
    ratios = sorted(x for marker in "os" for x, _ in points(axes, marker))
    assert ratios == pytest.approx([1 / 1.6, 1.15])
    bars = sorted(tuple(x for x, _ in s) for c in axes.collections for s in c.get_segments())
    assert bars[0] == pytest.approx((0.97 / 1.03 / 1.6, 1.03 / 0.97 / 1.6))


def test_the_style_loss_of_settings_is_labelled_with_its_own_size() -> None:
    settings = [{"execution": e, "precision": p, "device": "cuda:0"} for e, p in SETTINGS[:2]]
    judged = [quality("wct-vgg16-1x", **setting) for setting in settings]
    axes = drawn(settings_figure, [*settings_run(), *judged]).axes
    assert axes[-1].get_xlabel() == "Style loss ratio\nat 512x512 px"
    assert axes[0].get_xlabel() == "Latency ratio"
    # of pictures of other sizes there is no ratio
    judged[1] |= {"width": 256, "height": 256}
    axes = drawn(settings_figure, [*settings_run(), *judged]).axes
    assert not any("Style loss" in one.get_xlabel() for one in axes)


def test_random_weights_are_marked_among_the_settings() -> None:
    random = drawn(settings_figure, settings_run("wct-vgg16-4x"))
    labels = [text.get_text() for text in random.axes[0].get_yticklabels()]
    assert [label.split("\n")[0] for label in labels] == ["wct-vgg16-4x †"]
    assert "† random weights: speed and memory only." in words(random)
    assert "†" not in words(drawn(settings_figure, settings_run()))


def test_settings_without_a_reference_are_not_compared() -> None:
    without = [r for r in settings_run() if (r["execution"], r["precision"]) != SETTINGS[0]]
    results = read_results(frame(without))
    assert settings_pairs(results) == []
    assert settings_figure(results) is None
    elsewhere = [r | {"device": "cuda:1", "id": f"{r['id']}x"} for r in settings_run()[:6]]
    assert settings_pairs(read_results(frame([*without, *elsewhere]))) == []


def test_memory_axis_names_the_counter_and_the_cap() -> None:
    with paper_style():
        cpu = texts(memory_figure(read_results(frame(cpu_run()))))
        cuda = texts(memory_figure(read_results(frame(cuda_run()))))
    assert any("peak_rss_growth_mb" in text for text in cpu)
    assert any("peak_allocated_mb" in text for text in cuda)
    assert "memory cap 12 GB" in cpu
    assert {"out of memory", "skipped", "adain-vgg16-4x †"} <= set(cpu)
    assert {"fp32", "fp16", "whole", "strips"} <= set(cuda)


def test_latency_figure_keeps_predictions_apart_from_measurements() -> None:
    ends = ("out_of_memory", "timeout", "crashed", "unsupported", "skipped", "predicted")
    lost = [
        performance("wct-vgg16-1x", size, status=status, weights=None, estimate_s=500.0)
        for size, status in zip(SIZES.values(), ends, strict=True)
    ]
    with paper_style():
        figure = latency_figure(read_results(frame(lost)))
        words = texts(figure)
        assert "extrapolated, not measured" in words
        assert "no latency was measured" in words
        dotted = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [list(line.get_ydata()) for line in dotted] == [[500.0, 500.0]]
    with paper_style():
        assert HOLLOW in texts(latency_figure(read_results(frame(cpu_run()))))


def test_error_bars_span_the_interval() -> None:
    one = performance("wct-vgg16-16x", SIZES["1MP"])
    with paper_style():
        axes = latency_figure(read_results(frame([one]))).axes[0]
    (bar,) = [c.get_segments()[0] for c in axes.collections]
    assert [y for _, y in bar] == pytest.approx(
        [one["latency_ci_low_ms"] / 1000, one["latency_ci_high_ms"] / 1000]
    )


@pytest.mark.parametrize("make", [memory_figure, latency_figure])
@pytest.mark.parametrize("records", [cpu_run(), cuda_run()], ids=["cpu", "cuda"])
def test_legends_stay_inside_and_clear_of_the_axes(make: Any, records: Any) -> None:
    with paper_style():
        figure = make(read_results(frame(records)))
        figure.draw_without_rendering()
        boxes = [legend.get_window_extent() for legend in figure.legends]
        axes = [one.get_tightbbox() for one in figure.axes]
    assert boxes
    for index, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= -1
        assert not any(box.y1 > one.y0 + 1 for one in axes)
        assert all(box.y0 >= other.y1 - 1 for other in boxes[index + 1 :])

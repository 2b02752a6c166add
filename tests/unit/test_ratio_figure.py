"""Quality against compression ratio: what is drawn of an evaluation's table."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.cli import app
from bench.errors import UserError
from distill.command_line import run_app
from distill.evaluation.summary import COLUMNS
from reports.evaluation_table import PANELS, read_table
from reports.ratio_figure import marks, ratio_figure, write_ratio_figure
from reports.style import paper_style

VALUES = dict(zip(PANELS, (20.0, 1.1, 1.05, 0.2), strict=True))


def row(model: str, ratio: int, compressor: str, *, add: float = 0.0, **special: Any) -> dict:
    values = {f"{key}{part}": value + add for key, value in VALUES.items() for part in ("",)}
    bounds = {f"{key}_low": value + add - 0.01 for key, value in VALUES.items()}
    bounds |= {f"{key}_high": value + add + 0.03 for key, value in VALUES.items()}
    return {
        **dict.fromkeys(COLUMNS),
        "model": model,
        "group": model,
        "method": "wct",
        "family": "vgg16",
        "ratio": ratio,
        "compressor": compressor,
        "seed": "0",
        "weights": "trained",
        "teacher": "teacher",
        "network": "vgg16-normalised",
        "size_px": 512,
        "photographs": 100,
        "pairs": 100,
        **values,
        **bounds,
        **special,
    }


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


TEACHER = row("teacher", 1, "teacher", add=5.0, lpips_teacher=None)


def texts(figure: Figure) -> str:
    return " ".join(
        text.get_text().replace("\n", " ")
        for text in figure.findobj(Text)
        if isinstance(text, Text)
    )


def drawn(*rows: dict[str, Any]) -> Figure:
    with paper_style():
        figure = ratio_figure(table(*rows))
    assert figure is not None
    return figure


def test_a_panel_for_each_quality_with_the_teacher_as_a_line():
    figure = drawn(TEACHER, row("a", 4, "collaborative"), row("b", 16, "pruned"))
    assert len(figure.axes) == 4
    for axes, expected in zip(figure.axes, (25.0, 1.0, 1.0, 0.0), strict=True):
        lines = [line for line in axes.lines if set(line.get_ydata()) == {expected}]
        assert len(lines) == 1
        assert axes.get_xscale() == "log"
        low, high = axes.get_xlim()
        assert low < 4 < 16 < high
    words = texts(figure)
    for expected in ("collaborative", "pruned", "teacher", "100 photographs", "512x512 px"):
        assert expected in words
    assert "scratch" not in words


def test_a_row_of_panels_for_each_method():
    figure = drawn(
        TEACHER,
        row("a", 4, "fitnet"),
        row("b", 4, "fitnet", method="adain", teacher="other"),
    )
    assert len(figure.axes) == 8
    assert "WCT, VGG16" in texts(figure)
    assert "AdaIN, VGG16" in texts(figure)


def test_models_of_several_seeds_are_one_point_with_their_deviation():
    group = {"group": "wct-vgg16-16x pruned"}
    rows = [row(f"p{i}", 16, "pruned", add=add, **group) for i, add in enumerate((-1.0, 0.0, 1.0))]
    found = marks(table(*rows, row("a", 4, "pruned")), "style_loss_geometric_ratio")
    single, several = found
    assert (several.ratio, several.seeds) == (16, 3)
    assert (several.low, several.value, several.high) == pytest.approx((0.1, 1.1, 2.1))
    assert (single.ratio, single.seeds) == (4, 1)
    assert (single.low, single.value, single.high) == pytest.approx((1.09, 1.1, 1.13))
    words = texts(drawn(TEACHER, *rows, row("a", 4, "pruned")))
    assert "standard deviation over 3 seeds" in words
    assert "by bootstrap over pairs" in words
    assert "bootstrap" not in texts(drawn(TEACHER, *rows))


def test_the_look_of_a_compressor_does_not_depend_on_the_others():
    def colour(*rows: dict[str, Any]) -> Any:
        axes = drawn(*rows).axes[0]
        return [line.get_color() for line in axes.lines if list(line.get_ydata()) == [20.5]]

    one = row("s", 8, "scratch", add=0.5)
    alone, among = colour(one), colour(row("a", 4, "collaborative"), one, row("p", 8, "pruned"))
    assert alone
    assert set(alone) == set(among)


def test_what_was_not_measured_is_left_out_or_said():
    nothing = dict.fromkeys((k for k in COLUMNS if k.endswith(("_ratio", "_teacher"))), None)
    figure = drawn(row("a", 4, "fitnet", **nothing))
    assert len(figure.axes) == 1
    assert "teacher" not in texts(figure)
    random = row("r", 4, "", weights="random", **dict.fromkeys(PANELS))
    assert "1 model with random weights left out" in texts(drawn(TEACHER, row("a", 4, "x"), random))


def test_a_kind_without_a_student_has_no_row_of_panels():
    alone = row("teacher of adain", 1, "teacher", method="adain", teacher="teacher of adain")
    figure = drawn(TEACHER, row("a", 4, "fitnet"), alone)
    assert len(figure.axes) == 4
    assert "AdaIN" not in texts(figure)


def test_a_table_without_a_trained_student_is_refused(tmp_path):
    random = row("r", 4, "", weights="random", **dict.fromkeys(PANELS))
    table(TEACHER, random).to_csv(tmp_path / "evaluate.csv", index=False)
    with pytest.raises(UserError, match=r"evaluate\.csv: there is nothing to draw"):
        write_ratio_figure(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluate.csv"]


def test_bars_are_explained_as_far_as_there_are_any():
    several = [row(f"p{i}", 16, "pruned", group="g") for i in range(2)]
    assert "Bars: 95 % intervals" in texts(drawn(TEACHER, row("a", 4, "pruned")))
    both = texts(drawn(TEACHER, row("a", 4, "pruned"), *several))
    assert "Bars without caps: 95 % intervals" in both
    none = {f"{key}{end}": None for key in PANELS for end in ("_low", "_high")}
    assert "Bars" not in texts(drawn(TEACHER, row("a", 4, "pruned", **none)))


def test_bench_report_draws_it_beside_the_table(tmp_path: Path, capsys):
    table(TEACHER, row("a", 4, "pruned")).to_csv(tmp_path / "evaluate.csv", index=False)
    assert run_app(app, "bench", ["report", str(tmp_path)]) == 0
    assert str(tmp_path / "evaluate.png") in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"evaluate.csv", "evaluate.png", "evaluate.pdf", "evaluate.svg"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table"),
        ("model,ratio\na,4\n", "pairs.csv"),
    ],
)
def test_a_file_that_is_no_such_table(tmp_path, text, message):
    path = tmp_path / "evaluate.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_table(path)
    table(row("a", 4, "pruned", style_loss_geometric_ratio="much")).to_csv(path, index=False)
    with pytest.raises(UserError, match="column style_loss_geometric_ratio"):
        read_table(path)

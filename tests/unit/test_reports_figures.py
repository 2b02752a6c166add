"""Figures as files: which are written, how wide they are, what is in them as PDF."""

import re
import shutil
import subprocess
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from reports_data import SIZES, cpu_run, frame, performance, pictures, quality

from reports.figures import CAPTIONS, write_figures
from reports.lettering import paragraph, printable, shortened, text_width, wrapped
from reports.reading import read_results
from reports.settings_figure import settings_figure
from reports.style import COLUMN, PAGE, legend_below, new_figure, paper_style
from reports.sweep_figures import latency_figure, memory_figure

STATUSES = ("out_of_memory", "timeout", "crashed", "unsupported", "out_of_memory", "crashed")
TWELVE = tuple(
    f"{m}-{f}-{r}x" for m in ("wct", "adain") for f in ("vgg16", "vgg19") for r in (1, 4, 16)
)
ODD = (
    "wct-vgg16-1x",
    r"wct-vgg16-16x:/x/$we|ird_名_^2$ & 100 % {\bf<b>}",
    "wct-vgg16-16x:/runs/a-long-folder-name-of-a-training-with-many-words-and_step_20000",
    "adain-vgg16-16x:élan_ümläut_Ωmega",
)


def trained(model: str, **fields: Any) -> list[dict[str, Any]]:
    cells = [performance(model, size, weights="trained", **fields) for size in SIZES.values()]
    return [*cells, quality(model, weights="trained", pairs=4, **fields)]


RUNS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "empty": ([], ""),
    "one record": ([performance("wct-vgg16-1x", SIZES["1MP"])], "memory latency throughput"),
    "one quality record": ([quality("wct-vgg16-1x")], "layers pictures"),
    "all failed": (
        [
            performance("wct-vgg16-1x", size, status=status)
            for size, status in zip(SIZES.values(), STATUSES, strict=True)
        ],
        "",
    ),
    "all predicted": (
        [
            performance(
                "wct-vgg16-1x", size, status="predicted", estimate_s=3.0, predicted_peak_mb=9e3
            )
            for size in SIZES.values()
        ],
        "memory latency",
    ),
    "random weights": (
        [r for r in cpu_run() if r["weights"] == "random"],
        "memory latency throughput",
    ),
    "twelve models": (
        [record for model in TWELVE for record in trained(model)],
        "memory latency throughput quality ratio layers pictures",
    ),
    "odd names": (
        [r for m in ODD for e in ("whole", "strips") for r in trained(m, execution=e)],
        "memory latency throughput settings quality ratio layers pictures",
    ),
}


def written(records: list[dict[str, Any]], folder: Path) -> list[Path]:
    pictures(folder, records)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return write_figures(read_results(frame(records)), folder)


@pytest.fixture(scope="module")
def odd_figures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(RUNS["odd names"][0], tmp_path_factory.mktemp("odd"))


def check(
    paths: list[Path], expected: str, suffixes: tuple[str, ...] = ("png", "pdf", "svg")
) -> None:
    names = expected.split()
    assert [path.name for path in paths] == [
        f"{figure}.{suffix}" for figure in names for suffix in suffixes
    ]
    assert names == [figure for figure in CAPTIONS if figure in names]
    widths = {Image.open(path).width / 300 for path in paths if path.suffix == ".png"}
    assert widths <= {COLUMN, PAGE}
    assert 3.3 <= COLUMN <= 3.5
    assert 6.8 <= PAGE <= 7.2


@pytest.mark.parametrize("name", [name for name in RUNS if name != "odd names"])
def test_a_run_has_the_figures_it_has_something_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in all formats where names are odd; here they would only take time
    monkeypatch.setattr("reports.style.FORMATS", ("png",))
    records, expected = RUNS[name]
    paths = written(records, tmp_path)
    check(paths, expected, ("png",))
    assert sorted(paths) == sorted((tmp_path / "figures").iterdir())


def test_names_of_any_letters_survive(odd_figures: list[Path]) -> None:
    check(odd_figures, RUNS["odd names"][1])


def test_a_figure_that_has_nothing_to_show_any_more_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    for name in ("memory.png", "memory.pdf", "memory.svg", "pictures.svg", "my own.png"):
        (folder / name).touch()
    assert written([], tmp_path) == []
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["my own.png"]


def test_fonts_are_embedded_as_outlines(odd_figures: list[Path]) -> None:
    pdfs = [path for path in odd_figures if path.suffix == ".pdf"]
    assert len(pdfs) == 8
    for pdf in pdfs:
        data = pdf.read_bytes()
        descriptors = data.count(b"/Type /FontDescriptor")
        assert descriptors == len(re.findall(rb"/FontFile2 \d+ 0 R", data)) > 0, pdf.name
        assert b"/Type3" not in data, pdf.name
        assert b"/CreationDate" not in data, pdf.name
    if tool := shutil.which("pdffonts"):
        for pdf in pdfs:
            listed = subprocess.run([tool, pdf], capture_output=True, text=True, check=True).stdout
            rows = [line.split() for line in listed.splitlines()[2:]]
            # name, type in two words, encoding, embedded
            assert rows and all(row[1:3] == ["CID", "TrueType"] for row in rows), listed
            assert all(row[4] == "yes" for row in rows), listed


def test_twice_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    records = [*trained("wct-vgg16-16x")[:2], quality("wct-vgg16-16x", pairs=1)]
    first = written(records, tmp_path / "a")
    second = written(records[::-1], tmp_path / "b")
    assert len(first) == len(second) == 15
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def legends_and_axes(figure: Figure) -> tuple[list[Any], list[Any]]:
    figure.draw_without_rendering()
    notes = [text for text in figure.texts if text.get_text()]
    below = [one.get_window_extent() for one in (*figure.legends, *notes)]
    return below, [axes.get_tightbbox() for axes in figure.axes]


@pytest.mark.parametrize("name", ["odd names", "twelve models"])
@pytest.mark.parametrize("make", [memory_figure, latency_figure, settings_figure])
def test_nothing_is_cut_or_laid_over_the_axes(make: Any, name: str) -> None:
    with paper_style():
        figure = make(read_results(frame(RUNS[name][0])))
        if figure is None:
            assert (make, name) == (settings_figure, "twelve models")
            return
        below, axes = legends_and_axes(figure)
    for box in (*below, *axes):
        assert box.x0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y0 >= -1
        assert box.y1 <= figure.bbox.y1 + 1
    lowest = min(box.y0 for box in axes)
    assert all(box.y1 <= lowest + 1 for box in below)
    stacked = sorted(below, key=lambda box: -box.y0)
    assert all(a.y0 >= b.y1 - 1 for a, b in pairwise(stacked))


def test_thousands_of_records_take_no_more_than_a_page() -> None:
    models = [f"{m}-vgg16-16x:/w/{n}" for m in ("wct", "adain") for n in range(30)]
    settings = [(e, p) for e in ("whole", "strips", "thumbnail") for p in ("fp32", "bf16", "fp16")]
    records = [
        performance(model, size, execution=execution, precision=precision)
        for model in models
        for execution, precision in settings
        for size in list(SIZES.values())[:4]
    ]
    assert len(records) > 2000
    with paper_style():
        figure = memory_figure(read_results(frame(records)))
    assert figure is not None
    # nine panels of eighteen, each with its strip
    assert len(figure.axes) == 18
    words = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "9 more settings in the table of the sweep" in " ".join(words.split())


def test_a_name_is_broken_before_its_settings() -> None:
    assert wrapped("wct-vgg16-1x (bf16, whole)", 22) == "wct-vgg16-1x\n(bf16, whole)"
    assert wrapped("wct-vgg16-1x (bf16)", 22) == "wct-vgg16-1x (bf16)"
    path = wrapped("wct-vgg16-1x:students/b.safetensors (bf16, whole)", 22)
    assert path.split("\n") == ["wct-vgg16-1x:", "students/b.safetensors", "(bf16, whole)"]


def test_names_stand_as_they_are_or_say_that_they_cannot() -> None:
    assert printable("a$b_c^2 & 100 % <é> Ω") == "a$b_c^2 & 100 % <é> Ω"
    assert printable("名\x1b[31m") == "[U+540D][U+001B][31m"
    with paper_style():
        figure = new_figure(COLUMN, 1)
        figure.subplots()
        legend_below(figure, [], "costs $2 and $3")
        figure.draw_without_rendering()
    assert figure.texts[0].get_text() == "costs $2 and $3"


@given(st.text(st.characters(codec="latin-1"), max_size=120), st.floats(1.0, 7.0))
def test_a_paragraph_keeps_its_words_and_its_width(text: str, width: float) -> None:
    lines = paragraph(text, width, 6.0)
    assert text_width(lines, 6.0) <= width
    assert "".join(lines.split()) == "".join(printable(text).split())


@given(st.text(max_size=80), st.integers(8, 60))
def test_a_shortened_name_keeps_both_ends(text: str, width: int) -> None:
    short = shortened(text, width)
    assert len(short) <= width
    if short != text:
        begun, _, ended = short.partition("…")
        assert text.startswith(begun)
        assert text.endswith(short.rpartition("…")[2])
        assert len(begun) + len(ended) + 1 == width or "…" in text


def test_the_users_matplotlib_settings_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.style.FORMATS", ("svg",))
    results = read_results(frame(RUNS["one record"][0]))
    plain, changed = tmp_path / "a", tmp_path / "b"
    write_figures(results, plain)
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.grid": True}):
        write_figures(results, changed)
        assert mpl.rcParams["font.size"] == 30
    for path in sorted((plain / "figures").iterdir()):
        assert path.read_bytes() == (changed / "figures" / path.name).read_bytes(), path.name

"""The gallery page of a reference run."""

import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image
from reports_data import SIZES, performance, pictures, quality

from bench.cli import app
from bench.record import Record
from bench.run.store import write_record
from distill.command_line import run_app
from reports.gallery_pictures import SIDE
from reports.sweep_figures import latency_figure, memory_figure

MODELS = ("wct-vgg16-1x", "wct-vgg16-16x")


@pytest.fixture(autouse=True)
def two_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the figures two and that of the proxy, as PNG alone: drawing takes most of the time."""
    monkeypatch.setattr("reports.style.FORMATS", ("png",))
    two = {"memory": memory_figure, "latency": latency_figure}
    monkeypatch.setattr("reports.figures._DRAW", two)


def records() -> list[dict[str, Any]]:
    cells = [performance(m, SIZES[s]) for m in MODELS for s in ("512x512", "1MP")]
    made = [*cells, *(quality(m, pairs=4) for m in MODELS), quality("wct-vgg16-4x")]
    return [{**one, "id": f"{number:012x}"} for number, one in enumerate(made)]


def run_folder(folder: Path, made: list[dict[str, Any]]) -> Path:
    (folder / "cells").mkdir(parents=True)
    (folder / "scenario.yaml").write_text("name: a_run\n")
    (folder / "environment.json").write_text('{"cpu": "a CPU", "memory_total_mb": 12000}\n')
    for record in made:
        write_record(folder, Record(**record))
    pictures(folder, made, side=300)
    return folder


def gallery(run: Path, page: Path, *more: str) -> int:
    return run_app(app, "bench", ["report", str(run), "--gallery", str(page), *more])


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_page_shows_figures_tables_and_small_pictures(tmp_path: Path) -> None:
    run, page = run_folder(tmp_path / "results/ref", records()), tmp_path / "docs/gallery.md"
    assert gallery(run, page) == 0
    text = page.read_text("utf-8")
    assert text.startswith("# Gallery: a_run\n")
    for words in ("a CPU", "## Cost", "## Figures", "## Pictures", "## Models", "## Quality"):
        assert words in text
    assert "Preferred (proxy, %)" in text
    assert "nobody was asked" in text
    links = re.findall(r'(?:\]\(|src=")([^)"]+)[)"]', text)
    # of PNG alone there are no others to link
    missing = [one for one in links if not (page.parent / one).exists()]
    assert missing == [one for one in links if one.endswith(".pdf")]
    copies = sorted((page.parent / "images/gallery").iterdir())
    # of three pairs at most: content, style and two models; none of random weights
    assert len(copies) == 3 * 4
    assert all(max(Image.open(path).size) == SIDE for path in copies)
    assert sum(path.stat().st_size for path in copies) < 1_500_000
    memory, head = (
        Image.open(path) for path in (run / "figures/memory.png", page.parent / "images/report.png")
    )
    assert head.width > memory.width
    assert str(tmp_path) not in text
    assert not (run / "report.html").exists()


def test_a_committed_run_without_its_pictures_gives_the_same_page(tmp_path: Path) -> None:
    run, page = run_folder(tmp_path / "ref", records()), tmp_path / "docs/gallery.md"
    assert gallery(run, page) == 0
    before = tree(tmp_path / "docs") | tree(run / "figures") | tree(run / "tables")
    shutil.rmtree(run / "images")
    assert gallery(run, page) == 0
    assert tree(tmp_path / "docs") | tree(run / "figures") | tree(run / "tables") == before


def test_copies_of_pictures_that_the_run_no_longer_names_go_and_others_stay(tmp_path: Path) -> None:
    run, page = run_folder(tmp_path / "ref", records()), tmp_path / "docs/gallery.md"
    assert gallery(run, page) == 0
    own = page.parent / "images/gallery/my-pictures.jpg"
    own.write_bytes(b"of somebody else")
    for path in (run / "cells").iterdir():
        if "quality" in path.read_text():
            path.unlink()
    assert gallery(run, page) == 0
    assert [path.name for path in (page.parent / "images/gallery").iterdir()] == [own.name]
    assert "## Pictures" not in page.read_text("utf-8")


def test_any_name_stands_on_the_page_as_itself(tmp_path: Path) -> None:
    odd = r"wct-vgg16-16x:/x/$we|ird_名_^2$ & <b>![x](y)"
    made = quality(odd, weights="trained", pairs=1)
    made["per_pair"][0] |= {
        "content": "a|b <i>.jpg",
        "content_image": "images/c (1)|名.png",
        "image": "images/" + "long-" * 30 + ".png",
    }
    run = run_folder(tmp_path / "ref", [{**made, "id": "0" * 12}])
    page = tmp_path / "gallery.md"
    assert gallery(run, page) == 0
    text = page.read_text("utf-8")
    assert "<b>" not in text and "<i>" not in text
    assert "![x](y)" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows[:3]]
    assert cells == [3, 3, 3]
    links = re.findall(r"\]\((images/[^)]+)\)", text)
    assert len(links) == 3
    assert all((tmp_path / unquote(link)).is_file() for link in links)


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    run, page = run_folder(tmp_path / "ref", []), tmp_path / "gallery.md"
    assert gallery(run, page) == 0
    assert "This run is empty" in page.read_text("utf-8")
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("page", "more", "words"),
    [
        ("gallery.html", (), "its name ends in .md"),
        ("gallery.md", ("--formats", "csv"), "no other option"),
        ("gallery.md", ("--out", "x"), "no other option"),
        ("taken/gallery.md", (), "cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    page: str, more: tuple[str, ...], words: str, tmp_path: Path, capsys: Any
) -> None:
    run = run_folder(tmp_path / "ref", [])
    (tmp_path / "taken").write_text("a file")
    assert gallery(run, tmp_path / page, *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--gallery" in line
    assert words in line

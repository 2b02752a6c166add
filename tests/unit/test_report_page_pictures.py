"""Pictures and figures of ``report.html``: previews, tiles of huge outputs, vectors."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from reports.page import gallery as gallery_module
from reports.page.gallery import MAX_PICTURES, make_gallery, preview_side
from reports.page.links import RecordIndex
from reports.page.tiles import (
    TILE,
    UnreadablePictureError,
    make_preview,
    remove_others,
    write_pyramid,
)
from reports.page.vectors import inline_svg
from reports.reading import read_results
from reports.results import Results
from tests.unit.reports_data import cpu_run, frame, pictures, quality


def noise(path: Path, width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture with soft detail, so that JPEG keeps it."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (height // 16 + 1, width // 16 + 1, len(mode)), np.uint8)
    image = Image.fromarray(small[:, :, 0] if mode == "L" else small, mode)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return image


def shown(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def of(records: list[dict[str, Any]], folder: Path) -> tuple[Results, Any]:
    results = read_results(frame(records))
    return results, make_gallery(results, folder, RecordIndex(results.records))


@pytest.mark.parametrize(
    ("size", "mode", "suffix"),
    [((1300, 700), "RGB", "png"), ((700, 1300), "L", "png"), ((1300, 700), "RGBA", "tif")],
)
def test_a_pyramid_puts_the_picture_together_again(
    tmp_path: Path, size: tuple[int, int], mode: str, suffix: str
) -> None:
    image = noise(tmp_path / f"big.{suffix}", *size, mode)
    pyramid = write_pyramid(tmp_path / f"big.{suffix}", tmp_path)
    assert pyramid.levels == 3  # 1300, 650, 325: the first that fits a tile
    folder = tmp_path / pyramid.folder
    for level in range(pyramid.levels):
        whole = [-(-side // 2 ** (pyramid.levels - 1 - level)) for side in size]
        tiles = {path.stem for path in (folder / str(level)).iterdir()}
        columns, rows = (-(-side // TILE) for side in whole)
        assert tiles == {f"{x}_{y}" for x in range(columns) for y in range(rows)}
        joined = Image.new("RGB", (whole[0], whole[1]))
        for name in tiles:
            x, y = map(int, name.split("_"))
            joined.paste(Image.open(folder / str(level) / f"{name}.jpg"), (x * TILE, y * TILE))
        if level == pyramid.levels - 1:
            paper = Image.new("RGBA", image.size, "white")
            flat = Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
            off = np.abs(np.asarray(joined, int) - np.asarray(flat, int))
            assert off.mean() < 1.5
            assert off.max() < 32


def test_tiles_are_made_once_and_old_ones_go(tmp_path: Path) -> None:
    noise(tmp_path / "a.png", 700, 600)
    noise(tmp_path / "b.png", 600, 700)
    (tmp_path / "page/tiles/mine").mkdir(parents=True)
    first, second = (write_pyramid(tmp_path / name, tmp_path) for name in ("a.png", "b.png"))
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / first.folder).rglob("*.jpg")}
    assert write_pyramid(tmp_path / "a.png", tmp_path) == first
    assert times == {path: path.stat().st_mtime_ns for path in times}
    remove_others(tmp_path, [first])
    assert (tmp_path / first.folder).is_dir()
    assert not (tmp_path / second.folder).exists()
    assert (tmp_path / "page/tiles/mine").is_dir()
    assert sorted(path.name for path in (tmp_path / "page/tiles").iterdir()) == sorted(
        [first.folder.split("/")[2], "mine"]
    )


def test_a_preview_is_the_picture_reduced(tmp_path: Path) -> None:
    image = noise(tmp_path / "a.png", 900, 300)
    preview = make_preview(tmp_path / "a.png", 450)
    assert (preview.width, preview.height) == (900, 300)
    assert (preview.shown_width, preview.shown_height) == (450, 150)
    small = shown(preview.address)
    assert small.size == (450, 150)
    expected = np.asarray(image.resize((450, 150), Image.Resampling.BOX), int)
    assert np.abs(np.asarray(small.convert("RGB"), int) - expected).mean() < 6


def test_a_small_picture_is_not_enlarged_and_a_turned_one_stands_upright(tmp_path: Path) -> None:
    image = noise(tmp_path / "a.jpg", 90, 30)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    preview = make_preview(tmp_path / "a.jpg", 450)
    assert (preview.width, preview.height) == (30, 90)
    assert shown(preview.address).size == (30, 90)


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n broken"])
def test_a_picture_that_cannot_be_read_is_said_in_a_line(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    for make in (lambda path: make_preview(path, 64), lambda path: write_pyramid(path, tmp_path)):
        with pytest.raises(UnreadablePictureError, match=r"^a\.png[^\n]*$"):
            make(tmp_path / "a.png")
    tiles = tmp_path / "page/tiles"
    assert not tiles.exists() or not list(tiles.iterdir())


def test_the_gallery_has_each_picture_once_and_pairs_of_them(tmp_path: Path) -> None:
    run = cpu_run()
    pictures(tmp_path, run)
    results, gallery = of(run, tmp_path)
    trained = [one.label for one in results.quality if one.ok]
    assert [pair.title for pair in gallery.pairs] == [
        "photo-0.jpg × painting-0.jpg",
        "photo-1.jpg × painting-1.jpg",
    ]
    for pair in gallery.pairs:
        assert list(pair.layers) == ["Content", "Style", *trained]
        for name in trained:
            layer = pair.layers[name]
            record = results.records[int(layer["records"])]
            [entry] = [e for e in record.per_pair or [] if e["content"] in pair.title]
            assert layer["metrics"]["style_loss"] == pytest.approx(entry["style_loss"], rel=1e-5)
            assert gallery.pictures[layer["picture"]].file == entry["image"]
    files = [one.file for one in gallery.pictures]
    assert len(set(files)) == len(files) == 2 * (2 + len(trained))


def test_a_missing_picture_has_its_reason_and_the_others_stay(tmp_path: Path) -> None:
    run = cpu_run(("wct-vgg16-16x",))
    pictures(tmp_path, run)
    (tmp_path / "images/wct-vgg16-16x-fp32-0.png").unlink()
    _, gallery = of(run, tmp_path)
    missing = [one for one in gallery.pictures if one.preview is None]
    assert [one.problem for one in missing if "wct-vgg16-16x-fp32-0.png" in one.problem] == [
        missing[0].problem
    ]
    assert sum(one.preview is not None for one in gallery.pictures) == 5
    assert missing[0].data() == {"caption": missing[0].caption, "problem": missing[0].problem}


def test_only_huge_pictures_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_module, "HUGE_PIXELS", 500_000)
    run = [quality("wct-vgg16-16x", pairs=1)]
    pictures(tmp_path, run)
    noise(tmp_path / run[0]["per_pair"][0]["image"], 1000, 800)
    _, gallery = of(run, tmp_path)
    cut = [one.pyramid is not None for one in gallery.pictures]
    assert cut == [False, False, True]
    [pyramid] = gallery.pyramids
    assert (tmp_path / pyramid.folder / str(pyramid.levels - 1) / "1_1.jpg").is_file()


def test_many_pictures_keep_the_page_within_bounds(tmp_path: Path) -> None:
    run = [quality("wct-vgg16-16x", pairs=MAX_PICTURES)]
    _, gallery = of(run, tmp_path)
    assert len(gallery.pictures) <= MAX_PICTURES
    assert len(gallery.pairs) + gallery.left_out == MAX_PICTURES
    assert all(
        count * preview_side(count) ** 2 <= 40_000_000 or preview_side(count) == 256
        for count in range(1, 1000)
    )


def figure(path: Path, *, wide: bool = False) -> Path:
    """A figure as reports save them, with clip paths, markers, glyphs and a raster."""
    drawn = Figure(figsize=(7.16 if wide else 3.5, 2))
    axes = drawn.subplots()
    axes.plot([1, 2, 3], [1, 3, 2], marker="o", label="<b>&</b>")
    axes.imshow(np.random.default_rng(0).random((40, 40)), extent=(1, 2, 1, 2))
    axes.legend()
    drawn.savefig(path, format="svg")
    return path


def test_figures_share_no_name_and_every_reference_is_met(tmp_path: Path) -> None:
    found = [
        inline_svg(figure(tmp_path / f"{n}.svg"), prefix=f"f{n}", label=f"Figure {n}")
        for n in range(2)
    ]
    names = []
    for number, vector in enumerate(found):
        root = ET.fromstring(vector.markup)
        assert root.get("aria-label") == f"Figure {number}"
        here = {element.get("id") for element in root.iter()} - {None}
        asked = set(re.findall(r'(?:url\(#|href="#)([^")]+)', vector.markup))
        assert asked == here
        assert len(here) > 5
        names.append(here)
        assert not [e.tag for e in root.iter() if re.search(r"\}(style|script|metadata)$", e.tag)]
        assert "image/webp" in vector.markup or "image/png" in vector.markup
    assert not names[0] & names[1]


def test_a_figure_for_the_page_is_told_from_one_for_a_column(tmp_path: Path) -> None:
    for wide in (False, True):
        vector = inline_svg(figure(tmp_path / "a.svg", wide=wide), prefix="f", label="")
        assert vector.wide is wide

"""`bench stylize` from file to file: every execution, wrong input, and ends half way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image
from safetensors.torch import save_file

import bench.execution.spool
import bench.execution.strip_plan as strip_plan
from bench.cli import app
from bench.errors import EnvironmentUnfitError
from bench.images import Pixels, read_image
from bench.stylize import stylize_file
from distill.cascades import load_cascade, own_files
from distill.command_line import run_app
from distill.models import parse_model

ROOT = Path(__file__).parents[2]
MODEL = "adain-vgg16-64x"
pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("no_embedded_models")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, no_embedded_models: None) -> str:
    """A small model whose seeded random weights lie in a folder, as trained ones would."""
    folder = tmp_path_factory.mktemp("weights")
    spec = parse_model(MODEL)
    for pair, files in zip(load_cascade(spec).pairs, own_files(folder, spec.stages), strict=True):
        for network, file in zip((pair.encoder, pair.decoder), files, strict=True):
            save_file(network.state_dict(), str(file))
    return f"{MODEL}:{folder}"


def scene(width: int, height: int, seed: int = 0) -> Pixels:
    rows, columns = np.mgrid[0:height, 0:width]
    smooth = np.stack([rows * 2 % 256, columns * 3 % 256, (rows + columns) % 256], 2)
    noise = np.random.default_rng(seed).integers(-30, 30, smooth.shape)
    return (smooth + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def content(tmp_path: Path) -> Path:
    Image.fromarray(scene(131, 203)).save(tmp_path / "content.png")
    return tmp_path / "content.png"


@pytest.fixture
def style(tmp_path: Path) -> Path:
    Image.fromarray(scene(150, 77, seed=1)[:, :, ::-1].copy()).save(tmp_path / "style.png")
    return tmp_path / "style.png"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.fixture
def low_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strip_plan, "COMFORTABLE_BAND", 1)


def least_memory(content: Path, style: Path, out: Path, model: str, **options) -> str:
    """The least that strips need, as the refusal of less says."""
    with pytest.raises(strip_plan.BudgetError) as error:
        stylize_file(content, style, out, model=model, execution="strips", memory="1MB", **options)
    return f"{error.value.needed_bytes}B"


# --- Executions -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("low_strips")
@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.jpg", "out.webp"])
def test_strips_give_the_file_that_whole_gives(name, content, style, results, model) -> None:
    (results / "whole").mkdir()
    out, whole = results / name, results / "whole" / name
    stylize_file(content, style, whole, model=model, execution="whole")
    stylize_file(content, style, out, model=model, execution="strips")
    assert out.read_bytes() == whole.read_bytes()
    pixels = read_image(out)
    assert pixels.shape == (203, 131, 3)
    assert pixels.std() > 5


@pytest.mark.usefixtures("low_strips")
@pytest.mark.parametrize("macs_per_byte", [0, 10**9])
def test_strips_in_the_least_memory(
    macs_per_byte, content, style, results, model, monkeypatch, capsys
) -> None:
    """With features in a scratch file, or computed again from the content's file."""
    monkeypatch.setattr(strip_plan, "MACS_PER_BYTE", macs_per_byte)
    memory = least_memory(content, style, results / "a.png", model)
    assert not list(results.iterdir())
    options = {"execution": "strips", "memory": memory, "scratch": results}
    stylize_file(content, style, results / "a.png", model=model, **options)
    assert ("of scratch" in capsys.readouterr().out) == (macs_per_byte == 0)
    stylize_file(content, style, results / "b.png", model=model, execution="whole")
    assert (results / "a.png").read_bytes() == (results / "b.png").read_bytes()
    assert {path.name for path in results.iterdir()} == {"a.png", "b.png"}


@pytest.mark.usefixtures("low_strips")
def test_the_published_students_in_strips(content, style, results, students) -> None:
    for execution in ("whole", "strips"):
        stylize_file(
            content,
            style,
            results / f"{execution}.png",
            model=f"wct-vgg19-16x:{students}",
            execution=execution,
            size="90x75",
            style_size="61x120",
        )
    whole, strips = (read_image(results / f"{e}.png") for e in ("whole", "strips"))
    np.testing.assert_array_equal(strips, whole)
    assert whole.shape == (75, 90, 3)


def test_a_small_image_is_one_patch(content, style, results, model) -> None:
    for execution in ("whole", "thumbnail"):
        out = results / f"{execution}.png"
        stylize_file(content, style, out, model=model, execution=execution)
    assert (results / "thumbnail.png").read_bytes() == (results / "whole.png").read_bytes()


def test_auto_takes_what_fits_and_says_so(content, style, results, model, capsys) -> None:
    def said(**options) -> str:
        stylize_file(content, style, results / "a.png", model=model, **options)
        found = capsys.readouterr()
        assert found.err == ""
        return found.out

    assert said().count("\n") == 1
    assert "131x203, whole: predicted peak 0." in said(memory="2GB")
    assert "GB of 2.00 GB allowed" in said(memory="2GB")
    least = least_memory(content, style, results / "a.png", model)
    assert "strips of 16 rows: predicted peak 0." in said(memory=least)
    assert said(quiet=True) == ""
    with pytest.raises(EnvironmentUnfitError) as error:
        said(memory=least, execution="whole")
    assert "take strips" in str(error.value)


@pytest.mark.usefixtures("low_strips")
def test_sixteen_bits(style, results, model) -> None:
    deep = np.random.default_rng(2).integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    content = results / "deep.tif"
    pyvips.Image.new_from_array(deep).copy(interpretation="rgb16").tiffsave(str(content))

    def levels(name: str, **options) -> np.ndarray:
        stylize_file(content, style, results / name, model=model, **options)
        return pyvips.Image.new_from_file(str(results / name)).numpy()

    whole = levels("a.png", execution="whole")
    assert whole.dtype == np.uint16
    assert len(np.unique(whole % 257)) > 100
    strips = levels("a.tif", execution="strips")
    # Equal where bands of all heights go through one kernel; else a last bit may round otherwise.
    assert np.abs(strips.astype(int) - whole).max() <= 1
    assert levels("a.jpg").dtype == np.uint8
    eight = levels("b.png", depth=8)
    assert eight.dtype == np.uint8
    assert np.abs(eight - whole / 257).max() <= 0.51


@pytest.mark.usefixtures("low_strips")
def test_a_file_may_take_the_place_of_its_content(style, results, model) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene(60, 33)).save(results / "a.jpg", exif=exif, quality=95)
    stylize_file(results / "a.jpg", style, results / "b.jpg", model=model, execution="whole")
    stylize_file(results / "a.jpg", style, results / "a.jpg", model=model, execution="strips")
    assert (results / "a.jpg").read_bytes() == (results / "b.jpg").read_bytes()
    with Image.open(results / "a.jpg") as image:
        assert image.size == (33, 60)
        assert 0x0112 not in image.getexif()


def test_a_photograph_keeps_its_metadata_on_request(style, results, model) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    photograph = results / "a.jpg"
    Image.fromarray(scene(60, 33)).save(photograph, exif=exif, dpi=(300, 300), quality=95)
    (results / "link.png").symlink_to("target.png")
    command = ["stylize", str(photograph), str(style), "--model", model, "-q"]
    assert run_app(app, "bench", [*command, "-o", str(results / "link.png")]) == 0
    with Image.open(results / "target.png") as image:
        assert image.size == (33, 60)
        assert "exif" not in image.info
        assert "sRGB".encode("utf-16-be") in image.info["icc_profile"]
    kept = [*command, "--keep-metadata", "-o"]
    assert run_app(app, "bench", [*kept, str(results / "b.jpg")]) == 0
    with Image.open(results / "b.jpg") as image:
        assert image.getexif()[0x010F].rstrip("\0") == "Maker"
        assert image.getexif().get(0x0112, 1) == 1
        assert np.allclose(image.info["dpi"], 300, atol=0.5)
    assert run_app(app, "bench", [*kept, str(results / "c.tif")]) == 2
    assert sorted(path.name for path in results.iterdir()) == [
        *("a.jpg", "b.jpg", "link.png", "target.png")
    ]


def test_a_size_leaves_16_bits(style, results, model) -> None:
    deep = scene(50, 40).astype(np.uint16) * 257
    pyvips.Image.new_from_array(deep).copy(interpretation="rgb16").pngsave(str(results / "a.png"))
    stylize_file(results / "a.png", style, results / "b.png", model=model, size="40x32")
    levels = pyvips.Image.new_from_file(str(results / "b.png")).numpy()
    assert levels.dtype == np.uint16
    assert (levels % 257).any()  # as no 8 bits have it


# --- Wrong input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--execution", "strip"], "did you mean 'strips'?"),
        (["--memory", "lots"], "--memory: an amount of memory is"),
        (["--memory", "2"], "--memory: an amount of memory is"),
        (["--depth", "12"], "--depth is 8 or 16"),
        (["--depth", "16", "-o", "results/a.jpg"], "write .png or .tiff"),
        (["--depth", "deep"], "--depth"),
        (["--alpha", "2"], "--alpha must be between 0 and 1"),
        (["--precision", "fp23"], "did you mean"),
        (["--size", "70000x8", "-o", "results/a.jpg"], "65535 px a side"),
        (["--model", MODEL], "no trained weights"),
        (["--model", "adain-vgg16-63x:x"], "did you mean 'adain-vgg16-64x:x'?"),
        (["-o", "results/a.pgn"], "did you mean '.png'?"),
        (["-o", "result/a.png"], "did you mean 'results'?"),
    ],
)
def test_wrong_options(
    arguments, words, content, style, results, model, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(results.parent)
    common = [content.name, style.name, "-o", "results/a.png", "--model", model]
    assert run_app(app, "bench", ["stylize", *common, *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert words in said.err
    assert said.out == ""
    assert not list(results.iterdir())


@pytest.mark.parametrize("execution", ["whole", "strips"])
@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("none.png", None, "no such file"),
        ("empty.png", b"", "empty"),
        ("text.png", b"not an image" * 9, "not an image"),
        ("cut.png", 0.7, "cannot be read, it may be damaged"),
        ("cut.jpg", 0.7, "cannot be read, it may be damaged"),
    ],
)
def test_wrong_contents(
    execution, name, data, words, content, style, results, model, capsys
) -> None:
    bad = content.parent / name
    if isinstance(data, float):
        Image.fromarray(read_image(content)).save(bad)
        data = bad.read_bytes()[: int(bad.stat().st_size * data)]
    if data is not None:
        bad.write_bytes(data)
    options = ["--model", model, "--execution", execution, "--quiet"]
    arguments = ["stylize", str(bad), str(style), "-o", str(results / "a.png"), *options]
    assert run_app(app, "bench", arguments) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert f"{bad}: " in said.err
    assert words in said.err
    assert not list(results.iterdir())


@pytest.mark.usefixtures("low_strips")
def test_no_room_for_scratch_files(content, style, results, model, monkeypatch, capsys) -> None:
    monkeypatch.setattr(strip_plan, "MACS_PER_BYTE", 0)
    memory = least_memory(content, style, results / "a.png", model)
    options = ["--model", model, "--execution", "strips", "--memory", memory]
    common = ["stylize", str(content), str(style), "-o", str(results / "a.png"), *options]
    assert run_app(app, "bench", [*common, "--scratch", str(results / "none")]) == 4
    assert f"{results / 'none'}: no such folder for scratch files" in capsys.readouterr().err
    full = type("Usage", (), {"free": 10**6})
    monkeypatch.setattr(bench.execution.spool.shutil, "disk_usage", lambda _: full)
    assert run_app(app, "bench", [*common, "--scratch", str(results)]) == 4
    said = capsys.readouterr().err
    assert str(results) in said
    assert said.count("\n") == 1
    assert not list(results.iterdir())


# --- Ends half way --------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGKILL", -9)])
def test_killed_half_way(name, code, style, results, model) -> None:
    Image.fromarray(np.tile(scene(500, 500), (40, 2, 1))).save(style.with_name("tall.jpg"))
    files = [str(style.with_name("tall.jpg")), str(style), "-o", str(results / "a.tif")]
    options = ["--model", model, "--execution", "strips", "--memory", "300MB"]
    command = [sys.executable, "-m", "bench.cli", "stylize", *files, *options]
    with subprocess.Popen(
        [*command, "--scratch", str(results)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not any(results.iterdir()):
            time.sleep(0.01)
        time.sleep(0.05)
        assert process.poll() is None, "it was over before it could be stopped"
        process.send_signal(getattr(signal, name))
    assert process.returncode == code
    left = [path.name for path in results.iterdir()]
    if name == "SIGKILL":
        assert [(n.startswith(".a.tif."), n.endswith(".unfinished")) for n in left] == [
            (True, True)
        ]
    else:
        assert left == []

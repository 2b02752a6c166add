"""Image files read and written strip by strip: what they hold, what they refuse and leave."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import bench.execution.spool
import bench.pixel_rows
from bench.errors import EnvironmentUnfitError, UserError
from bench.execution.rows import TensorSource
from bench.image_tensors import to_uint8
from bench.images import Pixels, read_image
from bench.prefetch import AHEAD, Prefetched
from bench.vips_rows import VipsSink, VipsSource

ROOT = Path(__file__).parents[2]


@pytest.fixture
def picture() -> Pixels:
    """Not symmetric, with smooth parts and noise, uint8 (90, 70, 3)."""
    rows, columns = np.mgrid[0:90, 0:70]
    smooth = np.stack([rows * 2, columns * 3, 255 - rows - columns], 2)
    noise = np.random.default_rng(1).integers(0, 40, smooth.shape)
    return (smooth + noise).clip(0, 255).astype(np.uint8)


def write(path: Path, image: torch.Tensor, *, rows: int = 17, depth: int = 8, **options) -> None:
    height, width = image.shape[2:]
    with VipsSink(path, width, height, depth=depth, **options) as sink:
        for band in TensorSource(image).bands(rows):
            sink.write(band)
        sink.commit()


def read(path: Path, rows: int = 23, scratch: Path | None = None) -> torch.Tensor:
    return torch.cat(list(VipsSource(path, scratch=scratch or path.parent).bands(rows)), 2)


def tensor(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> torch.Tensor:
    top = np.iinfo(pixels.dtype).max
    return torch.from_numpy(pixels.astype(np.float32) / np.float32(top)).permute(2, 0, 1)[None]


def problem(error: pytest.ExceptionInfo[UserError]) -> str:
    (line,) = error.value.problems
    assert "\n" not in line
    return line


# --- Round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("name", ["a.png", "a[1].tif", "A.TIFF"])
def test_lossless_files_hold_every_level(
    tmp_path: Path, name: str, depth: int, tiled: bool
) -> None:
    levels = np.arange(2**depth if depth == 8 else 3 * 2**13, dtype=f"u{depth // 8}")
    pixels = np.stack([levels, levels[::-1], levels * 5], 1).reshape(-1, 64, 3)
    write(tmp_path / name, tensor(pixels), rows=3, depth=depth, tiled=tiled)
    source = VipsSource(tmp_path / name, scratch=tmp_path)
    assert (source.depth, source.width, source.height) == (depth, 64, len(pixels))
    assert torch.equal(read(tmp_path / name), tensor(pixels))
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    if depth == 8:
        np.testing.assert_array_equal(read_image(tmp_path / name), pixels)


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    given_rows=st.integers(1, 45),
    taken_rows=st.integers(1, 45),
    suffix=st.sampled_from([".png", ".tif"]),
)
@settings(max_examples=40)
def test_any_size_in_any_strips(
    tmp_path_factory, width, height, given_rows, taken_rows, suffix
) -> None:
    path = tmp_path_factory.mktemp("sizes") / f"a{suffix}"
    image = torch.rand(1, 3, height, width) * 1.2 - 0.1
    write(path, image, rows=given_rows)
    bands = list(VipsSource(path, scratch=path.parent).bands(taken_rows))
    assert all(band.shape[2] == taken_rows for band in bands[:-1])
    assert torch.equal(torch.cat(bands, 2), tensor(to_uint8(image)))


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_lossy_files_stay_near_and_open_elsewhere(tmp_path, picture, name) -> None:
    write(tmp_path / name, tensor(picture))
    with Image.open(tmp_path / name) as image:
        assert image.format == ("WEBP" if name == "a.webp" else "JPEG")
    assert np.abs(read_image(tmp_path / name).astype(int) - picture).mean() < 10
    assert torch.equal(read(tmp_path / name), tensor(read_image(tmp_path / name)))


def test_a_source_is_read_as_often_as_one_likes(tmp_path, picture) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    source = VipsSource(tmp_path / "a.png", scratch=tmp_path)
    first, again = (torch.cat(list(source.bands(rows)), 2) for rows in (8, 31))
    assert torch.equal(first, again)
    next(source.bands(8))  # and left off in the middle
    assert torch.equal(torch.cat(list(source.bands(90)), 2), first)


def test_a_large_tiff_is_a_bigtiff(tmp_path, picture, monkeypatch) -> None:
    monkeypatch.setattr("bench.vips_rows._CLASSIC_TIFF", 1000)
    write(tmp_path / "a.tif", tensor(picture))
    assert (tmp_path / "a.tif").read_bytes()[:3] == b"II+"
    assert torch.equal(read(tmp_path / "a.tif"), tensor(picture))


# --- Files of every kind --------------------------------------------------------------------------


def odd_files(folder: Path, picture: Pixels) -> dict[str, Path]:
    """Files that need more than a copy of their bytes, of which 16-bit colour is not one."""
    image, grey = Image.fromarray(picture), picture[:, :, 0]
    alpha = Image.fromarray(np.dstack([picture, picture[::-1, :, 1]]))
    ink = Image.fromarray(np.dstack([picture, picture[::-1, :, 1]]), "CMYK")
    saved = {
        "grey.png": (Image.fromarray(grey), {}),
        "grey.jpg": (Image.fromarray(grey), {}),
        "bits.png": (Image.fromarray(grey > 100), {}),
        "fax.tif": (Image.fromarray(grey > 100), {"compression": "group4"}),
        "deep.png": (Image.fromarray(grey.astype(np.uint16) * 250), {}),
        "deep.tif": (Image.fromarray(grey.astype(np.uint16) * 250), {}),
        "wide-integers.tif": (Image.fromarray(grey.astype(np.int32) * 250), {}),
        "float.tif": (Image.fromarray(grey.astype(np.float32) / 255), {}),
        "alpha.png": (alpha, {}),
        "alpha.tif": (alpha, {}),
        "alpha.webp": (alpha, {"lossless": True}),
        "grey-alpha.png": (Image.fromarray(picture[:, :, :2], "LA"), {}),
        "palette.png": (image.quantize(16), {}),
        "keyed.png": (image.quantize(16), {"transparency": 3}),
        "keyed.gif": (image.quantize(16), {"transparency": 3}),
        "palette.tif": (image.quantize(16), {}),
        "ink.jpg": (ink, {}),
        "ink.tif": (ink, {}),
        "chroma.tif": (image.convert("YCbCr"), {}),
        "lab.tif": (image.convert("LAB"), {}),
        "jpeg-in.tif": (image, {"compression": "jpeg"}),
        "bitmap.bmp": (image, {}),
        "progressive.jpg": (image, {"progressive": True}),
        "subsampled.jpg": (image, {"subsampling": 2, "quality": 60}),
        "frames.tif": (image, {"save_all": True, "append_images": [image.rotate(180)]}),
        "frames.webp": (
            image,
            {"save_all": True, "append_images": [image.rotate(180)], "lossless": True},
        ),
        "jpeg-by-content.png": (image, {"format": "JPEG"}),
    }
    for name, (content, options) in saved.items():
        content.save(folder / name, **options)
    vips = pyvips.Image.new_from_array(np.asarray(alpha)).copy(interpretation="srgb")
    vips.tiffsave(str(folder / "premultiplied.tif"), premultiply=True)
    vips[:3].pngsave(str(folder / "interlaced.png"), interlace=True)
    vips[:3].tiffsave(str(folder / "tiled.tif"), tile=True, bigtiff=True, compression="jpeg")
    return {path.name: path for path in folder.iterdir()}


def test_odd_files_mean_what_read_image_says(tmp_path, picture) -> None:
    files = odd_files(tmp_path, picture)
    assert len(files) == 30
    for name, path in files.items():
        # Multiplied by transparency and divided again: that may be rounded otherwise.
        atol = 1 if name == "premultiplied.tif" else 0
        found = to_uint8(read(path)).astype(int)
        np.testing.assert_allclose(found, read_image(path), rtol=0, atol=atol, err_msg=name)


def test_all_of_16_bits_is_kept(tmp_path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (9, 8, 4), dtype=np.uint16)
    vips = pyvips.Image.new_from_array(deep).copy(interpretation="rgb16")
    vips[:3].tiffsave(str(tmp_path / "colour.tif"))
    assert torch.equal(read(tmp_path / "colour.tif"), tensor(deep[:, :, :3]))
    vips.pngsave(str(tmp_path / "alpha.png"))
    alpha = deep[:, :, 3:] / 65535
    over_white = deep[:, :, :3] / 65535 * alpha + (1 - alpha)
    expected = torch.from_numpy(over_white).permute(2, 0, 1)[None].float()
    torch.testing.assert_close(read(tmp_path / "alpha.png"), expected, rtol=0, atol=0.51 / 65535)


@pytest.mark.parametrize("in_memory", [0, 10**6])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, picture, monkeypatch, orientation, in_memory) -> None:
    monkeypatch.setattr(bench.pixel_rows, "IN_MEMORY", in_memory)
    monkeypatch.setattr("bench.vips_rows._TURNED_STRIP", 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", "a.jpg", "a.tif", "a.webp"):
        Image.fromarray(picture).save(tmp_path / name, exif=exif)
        expected = read_image(tmp_path / name)
        source = VipsSource(tmp_path / name, scratch=tmp_path)
        assert (source.height, source.width) == expected.shape[:2]
        for rows in (16, 25):
            found = to_uint8(torch.cat(list(source.bands(rows)), 2))
            np.testing.assert_array_equal(found, expected)
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    Image.fromarray(deep).save(tmp_path / "deep.png", exif=exif)
    np.testing.assert_array_equal(
        to_uint8(read(tmp_path / "deep.png", rows=2)), read_image(tmp_path / "deep.png")
    )


def test_no_room_to_turn_an_image(tmp_path, picture, monkeypatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    monkeypatch.setattr(bench.pixel_rows, "IN_MEMORY", 1000)
    full = type("Usage", (), {"free": 10**6})
    monkeypatch.setattr(bench.execution.spool.shutil, "disk_usage", lambda _: full)
    with pytest.raises(EnvironmentUnfitError) as error:
        read(tmp_path / "a.png")
    assert str(tmp_path) in problem(error)


# --- Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files(tmp_path, picture, suffix, kept) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(picture).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(UserError) as error:
        read(path)
    assert str(path) in problem(error)
    assert error.value.exit_code == 2


def test_what_is_no_readable_image(tmp_path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(UserError) as error:
            VipsSource(tmp_path / name, scratch=tmp_path)
        assert str(tmp_path / name) in problem(error)
        return problem(error)

    (tmp_path / "empty.png").touch()
    assert "empty" in refused("empty.png")
    (tmp_path / "folder.png").mkdir()
    assert "folder, not" in refused("folder.png")
    (tmp_path / "text.png").write_text("not an image\n" * 50)
    assert "not an image" in refused("text.png")
    assert "did you mean 'text.png'?" in refused("txt.png")
    (tmp_path / "magic.tif").write_bytes(b"II*\0" + b"\xff" * 50)
    refused("magic.tif")
    (tmp_path / "magic.jpg").write_bytes(b"\xff\xd8\xff" + b"\0" * 50)
    refused("magic.jpg")


@pytest.mark.parametrize(
    ("name", "size", "depth", "words"),
    [
        ("a.jpg", (8, 8), 16, "write .png or .tiff"),
        ("a.webp", (8, 8), 16, "8 bits a channel, not 16"),
        ("a.jpg", (65536, 8), 8, "65535 px a side, the image is 65536x8"),
        ("a.webp", (8, 16384), 8, "16383 px a side"),
        ("a.pgn", (8, 8), 8, "did you mean '.png'?"),
        ("missing/a.png", (8, 8), 8, "no such folder"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, size, depth, words) -> None:
    with pytest.raises(UserError) as error:
        VipsSink(tmp_path / name, *size, depth=depth)
    assert words in problem(error)
    assert not list(tmp_path.iterdir())


def test_values_that_are_not_finite(tmp_path) -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[0, 1, 3, 3] = float("nan")
    with pytest.raises(UserError) as error:
        write(tmp_path / "a.png", image)
    assert "not finite" in problem(error)
    assert not list(tmp_path.iterdir())


# --- Ends of every kind ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, picture, name) -> None:
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), VipsSink(tmp_path / name, 70, 90) as sink:
        sink.write(tensor(picture)[:, :, :40])
        raise RuntimeError("half way")
    with pytest.raises(ValueError, match="40 rows of 90"), VipsSink(tmp_path / name, 70, 90) as s:
        s.write(tensor(picture)[:, :, :40])
        s.commit()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"old"}


def test_a_failure_to_write_is_told_and_stops_nobody(tmp_path, monkeypatch) -> None:
    """More rows than a pipe holds go to a thread that has given up."""
    options = ("tiffsave", {"compression": "no such thing"})
    monkeypatch.setattr("bench.vips_rows._saver", lambda *_, **__: options)
    with pytest.raises(UserError) as error:
        write(tmp_path / "a.tif", torch.rand(1, 3, 1000, 1000))
    assert "cannot be written" in problem(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_no_room_for_the_file(tmp_path, name) -> None:
    """A limit on the sizes of files fails as a full disc does."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(UserError) as error:
            write(tmp_path / name, torch.rand(1, 3, 700, 700))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert problem(error) == f"{tmp_path / name}: cannot be written: File too large"
    assert not list(tmp_path.iterdir())


def test_what_others_left_is_removed_and_what_they_write_is_not(tmp_path, picture) -> None:
    (tmp_path / ".a.png.0123abcd.unfinished").write_bytes(b"killed")
    (tmp_path / ".b.png.0123abcd.unfinished").write_bytes(b"another's")
    with VipsSink(tmp_path / "a.png", 70, 90) as first:
        first.write(tensor(picture)[:, :, :50])
        write(tmp_path / "a.png", tensor(picture[::-1].copy()))
        first.write(tensor(picture)[:, :, 50:])
        first.commit()
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.png", ".b.png.0123abcd.unfinished"}


_WRITE_FOR_EVER = """
import sys, torch
from pathlib import Path
from bench.stylize import _ending_on_signals
from bench.vips_rows import VipsSink
with _ending_on_signals(), VipsSink(Path(sys.argv[1]), 1000, 10**6) as sink:
    sink.write(torch.rand(1, 3, 200, 1000))
    while True:
        sink.write(torch.rand(1, 3, 1, 1000))
        print("going on", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_killed_half_way(tmp_path, number) -> None:
    path = tmp_path / "a.tif"
    command = [sys.executable, "-c", _WRITE_FOR_EVER, str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"going on\n"
        process.send_signal(getattr(signal, number))
        process.stdout.read()
    assert process.returncode != 0
    left = [entry.name for entry in tmp_path.iterdir()]
    if number == "SIGKILL":
        (name,) = left
        assert name.startswith(".a.tif.")
        assert name.endswith(".unfinished")
        write(path, torch.rand(1, 3, 5, 5))
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]
    else:
        assert left == []


# --- Memory and reading ahead ---------------------------------------------------------------------

_COPY = """
import sys, torch
from pathlib import Path
from bench.measure.memory import HostMeter
from bench.prefetch import Prefetched
from bench.vips_rows import VipsSink, VipsSource
torch.set_num_threads(1)
a, b = map(Path, sys.argv[1:3])
w, h = 2000, 16000
band = torch.rand(1, 3, 32, 1).expand(-1, -1, -1, w)
meter = HostMeter()
meter.start()
with VipsSink(a, w, h) as sink:
    for _ in range(h // 32):
        sink.write(band)
    sink.commit()
source = Prefetched(VipsSource(a, scratch=a.parent), torch.device("cpu"))
with VipsSink(b, w, h, tiled=True) as sink:
    for rows in source.bands(32):
        sink.write(rows)
    sink.commit()
print(meter.stop()["peak_rss_growth_mb"])
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("names", [("a.png", "b.tif"), ("a.tif", "b.jpg")])
def test_memory_is_bounded(tmp_path, names) -> None:
    """An image of 32 MP takes 384 MB as floats, and 96 MB even as bytes."""
    paths = [str(tmp_path / name) for name in names]
    command = [sys.executable, "-c", _COPY, *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 80


def test_no_more_is_read_ahead_than_said() -> None:
    class Counting(TensorSource):
        taken = 0

        def bands(self, rows):
            for band in super().bands(rows):
                self.taken += 1
                yield band

    image = torch.rand(1, 3, 50, 2)
    source = Counting(image)
    found = []
    for count, band in enumerate(Prefetched(source, torch.device("cpu")).bands(4), start=1):
        found.append(band)
        if count == 3:
            time.sleep(0.05)
        assert source.taken <= count + AHEAD
    assert torch.equal(torch.cat(found, 2), image)


def test_what_goes_wrong_ahead_is_raised_where_it_is_read(tmp_path, picture) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(picture).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    bands = Prefetched(VipsSource(path, scratch=tmp_path), torch.device("cpu")).bands(4)
    with pytest.raises(UserError) as error:
        list(bands)
    assert str(path) in problem(error)


@pytest.mark.gpu
def test_from_and_to_the_card(tmp_path, picture) -> None:
    pixels = np.tile(picture, (4, 5, 1))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    device = torch.device("cuda")
    source = Prefetched(VipsSource(tmp_path / "a.png", scratch=tmp_path), device)
    with VipsSink(tmp_path / "b.png", source.width, source.height) as sink:
        for band in source.bands(16):
            assert band.is_cuda
            sink.write(band)
        sink.commit()
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), pixels)

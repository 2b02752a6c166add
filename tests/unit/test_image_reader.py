"""What the reader and the writers of image files promise beyond pixels."""

import io
import multiprocessing
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from PIL import Image, ImageCms

from bench.errors import UserError
from bench.stylize import _metadata
from bench.vips_rows import VipsSink, VipsSource
from distill.files import LONGEST_NAME, temporary_path, write_bytes_atomically
from distill.image_files import write_picture
from distill.images.icc import SRGB, profile_space
from distill.images.kinds import identify
from distill.images.metadata import upright_exif
from distill.images.reader import ImageFile, read_image, read_pixels, resize, why_unreadable
from tests.unit.odd_images import (
    ODD,
    RGB,
    byte_orientation,
    converted,
    exif_of,
    over_white,
    picture,
    profile,
    tiff,
    wide_gamut,
)


def write(path: Path, pixels: np.ndarray, **options: object) -> None:
    height, width = pixels.shape[:2]
    bands = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with VipsSink(path, width, height, **options) as sink:  # type: ignore[arg-type]
        sink.write(bands)
        sink.commit()


# --- Damage ---------------------------------------------------------------------------------------

LAYOUTS = {
    "a.jpg": {},
    "progressive.jpg": {"interlace": True},
    "restarts.jpg": {"restart_interval": 4},
    "a.png": {},
    "interlaced.png": {"interlace": True},
    "a.webp": {},
    "lossless.webp": {"lossless": True},
    "a.gif": {},
    "a.avif": {"effort": 0},
    "raw.tif": {},
    "deflate.tif": {"compression": "deflate"},
    "lzw.tif": {"compression": "lzw"},
    "jpeg.tif": {"compression": "jpeg"},
    "tiled.tif": {"tile": True, "tile_width": 32, "tile_height": 32},
    "tiled-lzw.tif": {"tile": True, "tile_width": 32, "tile_height": 32, "compression": "lzw"},
    "tiled-deflate.tif": {
        **{"tile": True, "tile_width": 32, "tile_height": 32},
        "compression": "deflate",
    },
    "tiled-jpeg.tif": {"tile": True, "tile_width": 32, "tile_height": 32, "compression": "jpeg"},
    "tiled-webp.tif": {"tile": True, "tile_width": 32, "tile_height": 32, "compression": "webp"},
    "a.bmp": None,
    "a.ppm": None,
    "a.jp2": None,
    "a.tga": None,
    "a.qoi": None,
}
UNCHECKED = {"raw.tif", "tiled.tif", "a.bmp", "a.ppm", "a.tga", "a.qoi", "a.jp2"}
UNCHECKED |= {"a.webp", "lossless.webp", "deflate.tif"}
"""Formats in which zeros are pixels like others, or are decoded as such."""


def noise() -> np.ndarray:
    """A ramp with noise: of noise alone a decoder of JPEG makes something whatever comes."""
    rows, columns = np.mgrid[0:96, 0:128]
    ramp = np.stack([rows * 2, columns * 1.9, 255 - rows - columns * 0.8], 2)
    noisy = ramp + np.random.default_rng(1).normal(0, 12, ramp.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def damageable(name: str, folder: Path) -> Path:
    path = folder / name
    options = LAYOUTS[name]
    if options is None:
        Image.fromarray(noise()).save(path)
    else:
        image = pyvips.Image.new_from_array(noise()).copy(interpretation="srgb")
        image.write_to_file(str(path), **options)
    assert why_unreadable(path) is None
    return path


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_that_is_cut_short_is_refused(name: str, tmp_path: Path) -> None:
    path = damageable(name, tmp_path)
    whole = path.read_bytes()
    for kept in (0.2, 0.5, 0.8, 0.95):
        path.write_bytes(whole[: int(len(whole) * kept)])
        refusal = why_unreadable(path)
        assert refusal is not None, kept
        assert refusal.startswith(f"{path}: cannot be read")
        assert "\n" not in refusal


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in UNCHECKED])
def test_zeros_where_data_was_are_refused(name: str, tmp_path: Path) -> None:
    path = damageable(name, tmp_path)
    content = bytearray(path.read_bytes())
    middle, length = len(content) // 2, len(content) // 4
    content[middle : middle + length] = bytes(length)
    path.write_bytes(content)
    refusal = why_unreadable(path)
    assert refusal is not None
    assert refusal.startswith(f"{path}: cannot be read")


@pytest.mark.parametrize("name", LAYOUTS)
def test_flipped_bits_end_in_a_picture_or_in_words(name: str, tmp_path: Path) -> None:
    path = damageable(name, tmp_path)
    rng = np.random.default_rng(3)
    whole = path.read_bytes()
    for _ in range(12):
        content = bytearray(whole)
        for at in rng.integers(0, len(content), 4):
            content[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        refusal = why_unreadable(path)
        assert refusal is None or refusal.startswith(f"{path}: "), refusal
        assert "\n" not in (refusal or "")


def test_the_words_for_one_file_are_not_another_files(tmp_path: Path) -> None:
    """libvips keeps what it complained of until the next error, of whatever file."""
    for name in ("ends-early.jpg", "tile-zeroed.tif", "bad-checksum.png"):
        ODD[name].make(tmp_path / name)
    alone = {path: why_unreadable(path) for path in tmp_path.iterdir()}
    good = tmp_path / "good.png"
    Image.fromarray(RGB).save(good)
    for path in alone:
        for other, words in alone.items():
            assert why_unreadable(path) == alone[path]
            assert why_unreadable(other) == words
        assert why_unreadable(good) is None
    # What others leave in the buffer is nobody's here.
    with pytest.raises(pyvips.Error):
        pyvips.Image.new_from_file(str(tmp_path / "none.png"))
    pyvips.vips_lib.vips_error_clear()
    assert why_unreadable(good) is None


def test_threads_that_read_at_once_are_told_of_their_own_file(tmp_path: Path) -> None:
    ODD["ends-early.jpg"].make(tmp_path / "bad.jpg")
    Image.fromarray(RGB).save(tmp_path / "good.jpg")
    told: dict[str, list[str | None]] = {"bad.jpg": [], "good.jpg": []}

    def read(name: str) -> None:
        for _ in range(30):
            told[name].append(why_unreadable(tmp_path / name))

    threads = [threading.Thread(target=read, args=(name,)) for name in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(told["good.jpg"]) == {None}
    assert all(words and "bad.jpg" in words for words in told["bad.jpg"])


def _read_in_child(path: Path, results: "multiprocessing.Queue[object]") -> None:
    results.put(read_image(path).tobytes())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_reads_too(tmp_path: Path) -> None:
    """As the workers of a loader of training images do, once the parent has read some."""
    for name in ("wide.png", "big-tiled.tif", "plain.avif", "ink.jpg"):
        ODD[name].make(tmp_path / name)
        expected = read_image(tmp_path / name)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=_read_in_child, args=(tmp_path / name, results))
        child.start()
        assert results.get(timeout=60) == expected.tobytes()
        child.join()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_no_file_stays_open(tmp_path: Path) -> None:
    for name in ("wide.png", "big-tiled.tif", "plain.avif", "planar16-tiled.tif", "plain.bmp"):
        ODD[name].make(tmp_path / name)
        read_image(tmp_path / name)
        ImageFile(tmp_path / name)  # looked at only
    opened = [one.readlink() for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    assert not [one for one in opened if one.is_relative_to(tmp_path)]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "bmp"):
        path = tmp_path / os.fsdecode(b"\xff\xfe." + suffix.encode())
        Image.fromarray(RGB).save(str(path))
        np.testing.assert_array_equal(read_image(path), RGB)
        path.write_bytes(path.read_bytes()[:-30])
        assert why_unreadable(path) is not None


# --- Kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "an AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "an HEIC photograph"),
        (b"\0\0\0\x1cftypavis\0\0\0\0avismsf1", "an AVIF"),
        (b"II*\0\x10\0\0\0CR\x02\0", "a raw photograph (CR2)"),
        (b"FUJIFILMCCD-RAW 0201", "a raw photograph"),
        (b"  <svg width='1'>", "an SVG drawing"),
        (b"<!-- made by hand -->\n<svg>", "an SVG drawing"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG"),
        (b"MM\0+\0\x08\0\0", "a TIFF"),
        (b"<html><head>404", "a web page"),
        (b"\x1f\x8b\x08\0", "a gzip archive (or a compressed SVG drawing)"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (bytes(128) + b"DICM", "a DICOM file"),
    ],
)
def test_kinds_by_their_first_bytes(start: bytes, name: str) -> None:
    kind = identify(start)
    assert kind is not None
    assert kind.name == name
    assert kind.decoder is not None or kind.advice


# --- Colour ---------------------------------------------------------------------------------------


def test_the_profile_that_is_written_is_srgb() -> None:
    assert len(SRGB) < 500
    assert profile_space(SRGB, "rgb") is None
    assert profile_space(profile((0.64, 0.33), (0.3, 0.6), (0.15, 0.06), 1.8), "rgb") == "rgb"
    # By LittleCMS, to its own sRGB: every level stays.
    ramp = np.stack([np.arange(256, dtype=np.uint8)] * 3, 1)[None]
    shown = ImageCms.profileToProfile(
        Image.fromarray(ramp),
        ImageCms.ImageCmsProfile(io.BytesIO(SRGB)),
        ImageCms.createProfile("sRGB"),
    )
    assert shown is not None
    assert np.abs(np.asarray(shown).astype(int) - ramp).max() <= 1


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_what_is_written_says_that_it_is_srgb(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, RGB)
    write_picture(tmp_path / f"small-{name}", RGB)
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.info["icc_profile"] == SRGB
            assert "exif" not in image.info
        error = np.abs(read_image(path).astype(int) - RGB).mean()
        assert error <= (6 if name in ("a.jpg", "a.webp") else 0)


@pytest.mark.parametrize("name", ["a.png", "strips.tif", "tiles.tif"])
def test_colours_and_transparency_stay_together_strip_by_strip(tmp_path: Path, name: str) -> None:
    """They are read from one file from top to bottom, each by way of its own operations."""
    pixels = np.tile(np.dstack([RGB, RGB[:, :, 1]]), (40, 30, 1))
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", wide_gamut())
    tiles = {"tile": True, "tile_width": 64, "tile_height": 64} if name == "tiles.tif" else {}
    image.write_to_file(str(tmp_path / name), **tiles)
    right = over_white(converted(pixels[:, :, :3], wide_gamut()), pixels[:, :, 3])
    for rows in (16, 100, 800):
        found = np.concatenate(list(ImageFile(tmp_path / name).strips(rows)))
        np.testing.assert_allclose(found, right, rtol=0, atol=1.5)


# --- Metadata -------------------------------------------------------------------------------------


def camera_exif() -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    tags[0x0112] = 6
    tags.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    tags.get_ifd(0x8769)[0xA002] = 24
    tags.get_ifd(0x8825)[0x0001] = "N"
    return tags.tobytes()


@pytest.mark.parametrize("content", ["c.jpg", "c.png", "c.tif", "c.webp"])
@pytest.mark.parametrize("out", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_exif_and_resolution_are_kept_on_request(tmp_path: Path, content: str, out: str) -> None:
    Image.fromarray(RGB).save(tmp_path / content, exif=camera_exif(), dpi=(300, 300))
    source = VipsSource(tmp_path / content)
    if out == "a.tif" and content != "c.tif":
        with pytest.raises(UserError, match="EXIF is not written into TIFF"):
            _metadata(tmp_path / content, tmp_path / out, source)
        return
    kept = _metadata(tmp_path / content, tmp_path / out, source)
    pixels = np.zeros((source.height, source.width, 3), np.uint8)
    write(tmp_path / out, pixels, metadata=kept)
    with Image.open(tmp_path / out) as image:
        tags = image.getexif()
        assert tags.get(0x0112, 1) == 1  # it stands upright
        if content != "c.tif":  # whose tags are the file's own, and not EXIF
            assert tags[0x010F].rstrip("\0") == "Maker"
            assert tags.get_ifd(0x8769)[0x9003].rstrip("\0") == "2024:05:06 07:08:09"
            assert tags.get_ifd(0x8769).get(0xA002, 20) == 20
            assert tags.get_ifd(0x8825)[1].rstrip("\0") == "N"
        if "webp" not in content + out:
            assert np.allclose(image.info["dpi"], 300, atol=0.5)
        assert image.info["icc_profile"] == SRGB


def test_exif_loses_its_orientation_and_its_preview() -> None:
    tags = Image.Exif()
    tags[0x0112], tags[0x0131] = 8, "software"
    kept = upright_exif(tags.tobytes(), 5, 6)
    read = Image.Exif()
    read.load(kept)
    assert dict(read) == {0x0131: "software"}
    for bad in (b"", b"nonsense", exif_of(3)[:9], exif_of(3)[:20]):
        with pytest.raises(ValueError, match=r"."):
            upright_exif(bad, 5, 6)
    assert upright_exif(byte_orientation(6), 5, 6)


# --- Where files go -------------------------------------------------------------------------------


def _by_sink(path: Path) -> None:
    write(path, RGB)


def _by_pillow(path: Path) -> None:
    write_picture(path, RGB)


@pytest.mark.parametrize("writer", [_by_sink, _by_pillow])
def test_a_link_is_written_through(tmp_path: Path, writer) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target.png", tmp_path / "link.png"
    link.symlink_to(target)
    for before in (None, b"old"):  # a link that leads nowhere yet, and one that leads to a file
        if before is not None:
            target.write_bytes(before)
        writer(link)
        assert link.is_symlink()
        np.testing.assert_array_equal(read_image(target), RGB)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["target.png"]
    assert {path.name for path in tmp_path.iterdir()} == {"there", "link.png"}


@pytest.mark.parametrize("writer", [_by_sink, _by_pillow])
@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_name_as_long_as_names_may_be(tmp_path: Path, writer, letter: str) -> None:
    for length in (200, 244, LONGEST_NAME):
        name = letter * ((length - 4) // len(letter.encode())) + ".png"
        writer(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name), RGB)
    write_bytes_atomically(tmp_path / ("y" * LONGEST_NAME), b"whole")
    assert len(list(tmp_path.iterdir())) == 4


def test_what_was_left_of_a_long_name_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    temporary_path(path, ".0123abcd.unfinished").write_bytes(b"killed")
    other = tmp_path / ("x" * 250 + "y.png")
    left = temporary_path(other, ".0123abcd.unfinished")
    left.write_bytes(b"another's")
    _by_sink(path)
    assert {one.name for one in tmp_path.iterdir()} == {path.name, left.name}


@pytest.mark.parametrize("writer", [_by_sink, _by_pillow])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, writer) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="not a regular file"):
        writer(tmp_path / "pipe.png")
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    with pytest.raises(UserError) as caught:
        writer(loop)
    assert str(loop) in str(caught.value)
    assert loop.is_symlink()


# --- Sizes ----------------------------------------------------------------------------------------


def test_16_bits_are_resized_as_8_are(tmp_path: Path) -> None:
    tiff(RGB.astype(np.uint16) * 257, "rgb")(tmp_path / "a.tif")
    small = resize(read_pixels(tmp_path / "a.tif"), (11, 9))
    assert small.dtype == np.uint16
    np.testing.assert_allclose(small / 257, resize(picture(), (11, 9)), atol=1.1)


def test_a_jpeg_comes_reduced_and_never_below_what_is_needed() -> None:
    file = io.BytesIO()
    Image.fromarray(np.tile(RGB, (20, 20, 1))).save(file, "JPEG")
    for at_least, factor in ((None, 1), (400, 1), (201, 1), (200, 2), (50, 8), (9, 8)):
        image = ImageFile(file.getvalue(), at_least=at_least)
        assert (image.width, image.height) == (480 // factor, 400 // factor)
        # The pixels of libjpeg's own reduction, which Pillow calls a draft.
        with Image.open(io.BytesIO(file.getvalue())) as draft:
            draft.draft("RGB", (480 // factor, 400 // factor))
            np.testing.assert_array_equal(image.pixels(), np.asarray(draft))

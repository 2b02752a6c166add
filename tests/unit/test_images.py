"""Image files of every kind, sizes, specs and tensors."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import bench.image_specs
from bench.errors import UserError
from bench.image_specs import (
    BUILTIN_CONTENTS,
    BUILTIN_STYLES,
    builtin_names,
    expand_images,
)
from bench.image_tensors import load_tensor, to_uint8
from bench.images import cover, image_size, read_image, resize
from bench.scenes import Scene
from bench.units import Size
from distill.image_files import check_writable, write_picture


@pytest.fixture
def picture() -> np.ndarray:
    """Small, smooth and not symmetric, uint8 (20, 30, 3)."""
    rows, columns = np.mgrid[0:20, 0:30]
    return np.stack([rows * 12, columns * 8, 255 - rows * 6 - columns * 4], 2).astype(np.uint8)


def problem(error: pytest.ExceptionInfo[UserError]) -> str:
    """The one line that the user sees."""
    (line,) = error.value.problems
    assert "\n" not in line
    assert error.value.exit_code == 2
    return line


# --- Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_lossless_formats_are_read_exactly(
    tmp_path: Path, picture: np.ndarray, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture).save(path, **({"lossless": True} if suffix == "webp" else {}))
    read = read_image(path)
    assert read.dtype == np.uint8
    assert read.flags.writeable
    np.testing.assert_array_equal(read, picture)


def test_the_format_is_told_by_content_not_by_name(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture).save(path, format="PNG")
    np.testing.assert_array_equal(read_image(path), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, picture: np.ndarray, orientation: int) -> None:
    # How a camera stores an upright picture under each orientation (Exif 2.3, tag 0x0112).
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), picture)
    assert image_size(path) == Size(30, 20)


def test_grey_and_black_and_white(tmp_path: Path, picture: np.ndarray) -> None:
    grey = picture[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), grey[:, :, None].repeat(3, 2))
    bits = grey > 100
    Image.fromarray(bits).save(tmp_path / "bits.png")
    expected = (bits[:, :, None].repeat(3, 2) * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png"), expected)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 128, 129, 257], [32768, 40000, 65406, 65535]], dtype=np.uint16)
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(deep).save(path)
    expected = np.rint(deep / 65535 * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_image(path)[:, :, 1], expected)


def test_grey_of_16_bits_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png")[:, :, 0].tolist() == [[0], [255]]


def test_colour_of_16_bits(tmp_path: Path, picture: np.ndarray) -> None:
    """Pillow cannot write it, so the file is put together by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    deep = picture.astype(">u2") * 257
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    header = struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0)
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(read_image(path), picture)


def test_floats_of_0_to_1_are_read_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.tiff"
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(path)
    assert read_image(path)[0, :, 0].tolist() == [0, 128, 255]
    for bad in (1.5, -0.1, float("nan")):
        Image.fromarray(np.array([[0.0, bad]], dtype=np.float32)).save(path)
        with pytest.raises(UserError) as error:
            read_image(path)
        assert "must lie in 0..1" in problem(error)


def test_integers_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.tiff"
    Image.fromarray(np.array([[0, 70000]], dtype=np.int32)).save(path)
    with pytest.raises(UserError) as error:
        read_image(path)
    assert "0 to 70000" in problem(error)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    assert read_image(tmp_path / "rgba.png")[0].tolist() == [[200, 0, 0], [255] * 3, [127] * 3]

    Image.fromarray(rgba[:, :, 2:]).save(tmp_path / "la.png")
    assert read_image(tmp_path / "la.png")[0].tolist() == [[0] * 3, [255] * 3, [127] * 3]

    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "opaque.png")
    assert read_image(tmp_path / "opaque.png")[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    palette.save(tmp_path / "keyed.png", transparency=1)
    assert read_image(tmp_path / "keyed.png")[0].tolist() == [[10, 20, 30], [255] * 3]


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ink.{suffix}"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path)
    np.testing.assert_allclose(read_image(path)[8, 8], [255, 0, 0], atol=3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "tiff"])
def test_the_first_of_several_frames(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert (read_image(tmp_path / f"a.{suffix}") == [255, 0, 0]).all()


def test_a_single_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "dot.png")
    assert read_image(tmp_path / "dot.png").tolist() == [[[1, 2, 3]]]
    tensor = load_tensor(str(tmp_path / "dot.png"), Size(5, 3), role="content")
    assert tensor.shape == (1, 3, 3, 5)


def test_pillows_limit_of_size_does_not_apply(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(picture).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 600 px are beyond twice that: refused
    np.testing.assert_array_equal(read_image(path), picture)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr("distill.images.decoders.MAX_READ_PIXELS", 599)
    with pytest.raises(UserError) as error:
        read_image(path)
    assert "30x20" in problem(error)


def test_what_is_no_readable_image(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(UserError) as error:
            read_image(path)
        line = problem(error)
        assert str(path) in line
        return line

    (tmp_path / "empty.png").touch()
    assert "empty" in refused(tmp_path / "empty.png")
    (tmp_path / "folder.png").mkdir()
    assert "folder, not" in refused(tmp_path / "folder.png")
    (tmp_path / "text.png").write_text("not an image\n" * 50)
    assert "not an image" in refused(tmp_path / "text.png")
    assert "did you mean 'text.png'?" in refused(tmp_path / "txt.png")
    assert "no such file" in refused(tmp_path / "nowhere" / "a.png")
    refused(tmp_path / ("long" * 200))
    os.mkfifo(tmp_path / "pipe.png")
    assert "regular file" in refused(tmp_path / "pipe.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(UserError) as error:
        read_image(path)
    assert str(path) in problem(error)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_never_end_in_a_traceback(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    suffix = data.draw(st.sampled_from(["png", "jpeg", "gif", "tiff", "bmp", "webp"]))
    file = io.BytesIO()
    Image.new("RGB", (9, 7), "teal").save(file, format=suffix)
    damaged = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a"
    path.write_bytes(damaged)
    try:
        image = read_image(path)
    except UserError as error:
        assert len(error.problems) == 1
    else:
        assert image.ndim == 3


# --- Writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "A.PNG"])
def test_lossless_round_trip(tmp_path: Path, picture: np.ndarray, name: str) -> None:
    write_picture(tmp_path / name, picture)
    np.testing.assert_array_equal(read_image(tmp_path / name), picture)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_lossy_round_trip_stays_near(tmp_path: Path, picture: np.ndarray, name: str) -> None:
    write_picture(tmp_path / name, picture)
    assert np.abs(read_image(tmp_path / name).astype(int) - picture).mean() < 6


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("a.pgn", (2, 2, 3), "did you mean '.png'?"),
        ("a", (2, 2, 3), ".png, .jpg"),
        ("missing/a.png", (2, 2, 3), "no such folder"),
        ("wide.jpg", (1, 65536, 3), "65535 px a side, the image is 65536x1"),
        ("tall.webp", (16384, 1, 3), "16383 px a side"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, name: str, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(UserError) as error:
        write_picture(tmp_path / name, np.zeros(shape, dtype=np.uint8))
    assert words in problem(error)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError):
        check_writable(tmp_path / name, Size(shape[1], shape[0]))


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    write_picture(path, picture)

    def full(self: Image.Image, file: io.BufferedWriter, **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError) as error:
        write_picture(path, picture[::-1])
    assert "No space left" in problem(error)
    np.testing.assert_array_equal(read_image(path), picture)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


# --- Sizes ----------------------------------------------------------------------------------------


def test_resize_is_pillows_lanczos(picture: np.ndarray) -> None:
    expected = Image.fromarray(picture).resize((11, 17), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(resize(picture, Size(11, 17)), np.asarray(expected))
    np.testing.assert_array_equal(resize(picture, Size(30, 20)), picture)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_cover_gives_the_size(width: int, height: int, to_width: int, to_height: int) -> None:
    image = np.full((height, width, 3), 77, dtype=np.uint8)
    covered = cover(image, Size(to_width, to_height))
    assert covered.shape == (to_height, to_width, 3)
    assert (covered == 77).all()


def test_cover_takes_the_centre_and_keeps_the_aspect_ratio() -> None:
    wide = np.zeros((50, 200, 3), dtype=np.uint8)
    wide[:, 65:135] = 255  # the middle square is white, and what the filter reaches beside it
    assert (cover(wide, Size(25, 25)) == 255).all()
    tall = wide.transpose(1, 0, 2).copy()
    assert (cover(tall, Size(25, 25)) == 255).all()
    np.testing.assert_array_equal(cover(wide, Size(100, 25)), resize(wide, Size(100, 25)))


# --- Specs ----------------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("b.png", "a.JPG", "c.webp", "notes.txt", ".hidden.png"):
        (folder / name).touch()
    (folder / "inner.png").mkdir()
    return tmp_path


def test_files_folders_and_globs(album: Path) -> None:
    def names(spec: str) -> list[str]:
        return [os.path.relpath(p, album) for p in expand_images(spec, key="k", base=album)]

    assert names("album/b.png") == ["album/b.png"]
    assert names("album") == ["album/a.JPG", "album/b.png", "album/c.webp"]
    assert names("album/*.png") == ["album/b.png"]
    assert names("**/c*") == ["album/c.webp"]
    assert names(str(album / "album" / "*.webp")) == ["album/c.webp"]
    (album / "odd[1].png").touch()
    assert names("odd[1].png") == ["odd[1].png"]
    assert expand_images("builtin", key="k", base=album) == ["builtin"]
    assert expand_images("builtin:starry", key="k", base=album) == ["builtin:starry"]


def test_a_folder_says_how_many_of_how_many_files_it_gave(album: Path) -> None:
    said: list[str] = []

    def taken(spec: str) -> list[str]:
        found = expand_images(spec, key="images.style", base=album, report=said.append)
        return [Path(path).name for path in found]

    for name in ("d.AVIF", "e.jp2", "f.jfif", "g.TIF", "old.TXT", "h.heic", "README"):
        (album / "album" / name).touch()
    assert taken("album") == [*("a.JPG", "b.png", "c.webp", "d.AVIF", "e.jp2", "f.jfif", "g.TIF")]
    counted, _, others = said[0].partition("; left out: 2 .txt, ")
    assert counted == "images.style: album: 7 of 11 files"
    assert set(others.split(", ")) == {"1 .heic", "1 without an ending"}
    said.clear()
    taken("album/*.png")
    taken("album/b.png")
    assert said == []
    taken("album/*")
    assert said[0].startswith("images.style: album/*: 7 of 11 files; left out: 2 .txt, ")


def test_a_folder_without_images_says_what_it_has(album: Path) -> None:
    (album / "raw").mkdir()
    (album / "raw/a.heic").touch()
    with pytest.raises(UserError, match=r"0 of 1 file; left out: 1 \.heic"):
        expand_images("raw", key="images.content", base=album)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("album/d.png", "did you mean"),
        ("albun/b.png", "did you mean 'album'?"),
        ("bultin", "did you mean 'builtin'?"),
        ("builtin:stary", "did you mean 'builtin:starry'?"),
        ("album/*.gif", "no image matches the glob"),
        ("void", "no images in the folder"),
        ("", "is not an image"),
        ("a\0b", "is not an image"),
        ("x" * 5000, "cannot be looked at"),
    ],
)
def test_specs_that_name_nothing(album: Path, spec: str, words: str) -> None:
    (album / "void").mkdir()
    with pytest.raises(UserError) as error:
        expand_images(spec, key="images.content", base=album)
    line = problem(error)
    assert line.startswith("images.content: ")
    assert repr(spec) in line
    assert words in line


# --- Built-in images and tensors ------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*builtin_names("content"), *builtin_names("style")])
def test_every_builtin_name_is_an_image(spec: str) -> None:
    tensor = load_tensor(spec, Size(96, 64), role="content")
    assert tensor.shape == (1, 3, 64, 96)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert 0 <= tensor.min() < tensor.max() <= 1
    assert tensor.std() > 0.08
    assert expand_images(spec, key="k", base=Path()) == [spec]


def test_builtin_names() -> None:
    assert builtin_names("content") == tuple(f"builtin:{name}" for name in BUILTIN_CONTENTS)
    assert builtin_names("style") == tuple(f"builtin:{name}" for name in BUILTIN_STYLES)
    assert len(set(builtin_names("content") + builtin_names("style"))) >= 9


def test_builtin_content_is_a_photograph_until_it_would_be_enlarged() -> None:
    astronaut = read_image(bench.image_specs._photograph("astronaut"))
    native = load_tensor("builtin", Size(512, 512), role="content")
    np.testing.assert_array_equal(to_uint8(native), astronaut)
    np.testing.assert_array_equal(
        to_uint8(load_tensor("builtin", Size(300, 100), role="content")),
        cover(astronaut, Size(300, 100)),
    )
    large = load_tensor("builtin", Size(513, 200), role="content")
    np.testing.assert_array_equal(to_uint8(large), Scene(513, 200, 0).rows(0, 200))
    assert load_tensor("builtin", None, role="content").shape == (1, 3, 512, 512)
    assert load_tensor("builtin", None, role="style").shape == (1, 3, 512, 512)


def test_a_scene_fills_the_tensor_strip_by_strip() -> None:
    size = Size(40_000, 70)  # several strips, the last one short
    tensor = load_tensor("builtin", size, role="style", dtype=torch.float16)
    assert tensor.dtype == torch.float16
    assert tensor.shape == (1, 3, 70, 40_000)
    np.testing.assert_array_equal(to_uint8(tensor), Scene(*size, 0, "style").rows(0, 70))


def test_loading_a_file(tmp_path: Path, picture: np.ndarray) -> None:
    path = str(tmp_path / "a.png")
    write_picture(path, picture)
    plain = load_tensor(path, None, role="style")
    assert plain.shape == (1, 3, 20, 30)
    np.testing.assert_array_equal(plain[0].permute(1, 2, 0), picture / np.float32(255))
    sized = load_tensor(path, Size(8, 9), role="style")
    np.testing.assert_array_equal(to_uint8(sized), cover(picture, Size(8, 9)))
    with pytest.raises(UserError):
        load_tensor(str(tmp_path / "b.png"), None, role="style")


def test_to_uint8_rounds_and_clamps() -> None:
    values = torch.tensor([-0.5, 0.0, 0.49 / 255, 0.51 / 255, 254.4 / 255, 1.0, 7.0])
    image = values.view(1, 1, 1, -1).expand(1, 3, 2, -1)
    assert to_uint8(image)[1, :, 2].tolist() == [0, 0, 0, 1, 254, 255, 255]
    levels = torch.arange(256).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    for dtype in (torch.float32, torch.float16):
        assert to_uint8((levels / 255).to(dtype))[0, :, 0].tolist() == list(range(256))


def test_to_uint8_refuses_what_is_no_image() -> None:
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not finite"):
            to_uint8(torch.zeros(1, 3, 2, 2).index_fill_(3, torch.tensor([1]), bad))
    with pytest.raises(ValueError, match="1x3xHxW"):
        to_uint8(torch.zeros(3, 2, 2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_on_the_card() -> None:
    size = Size(3000, 800)
    on_card = load_tensor("builtin", size, role="content", device="cuda", dtype=torch.float16)
    assert on_card.is_cuda
    np.testing.assert_array_equal(to_uint8(on_card), Scene(*size, 0).rows(0, 800))

"""Picture files as tensors, and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from distill.errors import UserError
from distill.image_files import check_writable
from distill.images.reader import picture_size
from distill.pictures import read_rgb, save_rgb


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_lossless_files_keep_every_level(height, width, seed, tmp_path_factory):
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 256, (1, 3, height, width), generator=generator)
    for ending in (".png", ".tiff"):
        path = tmp_path_factory.mktemp("picture") / f"x{ending}"
        save_rgb(levels / 255, path)
        found = read_rgb(path)
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        assert torch.equal((found * 255).round().long(), levels)
        assert picture_size(path) == (width, height)


def test_values_beyond_the_range_are_clamped_and_others_rounded(tmp_path):
    values = torch.tensor([-0.2, 0.499 / 255, 0.501 / 255, 1.3])
    save_rgb(values.expand(3, 1, 4), tmp_path / "x.png")
    assert np.asarray(Image.open(tmp_path / "x.png"))[0, :, 0].tolist() == [0, 0, 1, 255]


def test_resizing_by_both_sides_or_by_the_longer_one(tmp_path):
    save_rgb(torch.rand(1, 3, 30, 60), tmp_path / "x.png")
    assert read_rgb(tmp_path / "x.png", size=(7, 9)).shape == (1, 3, 9, 7)
    assert read_rgb(tmp_path / "x.png", longer=20).shape == (1, 3, 10, 20)


def test_a_turned_photograph_is_turned_back(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, 0] = 255  # the left edge, which becomes the upper one
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    found = read_rgb(tmp_path / "x.png")
    assert picture_size(tmp_path / "x.png") == (2, 4)
    assert found.shape == (1, 3, 4, 2)
    assert found[0, 0].tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]


def test_transparent_parts_are_over_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 0], [255, 0, 0, 255]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert read_rgb(tmp_path / "x.png")[0, :, 0].T.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_grey_of_16_bits_is_scaled_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "x.png")
    assert (read_rgb(tmp_path / "x.png")[0, 1, 0] * 255).round().tolist() == [0, 128, 255]


def _truncated(folder: Path) -> Path:
    path = folder / "cut.png"
    save_rgb(torch.rand(1, 3, 64, 64), path)
    path.write_bytes(path.read_bytes()[:4000])
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "phot.png", "no such file; did you mean 'photo.png'?"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: folder / "text.png", "is no picture"),
        (_truncated, "may be damaged"),
    ],
    ids=["missing", "folder", "text", "truncated"],
)
def test_what_cannot_be_read_is_named_in_one_line(make, says, tmp_path):
    save_rgb(torch.rand(1, 3, 2, 2), tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("not a picture")
    path = make(tmp_path)
    with pytest.raises(UserError) as caught:
        read_rgb(path)
    (problem,) = caught.value.problems
    assert problem.startswith(str(path))
    assert says in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("name", "says"),
    [("x.pgn", "did you mean '.png'?"), ("x", "ends in"), ("none/x.png", "no such folder")],
)
def test_an_output_that_cannot_be_written_is_refused_before(name, says, tmp_path):
    with pytest.raises(UserError, match=says.replace("?", r"\?")):
        check_writable(tmp_path / name)


def test_a_picture_with_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not finite"):
        save_rgb(torch.full((1, 3, 2, 2), torch.nan), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())

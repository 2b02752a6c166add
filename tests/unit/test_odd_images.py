"""Every odd image file, through what each command reads images with."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import UserError
from bench.image_tensors import load_tensor
from bench.images import image_size, read_image
from bench.quality.set_images import read_set
from bench.stylize import _source
from bench.units import Size
from distill.images.reader import picture_size, why_unreadable
from distill.pictures import read_rgb
from distill.training.data import list_images
from tests.unit.odd_images import ODD, Odd


def _from_rows(path: Path, size: Size | None) -> np.ndarray:
    source = _source(path, size, path.parent)
    bands = torch.cat(list(source.bands(7)), 2)
    assert bands.shape[2:] == (source.height, source.width)
    return _levels(bands)


def _levels(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy() * 255.0


def _from_tar(path: Path) -> np.ndarray:
    """As training reads it: bytes of a tar file."""
    archive = path.with_name("all.tar")
    with tarfile.open(archive, "w") as file:
        file.add(path, arcname="x.png")  # whatever it is
    try:
        return np.asarray(list_images([archive]).open(0))
    except UserError as error:
        raise UserError(str(error).replace(f"{archive}/x.png", str(path))) from error


def _size_of(path: Path) -> Size:
    try:
        return image_size(path)
    except UserError:
        return Size(24, 20)  # refused again, and in the same words, where it is read


READERS = {
    "content": lambda path: _from_rows(path, None),
    "content, --size": lambda path: _from_rows(path, _size_of(path)),
    "style": lambda path: read_image(path),
    "scenario": lambda path: _levels(load_tensor(str(path), None, role="style")),
    "scenario, size": lambda path: _levels(load_tensor(str(path), _size_of(path), role="content")),
    "study": lambda path: read_image(path),
    "metrics of sets": lambda path: next(iter(read_set([path], "x"))).permute(1, 2, 0),
    "gatys": lambda path: _levels(read_rgb(path)),
    "training": _from_tar,
}


@pytest.mark.parametrize("name", ODD)
def test_every_command_reads_it_alike_and_right(name: str, tmp_path: Path) -> None:
    odd: Odd = ODD[name]
    path = tmp_path / name
    odd.make(path)
    if isinstance(odd.right, str):
        for command, reader in READERS.items():
            if command == "training" and path.suffix == ".tga":
                continue
            with pytest.raises(UserError) as caught:
                reader(path)
            (problem,) = caught.value.problems
            assert problem.startswith(f"{path}: "), command
            assert odd.right in problem, command
            assert "\n" not in problem
            assert caught.value.exit_code == 2
            assert why_unreadable(path) == problem
        return
    assert why_unreadable(path) is None
    height, width = odd.right.shape[:2]
    assert picture_size(path) == (width, height)
    assert image_size(path) == Size(width, height)
    for command, reader in READERS.items():
        if command == "training" and path.suffix == ".tga":
            continue  # only its name tells what it is
        found = np.asarray(reader(path), np.float64)
        assert found.shape == odd.right.shape, command
        # What is of 8 bits in the end is rounded once more.
        atol = odd.within + (0.5 if odd.depth == 16 else 0.001)
        np.testing.assert_allclose(found, odd.right, rtol=0, atol=atol, err_msg=command)


def test_16_bits_are_kept(tmp_path: Path) -> None:
    for name, odd in ODD.items():
        if not isinstance(odd.right, str):
            odd.make(tmp_path / name)
            assert _source(tmp_path / name, None, tmp_path).depth == odd.depth, name
            assert _source(tmp_path / name, Size(9, 8), tmp_path).depth == odd.depth, name

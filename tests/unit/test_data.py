"""Training images: where they come from, and that crops come in an order that can be repeated."""

import io
import itertools
import multiprocessing
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill.errors import EnvironmentUnfitError, UserError
from distill.training.data import Crops, batches, crop, list_images


def picture(path: Path, size: tuple[int, int] = (80, 60), seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(5):
        picture(tmp_path / "photos" / f"sub{index % 2}" / f"{index}.png", seed=index)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def archive(folder: Path, path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                tar.add(file, file.relative_to(folder))
        tar.add(folder / "notes.txt", "._hidden.png")
    return path


def test_folders_globs_and_tar_files_give_the_same_images(folder: Path, tmp_path: Path) -> None:
    sets = [
        list_images([folder]),
        list_images([f"{folder}/**/*.png"]),
        list_images([archive(folder, tmp_path / "photos.tar")]),
    ]
    assert [len(images) for images in sets] == [5, 5, 5]
    assert len({images.digest() for images in sets}) == 1
    for index in range(5):
        pixels = [np.asarray(images.open(index)) for images in sets]
        assert (pixels[0] == pixels[1]).all()
        assert (pixels[0] == pixels[2]).all()


def test_digest_follows_what_is_there(folder: Path) -> None:
    before = list_images([folder]).digest()
    picture(folder / "more.png", seed=9)
    assert list_images([folder]).digest() != before


def test_only_the_ordered_digest_follows_the_order(folder: Path) -> None:
    parts = [folder / "sub0", folder / "sub1"]
    there, back = list_images(parts), list_images(parts[::-1])
    assert there.digest() == back.digest()
    assert there.digest(ordered=True) != back.digest(ordered=True)
    assert there.digest(ordered=True) == list_images([folder]).digest(ordered=True)


@pytest.mark.parametrize("source", ["missing", "empty", "missing/*.png"])
def test_sources_without_images_are_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=source.split("/")[0]):
        list_images([tmp_path / source])


def test_compressed_tar_is_refused_with_advice(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unpack"):
        list_images([archive(folder, tmp_path / "photos.tar.gz", "w:gz")])


def test_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 not a photograph")
    images = list_images([tmp_path])
    with pytest.raises(UserError, match=r"bad\.jpg: cannot be read.*--skip-unreadable"):
        next(batches(images, Crops(16, (16, 16)), batch=1, seed=0))


def test_the_next_image_stands_in_for_one_that_cannot_be_read(folder: Path) -> None:
    """The same one whatever the worker, the process and the step that a training goes on from."""
    whole = take(list_images([folder]), 5)
    broken = folder / "sub0" / "2.png"
    size = broken.stat().st_size
    broken.write_bytes(broken.read_bytes()[: size // 2])
    images = list_images([folder])
    said: list[str] = []
    alone = take(images, 5, skip=said.append)
    assert {line.partition(":")[0] for line in said} == {str(broken)}
    # Of 20 crops in 4 epochs, one in each is another image's.
    others = [
        not torch.equal(*pair) for pair in zip(torch.cat(whole), torch.cat(alone), strict=True)
    ]
    assert [sum(others[k : k + 5]) for k in (0, 5, 10, 15)] == [1, 1, 1, 1]
    assert len(said) == 4
    options = {"skip": said.append}
    for start, workers in ((3, 0), (0, 2)):
        found = take(images, 5 - start, start=start, workers=workers, **options)
        assert all(torch.equal(a, b) for a, b in zip(alone[start:], found, strict=True))
    halves = [take(images, 5, rank=rank, processes=2, **options) for rank in range(2)]
    for both, *parts in zip(alone, *halves, strict=True):
        assert torch.equal(both, torch.cat(parts))


def test_a_disk_that_reads_nothing_is_not_passed_over(folder: Path) -> None:
    images = list_images([folder])
    for file in folder.rglob("*.png"):
        file.unlink()
    with pytest.raises(UserError, match=r"No such file.*nor can 4 other images in a row"):
        take(images, 1, skip=lambda problem: None)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    Image.new("L", (20, 30), 100).save(tmp_path / "a.png")
    Image.new("RGBA", (20, 30), (1, 2, 3, 4)).save(tmp_path / "b.png")
    images = list_images([tmp_path])
    assert [images.open(i).mode for i in range(2)] == ["RGB", "RGB"]


def test_pixels_are_what_every_reader_sees(tmp_path: Path) -> None:
    clear = np.array([[[255, 0, 0, 0], [255, 0, 0, 255]]], np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    over, grey = (np.asarray(list_images([tmp_path]).open(i)) for i in range(2))
    assert over.tolist() == [[[255, 255, 255], [255, 0, 0]]]
    assert grey[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("size", [(80, 60), (60, 80), (48, 200), (16, 16), (17, 16)])
def test_crops_lie_inside_whatever_the_shape(tmp_path: Path, size: tuple[int, int]) -> None:
    # One plain colour: a crop that left the image would bring in black.
    Image.new("RGB", size, (10, 200, 90)).save(tmp_path / "a.png")
    images = list_images([tmp_path])
    for seed in range(20):
        found = crop(images, 0, Crops(32, (32, 50)), np.random.default_rng(seed))
        assert found.shape == (3, 32, 32)
        assert (torch.tensor([10, 200, 90]) == found.flatten(1).T).all()


@pytest.mark.parametrize("arguments", [(30, (40, 50)), (32, (16, 50)), (32, (50, 40)), (0, (1, 1))])
def test_impossible_crops_are_refused(arguments: tuple[int, tuple[int, int]]) -> None:
    with pytest.raises(UserError):
        Crops(*arguments)


def take(images, count: int, **options) -> list[torch.Tensor]:
    settings = {"batch": 4, "seed": 3} | options
    return list(itertools.islice(batches(images, Crops(16, (16, 40)), **settings), count))


def test_batches_go_on_from_any_step(folder: Path) -> None:
    images = list_images([folder])
    whole = take(images, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], take(images, 4, start=2), strict=True))
    assert not torch.equal(whole[0], take(images, 1, seed=4)[0])


def test_a_killed_worker_ends_the_stream_with_one_line(folder: Path) -> None:
    before = set(multiprocessing.active_children())
    stream = batches(list_images([folder]), Crops(16, (16, 40)), batch=2, seed=0, workers=2)
    next(stream)
    for child in set(multiprocessing.active_children()) - before:
        child.kill()
    with pytest.raises(EnvironmentUnfitError, match=r"workers: .*fewer --workers"):
        for _ in range(20):  # what was decoded before still comes
            next(stream)


def test_workers_and_processes_see_the_same_images(folder: Path) -> None:
    images = list_images([folder])
    alone = take(images, 3)
    assert all(torch.equal(a, b) for a, b in zip(alone, take(images, 3, workers=2), strict=True))
    halves = [take(images, 3, rank=rank, processes=2) for rank in range(2)]
    assert all(
        torch.equal(whole, torch.cat(parts)) for whole, *parts in zip(alone, *halves, strict=True)
    )


def test_every_image_comes_once_in_an_epoch(tmp_path: Path) -> None:
    for value in range(6):
        Image.new("RGB", (16, 16), (value * 40,) * 3).save(tmp_path / f"{value}.png")
    images = list_images([tmp_path])
    found = torch.cat(take(images, 3, batch=4))[:, 0, 0, 0]
    assert sorted(found[:6].tolist()) == sorted(found[6:].tolist()) == [v * 40 for v in range(6)]
    assert found[:6].tolist() != found[6:].tolist()


def test_uneven_share_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="batch"):
        next(batches(list_images([folder]), Crops(16, (16, 16)), batch=3, seed=0, processes=2))


def test_large_jpegs_are_drafted_not_below_what_is_needed(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1600, 1200)).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert min(list_images([tmp_path]).open(0, at_least=140).size) in (150, 300)

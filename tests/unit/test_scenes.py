"""Generated pictures: the same bytes however cut, natural statistics at every size."""

import itertools
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import bench.scenes.scene
from bench.scenes import CONTENT_NAMES, STRIP, STYLE_NAMES, Kind, Scene

EVERY = [
    *(pytest.param("content", seed, id=name) for seed, name in enumerate(CONTENT_NAMES)),
    *(pytest.param("style", seed, id=name) for seed, name in enumerate(STYLE_NAMES)),
]


def spectral_slope(image: np.ndarray) -> float:
    """Exponent of the radially averaged power spectrum of a square image's luminance."""
    grey = image.astype(np.float64).mean(axis=2)
    side = len(grey)
    window = np.hanning(side)[:, None] * np.hanning(side)
    power = np.abs(np.fft.fftshift(np.fft.fft2((grey - grey.mean()) * window))) ** 2
    rows, columns = np.indices(power.shape) - side // 2
    frequency = np.hypot(rows, columns)
    edges = np.geomspace(4, 0.45 * side, 15)
    middles, means = [], []
    for low, high in itertools.pairwise(edges):
        ring = (frequency >= low) & (frequency < high)
        middles.append(np.log(frequency[ring].mean()))
        means.append(np.log(power[ring].mean()))
    return float(np.polyfit(middles, means, 1)[0])


def gradient_kurtosis(image: np.ndarray) -> float:
    """Kurtosis of horizontal differences: 3 for Gaussian noise, far more for photographs."""
    steps = np.diff(image.astype(np.float64).mean(axis=2), axis=1)
    steps -= steps.mean()
    return float((steps**4).mean() / (steps**2).mean() ** 2)


def test_the_yardsticks_know_noise_from_an_enlarged_thumbnail() -> None:
    noise = np.random.default_rng(0).normal(size=(512, 512, 3))
    assert abs(spectral_slope(noise)) < 0.1
    assert gradient_kurtosis(noise) == pytest.approx(3, abs=0.2)
    thumbnail = Scene(1024, 1024, 0).rows(0, 1024)[400:432, 400:432]
    enlarged = np.asarray(Image.fromarray(thumbnail).resize((512, 512), Image.Resampling.BICUBIC))
    assert spectral_slope(enlarged) < -3.5


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_statistics_are_those_of_natural_images(kind: Kind, seed: int) -> None:
    image = Scene(1024, 1024, seed, kind).rows(0, 1024)
    assert -2.6 < spectral_slope(image) < -1.6
    assert gradient_kurtosis(image) > 5
    assert image.std() > 25


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_a_crop_of_a_large_picture_has_full_detail(kind: Kind, seed: int) -> None:
    scene = Scene(11552, 8656, seed, kind)
    strip = scene.rows(3500, 4012)
    crops = [strip[:, x : x + 512] for x in (500, 3000, 6000, 9000)]
    # Styles of flat colour are somewhat smoother between their edges.
    assert -2.8 < np.mean([spectral_slope(crop) for crop in crops]) < -1.6
    assert np.median([gradient_kurtosis(crop) for crop in crops]) > 3.8
    assert min(crop.std() for crop in crops) > 8


@pytest.mark.parametrize("kind", ["content", "style"])
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_however_it_is_cut_the_bytes_are_the_same(kind: Kind, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 300), label="width")
    height = data.draw(st.integers(1, 200), label="height")
    seed = data.draw(st.integers(0, 50), label="seed")
    whole = Scene(width, height, seed, kind).rows(0, height)
    assert whole.shape == (height, width, 3)
    assert whole.dtype == np.uint8
    cuts = sorted(data.draw(st.sets(st.integers(0, height), max_size=5), label="cuts"))
    edges = [0, *cuts, height]
    scene = Scene(width, height, seed, kind)
    strips = [scene.rows(top, bottom) for top, bottom in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(strips), whole)


@pytest.mark.parametrize("kind", ["content", "style"])
def test_tiles_and_threads_leave_no_trace(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Across the seams of tiles, whose lattices are made apart, and on one thread as on four."""
    monkeypatch.setattr(bench.scenes.scene, "usable_cores", lambda: 4)
    scene = Scene(2500, 150, 1, kind)
    threaded = scene.rows(0, 150)
    monkeypatch.setattr(bench.scenes.scene, "usable_cores", lambda: 1)
    np.testing.assert_array_equal(scene.rows(0, 150), threaded)
    steps = np.abs(np.diff(threaded.astype(int), axis=1)).mean(axis=(0, 2))
    seam = bench.scenes.scene._TILE_COLUMNS - 1
    assert steps[seam] < 2 * np.median(steps[seam - 50 : seam + 50])
    steps = np.abs(np.diff(threaded.astype(int), axis=0)).mean(axis=(1, 2))
    seam = bench.scenes.scene.STRIP - 1
    assert steps[seam] < 2 * np.median(steps[seam - 20 : seam + 20])


def test_seed_kind_and_size_make_the_picture() -> None:
    pictures = [
        Scene(200, 100, 0).rows(0, 100),
        Scene(200, 100, 4).rows(0, 100),
        Scene(200, 100, 0, "style").rows(0, 100),
        Scene(200, 100, 5, "style").rows(0, 100),
    ]
    for i, first in enumerate(pictures):
        for second in pictures[:i]:
            assert np.abs(first.astype(int) - second).mean() > 5


@pytest.mark.parametrize("kind", ["content", "style"])
def test_composition_scales_with_the_picture(kind: Kind) -> None:
    small = Scene(256, 256, 0, kind).rows(0, 256).astype(float)
    large = Scene(1024, 1024, 0, kind).rows(0, 1024).astype(float)
    coarse = [image.reshape(16, n, 16, n, 3).mean(axis=(1, 3)) for image, n in
              ((small, 16), (large, 64))]  # fmt: skip
    assert np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1] > 0.85


def test_memory_does_not_grow_with_the_height() -> None:
    def peak(height: int) -> int:
        tracemalloc.start()
        scene = Scene(2048, height, 0)
        for top in range(0, height, 128):
            scene.rows(top, min(top + 128, height))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(4096) < 1.5 * peak(512)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (17, 3)])
@pytest.mark.parametrize("kind", ["content", "style"])
def test_odd_sizes(kind: Kind, size: tuple[int, int]) -> None:
    width, height = size
    assert Scene(width, height, 0, kind).rows(0, height).shape == (height, width, 3)


def test_what_is_asked_must_exist() -> None:
    with pytest.raises(ValueError, match="0x5"):
        Scene(0, 5, 0)
    scene = Scene(10, 10, 0)
    assert scene.rows(4, 4).shape == (0, 10, 3)
    for rows in ((-1, 3), (5, 11), (6, 2)):
        with pytest.raises(ValueError, match="not within 0 to 10"):
            scene.rows(*rows)


def test_threads_leave_little_behind_under_a_memory_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many stacks a pool leaves is chance, and under a cap they count."""
    monkeypatch.setattr(bench.scenes.scene, "usable_cores", lambda: 4)
    scene = Scene(64, 4 * STRIP, 1)
    tile, stacks = scene._picture.tile, []

    def watched(rows: range, columns: range) -> np.ndarray:
        stacks.append(threading.stack_size())
        return tile(rows, columns)

    monkeypatch.setattr(scene._picture, "tile", watched)
    before = threading.stack_size()
    scene.rows(0, scene.height)
    assert len(stacks) == 4
    assert 0 < max(stacks) <= 2**20
    assert threading.stack_size() == before

"""Metrics of large images: in bands and tiles they are what they are of the whole image."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torchmetrics.functional.image as reference
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from bench.image_tensors import load_tensor
from bench.measure.memory import HostMeter
from bench.quality import similarity, streamed_losses, tiles
from bench.quality.similarity import ms_ssim_of, psnr_of, ssim_of
from bench.quality.streamed_losses import StreamedLosses, adain_losses, gram_losses, gram_of
from bench.quality.tiles import tile_slices, tiled_mean
from bench.units import Size
from distill.networks import ALIGNMENT, Encoder, seed_weights, student_widths
from distill.reference_losses import STYLE_LAYERS, ReferenceLosses, gram
from distill.training.losses import style_statistics
from distill.transforms import FeatureStats

pytestmark = pytest.mark.numerical

NETWORK = "vgg16-normalised"


def photo(name: str, width: int, height: int) -> Tensor:
    return load_tensor(f"builtin:{name}", Size(width, height), role="content")


def noisy(image: Tensor, amount: float = 0.1) -> Tensor:
    return (image + amount * torch.randn_like(image)).clamp(0, 1)


# ------------------------------------------------------------------------------------------ losses


@pytest.fixture(scope="module")
def streamed() -> StreamedLosses:
    return StreamedLosses(NETWORK, "cpu")


@pytest.fixture(scope="module")
def whole() -> ReferenceLosses:
    return ReferenceLosses(NETWORK, "cpu")


@pytest.fixture
def low_bands(monkeypatch):
    """Bands of 4 rows: everything there is to go wrong between them goes wrong."""
    monkeypatch.setattr(streamed_losses, "_BAND", {"cpu": 0})
    monkeypatch.setattr(similarity, "_BAND_PIXELS", 2000)


@pytest.mark.parametrize(("width", "height"), [(64, 80), (50, 99), (17, 33), (40, 16), (24, 5)])
def test_losses_in_bands_are_those_of_the_whole_image(streamed, whole, low_bands, width, height):
    output, content = photo("chelsea", width, height), photo("coffee", width, height)
    style = photo("astronaut", 70, 52)
    found, of_style = streamed.compare(output, content), streamed.statistics(style)
    features = [whole.features(image) for image in (output, content, style)]
    assert found.content_loss == pytest.approx(whole.content_loss(*features[:2]), rel=1e-5)
    expected = whole.style_losses(features[0], features[2])
    assert gram_losses(found.statistics, of_style) == pytest.approx(expected, rel=1e-5)


def test_bands_of_any_height_give_the_same(streamed, monkeypatch):
    output, content = photo("chelsea", 48, 200), photo("coffee", 48, 200)
    losses = []
    for most in (0, 3 * 10**6, 10**9):
        monkeypatch.setattr(streamed_losses, "_BAND", {"cpu": most})
        losses.append((streamed._rows(48, 200), streamed.compare(output, content)))
    assert [rows for rows, _ in losses] == [4, 64, 256]
    contents = [found.content_loss for _, found in losses]
    assert contents == pytest.approx([contents[0]] * 3, rel=1e-6)
    for layer in STYLE_LAYERS:
        first, *others = (gram_of(found.statistics[layer]) for _, found in losses)
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-5, atol=1e-8)


def test_adain_style_loss_is_that_of_training(streamed, whole):
    """Against the loss that decoders are trained with, on the plain network's features."""
    output, style = photo("chelsea", 64, 48), photo("coffee", 80, 64)
    found = adain_losses(streamed.statistics(output), streamed.statistics(style))
    with torch.inference_mode():
        maps = [whole._encoder.features(image, STYLE_LAYERS[:4]) for image in (output, style)]
        for layer, ours, theirs in zip(STYLE_LAYERS[:4], *maps, strict=True):
            expected = style_statistics([ours], [theirs]).item()
            assert found[layer] == pytest.approx(expected, rel=1e-4)
    assert len(found) == 4


@given(seed=st.integers(0, 2**31))
def test_gram_from_statistics_is_the_gram_matrix(seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, 5, 7, 6, generator=generator) + 3
    expected = gram(features.double())
    torch.testing.assert_close(gram_of(FeatureStats.of(features)), expected, rtol=1e-5, atol=1e-6)


def test_adain_style_loss_in_closed_form():
    """Two channels shifted by 3 and stretched by 2: nothing but means and deviations counts."""
    flat = torch.tensor([[-1.0, 1, -1, 1], [1, 1, -1, -1]]).view(1, 2, 2, 2)
    stats = {layer: FeatureStats.of(flat) for layer in STYLE_LAYERS}
    other = {layer: FeatureStats.of(2 * flat + 3) for layer in STYLE_LAYERS}
    difference = (4 + 1e-5) ** 0.5 - (1 + 1e-5) ** 0.5
    assert adain_losses(stats, other)["relu3_1"] == pytest.approx(9 + difference**2, rel=1e-6)
    assert set(adain_losses(stats, stats).values()) == {0.0}


def test_an_image_is_no_different_from_itself(streamed):
    image = photo("chelsea", 33, 49)
    found = streamed.compare(image, image)
    assert found.content_loss == 0
    assert set(gram_losses(found.statistics, found.statistics).values()) == {0.0}


def test_only_what_is_wanted_is_computed(streamed):
    image = photo("chelsea", 32, 32)
    assert streamed.compare(image).content_loss is None
    assert streamed.compare(image, image, statistics=False).statistics == {}
    with pytest.raises(ValueError, match="sizes differ"):
        streamed.compare(image, photo("chelsea", 32, 48))


@pytest.mark.gpu
def test_a_gpu_gives_the_same(streamed, low_bands):
    images = photo("chelsea", 90, 70), photo("coffee", 90, 70)
    on_gpu = tuple(image.cuda() for image in images)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = StreamedLosses(NETWORK, "cuda").compare(*on_gpu)
    expected = streamed.compare(*images)
    assert found.content_loss == pytest.approx(expected.content_loss, rel=1e-4)
    for layer in STYLE_LAYERS:
        ours, theirs = gram_of(found.statistics[layer]), gram_of(expected.statistics[layer])
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    # The teacher's output is a view of a file on the CPU.
    assert psnr_of(on_gpu[0], images[1]) == pytest.approx(psnr_of(*images), rel=1e-6)
    assert ssim_of(*on_gpu) == pytest.approx(ssim_of(*images), abs=1e-5)


def test_memory_does_not_grow_with_the_height(monkeypatch):
    """2.1 MP on narrow networks: whole, the two maps of conv1_2 alone would be 134 MB."""
    width, height = 512, 4096

    def narrow(name: str) -> Encoder:
        encoder = Encoder("vgg16", student_widths(64), 5)
        seed_weights(encoder, 0)
        return encoder.requires_grad_(False)

    monkeypatch.setattr(streamed_losses, "load_named", narrow)
    monkeypatch.setattr(streamed_losses, "_BAND", {"cpu": 4 * 10**6})
    output, content = torch.rand(1, 3, height, width), torch.rand(1, 3, height, width)
    losses = StreamedLosses("narrow", "cpu")
    losses.compare(output[:, :, :64], content[:, :, :64])  # what a first call takes once
    meter = HostMeter()
    meter.baseline()
    meter.start()
    found = losses.compare(output, content)
    peaks = meter.stop()
    assert found.statistics["relu1_1"].count == width * height
    if not peaks:
        pytest.skip("this system does not tell the peak of a process")
    # Bands take 30 to 46 MB, by what earlier tests left of the heap.
    assert peaks["peak_rss_growth_mb"] < 134 / 2


# ------------------------------------------------------------------------------ SSIM, MS-SSIM, PSNR


@pytest.mark.parametrize(("width", "height"), [(64, 80), (51, 99), (30, 11), (11, 23)])
def test_ssim_is_that_of_torchmetrics(low_bands, width, height):
    image = photo("chelsea", width, height)
    for other in (noisy(image), photo("coffee", width, height)):
        expected = reference.structural_similarity_index_measure(image, other, data_range=1.0)
        assert ssim_of(image, other) == pytest.approx(expected.item(), abs=2e-6)


@pytest.mark.parametrize(("width", "height"), [(176, 176), (183, 257), (200, 333)])
def test_ms_ssim_is_that_of_torchmetrics(low_bands, width, height):
    image = photo("chelsea", width, height)
    for other in (noisy(image), photo("coffee", width, height)):
        expected = reference.multiscale_structural_similarity_index_measure(
            image, other, data_range=1.0
        )
        assert ms_ssim_of(image, other) == pytest.approx(expected.item(), abs=5e-6)


def test_psnr_is_that_of_torchmetrics(low_bands):
    image = photo("chelsea", 64, 80)
    for amount in (0.3, 0.01):
        other = noisy(image, amount)
        expected = reference.peak_signal_noise_ratio(other, image, data_range=1.0)
        assert psnr_of(image, other) == pytest.approx(expected.item(), rel=1e-6)


def test_psnr_in_closed_form():
    assert psnr_of(torch.full((1, 3, 8, 8), 0.6), torch.full((1, 3, 8, 8), 0.5)) == (
        pytest.approx(20, abs=1e-4)
    )
    assert psnr_of(torch.ones(1, 3, 8, 8), torch.ones(1, 3, 8, 8)) == math.inf


def test_equal_images_are_alike_in_full():
    image = photo("coffee", 180, 190)
    assert ssim_of(image, image) == pytest.approx(1, abs=1e-6)
    assert ms_ssim_of(image, image) == pytest.approx(1, abs=1e-6)


def test_an_image_and_its_negative_are_unlike():
    """Contrast is negative there, which no exponent can take."""
    image = photo("coffee", 180, 190)
    assert ms_ssim_of(image, 1 - image) == 0


@pytest.mark.parametrize("measure", [ssim_of, ms_ssim_of, psnr_of])
def test_more_noise_is_less_alike(measure: Callable[[Tensor, Tensor], float]):
    image = photo("chelsea", 180, 180)
    values = [measure(image, noisy(image, amount)) for amount in (0.02, 0.05, 0.1, 0.3)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


# ------------------------------------------------------------------------------------------- tiles


@hypothesis_settings(max_examples=200)
@given(st.integers(1, 9000), st.integers(1, 9000))
def test_tiles_cover_an_image_once(height, width):
    found = list(tile_slices(height, width))
    rows = sorted({(r.start, r.stop) for r, _ in found})
    columns = sorted({(c.start, c.stop) for _, c in found})
    assert len(found) == len(rows) * len(columns)
    for cuts, side in ((rows, height), (columns, width)):
        assert cuts[0][0] == 0
        assert cuts[-1][1] == side
        assert all(a[1] == b[0] and a[1] % ALIGNMENT == 0 for a, b in pairwise(cuts))
        lengths = [end - start for start, end in cuts]
        if height * width > tiles.WHOLE:
            assert max(lengths) <= tiles.TILE + 16
            # So that no network is given a sliver.
            assert min(lengths) >= min(side, tiles.TILE // 2 - 16)
    if height * width <= tiles.WHOLE:
        assert len(found) == 1


def test_the_mean_over_tiles_counts_pixels(monkeypatch):
    monkeypatch.setattr(tiles, "WHOLE", 0)
    monkeypatch.setattr(tiles, "TILE", 32)
    first, second = torch.rand(1, 3, 70, 45), torch.rand(1, 3, 70, 45)
    sizes = []

    def difference(a: Tensor, b: Tensor) -> float:
        sizes.append(tuple(a.shape[2:]))
        return (a - b).abs().mean().item()

    expected = (first - second).abs().mean().item()
    assert tiled_mean(difference, first, second) == pytest.approx(expected, rel=1e-5)
    assert len(sizes) == 3 * 2
    assert len(set(sizes)) > 1

"""Statistics that accumulate, and the maps that match them."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.transforms import (
    ADAIN_EPSILON,
    ChannelAffine,
    FeatureStats,
    adain,
    rescale,
    standardize,
    whiten,
    whiten_color,
)
from tests.plain import plain_adain, plain_whiten_color

pytestmark = pytest.mark.numerical

SEEDS = st.integers(0, 2**31)


def features_of(seed: int, channels: int, height: int, width: int) -> Tensor:
    """Correlated channels with means and deviations of order 1, far from deficient."""
    generator = torch.Generator().manual_seed(seed)
    mixing = 0.3 * torch.randn(channels, channels, generator=generator) / channels**0.5
    noise = torch.randn(channels, height * width, generator=generator)
    mean = torch.randn(channels, 1, generator=generator)
    mixing += torch.eye(channels)
    return (mixing @ noise + mean).view(1, channels, height, width)


def assert_stats(stats: FeatureStats, features: Tensor, digits: float = 1e-6) -> None:
    """Against the definition, in float64 over all pixels."""
    pixels = features[0].flatten(1).double()
    assert stats.count == pixels.shape[1]
    deviation = pixels.std(1, correction=0).max() + 1e-300
    assert (stats.mean - pixels.mean(1)).abs().max() <= digits * deviation
    if stats.count > 1:
        expected = torch.cov(pixels).view(len(pixels), -1)
        largest = expected.diagonal().max() + 1e-300
        assert (stats.covariance - expected).abs().max() <= digits * largest
        assert torch.equal(stats.variance, stats.covariance.diagonal())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "shape",
    # The last is more than is centred at a time.
    [(1, 5, 7), (3, 1, 40), (64, 9, 11), (512, 6, 7), (64, 100, 130)],
)
def test_statistics_of_a_map(shape, memory_format, dtype):
    features = features_of(1, *shape).to(dtype=dtype, memory_format=memory_format)
    before = features.clone()
    assert_stats(FeatureStats.of(features), features)
    assert torch.equal(features, before)


@settings(max_examples=40)
@given(
    seed=SEEDS,
    cuts=st.lists(st.integers(1, 29), max_size=4, unique=True),
    axis=st.sampled_from([2, 3]),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_any_pieces_in_any_order_give_the_same(seed, cuts, axis, memory_format):
    # Pieces that differ much in mean and scale, as those of a picture do.
    slope = torch.linspace(0, 5, 30)
    features = features_of(seed, 6, 30, 30) * slope[:, None] + 3 * slope
    features = features.to(memory_format=memory_format)
    pieces = list(features.tensor_split(sorted(cuts), dim=axis))
    random.Random(seed).shuffle(pieces)

    updated, merged = FeatureStats(6), FeatureStats(6)
    for piece in pieces:
        updated.update(piece)
        merged.merge(FeatureStats.of(piece))
    for stats in (updated, merged, FeatureStats.of(features)):
        assert_stats(stats, features)


def assert_equal(found: FeatureStats, expected: FeatureStats) -> None:
    """To the last bit."""
    assert found.count == expected.count
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.scatter, expected.scatter)


@settings(max_examples=60)
@given(
    seed=SEEDS,
    channels=st.sampled_from([1, 3, 6, 17, 64]),
    width=st.sampled_from([1, 2, 7, 30, 97]),
    heights=st.lists(st.sampled_from([1, 2, 3, 16, 31]), min_size=1, max_size=6),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    copied=st.booleans(),
    lines_in_block=st.sampled_from([1, 3, 8, None]),
)
def test_bands_give_the_bits_of_the_whole(
    seed, channels, width, heights, dtype, memory_format, copied, lines_in_block
):
    features = features_of(seed, channels, sum(heights), width) * torch.linspace(0, 9, width)
    features = features.to(dtype=dtype, memory_format=memory_format)
    with pytest.MonkeyPatch.context() as patch:
        if lines_in_block:
            elements = lines_in_block * (width + channels) * (channels + 1)
            patch.setattr("distill.transforms._CHUNK", {"cpu": elements})
        whole, bands = FeatureStats.of(features), FeatureStats(channels)
        for band in features.split(heights, dim=2):
            # A band may be a view of the map, or lie alone, as those of a streamed network do.
            bands.update(band.clone(memory_format=memory_format) if copied else band)
        assert_equal(bands, whole)
    assert_stats(whole, features)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "width"), [(64, 500), (16, 1000), (512, 32)])
def test_bands_of_large_maps_give_the_bits_of_the_whole(channels, width, memory_format, threads):
    """Several blocks, some of whose kernels use threads."""
    features = features_of(1, channels, 150, width).to(memory_format=memory_format)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole, bands = FeatureStats.of(features), FeatureStats(channels)
        for band in features.split([1, 2, 16, 1, 64, 30, 33, 3], dim=2):
            bands.update(band)
        assert_equal(bands, whole)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("inference", [(True, False), (False, True)])
def test_inference_mode_may_begin_and_end_between_updates(inference):
    features = features_of(8, 4, 20, 9).requires_grad_()
    stats = FeatureStats(4)
    for mode, band in zip(inference, features.split(10, dim=2), strict=True):
        with torch.inference_mode(mode):
            stats.update(band)
    assert not stats.covariance.requires_grad
    assert_stats(stats, features.detach())


def test_a_statistic_that_was_read_stays_as_it_is():
    first, second = features_of(6, 4, 9, 8), features_of(7, 4, 5, 8)
    stats = FeatureStats.of(first)
    mean, scatter, copies = stats.mean, stats.scatter, (stats.mean.clone(), stats.scatter.clone())
    stats.update(second)
    assert_stats(stats, torch.cat((first, second), 2))
    assert torch.equal(mean, copies[0])
    assert torch.equal(scatter, copies[1])


@given(seed=SEEDS)
def test_order_of_pixels_does_not_matter(seed):
    features = features_of(seed, 5, 12, 13)
    order = torch.randperm(12 * 13, generator=torch.Generator().manual_seed(seed))
    shuffled = features.flatten(2)[..., order].view_as(features)
    style = FeatureStats.of(features_of(seed + 1, 5, 8, 8))
    maps = [whiten_color(FeatureStats.of(x), style) for x in (features, shuffled)]
    assert_stats(FeatureStats.of(shuffled), features)
    assert torch.allclose(maps[0].matrix, maps[1].matrix, rtol=0, atol=1e-4)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mean", [1e2, 1e4])
def test_a_large_mean_costs_no_digits(mean, memory_format):
    features = (mean + 0.05 * features_of(2, 8, 60, 70)).to(memory_format=memory_format)
    # The float32 features themselves are taken as exact: all that is lost is lost here.
    assert_stats(FeatureStats.of(features), features, digits=1e-5)


def test_a_large_mean_in_one_half_only():
    features = features_of(3, 8, 64, 64)
    features[..., 32:] += 1e4
    assert_stats(FeatureStats.of(features), features)


def test_a_single_pixel_has_no_variance():
    pixel = features_of(4, 3, 1, 1)
    stats = FeatureStats.of(pixel)
    assert stats.count == 1
    assert torch.allclose(stats.mean, pixel.flatten().double())
    assert torch.equal(stats.covariance, torch.zeros(3, 3, dtype=torch.float64))
    assert torch.equal(stats.variance, torch.zeros(3, dtype=torch.float64))


def test_nothing_merged_is_nothing_changed():
    features = features_of(5, 4, 3, 3)
    stats = FeatureStats.of(features)
    stats.merge(FeatureStats(4))
    assert_stats(stats, features)
    empty = FeatureStats(4)
    empty.merge(stats)
    assert_stats(empty, features)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (3, 4, 4), (1, 1, 4, 4)])
def test_a_batch_and_other_channels_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(1, C, H, W\)"):
        FeatureStats(3).update(torch.zeros(shape))


def mapped_stats(affine: ChannelAffine, features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance after the map, in float64."""
    pixels = affine(features.double())[0].flatten(1)
    return pixels.mean(1), torch.cov(pixels)


@given(seed=SEEDS, channels=st.integers(2, 12))
def test_full_rank_content_takes_the_style_exactly(seed, channels):
    content, style = features_of(seed, channels, 20, 20), features_of(seed + 1, channels, 15, 30)
    target = FeatureStats.of(style)
    mean, covariance = mapped_stats(whiten_color(FeatureStats.of(content), target), content)
    assert (mean - target.mean).abs().max() <= 1e-4
    assert (covariance - target.covariance).abs().max() <= 1e-4 * target.covariance.abs().max()


def test_whitening_is_white():
    content = features_of(6, 8, 40, 40)
    mean, covariance = mapped_stats(whiten(FeatureStats.of(content)), content)
    assert mean.abs().max() < 1e-5
    assert (covariance - torch.eye(8)).abs().max() < 1e-4


def test_deficient_content_takes_the_style_on_the_kept_subspace():
    """Covariance S^(1/2) P S^(1/2), with P the projection onto the directions that vary."""
    content = features_of(7, 8, 30, 30)
    content[:, 2] = 0  # never fires
    content[:, 5] = 0.7  # never changes
    content[:, 6] = content[:, 1]  # the same twice
    target = FeatureStats.of(features_of(8, 8, 30, 30))

    absent = torch.zeros(3, 8, dtype=torch.float64)
    absent[0, 2] = absent[1, 5] = 1
    absent[2, 1], absent[2, 6] = 0.5**0.5, -(0.5**0.5)
    projection = torch.eye(8, dtype=torch.float64) - absent.T @ absent
    values, vectors = torch.linalg.eigh(target.covariance)
    root = vectors @ values.sqrt().diag() @ vectors.T

    mean, covariance = mapped_stats(whiten_color(FeatureStats.of(content), target), content)
    assert (mean - target.mean).abs().max() < 1e-4
    assert (covariance - root @ projection @ root).abs().max() < 1e-4


def test_a_deficient_style_is_taken_as_it_is():
    style = features_of(9, 8, 30, 30)
    style[:, :4] = 0
    target = FeatureStats.of(style)
    content = features_of(10, 8, 30, 30)
    mean, covariance = mapped_stats(whiten_color(FeatureStats.of(content), target), content)
    assert (mean - target.mean).abs().max() < 1e-4
    assert (covariance - target.covariance).abs().max() < 1e-4
    assert covariance[:4].abs().max() < 1e-9


@pytest.mark.parametrize("match", [whiten_color, adain])
def test_content_without_any_variance_becomes_the_mean_of_the_style(match):
    content = torch.full((1, 6, 5, 5), 0.3)
    style = features_of(11, 6, 9, 9)
    found = match(FeatureStats.of(content), FeatureStats.of(style))(content)
    expected = FeatureStats.of(style).mean[:, None, None].float().expand_as(content[0])
    assert torch.allclose(found[0], expected, atol=1e-4)


@given(
    seed=SEEDS,
    dead=st.sets(st.integers(0, 15), max_size=15),
    scale=st.sampled_from([1e-4, 1.0, 1e3]),
    pixels=st.integers(1, 40),
)
def test_float32_stays_finite_whatever_the_rank(seed, dead, scale, pixels):
    content = scale * features_of(seed, 16, 1, pixels)  # fewer pixels than channels, too
    content[:, sorted(dead)] = 0
    content[:, 15] = content[:, 0]
    style = features_of(seed + 1, 16, 6, 6)
    for match in (whiten_color, adain):
        affine = match(FeatureStats.of(content), FeatureStats.of(style))
        found = affine(content)
        assert found.dtype == torch.float32
        assert found.isfinite().all()
        # An amplified rounding error would be finite, but large.
        assert found.abs().max() <= 10 * style.abs().max() * (pixels * 16) ** 0.5


@pytest.mark.parametrize(
    ("match", "plain"), [(whiten_color, plain_whiten_color), (adain, plain_adain)]
)
def test_maps_are_the_published_transforms(match, plain):
    content, style = features_of(12, 9, 21, 20), features_of(13, 9, 14, 33)
    content[:, 3] = 0
    found = match(FeatureStats.of(content), FeatureStats.of(style))(content)
    expected = plain(content, style)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("ridge", [0.1, 10.0])
def test_a_ridge_is_added_to_both_covariances(ridge):
    content, style = features_of(30, 9, 21, 20), features_of(31, 9, 14, 33)
    content[:, 3] = 0
    affine = whiten_color(FeatureStats.of(content), FeatureStats.of(style), ridge=ridge)
    expected = plain_whiten_color(content, style, ridge)
    assert (affine(content) - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_ridge_keeps_small_what_is_all_but_absent():
    # One channel is noise, a hundredth of the others; the style has all of one size.
    content, style = features_of(32, 8, 30, 30), features_of(33, 8, 30, 30)
    content[:, 5] *= 0.01
    stats, target = FeatureStats.of(content), FeatureStats.of(style)
    amplified = whiten_color(stats, target).matrix[:, 5].norm()
    assert amplified > 50
    assert whiten_color(stats, target, ridge=1.0).matrix[:, 5].norm() < 2


@given(seed=SEEDS, ridge=st.sampled_from([0.0, 0.3, 10.0]))
def test_content_in_its_own_style_stays_as_it_is(seed, ridge):
    content = features_of(seed, 6, 20, 20)
    stats = FeatureStats.of(content)
    found = whiten_color(stats, stats, ridge=ridge)(content)
    assert (found - content).abs().max() <= 1e-4 * content.abs().max()


def test_with_an_endless_ridge_only_the_mean_changes():
    content, style = features_of(34, 6, 20, 20), features_of(35, 6, 20, 20)
    target = FeatureStats.of(style)
    # The identity, times the ratio of the mean deviations.
    found = whiten_color(FeatureStats.of(content), target, ridge=1e6)
    sizes = target.variance.mean() / FeatureStats.of(content).variance.mean()
    assert (found.matrix - sizes.sqrt() * torch.eye(6)).abs().max() < 1e-4
    moved = found(content)[0].flatten(1).double().mean(1)
    assert (moved - target.mean).abs().max() < 1e-4


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_flat_content_is_given_the_styles_mean(ridge):
    flat = torch.full((1, 4, 6, 6), 0.7)
    style = FeatureStats.of(features_of(36, 4, 9, 9))
    found = whiten_color(FeatureStats.of(flat), style, ridge=ridge)(flat)
    assert (found[0].flatten(1).double() - style.mean[:, None]).abs().max() < 1e-5


@given(seed=SEEDS)
def test_adain_moves_mean_and_deviation_of_each_channel(seed):
    content, style = features_of(seed, 5, 14, 15), features_of(seed + 1, 5, 20, 9)
    target = FeatureStats.of(style)
    mean, covariance = mapped_stats(adain(FeatureStats.of(content), target), content)
    assert torch.allclose(mean, target.mean, atol=1e-5)
    assert torch.allclose(covariance.diagonal(), target.variance, rtol=1e-3)


def test_adain_in_closed_form():
    content, style = (
        torch.tensor(values).view(1, 2, 1, 2)
        for values in ([[0.0, 2.0], [5.0, 5.0]], [[10.0, 14.0], [1.0, 3.0]])
    )
    affine = adain(FeatureStats.of(content), FeatureStats.of(style))
    # Unbiased variances: 2 and 0 of the content, 8 and 2 of the style.
    scale = [((8 + ADAIN_EPSILON) / (2 + ADAIN_EPSILON)) ** 0.5, ((2 + 1e-5) / 1e-5) ** 0.5]
    assert torch.allclose(affine.matrix, torch.tensor(scale).double().diag(), rtol=1e-6)
    found = affine(content)[0].flatten(1)
    expected = torch.tensor([[12 - scale[0], 12 + scale[0]], [2.0, 2.0]])
    assert torch.allclose(found, expected, atol=1e-3)


@given(seed=SEEDS, alpha=st.floats(0, 1))
def test_alpha_blends_linearly(seed, alpha):
    content, style = features_of(seed, 4, 9, 9).double(), features_of(seed + 1, 4, 9, 9)
    affine = whiten_color(FeatureStats.of(content), FeatureStats.of(style))
    expected = alpha * affine(content) + (1 - alpha) * content
    assert torch.allclose(affine.blend(alpha)(content), expected, atol=1e-9)


@pytest.mark.parametrize("match", [whiten_color, adain])
def test_alpha_0_is_the_identity_and_alpha_1_the_map(match):
    content, style = features_of(14, 4, 9, 9), features_of(15, 4, 9, 9)
    content[:, 0] = 0
    affine = match(FeatureStats.of(content), FeatureStats.of(style))
    assert torch.equal(affine.blend(0)(content), content)
    assert torch.equal(affine.blend(1)(content), affine(content))


@pytest.mark.parametrize("alpha", [-0.01, 1.01, float("nan")])
def test_alpha_beyond_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match=r"alpha must be between 0 and 1; got"):
        standardize(FeatureStats.of(features_of(16, 2, 3, 3))).blend(alpha)


def test_maps_compose():
    content, style = (FeatureStats.of(features_of(seed, 4, 9, 9)) for seed in (17, 18))
    x = features_of(19, 4, 5, 5).double()
    first, second = standardize(content), rescale(style)
    assert torch.allclose(second.after(first)(x), second(first(x)))

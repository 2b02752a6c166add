"""The start of students: the teacher's strongest filters."""

import pytest
import torch

from distill.networks import Decoder, Encoder, seed_weights
from distill.training.alignment import align, mirror
from distill.training.pruning import kept_filters, level_features, prune_encoder
from distill.weights import load_named

pytestmark = pytest.mark.numerical

WIDE, NARROW = (8, 16, 16, 24, 24), (5, 8, 16, 3, 7)


def teacher(stage: int) -> Encoder:
    encoder = Encoder("vgg16", WIDE, stage)
    seed_weights(encoder, 1)
    return encoder


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).std() / theirs.std())


@pytest.mark.parametrize("stage", [1, 3, 5])
@torch.no_grad()
def test_pruned_encoders_equal_masked_ones(stage: int) -> None:
    encoder = teacher(stage)
    small = prune_encoder(encoder, NARROW, stage)
    for name, kept in kept_filters(encoder, small).items():
        weight, bias = (
            encoder.get_parameter(f"{name}.weight"),
            encoder.get_parameter(f"{name}.bias"),
        )
        dropped = torch.ones(len(bias), dtype=torch.bool)
        dropped[kept] = False
        weight[dropped] = 0
        bias[dropped] = 0
    image = torch.rand(2, 3, 32, 48)
    read = kept_filters(encoder, small)[f"conv{stage}_1"]
    torch.testing.assert_close(small(image), encoder(image)[:, read], atol=1e-6, rtol=1e-5)


def test_the_strongest_filters_stay() -> None:
    encoder = teacher(3)
    with torch.no_grad():
        encoder.get_parameter("conv2_1.weight")[[3, 7]] *= 100
    kept = kept_filters(encoder, Encoder("vgg16", (8, 2, 16), 3))
    assert kept["conv2_1"].tolist() == [3, 7]


def test_a_student_wider_than_its_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="conv1_1"):
        prune_encoder(teacher(1), (9,), 1)


@torch.no_grad()
def test_alignment_undoes_a_change_of_the_layers_before() -> None:
    # A student as wide as its teacher with its channels rescaled, which the next layer must undo.
    encoder = teacher(3)
    student = prune_encoder(encoder, WIDE, 3)
    images = torch.rand(4, 3, 32, 32)
    for name in ("conv1_1.weight", "conv1_1.bias", "conv2_1.bias"):
        student.get_parameter(name).mul_(3)
    align(student, encoder, [images], keep={"conv1_1"})
    assert _difference(student(images), encoder(images)) < 1e-2


@torch.no_grad()
def test_mirrored_decoder_rebuilds_images_without_a_step_of_training() -> None:
    # Smooth images, fitted on some, seen on others.
    encoder = load_named("vgg16-normalised", 2)
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(16, 3, 5, 6, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(40, 48), mode="bicubic").clamp(0, 1)
    known, new = [images[:6], images[6:12]], images[12:]
    decoder = Decoder("vgg16", encoder.widths, 2)
    mirror(decoder, encoder, [encoder(batch) for batch in known], known)
    assert _difference(decoder(encoder(new)), new) < 0.2


@torch.no_grad()
def test_aligned_students_have_their_teachers_statistics_and_no_dead_channel() -> None:
    encoder = teacher(3)
    images = torch.rand(6, 3, 48, 48)
    narrow = (3, 4, 5)
    student = prune_encoder(encoder, narrow, 3)
    for name in ("conv1_2.bias", "conv2_2.bias"):
        student.get_parameter(name).sub_(100)
    assert not student(images).std((0, 2, 3)).any()
    align(student, encoder, [images[:2], images[2:]])
    for layer in ("1_2", "2_1", "3_1"):
        kept = kept_filters(encoder, student)[f"conv{layer}"]
        ours = student.features(images, [f"relu{layer}"])[0]
        theirs = encoder.features(images, [f"relu{layer}"])[0][:, kept]
        busy = theirs.std((0, 2, 3)) > 0.02
        assert busy.any()
        ratio = ours.std((0, 2, 3)) / theirs.std((0, 2, 3))
        assert (ratio[busy] > 0.5).all(), layer
        assert (ratio[busy] < 2).all(), layer


@torch.no_grad()
def test_levelled_features_have_mean_square_one_and_read_the_same() -> None:
    encoder = teacher(3)
    encoder.get_parameter("conv3_1.weight").mul_(1e-3)
    encoder.get_parameter("conv3_1.bias").zero_()
    reader = torch.nn.Conv2d(WIDE[2], 5, 1)
    images = torch.rand(3, 3, 32, 32)
    before = reader(encoder(images))
    level_features(encoder, reader, images)
    square = encoder(images).square().mean((0, 2, 3))
    busy = square > 0.5
    assert busy.any()
    torch.testing.assert_close(square[busy], torch.ones(int(busy.sum())), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(reader(encoder(images)), before, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_channel_that_hardly_ever_fires_is_not_blown_up() -> None:
    encoder, reader = teacher(1), torch.nn.Conv2d(WIDE[0], 5, 1)
    level_features(encoder, reader, images := torch.rand(2, 3, 64, 64))
    before = encoder(images)[:, 0].amax()
    # All but the brightest of its pixels go.
    encoder.get_parameter("conv1_1.bias")[0] -= 0.98 * before
    level_features(encoder, reader, images)
    assert 0 < encoder(images)[:, 0].amax() < 100

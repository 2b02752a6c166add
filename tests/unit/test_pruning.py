"""The start of students: the teacher's strongest filters."""

import pytest
import torch

from distill.networks import Decoder, Encoder, seed_weights
from distill.training.pruning import (
    kept_filters,
    level_features,
    prune_decoder,
    prune_encoder,
    read_through_embedding,
)

WIDE, NARROW = (8, 16, 16, 24, 24), (5, 8, 16, 3, 7)


def teacher(stage: int) -> tuple[Encoder, Decoder]:
    encoder, decoder = Encoder("vgg16", WIDE, stage), Decoder("vgg16", WIDE, stage)
    seed_weights(encoder, 1)
    seed_weights(decoder, 2)
    return encoder, decoder


@pytest.mark.parametrize("stage", [1, 3, 5])
@torch.no_grad()
def test_pruned_networks_equal_masked_ones(stage: int) -> None:
    encoder, decoder = teacher(stage)
    small_encoder = prune_encoder(encoder, NARROW, stage)
    read = kept_filters(encoder, small_encoder)[f"conv{stage}_1"]
    small_decoder = prune_decoder(decoder, read, NARROW[:stage])
    for wide, small in ((encoder, small_encoder), (decoder, small_decoder)):
        for name, kept in kept_filters(wide, small).items():
            weight, bias = wide.get_parameter(f"{name}.weight"), wide.get_parameter(f"{name}.bias")
            dropped = torch.ones(len(bias), dtype=torch.bool)
            dropped[kept] = False
            weight[dropped] = 0
            bias[dropped] = 0
    image = torch.rand(2, 3, 32, 48)
    features = encoder(image)
    small_features = small_encoder(image)
    torch.testing.assert_close(small_features, features[:, read], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(small_decoder(small_features), decoder(features))


def test_the_strongest_filters_stay() -> None:
    encoder, _ = teacher(3)
    with torch.no_grad():
        encoder.get_parameter("conv2_1.weight")[[3, 7]] *= 100
    kept = kept_filters(encoder, Encoder("vgg16", (8, 2, 16), 3))
    assert kept["conv2_1"].tolist() == [3, 7]


def test_a_student_wider_than_its_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="conv1_1"):
        prune_encoder(teacher(1)[0], (9,), 1)


@torch.no_grad()
def test_reading_through_the_embedding_is_the_teachers_first_convolution() -> None:
    _, decoder = teacher(3)
    small = prune_decoder(decoder, torch.arange(NARROW[2]), NARROW[:3])
    embedding = torch.nn.Conv2d(NARROW[2], WIDE[2], 1)
    read_through_embedding(small, decoder, embedding)
    features = torch.rand(1, NARROW[2], 6, 5)
    padded = torch.nn.functional.pad(features, (1, 1, 1, 1), mode="reflect")
    wide = torch.nn.functional.pad(embedding(features), (1, 1, 1, 1), mode="reflect")
    kept = kept_filters(decoder, small)["conv3_1"]
    expected = decoder.get_submodule("conv3_1")(wide)[:, kept]
    torch.testing.assert_close(small.get_submodule("conv3_1")(padded), expected)


@torch.no_grad()
def test_levelled_features_have_mean_one_and_read_the_same() -> None:
    encoder, _ = teacher(3)
    encoder.get_parameter("conv3_1.weight").mul_(1e-3)
    encoder.get_parameter("conv3_1.bias").zero_()
    reader = torch.nn.Conv2d(WIDE[2], 5, 1)
    images = torch.rand(3, 3, 32, 32)
    before = reader(encoder(images))
    level_features(encoder, reader, images)
    mean = encoder(images).mean((0, 2, 3))
    busy = mean > 0.5
    assert busy.any()
    torch.testing.assert_close(mean[busy], torch.ones(int(busy.sum())), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(reader(encoder(images)), before, rtol=1e-4, atol=1e-4)

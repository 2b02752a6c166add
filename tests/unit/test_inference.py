"""The fast form is the plain form: same function, whatever the size, layout and folded map."""

import gc
import weakref
from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill import kernels
from distill.cascades import load_cascade
from distill.inference import FastDecoder, FastEncoder, Layout
from distill.models import FAMILIES, ModelSpec
from distill.networks import STAGES, Decoder, Encoder, seed_weights, student_widths
from distill.transforms import ChannelAffine

pytestmark = pytest.mark.numerical

LAYOUTS = [
    Layout(torch.device("cpu"), torch.float32, memory_format)
    for memory_format in (torch.channels_last, torch.contiguous_format)
]
IDS = ["channels_last", "contiguous"]


@cache
def networks(family: str, ratio: int, stage: int, final_relu: bool) -> tuple[Encoder, Decoder]:
    """Random ones, with a colour conversion that is no identity.

    The decoder's last layer only adds up, then half is taken off: an image that the last ReLU
    makes all zero would say nothing.
    """
    widths = student_widths(ratio)
    encoder = Encoder(family, widths, stage).requires_grad_(False)
    decoder = Decoder(family, widths, stage, final_relu=final_relu).requires_grad_(False)
    for seed, network in enumerate((encoder, decoder)):
        seed_weights(network, seed)
    last = decoder.get_submodule("conv1_1")
    last.weight.abs_()
    features = encoder(random_image(32, 32))
    last.bias.sub_(0.5 * decoder(features).mean())
    assert decoder(features).max() > 0
    return encoder, decoder


def random_image(height: int, width: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(1, channels, height, width, generator=generator)


def random_affine(channels: int) -> ChannelAffine:
    generator = torch.Generator().manual_seed(channels)
    matrix = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    offset = torch.randn(channels, generator=generator, dtype=torch.float64)
    return ChannelAffine(matrix / channels**0.5, offset)


def assert_same(found: Tensor, expected: Tensor, source: Tensor) -> None:
    """Equal but for 1e-5 of the largest value going in or coming out.

    What goes in counts, since random layers keep its scale until the last ones cancel part of it.
    """
    assert found.shape == expected.shape
    error = (found.double() - expected.double()).abs().max()
    assert error <= 1e-5 * max(expected.abs().max(), source.abs().max())


def check(family: str, ratio: int, stage: int, final_relu: bool, layout: Layout, image: Tensor):
    encoder, decoder = networks(family, ratio, stage, final_relu)
    features = encoder(image)
    assert_same(FastEncoder(encoder, layout)([image]), features, image)
    affine = random_affine(features.shape[1])
    fast = FastDecoder(decoder, layout)
    for expected, given_affine in ((features, None), (affine(features), affine)):
        assert_same(fast([features], given_affine), decoder(expected), expected)


@pytest.mark.parametrize("layout", LAYOUTS, ids=IDS)
@pytest.mark.parametrize("ratio", [1, 4, 16])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("family", FAMILIES)
def test_fast_is_plain(family, stage, ratio, layout):
    # Not a multiple of the pooling grid: encoders floor.
    check(family, ratio, stage, stage % 2 == 0, layout, random_image(33, 50))


@settings(max_examples=40)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    stage=st.sampled_from(STAGES),
    final_relu=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
)
@example(height=1, width=1, stage=1, final_relu=True, layout=LAYOUTS[0])
@example(height=1, width=1, stage=1, final_relu=False, layout=LAYOUTS[1])
@example(height=1, width=9, stage=1, final_relu=True, layout=LAYOUTS[0])
@example(height=9, width=1, stage=1, final_relu=True, layout=LAYOUTS[1])
@example(height=2, width=2, stage=2, final_relu=True, layout=LAYOUTS[0])
@example(height=17, width=31, stage=5, final_relu=True, layout=LAYOUTS[0])
@example(height=16, width=16, stage=5, final_relu=False, layout=LAYOUTS[1])
def test_fast_is_plain_at_any_size(height, width, stage, final_relu, layout):
    least = 2 ** (stage - 1)
    image = random_image(max(height, least), max(width, least))
    check("vgg19", 16, stage, final_relu, layout, image)


@pytest.mark.parametrize("layout", LAYOUTS, ids=IDS)
def test_what_comes_in_is_never_modified(layout):
    encoder, decoder = networks("vgg16", 16, 3, True)
    image = layout.place(random_image(24, 20))
    features = layout.place(encoder(image))
    affine = random_affine(features.shape[1])
    kept = [tensor.clone() for tensor in (image, features, affine.matrix, affine.offset)]
    FastEncoder(encoder, layout)([image])
    FastDecoder(decoder, layout)([features], affine)
    FastDecoder(decoder, layout)([features])
    for tensor, before in zip((image, features, affine.matrix, affine.offset), kept, strict=True):
        assert torch.equal(tensor, before)


def test_a_folded_map_does_not_stay():
    _, decoder = networks("vgg16", 16, 2, True)
    fast = FastDecoder(decoder, LAYOUTS[0])
    features = random_image(6, 5, channels=32)
    before = fast([features])
    fast([features], random_affine(32))
    assert torch.equal(fast([features]), before)


def test_what_the_box_holds_is_taken_out_and_freed():
    encoder, decoder = networks("vgg16", 16, 2, True)
    for network, channels in ((FastEncoder(encoder, LAYOUTS[0]), 3), (FastDecoder, 32)):
        run = network if channels == 3 else FastDecoder(decoder, LAYOUTS[0])
        box = [random_image(8, 8, channels)]
        watched = weakref.ref(box[0])
        run(box)
        gc.collect()
        assert box == []
        assert watched() is None


def test_layouts_of_devices():
    last, first = torch.channels_last, torch.contiguous_format
    chosen = [
        Layout.of(device, dtype).memory_format
        for device in ("cpu", "cuda:1")
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    ]
    assert chosen == [last, last, last, first, last, last]
    assert Layout.of("cuda:1", torch.float16).device == torch.device("cuda", 1)


@pytest.mark.native("bf16")
@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_is_plain_but_for_its_digits(stage):
    encoder, decoder = networks("vgg19", 16, stage, True)
    layout = Layout.of("cpu", torch.bfloat16)
    image = random_image(48, 64)
    features = encoder(image)
    affine = random_affine(features.shape[1])
    matched = affine(features)
    for found, expected, source in (
        (FastEncoder(encoder, layout)([image]), features, image),
        (FastDecoder(decoder, layout)([layout.place(features)], affine), decoder(matched), matched),
    ):
        assert found.dtype == torch.bfloat16
        error = (found.float() - expected).abs().max()
        assert error <= 0.05 * max(expected.abs().max(), source.abs().max())


@pytest.mark.parametrize("model", [("wct", "vgg16", 64), ("adain", "vgg19", 64)])
def test_frozen_parameters_get_no_gradient(model):
    for pair in load_cascade(ModelSpec(*model)).pairs:
        image = random_image(16, 16).requires_grad_()
        pair.decoder(pair.encoder(image)).square().sum().backward()
        assert image.grad is not None
        assert image.grad.abs().sum() > 0
        for network in (pair.encoder, pair.decoder):
            assert not network.training
            for name, parameter in network.named_parameters():
                assert not parameter.requires_grad, name
                assert parameter.grad is None, name


@pytest.mark.parametrize("height", [1, 2, 7, 40])
def test_maps_too_large_for_the_library_are_convolved_in_pieces(monkeypatch, height):
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(1, 8, height, 24, generator=generator)
    x = x.to(torch.float64).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(16, 8, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.rand(16, generator=generator, dtype=torch.float64)
    at_once = kernels.convolve_reflect(x, weight, bias, relu=False)
    monkeypatch.setattr(kernels, "_LARGEST_REDUCED", 16 * 24 * 8 * 5)
    torch.testing.assert_close(kernels.convolve_reflect(x, weight, bias, relu=False), at_once)

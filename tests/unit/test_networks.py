"""Architecture: counts against the published ones and the built modules, borders, reach."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.vgg import cfgs, make_layers

from distill import weights
from distill.cascades import architecture, model_widths
from distill.models import FAMILIES, RATIOS, ModelSpec, parse_model
from distill.networks import (
    STAGES,
    TEACHER_WIDTHS,
    Decoder,
    Encoder,
    count_macs_per_pixel,
    count_parameters,
    decoder_convs,
    encoder_convs,
    pad_to_alignment,
    reflect_pad,
    seed_weights,
    student_widths,
)

pytestmark = pytest.mark.numerical

UHD_PIXELS = 4096 * 2160


def relative(model: str) -> tuple[float, float]:
    """Parameters and MACs of the original over those of a model."""
    original, own = architecture(parse_model("wct-vgg19-1x")), architecture(parse_model(model))
    return original.parameters / own.parameters, original.macs_per_pixel / own.macs_per_pixel


@pytest.mark.parametrize(
    ("ratio", "widths", "parameters", "macs"),
    [
        (2, (48, 88, 184, 360, 360), "2.00", "1.94"),
        (4, (32, 64, 128, 256, 256), "4.00", "3.96"),
        (8, (24, 48, 88, 184, 184), "7.88", "7.50"),
        (16, (16, 32, 64, 128, 128), "15.96", "15.48"),
        (32, (8, 24, 48, 88, 88), "31.9", "33.0"),
        (64, (8, 16, 32, 64, 64), "63.6", "59.4"),
    ],
)
def test_ratios_as_tabulated(ratio, widths, parameters, macs):
    assert student_widths(ratio) == widths
    found = relative(f"wct-vgg19-{ratio}x")
    for value, printed in zip(found, (parameters, macs), strict=True):
        assert f"{value:.{len(printed.partition('.')[2])}f}" == printed


def test_the_original_has_the_published_counts():
    cost = architecture(parse_model("wct-vgg19-1x"))
    assert cost.parameters == 34_239_371
    assert cost.macs_per_pixel == 1_547_136
    assert architecture(parse_model("adain-vgg19-1x")).parameters == 7_010_959
    assert architecture(parse_model("adain-vgg19-16x")).parameters == 439_471


PUBLISHED_STAGES = {
    1: (684, 651),
    2: (7_420, 7_379),
    3: (35_164, 35_091),
    4: (219_804, 219_667),
    5: (810_140, 810_003),
}


def test_published_students_have_the_published_counts(tmp_path):
    # Only the names of the files decide which network it is.
    for stage in STAGES:
        (tmp_path / f"{stage}SE.pth").touch()
    spec = parse_model(f"wct-vgg19-16x:{tmp_path}")
    assert model_widths(spec, 1) == (24,)
    assert {
        stage: count_parameters("vgg19", model_widths(spec, stage), stage) for stage in STAGES
    } == PUBLISHED_STAGES
    cost = architecture(spec)
    assert cost.parameters == 2_146_003
    assert cost.macs_per_pixel == 100_368
    parameters, macs = relative(str(spec))
    assert (f"{parameters:.2f}", f"{macs:.2f}") == ("15.95", "15.41")


@pytest.mark.parametrize(
    ("method", "ratio", "stage1", "giga"),
    [("wct", 1, 64, 20_533), ("wct", 16, 24, 1_333), ("adain", 1, 64, 6_406)],
)
def test_published_macs_at_4096x2160(method, ratio, stage1, giga):
    """They count content and style, both at this size, and the 1x1 input convolution."""
    total = 0.0
    for stage in ModelSpec(method, "vgg19", ratio).stages:
        widths = (stage1,) if stage == 1 else student_widths(ratio)
        encoder, decoder = count_macs_per_pixel("vgg19", widths, stage)
        total += 2 * (encoder + 9) + decoder
    assert round(total * UHD_PIXELS / 1e9) == giga


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_those_of_the_built_networks(family, ratio, stage):
    widths = student_widths(ratio)
    with torch.device("meta"):
        encoder, decoder = Encoder(family, widths, stage), Decoder(family, widths, stage)
        built = tuple(sum(p.numel() for p in net.parameters()) for net in (encoder, decoder))
        assert built == count_parameters(family, widths, stage)
        side = 48
        flops = []
        x = torch.empty(1, 3, side, side)
        for network in (encoder, decoder):
            with FlopCounterMode(display=False) as counter:
                x = network(x)
            flops.append(counter.get_total_flops())
    assert x.shape == (1, 3, side, side)
    expected = count_macs_per_pixel(family, widths, stage)
    # The encoder's 1x1 input convolution, which is folded away, is 9 more.
    assert flops == [2 * side**2 * (expected[0] + 9), 2 * side**2 * expected[1]]


@pytest.mark.parametrize(
    ("family", "counts"), [("vgg19", [1, 3, 5, 9, 13]), ("vgg16", [1, 3, 5, 8, 11])]
)
def test_depths(family, counts):
    assert [len(encoder_convs(family, TEACHER_WIDTHS, stage)) for stage in STAGES] == counts
    for stage in STAGES:
        forth = encoder_convs(family, TEACHER_WIDTHS, stage)
        back = decoder_convs(family, TEACHER_WIDTHS, stage)
        assert [c.name for c in back] == [c.name for c in reversed(forth)]
        assert forth[-1].name == f"conv{stage}_1"
        assert back[-1].out_channels == forth[0].in_channels == 3
        for chain in (forth, back):
            assert [c.out_channels for c in chain[:-1]] == [c.in_channels for c in chain[1:]]


@pytest.mark.parametrize("ratio", [0, 3, 128, -1])
def test_other_ratios_are_refused(ratio):
    with pytest.raises(ValueError, match=r"one of \(1, 2, 4, 8, 16, 32, 64\)"):
        student_widths(ratio)


# Pixels around one that its value depends on, at most; and around a tile aligned to 2^(stage-1).
HALO = {1: (2, 2), 2: (9, 8), 3: (23, 22), 4: (67, 62), 5: (155, 150)}


@pytest.mark.parametrize("stage", STAGES)
def test_reach_of_encoder_and_decoder(stage):
    """Spoils what lies beyond a distance: that tells exactly what an output depends on."""
    widths = student_widths(64)
    encoder = Encoder("vgg19", widths, stage).double()
    decoder = Decoder("vgg19", widths, stage).double()
    column = torch.arange(384)

    def reached(spoiled: torch.Tensor) -> torch.Tensor:
        image = torch.zeros(1, 3, 32, len(column), dtype=torch.float64)
        image[..., spoiled] = torch.nan
        with torch.inference_mode():
            return decoder(encoder(image))[0, 0, 0].isnan()

    pixels = range(192, 208)
    distance, aligned = HALO[stage]
    for reach, expected in ((distance, False), (distance - 1, True)):
        found = [bool(reached((column - x).abs() > reach)[x]) for x in pixels]
        assert any(found) is expected
    for reach, expected in ((aligned, False), (aligned - 1, True)):
        assert bool(reached(column < 192 - reach)[192:].any()) is expected
        assert bool(reached(column >= 192 + reach)[:192].any()) is expected


@pytest.mark.parametrize("family", FAMILIES)
def test_torchvision_weights_give_torchvision_features(family, monkeypatch):
    """Away from the border, where the padding (theirs zeros, ours reflection) does not reach."""
    layers = make_layers(cfgs[{"vgg16": "D", "vgg19": "E"}[family]])
    seed_weights(layers, seed=1)
    theirs = {f"features.{key}": value for key, value in layers.state_dict().items()}
    monkeypatch.setattr(weights, "download", lambda _: theirs)
    encoder = weights.load_named(f"{family}-torchvision")

    image = torch.rand(1, 3, 192, 208, generator=torch.Generator().manual_seed(0))
    mean, deviation = (
        torch.tensor(value)[:, None, None]
        for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    x, names, block, index = (image - mean) / deviation, {}, 1, 1
    with torch.inference_mode():
        for layer in layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                names[f"relu{block}_{index}"] = x.clone()
                index += 1
            elif isinstance(layer, nn.MaxPool2d):
                block, index = block + 1, 1
            if "relu5_1" in names:
                break
        ours = encoder.features(image, names)
    border = {1: 2, 2: 3, 3: 6, 4: 7, 5: 5}
    for (name, expected), found in zip(names.items(), ours, strict=True):
        assert found.shape == expected.shape
        inside = border[int(name[4])]
        found, expected = (t[..., inside:-inside, inside:-inside] for t in (found, expected))
        assert found.numel() > 0
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max(), name


def test_an_unknown_layer_is_named():
    encoder = Encoder("vgg16", student_widths(64), 2)
    with pytest.raises(ValueError, match=r"'relu3_1'.*relu1_1, relu1_2, relu2_1"):
        encoder.features(torch.zeros(1, 3, 4, 4), ("relu1_1", "relu3_1"))


@pytest.mark.parametrize("final_relu", [True, False])
def test_last_relu_of_the_decoder(final_relu):
    decoder = Decoder("vgg19", student_widths(64), 2, final_relu=final_relu)
    seed_weights(decoder, seed=0)
    with torch.inference_mode():
        image = decoder(torch.rand(1, 16, 6, 6))
    assert bool(image.min() >= 0) is final_relu


def test_random_weights_are_seeded_and_keep_activations_finite():
    def drawn(seed: int) -> torch.Tensor:
        encoder = Encoder("vgg19", student_widths(64), 5)
        seed_weights(encoder, seed)
        with torch.inference_mode():
            return encoder(torch.full((1, 3, 32, 32), 0.5))

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    assert 1e-3 < drawn(3).abs().mean() < 1e3


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    pads=st.tuples(*[st.integers(0, 12)] * 4),
)
def test_reflection_of_any_size_is_that_of_numpy(size, pads):
    x = torch.arange(2.0 * size[0] * size[1]).reshape(1, 2, *size)
    left, right, top, bottom = pads
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (top, bottom), (left, right)), mode="reflect")
    np.testing.assert_array_equal(reflect_pad(x, *pads).numpy(), expected)


@given(size=st.tuples(st.integers(1, 70), st.integers(1, 70)))
def test_alignment_pads_right_and_below(size):
    x = torch.rand(1, 1, *size)
    padded = pad_to_alignment(x)
    assert padded.shape[-2:] == tuple(16 * -(-side // 16) for side in size)
    assert torch.equal(padded[..., : size[0], : size[1]], x)

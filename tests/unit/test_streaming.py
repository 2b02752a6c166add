"""A network over bands is the network over the image, and sees no further than it has to."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distill.inference import Before, FastDecoder, FastEncoder, Layout, Step
from distill.kernels import transposed_kernel
from distill.models import FAMILIES
from distill.networks import (
    STAGES,
    Decoder,
    Encoder,
    decoder_convs,
    encoder_convs,
    seed_weights,
    student_widths,
)
from distill.streaming import StreamedNetwork, band_bytes

pytestmark = pytest.mark.numerical

FP32 = Layout.of("cpu", torch.float32)
CONTIGUOUS = Layout(torch.device("cpu"), torch.float32, torch.contiguous_format)
BF16 = Layout.of("cpu", torch.bfloat16)

REACH = {
    "vgg19": {1: 2, 2: 9, 3: 23, 4: 67, 5: 155},
    "vgg16": {1: 2, 2: 9, 3: 23, 4: 59, 5: 131},
}
"""Lines between a line of the image and the furthest line of the result that depends on it."""


@cache
def networks(
    family: str, stage: int, layout: Layout, upsampled: bool = False
) -> tuple[FastEncoder, FastDecoder]:
    """In float32. ``upsampled``: apart from the convolution after it, as in half precision."""
    encoder, decoder = plain(family, stage)
    if not upsampled:
        return FastEncoder(encoder, layout), FastDecoder(decoder, layout)
    fast = FastDecoder(decoder, BF16)
    assert all(step.before != "transpose" for step in fast.steps)
    fast.steps = tuple(
        replace(step, weight=layout.place(step.weight), bias=step.bias.float())
        for step in fast.steps
    )
    return FastEncoder(encoder, layout), fast


@cache
def plain(family: str, stage: int) -> tuple[Encoder, Decoder]:
    widths = student_widths(64)
    encoder = Encoder(family, widths, stage).requires_grad_(False)
    decoder = Decoder(family, widths, stage, final_relu=False).requires_grad_(False)
    for seed, network in enumerate((encoder, decoder)):
        seed_weights(network, seed)
    return encoder, decoder


def noise(channels: int, height: int, width: int, layout: Layout = FP32) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return layout.place(torch.rand(1, channels, height, width, generator=generator))


def streamed(steps: tuple[Step, ...], image: Tensor, cuts: list[int]) -> Tensor:
    """The steps over the image in bands that end at ``cuts``, joined again."""
    network = StreamedNetwork(steps)
    edges = [0, *sorted(cuts), image.shape[2]]
    bands = [image[:, :, a:b] for a, b in pairwise(edges) if b > a]
    found = [network.push([band]) for band in bands]
    found += network.finish()
    return torch.cat([rows for rows in found if rows is not None], 2)


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


cuts = st.lists(st.integers(1, 69), max_size=12)


@settings(max_examples=40)
@given(
    family=st.sampled_from(FAMILIES),
    stage=st.sampled_from(STAGES),
    height=st.integers(1, 70),
    width=st.integers(1, 40),
    cuts=cuts,
    layout=st.sampled_from([FP32, CONTIGUOUS]),
    upsampled=st.booleans(),
)
# One line at the deepest stage; lines one by one; less than a window of the pooling at a time.
@example("vgg19", 5, 16, 16, [], FP32, False)
@example("vgg19", 5, 16, 16, [], FP32, True)
@example("vgg19", 5, 31, 17, list(range(1, 31)), FP32, False)
@example("vgg16", 5, 48, 16, list(range(1, 48)), FP32, True)
@example("vgg16", 1, 1, 1, [], FP32, False)
@example("vgg16", 1, 2, 1, [1], FP32, False)
@example("vgg19", 3, 37, 9, [36], CONTIGUOUS, False)
def test_any_cut_gives_the_network_s_own_result(
    family, stage, height, width, cuts, layout, upsampled
):
    # Heights that the pooling does not divide are floored, as the network itself does.
    least = 2 ** (stage - 1)
    image = noise(3, max(height, least), max(width, least), layout)
    encoder, decoder = networks(family, stage, layout, upsampled)
    features = encoder([image])
    assert_same(streamed(encoder.steps, image, [c for c in cuts if c < height]), features)
    inner = [cut for cut in cuts if cut < features.shape[2]]
    assert_same(streamed(decoder.steps, features, inner), decoder([features]))


def test_bands_that_are_pushed_are_not_modified():
    encoder, decoder = networks("vgg16", 3, FP32)
    for steps, image in ((encoder.steps, noise(3, 24, 20)), (decoder.steps, noise(32, 6, 5))):
        before = image.clone()
        streamed(steps, image, [1, 4, 5])
        assert torch.equal(image, before)


def test_nothing_comes_of_nothing():
    encoder, _ = networks("vgg16", 2, FP32)
    assert list(StreamedNetwork(encoder.steps).finish()) == []


# ------------------------------------------------------------------------------------- how far


def seen(
    family: str, stage: int, first: int, last: int, *, in_pairs: bool = False
) -> tuple[int, int]:
    """First and last image line that lines ``first`` to ``last`` of the result depend on.

    By the networks' description, borders apart: a convolution sees a line on either side, a
    doubled line is its original, and a pooled one is two. ``in_pairs``: what is computed together,
    since doubling and the convolution after it in one kernel give both lines of a pair at a time.
    """
    widths = student_widths(64)
    block = 1
    for conv in reversed(decoder_convs(family, widths, stage)):
        if conv.block != block:
            if in_pairs:
                first, last = (first + 1) // 2 * 2 - 1, (last - 1) // 2 * 2 + 2
            first, last, block = first // 2, last // 2, conv.block
        first, last = first - 1, last + 1
    for conv in reversed(encoder_convs(family, widths, stage)):
        if conv.block != block:
            first, last, block = 2 * first, 2 * last + 1, conv.block
        first, last = first - 1, last + 1
    return first, last


def halo(family: str, stage: int, *, in_pairs: bool = False) -> int:
    """Lines beyond its edges that a tile on the pooling grid needs, by the description."""
    size = 2 ** (stage - 1)
    first, last = seen(family, stage, 0, size - 1, in_pairs=in_pairs)
    assert -first == last - (size - 1)
    return -first


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_line_reaches_as_far_as_the_receptive_field(family, stage):
    """By what a line that is not a number spoils in the real networks."""
    encoder, decoder = plain(family, stage)
    height, size = 400, 2 ** (stage - 1)
    reach, above, below = REACH[family][stage], 0, 0
    assert reach == max(seen(family, stage, y, y)[1] - y for y in range(size))
    # A line of every place in the pooling grid.
    for line in range(192, 192 + size):
        image = noise(3, height, size)
        image[:, :, line] = torch.nan
        spoilt = decoder(encoder(image)).isnan().any(3).any(1)[0].nonzero()[:, 0]
        assert len(spoilt) == spoilt[-1] - spoilt[0] + 1
        expected = [y for y in range(height) if seen(family, stage, y, y)[0] <= line]
        expected = [y for y in expected if seen(family, stage, y, y)[1] >= line]
        assert [spoilt[0], spoilt[-1]] == [expected[0], expected[-1]]
        above, below = max(above, line - int(spoilt[0])), max(below, int(spoilt[-1]) - line)
    assert above == below == reach


@pytest.mark.parametrize("upsampled", [False, True], ids=["transposed", "upsampled"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_come_as_soon_as_the_halo_below_them_is_there(family, stage, upsampled):
    """Carried rows wait for exactly the halo: no line of the image is needed earlier or twice."""
    encoder, decoder = (StreamedNetwork(n.steps) for n in networks(family, stage, FP32, upsampled))
    size = 2 ** (stage - 1)
    needed = halo(family, stage, in_pairs=not upsampled)
    assert halo(family, stage) <= REACH[family][stage]
    done = 0
    for given_lines in range(1, 400 + 1):
        features = encoder.push([noise(3, 1, size)])
        rows = None if features is None else decoder.push([features])
        done += 0 if rows is None else rows.shape[2]
        assert done // size == max(0, given_lines - needed) // size
    for features in encoder.finish():
        rows = decoder.push([features])
        done += 0 if rows is None else rows.shape[2]
    assert done + sum(rows.shape[2] for rows in decoder.finish()) == 400 // size * size


# -------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("rows", [16, 64])
@pytest.mark.parametrize("stage", STAGES)
def test_no_band_on_the_way_is_higher_than_those_pushed(stage, rows):
    """Neither at the end, where all that waited for the border comes out."""
    for network, shift, channels in zip(
        networks("vgg19", stage, FP32), (0, stage - 1), (3, None), strict=True
    ):
        channels = channels or network.steps[0].weight.shape[1]
        heights: list[int] = []
        streamed_network = StreamedNetwork(network.steps)
        for _ in range(20):
            result = streamed_network.push([noise(channels, rows >> shift, 16 >> shift)])
            heights += [] if result is None else [result.shape[2]]
        heights += [result.shape[2] for result in streamed_network.finish()]
        scale = 1 if shift else 2 ** (stage - 1)
        assert max(heights) <= rows // scale


@pytest.mark.parametrize("stage", STAGES)
def test_the_bytes_of_a_band_grow_with_it(stage):
    for network, shift in zip(networks("vgg19", stage, FP32), (0, stage - 1), strict=True):
        steps = network.steps
        sizes = [band_bytes(steps, FP32, 512 >> shift, rows >> shift) for rows in (16, 32, 64)]
        assert sizes == sorted(set(sizes))
        assert band_bytes(steps, FP32, 1024 >> shift, 2) > band_bytes(steps, FP32, 512 >> shift, 2)
        assert band_bytes(steps, FP32, 512, 2) == 2 * band_bytes(steps, BF16, 512, 2)


def test_the_bytes_of_a_band_are_input_copy_and_output():
    """A single convolution from 3 to C channels, whose own two lines are kept beside."""
    encoder, _ = networks("vgg16", 1, FP32)
    channels, width, rows = encoder.channels, 1000, 64
    counted = band_bytes(encoder.steps, FP32, width, rows)
    plainly = 4 * width * (3 * rows + 3 * (rows + 2) + channels * rows + 3 * 2)
    assert plainly <= counted <= 1.1 * plainly


class _Operations(TorchDispatchMode):
    """Keeps the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func._schema.name)
        return func(*args, **kwargs or {})


@pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_convolution_transpose_pointwise"),
    reason="this PyTorch is built without oneDNN",
)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("before", ["", "transpose"])
@pytest.mark.parametrize("size", [(3, 2), (20, 300)])
def test_low_bands_are_convolved_by_the_library_that_convolves_the_whole(
    size: tuple[int, int], before: Before, relu: bool
) -> None:
    """PyTorch has convolutions of its own for small maps, which round otherwise."""
    weight = torch.randn(8, 8, 3, 3)
    weight = transposed_kernel(weight) if before == "transpose" else weight
    step = Step(FP32.place(weight), torch.randn(8), relu=relu, before=before)
    with torch.inference_mode(), _Operations() as operations:
        step.convolve(FP32.place(torch.randn(1, 8, *size)), vertical=False)
    chosen = {name for name in operations.names if "convolution" in name}
    kind = "convolution_transpose" if before == "transpose" else "convolution"
    assert chosen == {f"mkldnn::_{kind}_pointwise"}

"""The hot paths, one by one, with the peak memory of each.

Small, to be repeated: one process is one observation, so a comparison takes several files a side.

    for n in 1 2 3 4 5; do
        python -m pytest tests/performance/test_hot_paths.py -n 0 --benchmark-enable \
            --benchmark-json=new/$n.json
    done
    bench compare base new
"""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from bench.quality.similarity import ssim_of
from bench.quality.streamed_losses import StreamedLosses, gram_losses
from bench.stylizers import load_stylizer
from distill.errors import UserError
from distill.perceptual import Lpips
from distill.transforms import FeatureStats, adain, whiten_color

MODEL = "wct-vgg19-16x"
SIDE = 256
CHANNELS = 512
"""Of the widest layer that is matched: the teacher's."""


def picture(device: str, *, seed: int = 0, side: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, side, side, generator=generator).to(device)


@pytest.fixture
def stage(device):
    """The deepest: relu5_1."""
    stylizer = load_stylizer(MODEL, device=device)
    first = stylizer.stages[0]
    image = stylizer.layout.place(picture(device))
    # Networks take their input out of a box, so that it can be freed early.
    return SimpleNamespace(
        encode=lambda: first.encoder([image]),
        decode=lambda features: first.decoder([features]),
    )


def test_encode(metered, stage):
    metered(stage.encode)


def test_decode(metered, stage):
    features = stage.encode()
    metered(lambda: stage.decode(features))


@pytest.fixture
def features(device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(1, CHANNELS, SIDE // 8, SIDE // 8, generator=generator).to(device)
    return drawn.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("match", [whiten_color, adain], ids=["whitening", "adain"])
def test_match(metered, features, match):
    style = FeatureStats.of(features.square())
    metered(lambda: match(FeatureStats.of(features), style))


@pytest.mark.parametrize("execution", ["whole", "strips"])
def test_pass(metered, device, execution):
    stylizer = load_stylizer(MODEL, device=device, execution=execution, memory_bytes=256 * 10**6)
    content, code = picture(device), stylizer.encode_style(picture(device, seed=1))
    metered(lambda: stylizer.stylize(content, code))


def test_content_and_style_loss(metered, device):
    losses = StreamedLosses("vgg16-normalised", device)
    output, content, other = (picture(device, seed=seed, side=SIDE // 2) for seed in range(3))
    style = losses.statistics(other)
    metered(lambda: gram_losses(losses.compare(output, content).statistics, style))


def test_ssim(metered, device):
    first, second = picture(device), picture(device, seed=1)
    metered(lambda: ssim_of(first, second))


def test_lpips(metered, device):
    try:
        network = Lpips("cache", device)
    except UserError as error:
        pytest.skip(str(error))
    first, second = picture(device), picture(device, seed=1)
    metered(lambda: network(first, second))

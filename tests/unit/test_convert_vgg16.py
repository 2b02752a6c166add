"""The conversion that made the embedded weights, on a small network of the same kind."""

import tarfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from distill import convert_vgg16
from distill.convert_vgg16 import (
    CAFFE_MEANS_BGR,
    QUANTISED,
    fold_preprocessing,
    mean_activations,
    normalize,
    read_photos,
)
from distill.networks import TEACHER_WIDTHS, encoder_convs, reflect_pad
from distill.weights import load_named, read_stored, read_tensors

WIDTHS = (4, 6, 5)


@pytest.fixture
def convs():
    """Of a VGG-16 to relu3_1, narrow, in float64."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [
        (conv, draw(conv.out_channels, conv.in_channels, 3, 3), draw(conv.out_channels))
        for conv in encoder_convs("vgg16", WIDTHS, 3)
    ]


def activations(convs, x: torch.Tensor) -> list[torch.Tensor]:
    found, block = [], 1
    for conv, weight, bias in convs:
        if conv.block != block:
            x, block = F.max_pool2d(x, 2), conv.block
        x = F.conv2d(reflect_pad(x, 1, 1, 1, 1), weight, bias).relu()
        found.append(x)
    return found


def test_the_function_stays_but_for_a_factor_on_each_channel(convs):
    generator = torch.Generator().manual_seed(1)
    means = [
        5 * torch.rand(conv.out_channels, generator=generator, dtype=torch.float64) + 0.01
        for conv, _, _ in convs
    ]
    means[1][2] = 0  # a filter that never fires keeps its scale
    image = torch.rand(1, 3, 24, 20, generator=generator, dtype=torch.float64)
    before, after = activations(convs, image), activations(normalize(convs, means), image)
    for mean, x, y in zip(means, before, after, strict=True):
        scale = torch.where(mean > 0, mean, 1.0)[:, None, None]
        assert torch.allclose(y * scale, x, rtol=1e-10, atol=1e-12)


def test_mean_activations_become_one(convs):
    photos = [torch.rand(1, 3, *size) for size in ((24, 20), (16, 40))]
    normalised = normalize(convs, mean_activations(convs, iter(photos)))
    for mean in mean_activations(normalised, iter(photos)):
        fires = mean > 0
        assert fires.any()
        assert torch.allclose(mean[fires], torch.ones_like(mean[fires]), atol=1e-4)


def test_mean_activations_weigh_every_position_alike(convs):
    small, large = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 64)
    (first, *_) = mean_activations(convs[:1], iter([small, large]))
    pixels = [activations(convs[:1], x.double())[0].flatten(2)[0] for x in (small, large)]
    assert torch.allclose(first, torch.cat(pixels, 1).mean(1), rtol=1e-5)


def test_preprocessing_is_folded_in():
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(4, generator=generator, dtype=torch.float64)
    rgb = torch.rand(1, 3, 9, 7, generator=generator, dtype=torch.float64)
    bgr = 255 * rgb.flip(1) - torch.tensor(CAFFE_MEANS_BGR, dtype=torch.float64)[:, None, None]
    folded = fold_preprocessing(weight, bias)
    assert torch.allclose(F.conv2d(rgb, *folded), F.conv2d(bgr, weight, bias), rtol=1e-10)


def test_photographs_of_a_folder_or_a_tar_file(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate(("b.png", "a.png", "c.png")):
        pixels = np.full((4, 6, 3), (index * 50, 100, 255), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(folder, "photos")
    for source in (folder, tmp_path / "photos.tar"):
        photos = list(read_photos(source, limit=2))
        assert [tuple(photo.shape) for photo in photos] == [(1, 3, 4, 6)] * 2
        # In the order of their names: a.png is the second, b.png the first that was drawn.
        assert [round(photo[0, 0, 0, 0].item() * 255) for photo in photos] == [50, 0]
        assert photos[0][0, :, 0, 0].mul(255).round().tolist() == [50, 100, 255]


def test_the_whole_conversion(tmp_path, monkeypatch):
    """From the original's names and input to a file that the package could embed."""
    generator = torch.Generator().manual_seed(3)
    source = {}
    for conv in encoder_convs("vgg16", TEACHER_WIDTHS, 5):
        name = conv.name.replace("conv", "block").replace("_", "_conv")
        shape = (conv.out_channels, conv.in_channels, 3, 3)
        weight = torch.randn(shape, generator=generator) * (2 / (9 * conv.in_channels)) ** 0.5
        source[f"{name}.weight"], source[f"{name}.bias"] = weight, torch.zeros(conv.out_channels)
    save_file(source, tmp_path / "source.safetensors")
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    whole, output = tmp_path / "whole.safetensors", tmp_path / "output.safetensors"
    for path, quantised in ((whole, ()), (output, QUANTISED)):
        arguments = [tmp_path / "source.safetensors", folder, path, "--limit", "1"]
        monkeypatch.setattr("sys.argv", ["convert", *map(str, arguments)])
        monkeypatch.setattr(convert_vgg16, "QUANTISED", quantised)
        convert_vgg16.main()

    tensors, metadata = read_tensors(output)
    embedded = load_named("vgg16-normalised").state_dict()
    assert set(tensors) == {key for key in embedded if not key.startswith("conv0")}
    assert all(tensors[key].shape == embedded[key].shape for key in tensors)
    assert metadata["family"] == "vgg16"
    exact = read_tensors(whole)[0]
    assert {tensor.dtype for tensor in exact.values()} == {torch.float16}
    convs = [
        (conv, *(exact[f"{conv.name}.{part}"].double() for part in ("weight", "bias")))
        for conv in encoder_convs("vgg16", TEACHER_WIDTHS, 5)
    ]
    for mean in mean_activations(convs, read_photos(folder, 1)):
        assert ((mean == 0) | ((mean - 1).abs() < 0.05)).float().mean() > 0.95

    # Means of filters that hardly fire say nothing of 8 bits: the weights themselves do.
    stored = read_stored(output)[0]
    for key, tensor in exact.items():
        if key in {f"{name}.weight" for name in QUANTISED}:
            assert stored[key].dtype == torch.int8
            assert (tensors[key] - tensor).norm() < 0.02 * tensor.float().norm(), key
        else:
            assert stored[key].dtype == torch.float16
            assert torch.equal(stored[key], tensor), key

"""Make the embedded VGG-16: ``python -m distill.convert_vgg16 SOURCE PHOTOS OUTPUT``.

SOURCE is the original VGG-16 (safetensors, ``blockB_convC.weight/.bias``, BGR in 0..255 minus the
ImageNet means), PHOTOS a folder or tar file of photographs. The result takes RGB in 0..1, and each
filter's mean activation over the photographs and positions is 1 (Gatys et al. 2015); neither
changes the network's function, but for a positive factor on each channel. It is stored in float16,
and the three convolutions that only relu5_1 needs in int8 (:mod:`distill.quantise`).
"""

import argparse
import tarfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from distill.images.reader import ImageFile, to_8_bits
from distill.networks import TEACHER_WIDTHS, Conv, encoder_convs, reflect_pad
from distill.quantise import quantise

CAFFE_MEANS_BGR = (103.939, 116.779, 123.68)
QUANTISED = ("conv4_2", "conv4_3", "conv5_1")
"""71 % of the weights. Nothing up to relu4_1, where AdaIN works, depends on them."""
ATTRIBUTION = (
    "VGG-16 (ILSVRC-2012), K. Simonyan and A. Zisserman, Visual Geometry Group, University of "
    "Oxford, CC BY 4.0, by way of the port shipped with Keras; changed: see convert_vgg16.py"
)


def fold_preprocessing(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """First convolution (O, 3, 3, 3) of BGR in 0..255 less means, as one of RGB in 0..1."""
    means = torch.tensor(CAFFE_MEANS_BGR, dtype=weight.dtype)
    return 255 * weight.flip(1), bias - weight.sum((2, 3)) @ means


def normalize(
    convs: list[tuple[Conv, Tensor, Tensor]], means: list[Tensor]
) -> list[tuple[Conv, Tensor, Tensor]]:
    """Scale filters so that mean activations ``means`` become 1; the next layer scales back.

    A filter that never fires keeps its scale.
    """
    result, before = [], torch.ones(3, dtype=torch.float64)
    for (conv, weight, bias), mean in zip(convs, means, strict=True):
        scale = torch.where(mean > 0, mean, torch.ones_like(mean))
        result.append(
            (conv, weight * before[:, None, None] / scale[:, None, None, None], bias / scale)
        )
        before = scale
    return result


def mean_activations(
    convs: list[tuple[Conv, Tensor, Tensor]], photos: Iterator[Tensor]
) -> list[Tensor]:
    """Mean of each filter after ReLU, over all positions of all photographs, float64."""
    sums = [torch.zeros(conv.out_channels, dtype=torch.float64) for conv, _, _ in convs]
    counts = [0] * len(convs)
    plain = [(conv, weight.float(), bias.float()) for conv, weight, bias in convs]
    for photo in photos:
        x, block = photo, 1
        for index, (conv, weight, bias) in enumerate(plain):
            if conv.block != block:
                x, block = F.max_pool2d(x, 2), conv.block
            x = F.conv2d(reflect_pad(x, 1, 1, 1, 1), weight, bias).relu_()
            sums[index] += x.double().sum((0, 2, 3))
            counts[index] += x.shape[2] * x.shape[3]
    return [total / count for total, count in zip(sums, counts, strict=True)]


def read_photos(source: Path, limit: int) -> Iterator[Tensor]:
    """Images (1, 3, H, W) in 0..1 of a folder or tar file, in the order of their names."""
    if source.is_dir():
        for path in sorted(source.iterdir())[:limit]:
            yield _tensor(ImageFile(path))
        return
    with tarfile.open(source) as tar:
        members = sorted((m for m in tar if m.isfile()), key=lambda m: m.name)
        for member in members[:limit]:
            file = tar.extractfile(member)
            if file is not None:
                yield _tensor(ImageFile(file.read(), name=member.name))


def _tensor(image: ImageFile) -> Tensor:
    pixels = torch.from_numpy(to_8_bits(image.pixels()))
    return pixels.permute(2, 0, 1)[None].float() / 255


def stored(name: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """A convolution's tensors as the file holds them."""
    key = f"{name}.weight"
    weights = quantise(weight).named(key) if name in QUANTISED else {key: weight}
    return {**weights, f"{name}.bias": bias}


def main() -> None:
    """Convert, as the module's text says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--limit", type=int, default=400, help="photographs to average over")
    arguments = parser.parse_args()

    source = load_file(arguments.source)
    convs = []
    for conv in encoder_convs("vgg16", TEACHER_WIDTHS, 5):
        name = conv.name.replace("conv", "block", 1).replace("_", "_conv")
        weight, bias = (source[f"{name}.{part}"].double() for part in ("weight", "bias"))
        if conv.name == "conv1_1":
            weight, bias = fold_preprocessing(weight, bias)
        convs.append((conv, weight, bias))
    with torch.inference_mode():
        means = mean_activations(convs, read_photos(arguments.photos, arguments.limit))
    tensors: dict[str, Tensor] = {}
    for conv, weight, bias in normalize(convs, means):
        tensors |= stored(conv.name, weight.half().contiguous(), bias.half().contiguous())
    metadata = {"family": "vgg16", "input": "RGB, 0..1", "attribution": ATTRIBUTION}
    save_file(tensors, arguments.output, metadata=metadata)


if __name__ == "__main__":
    main()

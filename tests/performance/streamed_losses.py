"""Streamed losses against those of the whole image: do they agree, and what memory do they take?

``python -m tests.performance.streamed_losses --size 5170x3870``

The streamed losses come first, and the growth of the resident set is theirs alone: images are
loaded before, the network is loaded within. The whole image follows, layer by layer, with the
plain network of :mod:`distill.networks`: at 20 MP it needs about 11 GB.
"""

import argparse
import json

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.image_tensors import load_tensor
from bench.measure.memory import HostMeter
from bench.quality.streamed_losses import StreamedLosses, adain_losses, gram_losses
from bench.units import Size, parse_size
from distill.networks import pad_to_alignment, reflect_pad
from distill.reference_losses import CONTENT_LAYER, STYLE_LAYERS, gram
from distill.transforms import ADAIN_EPSILON
from distill.weights import load_named

NETWORK = "vgg16-normalised"
STYLE = Size(512, 512)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=parse_size, default=parse_size("20MP"))
    parser.add_argument("--without-whole", action="store_true", help="measure the memory only")
    arguments = parser.parse_args()
    size = arguments.size
    content = load_tensor("builtin", size, role="content")
    # As good as a stylised image for this: the content, recoloured, with another's structure.
    output = load_tensor("builtin", size, role="style").mul_(0.5).add_(content, alpha=0.5)
    style = load_tensor("builtin", STYLE, role="style")

    meter = HostMeter()
    meter.baseline()
    meter.start()
    with torch.inference_mode():
        losses = StreamedLosses(NETWORK, "cpu")
        found = losses.compare(output, content)
        of_style = losses.statistics(style)
    grams = gram_losses(found.statistics, of_style)
    moments = adain_losses(found.statistics, of_style)
    streamed = {"content_loss": found.content_loss}
    streamed |= {f"style_loss_{layer}": value for layer, value in grams.items()}
    streamed |= {f"style_loss_adain_{layer}": value for layer, value in moments.items()}
    result = {"size": str(size), "megapixels": size.megapixels, **meter.stop()}
    print(json.dumps(result | {"streamed": streamed}), flush=True)
    if not arguments.without_whole:
        with torch.inference_mode():
            whole = whole_losses(output, content, style)
        differences = {key: abs(streamed[key] / whole[key] - 1) for key in whole}
        print(json.dumps({"whole": whole, "relative_difference": differences}))


def whole_losses(output: Tensor, content: Tensor, style: Tensor) -> dict[str, float]:
    at_content = features(content, None)
    ours: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    found = {"content_loss": (features(output, ours) - at_content).square_().mean().item()}
    theirs: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    features(style, theirs)
    for layer in STYLE_LAYERS:
        differences = [a - b for a, b in zip(ours[layer], theirs[layer], strict=True)]
        matrix, mean, deviation = (one.square().mean().item() for one in differences)
        found[f"style_loss_{layer}"] = matrix
        if layer != STYLE_LAYERS[-1]:
            found[f"style_loss_adain_{layer}"] = mean + deviation
    return found


def features(image: Tensor, statistics: dict[str, tuple[Tensor, Tensor, Tensor]] | None) -> Tensor:
    """Features at the content layer; Gram, means and deviations of each style layer are added."""
    encoder = load_named(NETWORK)
    x = pad_to_alignment(image).contiguous(memory_format=torch.channels_last)
    at_content, block = x, 1
    for conv in encoder.description:
        if conv.block != block:
            x, block = F.max_pool2d(x, 2), conv.block
        x = reflect_pad(x, 1, 1, 1, 1)
        module = encoder.get_submodule(conv.name)
        x = F.conv2d(x, module.weight, module.bias).relu_()
        layer = conv.name.replace("conv", "relu")
        if layer == CONTENT_LAYER:
            if statistics is None:
                return x
            at_content = x.clone()
        if layer in STYLE_LAYERS and statistics is not None:
            # Over lines in float64: a float32 sum over 20 million pixels loses too much.
            mean = x[0].mean(2).double().mean(1)
            squares = sum(line.double().square().sum(1) for line in x[0].unbind(1))
            moments = squares / x[0, 0].numel()
            deviation = (moments - mean.square() + ADAIN_EPSILON).sqrt()
            statistics[layer] = gram(x), mean, deviation
    return at_content


if __name__ == "__main__":
    main()

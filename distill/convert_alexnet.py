"""Make the embedded AlexNet of LPIPS: ``python -m distill.convert_alexnet SOURCE OUTPUT``.

SOURCE holds torchvision's ``features.N.weight`` and ``.bias`` (safetensors, or its own checkpoint).
The first two convolutions, whose errors LPIPS shows most, are stored in float16, the other three in
int8 (:mod:`distill.quantise`): all five in float16 would pass the 40 MB that all embedded weights
together may take. The third has a scale for each 3x3 kernel, and lies in the file as a matrix of
kernels (outputs times inputs, 9); the last two have one for each output and input channel.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from distill.quantise import quantise
from distill.weights import read_tensors

BY_KERNEL = "features.6.weight"
BY_CHANNEL = ("features.8.weight", "features.10.weight")
ATTRIBUTION = (
    "AlexNet (ImageNet) as trained by torchvision, IMAGENET1K_V1, BSD-3-Clause; the features "
    "alone, changed: see convert_alexnet.py"
)


def stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The feature layers as the file holds them; other tensors are left out."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not re.fullmatch(r"features\.\d+\.(weight|bias)", name):
            continue
        if name == BY_KERNEL:
            small = quantise(tensor.flatten(2).flatten(0, 1))
            # A scale of two bytes is exact enough for values of one.
            found |= small._replace(scale=small.scale.half()).named(name)
        elif name in BY_CHANNEL:
            found |= quantise(tensor).named(name)
        else:
            found[name] = tensor.half().contiguous()
    return found


def main() -> None:
    """Convert, as the module's text says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    save_file(
        stored(read_tensors(arguments.source)[0]),
        arguments.output,
        metadata={"input": "as torchvision's", "attribution": ATTRIBUTION},
    )


if __name__ == "__main__":
    main()

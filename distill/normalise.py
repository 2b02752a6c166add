"""A VGG's encoders as a teacher's folder, each filter's mean activation 1 (Gatys et al. 2015).

What AdaIN's and WCT's authors used is a VGG-19 normalised so; plain ones are known to serve AdaIN
badly. Their files can be taken as they are, and other VGGs normalised on photographs; that leaves
the network's function unchanged, but for a positive factor on each channel.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from distill.cascades import own_files
from distill.command_line import progress_bar
from distill.convert_vgg16 import mean_activations, normalize
from distill.errors import UserError
from distill.header import Header, project_version, save_network
from distill.networks import CONVS_PER_BLOCK, STAGES, TEACHER_WIDTHS, Conv, Encoder, encoder_convs
from distill.registry import REGISTRY
from distill.streams import courtesy
from distill.training.data import Crops, ImageSet, crop, list_images
from distill.weights import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    load_named,
    read_tensors,
    sha256,
)

SIDE = 288
"""Of the crops that means are taken over, pixels."""
SHORTER = 304
"""Shorter side of the photographs, pixels, before cropping."""


@courtesy()
def normalise(
    source: Annotated[
        str,
        typer.Argument(
            help="A name that 'distill info' lists, such as vgg19-torchvision, or a file: "
            "torchvision's, or a public normalised VGG (vgg_normalised.pth)."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write, for 'distill train --teacher'.")],
    photos: Annotated[
        list[str] | None,
        typer.Option(
            "--photos",
            help="Photographs to take mean activations over: folder, glob or tar file; repeatable. "
            "Without, weights are written as they are: give none for what is normalised already.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Photographs at most.", min=1)] = 400,
) -> None:
    """Write a VGG's encoders as a teacher, with mean activations of 1."""
    encoder, about = read_vgg(source)
    if photos is None and not _has_own_colours(source, encoder):
        raise UserError(
            f"{source}: is a plain VGG, not a normalised one; give photographs to normalise it on "
            "with --photos"
        )
    there = [path.name for path, _ in own_files(out) if path.exists()]
    if there:
        raise UserError(f"{out}: holds {', '.join(there)} already; name another folder")
    if photos is not None:
        images = list_images(photos)
        count = min(limit, len(images))
        with progress_bar("photographs", quiet=False) as report:
            encoder = normalised(encoder, _crops(images, count, report))
        about += f"; mean activations 1 over {count} images, digest {images.digest()}"
    tensors = encoder.state_dict()
    for stage in STAGES:
        wanted = Encoder(encoder.family, TEACHER_WIDTHS, stage).state_dict()
        header = Header(
            encoder.family,
            "wct",
            1,
            stage,
            "encoder",
            "teacher",
            source=about,
            version=project_version(),
        )
        path = own_files(out, (stage,))[0][0]
        save_network(path, {key: tensors[key] for key in wanted}, header)
    print(
        f"wrote {len(STAGES)} encoders; train their decoders with 'distill train --family "
        f"{encoder.family} --ratio 1 --teacher {out} ...'"
    )


def read_vgg(source: str) -> tuple[Encoder, str]:
    """Read a VGG to relu5_1, and say where it is from.

    Args:
        source: a registered name, or a file: a table of convolutions, numbered in order.

    Raises:
        UserError: for a file that holds no VGG-16 or VGG-19.
    """
    if source in REGISTRY:
        entry = REGISTRY[source]
        return load_named(source), f"{entry.name}: {entry.about}; {entry.licence}"
    path = Path(source)
    if not path.is_file():
        raise UserError(f"{source}: no such file, and no name that 'distill info' lists")
    convs = _numbered(read_tensors(path)[0])
    about = f"{path.name}, SHA-256 {sha256(path)[:16]}"
    first = tuple(convs[0][0].shape) if convs else ()
    conv0 = convs.pop(0) if first == (3, 3, 1, 1) else _imagenet_colours()
    for family in CONVS_PER_BLOCK:
        plain = Encoder(family, TEACHER_WIDTHS, 5)
        described = plain.description
        shapes = [(conv.out_channels, conv.in_channels, 3, 3) for conv in described]
        if [tuple(weight.shape) for weight, _ in convs[: len(shapes)]] == shapes:
            state = {"conv0.weight": conv0[0], "conv0.bias": conv0[1]}
            for conv, (weight, bias) in zip(described, convs, strict=False):
                state |= {f"{conv.name}.weight": weight, f"{conv.name}.bias": bias}
            plain.load_state_dict({key: value.float() for key, value in state.items()})
            return plain.requires_grad_(False), about
    raise UserError(
        f"{source}: holds no VGG-16 or VGG-19 to relu5_1; expected a state_dict of its "
        "convolutions in order (torchvision's, or vgg_normalised.pth with its 1x1 convolution)"
    )


def _numbered(tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the convolutions whose keys end in a number, in order."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for key, weight in tensors.items():
        match = re.fullmatch(r"(?:.*\.)?(\d+)\.weight", key)
        bias = tensors.get(f"{key.removesuffix('weight')}bias")
        if match and weight.dim() == 4 and bias is not None:
            found[int(match[1])] = (weight, bias)
    return [found[index] for index in sorted(found)]


def _imagenet_colours() -> tuple[Tensor, Tensor]:
    scale = 1 / torch.tensor(IMAGENET_DEVIATION)
    return scale.diag()[:, :, None, None], -torch.tensor(IMAGENET_MEAN) * scale


def _has_own_colours(source: str, encoder: Encoder) -> bool:
    """Whether it is not torchvision's: public normalised files bring their colour conversion."""
    if source in REGISTRY:
        return REGISTRY[source].torchvision is None
    return not torch.equal(encoder.conv0.weight, _imagenet_colours()[0])


@torch.inference_mode()
def normalised(encoder: Encoder, photos: Iterator[Tensor]) -> Encoder:
    """Scale a VGG's filters so that their mean activations are 1, each next layer scaled back.

    Args:
        encoder: to ``relu5_1``.
        photos: images (1, 3, H, W), RGB in 0..1.

    Returns:
        Another encoder of the same function, but for a positive factor on each channel.
    """
    colours = encoder.conv0
    assert colours.bias is not None
    matrix, offset = colours.weight.double()[:, :, 0, 0], colours.bias.double()
    convs: list[tuple[Conv, Tensor, Tensor]] = []
    for conv in encoder_convs(encoder.family, TEACHER_WIDTHS, encoder.stage):
        weight = encoder.get_parameter(f"{conv.name}.weight").double()
        bias = encoder.get_parameter(f"{conv.name}.bias").double()
        if conv.name == "conv1_1":  # reflection padding commutes with the colour conversion
            bias = bias + weight.sum((2, 3)) @ offset
            weight = torch.einsum("oixy,ic->ocxy", weight, matrix)
        convs.append((conv, weight, bias))
    state = {"conv0.weight": torch.eye(3)[:, :, None, None], "conv0.bias": torch.zeros(3)}
    for conv, weight, bias in normalize(convs, mean_activations(convs, photos)):
        state |= {f"{conv.name}.weight": weight.float(), f"{conv.name}.bias": bias.float()}
    scaled = Encoder(encoder.family, TEACHER_WIDTHS, encoder.stage)
    scaled.load_state_dict(state)
    return scaled.requires_grad_(False)


def _crops(images: ImageSet, count: int, report: Callable[[int, int], None]) -> Iterator[Tensor]:
    rng = np.random.default_rng(0)
    for index in range(count):
        report(index, count)
        yield crop(images, index, Crops(SIDE, (SHORTER, SHORTER)), rng)[None].float() / 255

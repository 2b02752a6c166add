"""The start of a student, second part: what pruning left out of step is brought in line.

A pruned layer misses the inputs that went with the dropped filters: its outputs shrink or fall
below zero for good, and after a few layers most channels are dead. So each convolution in turn is
refitted, on images, to what the teacher's filter of the same index computes there: by least squares
from what the student's layers before give (reconstruction after pruning: He, Zhang and Sun 2017),
then scaled to the teacher's standard deviation and mean, since least squares shrinks what it cannot
explain.
"""

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.networks import Decoder, Encoder, convolve, reflect_pad
from distill.training.pruning import Network, kept_filters

RIDGE = 1e-4
"""Over the mean variance of the inputs: keeps out what hardly ever fires."""
LARGEST_GAIN = 10.0
"""Of the scaling: an output that is all but unexplained (R2 below 1 %) is mostly noise."""

Inputs = Sequence[tuple[Tensor, Tensor]]
"""Batches of what a student and its teacher are given: (N, C, H, W) of their widths."""


@torch.no_grad()
def align(
    student: Network, teacher: Network, inputs: Inputs, *, keep: Collection[str] = ()
) -> None:
    """Refit the convolutions of a pruned student, from its first to its last, to its teacher.

    Args:
        student: pruned from ``teacher``.
        teacher: as wide or wider, of the same depth.
        inputs: images for both encoders, features for both decoders.
        keep: names of convolutions that stay as they are, such as trained ones.
    """
    kept = kept_filters(teacher, student)
    if isinstance(student, Encoder) and isinstance(teacher, Encoder):
        inputs = [(convolve(x, student.conv0), convolve(y, teacher.conv0)) for x, y in inputs]
        block = 1
    else:
        block = student.stage
    for conv in student.description:
        if conv.block != block:
            inputs, block = (
                [(_resize(x, student), _resize(y, teacher)) for x, y in inputs],
                conv.block,
            )
        ours, theirs = _convolution(student, conv.name), _convolution(teacher, conv.name)
        padded = [(reflect_pad(x, 1, 1, 1, 1), reflect_pad(y, 1, 1, 1, 1)) for x, y in inputs]
        wanted = [convolve(y, theirs) for _, y in padded]
        if conv.name not in keep:
            xs = [x for x, _ in padded]
            targets = [y[:, kept[conv.name]] for y in wanted]
            _fit(ours, xs, targets)
            # A picture's colours are no features to be scaled up: what is unknown stays grey.
            if not (isinstance(student, Decoder) and conv.name == "conv1_1"):
                _match(ours, xs, targets)
        inputs = [
            (convolve(x, ours).relu(), y.relu()) for (x, _), y in zip(padded, wanted, strict=True)
        ]


def _resize(x: Tensor, network: Network) -> Tensor:
    if isinstance(network, Encoder):
        return F.max_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _convolution(network: Network, name: str) -> nn.Conv2d:
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer


def _fit(conv: nn.Conv2d, padded: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Ridge regression of targets (N, C, H, W) on 3x3 neighbourhoods, in float64."""
    normal = right = torch.zeros((), dtype=torch.float64, device=conv.weight.device)
    for xs, ys in zip(padded, targets, strict=True):
        # One image at a time: its neighbourhoods are nine times its size, in float64.
        for x, y in zip(xs, ys, strict=True):
            a = F.unfold(x.double(), 3).T
            a = torch.cat((a, a.new_ones(len(a), 1)), 1)
            normal = normal + a.T @ a
            right = right + a.T @ y.flatten(1).T.double()
    normal.diagonal().add_(RIDGE * normal.diagonal().mean())
    solution = torch.linalg.solve(normal, right).to(conv.weight.dtype)
    assert conv.bias is not None
    conv.weight.copy_(solution[:-1].T.reshape(conv.weight.shape))
    conv.bias.copy_(solution[-1])


def _match(conv: nn.Conv2d, padded: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Scale each output to the targets' standard deviation, and shift it to their mean."""
    mean, deviation = _moments([convolve(x, conv) for x in padded])
    aim, spread = _moments(targets)
    gain = (spread / deviation.clamp_min(1e-12)).clamp_max(LARGEST_GAIN)
    assert conv.bias is not None
    conv.weight.mul_(gain[:, None, None, None])
    conv.bias.copy_((conv.bias - mean) * gain + aim)


def _moments(outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    together = torch.cat([y.movedim(1, 0).flatten(1) for y in outputs], 1).double()
    return together.mean(1).float(), together.std(1).float()

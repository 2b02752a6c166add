"""The start of a student, second part: least squares, one convolution after another.

A pruned encoder misses the inputs that went with the dropped filters: its outputs shrink or fall
below zero for good, and after a few layers most channels are dead. So each convolution in turn is
refitted, on images, to what the teacher's filter of the same index computes there, from what the
student's layers before give (reconstruction after pruning: He, Zhang and Sun 2017), then scaled to
the teacher's standard deviation and mean, since least squares shrinks what it cannot explain.

A decoder is its encoder's mirror: where the encoder's ``conv3_2`` reads relu3_1, the decoder's
``conv3_2`` writes it. So each convolution of a decoder is fitted to what the encoder's convolution
of its name is given when it sees the wanted image, and the last one to that image. (The teacher's
decoder is no guide here: its strongest filters, the ones that pruning keeps, hold no colours.)
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.networks import Decoder, Encoder, convolve, reflect_pad
from distill.training.pruning import kept_filters

Progress = Callable[[str, int, int], None]
"""Told what is being fitted, how many convolutions are done, and of how many."""
RIDGE = 1e-4
"""Over the mean variance of the inputs: keeps out what hardly ever fires."""
LARGEST_GAIN = 10.0
"""Of the scaling: an output that is all but unexplained (R2 below 1 %) is mostly noise."""


def ignore(what: str, done: int, total: int) -> None:
    """Tell nobody of the progress."""


@torch.no_grad()
def align(
    student: Encoder,
    teacher: Encoder,
    batches: Sequence[Tensor],
    *,
    keep: Collection[str] = (),
    progress: Progress = ignore,
) -> None:
    """Refit the convolutions of a pruned encoder, from its first to its last, to its teacher's.

    Args:
        student: pruned from ``teacher``.
        teacher: as wide or wider, of the same depth.
        batches: images (N, 3, H, W) in 0..1 to fit on.
        keep: names of convolutions that stay as they are, such as trained ones.
        progress: told of each convolution.
    """
    kept = kept_filters(teacher, student)
    walks = zip(_given(student, batches), _given(teacher, batches), strict=True)
    for done, ((name, ours, xs), (_, theirs, ys)) in enumerate(walks):
        progress(f"aligning {name}", done, len(student.description))
        if name not in keep:
            targets = [convolve(y, theirs)[:, kept[name]] for y in ys]
            _fit(ours, xs, targets)
            _match(ours, xs, targets)


@torch.no_grad()
def mirror(
    decoder: Decoder,
    encoder: Encoder,
    features: Sequence[Tensor],
    images: Sequence[Tensor],
    *,
    progress: Progress = ignore,
) -> None:
    """Fit the convolutions of a decoder, from its first to its last, to its encoder's mirror.

    Args:
        decoder: any weights; all are replaced.
        encoder: of the same widths and stage.
        features: batches (N, C, H / 2^(stage-1), W / 2^(stage-1)) that the decoder is given.
        images: of each batch, what it is to make of them: (N, 3, H, W) in 0..1.
        progress: told of each convolution.
    """
    wanted = {name: [_unpadded(x) for x in xs] for name, _, xs in _given(encoder, images)}
    wanted["conv1_1"] = list(images)
    inputs, block = list(features), decoder.stage
    for done, description in enumerate(decoder.description):
        progress(f"mirroring {description.name}", done, len(decoder.description))
        if description.block != block:
            inputs = [F.interpolate(x, scale_factor=2, mode="nearest") for x in inputs]
            block = description.block
        conv = _convolution(decoder, description.name)
        padded = [reflect_pad(x, 1, 1, 1, 1) for x in inputs]
        _fit(conv, padded, wanted.pop(description.name))
        inputs = [convolve(x, conv).relu() for x in padded]


def _given(
    encoder: Encoder, batches: Sequence[Tensor]
) -> Iterator[tuple[str, nn.Conv2d, list[Tensor]]]:
    """Each convolution of an encoder and its padded inputs; they may be changed meanwhile."""
    inputs, block = [convolve(x, encoder.conv0) for x in batches], 1
    for description in encoder.description:
        if description.block != block:
            inputs, block = [F.max_pool2d(x, 2) for x in inputs], description.block
        conv = _convolution(encoder, description.name)
        padded = [reflect_pad(x, 1, 1, 1, 1) for x in inputs]
        yield description.name, conv, padded
        inputs = [convolve(x, conv).relu() for x in padded]


def _unpadded(x: Tensor) -> Tensor:
    return x[..., 1:-1, 1:-1]


def _convolution(network: Encoder | Decoder, name: str) -> nn.Conv2d:
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

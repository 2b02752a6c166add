"""The start of a student: the teacher's filters of largest L1 norm (Li et al. 2017).

In every layer the filters with the largest sum of absolute weights stay; the next layer keeps the
inputs that those filters produce. A network pruned so computes exactly what the teacher computes
with the dropped filters set to zero.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from distill.networks import Decoder, Encoder


def kept_filters(teacher: Encoder, widths: Sequence[int]) -> dict[str, Tensor]:
    """Indices of the filters that a student of these widths keeps of each convolution, ascending.

    Args:
        teacher: any encoder.
        widths: channels of the student's blocks, none above the teacher's; blocks that the
            student does not reach are left out.
    """
    kept = {}
    for conv in teacher.description:
        if conv.block > len(widths):
            break
        weight = teacher.get_parameter(f"{conv.name}.weight")
        width = widths[conv.block - 1]
        if width > weight.shape[0]:
            raise ValueError(f"{conv.name} has {weight.shape[0]} filters, {width} are wanted")
        # Stable, so that ties (a zeroed layer) fall the same way everywhere.
        order = weight.detach().abs().sum((1, 2, 3)).sort(descending=True, stable=True).indices
        kept[conv.name] = order[:width].sort().values
    return kept


def prune_encoder(teacher: Encoder, widths: Sequence[int], stage: int) -> Encoder:
    """A student encoder of ``relu{stage}_1`` made of the teacher's strongest filters."""
    kept = kept_filters(teacher, widths)
    student = Encoder(teacher.family, widths, stage)
    inputs = torch.arange(3)
    state = {key: value.clone() for key, value in teacher.conv0.state_dict(prefix="conv0.").items()}
    for conv in student.description:
        state |= _sliced(teacher, conv.name, kept[conv.name], inputs)
        inputs = kept[conv.name]
    student.load_state_dict(state)
    return student


def prune_decoder(teacher: Decoder, kept: Mapping[str, Tensor], widths: Sequence[int]) -> Decoder:
    """A student decoder cut from the teacher's, so that it reads and makes the kept channels.

    Args:
        teacher: the teacher's decoder of the stage.
        kept: as :func:`kept_filters` gives for the teacher's encoder: the decoder's ``conv3_1``
            mirrors the encoder's, so it reads the channels that the encoder's keeps.
        widths: of the student.
    """
    student = Decoder(teacher.family, widths, teacher.stage, final_relu=teacher.final_relu)
    names = [conv.name for conv in student.description]
    state: dict[str, Tensor] = {}
    for name, following in zip(names, [*names[1:], None], strict=True):
        outputs = torch.arange(3) if following is None else kept[following]
        state |= _sliced(teacher, name, outputs, kept[name])
    student.load_state_dict(state)
    return student


@torch.no_grad()
def read_through_embedding(
    student: Decoder, teacher: Decoder, kept: Mapping[str, Tensor], embedding: nn.Conv2d
) -> None:
    """Let a student decoder's first convolution read through its encoder's embedding.

    A 1x1 convolution followed by a 3x3 one is a 3x3 convolution: the teacher's first, of the
    embedded features. It sees all of the teacher's channels, not the kept ones alone.

    Args:
        student: pruned from ``teacher``; its first convolution is set.
        teacher: the teacher's decoder of the stage.
        kept: as for :func:`prune_decoder`.
        embedding: student width to teacher width at ``relu{stage}_1``, with bias.
    """
    first, *rest = [conv.name for conv in student.description]
    outputs = kept[rest[0]] if rest else torch.arange(3)
    weight = teacher.get_parameter(f"{first}.weight")[outputs]
    bias = teacher.get_parameter(f"{first}.bias")[outputs]
    assert embedding.bias is not None
    composed = torch.einsum("oihw,ic->ochw", weight, embedding.weight[:, :, 0, 0])
    student.get_parameter(f"{first}.weight").copy_(composed)
    # Reflection padding: the constant part meets all nine taps everywhere.
    student.get_parameter(f"{first}.bias").copy_(bias + weight.sum((2, 3)) @ embedding.bias)


def _sliced(
    network: Encoder | Decoder, name: str, outputs: Tensor, inputs: Tensor
) -> dict[str, Tensor]:
    weight = network.get_parameter(f"{name}.weight").detach()
    bias = network.get_parameter(f"{name}.bias").detach()
    return {
        f"{name}.weight": weight[outputs][:, inputs].clone(),
        f"{name}.bias": bias[outputs].clone(),
    }

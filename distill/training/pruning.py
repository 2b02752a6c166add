"""The start of a student: the teacher's filters of largest L1 norm (Li et al. 2017).

In every layer the filters with the largest sum of absolute weights stay; the next layer keeps the
inputs that those filters produce. A network pruned so computes exactly what the teacher computes
with the dropped filters set to zero.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.networks import Decoder, Encoder

Network = Encoder | Decoder


def kept_filters(teacher: Network, student: Network) -> dict[str, Tensor]:
    """Indices of the filters that a student keeps of each of its convolutions, ascending.

    Raises:
        ValueError: for a student that is wider than its teacher.
    """
    kept = {}
    for conv in student.description:
        weight = teacher.get_parameter(f"{conv.name}.weight")
        if conv.out_channels > len(weight):
            raise ValueError(
                f"{conv.name} has {len(weight)} filters, {conv.out_channels} are wanted"
            )
        # Stable, so that ties (a zeroed layer) fall the same way everywhere.
        order = weight.detach().abs().sum((1, 2, 3)).sort(descending=True, stable=True).indices
        kept[conv.name] = order[: conv.out_channels].sort().values
    return kept


def prune_encoder(teacher: Encoder, widths: Sequence[int], stage: int) -> Encoder:
    """A student encoder to ``relu{stage}_1`` made of the teacher's strongest filters."""
    student = Encoder(teacher.family, widths, stage)
    colours = {
        key: value.clone() for key, value in teacher.conv0.state_dict(prefix="conv0.").items()
    }
    student.load_state_dict(colours | _sliced(teacher, student, torch.arange(3)))
    return student


def prune_decoder(teacher: Decoder, inputs: Tensor, widths: Sequence[int]) -> Decoder:
    """A student decoder made of the teacher's strongest filters.

    Args:
        teacher: the teacher's decoder of the stage.
        inputs: indices of the teacher's channels that it is to read: what the student's encoder
            keeps of its last convolution.
        widths: of the student.
    """
    student = Decoder(teacher.family, widths, teacher.stage, final_relu=teacher.final_relu)
    student.load_state_dict(_sliced(teacher, student, inputs))
    return student


@torch.no_grad()
def read_through_embedding(student: Decoder, teacher: Decoder, embedding: nn.Conv2d) -> None:
    """Let a pruned decoder's first convolution read through its encoder's embedding.

    A 1x1 convolution followed by a 3x3 one is a 3x3 convolution: the teacher's first, of the
    embedded features. It sees all of the teacher's channels, not the kept ones alone.

    Args:
        student: pruned from ``teacher``; its first convolution is set.
        teacher: the teacher's decoder of the stage.
        embedding: student width to teacher width at ``relu{stage}_1``, with bias.
    """
    first = student.description[0].name
    outputs = kept_filters(teacher, student)[first]
    weight = teacher.get_parameter(f"{first}.weight")[outputs]
    bias = teacher.get_parameter(f"{first}.bias")[outputs]
    assert embedding.bias is not None
    composed = torch.einsum("oihw,ic->ochw", weight, embedding.weight[:, :, 0, 0])
    student.get_parameter(f"{first}.weight").copy_(composed)
    # Reflection padding: the constant part meets all nine taps everywhere.
    student.get_parameter(f"{first}.bias").copy_(bias + weight.sum((2, 3)) @ embedding.bias)


def _sliced(teacher: Network, student: Network, inputs: Tensor) -> dict[str, Tensor]:
    """The kept filters of each convolution, each reading what the one before keeps."""
    state = {}
    for name, outputs in kept_filters(teacher, student).items():
        weight = teacher.get_parameter(f"{name}.weight").detach()
        state[f"{name}.weight"] = weight[outputs][:, inputs].clone()
        state[f"{name}.bias"] = teacher.get_parameter(f"{name}.bias").detach()[outputs].clone()
        inputs = outputs
    return state

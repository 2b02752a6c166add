"""The start of a student: the teacher's filters of largest L1 norm (Li et al. 2017).

In every layer the filters with the largest sum of absolute weights stay; the next layer keeps the
inputs that those filters produce. A network pruned so computes exactly what the teacher computes
with the dropped filters set to zero.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.networks import Decoder, Encoder


def kept_filters(teacher: Encoder | Decoder, student: Encoder | Decoder) -> dict[str, Tensor]:
    """Find the filters that a student keeps of each of its convolutions: indices, ascending.

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


def prune_decoder(decoder: Decoder, teacher: Encoder, widths: Sequence[int]) -> Decoder:
    """Make a student's decoder of a teacher's strongest filters.

    Args:
        decoder: the teacher's.
        teacher: its encoder; the channels that a student's features keep are its strongest.
        widths: channels of the student's blocks 1 to the decoder's stage.
    """
    stage = decoder.stage
    student = Decoder(decoder.family, widths, stage, final_relu=decoder.final_relu)
    features = kept_filters(teacher, Encoder(teacher.family, widths, stage))
    inputs = features[teacher.description[-1].name].cpu()
    student.load_state_dict(_sliced(decoder, student, inputs))
    return student


@torch.no_grad()
def level_features(encoder: Encoder, reader: nn.Conv2d, images: Tensor) -> None:
    """Scale an encoder's deepest channels to a mean square of 1, and what reads them back.

    What the reader makes of the features stays the same. AdaIN adds 1e-5 to variances, which must
    be little against them, and pruning leaves features of any size. Squares, because of a channel
    that hardly ever fires the mean says nothing: by that it would be scaled a thousandfold, beyond
    what float16 holds and what whitening can tell from the others' noise. Channels a hundred times
    weaker than the strongest are scaled by no more than that allows.

    Args:
        encoder: to be scaled, at its last convolution.
        reader: the convolution that takes its features.
        images: (N, 3, H, W), to take the means over.
    """
    size = encoder(images).square().mean((0, 2, 3)).sqrt()
    scale = 1 / size.clamp_min(size.amax().clamp_min(1e-12) / 100)
    last = encoder.get_submodule(encoder.description[-1].name)
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    last.weight.mul_(scale[:, None, None, None])
    last.bias.mul_(scale)
    reader.weight.div_(scale[None, :, None, None])


def _sliced(
    teacher: Encoder | Decoder, student: Encoder | Decoder, inputs: Tensor
) -> dict[str, Tensor]:
    """The kept filters of each convolution, each reading what the one before keeps."""
    state = {}
    for name, outputs in kept_filters(teacher, student).items():
        weight = teacher.get_parameter(f"{name}.weight").detach()
        state[f"{name}.weight"] = weight[outputs][:, inputs].clone()
        state[f"{name}.bias"] = teacher.get_parameter(f"{name}.bias").detach()[outputs].clone()
        inputs = outputs
    return state

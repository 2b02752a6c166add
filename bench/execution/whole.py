"""The whole image at once: the fastest way, as long as it fits."""

from typing import TYPE_CHECKING

from torch import Tensor

from distill.networks import pad_to_alignment
from distill.transforms import FeatureStats

if TYPE_CHECKING:
    from bench.stylizers.cascade import Stylizer
    from distill.stages import StyleCode


def run_whole(stylizer: "Stylizer", content: Tensor, style: "StyleCode", alpha: float) -> Tensor:
    """Run every stage over the whole image; see :meth:`Stylizer.stylize`."""
    height, width = content.shape[-2:]
    box = [pad_to_alignment(stylizer.layout.place(content))]
    for stage, restyle in zip(stylizer.stages, style, strict=True):
        box.append(stage.encoder(box))
        match = restyle.after(stage.normalize(FeatureStats.of(box[0]))).blend(alpha)
        box.append(stage.decoder(box, match))
    return box.pop()[..., :height, :width].clamp_(0, 1)

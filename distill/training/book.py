"""All that says how a model is made, and the networks that follow from it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from torch import Tensor

from distill.models import ModelSpec
from distill.training.data import Crops, ImageSet, batches
from distill.training.settings import Settings

Role = Literal["encoder", "decoder"]
ROLES: tuple[str, ...] = get_args(Role)
Compressor = Literal["collaborative", "pruned", "fitnet", "scratch"]
Embedding = Literal["linear", "relu"]
"""What maps a student's features to the teacher's: a 1x1 convolution, with or without a ReLU."""
EMBEDDINGS: tuple[str, ...] = get_args(Embedding)
COMPRESSORS: tuple[str, ...] = get_args(Compressor)


HELD_OUT_CROPS = 64
"""Crops of held-out images on which the loss is measured, rounded up to whole batches."""


class Job(NamedTuple):
    """One network to be trained."""

    stage: int
    role: Role

    @property
    def name(self) -> str:
        """Stem of its weights file, and name of its training folder."""
        return f"stage{self.stage}-{self.role}"


@dataclass(frozen=True)
class Recipebook:
    """All that says how a model is made."""

    spec: ModelSpec
    compressor: Compressor
    out: Path
    content: ImageSet
    crops: Crops
    settings: Settings
    """Of each network's training."""
    styles: ImageSet | None = None
    teacher: Path | None = None
    """Folder of the teacher's networks; None for the embedded ones."""
    start: Path | None = None
    """Folder whose networks are started from, where it has the same layers."""
    stages: tuple[int, ...] | None = None
    """Those to make; None for all of the method's."""
    only: Role | None = None
    """The role to make; None for both."""
    held_out: ImageSet | None = None
    """Photographs that are not trained on, to measure the loss on."""
    held_out_styles: ImageSet | None = None
    """Styles beside them; None for those that are trained on."""
    aligned: bool = True
    """Whether a pruned start is refitted to the teacher by least squares."""
    embedding: Embedding = "linear"
    workers: int = 0
    skip: Callable[[str], None] | None = None
    """Told of each image that cannot be read and is passed over; None ends the training there."""
    ridges: Mapping[int, float] = field(default_factory=dict)
    """Of whitening and colouring (WCT), by stage; 0 where there is none."""
    command: str = ""

    def jobs(self) -> list[Job]:
        """The networks to be trained, in order."""
        roles: tuple[Role, ...] = ("decoder",) if self.spec.ratio == 1 else ("encoder", "decoder")
        return [
            Job(k, role)
            for k in sorted(self.stages or self.spec.stages)
            for role in roles
            if self.only in (None, role)
        ]

    @property
    def made_by(self) -> str:
        """The compressor, for headers; a teacher's decoders have none."""
        return "teacher" if self.spec.ratio == 1 else self.compressor

    @property
    def variant(self) -> str:
        """How the recipe differs from its compressor's own, for headers; empty if it does not."""
        if self.spec.ratio == 1:
            return ""
        parts = ["not aligned"] if not self.aligned and self.compressor != "scratch" else []
        if self.embedding != "linear" and self.compressor in ("collaborative", "fitnet"):
            parts.append(f"embedding {self.embedding}")
        return ", ".join(parts)

    def held_out_batches(self, *, styled: bool) -> list[tuple[Tensor, Tensor | None]]:
        """Batches that are not trained on, the same in every training: uint8 (n, 3, H, W).

        Args:
            styled: give styles, too.
        """
        if self.held_out is None:
            return []
        size = self.settings.batch
        count = -(-HELD_OUT_CROPS // size)
        plain = replace(self.crops, flip=False)

        def some(images: ImageSet) -> Iterator[Tensor]:
            return islice(batches(images, plain, batch=size, seed=0, skip=self.skip), count)

        contents = list(some(self.held_out))
        styles = self.held_out_styles or self.styles
        if not styled or styles is None:
            return [(content, None) for content in contents]
        return list(zip(contents, some(styles), strict=True))

    @property
    def data(self) -> str:
        """What is trained on, for headers."""
        text = f"{len(self.content)} images, digest {self.content.digest()}"
        if self.styles is not None:
            text += f"; {len(self.styles)} styles, digest {self.styles.digest()}"
        return text

"""All that says how a model is made, and the networks that follow from it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from distill.models import ModelSpec
from distill.training.data import Crops, ImageSet
from distill.training.settings import Settings

Role = Literal["encoder", "decoder"]
ROLES: tuple[str, ...] = get_args(Role)
Compressor = Literal["collaborative", "pruned", "fitnet", "scratch"]
COMPRESSORS: tuple[str, ...] = get_args(Compressor)


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
    workers: int = 0
    skip: Callable[[str], None] | None = None
    """Told of each image that cannot be read and is passed over; None ends the training there."""
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
    def data(self) -> str:
        """What is trained on, for headers."""
        text = f"{len(self.content)} images, digest {self.content.digest()}"
        if self.styles is not None:
            text += f"; {len(self.styles)} styles, digest {self.styles.digest()}"
        return text

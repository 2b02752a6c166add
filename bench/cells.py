"""A cell: one point of a sweep, measured by one fresh process."""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["performance", "quality"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Execution = Literal["whole", "strips", "thumbnail"]


class Frozen(BaseModel):
    """An immutable, closed model: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasureSettings(Frozen):
    """How a performance cell is timed."""

    warmup: int
    min_repeats: int
    max_repeats: int
    target_ci: float
    """Half width of the 95 % interval of the median latency, over the median, to stop at."""
    cell_time_limit_s: float
    energy: Literal["auto", "off"] = "auto"
    """Whether energy is measured, where a counter can be read."""
    retry_disturbed: int = 0
    """How often the timing is repeated at the most while it was taken under disturbance."""


class QualitySettings(Frozen):
    """What a quality cell computes, and on what."""

    metrics: tuple[str, ...]
    """Names, as `bench models --metrics` lists them."""
    network: str
    """Name of the reference network's weights, as `distill info` lists them."""
    lpips_backbone: str
    """``cache`` (torch's, else the embedded copy), ``embedded``, ``download``, or the path of a
    file with AlexNet's feature layers."""
    max_pairs: int
    inception: str = "cache"
    """Where FID and its like find Inception: ``cache`` (torch's), ``download``, or a path."""
    teacher: str | None = None
    """The model whose outputs are compared with; None for the cell's own at ratio 1."""
    teacher_digest: str | None = None
    """Of the teacher's weights, where a metric needs them: other weights make another cell."""


class Cell(Frozen):
    """Everything that a worker needs to know to measure one point.

    Sizes are in pixels. For a performance cell ``content`` and ``style`` are one image each
    (``builtin`` or a file); for a quality cell they are all the images, which are paired.
    """

    kind: Kind
    model: str
    execution: Execution
    precision: Precision
    device: str
    width: int
    height: int
    style_width: int
    style_height: int
    memory_cap_bytes: int | None
    alpha: float
    seed: int
    threads: int | None
    cudnn_benchmark: bool = False
    content: tuple[str, ...]
    style: tuple[str, ...]
    measure: MeasureSettings
    quality: QualitySettings | None = None
    weights_digest: str
    code_version: str

    @property
    def megapixels(self) -> float:
        """Content size in millions of pixels."""
        return self.width * self.height / 1e6

    @property
    def id(self) -> str:
        """Hash of what defines the cell: 12 hexadecimal digits.

        How often it is timed does not define it; the device's type does, its index does not.
        """
        defining = self.model_dump(mode="json", exclude={"measure", "device"})
        if not self.cudnn_benchmark:  # cells of before there was a choice keep their names
            del defining["cudnn_benchmark"]
        defining["device_type"] = self.device.partition(":")[0]
        return hashlib.sha256(json.dumps(defining, sort_keys=True).encode()).hexdigest()[:12]

    def label(self) -> str:
        """Short text for tables and progress: what sets this cell apart."""
        what = f"{self.model} {self.execution} {self.precision} {self.width}x{self.height}"
        return what if self.kind == "performance" else f"{what} quality"

"""What a quality metric is: the interface of built-in ones and of plug-ins. Imports no PyTorch.

A metric has a name, says which way is better and what it needs, and is *prepared* once for each
evaluation (networks are loaded then); what that gives is called for each image, or once for the
whole set. To add one from another package, make a :class:`Metric` and name it in the entry-point
group ``ultrastyle_bench.metrics``, under its own name::

    [project.entry-points."ultrastyle_bench.metrics"]
    edge_loss = "my_package.metrics:EDGE_LOSS"

    EDGE_LOSS = Metric(
        name="edge_loss",
        better="lower",
        unit="",
        per="image",
        needs=frozenset({"content"}),
        definition="mean absolute difference of Sobel gradients of output and content",
        prepare=lambda conditions: lambda pair: {"edge_loss": edges(pair.output, pair.content)},
    )
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bench.cells import QualitySettings
from bench.units import Size

if TYPE_CHECKING:
    from torch import Tensor

Better = Literal["lower", "higher", "none"]
"""``none``: a number that describes and does not judge."""
Per = Literal["image", "set"]
Need = Literal["content", "style", "teacher"]
"""What an output is compared with; ``teacher`` is the teacher's output for the same pair."""
LPIPS = "lpips"
"""Key of :meth:`Conditions.once` for the network of LPIPS, which several metrics share."""
T = TypeVar("T")


def _once(memo: dict[str, Any], key: str, make: Callable[[], T]) -> T:
    if key not in memo:
        memo[key] = make()
    found: T = memo[key]
    return found


@dataclass(frozen=True)
class Conditions:
    """Under which an evaluation computes its metrics."""

    settings: QualitySettings
    device: str
    content_size: Size
    """Of contents and outputs."""
    style_size: Size
    memo: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, made once an evaluation: for networks that metrics share."""
        return _once(self.memo, key, make)

    @property
    def lpips_backbone(self) -> str | None:
        """Where the AlexNet of LPIPS was found, in words; None where it was not loaded."""
        network = self.memo.get(LPIPS)
        return None if network is None else str(network.backbone)


@dataclass(frozen=True)
class Pair:
    """The images of one pair: float32 (1, 3, H, W), RGB in 0..1, on the evaluation's device.

    ``teacher`` may be a view of a file on the CPU, to be moved piece by piece.
    """

    output: "Tensor"
    content: "Tensor"
    style: "Tensor"
    teacher: "Tensor | None" = None
    style_name: str = ""
    """Tells one style from another within an evaluation."""
    memo: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, made once a pair: for features that metrics share."""
        return _once(self.memo, key, make)


@dataclass(frozen=True)
class PictureSet:
    """All pairs of an evaluation, as 8-bit image files; the lists go together."""

    outputs: tuple[Path, ...]
    contents: tuple[Path, ...]
    """That of each output: a content comes again where it was paired again."""
    styles: tuple[Path, ...]
    notes: dict[str, str] = field(default_factory=dict)
    """Filled by metrics: a metric's name, and what limits its value, such as a small set."""


Values = Mapping[str, float]
"""By name: the metric's own, or that and an underscore and more (``style_loss_relu1_1``)."""
ImageMeasure = Callable[[Pair], Values]
SetMeasure = Callable[[PictureSet], Values]


@dataclass(frozen=True)
class Metric:
    """A quality metric."""

    name: str
    """As in ``quality.metrics`` of a scenario and in records."""
    better: Better
    unit: str
    """Empty for a number without one."""
    per: Per
    needs: frozenset[Need]
    definition: str
    """What is computed, in a sentence without a full stop: of which network and layers, normalised
    by what, from whom. ``{network}`` stands for the scenario's reference network, ``{alexnet}`` for
    that of LPIPS. Resolution and pairing are added to it in records."""
    prepare: Callable[[Conditions], Callable[[Any], Values]]
    """Gives an :data:`ImageMeasure` or a :data:`SetMeasure`, as ``per`` says. It raises
    ``UserError`` where the metric cannot be had: its message is recorded as the reason."""

    def describe(self, conditions: Conditions) -> str:
        """The definition under given conditions, resolutions included."""
        where = [f"output {conditions.content_size}"]
        if "style" in self.needs:
            where.append(f"style {conditions.style_size}")
        what = self.definition.replace("{network}", conditions.settings.network)
        what = what.replace("{alexnet}", alexnet(conditions.lpips_backbone))
        return f"{what}; {', '.join(where)}"


def alexnet(backbone: str | None) -> str:
    """How a definition names the AlexNet of LPIPS: the embedded copy is not bit for bit the file.

    ``backbone`` is :attr:`Conditions.lpips_backbone`.
    """
    embedded = backbone is not None and backbone.startswith("embedded")
    return f"AlexNet ({backbone})" if embedded else "AlexNet"

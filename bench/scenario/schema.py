"""What a scenario is once its file has been read: keys, limits, defaults, and its cells."""

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.cells import Cell, Frozen, MeasureSettings, QualitySettings
from bench.quality.catalogue import default_teacher, may_need_teacher
from bench.scenario.exclusion import Exclusion, Point, Priority, unused
from bench.scenario.fields import (
    AlexNetField,
    AlphasField,
    BackboneField,
    CapsField,
    DeviceField,
    EnergyField,
    ExecutionsField,
    FractionField,
    MetricsField,
    ModelsField,
    NameField,
    NetworkField,
    OptionalModelField,
    OptionalSecondsField,
    PrecisionsField,
    SecondsField,
    SizeField,
    SizesField,
    SwitchField,
    Whole,
    key,
)
from bench.scenario.images import Images, all_images
from bench.scenario.values import KeyProblemsError
from bench.scenario.yaml_writer import dump_yaml
from bench.units import Size

MAX_CELLS = 20_000
_DIMENSIONS = ("memory_cap", "models", "execution", "precision", "alpha", "resolutions")
"""Keys whose lists are multiplied, the slowest to change first."""


class Measure(Frozen):
    """How a cell is timed."""

    warmup: Annotated[int, Whole(0, 1000)] = key(2, "Passes before timing begins; may be 0.")
    min_repeats: Annotated[int, Whole(1, 100_000)] = key(
        6, "Fewest timed passes; below 6 there is no 95 % interval of a median."
    )
    max_repeats: Annotated[int, Whole(1, 100_000)] = key(50, "Most timed passes.")
    target_ci: FractionField = key(
        "2%", "Timing stops when the median's 95 % interval is within this much on either side."
    )
    processes: Annotated[int, Whole(1, 1000)] = key(
        1,
        "Fresh processes that each measure a timed cell, in rounds over all cells; bench compare "
        "needs at least 4.",
    )
    cell_time_limit: SecondsField = key(
        "120s", "Longest time of one cell; one that is predicted to pass it is tried once at most."
    )
    energy: EnergyField = key(
        "auto",
        "Whether energy is measured: auto, where a counter can be read (some seconds a cell), or "
        "off.",
    )
    retry_disturbed: Annotated[int, Whole(0, 100)] = key(
        0,
        "How often timing is repeated at the most when it was disturbed: throttled, shared, "
        "another clock, time stolen, swapping.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Measure":
        if self.min_repeats > self.max_repeats:
            raise KeyProblemsError(
                (
                    ("min_repeats",),
                    f"{self.min_repeats} is more than max_repeats, which is {self.max_repeats}",
                )
            )
        return self


class Quality(Frozen):
    """What is computed on the stylised images, and on what."""

    resolution: SizeField = key("512x512", "Size of the content images that are stylised.")
    metrics: MetricsField = key(
        ["content_loss", "style_loss", "lpips"],
        "What to compute; bench models --metrics says what each is.",
    )
    network: NetworkField = key(
        "vgg16-normalised", "Weights of the network whose features the losses compare."
    )
    lpips_backbone: AlexNetField = key(
        "cache",
        "Where LPIPS finds AlexNet: cache (PyTorch's folder of downloads, else the embedded copy), "
        "embedded, download (fetched if it is not cached), or the path of a file.",
    )
    inception: BackboneField = key(
        "cache",
        "Where FID and its like find torch-fidelity's Inception: cache, download, or the path of "
        "a file.",
    )
    teacher: OptionalModelField = key(
        None,
        "Model whose outputs metrics such as lpips_teacher compare with; null for the same method "
        "and family at ratio 1.",
    )
    max_pairs: Annotated[int, Whole(1, 10_000)] = key(
        4, "Most pairs of a content and a style image."
    )


class Scenario(Frozen):
    """A sweep: lists are dimensions, and the cells are their product less what is excluded."""

    name: NameField = Field(description="Name of the scenario, which run folders begin with.")
    device: DeviceField = key(
        "auto", "auto (CUDA if there is a card, else the CPU), cpu, cuda or cuda:N."
    )
    memory_cap: CapsField = key(
        None, "Memory that a cell may use, such as 12GB; null for what the machine has."
    )
    models: ModelsField = Field(
        description="Models as METHOD-FAMILY-RATIOx[:WEIGHTS], such as wct-vgg16-16x."
    )
    execution: ExecutionsField = key("whole", "How a cascade is run over the image.")
    precision: PrecisionsField = key("fp32", "Number formats of the networks.")
    resolutions: SizesField = Field(
        description="Content sizes: WxH in pixels, or megapixels such as 12.5MP (a 4:3 image)."
    )
    style_resolution: SizeField = key("512x512", "Size of the style image.")
    images: Images = Field(
        default_factory=Images, description="Where content and style images come from."
    )
    alpha: AlphasField = key(1.0, "Strength of the style: 0 is the content, 1 the full style.")
    seed: Annotated[int, Whole(0, 2**32 - 1)] = key(0, "Seed of everything random.")
    threads: Annotated[int, Whole(1, 4096)] | None = key(
        None, "CPU threads of a cell; null for PyTorch's choice."
    )
    cudnn_benchmark: SwitchField = key(
        False,
        "CUDA: whether cuDNN tries its algorithms for each new size and keeps the fastest, which "
        "takes a longer first pass and more memory.",
    )
    measure: Measure = Field(
        default_factory=Measure, description="Warm-up, repeats and limits of the timing."
    )
    quality: Quality | None = key(
        None, "What to compute on the stylised images; null to measure no quality."
    )
    run_time_limit: OptionalSecondsField = key(
        None, "Longest time of the run; what is left by then is skipped. null for none."
    )
    skip_predicted: SwitchField = key(
        False,
        "Whether cells are left out that are predicted not to fit their cap, or to take far longer "
        "than cell_time_limit; bench plan shows them.",
    )
    exclude: tuple[Exclusion, ...] = Field(
        (), description="Entries that each leave out the cells that match all their keys."
    )
    priority: tuple[Priority, ...] = Field(
        (),
        description="Entries that each name the cells that match all their keys: cells of the "
        "first are measured first, then those of the second, the others last. What run_time_limit "
        "leaves out is then what matters least; no repeat takes time that a named cell needs, and "
        "a named cell is tried once though a pass passes cell_time_limit.",
    )

    @field_validator("exclude", "priority", mode="before")
    @classmethod
    def _one_entry_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, dict) else value

    @field_validator("exclude", mode="after")
    @classmethod
    def _excludes_some(
        cls, exclude: tuple[Exclusion, ...], info: ValidationInfo
    ) -> tuple[Exclusion, ...]:
        # keys that have problems of their own are missing: there is no product to check then
        if not {*_DIMENSIONS, "quality"} <= info.data.keys():
            return exclude
        count = prod(len(info.data[key]) for key in _DIMENSIONS)
        if count > MAX_CELLS:
            return exclude
        points = [*_timed_points(info.data), *_quality_points(info.data)]
        if problems := unused(exclude, points):
            raise KeyProblemsError(*problems)
        if all(any(entry.matches(point) for entry in exclude) for point in points):
            raise ValueError(f"leaves no cell of {len(points)}; a scenario needs at least one")
        return exclude

    @field_validator("priority", mode="after")
    @classmethod
    def _names_some(
        cls, priority: tuple[Priority, ...], info: ValidationInfo
    ) -> tuple[Priority, ...]:
        if not {*_DIMENSIONS, "quality", "exclude"} <= info.data.keys():
            return priority
        if prod(len(info.data[key]) for key in _DIMENSIONS) > MAX_CELLS:
            return priority
        points = [*_timed_points(info.data), *_quality_points(info.data)]
        exclude = info.data["exclude"]
        left = [p for p in points if not any(entry.matches(p) for entry in exclude)]
        if problems := unused(priority, left):
            raise KeyProblemsError(*problems)
        return priority

    @model_validator(mode="after")
    def _not_too_many(self) -> "Scenario":
        counts = {key: len(getattr(self, key)) for key in _DIMENSIONS}
        if prod(counts.values()) > MAX_CELLS:
            product_text = " x ".join(f"{count} {key}" for key, count in counts.items())
            raise ValueError(f"{product_text} make more than {MAX_CELLS} cells")
        return self

    def cells(
        self, device: str, *, weights_digest: Callable[[str], str], code_version: str
    ) -> list[Cell]:
        """The cells in a stable order: those that are timed, then those for quality.

        Args:
            device: ``cpu`` or ``cuda[:N]``, what ``self.device`` came to on this machine.
            weights_digest: digest of a model's weights, asked once a model; it may raise.
            code_version: what measures the cell, so that another version makes other cells.
        """
        digests = {model: weights_digest(model) for model in self.models}
        keys = {key: getattr(self, key) for key in (*_DIMENSIONS, "quality")}

        def cell(point: Point, **special: Any) -> Cell:
            return Cell(
                model=point.model,
                execution=point.execution,
                precision=point.precision,
                device=device,
                width=point.resolution.width,
                height=point.resolution.height,
                style_width=self.style_resolution.width,
                style_height=self.style_resolution.height,
                memory_cap_bytes=point.memory_cap,
                alpha=point.alpha,
                seed=self.seed,
                threads=self.threads,
                cudnn_benchmark=self.cudnn_benchmark and device.startswith("cuda"),
                measure=MeasureSettings(
                    warmup=self.measure.warmup,
                    min_repeats=self.measure.min_repeats,
                    max_repeats=self.measure.max_repeats,
                    target_ci=self.measure.target_ci,
                    cell_time_limit_s=self.measure.cell_time_limit,
                    energy=self.measure.energy,
                    retry_disturbed=self.measure.retry_disturbed,
                ),
                weights_digest=digests[point.model],
                code_version=code_version,
                **special,
            )

        timed = [
            cell(
                point,
                kind="performance",
                content=self.images.content[:1],
                style=self.images.style[:1],
            )
            for point in self._kept(_timed_points(keys))
        ]
        if self.quality is None:
            return timed
        quality = self.quality

        def settings(model: str) -> QualitySettings:
            teacher = quality.teacher or default_teacher(model)
            if not may_need_teacher(quality.metrics):
                teacher = None
            if teacher is not None and teacher not in digests:
                digests[teacher] = weights_digest(teacher)
            return QualitySettings(
                metrics=quality.metrics,
                network=quality.network,
                lpips_backbone=quality.lpips_backbone,
                inception=quality.inception,
                max_pairs=quality.max_pairs,
                teacher=quality.teacher,
                teacher_digest=None if teacher is None else digests[teacher],
            )

        content = all_images("content", self.images.content)
        style = all_images("style", self.images.style)
        return timed + [
            cell(point, kind="quality", content=content, style=style, quality=settings(point.model))
            for point in self._kept(_quality_points(keys))
        ]

    def rank(self, cell: Cell) -> int:
        """Place of a cell among the important ones: 0 for the first entry of ``priority``.

        ``len(priority)`` for a cell that no entry names.
        """
        point = Point(
            model=cell.model,
            execution=cell.execution,
            precision=cell.precision,
            resolution=Size(cell.width, cell.height),
            memory_cap=cell.memory_cap_bytes,
            alpha=cell.alpha,
        )
        found = (place for place, entry in enumerate(self.priority) if entry.matches(point))
        return next(found, len(self.priority))

    def _kept(self, points: list[Point]) -> list[Point]:
        return [p for p in points if not any(entry.matches(p) for entry in self.exclude)]

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, defaults included, as plain YAML values with readable units.

        Loaded again from the same working directory it gives an equal scenario.
        """
        return self.model_dump(mode="json")

    def resolved_yaml(self) -> str:
        """``resolved`` as the text of a scenario file."""
        return dump_yaml(self.resolved())


def _points(keys: dict[str, Any], resolutions: tuple[Size, ...]) -> list[Point]:
    combinations = product(*(keys[key] for key in _DIMENSIONS[:-1]), resolutions)
    return [
        Point(
            model=model,
            execution=execution,
            precision=precision,
            resolution=resolution,
            memory_cap=memory_cap,
            alpha=alpha,
        )
        for memory_cap, model, execution, precision, alpha, resolution in combinations
    ]


def _timed_points(keys: dict[str, Any]) -> list[Point]:
    return _points(keys, keys["resolutions"])


def _quality_points(keys: dict[str, Any]) -> list[Point]:
    quality: Quality | None = keys["quality"]
    return [] if quality is None else _points(keys, (quality.resolution,))

"""How high the strips are, and what is kept between the passes: chosen for a memory budget."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import EnvironmentUnfitError
from bench.execution.rows import padded_size
from bench.execution.spool import Place
from distill.networks import ALIGNMENT
from distill.streaming import band_bytes

if TYPE_CHECKING:
    from bench.stylizers.cascade import Stylizer
    from distill.stages import Stage

COMFORTABLE_BAND = 192 * 10**6
"""Bytes for bands beyond which higher strips gain nothing."""
FIXED = 160 * 10**6
"""Bytes for statistics, workspaces of the convolutions and the interpreter's own growth: plenty,
whatever the size."""
GROWTH = 40 * 10**6
"""Bytes that the process itself grows by in a first pass: code, kernels, threads. Measured: 20 to
30 MB with the smallest images."""
WHITENING = 36 * 10**6
"""What LAPACK, matrices in float64 and their factors add for a method that whitens."""
WORKSPACE = 0.3
"""Workspaces of the convolutions over the largest band."""
LEAST_FIXED = 24 * 10**6
"""The least that has been seen of it."""
HELD = 2
"""Memory that bands take over that of the largest: what is freed is not all used again, because the
next blocks are of other sizes. Measured: 1.5 to 1.9 beside ``FIXED``."""
MACS_PER_BYTE = 60
"""Multiply-accumulates that take as long as one byte to a scratch file and back, roughly."""


class BudgetError(EnvironmentUnfitError):
    """Not even the lowest strips fit the memory that is allowed."""

    def __init__(self, needed_bytes: int, problem: str) -> None:
        self.needed_bytes = needed_bytes
        super().__init__(problem)


@dataclass(frozen=True)
class Keep:
    """What stays of one stage's first pass for its second."""

    what: str
    """``features``, ``image`` (its features are computed again) or ``nothing`` (the source too)."""
    place: Place
    bytes: int

    @property
    def memory_bytes(self) -> int:
        """Bytes of it in the memory that is budgeted."""
        return self.bytes if self.place == "memory" else 0


@dataclass(frozen=True)
class StripPlan:
    """How an image is run in strips."""

    rows: int
    """Height of a strip in image lines, a multiple of 16."""
    keeps: tuple[Keep, ...]
    """For each stage, in the order they run."""
    peak_bytes: int
    """Predicted peak, weights not counted."""

    @property
    def scratch_bytes(self) -> int:
        """Most bytes of scratch that exist at one time: of two stages that follow each other."""
        sizes = [keep.bytes if keep.place == "scratch" else 0 for keep in self.keeps]
        return max(a + b for a, b in zip([0, *sizes], [*sizes, 0], strict=True))


def fixed_bytes(stylizer: "Stylizer", band: int) -> int:
    """Bytes that a run takes beside its bands and what it keeps; at most :data:`FIXED`.

    On a CPU a small image takes little. A GPU's workspaces do not follow the bands: it has plenty.

    Args:
        stylizer: the cascade.
        band: bytes of the largest band, as :func:`largest_band` gives them.
    """
    if stylizer.layout.device.type != "cpu":
        return FIXED
    whitens = stylizer.spec.method == "wct"
    return min(FIXED, GROWTH + (WHITENING if whitens else 0) + int(WORKSPACE * band))


def largest_band(stylizer: "Stylizer", width: int, rows: int) -> int:
    """Most bytes that a band takes in any network of a cascade.

    Args:
        stylizer: the cascade.
        width: of the image in pixels, a multiple of 16.
        rows: of the band in image lines, a multiple of 16.
    """
    return max(
        band_bytes(network.steps, stylizer.layout, width >> shift, rows >> shift)
        for stage in stylizer.stages
        for network, shift in ((stage.encoder, 0), (stage.decoder, stage.decoder.stage - 1))
    )


def plan_strips(
    stylizer: "Stylizer",
    width: int,
    height: int,
    *,
    budget: int | None,
    fixed: int | Callable[[int], int] = FIXED,
    lowest: bool = False,
) -> StripPlan:
    """Choose strips for an image.

    Args:
        stylizer: the cascade.
        width: of the content in pixels.
        height: likewise.
        budget: bytes that the run may grow by; None for no limit.
        fixed: bytes that are spoken for already, or what gives them for the bytes of the largest
            band.
        lowest: take as little memory as can be: the lowest strips, and nothing kept in memory.

    Raises:
        BudgetError: when the lowest strips do not fit, saying what would do.
    """
    wide, high = padded_size(width, height)

    def band(rows: int) -> int:
        # One band that is the whole image is never followed by another.
        held = 1 if lowest and rows >= high else HELD
        return held * largest_band(stylizer, wide, min(rows, high))

    def taken(rows: int) -> int:
        return fixed(band(rows) // HELD) if callable(fixed) else fixed

    def room(rows: int) -> int:
        left = COMFORTABLE_BAND if budget is None else (budget - taken(rows)) // 2
        return min(COMFORTABLE_BAND, left)

    rows = ALIGNMENT
    while not lowest and rows < high and band(2 * rows) <= room(2 * rows):
        rows *= 2
    needed = taken(rows) + band(rows)
    if budget is not None and needed > budget:
        raise BudgetError(
            needed,
            f"strips of {width} pixels need {needed / 1e6:.0f} MB at the least, the budget is "
            f"{budget / 1e6:.0f} MB; allow more memory, or take a model of a higher ratio",
        )
    keeps: list[Keep] = []
    for index, stage in enumerate(stylizer.stages):
        spare = 0 if lowest else None if budget is None else budget - needed
        if spare is not None and keeps:
            # Being written while what the stage before kept is still being read.
            spare -= keeps[-1].memory_bytes
        keeps.append(_keep(stylizer, stage, wide * high, spare, first=index == 0))
    memory = [keep.memory_bytes for keep in keeps]
    both = max(a + b for a, b in zip([0, *memory], [*memory, 0], strict=True))
    return StripPlan(rows, tuple(keeps), needed + both)


def _keep(
    stylizer: "Stylizer", stage: "Stage", pixels: int, spare: int | None, *, first: bool
) -> Keep:
    item = stylizer.layout.dtype.itemsize
    features = stage.encoder.channels * (pixels >> 2 * (stage.encoder.stage - 1)) * item
    image = 3 * pixels * item
    if spare is None or features <= spare:
        return Keep("features", "memory", features)
    macs = stage.encoder.macs_per_pixel * pixels
    if macs > MACS_PER_BYTE * features:
        return Keep("features", "scratch", features)
    if first:
        return Keep("nothing", "memory", 0)
    return Keep("image", "memory" if image <= spare else "scratch", image)

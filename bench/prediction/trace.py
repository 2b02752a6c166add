"""What a pass allocates, frees, computes and moves, found by running it on shapes alone.

The code that is traced is the code that is measured: nothing of it is written down a second time
here, but for two things that need values and not shapes (the whitening of a stage's statistics) or
would take long for nothing (their loop over lines).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.cells import Execution, Precision
from bench.execution import EXECUTIONS
from bench.prediction.ledger import Ledger, Trace
from bench.prediction.shapes import ShapeMode
from bench.prediction.traffic import Work
from bench.stylizers.cascade import DTYPES, Stylizer
from distill.cascades import CascadeNetworks, architecture, build_pair
from distill.inference import Layout
from distill.models import parse_model
from distill.stages import StyleCode, build_stages
from distill.transforms import ChannelAffine, FeatureStats

_STATISTICS_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 25}
"""Elements of a map that stand for all of them in its statistics: twice as many as are worked on at
a time."""
_EIGEN_MACS = 30.0
"""Multiply-accumulates of a convolution that take as long as one C^3 of an eigendecomposition of
C x C in float64 on a CPU; LAPACK reaches a small part of a convolution's speed."""


@dataclass(frozen=True)
class ShapeModel:
    """A cascade whose weights have shapes only."""

    stylizer: Stylizer
    weights_bytes: int
    """On the device that it runs on."""


def shape_model(
    model: str,
    *,
    device: str,
    precision: Precision,
    execution: Execution,
    memory_bytes: int | None = None,
) -> ShapeModel:
    """Build a model without reading or drawing weights, and without touching the device.

    Args:
        model: ``METHOD-FAMILY-RATIOx[:WEIGHTS]``.
        device: ``cpu`` or ``cuda[:N]``, which need not be there.
        precision: of weights and features.
        execution: how images are run through the cascade.
        memory_bytes: what an execution that can choose may take; None for no limit.
    """
    spec = parse_model(model)
    layout = Layout.of(device, DTYPES[precision])
    with torch.device("meta"):
        pairs = tuple(build_pair(spec, stage) for stage in spec.stages)
    ledger = Ledger(layout.device.type)
    with torch.no_grad(), ShapeMode(ledger):
        stages = build_stages(CascadeNetworks(pairs, "random", ""), spec.method, layout)
    cost = architecture(spec)
    stylizer = Stylizer(
        spec=spec,
        stages=stages,
        layout=layout,
        execution=execution,
        memory_bytes=memory_bytes,
        weights="random",
        weights_detail="shapes only",
        weights_digest="",
        parameters=cost.parameters,
        macs_per_pixel=cost.macs_per_pixel,
    )
    return ShapeModel(stylizer, ledger.live_bytes)


def trace_pass(stylizer: Stylizer, width: int, height: int) -> Trace:
    """One pass over a content of a size in pixels, operation by operation."""

    def run(content: Tensor, ledger: Ledger) -> None:
        # The execution itself: Stylizer.stylize is in inference mode, where operations that are
        # made up of others cannot be traced.
        execute = EXECUTIONS[stylizer.execution]
        execute(without_values(stylizer, ledger), content, style_code(stylizer), 1.0)

    return traced(stylizer, width, height, run)


def traced(
    stylizer: Stylizer, width: int, height: int, run: Callable[[Tensor, Ledger], None]
) -> Trace:
    """Trace ``run``, which is given an image (1, 3, height, width) that is not booked."""
    layout = stylizer.layout
    ledger = Ledger(layout.device.type)
    with torch.no_grad(), ShapeMode(ledger), _short_statistics(ledger):
        image = torch.empty((1, 3, height, width), dtype=layout.dtype, device=layout.device)
        ledger.forget()
        run(image, ledger)
        return ledger.trace()


def style_code(stylizer: Stylizer) -> StyleCode:
    """What a style comes down to, in shapes; to be called while a trace is on."""
    return tuple(_shape_affine(stage.encoder.channels) for stage in stylizer.stages)


def _shape_affine(channels: int) -> ChannelAffine:
    matrix = torch.empty((channels, channels), dtype=torch.float64)
    return ChannelAffine(matrix, torch.empty(channels, dtype=torch.float64))


def without_values(stylizer: Stylizer, ledger: Ledger) -> Stylizer:
    """The same cascade with a match that needs shapes only, and books its time."""
    whitens = stylizer.spec.method == "wct"

    def normalize(stats: FeatureStats) -> ChannelAffine:
        channels = len(stats.mean)
        ledger.matches.append(len(ledger.events))
        ledger.work += Work(lane_macs=_EIGEN_MACS * channels**3 if whitens else 0.0)
        return _shape_affine(channels)

    stages = tuple(replace(stage, normalize=normalize) for stage in stylizer.stages)
    return replace(stylizer, stages=stages)


@contextmanager
def _short_statistics(ledger: Ledger) -> Iterator[None]:
    """Have the loop over a map's lines run over some of them, and book its work for all."""
    update = FeatureStats.update

    def short(stats: FeatureStats, features: Tensor) -> None:
        _, channels, height, width = features.shape
        enough = _STATISTICS_ELEMENTS[features.device.type]
        most = max(4, enough // (channels * width))
        if height <= most:
            return update(stats, features)
        before = ledger.factor
        ledger.factor *= height / most
        update(stats, features[:, :, :most])
        ledger.factor = before
        return None

    FeatureStats.update = short  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        FeatureStats.update = update  # type: ignore[method-assign]

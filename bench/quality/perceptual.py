"""LPIPS as a metric: to the content, and to the teacher's output."""

from bench.errors import UserError
from bench.quality.metric import LPIPS, Conditions, ImageMeasure, Pair, Values
from bench.quality.tiles import tiled_mean
from distill.perceptual import LEAST_SIDE, Lpips


def _network(conditions: Conditions) -> Lpips:
    if min(conditions.content_size) < LEAST_SIDE:
        raise UserError(f"LPIPS needs images of at least {LEAST_SIDE} px a side")
    backbone = conditions.settings.lpips_backbone
    return conditions.once(LPIPS, lambda: Lpips(backbone, conditions.device))


def lpips(conditions: Conditions) -> ImageMeasure:
    """See the catalogue for the definition."""
    network = _network(conditions)

    def measure(pair: Pair) -> Values:
        return {"lpips": tiled_mean(network, pair.output, pair.content)}

    return measure


def lpips_teacher(conditions: Conditions) -> ImageMeasure:
    """See the catalogue for the definition."""
    network = _network(conditions)

    def measure(pair: Pair) -> Values:
        assert pair.teacher is not None
        return {"lpips_teacher": tiled_mean(network, pair.output, pair.teacher)}

    return measure

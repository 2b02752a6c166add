"""The set metrics as :mod:`bench.quality.catalogue` lists them. Imports no PyTorch by itself."""

from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.quality.metric import LPIPS, Conditions, Metric, Need, PictureSet, SetMeasure, Values
from bench.quality.set_metrics import SET_METRICS as METRICS
from bench.quality.set_metrics import SetMetric

if TYPE_CHECKING:
    from bench.quality.distribution import SetFeatures
    from bench.quality.set_networks import SetNetwork


def _prepare(metric: SetMetric, conditions: Conditions) -> SetMeasure:
    """The metric of an evaluation's pictures; metrics share networks, features and LPIPS."""
    from bench.quality.distribution import compute
    from bench.quality.set_networks import load_network

    network = conditions.once(
        f"set network {metric.network}",
        lambda: load_network(
            metric.network, device=conditions.device, inception=conditions.settings.inception
        ),
    )
    lpips = _content_lpips(conditions) if metric.needs_content else None

    def measure(pictures: PictureSet) -> Values:
        outputs, styles = conditions.once(
            f"set features {metric.network}", lambda: _features(metric, network, pictures)
        )
        found = compute(metric, outputs, styles, lpips=lpips(pictures) if lpips else None)
        if found.value is None:
            raise UserError(str(found.absent))
        sizes = f"{found.outputs} outputs"
        if found.styles is not None:
            sizes += f" and {found.styles} styles"
        pictures.notes[metric.name] = "; ".join(filter(None, [sizes, found.warning]))
        values = {metric.name: found.value}
        if found.low is not None and found.high is not None:
            values |= {f"{metric.name}_low": found.low, f"{metric.name}_high": found.high}
        return values

    return measure


def _features(
    metric: SetMetric, network: "SetNetwork", pictures: PictureSet
) -> tuple["SetFeatures", "SetFeatures"]:
    """Features of the outputs, and of the styles, each once however often it was paired."""
    from bench.quality.distribution import extract
    from bench.quality.set_images import read_set

    outputs, styles = (
        extract(read_set(paths, role), {metric.network: network})[metric.network]
        for paths, role in (
            (pictures.outputs, "outputs"),
            (dict.fromkeys(pictures.styles), "styles"),
        )
    )
    return outputs, styles


def _content_lpips(conditions: Conditions) -> Callable[[PictureSet], float]:
    """Mean LPIPS of outputs and contents, computed once an evaluation."""
    from bench.quality.distribution import content_lpips
    from bench.quality.set_images import read_set
    from distill.perceptual import LEAST_SIDE, Lpips

    if min(conditions.content_size) < LEAST_SIDE:
        raise UserError(f"LPIPS needs images of at least {LEAST_SIDE} px a side")
    backbone = conditions.settings.lpips_backbone
    network = conditions.once(LPIPS, lambda: Lpips(backbone, conditions.device))

    def measure(pictures: PictureSet) -> float:
        return fmean(
            content_lpips(output, content, network, conditions.device)
            for output, content in zip(
                read_set(pictures.outputs, "outputs"),
                read_set(pictures.contents, "contents"),
                strict=True,
            )
        )

    return lambda pictures: conditions.once("set lpips", lambda: measure(pictures))


def _as_metric(metric: SetMetric) -> Metric:
    needs: list[Need] = []
    if metric.needs_content:
        needs.append("content")
    if metric.needs_styles:
        needs.append("style")
    return Metric(
        name=metric.name,
        better=metric.better,
        unit="",
        per="set",
        needs=frozenset(needs),
        definition=metric.definition.replace("LPIPS (AlexNet)", "LPIPS ({alexnet})"),
        prepare=lambda conditions: _prepare(metric, conditions),
    )


SET_METRICS: tuple[Metric, ...] = tuple(map(_as_metric, METRICS.values()))

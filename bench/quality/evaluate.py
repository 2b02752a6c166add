"""The quality of one model: every metric over pairs of content and style images."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from bench.cells import Cell
from bench.errors import UserError
from bench.image_tensors import load_tensor, to_uint8
from bench.images import write_image
from bench.quality.losses import ReferenceLosses
from bench.quality.perceptual import Lpips
from bench.stylizers import Stylizer
from bench.units import Size

LPIPS_LEAST_SIDE = 64
"""AlexNet's pooling leaves nothing of much smaller images."""

PairMetric = Callable[[Tensor, Tensor, Tensor], dict[str, float]]
"""From output, content and style, each (1, 3, H, W), RGB in 0..1, to named values."""


def image_pairs(
    contents: tuple[str, ...], styles: tuple[str, ...], limit: int
) -> list[tuple[str, str]]:
    """At most ``limit`` distinct pairs of content and style, each image used evenly.

    Both lists go round; when their rounds end together, the styles move on by one.
    """
    period = math.lcm(len(contents), len(styles))
    return [
        (contents[i % len(contents)], styles[(i + i // period) % len(styles)])
        for i in range(min(limit, len(contents) * len(styles)))
    ]


def evaluate_quality(stylizer: Stylizer, cell: Cell, image_dir: Path) -> dict[str, Any]:
    """Stylise the cell's pairs, save the pictures and compute the metrics asked for.

    Args:
        stylizer: with trained weights.
        cell: of kind ``quality``.
        image_dir: the run folder's ``images``.

    Returns:
        Fields of :class:`bench.record.Record`: means over the pairs, and ``per_pair``.

    Raises:
        UserError: for images or a reference network that cannot be had.
    """
    settings = cell.quality
    if settings is None:
        raise ValueError(f"cell {cell.id} has no quality settings")
    metrics, absent = _metrics(cell)
    content_size = Size(cell.width, cell.height)
    style_size = Size(cell.style_width, cell.style_height)
    per_pair: list[dict[str, Any]] = []
    for content_spec, style_spec in image_pairs(cell.content, cell.style, settings.max_pairs):
        content = load_tensor(content_spec, content_size, role="content", device=cell.device)
        style = load_tensor(style_spec, style_size, role="style", device=cell.device)
        code = stylizer.encode_style(style)
        output = stylizer.stylize(content, code, cell.alpha).float()
        # Metrics are always computed in full float32, whatever the model was run in.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            values = {k: v for metric in metrics for k, v in metric(output, content, style).items()}
        names = f"{_file_name(content_spec)}__{_file_name(style_spec)}"
        pictures = {
            "content_image": (f"content-{_file_name(content_spec)}-{content_size}.png", content),
            "style_image": (f"style-{_file_name(style_spec)}-{style_size}.png", style),
            "image": (f"{names}__{cell.id}.png", output),
        }
        image_dir.mkdir(exist_ok=True)
        for file, picture in pictures.values():
            write_image(image_dir / file, to_uint8(picture))
        paths = {key: f"{image_dir.name}/{file}" for key, (file, _) in pictures.items()}
        per_pair.append({"content": content_spec, "style": style_spec, **paths, **values})
    keys = [key for key, value in per_pair[0].items() if isinstance(value, float)]
    return {
        "quality_network": settings.network,
        "quality_pairs": len(per_pair),
        **{key: fmean(pair[key] for pair in per_pair) for key in keys},
        "metrics_absent": absent or None,
        "per_pair": per_pair,
    }


def _metrics(cell: Cell) -> tuple[list[PairMetric], dict[str, str]]:
    """What can be computed, and why the rest cannot."""
    assert cell.quality is not None
    wanted: set[str] = set(cell.quality.metrics)
    metrics: list[PairMetric] = []
    absent: dict[str, str] = {}
    if losses := wanted & {"content_loss", "style_loss"}:
        try:
            reference = ReferenceLosses(cell.quality.network, cell.device)
        except UserError as error:
            absent |= dict.fromkeys(sorted(losses), str(error))
        else:
            metrics.append(_reference_metric(reference, losses))
    if "lpips" in wanted:
        try:
            if min(cell.width, cell.height) < LPIPS_LEAST_SIDE:
                raise UserError(f"LPIPS needs images of at least {LPIPS_LEAST_SIDE} px a side")
            lpips = Lpips(cell.quality.lpips_backbone, cell.device)
        except UserError as error:
            absent["lpips"] = str(error)
        else:
            metrics.append(lambda output, content, _: {"lpips": lpips(output, content)})
    return metrics, absent


def _reference_metric(losses: ReferenceLosses, wanted: set[str]) -> PairMetric:
    def compute(output: Tensor, content: Tensor, style: Tensor) -> dict[str, float]:
        found = losses.features(output)
        values = {}
        if "content_loss" in wanted:
            values["content_loss"] = losses.content_loss(found, losses.features(content))
        if "style_loss" in wanted:
            layers = losses.style_losses(found, losses.features(style))
            values["style_loss"] = sum(layers.values())
            values |= {f"style_loss_{layer}": value for layer, value in layers.items()}
        return values

    return compute


def _file_name(spec: str) -> str:
    """A short name for an image's file; a digest tells apart files of one name."""
    if spec.startswith("builtin"):
        return spec.rpartition(":")[2]
    digest = hashlib.sha256(spec.encode()).hexdigest()[:6]
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(spec).stem)[:40]
    return f"{stem}-{digest}"

"""Whole pictures by the word of a manifest, against those that the suite makes.

What a manifest leaves open, its reader decides otherwise than the suite: another alignment, or a
variance over n in the place of n - 1, is another picture. So exported networks are run by nothing
but the manifest, at sizes off its grid, and compared with the model that was exported.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.cascades import CascadeNetworks
from distill.inference import Layout
from distill.models import Method
from distill.networks import reflect_pad
from distill.stages import build_stages, encode_style, stylize_whole

LEAST_DB = {"fp32": 60.0, "fp16": 20.0}
"""PSNR below which an export is refused. In fp32 rounding alone gives 80 dB and more; a manifest
that does not say what the suite does 25 to 35. In fp16 the weights themselves are rounded."""
CONTENTS = ((131, 77), (168, 104))
"""Width and height of the pictures: neither is a multiple of 16, the second is one of 8."""
STYLE = (120, 88)
_SEED = 0
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PictureDifference:
    """A picture made by the manifest against the suite's."""

    width: int
    """Of the content image, pixels."""
    height: int
    psnr_db: float
    """Over RGB in 0..1, clamped; infinite for equal pictures."""


def compare_pictures(
    source: CascadeNetworks,
    method: Method,
    manifest: Mapping[str, Any],
    networks: Mapping[tuple[int, str], Network],
) -> tuple[PictureDifference, ...]:
    """Stylise pictures by a manifest, and compare them with those of the model it is of.

    Args:
        source: the model as it was before it was exported, in float32.
        method: of the model.
        manifest: content of ``model.json``.
        networks: what was exported, by stage and role: (N, C, H, W) to (N, C, H, W), float32.
    """
    stages = build_stages(source, method, Layout.of("cpu", torch.float32))
    generator = torch.Generator().manual_seed(_SEED)
    style = _picture(*STYLE, generator)
    code = encode_style(stages, style)
    differences = []
    for width, height in CONTENTS:
        content = _picture(width, height, generator)
        right = stylize_whole(stages, content, code).clamp(0, 1).double()
        with torch.inference_mode():
            found = stylize_by_manifest(manifest, networks, content, style).clamp(0, 1).double()
        error = (found - right).square().mean().item()
        psnr = math.inf if error == 0 else -10 * math.log10(error)
        differences.append(PictureDifference(width, height, psnr))
    return tuple(differences)


def stylize_by_manifest(
    manifest: Mapping[str, Any],
    networks: Mapping[tuple[int, str], Network],
    content: Tensor,
    style: Tensor,
) -> Tensor:
    """Stylise a picture as a manifest says, and by nothing else.

    Args:
        manifest: content of ``model.json``.
        networks: encoder and decoder of each stage, by (stage, role).
        content: (1, 3, H, W), RGB in 0..1, of any size.
        style: (1, 3, H, W), RGB in 0..1, of any size.

    Returns:
        (1, 3, H, W) of the content's size, not clamped.
    """
    height, width = content.shape[-2:]
    x, style = (_padded(image, manifest["alignment"]) for image in (content, style))
    for entry in manifest["stages"]:
        encode, decode = (networks[entry["stage"], role] for role in ("encoder", "decoder"))
        said = manifest["statistics"] | {"ridge": entry.get("ridge", 0.0)}
        x = decode(_matched(said, manifest["method"], encode(x), encode(style)))
    return x[..., :height, :width]


def _padded(image: Tensor, step: int) -> Tensor:
    height, width = image.shape[-2:]
    return reflect_pad(image, 0, -width % step, 0, -height % step)


def _matched(said: Mapping[str, Any], method: str, content: Tensor, style: Tensor) -> Tensor:
    """Content features with the style's statistics, in float64 between."""
    c, s = (features[0].flatten(1).double() for features in (content, style))
    c_mean, s_mean = c.mean(1, keepdim=True), s.mean(1, keepdim=True)
    c, s = c - c_mean, s - s_mean
    c_cov, s_cov = (x @ x.T / (x.shape[1] - said["variance_divisor_less"]) for x in (c, s))
    if method == "adain":
        c_var, s_var = (cov.diagonal()[:, None] + said["epsilon"] for cov in (c_cov, s_cov))
        matched: Tensor = c * (s_var / c_var).sqrt()
    else:
        matched = _power(s_cov, 0.5, said) @ _power(c_cov, -0.5, said) @ c
    result: Tensor = (matched + s_mean).float().view(content.shape)
    return result


def _power(covariance: Tensor, power: float, said: Mapping[str, Any]) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    values = values + said["ridge"] * covariance.diagonal().mean()
    kept = values > said["cutoff"]
    root: Tensor = (vectors[:, kept] * values[kept] ** power) @ vectors[:, kept].T
    return root


def _picture(width: int, height: int, generator: torch.Generator) -> Tensor:
    """Soft blobs of colour."""
    coarse = torch.rand(1, 3, height // 8 + 1, width // 8 + 1, generator=generator)
    return F.interpolate(coarse, (height, width), mode="bilinear")

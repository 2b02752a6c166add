"""What the manifest of an exported model says: how to feed it, and what each file is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from distill.cascades import Pair, weights_digest
from distill.exporting.onnx_check import TOLERANCE, Difference
from distill.exporting.onnx_graph import IR_VERSION, OPSET
from distill.header import project_version
from distill.models import ModelSpec
from distill.networks import ALIGNMENT, Decoder, Encoder
from distill.transforms import ADAIN_EPSILON, WHITENING_CUTOFF
from distill.weights import read_tensors, sha256

Role = Literal["encoder", "decoder"]
DType = Literal["fp32", "fp16"]
DTYPES: tuple[str, ...] = get_args(DType)
SCHEMA = 1
"""Of the manifest; a change that breaks readers raises it."""


@dataclass(frozen=True)
class NetworkExport:
    """One network of an exported model."""

    stage: int
    role: Role
    weights: Path
    onnx: Path | None
    differences: tuple[Difference, ...]
    """Of ONNX Runtime from PyTorch, one for each size."""

    @property
    def largest(self) -> Difference | None:
        """The largest of the differences, measured by the magnitude of the outputs."""
        return max(self.differences, key=lambda difference: difference.relative, default=None)


def alignment(stage: int) -> int:
    """What the sides of a stage's images are multiples of, in pixels: 2^(stage-1)."""
    return int(2 ** (stage - 1))


def roles(
    pair: Pair,
) -> tuple[tuple[Literal["encoder"], Encoder], tuple[Literal["decoder"], Decoder]]:
    """Both networks of a stage, under their names."""
    return ("encoder", pair.encoder), ("decoder", pair.decoder)


_MATCH = {
    "wct": "whitening and colouring: y = A x + b with A = C_style^(1/2) C_content^(-1/2), b so "
    "that the mean is the style's (Li et al. 2017)",
    "adain": "mean and standard deviation of each channel become the style's (Huang and Belongie "
    "2017)",
}


def describe(
    spec: ModelSpec,
    staged: ModelSpec,
    pairs: Sequence[Pair],
    exports: Sequence[NetworkExport],
    *,
    dtype: DType,
) -> dict[str, Any]:
    """The content of a model's manifest.

    Args:
        spec: the model as it was named.
        staged: the model with the folder that its files were written to.
        pairs: its networks as read back from there.
        exports: what was written of each.
        dtype: of the weights in the files.
    """
    by_role = {(export.stage, export.role): export for export in exports}
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "name": str(spec._replace(weights=None)),
        "method": spec.method,
        "family": spec.family,
        "ratio": spec.ratio,
        "version": project_version(),
        "digest": weights_digest(staged),
        "source_digest": weights_digest(spec),
        "dtype": dtype,
        "alignment": ALIGNMENT,
        "statistics": _statistics(spec),
        "conventions": _conventions(spec),
        "stages": [
            {
                "stage": pair.encoder.stage,
                "layer": f"relu{pair.encoder.stage}_1",
                "widths": list(pair.encoder.widths),
                "alignment": alignment(pair.encoder.stage),
                "smallest_side": 2 * alignment(pair.encoder.stage),
                "decoder_ends_with_relu": pair.decoder.final_relu,
                **({"ridge": pair.ridge} if spec.method == "wct" else {}),
                **{
                    role: _manifest_network(by_role[pair.encoder.stage, role], network)
                    for role, network in roles(pair)
                },
            }
            for pair in pairs
        ],
    }
    if any(export.onnx for export in exports):
        manifest["onnx"] = {
            "opset": OPSET,
            "ir_version": IR_VERSION,
            "computes_in": "float32",
            "encoder": "image (batch, 3, height, width) -> features (batch, channels, height / "
            "alignment, width / alignment), of the stage's own alignment",
            "decoder": "features (batch, channels, height, width) -> image (batch, 3, height * "
            "alignment, width * alignment)",
            "checked_against": f"PyTorch {torch.__version__}",
            "tolerance": TOLERANCE,
        }
    return manifest


def _conventions(spec: ModelSpec) -> dict[str, str]:
    return {
        "order": "the stages run in the order in which they are listed; the image that one gives "
        "is what the next takes, for content; every one encodes the style image, too",
        "input": "images (N, 3, H, W), float, RGB in 0..1, no other normalisation. Content and "
        f"style are padded to multiples of {ALIGNMENT} pixels at the right and lower border, by "
        "reflection without the edge, once before the first stage; the result is cropped after the "
        f"last. (A network alone takes multiples of its stage's own alignment, at least twice it; "
        f"a whole model that is padded to that in the place of {ALIGNMENT} gives another picture, "
        "since the padding is in the statistics.)",
        "output": "images (N, 3, H, W), float, RGB in 0..1 nominally; not clamped, which is left "
        "for the end",
        "features": "(N, C, H / 2^(stage-1), W / 2^(stage-1)), after the ReLU",
        "match": _MATCH[spec.method],
        "padding": "every 3x3 convolution pads by one pixel, by reflection without the edge",
        "pooling": "2x2 maxima",
        "upsampling": "nearest, by 2",
    }


def _statistics(spec: ModelSpec) -> dict[str, Any]:
    """What the match of features is computed with, so that a reader gets the same picture."""
    said: dict[str, Any] = {
        "of": "all positions of a feature map, those of the padding included",
        "variance_divisor_less": 1,
        "variance": "sum of squared deviations / (positions - variance_divisor_less)",
        "computed_in": "float64",
    }
    if spec.method == "adain":
        return said | {
            "epsilon": ADAIN_EPSILON,
            "deviation": "sqrt(variance + epsilon), of content and style",
        }
    return said | {
        "cutoff": WHITENING_CUTOFF,
        "root": "C^(1/2) and C^(-1/2) by eigenvalues; those at or below cutoff count as absent "
        "(their power is 0), in the content's covariance and in the style's; before that "
        "the stage's ridge times the mean of C's diagonal is added to each eigenvalue, in both",
    }


def _manifest_network(export: NetworkExport, network: Encoder | Decoder) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "weights": export.weights.name,
        "sha256": sha256(export.weights),
        "parameters": sum(p.numel() for p in network.parameters()),
        "header": read_tensors(export.weights)[1],
    }
    if export.onnx is not None:
        entry["onnx"] = export.onnx.name
        entry["onnx_sha256"] = sha256(export.onnx)
        entry["onnx_differences"] = [
            {
                "input": list(difference.shape),
                "largest": difference.largest,
                "output_magnitude": difference.magnitude,
            }
            for difference in export.differences
        ]
    return entry

"""Encoder-decoder stylizers (WCT, AdaIN) as cascades of stages.

A stage encodes the image, matches the features' statistics to the style's by a channel-affine map,
and decodes. How a cascade is run over an image is an execution's matter (:mod:`bench.execution`).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.cells import Execution, Precision
from bench.execution import EXECUTIONS
from distill.cascades import architecture, load_cascade, weights_digest, weights_kind
from distill.inference import Layout
from distill.models import ModelSpec, parse_model
from distill.networks import ALIGNMENT
from distill.stages import Stage, StyleCode, build_stages, encode_style

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class Unsupported(Exception):  # noqa: N818 - a result, not a mistake of the user's
    """What a device cannot do; ``code`` and ``reason`` go into the record."""

    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(reason)


@dataclass(frozen=True)
class Stylizer:
    """A model ready to run on a device."""

    spec: ModelSpec
    stages: tuple[Stage, ...]
    layout: Layout
    execution: Execution
    memory_bytes: int | None
    """What an execution that can choose may take; None for no limit."""
    weights: Literal["trained", "random"]
    weights_detail: str
    weights_digest: str
    parameters: int
    macs_per_pixel: float

    @property
    def storage_bytes(self) -> int:
        """Size of the parameters in the precision they are used in."""
        return self.parameters * self.layout.dtype.itemsize

    def macs(self, width: int, height: int) -> int:
        """Multiply-accumulates of the convolutions for one content image of this size."""
        return padded_macs(self.macs_per_pixel, width, height)

    @torch.inference_mode()
    def encode_style(self, style: Tensor) -> StyleCode:
        """What the stages need to know of a style.

        Args:
            style: (1, 3, H, W), RGB in 0..1.
        """
        return encode_style(self.stages, self.layout.place(style))

    @torch.inference_mode()
    def stylize(self, content: Tensor, style: StyleCode, alpha: float = 1.0) -> Tensor:
        """The content in the style.

        Args:
            content: (1, 3, H, W), RGB in 0..1, of any size.
            style: from :meth:`encode_style`.
            alpha: 0 (the content as the networks rebuild it) to 1 (the full style).

        Returns:
            (1, 3, H, W), RGB in 0..1, in the layout's type.
        """
        return EXECUTIONS[self.execution](self, content, style, alpha)


def padded_macs(macs_per_pixel: float, width: int, height: int) -> int:
    """Multiply-accumulates for an image, padded as the networks need it."""
    padded = (width + -width % ALIGNMENT) * (height + -height % ALIGNMENT)
    return round(macs_per_pixel * padded)


def native_on_cpu(precision: Literal["bf16", "fp16"]) -> bool:
    """Whether this CPU has convolutions of its own in a reduced precision."""
    return bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported", lambda: False)())


def not_native(precision: Precision) -> str:
    """Why a processor cannot do a reduced precision, in words."""
    return f"{precision} is not native on this processor"


def set_precision(precision: Precision, device: str) -> torch.dtype:
    """Set the process's arithmetic for a precision, and return the type to compute in.

    Raises:
        Unsupported: for what the device cannot do, or only by slow emulation.
    """
    cuda = device.startswith("cuda")
    if precision == "tf32" and not (cuda and torch.cuda.get_device_capability(device) >= (8, 0)):
        raise Unsupported(
            "precision", f"tf32 needs an NVIDIA GPU of compute capability 8, not {device}"
        )
    if precision == "bf16" and cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise Unsupported("precision", f"this GPU has no native bf16 ({device})")
    if not cuda and precision in ("bf16", "fp16") and not native_on_cpu(precision):
        raise Unsupported("precision", not_native(precision))
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = False
    return DTYPES[precision]


def load_stylizer(
    model: str,
    *,
    device: str = "cpu",
    precision: Precision = "fp32",
    execution: Execution = "whole",
    memory_bytes: int | None = None,
    seed: int = 0,
) -> Stylizer:
    """Build a model for a device.

    Args:
        model: ``METHOD-FAMILY-RATIOx[:WEIGHTS]``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of weights and features; statistics are always accumulated in float32 and
            matched in float64.
        execution: how images are run through the cascade.
        memory_bytes: what an execution that can choose may take; None for no limit.
        seed: of the random weights of a model that has no trained ones.

    Raises:
        UserError: for weights that cannot be used.
        Unsupported: for a precision that the device does not have.
    """
    spec = parse_model(model)
    layout = Layout.of(device, set_precision(precision, device))
    networks = load_cascade(spec, seed=seed)
    cost = architecture(spec)
    return Stylizer(
        spec=spec,
        stages=build_stages(networks, spec.method, layout),
        layout=layout,
        execution=execution,
        memory_bytes=memory_bytes,
        weights=networks.weights,
        weights_detail=networks.detail,
        weights_digest=weights_digest(spec, seed=seed),
        parameters=cost.parameters,
        macs_per_pixel=cost.macs_per_pixel,
    )


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model and an image size without building or running anything."""

    macs: int
    parameters: int
    weights: Literal["trained", "random"]
    weights_digest: str


def model_facts(model: str, width: int, height: int, *, seed: int = 0) -> ModelFacts:
    """Facts for planning; reads weights files only to take their digest."""
    spec = parse_model(model)
    cost = architecture(spec)
    return ModelFacts(
        macs=padded_macs(cost.macs_per_pixel, width, height),
        parameters=cost.parameters,
        weights=weights_kind(spec),
        weights_digest=weights_digest(spec, seed=seed),
    )

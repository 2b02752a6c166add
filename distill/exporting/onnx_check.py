"""Whether an ONNX file computes what its PyTorch network computes."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.errors import UserError
from distill.exporting.onnx_graph import require_onnx
from distill.networks import Decoder, Encoder

TOLERANCE = 1e-4
"""Largest difference allowed, as a part of the output's largest magnitude.

Float32 sums in another order differ by some 1e-6; another padding, pooling or upsampling by 1e-2.
"""


class CheckFailedError(UserError):
    """What was written does not compute what it should: exit code 1."""

    exit_code = 1


@dataclass(frozen=True)
class Difference:
    """ONNX Runtime's output against PyTorch's for one input."""

    shape: tuple[int, ...]
    """Of the input: (N, C, H, W)."""
    largest: float
    """Largest absolute difference of an element."""
    magnitude: float
    """Largest absolute value of PyTorch's output."""

    @property
    def relative(self) -> float:
        """The largest difference as a part of the magnitude; NaN if either is."""
        if self.largest == 0:
            return 0.0
        return self.largest / self.magnitude if self.magnitude else math.inf

    @property
    def ok(self) -> bool:
        """Whether the difference is rounding. A value that is no number never is."""
        return self.relative <= TOLERANCE

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"{self.largest:.2e} at {shape} (outputs up to {self.magnitude:.3g})"


class OnnxNetwork:
    """An ONNX file in ONNX Runtime, on the CPU.

    Raises:
        EnvironmentUnfitError: if the ``onnx`` extra is missing.
    """

    def __init__(self, path: Path) -> None:
        require_onnx()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what goes wrong is raised; it need not be printed, too
        self._session: Any = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, x: Tensor) -> Tensor:
        """The output (N, C, H, W), float32, for an input (N, C, H, W), float32."""
        (port,) = self._session.get_inputs()
        (output,) = self._session.run(None, {port.name: np.ascontiguousarray(x.numpy())})
        return torch.from_numpy(output)


def compare(network: Encoder | Decoder, onnx_network: OnnxNetwork, x: Tensor) -> Difference:
    """Run both on one input (N, C, H, W), float32, on the CPU.

    Raises:
        CheckFailedError: if the outputs are not even of one shape.
    """
    with torch.inference_mode():
        expected = network(x)
    found = onnx_network(x)
    if found.shape != expected.shape:
        raise CheckFailedError(
            f"the ONNX network gives {tuple(found.shape)} for an input {tuple(x.shape)}, PyTorch "
            f"{tuple(expected.shape)}"
        )
    return Difference(
        tuple(x.shape), (found - expected).abs().max().item(), expected.abs().max().item()
    )

"""An encoder or decoder as an ONNX graph, with any batch, height and width.

The graph is put together from the networks' own descriptions instead of being traced: the exporters
that PyTorch carries write opset 18 or later, which many runtimes do not read yet, freeze the branch
that :func:`distill.networks.reflect_pad` took, and differ from version to version. What is written
here uses seven operators, all as of opset 13 (2020). That it computes what PyTorch computes is not
taken on trust: see :mod:`distill.exporting.onnx_check`.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from distill.errors import EnvironmentUnfitError
from distill.header import project_version
from distill.networks import Decoder, Encoder

if TYPE_CHECKING:
    import onnx

OPSET = 13
"""Version of the operators."""
IR_VERSION = 7
"""Version of the file format: the one that came with the opset."""
INPUTS = {"encoder": "image", "decoder": "features"}
OUTPUTS = {"encoder": "features", "decoder": "image"}


def require_onnx() -> None:
    """See that the packages of the ``onnx`` extra can be imported.

    Raises:
        EnvironmentUnfitError: if one cannot.
    """
    for name in ("onnx", "onnxruntime"):
        try:
            import_module(name)
        except ImportError as error:
            raise EnvironmentUnfitError(
                f"ONNX needs the package {name!r}, which cannot be imported here ({error}); "
                "pip install 'ultrastyle-bench[onnx]'"
            ) from error


def to_onnx(
    network: Encoder | Decoder, *, half: bool = False, metadata: Mapping[str, str] | None = None
) -> "onnx.ModelProto":
    """The ONNX model of a network: float32 in, float32 inside, float32 out.

    An encoder maps ``image`` (batch, 3, height, width), RGB in 0..1, to ``features`` (batch, C,
    height / 2^(stage-1), width / 2^(stage-1)); a decoder maps ``features`` to ``image``. The
    smallest map must have two pixels a side, as reflection needs a neighbour.

    Args:
        network: in plain form, with float32 weights.
        half: store the weights as float16, with a conversion to float32 in the graph (which
            runtimes carry out once, when they load it).
        metadata: goes into the model's properties.

    Raises:
        EnvironmentUnfitError: if the ``onnx`` extra is missing.
    """
    require_onnx()
    import onnx
    from onnx import helper

    graph = _Graph(half=half)
    first, last = network.description[0], network.description[-1]
    if isinstance(network, Encoder):
        role, channels = "encoder", (3, last.out_channels)
        _encode(graph, network)
    else:
        role, channels = "decoder", (first.in_channels, 3)
        _decode(graph, network)
    graph.nodes[-1].output[:] = [OUTPUTS[role]]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"stage{network.stage}-{role}",
            [_port(INPUTS[role], channels[0])],
            [_port(OUTPUTS[role], channels[1])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ultrastyle-bench",
        producer_version=project_version(),
    )
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    return model


def _port(name: str, channels: int) -> Any:
    from onnx import TensorProto, helper

    prefix = "" if name == "image" else "feature_"
    shape: list[str | int | None] = ["batch", channels, f"{prefix}height", f"{prefix}width"]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _encode(graph: "_Graph", network: Encoder) -> None:
    x = graph.convolve(INPUTS["encoder"], "conv0", network.conv0)
    block = 1
    for conv in network.description:
        if conv.block != block:
            x = graph.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
            block = conv.block
        x = graph.convolve(graph.reflect(x), conv.name, network.get_submodule(conv.name))
        x = graph.add("Relu", [x])


def _decode(graph: "_Graph", network: Decoder) -> None:
    x, block = INPUTS["decoder"], network.stage
    for conv in network.description:
        if conv.block != block:
            x, block = graph.upsample(x), conv.block
        x = graph.convolve(graph.reflect(x), conv.name, network.get_submodule(conv.name))
        if conv.name != "conv1_1" or network.final_relu:
            x = graph.add("Relu", [x])


class _Graph:
    """Nodes and constants under construction; every method returns the name of a value."""

    def __init__(self, *, half: bool) -> None:
        self.half = half
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        if all(known.name != name for known in self.constants):
            self.constants.append(numpy_helper.from_array(values, name))
        return name

    def parameter(self, name: str, tensor: torch.Tensor) -> str:
        from onnx import TensorProto

        values: npt.NDArray[Any] = tensor.detach().cpu().numpy()
        if not self.half:
            return self.constant(name, values)
        return self.add("Cast", [self.constant(name, values.astype("f2"))], to=TensorProto.FLOAT)

    def convolve(self, x: str, name: str, module: nn.Module) -> str:
        parts = {f"{name}.{part}": values for part, values in module.named_parameters()}
        weight, bias = f"{name}.weight", f"{name}.bias"
        inputs = [x, self.parameter(weight, parts[weight]), self.parameter(bias, parts[bias])]
        return self.add("Conv", inputs, kernel_shape=list(parts[weight].shape[2:]))

    def reflect(self, x: str) -> str:
        pads = self.constant("one_pixel_around", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return self.add("Pad", [x, pads], mode="reflect")

    def upsample(self, x: str) -> str:
        scales = self.constant("twice", np.array([1, 1, 2, 2], np.float32))
        # Of the many definitions in the standard, the one that repeats each pixel twice.
        return self.add(
            "Resize",
            [x, "", scales],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

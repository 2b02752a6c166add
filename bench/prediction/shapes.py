"""Tensors without data: production code runs on them, and only shapes are computed.

The code that stylises images asks its tensors for their device and their memory format and goes
different ways on a CPU and on a GPU. A :class:`ShapeTensor` claims a device, also one that this
machine lacks, and holds no bytes. No device is initialised.

PyTorch's ``FakeTensorMode`` does the same and more (symbolic sizes, checks for compilers) at about
100 us an operation; a sweep is traced in seconds only with less.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch._C import _disabled_torch_function_impl
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from bench.prediction.shape_rules import META, RULES

CONVOLUTION = "convolution"
TRANSPOSED = "transposed convolution"
_CONVOLUTIONS = {
    "aten::convolution": CONVOLUTION,
    "mkldnn::_convolution_pointwise": CONVOLUTION,
    "mkldnn::_convolution_transpose_pointwise": TRANSPOSED,
}
_CPU = torch.device("cpu")


class Buffer:
    """Memory that tensors share; tells its ledger when the last of them is gone."""

    __slots__ = ("_freed", "bytes", "device", "identity")

    def __init__(
        self, identity: int, count: int, device: torch.device, freed: "Callable[[Buffer], None]"
    ) -> None:
        self.identity, self.bytes, self.device, self._freed = identity, count, device, freed

    def __del__(self) -> None:
        self._freed(self)


class Observer(Protocol):
    """Told of everything that happens in a :class:`ShapeMode`."""

    def allocate(self, count: int, device: torch.device) -> Buffer:
        """A new buffer of ``count`` bytes."""

    def ran(
        self, name: str, inputs: "Sequence[ShapeTensor]", outputs: "Sequence[ShapeTensor]"
    ) -> None:
        """An operation has run, its new buffers are allocated; views are not told of.

        Args:
            name: of the operation, such as ``aten::bmm``; that of every convolution is
                ``CONVOLUTION`` or ``TRANSPOSED``.
            inputs: its tensors, in the order of its arguments.
            outputs: what it made or wrote to.
        """


class ShapeTensor(Tensor):
    """A tensor of a shape, type, memory format and claimed device, without data."""

    on_meta: Tensor
    """The same on PyTorch's ``meta`` device, where shapes are computed."""
    claimed: torch.device
    buffer: Buffer

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device, buffer: Buffer) -> Self:
        """Of the shape of ``inner``, claiming to be on ``device``."""
        tensor: Self = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            # Not the claimed one: PyTorch would switch to that card.
            device=META,
        )
        tensor.on_meta, tensor.claimed, tensor.buffer = inner, device, buffer
        return tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The claimed one."""
        return self.claimed

    # What numbers.py and the like would call first; everything is the mode's business.
    __torch_function__ = _disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Refuse: outside the mode there is nobody to compute the shape."""
        raise RuntimeError(f"{func} was called on a tensor without data outside its trace")


class _Known(NamedTuple):
    """What is known of an operation by its schema."""

    name: str
    written: int | str | None
    """Position or name of the argument that it writes to and returns."""
    view: bool
    takes_device: bool
    rule: Callable[..., Any] | None
    """How its result's shape is computed, where that is not left to PyTorch."""


class ShapeMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, every operation makes :class:`ShapeTensor` and computes nothing.

    Enter it under ``torch.no_grad()``, not ``inference_mode``: there composite operations arrive
    whole and not as what they come down to.
    """

    # PyTorch starts CUDA when it is asked for a tensor there, unless the mode of this key is on.
    _mode_key = torch._C._TorchDispatchModeKey.FAKE

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # No: that would load the compiler, which takes longer than a trace, to keep it away.
        return False

    def __init__(self, observer: Observer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._observer = observer

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operation on shapes."""
        kwargs = kwargs or {}
        known = _KNOWN.get(func) or _KNOWN.setdefault(func, _learn(func))
        name = known.name
        if func is torch.ops.aten.convolution.default and args[6]:
            name = TRANSPOSED
        inputs: list[ShapeTensor] = []
        plain = [_unwrap(argument, inputs) for argument in args]
        if known.written is not None:
            written = known.written
            out = args[written] if isinstance(written, int) else kwargs[written]
            self._observer.ran(name, inputs, [out])
            return out
        if known.view:
            results = func(*plain, **kwargs)
            # A view of weights that were built without data is still that.
            return _views(results, inputs[0]) if inputs else results
        device = kwargs.get("device") or _device_of(inputs)
        if name == "aten::_to_copy" and inputs and _is_as_wanted(inputs[0], kwargs):
            return inputs[0]
        named = {key: value for key, value in kwargs.items() if key != "device"}
        if known.rule is not None:
            results = known.rule(*plain, **named)
        elif known.takes_device:
            results = func(*plain, **named, device=META)
        else:
            results = func(*plain, **named)
        if isinstance(results, Tensor):
            made = self._made(results, device)
            self._observer.ran(name, inputs, [made])
            return made
        if isinstance(results, tuple | list):
            several = [self._made(result, device) for result in results]
            self._observer.ran(name, inputs, several)
            return several
        return results

    def _made(self, inner: Tensor, device: torch.device) -> ShapeTensor:
        count = inner.untyped_storage().nbytes()
        return ShapeTensor(inner, device, self._observer.allocate(count, device))


_KNOWN: dict[OpOverload, _Known] = {}


def _learn(func: OpOverload) -> _Known:
    name = func._schema.name
    arguments = func._schema.arguments
    written = next(
        (
            argument.name if argument.kwarg_only else position
            for position, argument in enumerate(arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ),
        None,
    )
    returns = func._schema.returns
    return _Known(
        name=_CONVOLUTIONS.get(name, name),
        written=written,
        view=written is None and bool(returns) and returns[0].alias_info is not None,
        takes_device=any(argument.name == "device" for argument in arguments),
        rule=RULES.get(name),
    )


def _views(results: Any, of: ShapeTensor) -> Any:
    if isinstance(results, Tensor):
        return ShapeTensor(results, of.claimed, of.buffer)
    return [_views(result, of) for result in results]


def _is_as_wanted(tensor: ShapeTensor, wanted: dict[str, Any]) -> bool:
    """Whether a copy is not one: PyTorch, which takes the device for ``meta``, cannot tell."""
    device, dtype = wanted.get("device") or tensor.claimed, wanted.get("dtype") or tensor.dtype
    layout = wanted.get("memory_format")
    return (
        device == tensor.claimed
        and dtype == tensor.dtype
        and (
            layout in (None, torch.preserve_format)
            or tensor.on_meta.is_contiguous(memory_format=layout)
        )
    )


def _unwrap(argument: Any, inputs: list[ShapeTensor]) -> Any:
    if type(argument) is ShapeTensor:
        inputs.append(argument)
        return argument.on_meta
    if isinstance(argument, Tensor):
        # A constant of the code, or weights that were built without data.
        return argument if argument.device == META else argument.to(META)
    if isinstance(argument, list | tuple) and argument and isinstance(argument[0], Tensor):
        return [_unwrap(item, inputs) for item in argument]
    return argument


def _device_of(inputs: Sequence[ShapeTensor]) -> torch.device:
    """The one that an operation's result is on."""
    for tensor in inputs:
        if tensor.claimed != _CPU:
            return tensor.claimed
    return _CPU

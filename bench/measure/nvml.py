"""NVIDIA's management library, which tells of GPUs without a CUDA context."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pynvml
import torch

_BITS = 2.0**64


@contextmanager
def nvml() -> Iterator[Any | None]:
    """The initialised NVML binding, or None where there is no NVIDIA driver."""
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError):
        yield None
        return
    try:
        yield pynvml
    finally:
        ask_nvml(pynvml.nvmlShutdown)


def ask_nvml(query: Callable[..., Any], *args: object) -> Any | None:
    """What ``query`` answers, or None where this card or driver does not support it."""
    try:
        return query(*args)
    except pynvml.NVMLError:
        return None


def card_handles(api: Any) -> list[Any | None]:
    """The handle of each card by NVML's index; None for one that is lost or forbidden."""
    count = ask_nvml(api.nvmlDeviceGetCount) or 0
    return [ask_nvml(api.nvmlDeviceGetHandleByIndex, index) for index in range(count)]


class NvmlUnavailableError(Exception):
    """NVML does not give what was asked for; the message says why, in a few words."""


def open_card(device: str) -> tuple[Any, Any]:
    """The initialised binding, to be shut down by the caller, and the handle of ``cuda:N``.

    CUDA must be initialised: only then is it known which card it calls ``cuda:N``.

    Raises:
        NvmlUnavailableError: there is no NVML, or it does not know the card.
    """
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError) as error:
        raise NvmlUnavailableError(f"NVML could not be started ({_said(error)})") from None
    try:
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(cuda_uuid(device))
    except pynvml.NVMLError as error:
        ask_nvml(pynvml.nvmlShutdown)
        raise NvmlUnavailableError(
            f"NVML does not find the card of {device} ({_said(error)})"
        ) from None


def cuda_uuid(device: str) -> str:
    """NVML's name of the card that CUDA calls ``cuda:N``; CUDA must be initialised."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def nvml_number(
    api: Any, function: str, *args: object, scale: float = 1.0, most: float = math.inf
) -> float:
    """The number that NVML's ``function`` gives, times ``scale``; it lies in 0 to ``most``.

    Raises:
        NvmlUnavailableError: the card, the driver or the permissions do not allow it, or what came
            back cannot be true.
    """
    try:
        value = getattr(api, function)(*args)
    except AttributeError:
        raise NvmlUnavailableError(f"the NVML binding has no {function}") from None
    except pynvml.NVMLError as error:
        raise NvmlUnavailableError(f"{function}: {_said(error)}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NvmlUnavailableError(f"{function} gave {value!r}, which is no number")
    if not 0 <= value * scale <= most:
        raise NvmlUnavailableError(f"{function} gave {value!r}, which cannot be")
    return value * scale


def clock_reasons(api: Any, handle: Any) -> int:
    """Bits of the reasons for the card's present clocks, NVML's ``nvmlClocksEventReason...``.

    Raises:
        NvmlUnavailableError: as :func:`nvml_number`.
    """
    try:
        return int(nvml_number(api, "nvmlDeviceGetCurrentClocksEventReasons", handle, most=_BITS))
    except NvmlUnavailableError as error:
        first = error
    try:
        # Its older name, and the only one that older drivers know.
        function = "nvmlDeviceGetCurrentClocksThrottleReasons"
        return int(nvml_number(api, function, handle, most=_BITS))
    except NvmlUnavailableError:
        raise first from None


class OtherProcesses(NamedTuple):
    """Compute processes on a card besides this one."""

    number: int
    exact: bool
    """Whether this process was in the list; else one entry, if there is any, is taken for it."""


def other_processes(api: Any, handle: Any, *, own: int) -> OtherProcesses:
    """Compute processes on the card besides process ``own``, which must have a context on it.

    A container has process numbers of its own: where none of the list is ``own``, one of them is
    it under another number.

    Raises:
        NvmlUnavailableError: NVML does not tell.
    """
    try:
        listed = api.nvmlDeviceGetComputeRunningProcesses(handle)
        pids = [process.pid for process in listed]
    except pynvml.NVMLError as error:
        raise NvmlUnavailableError(
            f"nvmlDeviceGetComputeRunningProcesses: {_said(error)}"
        ) from None
    except (AttributeError, TypeError):
        raise NvmlUnavailableError("NVML's list of processes cannot be read") from None
    if own in pids:
        return OtherProcesses(len(pids) - 1, exact=True)
    return OtherProcesses(max(0, len(pids) - 1), exact=False)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__

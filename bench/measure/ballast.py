"""Memory of a card that is taken so that it looks as small as the one that is imitated.

cuDNN picks its algorithms by the card's free memory (``cudaMemGetInfo``), which a limit on
PyTorch's allocator does not change. The ballast is allocated by the driver, outside that allocator.
"""

import ctypes
import os
import sys
from dataclasses import dataclass

import torch

from bench.measure.nvml import NvmlUnavailableError, ask_nvml, open_card, other_processes

_MB = 1e6
_GRANULARITY = 2 * 2**20
"""Bytes: what the driver hands out memory in."""


@dataclass(frozen=True)
class _Ballast:
    address: int
    size: int


_HELD: dict[int, _Ballast] = {}
"""By the index of the device. It lasts as long as the process, unless it is released."""


def take_ballast(device: str, *, leave_bytes: int) -> str:
    """Allocate all of ``cuda:N`` that is free but ``leave_bytes``; returns how, in a few words.

    CUDA must be initialised. The words start with ``no ballast:`` where none could or should be
    had: on a card that other processes use, whose allocations it would make fail, and on one that
    shares its memory with the CPU.
    """
    if why := _unfit(device):
        return f"no ballast: {why}"
    free, _ = torch.cuda.mem_get_info(device)
    size = (free - leave_bytes) // _GRANULARITY * _GRANULARITY
    if size <= 0:
        return (
            f"no ballast: {free / _MB:.1f} MB of the card are free, no more than the "
            f"{leave_bytes / _MB:.1f} MB that are to be left"
        )
    try:
        address = _allocate(device, size)
    except OSError as error:
        return f"no ballast: {error}"
    _HELD[_index(device)] = _Ballast(address, size)
    left, _ = torch.cuda.mem_get_info(device)
    return f"a ballast of {size / _MB:.1f} MB leaves {left / _MB:.1f} MB of the card free"


def release_ballast(device: str) -> None:
    """Give back the ballast on ``cuda:N``, if there is one. Call from the thread that took it.

    It does not fail: after an error that left CUDA unusable, the process's end gives it back.
    """
    held = _HELD.pop(_index(device), None)
    if held is not None:
        _driver().cuMemFree_v2(ctypes.c_uint64(held.address))


def held_bytes(device: str) -> int:
    """Size of the ballast on ``cuda:N``; 0 without one."""
    held = _HELD.get(_index(device))
    return 0 if held is None else held.size


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _unfit(device: str) -> str | None:
    if torch.cuda.get_device_properties(device).is_integrated:
        return "the card shares its memory with the CPU"
    try:
        api, handle = open_card(device)
    except NvmlUnavailableError as error:
        return f"whether other processes use the card is not known: {error}"
    try:
        others = other_processes(api, handle, own=os.getpid())
    except NvmlUnavailableError as error:
        return f"whether other processes use the card is not known: {error}"
    finally:
        ask_nvml(api.nvmlShutdown)
    if others.number:
        return f"{others.number} other process(es) use the card and would run out of memory"
    return None


def _allocate(device: str, size: int) -> int:
    """Bytes on the device by the driver, in the context that PyTorch uses; their address.

    Raises:
        OSError: there is no driver library, or it refuses.
    """
    address = ctypes.c_uint64()
    driver = _driver()
    with torch.cuda.device(device):
        # The runtime makes its context the thread's own when it is next called.
        torch.cuda.synchronize()
        code = driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size))
    if code:
        raise OSError(f"the driver refused {size / _MB:.1f} MB (error {code})")
    return int(address.value)


def _driver() -> ctypes.CDLL:
    """The CUDA driver's library, which is loaded already."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")

"""How running out of memory shows itself in errors."""

import errno
import re
import sys
import traceback
from dataclasses import dataclass
from typing import Literal

import torch

from distill.host import status_bytes

_MB = 1e6


@dataclass(frozen=True)
class OutOfMemory:
    """An allocation that failed, as a record tells it. Amounts in MB, None if not known."""

    code: Literal["cuda_allocator", "host_allocator"]
    requested_mb: float | None
    free_mb: float | None
    """What could still be allocated then: under the cap, if there is one."""
    message: str
    """One sentence for a person."""


def out_of_memory(error: BaseException) -> OutOfMemory | None:
    """What ``error`` says of a failed allocation; None if it is about something else.

    Known are PyTorch's out-of-memory error, the allocation failures of cuDNN, cuBLAS and cuSOLVER,
    ``MemoryError``, ``ENOMEM``, PyTorch's CPU allocator and ``std::bad_alloc``. Only under a limit:
    on the data segment, the failures to create a primitive of oneDNN (whose code takes memory) and
    to start a thread (whose stack does); on CUDA's allocator, cuDNN's to find an algorithm.

    When there is not even memory to read ``error``, the local variables of the frames that raised
    it are dropped first.
    """
    try:
        return _read_failure(error)
    except MemoryError:
        traceback.clear_frames(error.__traceback__)
        return _read_failure(error)


def _read_failure(error: BaseException) -> OutOfMemory | None:
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and (
            _CUDA_FAILURE.search(text)
            or (_CUDNN_WITHOUT_ENGINE.search(text) and _cuda_is_limited())
        )
    ):
        return _cuda_failure(text)
    return _host_failure(text) if _is_host_failure(error, text) else None


_CUDA_FAILURE = re.compile(
    r"CUDNN_STATUS_ALLOC_FAILED|CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUSOLVER_STATUS_ALLOC_FAILED"
    r"|CUDA error: out of memory|CUDA out of memory|CUDA driver error: out of memory"
    r"|CUDA_ERROR_OUT_OF_MEMORY"
)
_CUDNN_WITHOUT_ENGINE = re.compile(r"(?:GET|FIND) was unable to find an engine")
"""Of a convolution whose algorithms all found too little memory, or that has none at all."""
_NO_THREAD = re.compile(r"can't start new thread")
_HOST_FAILURE = re.compile(r"DefaultCPUAllocator: |std::bad_alloc")
_ONEDNN_FAILURE = re.compile(r"could not (create|execute) a (primitive|memory)(?! descriptor)")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_AMOUNT = r"(\d+(?:\.\d*)?) (bytes|KiB|MiB|GiB)"


def _amount_mb(pattern: str, text: str) -> float | None:
    """The amount that ``pattern`` places with ``AMOUNT`` in ``text``, in MB."""
    match = re.search(pattern.replace("AMOUNT", _AMOUNT), text)
    return float(match[1]) * _UNITS[match[2]] / _MB if match else None


def _cuda_failure(text: str) -> OutOfMemory:
    requested = _amount_mb("Tried to allocate AMOUNT", text)
    free = _amount_mb("of which AMOUNT is free", text)
    left = _left_under_cap(text)
    if left is not None:
        free = left if free is None else min(free, left)
    message = _sentence("CUDA out of memory", text, requested=requested, free=free)
    return OutOfMemory("cuda_allocator", requested, free, message)


def _left_under_cap(text: str) -> float | None:
    """What a limited allocator still had: the card's free memory does not tell."""
    allowed = _amount_mb("AMOUNT allowed", text)
    allocated = _amount_mb("AMOUNT is allocated by PyTorch", text)
    cached = _amount_mb("AMOUNT is reserved by PyTorch but unallocated", text)
    if allowed is None or allocated is None or cached is None:
        return None
    return max(0.0, allowed - allocated - cached)


def _is_host_failure(error: BaseException, text: str) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if not isinstance(error, RuntimeError):
        return False
    if _HOST_FAILURE.search(text):
        return True
    under_limit = _ONEDNN_FAILURE.search(text) or _NO_THREAD.search(text)
    return under_limit is not None and _data_limit() is not None


def _host_failure(text: str) -> OutOfMemory:
    requested = _amount_mb("(?:tried|Unable) to allocate AMOUNT", text)
    free = _left_of_data_limit_mb()
    if requested is None or (free is not None and free >= requested):
        # By now the failed pass may have freed what stood in the way: then it tells nothing.
        free = None
    message = _sentence("out of host memory", text, requested=requested, free=free)
    return OutOfMemory("host_allocator", requested, free, message)


def _sentence(what: str, text: str, *, requested: float | None, free: float | None) -> str:
    if requested is None:
        said = text.strip().splitlines()[0] if text.strip() else "the allocation failed"
        return f"{what}: {said}"
    room = "" if free is None else f", {_shown(free)} MB free"
    return f"{what}: {_shown(requested)} MB asked for{room}"


def _shown(amount_mb: float) -> str:
    return f"{amount_mb:.1f}" if amount_mb >= 0.1 else f"{amount_mb:.3g}"


def _cuda_is_limited() -> bool:
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.cuda.get_per_process_memory_fraction() < 1)


def _data_limit() -> int | None:
    """The limit on the process's data segment in bytes; None without one."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else soft


def _left_of_data_limit_mb() -> float | None:
    limit, in_use = _data_limit(), status_bytes("VmData")
    if limit is None or in_use is None:
        return None
    return max(0, limit - in_use) / _MB

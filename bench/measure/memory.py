"""Peak memory of a pass, the cap it runs under, and how running out of memory shows itself."""

import ctypes
import errno
import gc
import os
import re
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil
import torch

from bench.measure.environment import ask_nvml, nvml

_MB = 1e6
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def _status_bytes(field: str) -> int | None:
    """A memory field of this process's ``/proc/self/status``; None where there is none."""
    try:
        text = (_PROC / "self" / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _return_freed_memory() -> None:
    """Give the kernel back what Python and the C library hold of freed memory."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError):  # a C library other than glibc
            ctypes.CDLL(None).malloc_trim(0)


# ----------------------------------------------------------------------------------------- cap


def apply_cap(cap_bytes: int | None, device: str) -> str | None:
    """Limit this process to ``cap_bytes`` of memory on ``device``; returns how, as a sentence.

    CPU (Linux): ``RLIMIT_DATA`` is set to the present data segment plus the cap, so that memory may
    grow by the cap; an allocation beyond it fails as an error. Set the number of PyTorch's threads
    before: they are started here, because OpenMP ends the process if it cannot start one later.

    CUDA (``cuda:N``): PyTorch's allocator is limited to the cap less what the CUDA context takes of
    the card; this initialises CUDA.

    None without a cap. The sentence starts with ``not enforced:`` where nothing could be limited.
    """
    if cap_bytes is None:
        return None
    return _cap_cuda(cap_bytes, device) if device.startswith("cuda") else _cap_host(cap_bytes)


def _cap_host(cap_bytes: int) -> str:
    _return_freed_memory()
    _start_threads()
    in_use = _status_bytes("VmData")
    if sys.platform != "linux" or in_use is None:
        return (
            f"not enforced: limiting a process's data segment needs Linux and /proc "
            f"(this is {sys.platform})"
        )
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    limit = min([in_use + cap_bytes, *limits])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    sentence = (
        f"RLIMIT_DATA at {limit / _MB:.1f} MB: {in_use / _MB:.1f} MB in use at the start plus the "
        f"cap of {cap_bytes / _MB:.1f} MB"
    )
    if limit < in_use + cap_bytes:
        sentence += ", lowered by the limit the process was started with"
    return sentence


def _start_threads() -> None:
    """Have OpenMP start its threads: each one's stack counts as data."""
    grain = 32768  # elements per thread below which PyTorch does not divide the work
    torch.zeros(grain * torch.get_num_threads()).add_(1)


def _cap_cuda(cap_bytes: int, device: str) -> str:
    before = _used_before_cuda()
    torch.empty(1, device=device)
    free, total = torch.cuda.mem_get_info(device)
    if cap_bytes >= total:
        return (
            f"no limit: the cap of {cap_bytes / _MB:.1f} MB is not below the card's "
            f"{total / _MB:.1f} MB"
        )
    taken = _process_used(device, before=before)
    source = "the CUDA context's"
    if taken is None:
        taken, source = total - free, "the CUDA context's and other processes'"
    context = max(0, taken - torch.cuda.memory_reserved(device))
    limit = max(0, cap_bytes - context)
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    return (
        f"PyTorch's CUDA allocator limited to {limit / _MB:.1f} MB of the card's "
        f"{total / _MB:.1f} MB: the cap of {cap_bytes / _MB:.1f} MB less {source} "
        f"{context / _MB:.1f} MB"
    )


# ------------------------------------------------------------------------------- device by NVML


def _used_before_cuda() -> dict[str, int]:
    """Bytes in use on every card, by UUID; empty once this process has initialised CUDA.

    Every card, because which one CUDA calls ``cuda:N`` is only known once it is initialised.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    with nvml() as api:
        if api is None:
            return {}
        handles = [api.nvmlDeviceGetHandleByIndex(i) for i in range(api.nvmlDeviceGetCount())]
        pairs = [(ask_nvml(api.nvmlDeviceGetUUID, h), _used(api, h)) for h in handles]
    return {str(uuid): used for uuid, used in pairs if uuid is not None and used is not None}


def _used(api: Any, handle: Any) -> int | None:
    memory = ask_nvml(api.nvmlDeviceGetMemoryInfo, handle)
    return None if memory is None else int(memory.used)


def _process_used(device: str, *, before: dict[str, int]) -> int | None:
    """Bytes of the card that this process holds, its CUDA context included.

    By NVML's list of processes; where this one is not in it (a container has process numbers of its
    own), what is in use on the card beyond what was ``before`` this process initialised CUDA. None
    if neither can be had. ``device`` is ``cuda:N``; CUDA must be initialised.
    """
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    with nvml() as api:
        handle = None if api is None else ask_nvml(api.nvmlDeviceGetHandleByUUID, uuid)
        if api is None or handle is None:
            return None
        listed = _listed(api, handle)
        used = _used(api, handle)
    if listed is not None:
        return listed
    return max(0, used - before[uuid]) if used is not None and uuid in before else None


def _listed(api: Any, handle: Any) -> int | None:
    """Bytes that NVML's list of processes gives this one."""
    for process in ask_nvml(api.nvmlDeviceGetComputeRunningProcesses, handle) or []:
        if process.pid == os.getpid() and process.usedGpuMemory:
            return int(process.usedGpuMemory)
    return None


# -------------------------------------------------------------------------------------- meters


class MemoryMeter(Protocol):
    """Peak memory of one pass. Call ``baseline``, later ``start``, the pass, ``stop``."""

    def baseline(self) -> None:
        """Remember what stands before the first pass."""
        ...

    def start(self) -> None:
        """Empty caches and reset the peaks."""
        ...

    def stop(self) -> dict[str, float]:
        """The peaks since ``start``, in MB, by their names in a record; absent if unknown."""
        ...


def meter_for(device: str) -> MemoryMeter:
    """The meter of ``cpu`` or ``cuda:N``.

    Make it before CUDA is initialised: then what other processes hold of the card is known, which
    is needed where NVML does not list this process.
    """
    return CudaMeter(device) if device.startswith("cuda") else HostMeter()


class CudaMeter:
    """Peaks of PyTorch's allocator, and the device's own figure by NVML.

    NVML knows no peak, only the present: ``peak_device_mb`` is what it gives at ``stop`` plus what
    the allocator has returned to the card since its peak.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._before = _used_before_cuda()

    def baseline(self) -> None:
        """Nothing: the peaks are absolute, weights and context included."""

    def start(self) -> None:
        """Empty PyTorch's cache and reset its peaks."""
        torch.cuda.synchronize(self._device)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def stop(self) -> dict[str, float]:
        """``peak_allocated_mb``, ``peak_reserved_mb`` and, where known, ``peak_device_mb``."""
        torch.cuda.synchronize(self._device)
        reserved = torch.cuda.max_memory_reserved(self._device)
        peaks = {
            "peak_allocated_mb": torch.cuda.max_memory_allocated(self._device) / _MB,
            "peak_reserved_mb": reserved / _MB,
        }
        used = _process_used(self._device, before=self._before)
        if used is not None:
            returned = reserved - torch.cuda.memory_reserved(self._device)
            peaks["peak_device_mb"] = (used + returned) / _MB
        return peaks


class HostMeter:
    """Growth of the resident set over what stood at ``baseline``.

    Linux lets a process reset its high-water mark (``/proc/self/clear_refs``). Elsewhere the mark
    is that of the whole life of the process (``getrusage``; ``psutil`` on Windows): if it has risen
    since ``baseline`` then a pass since then set it, and the growth is that of the largest one; if
    it has not, the growth is unknown and left out.
    """

    def __init__(self) -> None:
        self._resident = 0
        self._mark = 0
        self._was_reset = False
        self.baseline()

    def baseline(self) -> None:
        """Remember the resident set, and the high-water mark, of now."""
        _return_freed_memory()
        self._resident = psutil.Process().memory_info().rss
        self._mark = _high_water_mark()

    def start(self) -> None:
        """Return freed memory to the kernel and reset the high-water mark where possible."""
        _return_freed_memory()
        self._was_reset = _reset_high_water_mark()

    def stop(self) -> dict[str, float]:
        """``peak_rss_growth_mb``, at least 0, where known."""
        mark = _high_water_mark()
        if not self._was_reset and mark <= self._mark:
            return {}
        return {"peak_rss_growth_mb": max(0, mark - self._resident) / _MB}


def _high_water_mark() -> int:
    """Largest resident set in bytes, since the last reset or the start of the process."""
    mark = _status_bytes("VmHWM")
    if mark is not None:
        return mark
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def _reset_high_water_mark() -> bool:
    if _status_bytes("VmHWM") is None:
        return False
    try:
        (_PROC / "self" / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


# ------------------------------------------------------------------------------- out of memory


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
    ``MemoryError``, ``ENOMEM``, PyTorch's CPU allocator and ``std::bad_alloc``, and, only under a
    limit on the data segment, oneDNN's failure to create a primitive (whose code takes memory).

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
        isinstance(error, RuntimeError) and _CUDA_FAILURE.search(text)
    ):
        return _cuda_failure(text)
    return _host_failure(text) if _is_host_failure(error, text) else None


_CUDA_FAILURE = re.compile(
    r"CUDNN_STATUS_ALLOC_FAILED|CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUSOLVER_STATUS_ALLOC_FAILED"
    r"|CUDA error: out of memory|CUDA out of memory"
)
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
    return _ONEDNN_FAILURE.search(text) is not None and _data_limit() is not None


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


def _data_limit() -> int | None:
    """The limit on the process's data segment in bytes; None without one."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else soft


def _left_of_data_limit_mb() -> float | None:
    limit, in_use = _data_limit(), _status_bytes("VmData")
    if limit is None or in_use is None:
        return None
    return max(0, limit - in_use) / _MB


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory; None if it does not tell.

    Of this process's control group where that counts (version 2), else of the whole machine. A
    child that ended by SIGKILL while this rose was in all likelihood killed by the kernel.
    """
    for counter in (_own_cgroup_events(), _PROC / "vmstat"):
        count = None if counter is None else _counter(counter, "oom_kill")
        if count is not None:
            return count
    return None


def _own_cgroup_events() -> Path | None:
    try:
        memberships = (_PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    unified = [line.removeprefix("0::") for line in memberships if line.startswith("0::")]
    return _CGROUPS / unified[0].lstrip("/") / "memory.events" if unified else None


def _counter(path: Path, name: str) -> int | None:
    """A counter of a file of ``NAME VALUE`` lines."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
    return int(values[0]) if values else None

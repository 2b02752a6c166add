"""Peak memory of a pass."""

import gc
import sys
from typing import Protocol

import psutil
import torch

from bench.measure.card_memory import process_used, used_before_cuda
from bench.measure.proc import return_freed_memory
from distill import host
from distill.host import status_bytes

_MB = 1e6


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
        self._before = used_before_cuda()

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
        used = process_used(self._device, before=self._before)
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
        return_freed_memory()
        self._resident = psutil.Process().memory_info().rss
        self._mark = _high_water_mark()

    def start(self) -> None:
        """Return freed memory to the kernel and reset the high-water mark where possible."""
        return_freed_memory()
        self._was_reset = _reset_high_water_mark()

    def stop(self) -> dict[str, float]:
        """``peak_rss_growth_mb``, at least 0, where known."""
        mark = _high_water_mark()
        if not self._was_reset and mark <= self._mark:
            return {}
        return {"peak_rss_growth_mb": max(0, mark - self._resident) / _MB}


def _high_water_mark() -> int:
    """Largest resident set in bytes, since the last reset or the start of the process."""
    mark = status_bytes("VmHWM")
    if mark is not None:
        return mark
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def _reset_high_water_mark() -> bool:
    if status_bytes("VmHWM") is None:
        return False
    try:
        (host.PROC / "self" / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True

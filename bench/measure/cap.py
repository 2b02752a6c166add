"""The cap on memory that a cell runs under."""

import mmap
import sys
import tempfile
from pathlib import Path

import psutil
import torch

from bench.measure.ballast import take_ballast
from bench.measure.card_memory import process_used, used_before_cuda
from bench.measure.proc import return_freed_memory
from distill.host import status_bytes

_MB = 1e6
_PROBE = 64 * 2**20
NOT_ENFORCED = "not enforced"
"""How the sentence of a cap begins that could not be set."""
"""Bytes beyond the limit that must not be had."""


def apply_cap(cap_bytes: int | None, device: str) -> str | None:
    """Limit this process to ``cap_bytes`` of memory on ``device``; returns how, as a sentence.

    CPU (Linux): ``RLIMIT_DATA`` is set to the present data segment plus the cap, so that memory may
    grow by the cap; an allocation beyond it fails as an error. Set the number of PyTorch's threads
    before: they are started here, because OpenMP ends the process if it cannot start one later.
    Whether the kernel holds to the limit is tried. Not limited, and named where it matters: files
    that lie in memory.

    CUDA (``cuda:N``): PyTorch's allocator is limited to the cap less what the CUDA context takes of
    the card, and a ballast outside it takes the rest of the card's free memory, so that cuDNN sees
    a small card; this initialises CUDA. The ballast lasts until ``release_ballast``.

    None without a cap. Where nothing could be limited, it starts with :data:`NOT_ENFORCED`.
    """
    if cap_bytes is None:
        return None
    return _cap_cuda(cap_bytes, device) if device.startswith("cuda") else _cap_host(cap_bytes)


def _cap_host(cap_bytes: int) -> str:
    return_freed_memory()
    _start_threads()
    in_use = status_bytes("VmData")
    if sys.platform != "linux" or in_use is None:
        return (
            f"{NOT_ENFORCED}: limiting a process's data segment needs Linux and /proc "
            f"(this is {sys.platform})"
        )
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    limit = min([in_use + cap_bytes, *limits])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    if _can_map(limit - in_use + _PROBE):
        return f"{NOT_ENFORCED}: this system lets a process pass its limit of data (RLIMIT_DATA)"
    sentence = (
        f"RLIMIT_DATA at {limit / _MB:.1f} MB: {in_use / _MB:.1f} MB in use at the start plus the "
        f"cap of {cap_bytes / _MB:.1f} MB"
    )
    if limit < in_use + cap_bytes:
        sentence += ", lowered by the limit the process was started with"
    if folder := _temporary_in_memory():
        sentence += f"; files in {folder} lie in memory and are not limited"
    return sentence


def _can_map(size: int) -> bool:
    """Whether ``size`` bytes of private memory can be had; none of it is touched."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, OverflowError):
        return False
    return True


def _temporary_in_memory() -> Path | None:
    """The folder of temporary files if it lies in memory (tmpfs), which is not a process's data."""
    try:
        folder = Path(tempfile.gettempdir()).resolve()
        mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    except OSError:
        return None
    holding = next((one for one in (folder, *folder.parents) if one in mounts), None)
    return folder if holding is not None and mounts[holding] in ("tmpfs", "ramfs") else None


def _start_threads() -> None:
    """Have OpenMP start its threads: each one's stack counts as data."""
    grain = 32768  # elements per thread below which PyTorch does not divide the work
    torch.zeros(grain * torch.get_num_threads()).add_(1)


def _cap_cuda(cap_bytes: int, device: str) -> str:
    before = used_before_cuda()
    torch.empty(1, device=device)
    free, total = torch.cuda.mem_get_info(device)
    if cap_bytes >= total:
        return (
            f"no limit: the cap of {cap_bytes / _MB:.1f} MB is not below the card's "
            f"{total / _MB:.1f} MB"
        )
    taken = process_used(device, before=before)
    source = "the CUDA context's"
    if taken is None:
        taken, source = total - free, "the CUDA context's and other processes'"
    context = max(0, taken - torch.cuda.memory_reserved(device))
    limit = max(0, cap_bytes - context)
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    leave = max(0, limit - torch.cuda.memory_reserved(device))
    ballast = take_ballast(device, leave_bytes=leave)
    return (
        f"PyTorch's CUDA allocator limited to {limit / _MB:.1f} MB of the card's "
        f"{total / _MB:.1f} MB: the cap of {cap_bytes / _MB:.1f} MB less {source} "
        f"{context / _MB:.1f} MB; {ballast}"
    )

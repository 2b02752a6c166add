"""What a process holds of a card's memory, by NVML: the CUDA context included."""

import os
from typing import Any

import torch

from bench.measure.ballast import held_bytes
from bench.measure.nvml import ask_nvml, card_handles, cuda_uuid, nvml


def used_before_cuda() -> dict[str, int]:
    """Bytes in use on every card, by UUID; empty once this process has initialised CUDA.

    Every card, because which one CUDA calls ``cuda:N`` is only known once it is initialised.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    with nvml() as api:
        if api is None:
            return {}
        handles = [handle for handle in card_handles(api) if handle is not None]
        pairs = [(ask_nvml(api.nvmlDeviceGetUUID, h), _used(api, h)) for h in handles]
    return {str(uuid): used for uuid, used in pairs if uuid is not None and used is not None}


def _used(api: Any, handle: Any) -> int | None:
    memory = ask_nvml(api.nvmlDeviceGetMemoryInfo, handle)
    return None if memory is None else int(memory.used)


def process_used(device: str, *, before: dict[str, int]) -> int | None:
    """Bytes of the card that this process holds, its CUDA context included, a ballast not.

    By NVML's list of processes; where this one is not in it (a container has process numbers of its
    own), what is in use on the card beyond what was ``before`` this process initialised CUDA. None
    if neither can be had. ``device`` is ``cuda:N``; CUDA must be initialised.
    """
    uuid = cuda_uuid(device)
    with nvml() as api:
        handle = None if api is None else ask_nvml(api.nvmlDeviceGetHandleByUUID, uuid)
        if api is None or handle is None:
            return None
        listed = _listed(api, handle)
        used = _used(api, handle)
    if listed is not None:
        return max(0, listed - held_bytes(device))
    if used is None or uuid not in before:
        return None
    return max(0, used - before[uuid] - held_bytes(device))


def _listed(api: Any, handle: Any) -> int | None:
    """Bytes that NVML's list of processes gives this one."""
    for process in ask_nvml(api.nvmlDeviceGetComputeRunningProcesses, handle) or []:
        if process.pid == os.getpid() and process.usedGpuMemory:
            return int(process.usedGpuMemory)
    return None

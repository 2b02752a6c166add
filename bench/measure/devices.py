"""The devices a run can be on, by their names on the command line. Never initialises CUDA."""

import os
from dataclasses import dataclass
from typing import Any

import torch

from bench.errors import EnvironmentUnfitError
from bench.measure.cuda_driver import cards_of_driver
from bench.measure.nvml import ask_nvml, card_handles, nvml
from distill.devices import parse_device


@dataclass(frozen=True)
class Gpu:
    """A GPU that CUDA would see. ``index`` is the N of ``cuda:N``."""

    index: int
    uuid: str
    name: str
    memory_mb: float


def gpus() -> list[Gpu]:
    """The GPUs that ``CUDA_VISIBLE_DEVICES`` leaves, in CUDA's order; empty without a driver.

    NVML orders by PCI bus. CUDA does so only with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``: on a machine
    with cards of different kinds the two agree when that is set. Where there is no NVML, as in a
    container without it, the driver itself is asked.
    """
    with nvml() as api:
        if api is not None:
            return [_gpu(api, index, handle) for index, handle in enumerate(visible_handles(api))]
    return [Gpu(index, *facts) for index, facts in enumerate(cards_of_driver())]


def _gpu(api: Any, index: int, handle: Any) -> Gpu:
    memory = ask_nvml(api.nvmlDeviceGetMemoryInfo, handle)
    return Gpu(
        index=index,
        uuid=str(ask_nvml(api.nvmlDeviceGetUUID, handle) or ""),
        name=str(ask_nvml(api.nvmlDeviceGetName, handle) or "unknown GPU"),
        memory_mb=memory.total / 1e6 if memory is not None else 0.0,
    )


def visible_handles(api: Any) -> list[Any]:
    """NVML handles of the devices CUDA may use, by CUDA's rules for the variable.

    A list of indices or of (shortened) UUIDs; it ends at the first entry that names no device, and
    naming one twice leaves none. A card that NVML gives no handle of counts as not there.
    """
    present = card_handles(api)
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return [handle for handle in present if handle is not None]
    uuids = [
        "" if handle is None else str(ask_nvml(api.nvmlDeviceGetUUID, handle) or "")
        for handle in present
    ]
    chosen: dict[str, Any] = {}
    for entry in (part.strip() for part in wanted.split(",")):
        found = _named_handle(api, entry, present, uuids)
        if found is None:
            break
        uuid, handle = found
        if uuid in chosen:
            return []
        chosen[uuid] = handle
    return list(chosen.values())


def _named_handle(
    api: Any, entry: str, present: list[Any | None], uuids: list[str]
) -> tuple[str, Any] | None:
    if entry.isdecimal():
        index = int(entry)
        if index >= len(present) or present[index] is None:
            return None
        return uuids[index] or entry, present[index]
    if entry.startswith("MIG-"):
        handle = ask_nvml(api.nvmlDeviceGetHandleByUUID, entry)
        return None if handle is None else (entry, handle)
    if not entry.startswith("GPU-"):
        return None
    matches = [pair for pair in zip(uuids, present, strict=True) if pair[0].startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def resolve_device(requested: str) -> str:
    """``cpu`` or ``cuda:N`` for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    ``auto`` is the first GPU if there is one and PyTorch was built for CUDA, else the CPU.

    Raises:
        UserError: for any other text.
        EnvironmentUnfitError: the GPU asked for is not there, or PyTorch was built without CUDA.
    """
    kind, index = parse_device(requested)
    if kind == "cpu":
        return "cpu"
    if kind == "auto":
        return "cuda:0" if torch.version.cuda and gpus() else "cpu"
    _require_gpu(requested, index)
    return f"cuda:{index}"


def _require_gpu(requested: str, index: int) -> None:
    if not torch.version.cuda:
        raise EnvironmentUnfitError(
            f"device: {requested!r} is not possible, PyTorch {torch.__version__} is built without "
            "CUDA; use cpu, or install a CUDA build of PyTorch"
        )
    present = gpus()
    if index < len(present):
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    limited = f" (CUDA_VISIBLE_DEVICES={visible!r})" if visible is not None else ""
    there = ", ".join(f"cuda:{gpu.index} ({gpu.name})" for gpu in present)
    raise EnvironmentUnfitError(
        f"device: {requested!r} is not there{limited}; "
        + (f"there is {there}" if there else "no NVIDIA GPU was found, use cpu")
    )

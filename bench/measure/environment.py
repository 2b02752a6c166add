"""What a run was measured on: machine, versions and settings. Never initialises CUDA.

The GPU is asked through NVML only, so the process that collects this (the parent of the workers)
holds no CUDA context and takes no memory of the card. What cannot be found out is absent.
"""

import importlib.metadata
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.measure.code_version import code_facts
from bench.measure.devices import visible_handles
from bench.measure.environment_differences import PACKAGES, SCHEMA, speed_variables
from bench.measure.nvml import ask_nvml, nvml
from distill.host import core_numbers, cpu_quota, limit_threads, usable_memory


def collect_environment(device: str) -> dict[str, Any]:
    """Flat, JSON-able facts on what a run on ``device`` is measured with.

    Units are in the names (``MB`` is 10^6 bytes). What cannot be found out is absent; facts on the
    GPU are there for a CUDA device only.
    """
    facts = {
        "environment_schema": SCHEMA,
        "collected_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        **_machine_facts(),
        **_software_facts(),
        **code_facts(),
        **(_gpu_facts(device) if device.startswith("cuda") else {}),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _machine_facts() -> dict[str, Any]:
    machine, memory = psutil.virtual_memory(), usable_memory()
    return {
        "platform": platform.platform(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpu_physical_cores": psutil.cpu_count(logical=False),
        "cpu_logical_cores": psutil.cpu_count(logical=True),
        "cpu_usable_cores": len(core_numbers()),
        "cpu_quota_cores": cpu_quota(),
        "memory_total_mb": machine.total / 1e6,
        "memory_limit_mb": None if memory.limited_by is None else memory.total / 1e6,
        "memory_available_mb": memory.available / 1e6,
        "load_average_1min": psutil.getloadavg()[0],
    }


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _software_facts() -> dict[str, Any]:
    limit_threads()  # as a worker does
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torch_commit": torch.version.git_version,
        "torch_threads": torch.get_num_threads(),
        "cuda_runtime": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        **{name.replace("-", "_"): _installed(name) for name in PACKAGES},
        "variables": speed_variables(os.environ),
    }


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


_GPU_FACTS: dict[str, Callable[[Any, Any], Any]] = {
    "gpu": lambda api, h: api.nvmlDeviceGetName(h),
    "gpu_memory_mb": lambda api, h: api.nvmlDeviceGetMemoryInfo(h).total / 1e6,
    "gpu_driver": lambda api, h: api.nvmlSystemGetDriverVersion(),
    "gpu_compute_capability": lambda api, h: ".".join(
        str(part) for part in api.nvmlDeviceGetCudaComputeCapability(h)
    ),
    "gpu_clock_sm_mhz": lambda api, h: api.nvmlDeviceGetClockInfo(h, api.NVML_CLOCK_SM),
    "gpu_clock_memory_mhz": lambda api, h: api.nvmlDeviceGetClockInfo(h, api.NVML_CLOCK_MEM),
    "gpu_clock_sm_max_mhz": lambda api, h: api.nvmlDeviceGetMaxClockInfo(h, api.NVML_CLOCK_SM),
    "gpu_clock_memory_max_mhz": lambda api, h: api.nvmlDeviceGetMaxClockInfo(h, api.NVML_CLOCK_MEM),
    "gpu_power_limit_w": lambda api, h: api.nvmlDeviceGetEnforcedPowerLimit(h) / 1e3,
    "gpu_persistence": lambda api, h: bool(api.nvmlDeviceGetPersistenceMode(h)),
    "gpu_ecc": lambda api, h: bool(api.nvmlDeviceGetEccMode(h)[0]),
    "gpu_other_processes": lambda api, h: sum(
        process.pid != os.getpid() for process in api.nvmlDeviceGetComputeRunningProcesses(h)
    ),
}


def _gpu_facts(device: str) -> dict[str, Any]:
    """What NVML says of the GPU that ``device`` (``cuda`` or ``cuda:N``) names."""
    index = int(device.partition(":")[2] or 0)
    with nvml() as api:
        handles = visible_handles(api) if api is not None else []
        if index >= len(handles):
            return {}
        facts = {key: ask_nvml(fact, api, handles[index]) for key, fact in _GPU_FACTS.items()}
    return {key: value for key, value in facts.items() if value is not None}

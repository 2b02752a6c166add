"""In what two environments differ, so that numbers from them do not compare."""

import math
from typing import Any

PACKAGES = ("torchvision", "numpy", "scipy", "pillow", "scikit-image", "safetensors", "lpips")
"""Whose versions are recorded and compared, beside PyTorch's."""
_COMPARED = {
    "device": "device",
    "machine": "architecture",
    "cpu": "CPU",
    "cpu_logical_cores": "CPU cores",
    "cpu_usable_cores": "usable CPU cores",
    "memory_total_mb": "memory (MB)",
    "python": "Python",
    "torch": "PyTorch",
    "torch_commit": "PyTorch's build",
    "torch_threads": "PyTorch's threads",
    **{name.replace("-", "_"): name for name in PACKAGES},
    "variables": "environment variables",
    "code_version": "code version",
}
_SAME_MEMORY = 0.03
"""Share by which two machines of one size may differ in what memory their kernels leave."""
_COMPARED_ON_GPU = {
    "gpu": "GPU",
    "gpu_memory_mb": "GPU memory (MB)",
    "gpu_driver": "NVIDIA driver",
    "gpu_power_limit_w": "GPU power limit (W)",
    "gpu_ecc": "GPU memory's error correction",
    "cuda_runtime": "CUDA",
    "cudnn": "cuDNN",
}


def environment_differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Why numbers from environments ``a`` and ``b`` cannot be compared, a line each; empty if can.

    What changes by itself (time, clocks, load, free memory) is left out, and so is what only a GPU
    feels when both ran on the CPU. The index of a CUDA device does not count, its model does. Not
    counted are the megabytes of memory that a kernel keeps, and its version, which rented machines
    change every few weeks.
    """
    a, b = (_with_device_type(environment) for environment in (a, b))
    on_gpu = "cuda" in (a.get("device"), b.get("device"))
    compared = _COMPARED | (_COMPARED_ON_GPU if on_gpu else {})
    return [
        f"{label}: {_shown(a.get(key))} against {_shown(b.get(key))}"
        for key, label in compared.items()
        if not _same(key, a.get(key), b.get(key))
    ]


def _same(key: str, one: Any, other: Any) -> bool:
    if key == "memory_total_mb" and isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=_SAME_MEMORY)
    return bool(one == other)


def _with_device_type(environment: dict[str, Any]) -> dict[str, Any]:
    return environment | {"device": str(environment.get("device", "")).partition(":")[0]}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in sorted(value.items())) or "none"
    return "unknown" if value is None else str(value)

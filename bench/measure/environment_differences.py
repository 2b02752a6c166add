"""In what two environments differ, so that numbers from them do not compare."""

import math
import re
from collections.abc import Mapping
from typing import Any

SCHEMA = 2
"""Of what is recorded: since 2 quotas of containers, and variables by their prefixes."""
_SPEED = re.compile(
    "(ATEN|DNNL|ONEDNN|MKLDNN|MKL|OMP|GOMP|KMP|OPENBLAS|BLIS|MALLOC|TCMALLOC|TORCH|PYTORCH|CUDA"
    "|CUDNN|CUBLAS|CUBLASLT|NVIDIA_TF32)_.*|TORCHINDUCTOR_.*"
    "|GLIBC_TUNABLES|LD_PRELOAD|LRU_CACHE_CAPACITY|PYTHONMALLOC"
)
"""Environment variables that change speed or memory."""
_PLACES = re.compile(
    ".*_(HOME|PATH|DIR|DIRS|FILE|VERSION|VERSIONS|LOGS|ROOT)|CUDA_VISIBLE_DEVICES|.*_CACHE_DIR"
)
"""Of them, those that say where something lies or what it is called; cards are compared by name."""
_VARIABLES_OF_1 = frozenset(
    {
        *("CUBLAS_WORKSPACE_CONFIG", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING"),
        *("CUDA_MODULE_LOADING", "KMP_AFFINITY", "LD_PRELOAD", "MALLOC_ARENA_MAX"),
        *("MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "OMP_PROC_BIND"),
        *("ONEDNN_MAX_CPU_ISA", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"),
    }
)
"""Those that were recorded before: of all others, older runs say nothing."""

PACKAGES = ("torchvision", "numpy", "scipy", "pillow", "scikit-image", "safetensors", "lpips")
"""Whose versions are recorded and compared, beside PyTorch's."""
_COMPARED = {
    "device": "device",
    "machine": "architecture",
    "cpu": "CPU",
    "cpu_logical_cores": "CPU cores",
    "cpu_usable_cores": "usable CPU cores",
    "cpu_quota_cores": "the container's quota of CPU time (cores)",
    "memory_total_mb": "memory (MB)",
    "memory_limit_mb": "the container's limit of memory (MB)",
    "python": "Python",
    "torch": "PyTorch",
    "torch_commit": "PyTorch's build",
    "torch_threads": "PyTorch's threads",
    **{name.replace("-", "_"): name for name in PACKAGES},
    "code_version": "code version",
}
_SINCE_2 = frozenset({"cpu_quota_cores", "memory_limit_mb"})
"""Recorded where there is one; older runs do not say."""
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


def speed_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Of environment variables, those that change speed or memory, by name."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if _SPEED.fullmatch(name) and not _PLACES.fullmatch(name)
    }


def environment_differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Why numbers from environments ``a`` and ``b`` cannot be compared, a line each; empty if can.

    What changes by itself (time, clocks, load, free memory) is left out, and so is what only a GPU
    feels when both ran on the CPU. The index of a CUDA device does not count, its model does. Not
    counted are the megabytes of memory that a kernel keeps, and its version, which rented machines
    change every few weeks. What one side has not recorded, because it is older, is unknown and not
    different.
    """
    a, b = (_with_device_type(environment) for environment in (a, b))
    on_gpu = "cuda" in (a.get("device"), b.get("device"))
    compared = _COMPARED | (_COMPARED_ON_GPU if on_gpu else {})
    old = not all(map(_by_prefix, (a, b)))
    lines = [
        f"{label}: {_shown(a.get(key), key)} against {_shown(b.get(key), key)}"
        for key, label in compared.items()
        if not (old and key in _SINCE_2) and not _same(key, a.get(key), b.get(key))
    ]
    ours, theirs = _differing_variables(a, b)
    if ours or theirs:
        lines.append(f"environment variables: {_listed(ours)} against {_listed(theirs)}")
    return lines


def _by_prefix(environment: Mapping[str, Any]) -> bool:
    schema = environment.get("environment_schema")
    return isinstance(schema, int) and schema >= SCHEMA


def _differing_variables(
    a: Mapping[str, Any], b: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables of each side that are other, or not set, on the other side."""
    ours, theirs = a.get("variables"), b.get("variables")
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
        return {}, {}
    all_known = _by_prefix(a) and _by_prefix(b)
    names = {
        name
        for name in (*ours, *theirs)
        if ours.get(name) != theirs.get(name) and (all_known or name in _VARIABLES_OF_1)
    }
    left, right = ({n: side[n] for n in sorted(names) if n in side} for side in (ours, theirs))
    return left, right


def _same(key: str, one: Any, other: Any) -> bool:
    if (
        key.startswith("memory_")
        and isinstance(one, int | float)
        and isinstance(other, int | float)
    ):
        return math.isclose(one, other, rel_tol=_SAME_MEMORY)
    return bool(one == other)


def _with_device_type(environment: dict[str, Any]) -> dict[str, Any]:
    return environment | {"device": str(environment.get("device", "")).partition(":")[0]}


def _listed(variables: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in variables.items()) or "none"


def _shown(value: Any, key: str) -> str:
    if value is None:
        return "none" if key in _SINCE_2 else "unknown"
    return str(value)

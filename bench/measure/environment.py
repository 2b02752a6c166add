"""What a run was measured on: machine, versions and settings. Never initialises CUDA.

The GPU is asked through NVML only, so the process that collects this (the parent of the workers)
holds no CUDA context and takes no memory of the card. What cannot be found out is absent.
"""

import difflib
import importlib.metadata
import os
import platform
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pynvml
import torch

from bench.errors import EnvironmentUnfitError, UserError

_ROOT = Path(__file__).resolve().parents[2]
_DISTRIBUTION = "ultrastyle-bench"
_SOURCES = ("bench", "distill", "reports")
_PACKAGES = ("torchvision", "numpy", "scipy", "pillow", "scikit-image", "safetensors", "lpips")
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "KMP_AFFINITY",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "ONEDNN_MAX_CPU_ISA",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
)
"""Environment variables that change speed or memory; recorded when set."""


# ---------------------------------------------------------------------------------------- NVML


@contextmanager
def nvml() -> Iterator[Any | None]:
    """The initialised NVML binding, or None where there is no NVIDIA driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def ask_nvml(query: Callable[..., Any], *args: object) -> Any | None:
    """What ``query`` answers, or None where this card or driver does not support it."""
    try:
        return query(*args)
    except pynvml.NVMLError:
        return None


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
    with cards of different kinds the two agree when that is set.
    """
    with nvml() as api:
        if api is None:
            return []
        return [_gpu(api, index, handle) for index, handle in enumerate(_visible_handles(api))]


def _gpu(api: Any, index: int, handle: Any) -> Gpu:
    memory = ask_nvml(api.nvmlDeviceGetMemoryInfo, handle)
    return Gpu(
        index=index,
        uuid=str(ask_nvml(api.nvmlDeviceGetUUID, handle) or ""),
        name=str(ask_nvml(api.nvmlDeviceGetName, handle) or "unknown GPU"),
        memory_mb=memory.total / 1e6 if memory is not None else 0.0,
    )


def _visible_handles(api: Any) -> list[Any]:
    """NVML handles of the devices CUDA may use, by CUDA's rules for the variable.

    A list of indices or of (shortened) UUIDs; it ends at the first entry that names no device, and
    naming one twice leaves none.
    """
    present = [api.nvmlDeviceGetHandleByIndex(i) for i in range(api.nvmlDeviceGetCount())]
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return present
    uuids = [str(ask_nvml(api.nvmlDeviceGetUUID, handle) or "") for handle in present]
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
    api: Any, entry: str, present: list[Any], uuids: list[str]
) -> tuple[str, Any] | None:
    if entry.isdecimal():
        index = int(entry)
        return (uuids[index] or entry, present[index]) if index < len(present) else None
    if entry.startswith("MIG-"):
        handle = ask_nvml(api.nvmlDeviceGetHandleByUUID, entry)
        return None if handle is None else (entry, handle)
    if not entry.startswith("GPU-"):
        return None
    matches = [pair for pair in zip(uuids, present, strict=True) if pair[0].startswith(entry)]
    return matches[0] if len(matches) == 1 else None


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
        handles = _visible_handles(api) if api is not None else []
        if index >= len(handles):
            return {}
        facts = {key: ask_nvml(fact, api, handles[index]) for key, fact in _GPU_FACTS.items()}
    return {key: value for key, value in facts.items() if value is not None}


# -------------------------------------------------------------------------------------- device


def resolve_device(requested: str) -> str:
    """``cpu`` or ``cuda:N`` for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    ``auto`` is the first GPU if there is one and PyTorch was built for CUDA, else the CPU.

    Raises:
        UserError: for any other text.
        EnvironmentUnfitError: the GPU asked for is not there, or PyTorch was built without CUDA.
    """
    if requested == "cpu":
        return "cpu"
    if requested == "auto":
        return "cuda:0" if torch.version.cuda and gpus() else "cpu"
    kind, separator, number = requested.partition(":")
    if kind != "cuda" or (separator and not (number.isascii() and number.isdecimal())):
        raise UserError(_misspelt_device(requested))
    index = int(number or 0)
    _require_gpu(requested, index)
    return f"cuda:{index}"


def _misspelt_device(requested: str) -> str:
    near = difflib.get_close_matches(requested, ["auto", "cpu", "cuda", "cuda:0"], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"device: must be auto, cpu, cuda or cuda:N (N from 0), got {requested!r}{hint}"


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


# ---------------------------------------------------------------------------------------- code


def code_version() -> str:
    """Version of the measuring code: ``VERSION``, or ``VERSION+COMMIT[+dirty]`` in a checkout.

    ``dirty``: a tracked file of the source folders differs from the commit.
    """
    commit = _commit()
    if commit is None:
        return _package_version()
    return f"{_package_version()}+{commit}{'+dirty' if _dirty() else ''}"


def _package_version() -> str:
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        project = _ROOT / "pyproject.toml"
        if not project.is_file():
            return "unknown"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _commit() -> str | None:
    """Short commit if the package lies in the project's own checkout."""
    # A virtual environment inside some other project's checkout must not report that one's commit.
    if not (_ROOT / ".git").exists():
        return None
    return _git("rev-parse", "--short=10", "HEAD")


def _dirty() -> bool:
    return bool(_git("status", "--porcelain", "--untracked-files=no", "--", *_SOURCES))


def _git(*arguments: str) -> str | None:
    """Output of git in the project's root; None where git is missing or refuses."""
    # Inside a git hook these variables point at another index or work tree.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(_ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


# --------------------------------------------------------------------------------- environment


def collect_environment(device: str) -> dict[str, Any]:
    """Flat, JSON-able facts on what a run on ``device`` is measured with.

    Units are in the names (``MB`` is 10^6 bytes). What cannot be found out is absent; facts on the
    GPU are there for a CUDA device only.
    """
    facts = {
        "collected_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        **_machine_facts(),
        **_software_facts(),
        **_code_facts(),
        **(_gpu_facts(device) if device.startswith("cuda") else {}),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _machine_facts() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {
        "platform": platform.platform(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpu_physical_cores": psutil.cpu_count(logical=False),
        "cpu_logical_cores": psutil.cpu_count(logical=True),
        "cpu_usable_cores": _usable_cores(),
        "memory_total_mb": memory.total / 1e6,
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


def _usable_cores() -> int | None:
    """Logical cores this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _software_facts() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torch_commit": torch.version.git_version,
        "torch_threads": torch.get_num_threads(),
        "cuda_runtime": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        **{name.replace("-", "_"): _installed(name) for name in _PACKAGES},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _code_facts() -> dict[str, Any]:
    commit = _commit()
    return {
        "package_version": _package_version(),
        "code_version": code_version(),
        "git_commit": commit,
        "git_dirty": None if commit is None else _dirty(),
    }


# ---------------------------------------------------------------------------------- comparison

_COMPARED = {
    "device": "device",
    "cpu": "CPU",
    "cpu_usable_cores": "usable CPU cores",
    "python": "Python",
    "torch": "PyTorch",
    "torch_commit": "PyTorch's build",
    "torch_threads": "PyTorch's threads",
    **{name.replace("-", "_"): name for name in _PACKAGES},
    "variables": "environment variables",
    "code_version": "code version",
}
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
    feels when both ran on the CPU. The index of a CUDA device does not count, its model does.
    """
    a, b = (_with_device_type(environment) for environment in (a, b))
    on_gpu = "cuda" in (a.get("device"), b.get("device"))
    compared = _COMPARED | (_COMPARED_ON_GPU if on_gpu else {})
    return [
        f"{label}: {_shown(a.get(key))} against {_shown(b.get(key))}"
        for key, label in compared.items()
        if a.get(key) != b.get(key)
    ]


def _with_device_type(environment: dict[str, Any]) -> dict[str, Any]:
    return environment | {"device": str(environment.get("device", "")).partition(":")[0]}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in sorted(value.items())) or "none"
    return "unknown" if value is None else str(value)

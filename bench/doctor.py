"""What this machine has and lacks for benchmarks: `bench doctor`."""

import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from bench.errors import UserError
from bench.measure.code_version import code_version, git_problem
from bench.measure.devices import gpus
from bench.measure.readable import readable_counters
from bench.stylizers.cascade import native_on_cpu
from distill.host import core_numbers, cpu_quota, killed_together, limit_threads, usable_memory
from distill.perceptual import Lpips, cached_backbone
from distill.weights import load_named


@dataclass(frozen=True)
class Check:
    """One finding."""

    ok: bool
    text: str
    essential: bool = False
    """Whether nothing works without it."""


def examine() -> Iterator[Check]:
    """Findings, the essential ones first."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check(sys.version_info >= (3, 11), f"Python {version} (3.11 or later)", essential=True)
    limit_threads()
    problem = git_problem()
    yield Check(problem is None, "; ".join(filter(None, [f"code {code_version()}", problem])))
    yield Check(True, f"PyTorch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    yield _embedded()
    yield from _devices()
    yield from _shares()
    yield Check(
        hasattr(resource, "RLIMIT_DATA") and sys.platform == "linux",
        "memory caps on the CPU (Linux, RLIMIT_DATA)",
    )
    yield Check(
        Path("/proc/self/clear_refs").exists(), "peaks of resident memory (/proc/self/clear_refs)"
    )
    for ok, text in readable_counters():
        yield Check(ok, text)
    yield Check(native_on_cpu("bf16"), "native bf16 convolutions on this CPU")
    yield Check(native_on_cpu("fp16"), "native fp16 convolutions on this CPU")
    yield _lpips()
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Check(free > 1, f"{free:.0f} GB free on the disk of this folder")


def _embedded() -> Check:
    try:
        load_named("vgg16-normalised")
    except UserError as error:
        return Check(False, str(error), essential=True)
    return Check(True, "embedded VGG-16, checksum right", essential=True)


def _shares() -> Iterator[Check]:
    """Cores and memory that may be had, which a container makes fewer than the machine's."""
    cores, quota = len(core_numbers()), cpu_quota()
    few = "" if quota is None else f", time of {quota:.3g} of them (the container's quota)"
    yield Check(True, f"{cores} CPU cores{few}")
    memory = usable_memory()
    machine = psutil.virtual_memory().total / 1e9
    of = f" of the machine's {machine:.1f}, by {memory.limited_by}" if memory.limited_by else ""
    yield Check(
        True, f"{memory.total / 1e9:.1f} GB of memory{of}; {memory.available / 1e9:.1f} GB free"
    )
    if killed_together():
        yield Check(
            False,
            "a cell that lacks memory ends alone: this container ends whole (memory.oom.group); "
            "set memory_cap below its limit",
        )


def _lpips() -> Check:
    if (cached := cached_backbone()) is not None:
        return Check(True, f"AlexNet features for LPIPS, in torch's cache ({cached})")
    try:
        found = Lpips("embedded", "cpu")
    except UserError as error:
        return Check(False, f"AlexNet features for LPIPS: {error}")
    return Check(True, f"AlexNet features for LPIPS ({found.backbone})")


def _devices() -> Iterator[Check]:
    found = gpus()
    if not found:
        yield Check(False, "an NVIDIA GPU with its driver: none; benchmarks run on the CPU")
    for gpu in found:
        text = f"GPU cuda:{gpu.index}: {gpu.name}, {gpu.memory_mb / 1e3:.0f} GB"
        yield Check(torch.version.cuda is not None, text)

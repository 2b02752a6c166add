"""The cards that CUDA's driver sees, asked without NVML and without CUDA in this process.

The driver is asked in a process of its own, which runs this file: a process that has started CUDA
can no longer be forked.
"""

import ctypes
import json
import subprocess
import sys
from typing import Any

_LIBRARY = "libcuda.so.1"
_NAME_BYTES = 256
_LONGEST_S = 60.0


def cards_of_driver() -> list[tuple[str, str, float]]:
    """UUID, name and memory in MB of each card, in CUDA's order; empty without a driver.

    ``CUDA_VISIBLE_DEVICES`` is heeded by the driver.
    """
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return []
    try:
        done = subprocess.run(
            [sys.executable, "-I", __file__], capture_output=True, timeout=_LONGEST_S, check=True
        )
        return [(str(uuid), str(name), float(mb)) for uuid, name, mb in json.loads(done.stdout)]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def ask_driver(driver: Any) -> list[tuple[str, str, float]]:
    """As :func:`cards_of_driver`, of the loaded library; it starts CUDA."""
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [card for card in map(_card, [driver] * count.value, range(count.value)) if card]


def _card(driver: Any, index: int) -> tuple[str, str, float] | None:
    device = ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    memory = ctypes.c_size_t()
    uuid = (ctypes.c_ubyte * 16)()
    if driver.cuDeviceGet(ctypes.byref(device), index):
        return None
    failed = (
        driver.cuDeviceGetName(name, _NAME_BYTES, device)
        or driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        or driver.cuDeviceGetUuid(ctypes.byref(uuid), device)
    )
    if failed:
        return "", "unknown GPU", 0.0
    digits = bytes(uuid).hex()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return f"GPU-{'-'.join(parts)}", name.value.decode(errors="replace"), memory.value / 1e6


if __name__ == "__main__":
    print(json.dumps(ask_driver(ctypes.CDLL(_LIBRARY))))

"""A stand-in for the NVML binding: one card, of which any function can be refused or broken."""

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

ERRORS = {
    "no permission": pynvml.NVML_ERROR_NO_PERMISSION,
    "not supported": pynvml.NVML_ERROR_NOT_SUPPORTED,
    "unknown": pynvml.NVML_ERROR_UNKNOWN,
    "lost": pynvml.NVML_ERROR_GPU_IS_LOST,
}


class FakeCard:
    """The binding's module, for a card GPU-1234 that works at 300 W, 1500 MHz and 60 degrees.

    ``broken`` maps the name of a function to an error's number, which it raises, or to a function
    in its place.
    """

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __init__(self, **broken: int | Callable[..., Any]) -> None:
        self.broken = broken
        self.open = 0
        self.millijoules = 10**9
        self.sm_clocks = [1500]
        self.reasons = 0
        self.pids = [os.getpid()]

    def __getattribute__(self, name: str) -> Any:
        broken = object.__getattribute__(self, "__dict__").get("broken", {})
        if name not in broken:
            return object.__getattribute__(self, name)
        instead = broken[name]
        if callable(instead):
            return instead

        def refuse(*_: Any) -> None:
            raise pynvml.NVMLError(instead)

        return refuse

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        assert uuid == "GPU-1234"
        return "card"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        return self.millijoules

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return 300_000

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return 60

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:  # noqa: N802
        if kind == self.NVML_CLOCK_MEM:
            return 2600
        return self.sm_clocks.pop(0) if len(self.sm_clocks) > 1 else self.sm_clocks[0]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:  # noqa: N802
        return self.reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        return self.reasons

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=10**6) for pid in self.pids]


def install(monkeypatch: pytest.MonkeyPatch, card: FakeCard) -> FakeCard:
    """Have the code under test find the card, as ``cuda:0``."""
    monkeypatch.setattr("bench.measure.nvml.pynvml", card)
    properties = SimpleNamespace(uuid="1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return card

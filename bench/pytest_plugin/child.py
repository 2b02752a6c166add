"""The measuring process: a test run up to one of its checks, which is measured."""

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from bench.pytest_plugin.fixture import Check

Role = Literal["run", "against"]
VARIABLE = "ULTRASTYLE_BENCH_PERFORMANCE_ORDER"
"""Environment variable with an :class:`Order`; what has it set measures and judges nothing."""
WARMUP = 2
MIN_REPEATS = 5
_MAX_REPEATS = 1000
_TARGET_CI = 0.01
_SHORTEST_MS = 1.0
"""A sample is of as many calls as last this long: the clock must not show in it."""


@dataclass(frozen=True)
class Order:
    """What a measuring process is to do."""

    fullname: str
    """Of the check."""
    role: Role
    """Which of its callables."""
    device: str
    time_s: float
    output: str
    """File for what was measured: JSON, by field of the record."""

    def text(self) -> str:
        """For the environment variable."""
        return json.dumps(asdict(self))

    def carry_out(self, check: "Check") -> None:
        """Measure if this is the check; end the test then, and go on if it is another."""
        __tracebackhide__ = True
        if check.fullname != self.fullname:
            return
        run = check.run if self.role == "run" else check.against
        if run is None:
            pytest.fail("has nothing to be compared with in the measuring process", pytrace=False)
        values = measure_callable(run, device=self.device, time_s=self.time_s)
        Path(self.output).write_text(json.dumps(values), encoding="ascii")
        pytest.skip("measured")


def order_of_parent() -> Order | None:
    """What the process that started this one asks for; None if this one was not started so."""
    text = os.environ.get(VARIABLE)
    return None if text is None else Order(**json.loads(text))


def measure_callable(run: Callable[[], object], *, device: str, time_s: float) -> dict[str, float]:
    """Times and the peak memory of one call, by field of the record.

    The first call, one for the memory (before the repeats have left holes in the heap, and with
    large blocks out of it, so that processes agree to a megabyte), warm-up, and repeats until the
    median is known to 1 % or ``time_s`` seconds are over.
    """
    from bench.measure.heap import large_blocks_mapped
    from bench.measure.latency import clock_for, measure_latency
    from bench.measure.memory import meter_for

    meter, clock = meter_for(device), clock_for(device)
    with large_blocks_mapped():
        meter.baseline()
        first = clock.time(run)
        if device == "cpu" and _has_used_cuda():
            pytest.fail("CUDA is in use: measure with --performance-device cuda", pytrace=False)
        meter.start()
        run()
        peaks = meter.stop()
    once_ms = clock.time(run).wall_ms if first.wall_ms < _SHORTEST_MS else first.wall_ms
    calls = max(1, math.ceil(_SHORTEST_MS / max(once_ms, 1e-5)))

    def sample() -> None:
        for _ in range(calls):
            run()

    latency = measure_latency(
        run if calls == 1 else sample,
        clock=clock,
        warmup=WARMUP,
        min_repeats=MIN_REPEATS,
        max_repeats=_MAX_REPEATS,
        target_ci=_TARGET_CI,
        budget_s=time_s,
    )
    values = {"latency_ms": latency.median_ms / calls, "first_call_ms": first.wall_ms}
    if latency.device_median_ms is not None:
        values["device_latency_ms"] = latency.device_median_ms / calls
    return values | peaks


def _has_used_cuda() -> bool:
    torch: Any = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())

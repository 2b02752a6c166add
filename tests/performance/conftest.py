"""Peak memory beside pytest-benchmark's times, and what both were measured on."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Versions and settings too, so that `bench compare` refuses others."""
    from bench.measure.environment import collect_environment

    machine_info["environment"] = collect_environment(_device())


def _device() -> str:
    from bench.measure.devices import resolve_device

    return resolve_device(os.environ.get("ULTRASTYLE_BENCH_DEVICE", "auto"))


@pytest.fixture(scope="session")
def timed(request: pytest.FixtureRequest) -> bool:
    """Whether benchmarks are timed; else they run once, to see that they run, and may be small."""
    options = request.config.option
    return bool(options.benchmark_enable or not options.benchmark_disable)


@pytest.fixture
def device() -> str:
    """``cpu``, or the first GPU where there is one."""
    return _device()


@pytest.fixture
def metered(benchmark: Any, device: str) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Benchmark a callable, and put the peak memory of a call of its own into ``extra_info``.

    Under the names of a record: ``peak_rss_growth_mb`` on a CPU, ``peak_allocated_mb`` on CUDA.
    Where benchmarks are disabled, the callable is called once.
    """
    import torch

    from bench.measure.heap import large_blocks_mapped
    from bench.measure.memory import meter_for

    def measure(run: Callable[[], object]) -> None:
        def synchronised() -> None:
            run()
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)

        if benchmark.disabled:
            benchmark(synchronised)
            return
        with ThreadPoolExecutor(1) as thread:
            benchmark.extra_info.update(thread.submit(peak_of, synchronised).result())
        benchmark(synchronised)

    def peak_of(run: Callable[[], object]) -> dict[str, float]:
        """Of the second call, in a thread: that has a heap of its own.

        The other has holes that the benchmarks before this one have left.
        """
        with torch.inference_mode(), large_blocks_mapped():
            meter = meter_for(device)
            run()
            meter.start()
            run()
            return meter.stop()

    with torch.inference_mode():
        yield measure

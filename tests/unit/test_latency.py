import gc
import math
import weakref

import pytest
import torch

from bench.measure.latency import (
    Timing,
    clock_for,
    measure_latency,
    throughput_seconds_per_call,
)
from bench.record import Record


class FakeClock:
    """Plays given wall times (ms) in a loop, on a time of its own."""

    def __init__(self, walls_ms, device_ms=None):
        self.walls_ms = walls_ms
        self.device_ms = device_ms
        self.calls = 0
        self.elapsed_s = 0.0

    def time(self, run):
        run()
        wall_ms = self.walls_ms[self.calls % len(self.walls_ms)]
        self.calls += 1
        self.elapsed_s += wall_ms / 1e3
        return Timing(wall_ms, self.device_ms)

    def now(self):
        return self.elapsed_s


def measure(clock, run=lambda: None, **changes):
    settings = {
        "warmup": 0,
        "min_repeats": 5,
        "max_repeats": 50,
        "target_ci": 0.02,
        "budget_s": math.inf,
    }
    return measure_latency(run, clock=clock, now=clock.now, **(settings | changes))


def test_steady_times_stop_as_soon_as_an_interval_exists():
    latency = measure(FakeClock([100.0]))
    assert latency.samples_ms == [100.0] * 6
    assert latency.converged
    assert (latency.ci_low_ms, latency.median_ms, latency.ci_high_ms) == (100, 100, 100)


def test_min_repeats_are_made_though_the_interval_is_narrow():
    assert len(measure(FakeClock([100.0]), min_repeats=20).samples_ms) == 20


def test_noisy_times_go_on_to_max_repeats_and_say_that_they_did_not_converge():
    latency = measure(FakeClock([100.0, 150.0]), max_repeats=30)
    assert len(latency.samples_ms) == 30
    assert not latency.converged


def test_it_stops_at_the_first_count_whose_interval_is_within_the_target():
    walls = [100.0, 104.0, 98.0, 101.0, 99.0, 100.5, 100.2, 99.8, 100.1, 99.9, 100.0, 100.0]
    latency = measure(FakeClock(walls), target_ci=0.01)
    half = (latency.ci_high_ms - latency.ci_low_ms) / 2
    assert latency.converged
    assert half <= 0.01 * latency.median_ms
    shorter = measure(FakeClock(walls), target_ci=0.01, max_repeats=len(latency.samples_ms) - 1)
    assert not shorter.converged


def test_a_call_that_would_pass_the_budget_is_not_made():
    clock = FakeClock([1000.0])
    latency = measure(clock, budget_s=4.5)
    assert len(latency.samples_ms) == 4
    assert clock.elapsed_s <= 4.5
    assert not latency.converged


def test_one_sample_is_taken_whatever_the_budget():
    latency = measure(FakeClock([60_000.0]), budget_s=0.001)
    assert latency.samples_ms == [60_000.0]
    assert latency.median_ms == 60_000
    assert latency.ci_low_ms is None
    assert latency.ci_high_ms is None


def test_warm_up_calls_are_counted_and_not_among_the_samples():
    latency = measure(FakeClock([900.0, 500.0, *[100.0] * 20]), warmup=2)
    assert latency.warmup == 2
    assert set(latency.samples_ms) == {100.0}


def test_warm_up_leaves_time_for_a_sample():
    clock = FakeClock([1000.0])
    latency = measure(clock, warmup=10, budget_s=3.5)
    assert latency.warmup == 2
    assert latency.samples_ms == [1000.0]
    assert clock.elapsed_s <= 3.5


def test_outliers_are_kept_and_named():
    latency = measure(FakeClock([10.0, 10.1, 9.9, 500.0, 10.0, 10.1, 9.9, 10.0]), max_repeats=8)
    assert 500.0 in latency.samples_ms
    assert [latency.samples_ms[i] for i in latency.outliers] == [500.0]


def test_device_times_stand_apart_from_wall_times():
    latency = measure(FakeClock([100.0], device_ms=80.0))
    assert latency.device_median_ms == 80
    assert latency.device_samples_ms == [80.0] * len(latency.samples_ms)
    assert latency.median_ms == 100


def test_the_record_takes_every_field():
    fields = measure(FakeClock([100.0])).record_fields()
    assert set(fields) <= set(Record.model_fields)
    assert fields["repeats"] == len(fields["latency_samples_ms"])
    assert fields["device_latency_ms"] is None
    assert fields["device_samples_ms"] is None


@pytest.mark.parametrize(("low", "high"), [(0, 5), (6, 5)])
def test_impossible_repeats_are_refused(low, high):
    with pytest.raises(ValueError, match="1 <= min <= max"):
        measure(FakeClock([1.0]), min_repeats=low, max_repeats=high)


class _Output:
    pass


class _Model:
    """Counts, at each call, the earlier outputs that are still alive."""

    def __init__(self):
        self.made = []
        self.alive_at_call = []

    def __call__(self):
        self.alive_at_call.append(sum(reference() is not None for reference in self.made))
        output = _Output()
        self.made.append(weakref.ref(output))
        return output


def test_no_output_is_alive_when_the_next_call_starts():
    gc.disable()
    try:
        model = _Model()
        measure_latency(
            model,
            clock=clock_for("cpu"),
            warmup=3,
            min_repeats=5,
            max_repeats=5,
            target_ci=0.02,
            budget_s=60,
        )
        throughput_seconds_per_call(model, device="cpu", repeats=4)
    finally:
        gc.enable()
    assert model.alive_at_call == [0] * 12


def test_throughput_is_the_time_of_all_calls_over_their_number(monkeypatch):
    seconds = iter([100.0, 102.0])
    monkeypatch.setattr("bench.measure.latency.time.perf_counter", lambda: next(seconds))
    calls = []
    assert throughput_seconds_per_call(lambda: calls.append(1), device="cpu", repeats=8) == 0.25
    assert len(calls) == 8


def test_throughput_of_no_calls_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        throughput_seconds_per_call(lambda: None, device="cpu", repeats=0)


def test_the_cpu_clock_has_no_device_time():
    timing = clock_for("cpu").time(lambda: sum(range(1000)))
    assert timing.wall_ms > 0
    assert timing.device_ms is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_cuda_clock_waits_for_the_device():
    clock = clock_for("cuda:0")
    matrix = torch.randn(4096, 4096, device="cuda:0")
    clock.time(lambda: matrix @ matrix)
    timing = clock.time(lambda: [matrix @ matrix for _ in range(10)])
    # 10 products of 4096: 1.4 TFLOP; returning at once would take microseconds.
    assert timing.device_ms > 1
    assert timing.wall_ms >= timing.device_ms * 0.95

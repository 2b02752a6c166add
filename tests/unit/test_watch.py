import dataclasses
import os
import time
from types import SimpleNamespace

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure import card_watch, host_watch
from bench.measure.card_watch import CardWatch, reason_names
from bench.measure.conditions import DISTURBANCES, disturbances, labels
from bench.measure.host_watch import HostState, host_fields
from bench.measure.readable import readable_counters
from bench.measure.watch import Watch
from bench.record import Record
from distill import host
from tests.unit.nvml_data import ERRORS, FakeCard, install

# ------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("watched", "device", "expected"),
    [
        ({}, "cpu", []),
        ({"cpu_thermal_throttles": 1}, "cpu", ["throttled"]),
        ({"cgroup_throttled_ms": 30.0}, "cpu", ["throttled"]),
        ({"cgroup_throttled_ms": 15.0}, "cpu", []),
        ({"other_load_cores": 0.3}, "cpu", ["shared"]),
        ({"other_load_cores": 0.1}, "cpu", []),
        # Where a card computes, the host only has to have room left.
        ({"other_load_cores": 0.9}, "cuda:0", []),
        ({"other_load_cores": 1.5}, "cuda:0", ["shared"]),
        ({"gpu_other_processes": 1}, "cuda:0", ["shared"]),
        ({"gpu_other_processes": 0}, "cuda:0", []),
        ({"steal_cores": 0.2}, "cpu", ["stolen"]),
        ({"steal_cores": 0.05}, "cpu", []),
        ({"swapped_mb": 5.0}, "cpu", ["swapping"]),
        ({"cpu_mhz_start": 3000.0, "cpu_mhz_end": 2600.0}, "cpu", ["clock_changed"]),
        ({"cpu_mhz_start": 3000.0, "cpu_mhz_end": 2800.0}, "cpu", []),
        ({"cpu_mhz_start": 3000.0, "cpu_mhz_end": 2600.0}, "cuda:0", []),
        (
            {"gpu_sm_clock_min_mhz": 1300.0, "gpu_sm_clock_max_mhz": 1500.0},
            "cuda:0",
            ["clock_changed"],
        ),
        ({"gpu_sm_clock_min_mhz": 1450.0, "gpu_sm_clock_max_mhz": 1500.0}, "cuda:0", []),
        ({"gpu_clock_reasons": ["hw_thermal_slowdown"]}, "cuda:0", ["throttled"]),
        ({"gpu_clock_reasons": ["sw_thermal_slowdown", "gpu_idle"]}, "cuda:0", ["throttled"]),
        ({"gpu_clock_reasons": ["gpu_idle", "applications_clocks_setting"]}, "cuda:0", []),
        ({"gpu_clock_reasons": ["sw_power_cap"]}, "cuda:0", ["power_capped"]),
    ],
)
def test_a_label_stands_for_a_value_beyond_its_threshold(watched, device, expected):
    assert labels({"watched_s": 2.0, **watched}, device=device, cores=2) == expected


def test_a_load_within_the_kernels_counting_is_none():
    # Two cores' time is counted in steps of 10 ms: in 50 ms that is 0.4 cores.
    assert labels({"watched_s": 0.05, "other_load_cores": 0.45}, device="cpu", cores=2) == []
    assert labels({"watched_s": 5.0, "other_load_cores": 0.45}, device="cpu", cores=2) != []


def test_the_load_that_is_allowed_grows_with_the_machine():
    watched = {"watched_s": 10.0, "other_load_cores": 2.0}
    assert labels(watched, device="cpu", cores=4) == ["shared"]
    assert labels(watched, device="cpu", cores=64) == []


def test_a_power_limit_is_a_label_that_no_repeat_is_rid_of():
    assert disturbances(["power_capped", "shared"]) == ["shared"]
    assert disturbances(None) == []


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none() | st.floats(0, 1e6)
            for name in (
                *("watched_s", "other_load_cores", "steal_cores", "swapped_mb", "cpu_mhz_start"),
                *("cpu_mhz_end", "cpu_thermal_throttles", "cgroup_throttled_ms"),
                *("gpu_sm_clock_min_mhz", "gpu_sm_clock_max_mhz", "gpu_other_processes"),
            )
        },
    )
)
def test_whatever_is_known_or_not_gives_labels_and_no_error(watched):
    for device in ("cpu", "cuda:0"):
        found = labels(watched, device=device, cores=2)
        assert set(found) <= {*DISTURBANCES, "power_capped"}
        assert len(set(found)) == len(found)


# --------------------------------------------------------------------------------------------- host

QUIET = HostState(
    at_s=10.0,
    busy_s=100.0,
    own_s=50.0,
    steal_s=3.0,
    mhz=2600.0,
    thermal_throttles=7,
    cgroup_throttled_s=1.0,
    swapped_bytes=0,
)


def test_other_load_is_what_the_cores_did_less_what_this_process_did():
    later = dataclasses.replace(
        QUIET, at_s=14.0, busy_s=107.0, own_s=54.0, steal_s=3.4, thermal_throttles=9
    )
    later = dataclasses.replace(later, cgroup_throttled_s=1.25, swapped_bytes=3 * 10**6)
    assert host_fields(QUIET, later) == pytest.approx(
        {
            "watched_s": 4.0,
            "other_load_cores": 0.75,
            "steal_cores": 0.1,
            "cpu_mhz_start": 2600.0,
            "cpu_mhz_end": 2600.0,
            "cpu_thermal_throttles": 2,
            "cgroup_throttled_ms": 250.0,
            "swapped_mb": 3.0,
        }
    )


def test_counting_errors_make_no_negative_load_and_a_counter_reset_no_number():
    later = dataclasses.replace(QUIET, at_s=11.0, busy_s=101.9, own_s=52.0, thermal_throttles=0)
    fields = host_fields(QUIET, later)
    assert fields["other_load_cores"] == 0.0
    assert fields["cpu_thermal_throttles"] is None


def test_what_cannot_be_read_is_absent_with_its_reason(monkeypatch):
    gone = dict.fromkeys(
        ("steal_s", "mhz", "thermal_throttles", "cgroup_throttled_s", "swapped_bytes")
    )
    states = iter(
        dataclasses.replace(QUIET, at_s=at, busy_s=100 + at, own_s=50 + at, **gone)
        for at in (10.0, 12.0)
    )
    monkeypatch.setattr(HostState, "now", lambda: next(states))
    with Watch("cpu") as watch:
        pass
    assert watch.fields["conditions"] == []
    assert set(watch.fields) == {
        "watched_s",
        "other_load_cores",
        "conditions",
        "conditions_absent",
    }
    assert set(watch.fields["conditions_absent"]) == {
        "steal_cores",
        "cpu_mhz_start",
        "cpu_thermal_throttles",
        "cgroup_throttled_ms",
        "swapped_mb",
    }


def test_thermal_counters_of_cores_add_up_and_a_packages_counts_once(tmp_path, monkeypatch):
    monkeypatch.setattr(host_watch, "SYSTEM", tmp_path)
    for core, counts in enumerate(({"core": 2, "package": 5}, {"core": 3, "package": 5})):
        folder = tmp_path / f"devices/system/cpu/cpu{core}/thermal_throttle"
        folder.mkdir(parents=True)
        for kind, number in counts.items():
            (folder / f"{kind}_throttle_count").write_text(f"{number}\n")
    assert host_watch._thermal_throttles([0, 1]) == 10
    assert host_watch._thermal_throttles([1]) == 8
    assert host_watch._thermal_throttles([2]) is None


@pytest.mark.parametrize(
    ("membership", "files", "seconds"),
    [
        ("0::/a", {"a/cpu.stat": "nr_throttled 3\nthrottled_usec 1500000\n"}, 1.5),
        ("2:cpu,cpuacct:/", {"cpu,cpuacct/cpu.stat": "throttled_time 2500000000\n"}, 2.5),
        (
            "0::/a",
            {"a/cpu.stat": "throttled_usec 1000000\n", "cpu.stat": "throttled_usec 500000\n"},
            1.5,
        ),
        ("0::/a", {"a/cpu.stat": "usage_usec 3\n"}, None),
    ],
)
def test_time_stopped_by_quotas_is_read_of_either_version(
    tmp_path, monkeypatch, membership, files, seconds
):
    monkeypatch.setattr(host, "PROC", tmp_path / "proc")
    monkeypatch.setattr(host, "CGROUPS", tmp_path / "cgroup")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"{membership}\n")
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    assert host_watch._cgroup_throttled_s() == seconds


def test_a_busy_process_is_not_its_own_disturbance():
    before = HostState.now()
    until = time.process_time() + 0.5
    while time.process_time() < until:
        pass
    after = HostState.now()
    own = after.own_s - before.own_s
    assert own == pytest.approx(0.5, abs=0.1)
    # Its work is among that of the cores, but for their steps.
    assert after.busy_s - before.busy_s >= own - 0.1 * len(host.core_numbers())


# --------------------------------------------------------------------------------------------- card


def watched(card):
    with CardWatch("cuda:0") as watch:
        pass
    assert card.open == 0
    return watch


def test_a_card_is_watched_in_a_records_fields(monkeypatch):
    watch = watched(install(monkeypatch, FakeCard()))
    assert watch.fields == {
        "gpu_sm_clock_min_mhz": 1500,
        "gpu_sm_clock_max_mhz": 1500,
        "gpu_memory_clock_min_mhz": 2600,
        "gpu_memory_clock_max_mhz": 2600,
        "gpu_temperature_start_c": 60,
        "gpu_temperature_end_c": 60,
        "gpu_power_mean_w": 300,
        "gpu_power_max_w": 300,
        "gpu_clock_reasons": [],
        "gpu_other_processes": 0,
    }
    assert set(watch.fields) <= set(Record.model_fields)
    assert watch.absent == {}


FIELDS_OF = {
    "nvmlDeviceGetTemperature": {"gpu_temperature_start_c", "gpu_temperature_end_c"},
    "nvmlDeviceGetPowerUsage": {"gpu_power_mean_w", "gpu_power_max_w"},
    "nvmlDeviceGetComputeRunningProcesses": {"gpu_other_processes"},
    "nvmlDeviceGetClockInfo": {
        "gpu_sm_clock_min_mhz",
        "gpu_sm_clock_max_mhz",
        "gpu_memory_clock_min_mhz",
        "gpu_memory_clock_max_mhz",
    },
}


@pytest.mark.parametrize("function", FIELDS_OF)
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_counter_that_is_refused_is_absent_with_its_reason(monkeypatch, function, error):
    whole = watched(install(monkeypatch, FakeCard())).fields
    watch = watched(install(monkeypatch, FakeCard(**{function: error})))
    assert set(watch.absent) == FIELDS_OF[function]
    assert all(str(pynvml.NVMLError(error)) in why for why in watch.absent.values())
    assert watch.fields == {k: v for k, v in whole.items() if k not in FIELDS_OF[function]}


@pytest.mark.parametrize("garbage", [None, "hot", float("inf"), -3, 10**9, [{}]])
def test_garbage_is_absent_with_its_reason(monkeypatch, garbage):
    broken = {name: lambda *_: garbage for name in FIELDS_OF}
    watch = watched(install(monkeypatch, FakeCard(**broken)))
    assert watch.fields == {"gpu_clock_reasons": []}
    assert set(watch.absent) == set().union(*FIELDS_OF.values())


def test_without_nvml_nothing_is_watched_and_each_field_says_why(monkeypatch):
    card = install(monkeypatch, FakeCard(nvmlInit=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    watch = watched(card)
    assert watch.fields == {}
    assert "gpu_clock_reasons" in watch.absent
    assert all("NVML could not be started" in why for why in watch.absent.values())
    monkeypatch.setattr(HostState, "now", lambda: QUIET)
    with Watch("cuda:0") as both:
        pass
    assert both.fields["conditions"] == []
    assert "gpu_sm_clock_min_mhz" in both.fields["conditions_absent"]
    assert "cpu_mhz_start" not in both.fields["conditions_absent"]


def test_reasons_are_named_and_an_older_driver_is_asked_by_the_older_name(monkeypatch):
    refused = {"nvmlDeviceGetCurrentClocksEventReasons": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
    card = install(monkeypatch, FakeCard(**refused))
    card.reasons = 0x4 | 0x40
    watch = watched(card)
    assert watch.fields["gpu_clock_reasons"] == ["hw_thermal_slowdown", "sw_power_cap"]
    refused["nvmlDeviceGetCurrentClocksThrottleReasons"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    watch = watched(install(monkeypatch, FakeCard(**refused)))
    assert set(watch.absent) == {"gpu_clock_reasons"}


def test_the_names_of_reasons_are_nvmls():
    for name, bit in vars(pynvml).items():
        words = name.removeprefix("nvmlClocksEventReason").removeprefix("nvmlClocksThrottleReason")
        if words == name or not isinstance(bit, int) or bin(bit).count("1") != 1:
            continue
        if words != "UserDefinedClocks":  # an older name of ApplicationsClocksSetting
            (found,) = reason_names(bit)
            assert found.replace("_", "") == words.lower()
    assert reason_names(0) == []
    assert reason_names(1 << 40) == ["bit_40"]


def test_clocks_of_an_idle_card_say_nothing(monkeypatch):
    card = install(monkeypatch, FakeCard())
    monkeypatch.setattr(card_watch, "_INTERVAL_S", 0.01)
    with CardWatch("cuda:0") as watch:
        card.sm_clocks, card.reasons = [300], 1
        while len(watch._sampler.readings) < 3:
            time.sleep(0.01)
        card.sm_clocks, card.reasons = [1500], 0
        seen = len(watch._sampler.readings)
        while len(watch._sampler.readings) < seen + 3:
            time.sleep(0.01)
    assert watch.fields["gpu_sm_clock_max_mhz"] == 1500
    # A sample can begin before and end after the change.
    assert watch.fields["gpu_clock_reasons"] == []


def test_a_clock_that_falls_while_it_works_is_seen(monkeypatch):
    card = install(monkeypatch, FakeCard())
    monkeypatch.setattr(card_watch, "_INTERVAL_S", 0.01)
    card.sm_clocks = [1500, 1500, 1200, 1450]
    with CardWatch("cuda:0") as watch:
        while len(watch._sampler.readings) < 4:
            time.sleep(0.01)
    assert watch.fields["gpu_sm_clock_min_mhz"] == 1200
    assert labels(watch.fields, device="cuda:0", cores=2) == ["clock_changed"]


@pytest.mark.parametrize(
    ("pids", "others"),
    [
        ([os.getpid()], 0),
        ([os.getpid(), -7, -8], 2),
        ([], 0),
        # In a container no entry has this process's number, and one is it.
        ([-7], 0),
        ([-7, -8], 1),
    ],
)
def test_other_processes_on_the_card_are_counted(monkeypatch, pids, others):
    card = install(monkeypatch, FakeCard())
    card.pids = pids
    assert watched(card).fields["gpu_other_processes"] == others


# ------------------------------------------------------------------------------------------- doctor


def test_what_can_be_read_is_listed_with_reasons_for_the_rest(monkeypatch):
    card = install(
        monkeypatch,
        FakeCard(
            nvmlDeviceGetTotalEnergyConsumption=pynvml.NVML_ERROR_NOT_SUPPORTED,
            nvmlDeviceGetCount=lambda: 1,
            nvmlDeviceGetHandleByIndex=lambda index: "card",
            nvmlDeviceGetUUID=lambda handle: "GPU-1234",
        ),
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    lines = {text: ok for ok, text in readable_counters()}
    assert lines["power of cuda:0"]
    assert lines["reasons of the clocks of cuda:0"]
    (refused,) = (text for text in lines if text.startswith("energy counter of cuda:0: "))
    assert not lines[refused]
    assert "Not Supported" in refused
    assert any(text.startswith("energy of the CPU (RAPL)") for text in lines)
    assert any(text.startswith("load and conditions of the CPU: load") for text in lines)
    assert card.open == 0


def test_cores_beyond_those_that_are_listed_mean_all(monkeypatch):
    values = [SimpleNamespace(number=n) for n in range(4)]
    assert host_watch._per_core(values, [1, 3]) == [values[1], values[3]]
    assert host_watch._per_core(values, [1, 9]) == values

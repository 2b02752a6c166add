import re
import time

import pynvml
import pytest

from bench.measure import energy_sources
from bench.measure.energy import NoMeter, SourceMeter, energy_meter
from bench.measure.energy_sources import (
    NoSourceError,
    NvmlCounter,
    NvmlPower,
    RaplPackages,
    energy_source,
)
from bench.measure.sampler import CounterError, Sampler
from tests.unit.nvml_data import ERRORS, FakeCard, install

# ---------------------------------------------------------------------------------- the measurement


class World:
    """A device with a clock of its own: at work 400 W, and 80 W idle once it has cooled down.

    It comes from work, and its power falls evenly from 200 W within ``cooling_s`` seconds.
    """

    name = "nvml_counter"

    def __init__(self, *, period_s=0.1, power=False, work_w=400.0, cooling_s=1.0):
        self.period_s = 0.1
        self.real_period_s = period_s
        self.memory_s = 1.0 if power else 0.0
        self.is_power = power
        self.work_w, self.cooling_s = work_w, cooling_s
        self.at = 100.0
        self.spans = []
        self.passes = 0
        self.pending = 0
        self.temperature = 41.0
        self.closed = False

    def now(self):
        return self.at

    def sleep(self, seconds):
        self.at += seconds

    def start(self):
        self.pending += 1

    def work(self, pass_s):
        """Do what was started."""
        if self.pending:
            self.spans.append((self.at, self.at + self.pending * pass_s))
            self.at = self.spans[-1][1]
            self.passes += self.pending
            self.temperature += self.pending * pass_s
            self.pending = 0

    def joules(self, until):
        since = until - 100.0
        hot = min(since, self.cooling_s)
        idle = 80.0 * since + 120.0 * (hot - hot**2 / self.cooling_s / 2)
        busy = sum(max(0.0, min(end, until) - start) for start, end in self.spans)
        return idle + busy * (self.work_w - 80.0)

    def reading(self, at):
        if self.is_power:
            return (self.joules(at) - self.joules(max(100.0, at - 1.0))) / 1.0
        moved = 100.0 + int((at - 100.0) / self.real_period_s + 1e-9) * self.real_period_s
        return self.joules(moved)

    def read(self):
        raise AssertionError("the thread is simulated")

    def energy_j(self, series, start, end):
        kind = NvmlPower if self.is_power else NvmlCounter
        return kind.energy_j(self, series, start, end)

    def temperature_c(self):
        return self.temperature

    def close(self):
        self.closed = True

    def sampler(self, read, *, interval_s):
        world = self

        class Simulated:
            failure = None

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            @property
            def readings(self):
                count = int((world.at - 100.0) / interval_s)
                times = [100.0 + n * interval_s for n in range(count + 1)]
                return [(at, world.reading(at)) for at in times]

        return Simulated()


def measured(world, *, pass_s=0.05, left_s=60.0, megapixels=2.0):
    meter = SourceMeter(world, sampler=world.sampler, now=world.now, sleep=world.sleep)
    return meter.measure(
        world.start,
        synchronise=lambda: world.work(pass_s),
        pass_s=pass_s,
        left_s=left_s,
        megapixels=megapixels,
    )


@pytest.mark.parametrize("pass_s", [0.0005, 0.05, 0.7, 9.0])
@pytest.mark.parametrize("power", [False, True])
def test_the_energy_of_a_pass_is_its_power_times_its_time(pass_s, power):
    world = World(power=power)
    fields = measured(world, pass_s=pass_s)
    assert fields["energy_j_per_image"] == pytest.approx(400 * pass_s, rel=0.01)
    assert fields["energy_j_per_mp"] == pytest.approx(200 * pass_s, rel=0.01)
    assert fields["energy_net_j_per_image"] == pytest.approx(320 * pass_s, rel=0.01)
    assert fields["energy_net_j_per_mp"] == pytest.approx(160 * pass_s, rel=0.01)
    assert fields["energy_idle_w"] == pytest.approx(80, rel=0.01)
    assert fields["energy_mean_w"] == pytest.approx(400, rel=0.01)
    assert "energy_reason" not in fields
    # Windows of at least 20 periods, and of whole passes.
    assert fields["energy_window_s"] >= 2.0
    assert fields["energy_window_s"] == pytest.approx(fields["energy_passes"] * pass_s)
    assert fields["energy_passes"] <= world.passes
    assert fields["energy_temperature_start_c"] < fields["energy_temperature_end_c"]
    if pass_s < 1:
        assert fields["energy_relative_spread"] == pytest.approx(0, abs=0.03)
    else:
        assert fields["energy_relative_spread"] is None


def test_the_window_follows_the_period_that_is_seen():
    world = World(period_s=0.25)
    fields = measured(world)
    assert fields["energy_period_ms"] == pytest.approx(250, abs=11)
    assert 20 * 0.25 <= fields["energy_window_s"] < 20 * 0.25 + 1.5
    assert fields["energy_j_per_image"] == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize("period_s", [0.9, 1.2, 1.5])
def test_a_counter_too_slow_for_the_window_is_no_energy(period_s):
    # In the cool-down it does not move often enough to be seen for what it is.
    fields = measured(World(period_s=period_s))
    if "energy_j_per_image" in fields:
        assert fields["energy_window_s"] >= 0.8 * 20 * period_s
    else:
        assert re.search(r"20 (are needed|periods)|the cell's time limit", fields["energy_reason"])


def test_idle_power_is_that_after_the_cool_down():
    quick, slow = measured(World()), measured(World(cooling_s=3.0))
    assert quick["energy_idle_w"] == pytest.approx(80, rel=0.01)
    assert slow["energy_idle_w"] == pytest.approx(80, rel=0.05)
    assert 1.0 <= quick["energy_cooldown_s"] < 3.0 < slow["energy_cooldown_s"] <= 5.0


def test_a_device_that_does_not_settle_is_not_waited_for_for_long():
    fields = measured(World(cooling_s=1000.0))
    assert fields["energy_cooldown_s"] <= 5.5


def test_parts_of_a_window_that_differ_are_seen_in_the_spread():
    world = World()
    steady = world.joules

    def rising(until):
        """A second into the work the power rises by 100 W."""
        since = world.spans[0][0] + 1.0 if world.spans else until
        return steady(until) + 100 * max(0.0, until - since)

    world.joules = rising
    fields = measured(world)
    assert 0.1 < fields["energy_relative_spread"] < 0.3


@pytest.mark.parametrize("left_s", [0.0, 3.0, 6.0])
def test_without_time_for_it_no_pass_is_made_and_the_reason_given(left_s):
    world = World()
    fields = measured(world, left_s=left_s)
    assert set(fields) == {"energy_reason"}
    assert "the cell's time limit leaves" in fields["energy_reason"]
    assert world.passes == 0
    assert world.at == 100.0


@pytest.mark.parametrize("pass_s", [0.001, 0.3, 1.9, 2.1, 30.0])
@pytest.mark.parametrize("power", [False, True])
def test_it_needs_no_longer_than_it_says(pass_s, power):
    world = World(power=power, cooling_s=1000.0)
    meter = SourceMeter(world, sampler=world.sampler, now=world.now, sleep=world.sleep)
    needed = meter.needs_s(pass_s)
    fields = measured(world, pass_s=pass_s, left_s=needed)
    assert "energy_j_per_image" in fields
    assert world.at - 100.0 <= needed + 0.5


def test_a_slow_counter_that_leaves_too_little_time_is_a_reason():
    fields = measured(World(period_s=0.9), left_s=12.0)
    assert "it takes" in fields["energy_reason"]


def test_work_below_idle_power_has_no_net_energy_and_says_so():
    fields = measured(World(work_w=70.0))
    assert fields["energy_j_per_image"] == pytest.approx(3.5, rel=0.01)
    assert "energy_net_j_per_image" not in fields
    assert fields["energy_reason"].startswith("no net energy: idle took 80 W, the work 7")


@pytest.mark.parametrize(
    ("watts", "problem"), [(10**6, "cannot be"), (-200.0, "ran backwards"), (0.0, "did not move")]
)
def test_a_counter_that_cannot_be_right_gives_a_reason(watts, problem):
    world = World()
    world.joules = lambda until: watts * (until - 100.0)
    fields = measured(world)
    assert set(fields) == {"energy_reason"}
    assert problem in fields["energy_reason"]


# ------------------------------------------------------------------------------------- with threads


def test_a_sampler_reads_until_it_is_left():
    readings = iter(range(10**6))
    with Sampler(lambda: next(readings), interval_s=0.001) as sampler:
        while len(sampler.readings) < 3:
            pass
    kept = sampler.readings
    times, values = zip(*kept, strict=True)
    assert list(values) == list(range(len(values)))
    assert list(times) == sorted(times)
    assert sampler.failure is None
    assert sampler.readings == kept


def test_a_counter_that_breaks_while_it_is_read_ends_the_reading_with_its_reason():
    def read():
        raise CounterError("the card fell off the bus")

    with Sampler(read, interval_s=0.001) as sampler:
        while sampler.failure is None:
            pass
    assert sampler.failure == "the card fell off the bus"
    assert sampler.readings == []


def test_a_sampler_without_room_for_its_thread_says_so(monkeypatch):
    sampler = Sampler(lambda: 1, interval_s=0.001)

    def refuse():
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sampler._thread, "start", refuse)
    with sampler:
        pass
    assert "can't start new thread" in sampler.failure


# ------------------------------------------------------------------------------------ cards by NVML


def test_a_card_with_a_counter_is_read_by_it_in_joules(monkeypatch):
    card = install(monkeypatch, FakeCard())
    source = energy_source("cuda:0")
    assert (source.name, source.read(), source.temperature_c()) == ("nvml_counter", 10**6, 60)
    source.close()
    assert card.open == 0


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_card_without_a_counter_is_read_by_its_power_in_watts(monkeypatch, error):
    install(monkeypatch, FakeCard(nvmlDeviceGetTotalEnergyConsumption=error))
    source = energy_source("cuda:0")
    assert (source.name, source.read()) == ("nvml_power", 300)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_card_with_neither_has_no_energy_and_a_reason(monkeypatch, error):
    broken = dict.fromkeys(
        ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"), error
    )
    card = install(monkeypatch, FakeCard(**broken))
    fields = energy_meter("cuda:0", "auto").measure(lambda: pytest.fail("no pass is needed"))
    assert set(fields) == {"energy_reason"}
    assert str(pynvml.NVMLError(error)) in fields["energy_reason"]
    assert "nvmlDeviceGetPowerUsage" in fields["energy_reason"]
    assert card.open == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}, "NVML could not be started"),
        ({"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}, "NVML could not be started"),
        ({"nvmlInit": pynvml.NVML_ERROR_NO_PERMISSION}, "NVML could not be started"),
        ({"nvmlDeviceGetHandleByUUID": pynvml.NVML_ERROR_NOT_FOUND}, "does not find the card"),
    ],
)
def test_nvml_that_is_missing_or_does_not_know_the_card_is_a_reason(monkeypatch, broken, said):
    card = install(monkeypatch, FakeCard(**broken))
    meter = energy_meter("cuda:0", "auto")
    assert said in meter.measure(lambda: None)["energy_reason"]
    assert meter.needs_s(10.0) == 0
    assert card.open == 0


@pytest.mark.parametrize("garbage", [None, "300", float("nan"), -1, True, [1]])
def test_what_is_no_number_is_no_reading(monkeypatch, garbage):
    def give(handle):
        return garbage

    install(
        monkeypatch,
        FakeCard(nvmlDeviceGetTotalEnergyConsumption=give, nvmlDeviceGetPowerUsage=give),
    )
    with pytest.raises(NoSourceError, match="gave"):
        energy_source("cuda:0")


def test_a_power_beyond_any_card_is_no_reading(monkeypatch):
    refused = pynvml.NVML_ERROR_NOT_SUPPORTED
    card = FakeCard(
        nvmlDeviceGetTotalEnergyConsumption=refused, nvmlDeviceGetPowerUsage=lambda _: 2**32 - 1
    )
    install(monkeypatch, card)
    with pytest.raises(NoSourceError, match="cannot be"):
        energy_source("cuda:0")


def test_a_counter_that_stops_in_the_middle_is_a_reason(monkeypatch):
    card = install(monkeypatch, FakeCard())
    meter = SourceMeter(energy_source("cuda:0"), sleep=lambda seconds: None)
    card.broken["nvmlDeviceGetTotalEnergyConsumption"] = pynvml.NVML_ERROR_GPU_IS_LOST
    fields = meter.measure(
        lambda: None,
        synchronise=lambda: time.sleep(0.1),
        pass_s=0.5,
        left_s=60,
        megapixels=1,
    )
    assert set(fields) == {"energy_reason"}
    assert "nvmlDeviceGetTotalEnergyConsumption" in fields["energy_reason"]


def test_energy_that_is_switched_off_asks_nothing(monkeypatch):
    install(monkeypatch, FakeCard(nvmlInit=lambda: pytest.fail("asked")))
    meter = energy_meter("cuda:0", "off")
    assert isinstance(meter, NoMeter)
    assert "measure.energy: off" in meter.measure(lambda: None)["energy_reason"]


# --------------------------------------------------------------------------------------------- RAPL


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    """Zones as on a machine of two packages, with what must not be counted beside them."""
    monkeypatch.setattr(energy_sources, "POWERCAP", tmp_path)
    zones = {
        "intel-rapl": None,
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    for folder, name in zones.items():
        (tmp_path / folder).mkdir()
        if name:
            (tmp_path / folder / "name").write_text(f"{name}\n")
            (tmp_path / folder / "max_energy_range_uj").write_text("1000000000\n")
            (tmp_path / folder / "energy_uj").write_text("999000000\n")
    return tmp_path


def test_packages_are_summed_and_their_wrap_around_undone(powercap):
    source = energy_source("cpu")
    assert source.name == "rapl"
    assert source.read() == 0
    (powercap / "intel-rapl:0" / "energy_uj").write_text("999500000\n")
    for other in ("intel-rapl:2", "intel-rapl:0:0", "intel-rapl-mmio:0"):
        (powercap / other / "energy_uj").write_text("5\n")
    assert source.read() == pytest.approx(0.5)
    (powercap / "intel-rapl:1" / "energy_uj").write_text("1999999\n")
    # 1 J to the last value that it shows, one step to 0, and 2 J less one.
    assert source.read() == pytest.approx(0.5 + 3.0)
    (powercap / "intel-rapl:1" / "energy_uj").write_text("1999998\n")
    assert source.read() == pytest.approx(0.5 + 3.0 + 1000.0)


def test_a_machine_without_packages_has_a_reason(powercap, monkeypatch):
    for zone in powercap.iterdir():
        (zone / "name").unlink(missing_ok=True)
    with pytest.raises(NoSourceError, match="no CPU package"):
        RaplPackages()
    monkeypatch.setattr(energy_sources, "POWERCAP", powercap / "missing")
    assert "no CPU package" in energy_meter("cpu", "auto").measure(lambda: None)["energy_reason"]


def test_a_counter_that_only_root_may_read_has_a_reason(powercap, monkeypatch):
    def refuse(self, *_, **__):
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return "package-0" if self.name == "name" else "1"

    monkeypatch.setattr(energy_sources.Path, "read_text", refuse)
    with pytest.raises(NoSourceError, match="energy_uj is not readable for this user"):
        RaplPackages()


@pytest.mark.parametrize("text", ["", "many\n"])
def test_a_counter_of_nonsense_is_a_reason(powercap, text):
    source = RaplPackages()
    (powercap / "intel-rapl:1" / "energy_uj").write_text(text)
    with pytest.raises(CounterError, match="RAPL cannot be read"):
        source.read()
    with pytest.raises(NoSourceError, match="RAPL cannot be read"):
        RaplPackages()


def test_the_packages_temperature_is_the_hottest(powercap, monkeypatch):
    from types import SimpleNamespace as Sensor

    sensors = {
        "coretemp": [
            Sensor(label="Package id 0", current=50.0),
            Sensor(label="Core 0", current=70.0),
            Sensor(label="Package id 1", current=55.0),
        ]
    }
    source = RaplPackages()
    monkeypatch.setattr(
        energy_sources.psutil, "sensors_temperatures", lambda: sensors, raising=False
    )
    assert source.temperature_c() == 55
    sensors.clear()
    assert source.temperature_c() is None

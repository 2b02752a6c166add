"""Where energy can be read: a card's counter, its power meter, or the CPU's packages."""

from pathlib import Path
from typing import Any, Protocol

import psutil

from bench.measure.energy_series import Series, advance, counter_energy_j, power_energy_j
from bench.measure.nvml import NvmlUnavailableError, ask_nvml, nvml_number, open_card
from bench.measure.sampler import CounterError

POWERCAP = Path("/sys/class/powercap")
_PACKAGE_SENSORS = (("coretemp", "Package id"), ("k10temp", "Tctl"))
_MOST_W = 10_000.0
_MOST_C = 200.0


class EnergySource(Protocol):
    """Something that tells of energy, read again and again."""

    name: str
    """``nvml_counter``, ``nvml_power`` or ``rapl``, as in a record."""
    period_s: float
    """How often it is taken to change where that cannot be seen."""
    memory_s: float
    """How far back a reading reaches: the meter's own averaging."""

    def read(self) -> float:
        """Joules so far, or watts now. Raises :class:`CounterError`."""
        ...

    def energy_j(self, series: Series, start: float, end: float) -> float:
        """Joules between two times, of readings around them. Raises ``ValueError``."""
        ...

    def temperature_c(self) -> float | None:
        """Of the device, if it tells."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class NoSourceError(Exception):
    """There is no energy to be read; the message says why, in one sentence."""


def energy_source(device: str) -> EnergySource:
    """What tells the energy of ``cpu`` or ``cuda:N``; CUDA must be initialised for the latter.

    Raises:
        NoSourceError: nothing does.
    """
    return card_source(device) if device.startswith("cuda") else RaplPackages()


def card_source(device: str) -> "NvmlCounter | NvmlPower":
    """The card's counter where it has one, else its power meter.

    Raises:
        NoSourceError: it has neither, or NVML is not there.
    """
    try:
        api, handle = open_card(device)
    except NvmlUnavailableError as error:
        raise NoSourceError(f"{error}") from None
    reasons = []
    for kind in (NvmlCounter, NvmlPower):
        source = kind(api, handle)
        try:
            source.read()
        except CounterError as error:
            reasons.append(str(error))
        else:
            return source
    ask_nvml(api.nvmlShutdown)
    raise NoSourceError("; ".join(reasons))


class _Nvml:
    """A card by NVML, which is shut down with it."""

    memory_s = 0.0
    period_s = 0.1
    """About how often NVML's readings change, where that is not seen."""
    _function = ""
    _most = float("inf")

    def __init__(self, api: Any, handle: Any) -> None:
        self._api = api
        self._handle = handle

    def read(self) -> float:
        """In joules or watts: NVML counts in thousandths."""
        try:
            return nvml_number(self._api, self._function, self._handle, scale=1e-3, most=self._most)
        except NvmlUnavailableError as error:
            raise CounterError(str(error)) from None

    def temperature_c(self) -> float | None:
        """Of the chip."""
        try:
            return nvml_number(
                self._api,
                "nvmlDeviceGetTemperature",
                self._handle,
                self._api.NVML_TEMPERATURE_GPU,
                most=_MOST_C,
            )
        except NvmlUnavailableError:
            return None

    def close(self) -> None:
        """Shut NVML down."""
        ask_nvml(self._api.nvmlShutdown)


class NvmlCounter(_Nvml):
    """The energy of the whole card since the driver was loaded. Volta and later."""

    name = "nvml_counter"
    _function = "nvmlDeviceGetTotalEnergyConsumption"

    def energy_j(self, series: Series, start: float, end: float) -> float:
        """By the counter."""
        return counter_energy_j(series, start, end)


class NvmlPower(_Nvml):
    """The power of the whole card; from Ampere on (GA100 excepted) the mean of the last second."""

    name = "nvml_power"
    memory_s = 1.0
    _function = "nvmlDeviceGetPowerUsage"
    _most = _MOST_W

    def energy_j(self, series: Series, start: float, end: float) -> float:
        """By the trapezoid rule."""
        return power_energy_j(series, start, end)


class RaplPackages:
    """The energy of all CPU packages by RAPL, their memory and the rest of the machine left out.

    Raises:
        NoSourceError: there is no such counter, or this user may not read it.
    """

    name = "rapl"
    period_s = 0.001
    memory_s = 0.0

    def __init__(self) -> None:
        # Not the zones inside a package, nor "psys", which contains the packages.
        zones = [zone for zone in sorted(POWERCAP.glob("intel-rapl:*")) if _is_package(zone)]
        if not zones:
            raise NoSourceError(f"no CPU package with RAPL counters under {POWERCAP}")
        try:
            self._counters = [_Package(zone) for zone in zones]
        except PermissionError as error:
            raise NoSourceError(
                f"{error.filename} is not readable for this user; the kernel keeps it to root"
            ) from None
        except (OSError, ValueError) as error:
            raise NoSourceError(f"RAPL cannot be read: {error}") from None

    def read(self) -> float:
        """Joules of all packages since the first reading."""
        try:
            return sum(counter.joules() for counter in self._counters)
        except (OSError, ValueError) as error:
            raise CounterError(f"RAPL cannot be read: {error}") from None

    def energy_j(self, series: Series, start: float, end: float) -> float:
        """By the counters."""
        return counter_energy_j(series, start, end)

    def temperature_c(self) -> float | None:
        """Of the hottest package, where its driver has a name that is known."""
        sensors: dict[str, list[Any]] = getattr(psutil, "sensors_temperatures", dict)()
        found = [
            one.current
            for driver, label in _PACKAGE_SENSORS
            for one in sensors.get(driver, [])
            if one.label.startswith(label)
        ]
        return max(found, default=None)

    def close(self) -> None:
        """Nothing is held."""


class _Package:
    """One package's counter, which wraps around."""

    def __init__(self, zone: Path) -> None:
        self._path = zone / "energy_uj"
        # The largest value it shows: the next one is 0.
        self._span = int((zone / "max_energy_range_uj").read_text(encoding="ascii")) + 1
        self._last = self._value()
        self._microjoules = 0

    def joules(self) -> float:
        """Since it was made; to be read at least once a turn, which takes minutes."""
        value = self._value()
        self._microjoules += advance(self._last, value, self._span)
        self._last = value
        return self._microjoules / 1e6

    def _value(self) -> int:
        return int(self._path.read_text(encoding="ascii"))


def _is_package(zone: Path) -> bool:
    try:
        return (zone / "name").read_text(encoding="ascii").startswith("package")
    except OSError:
        return False

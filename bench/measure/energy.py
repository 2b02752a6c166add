"""What a pass costs in energy: back-to-back passes over many periods of a counter, idle apart."""

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, Protocol

from bench.measure.energy_series import Series, relative_spread, update_period_s
from bench.measure.energy_sources import EnergySource, NoSourceError, energy_source
from bench.measure.sampler import Sampler

PERIODS = 20
"""Periods of the counter that a window lasts at the least."""
_ENOUGH = 0.8
"""Share of them with which a window still counts: the period is known to a reading's distance."""
WINDOW_LEAST_S = 2.0
"""Seconds that a window lasts at the least."""
SUB_WINDOWS = 5
"""Parts of a window, as far as there are passes, whose difference is the spread."""
SETTLE_LEAST_S = 1.0
SETTLE_MOST_S = 5.0
SETTLED = 0.05
"""Cool-down ends when the power of two half seconds differs by less than this part of it."""
_HALF_S = 0.5
_INTERVAL_S = 0.01
"""Between two readings."""
_MOST_W = 10_000.0
"""Mean power that cannot be: the counter is broken."""


class EnergyMeter(Protocol):
    """Measures the energy of a pass, or says why it cannot."""

    def needs_s(self, pass_s: float) -> float:
        """Seconds that it takes at the least, with passes of ``pass_s`` seconds."""
        ...

    def measure(
        self,
        run: Callable[[], object],
        *,
        synchronise: Callable[[], object],
        pass_s: float,
        left_s: float,
        megapixels: float,
    ) -> dict[str, Any]:
        """Record fields: the energy, or ``energy_reason`` for its absence.

        ``run`` starts a pass, ``synchronise`` waits until all that were started are done;
        ``pass_s`` seconds is about what one takes and ``left_s`` what the meter has.
        """
        ...

    def close(self) -> None:
        """Let go of the counter."""
        ...


def energy_meter(device: str, wanted: Literal["auto", "off"]) -> EnergyMeter:
    """The meter of ``cpu`` or ``cuda:N``, CUDA being initialised; one that says why, if none."""
    if wanted == "off":
        return NoMeter("switched off by the scenario (measure.energy: off)")
    try:
        return SourceMeter(energy_source(device))
    except NoSourceError as error:
        return NoMeter(str(error))


class NoMeter:
    """Where no energy is measured. It takes no time."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def needs_s(self, pass_s: float) -> float:
        """None."""
        return 0.0

    def measure(self, run: Callable[[], object], **_: object) -> dict[str, Any]:
        """The reason."""
        return {"energy_reason": self._reason}

    def close(self) -> None:
        """Nothing is held."""


class SourceMeter:
    """Reads a source from a thread while the device first idles and then works.

    In this order: cool-down, at least ``SETTLE_LEAST_S`` and until the power has settled; idle
    power over ``PERIODS`` periods; passes that are not counted, until the meter shows the work;
    the window; passes that are not counted, until the meter has shown its end.
    """

    def __init__(
        self,
        source: EnergySource,
        *,
        sampler: Callable[..., Sampler[float]] = Sampler,
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._sampler = sampler
        self._now = now
        self._sleep = sleep

    def needs_s(self, pass_s: float) -> float:
        """With the shortest cool-down, and the period that the source says of itself."""
        period_s = self._nominal_s
        return self._settle_least_s + self._idle_s(period_s) + self._work_s(pass_s, period_s)

    def measure(
        self,
        run: Callable[[], object],
        *,
        synchronise: Callable[[], object],
        pass_s: float,
        left_s: float,
        megapixels: float,
    ) -> dict[str, Any]:
        """Record fields: the energy, or ``energy_reason`` for its absence."""
        deadline = self._now() + left_s
        pass_s = max(pass_s, 1e-6)
        if (needed := self.needs_s(pass_s)) > left_s:
            return _too_little_time(needed, left_s)

        def passes(number: int) -> None:
            for _ in range(number):
                run()
            synchronise()

        with self._sampler(self._source.read, interval_s=_INTERVAL_S) as sampler:
            began = self._now()
            spare_s = left_s - self.needs_s(pass_s)
            self._settle(sampler, began, min(SETTLE_MOST_S, self._settle_least_s + spare_s))
            settled = self._now()
            period_s = max(update_period_s(sampler.readings) or self._nominal_s, _INTERVAL_S)
            work_s = self._work_s(pass_s, period_s)
            left_s = deadline - self._now()
            if (needed := self._idle_s(period_s) + work_s) > left_s:
                return _too_little_time(needed, left_s)
            self._sleep(self._idle_s(period_s))
            # What the meter shows last of it could be of the work already.
            idle = (settled, self._now() - 2 * period_s)

            window_s = _window_s(period_s)
            passes(self._lead(pass_s, period_s))
            chunk = max(1, round(window_s / SUB_WINDOWS / pass_s))
            hot = self._source.temperature_c()
            marks = [self._now()]
            while marks[-1] - marks[0] < window_s and not sampler.failure:
                passes(chunk)
                marks.append(self._now())
            hottest = self._source.temperature_c()
            passes(_tail(pass_s, period_s))
            self._sleep(2 * period_s)
        if sampler.failure:
            return {"energy_reason": sampler.failure}
        # By now a counter too slow for the cool-down shows its period. (A power may stand still.)
        found_s = None if self._source.memory_s else update_period_s(sampler.readings)
        if found_s and marks[-1] - marks[0] < _ENOUGH * PERIODS * found_s:
            return _counter_too_slow(found_s, marks[-1] - marks[0])
        try:
            return {
                **self._summary(sampler.readings, idle, marks, chunk, megapixels),
                "energy_period_ms": period_s * 1e3,
                "energy_cooldown_s": settled - began,
                "energy_temperature_start_c": hot,
                "energy_temperature_end_c": hottest,
            }
        except ValueError as error:
            return {"energy_reason": str(error)}

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    @property
    def _nominal_s(self) -> float:
        return max(self._source.period_s, _INTERVAL_S)

    @property
    def _settle_least_s(self) -> float:
        return self._source.memory_s + SETTLE_LEAST_S

    def _idle_s(self, period_s: float) -> float:
        return self._source.memory_s + _window_s(period_s) + 2 * period_s

    def _work_s(self, pass_s: float, period_s: float) -> float:
        """Seconds from the first pass to the end."""
        around = self._lead(pass_s, period_s) + _tail(pass_s, period_s)
        # A window ends with the pass, or the part, in which its time is over.
        longest = max(pass_s, _window_s(period_s) / SUB_WINDOWS * 1.5)
        return around * pass_s + _window_s(period_s) + longest + 2 * period_s

    def _lead(self, pass_s: float, period_s: float) -> int:
        """Passes before the window, until the meter shows nothing but work."""
        if pass_s >= _window_s(period_s) and not self._source.memory_s:
            return 0  # the pass's own beginning weighs little, and another would take long
        return math.ceil((self._source.memory_s + 2 * period_s) / pass_s)

    def _settle(self, sampler: Sampler[float], began: float, most_s: float) -> None:
        """Wait until the power no longer changes, ``most_s`` seconds at the most."""
        while (waited := self._now() - began) < most_s and not sampler.failure:
            settled = self._is_settled(sampler.readings, self._now())
            if waited >= self._settle_least_s and settled:
                return
            self._sleep(min(_HALF_S, most_s - waited))

    def _is_settled(self, readings: Series, now: float) -> bool:
        end = now - 2 * self._nominal_s
        try:
            last = self._source.energy_j(readings, end - _HALF_S, end)
            before = self._source.energy_j(readings, end - 2 * _HALF_S, end - _HALF_S)
        except ValueError:
            return False
        return abs(last - before) <= SETTLED * max(last, before)

    def _summary(
        self,
        readings: Series,
        idle: tuple[float, float],
        marks: list[float],
        chunk: int,
        megapixels: float,
    ) -> dict[str, Any]:
        idle_start = idle[0] + self._source.memory_s
        idle_w = self._source.energy_j(readings, idle_start, idle[1]) / (idle[1] - idle_start)
        parts = [self._source.energy_j(readings, start, end) for start, end in pairwise(marks)]
        seconds = marks[-1] - marks[0]
        number = chunk * len(parts)
        mean_w = sum(parts) / seconds
        if not 0 < mean_w <= _MOST_W:
            raise ValueError(f"a mean power of {mean_w:.4g} W, by the meter, cannot be")
        joules = sum(parts) / number
        fields: dict[str, Any] = {
            "energy_source": self._source.name,
            "energy_j_per_image": joules,
            "energy_j_per_mp": joules / megapixels,
            "energy_mean_w": mean_w,
            "energy_idle_w": idle_w,
            "energy_window_s": seconds,
            "energy_passes": number,
            "energy_relative_spread": relative_spread(parts),
        }
        net = joules - idle_w * seconds / number
        if net <= 0:
            why = f"no net energy: idle took {idle_w:.4g} W, the work {mean_w:.4g} W"
            return {**fields, "energy_reason": why}
        net_fields = {"energy_net_j_per_image": net, "energy_net_j_per_mp": net / megapixels}
        return {**fields, **net_fields}


def _window_s(period_s: float) -> float:
    return max(PERIODS * period_s, WINDOW_LEAST_S)


def _tail(pass_s: float, period_s: float) -> int:
    """Passes after the window, until the meter has shown its end."""
    return 0 if pass_s >= _window_s(period_s) else math.ceil(2 * period_s / pass_s)


def _counter_too_slow(period_s: float, window_s: float) -> dict[str, Any]:
    return {
        "energy_reason": f"the counter moves every {period_s:.3g} s, so that the window of "
        f"{window_s:.3g} s holds {window_s / period_s:.3g} of its periods; {PERIODS} are needed"
    }


def _too_little_time(needed_s: float, left_s: float) -> dict[str, Any]:
    return {
        "energy_reason": f"it takes {needed_s:.1f} s to measure and the cell's time limit leaves "
        f"{max(left_s, 0.0):.1f} s"
    }

"""What is drawn against image size: memory, latency, throughput, energy."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.measure.conditions import disturbances
from bench.passes import (
    has_cold_peak,
    is_cold,
    is_disturbed,
    peak_counter,
    peak_memory_mb,
)
from bench.record import Record
from reports.results import COUNTER_WORDS, NOT_RUN, Results, Series, ending


@dataclass(frozen=True)
class Quantity:
    """What a sweep figure shows on its y axis."""

    name: str
    """In words, for when there is nothing to show."""
    label: str
    value: Callable[[Record], float | None]
    """The measured value in the label's unit."""
    bounds: Callable[[Record], tuple[float, float] | None] = lambda _: None
    """The 95 % interval in the label's unit."""
    estimate: Callable[[Record], float | None] = lambda _: None
    """A prediction for a cell that was not run, in the label's unit."""
    capped: bool = False
    """Whether the memory cap is on this axis."""
    cold: Callable[[Record], bool] = lambda _: False
    """Whether the value is of a first pass, where others are of warm ones."""
    disturbed: Callable[[Record], bool] = lambda _: False
    """Whether something disturbed the measurement of the value."""
    note: str = ""
    """What the reader must know, in sentences."""
    bars: str = ""
    """What the bars are, where there are any."""

    def measured(self, one: Series) -> list[tuple[Record, float]]:
        """Cells with a value above zero, which a logarithmic axis can show."""
        return [(cell, value) for cell in one.ok if (value := self.value(cell)) and value > 0]

    def foretold(self, cell: Record) -> float | None:
        """The prediction for a cell that was not run, if it is above zero."""
        value = self.estimate(cell) if ending(cell) in NOT_RUN else None
        return value if value and value > 0 else None

    def predicted(self, one: Series) -> list[tuple[float, float]]:
        """Megapixels and prediction of the cells that were not run and have one."""
        return [(cell.megapixels, v) for cell in one.cells if (v := self.foretold(cell))]

    def shows(self, one: Series) -> bool:
        """Whether a series has anything to draw."""
        return bool(self.measured(one) or self.predicted(one))


def memory(results: Results) -> Quantity:
    """Peak memory in GB by the device's own counter."""
    counters = sorted(
        {
            counter
            for one in results.performance
            for cell in one.ok
            if (counter := peak_counter(cell)) and peak_memory_mb(cell) is not None
        }
    )
    words = ", ".join(COUNTER_WORDS[counter] for counter in counters)

    def value(cell: Record) -> float | None:
        peak = peak_memory_mb(cell)
        return None if peak is None else peak / 1000

    def estimate(cell: Record) -> float | None:
        peak = cell.predicted_peak_mb
        return None if peak is None else peak / 1000

    return Quantity(
        "peak memory",
        f"Peak memory (GB),\n{words}" if words else "Peak memory (GB)",
        value,
        estimate=estimate,
        capped=True,
        cold=has_cold_peak,
        note=f"Counter: {', '.join(counters)}." if counters else "",
    )


def latency() -> Quantity:
    """Median wall latency in seconds with its 95 % interval."""

    def bounds(cell: Record) -> tuple[float, float] | None:
        low, high = cell.latency_ci_low_ms, cell.latency_ci_high_ms
        return None if low is None or high is None else (low / 1000, high / 1000)

    return Quantity(
        "latency",
        "Latency (s), wall time",
        lambda cell: None if cell.latency_ms is None else cell.latency_ms / 1000,
        bounds=bounds,
        estimate=lambda cell: cell.estimate_s,
        cold=is_cold,
        disturbed=is_disturbed,
        note="Median of warm passes where there was time for any.",
        bars="Bars: 95 % interval of the median.",
    )


def throughput() -> Quantity:
    """Megapixels per second; on a CPU one pass after the other, so the latency's interval holds."""

    def bounds(cell: Record) -> tuple[float, float] | None:
        low, high = cell.latency_ci_low_ms, cell.latency_ci_high_ms
        if not low or not high or not cell.device.startswith("cpu"):
            return None
        return cell.megapixels / high * 1000, cell.megapixels / low * 1000

    return Quantity(
        "throughput",
        "Throughput (megapixels/s)",
        lambda cell: cell.throughput_mp_s,
        bounds=bounds,
        cold=is_cold,
        disturbed=is_disturbed,
        note="Passes back to back (on a CPU: size over median latency).",
        bars="Bars: from the 95 % interval of the latency.",
    )


def energy() -> Quantity:
    """Joules per megapixel, where a run measured any."""
    return Quantity(
        "energy",
        "Energy (J per megapixel)",
        lambda cell: None if (found := energy_j(cell)) is None else found / cell.megapixels,
        disturbed=lambda cell: bool(disturbances(cell.energy_conditions)),
        note="Gross: what the device takes when it idles is included.",
    )


def energy_j(cell: Record) -> float | None:
    """Energy in joules of one image of this cell, if the meter gave one."""
    per_image: float | None = getattr(cell, "energy_j_per_image", None)
    per_mp: float | None = getattr(cell, "energy_j_per_mp", None)
    if per_image is None and per_mp is not None:
        return per_mp * cell.megapixels
    return per_image

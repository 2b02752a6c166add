"""The largest image that a model does under a memory cap: predicted, then bisected by runs."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

from bench.cells import Cell, MeasureSettings
from bench.errors import EnvironmentUnfitError, UserError
from bench.measure.cap import NOT_ENFORCED
from bench.prediction.predict import COUNTERS, Prediction, Predictor
from bench.record import Record
from bench.run.executor import run_cell
from bench.run.store import RunFolder
from bench.units import MAX_SIDE, Size

TOLERANCE = 0.02
"""Of the pixels: how near the smallest size that failed is to the largest that ran."""
_FIRST_STEP = 0.04
"""Of the pixels: how far the second probe is from the first; each further one goes twice as far."""
_LEAST = 16
"""Pixels of the shorter side below which no size is tried."""
_ONE_PASS = MeasureSettings(
    warmup=0, min_repeats=1, max_repeats=1, target_ci=1.0, cell_time_limit_s=1e-3
)

Limit = Literal["memory", "time", "crash", "bound"]


@dataclass(frozen=True)
class Probe:
    """One size, run once in a fresh process under the cap."""

    size: Size
    predicted_mb: float | None
    """What it was predicted to need under the cap."""
    predicted_peak_mb: float | None
    measured_peak_mb: float | None
    """In the terms of the record field that ``counter`` names; None where the pass did not end."""
    counter: str
    status: str
    reason: str
    seconds: float | None
    """Of the pass, measured."""

    @property
    def fits(self) -> bool:
        """Whether it ran."""
        return self.status == "ok"


class Found(NamedTuple):
    """What was found."""

    size: Size
    """The largest that ran, in two processes."""
    beyond: Size | None
    """The smallest larger one that did not; None where the bound was reached."""
    limit: Limit
    """What kept ``beyond`` from running."""
    probes: tuple[Probe, ...]
    """In the order in which they were run."""


def size_of_side(side: int, aspect: Fraction) -> Size:
    """The size whose longer side has so many pixels, at an aspect ratio (width over height)."""
    if aspect >= 1:
        return Size(side, max(1, round(side / aspect)))
    return Size(max(1, round(side * aspect)), side)


def find_largest(
    probe: Callable[[Size], Probe],
    *,
    aspect: Fraction,
    start: int,
    bound: int,
) -> Found:
    """Bracket and bisect the longest side that fits, and run that size once more.

    What fits is taken to go on fitting when it is made smaller. Near the limit sizes fit by chance,
    so one that then fails counts as too large, and the search goes on below it.

    Args:
        probe: runs a size.
        aspect: width over height.
        start: longer side in pixels to begin at.
        bound: the longest that may be tried.

    Raises:
        EnvironmentUnfitError: when not even the smallest size fits, with its reason.
    """
    probes: list[Probe] = []
    ran: list[int] = []  # sides, rising, each below the smallest that failed

    def fits(side: int) -> bool:
        probes.append(probe(size_of_side(side, aspect)))
        return probes[-1].fits

    least = _least_side(aspect)
    high = _bracket(fits, ran, max(min(start, bound), least), bound, least)
    while ran:
        high = _bisect(fits, ran, high)
        if fits(ran[-1]):
            break
        high = ran.pop()
        if not ran:
            high = _descend(fits, ran, high, least)
    else:
        last = probes[-1]
        raise EnvironmentUnfitError(f"not even {last.size} runs: {last.status}: {last.reason}")
    size = size_of_side(ran[-1], aspect)
    if high is None:
        return Found(size, None, "bound", tuple(probes))
    beyond = size_of_side(high, aspect)
    failed = next(one for one in probes if one.size == beyond and not one.fits)
    return Found(size, beyond, _limit(failed), tuple(probes))


def _bracket(
    fits: Callable[[int], bool], ran: list[int], side: int, bound: int, least: int
) -> int | None:
    """Add sides that fit, in growing steps from ``side``; returns one that does not, if any."""
    if not fits(side):
        return _descend(fits, ran, side, least)
    ran.append(side)
    step = _FIRST_STEP
    while ran[-1] < bound:
        larger = min(bound, max(ran[-1] + 1, round(ran[-1] * math.sqrt(1 + step))))
        if not fits(larger):
            return larger
        ran.append(larger)
        step *= 2
    return None


def _descend(fits: Callable[[int], bool], ran: list[int], high: int, least: int) -> int:
    """Add the first side that fits, in growing steps down; returns the next one, which did not."""
    step = _FIRST_STEP
    while high > least:
        smaller = max(least, min(high - 1, round(high / math.sqrt(1 + step))))
        if fits(smaller):
            ran.append(smaller)
            break
        high = smaller
        step *= 2
    return high


def _bisect(fits: Callable[[int], bool], ran: list[int], high: int | None) -> int | None:
    """Add sides that fit, up to the tolerance; returns the smallest that does not."""
    while high is not None and high - ran[-1] > 1:
        low = ran[-1]
        if _pixels(high) <= (1 + TOLERANCE) * _pixels(low):
            break
        middle = min(max(round(math.sqrt(low * high)), low + 1), high - 1)
        if fits(middle):
            ran.append(middle)
        else:
            high = middle
    return high


def _pixels(side: int) -> int:
    return side * side


def _least_side(aspect: Fraction) -> int:
    return math.ceil(_LEAST * max(aspect, 1 / aspect))


def _limit(probe: Probe) -> Limit:
    if probe.status == "timeout":
        return "time"
    return "memory" if probe.status == "out_of_memory" else "crash"


def longest_side(aspect: Fraction, max_megapixels: float) -> int:
    """The longer side in pixels that a bound in megapixels leaves.

    Raises:
        UserError: for a bound below the least size that is tried.
    """
    longer_over_shorter = max(aspect, 1 / aspect)
    side = min(math.isqrt(int(max_megapixels * 1e6 * longer_over_shorter)), MAX_SIDE)
    least = size_of_side(_least_side(aspect), aspect)
    if side < max(least):
        raise UserError(
            f"--max-megapixels: {max_megapixels:g} is less than the smallest size at this aspect "
            f"ratio, {least} ({least.megapixels:.3g} MP)"
        )
    return side


def predicted_side(
    cell: Cell, predictor: Predictor, *, aspect: Fraction, room_bytes: int, bound: int
) -> int:
    """The longer side that is predicted to fit ``room_bytes``, at most ``bound``; 0 if none is."""
    low, high = 0, bound
    while low < high:
        middle = (low + high + 1) // 2
        needed = predictor.predict(_resized(cell, size_of_side(middle, aspect))).needed_mb
        if needed is not None and needed * 1e6 <= room_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def prober(
    cell: Cell,
    predictor: Predictor,
    folder: RunFolder,
    *,
    deadline_s: float,
    report: Callable[[Probe], object],
) -> Callable[[Size], Probe]:
    """What runs sizes of a cell, each time in a fresh process.

    Args:
        cell: the model, execution, precision, device and cap; of any size.
        predictor: of the device.
        folder: where the records go.
        deadline_s: after which a process is stopped.
        report: told of each probe.
    """
    runs = Counter[Size]()

    def probe(size: Size) -> Probe:
        sized = _resized(cell, size)
        prediction = predictor.predict(sized)
        record = run_cell(sized, folder, deadline_s=deadline_s, repeat=runs[size])
        runs[size] += 1
        mechanism = record.memory_cap_mechanism or ""
        if mechanism.startswith(NOT_ENFORCED):
            raise EnvironmentUnfitError(
                f"the memory cap is {mechanism}; the largest image under it cannot be found here"
            )
        if record.status == "unsupported":
            raise EnvironmentUnfitError(f"{cell.model} on {cell.device}: {record.reason}")
        predicted = {"predicted_peak_mb": prediction.peak_mb}
        folder.write_record(record.model_copy(update=predicted))
        done = _probe(size, prediction, record)
        report(done)
        return done

    return probe


def _probe(size: Size, prediction: Prediction, record: Record) -> Probe:
    counter = COUNTERS[record.device.partition(":")[0]]
    latency = record.latency_ms
    reason = (record.reason or "").splitlines()
    return Probe(
        size=size,
        predicted_mb=prediction.needed_mb,
        predicted_peak_mb=prediction.peak_mb,
        measured_peak_mb=getattr(record, counter) if record.status == "ok" else None,
        counter=counter,
        status=record.status,
        reason="" if record.status == "ok" or not reason else reason[0],
        seconds=None if latency is None else latency / 1e3,
    )


def _resized(cell: Cell, size: Size) -> Cell:
    changes = {"width": size.width, "height": size.height, "measure": _ONE_PASS}
    return cell.model_copy(update=changes)


def evidence(probes: Sequence[Probe]) -> list[dict[str, object]]:
    """The probes as rows, by size: names with units, absent values None."""
    return [
        {
            "width": one.size.width,
            "height": one.size.height,
            "megapixels": one.size.megapixels,
            "predicted_needed_mb": _mb(one.predicted_mb),
            "predicted_peak_mb": _mb(one.predicted_peak_mb),
            f"measured_{one.counter}": _mb(one.measured_peak_mb),
            "latency_s": one.seconds,
            "status": one.status,
            "reason": one.reason,
        }
        for one in sorted(probes, key=lambda one: one.size.pixels)
    ]


def _mb(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 1)

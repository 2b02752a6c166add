"""Kinds of passes, and which times and peaks of two records may be compared.

The first pass of a process loads libraries, generates kernels and touches memory for the first
time, so it is slower than the warm ones after it. A quotient of the two says nothing of the models.
Every number that is derived from two records takes its values from here: both of the first pass,
both of warm passes, or none.

Pure functions of records: nothing here reads a file or a clock.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from bench.measure.conditions import disturbances
from bench.record import Record

Pass = Literal["warm", "first"]
Some = TypeVar("Some", bound=Record)
PASSES: tuple[Pass, ...] = ("warm", "first")
"""In order of preference: warm passes are repeated, and so have an interval."""
PASS_WORDS: dict[Pass, str] = {"warm": "warm passes", "first": "first passes, cold"}
FIRST_PASS_PEAKS = frozenset({"peak_rss_growth_mb"})
"""Counters of memory that are of the first pass in every record."""


@dataclass(frozen=True)
class Values:
    """Values of several records that compare: all of one kind of pass."""

    of: Pass
    each: tuple[float, ...]
    """Above zero, in the order of the records and the unit of their field."""

    @property
    def ratio(self) -> float:
        """The second value over the first: how many times less the first record needs."""
        return self.each[1] / self.each[0]


def is_cold(record: Record) -> bool:
    """Whether ``latency_ms`` is of the first pass: there was no time for another."""
    if record.reason_code == "measured_once":
        return True
    # A single pass that no other went before, in records of other programs.
    return record.repeats == 1 and record.first_call_ms in (None, record.latency_ms)


def latency_pass(record: Record) -> Pass | None:
    """The kind of pass that ``latency_ms`` is of; None without one."""
    if record.latency_ms is None:
        return None
    return "first" if is_cold(record) else "warm"


def pass_ms(record: Record, of: Pass) -> float | None:
    """Milliseconds of a measured record's pass of that kind; None where there is none above 0."""
    if record.status != "ok":
        return None
    if latency_pass(record) == of:
        value = record.latency_ms
    else:
        value = record.first_call_ms if of == "first" else None
    return value if value is not None and value > 0 else None


def like_times(records: Iterable[Record]) -> Values | None:
    """Milliseconds of one pass of each record, all of one kind; None where no kind has them all.

    Warm passes if every record has them, else the first pass of each.
    """
    records = tuple(records)
    for of in PASSES:
        found = [value for record in records if (value := pass_ms(record, of)) is not None]
        if records and len(found) == len(records):
            return Values(of, tuple(found))
    return None


def no_like_times(records: Iterable[Record]) -> str:
    """Why :func:`like_times` gives nothing: a clause for a person."""
    kinds = {latency_pass(record) for record in records}
    if None in kinds or len(kinds) < 2:
        return "not every one has a time"
    return "one has a first pass only, and of another the first pass is not known"


def like_bounds(ours: Record, theirs: Record) -> tuple[float, float] | None:
    """Ends of the 95 % intervals as quotients, ours over theirs; None but for warm passes."""
    found = like_times((ours, theirs))
    ends = (
        *(ours.latency_ci_low_ms, ours.latency_ci_high_ms),
        *(theirs.latency_ci_low_ms, theirs.latency_ci_high_ms),
    )
    if found is None or found.of != "warm" or not all(end and end > 0 for end in ends):
        return None
    low, high, their_low, their_high = (float(end) for end in ends if end is not None)
    return low / their_high, high / their_low


def peak_counter(record: Record) -> str | None:
    """Which field is the peak memory of a record: ``peak_allocated_mb`` on CUDA, else resident."""
    if record.device.startswith("cuda"):
        return "peak_allocated_mb"
    return "peak_rss_growth_mb" if record.device.startswith("cpu") else None


def peak_memory_mb(record: Record) -> float | None:
    """Peak memory in MB by the counter of :func:`peak_counter`."""
    counter = peak_counter(record)
    value = getattr(record, counter) if counter else None
    return None if value is None else float(value)


def peak_pass(record: Record) -> Pass | None:
    """The kind of pass that the peak memory is of; None without one.

    On a CPU always the first. On CUDA a later one, but for a record that has the first alone: that
    one's peak holds what is loaded in it.
    """
    if peak_memory_mb(record) is None:
        return None
    return "first" if peak_counter(record) in FIRST_PASS_PEAKS else latency_pass(record)


def like_peaks(records: Iterable[Record]) -> Values | None:
    """Peak memory in MB of each record, all by one counter and of one kind of pass; else None."""
    records = tuple(records)
    peaks = [peak for record in records if (peak := peak_memory_mb(record)) and peak > 0]
    kinds = {(peak_counter(record), peak_pass(record)) for record in records}
    if len(peaks) < len(records) or len(kinds) != 1:
        return None
    of = kinds.pop()[1]
    return None if of is None else Values(of, tuple(peaks))


def is_disturbed(record: Record, of: Pass | None = None) -> bool:
    """Whether something disturbed a record's passes of that kind, as far as they were watched.

    Watched are the passes that count as its latency: of the first pass of a record with warm ones
    nothing is known. Without ``of``, those that count.
    """
    return of in (None, latency_pass(record)) and bool(disturbances(record.conditions))


def warm_if_any(records: Sequence[Some]) -> list[Some]:
    """Those of a cell's processes whose latencies may be taken together.

    The warm ones; where no process has warm passes, all of them.
    """
    warm = [record for record in records if latency_pass(record) == "warm"]
    return warm or list(records)


def most_common_pass(records: Iterable[Record]) -> Pass:
    """The kind of pass that most of the records have a time of; of equals the warm ones."""
    records = tuple(records)
    return max(PASSES, key=lambda of: sum(pass_ms(record, of) is not None for record in records))


def with_like_peaks(records: Iterable[Some]) -> list[Some]:
    """Those whose peaks compare with each other: of the counter and the pass that most are of."""
    records = [record for record in records if peak_memory_mb(record) is not None]
    kinds = Counter((peak_counter(record), peak_pass(record)) for record in records)
    usual = kinds.most_common(1)[0][0] if kinds else None
    return [record for record in records if (peak_counter(record), peak_pass(record)) == usual]


def has_cold_peak(record: Record) -> bool:
    """Whether a peak is of a first pass where those of others are of a later one: on CUDA."""
    return peak_counter(record) not in FIRST_PASS_PEAKS and peak_pass(record) == "first"

"""What the model table knows of each series: costs, reach, and against ratio 1."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench.passes import (
    Values,
    has_cold_peak,
    is_disturbed,
    like_peaks,
    like_times,
    pass_ms,
    peak_counter,
    peak_memory_mb,
)
from bench.record import Record
from reports.results import (
    NOT_RUN,
    CommonSize,
    Results,
    Series,
    baseline,
    ending,
    next_size,
    ratio,
)


def model_row(one: Series, results: Results, common: CommonSize | None) -> dict[str, Any]:
    """One series; costs at ``common``, None where it has no measurement there."""
    cell = one.cell(common.size) if common else None
    here = one.at(common.size) if common else None
    reference = baseline(one, results.performance)
    both = _measured_by_both(one, reference, common)
    times, peaks = _compared(both, like_times), _compared(both, like_peaks)
    parameters = _any(one.cells, "parameters")
    warm = pass_ms(here, "warm") if here else None
    first = one.first
    return {
        **{key: getattr(first, key) for key in _SETTINGS},
        "short": one.short,
        "method": first.method,
        "family": first.family,
        "ratio": first.ratio,
        "weights": one.weights,
        "weights_detail": one.weights_detail,
        "parameters": parameters,
        "storage_mb": _any(one.cells, "storage_mb"),
        "common_width": common.size[0] if common else None,
        "common_height": common.size[1] if common else None,
        "common_megapixels": common.megapixels if common else None,
        "gflops": cell.gflops if cell else None,
        "peak_memory_mb": peak_memory_mb(here) if here else None,
        "peak_memory_counter": peak_counter(here) if here else None,
        "cold_peak": has_cold_peak(here) if here else None,
        "predicted_peak_mb": cell.predicted_peak_mb if cell and not here else None,
        "latency_ms": warm,
        "latency_ci_low_ms": here.latency_ci_low_ms if here and warm else None,
        "latency_ci_high_ms": here.latency_ci_high_ms if here and warm else None,
        "first_call_ms": pass_ms(here, "first") if here else None,
        "disturbed": is_disturbed(here) if here else None,
        "estimate_s": cell.estimate_s if cell and ending(cell) in NOT_RUN else None,
        "status_there": cell.status if cell else None,
        "reason_there": cell.reason_code if cell else None,
        **reach(one),
        "baseline": reference.model if reference else None,
        "compared_width": both[0].width if both else None,
        "compared_height": both[0].height if both else None,
        "speed_up": times.ratio if times else None,
        "speed_up_of": times.of if times else None,
        "speed_up_disturbed": (
            any(is_disturbed(record, times.of) for record in both) if both and times else None
        ),
        "memory_reduction": peaks.ratio if peaks else None,
        "parameter_reduction": (
            ratio(_any(reference.cells, "parameters"), parameters) if reference else None
        ),
    }


def reach(one: Series) -> dict[str, Any]:
    """How far it goes: as it was searched for, else by the sizes of the sweep.

    ``largest_megapixels`` is an end only where :func:`ended_by_memory`; else it is a bound.
    """
    searched = one.first.largest_searched
    if searched is not None:
        limit = searched["limit"]
        return {
            "largest_width": searched["width"],
            "largest_height": searched["height"],
            "largest_megapixels": searched["megapixels"],
            "largest_found_by": "search",
            "next_megapixels": searched["beyond_megapixels"],
            "next_status": ENDED_BY.get(limit),
            "next_reason_code": None,
        }
    largest = one.ok[-1] if one.ok else None
    beyond = next_size(one)
    return {
        "largest_width": largest.width if largest else None,
        "largest_height": largest.height if largest else None,
        "largest_megapixels": largest.megapixels if largest else None,
        "largest_found_by": "sweep" if largest else None,
        "next_megapixels": beyond.megapixels if beyond else None,
        "next_status": beyond.status if beyond else None,
        "next_reason_code": beyond.reason_code if beyond else None,
    }


def ended_by_memory(row: Mapping[str, Any]) -> bool:
    """Whether it was memory that kept the next size from running; else nobody knows the end."""
    return bool(row["next_status"] == "out_of_memory")


ENDED_BY = {"memory": "out_of_memory", "time": "timeout", "crash": "crashed"}
"""Status of the smallest image that did not run, by what kept it from running."""
_SETTINGS = (
    *("run", "model", "execution", "precision", "device", "alpha", "seed", "threads"),
    *("style_width", "style_height", "memory_cap_mb"),
)


def _compared(
    both: tuple[Record, Record] | None, values: Callable[[Iterable[Record]], Values | None]
) -> Values | None:
    return values(both) if both else None


def _measured_by_both(
    one: Series, reference: Series | None, common: CommonSize | None
) -> tuple[Record, Record] | None:
    """The cells to compare: at the table's size, else at the largest that both have."""
    if reference is None or common is None:
        return None
    sizes = [common.size, *((cell.width, cell.height) for cell in reversed(one.ok))]
    return next(
        (
            (ours, theirs)
            for size in sizes
            if (ours := one.at(size)) and (theirs := reference.at(size))
        ),
        None,
    )


def _any(cells: Iterable[Record], field: str) -> Any:
    return next((v for cell in cells if (v := getattr(cell, field)) is not None), None)

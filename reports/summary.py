"""What a run found, in sentences, from its numbers alone. Every sentence is Markdown."""

from collections import Counter
from collections.abc import Sequence

from bench.passes import (
    is_disturbed,
    like_peaks,
    like_times,
    no_like_times,
    peak_memory_mb,
    with_like_peaks,
)
from bench.record import Record
from reports.caveats import caveats, failures
from reports.model_rows import ENDED_BY, ended_by_memory, reach
from reports.quality_points import metric_interval, metrics_overlap, no_quality, trained_points
from reports.quality_remarks import absent_everywhere, metric_names
from reports.quality_table import comparable
from reports.results import (
    ENDING_WORDS,
    NOT_RUN,
    CommonSize,
    Results,
    Series,
    baseline,
    common_size,
    ending,
    next_size,
    ratio,
)
from reports.runs_table import runs_sentences
from reports.text import (
    count,
    gigabytes,
    listing,
    markdown,
    megapixels,
    number,
    percent_of,
    plus_minus,
    seconds,
)

_OF_THE_SIZES = " among the sizes of the run"
"""Of an end that lies between the largest size that fits and the next."""


def overview(results: Results) -> str:
    """How many cells of what there are and how they ended."""
    if not results.records:
        return "This run is empty: it has no record, so there is nothing to report."
    records = results.records
    several = f"{listing([markdown(run) for run in results.runs])}: " if results.runs else ""
    models = count(len(results.models), "model")
    devices = listing(list(dict.fromkeys(record.device for record in records)))
    caps = sorted({record.memory_cap_mb for record in records if record.memory_cap_mb})
    under = f" under a memory cap of {listing([gigabytes(cap) for cap in caps])}" if caps else ""
    ends = Counter(ending(record) for record in records)
    words = [
        f"{ends[end]} {'measured' if end == 'ok' else word}"
        for end, word in ENDING_WORDS.items()
        if ends[end]
    ]
    cells = count(len(records), "record")
    return f"{several}{cells} of {models} on {markdown(devices)}{under}: {listing(words)}."


def findings(results: Results) -> list[tuple[str, list[str]]]:
    """Headings and the sentences under each, the largest facts first.

    Those without anything to say are left out.
    """
    common = common_size(results.performance)
    sections = [
        ("Runs against each other", runs_sentences(results)),
        ("Against ratio 1", _reductions(results, common)),
        ("Cost", _costs(results, common)),
        ("Quality", _quality(results)),
        ("How far each model goes", _reaches(results)),
        ("What was not measured", failures(results)),
        ("Read with care", caveats(results)),
    ]
    return [(heading, sentences) for heading, sentences in sections if sentences]


def _name(one: Series) -> str:
    return f"**{markdown(one.label)}**" + (" (random weights)" if one.random else "")


def _size(cell: Record) -> str:
    return f"{megapixels(cell.megapixels)} ({cell.width}x{cell.height})"


def _reaches(results: Results) -> list[str]:
    """A sentence for each end, with the models that have it."""
    ends: dict[str, list[Series]] = {}
    for one in results.performance:
        ends.setdefault(_reach(one), []).append(one)
    every = len(results.performance) > 2 and len(ends) == 1
    return [
        f"{'Every model' if every else listing([_name(one) for one in series])}: {end}"
        for end, series in ends.items()
    ]


def _reach(one: Series) -> str:
    return " ".join(part for part in (_swept(one), _searched(one)) if part)


def _searched(one: Series) -> str | None:
    """What a search for the largest image found, beside the sizes of the sweep."""
    found = one.first.largest_searched
    if found is None:
        return None
    size = f"{megapixels(found['megapixels'])} ({found['width']}x{found['height']})"
    ended, beyond = ENDED_BY.get(found["limit"]), found["beyond_megapixels"]
    why = f"{megapixels(beyond)}: {ENDING_WORDS[ended]}" if ended else "nothing larger was tried"
    return f"Searched for, the largest that runs is {size}; {why}."


def _swept(one: Series) -> str:
    beyond = next_size(one)
    start = f"to {_size(one.ok[-1])}" if one.ok else "measured at no size"
    if beyond is None:
        return f"{start}, the largest that was asked for."
    why = ENDING_WORDS[ending(beyond)]
    if beyond.status == "out_of_memory" and beyond.requested_mb is not None:
        why += f", asking for {gigabytes(beyond.requested_mb)}"
        if beyond.free_mb is not None:
            why += f" with {gigabytes(beyond.free_mb)} free"
    elif beyond.estimate_s is not None and ending(beyond) in NOT_RUN:
        why += f", one pass extrapolated to {number(beyond.estimate_s)} s, not measured"
    return f"{start}; {megapixels(beyond.megapixels)}: {why}."


def _costs(results: Results, common: CommonSize | None) -> list[str]:
    if common is None or len(results.performance) < 2:
        return []
    cells = [(one, cell) for one in results.performance if (cell := one.at(common.size))]
    times = like_times(cell for _, cell in cells)
    timed = list(zip(times.each, [one for one, _ in cells], strict=True)) if times else []
    alike = with_like_peaks(cell for _, cell in cells)
    held = [(peak, one) for one, cell in cells if cell in alike and (peak := peak_memory_mb(cell))]
    size = f"{megapixels(common.megapixels)} ({common.size[0]}x{common.size[1]})"
    which = "every model was measured at" if not common.missing else "most were measured at"
    sentences = []
    if len(timed) > 1:
        (fast, quickest), (slow, slowest) = _ends(timed)
        sentences.append(
            f"At {size}, the largest size {which}, {_name(quickest)} is the fastest with "
            f"{seconds(fast)} and {_name(slowest)} the slowest with {seconds(slow)} a pass"
            f"{'' if times and times.of == 'warm' else ', each by its first pass, which is cold'}."
        )
    elif len(cells) > 1:
        sentences.append(
            f"At {size}, the largest size {which}, no fastest is named: "
            f"{no_like_times(cell for _, cell in cells)}."
        )
    if len(held) > 1:
        (low, smallest), (high, largest) = _ends(held)
        sentences.append(
            f"{'There' if sentences else f'At {size}'} {_name(smallest)} needs the least memory, "
            f"{gigabytes(low)}, and {_name(largest)} the most, {gigabytes(high)}."
        )
    if common.missing:
        sentences.append(
            "Without a measurement there: "
            f"{listing([markdown(one.label) for one in common.missing])}."
        )
    return sentences


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _ends(
    values: Sequence[tuple[float, Series]],
) -> tuple[tuple[float, Series], tuple[float, Series]]:
    return min(values, key=lambda pair: pair[0]), max(values, key=lambda pair: pair[0])


def _reductions(results: Results, common: CommonSize | None) -> list[str]:
    """The largest speed-up first."""
    sentences: list[tuple[float, str]] = []
    for one in results.performance:
        reference = baseline(one, results.performance)
        here = one.at(common.size) if common else None
        there = reference.at(common.size) if reference and common else None
        if reference is None or here is None or there is None:
            continue
        found = []
        times, peaks = like_times((here, there)), like_peaks((here, there))
        speed = times.ratio if times else None
        if times and speed:
            words = (
                f"{number(speed)} times as fast"
                if speed >= 1
                else f"{number(1 / speed)} times as long a pass"
            )
            careful = ["first passes, cold"] if times.of == "first" else []
            if any(is_disturbed(cell, times.of) for cell in (here, there)):
                careful.append("measured under disturbance")
            found.append(f"{words}{f' ({listing(careful)})' if careful else ''}")
        if peaks:
            found.append(f"{percent_of(peaks.ratio)} of its peak memory")
        if parameters := ratio(there.parameters, here.parameters):
            found.append(f"{percent_of(parameters)} of its parameters")
        if further := _further(one, reference):
            found.append(further)
        if found:
            if not times:
                found.append(f"no factor of speed, since {no_like_times((here, there))}")
            sentence = f"{_name(one)} against {_name(reference)} at {megapixels(here.megapixels)}"
            sentences.append((speed or 0.0, f"{sentence}: {listing(found)}."))
    return [sentence for _, sentence in sorted(sentences, key=lambda pair: -pair[0])]


def _further(one: Series, reference: Series) -> str | None:
    """How far it goes against ratio 1: a factor only where the end of ratio 1 is known.

    A quotient of two lower bounds bounds nothing, nor does one of an end that was searched for and
    a size of the sweep, beyond which the end may lie anywhere up to the next.
    """
    ours, theirs = reach(one), reach(reference)
    here, there = ours["largest_megapixels"], theirs["largest_megapixels"]
    if here is None or there is None or here == there:
        return None
    by_search = theirs["largest_found_by"] == "search"
    alike = ours["largest_found_by"] == theirs["largest_found_by"]
    if here < there or not ended_by_memory(theirs) or not (by_search or alike):
        return f"measured to {megapixels(here)} against {megapixels(there)}"
    bound = "" if ended_by_memory(ours) and alike else "at least "
    return f"{bound}{number(here / there)} times the pixels{'' if by_search else _OF_THE_SIZES}"


def _uncertain(value: float, record: Record, metric: str) -> str:
    ends = metric_interval(record, metric)
    return plus_minus(value, (ends[1] - ends[0]) / 2 if ends else None)


def _quality(results: Results) -> list[str]:
    points = trained_points(results)
    if not points:
        return [markdown(no_quality(results))] if results.records else []
    sentences = []
    compares = len({comparable(point.record) for point in points}) == 1
    if not compares:
        sentences.append(
            "Models were measured at different sizes, on different reference networks or image "
            "pairs: no best is named."
        )
    for metric, words in (
        ("style_loss", "style loss"),
        ("content_loss", "content loss"),
        ("lpips", "LPIPS"),
    ):
        valued = [
            (value, point)
            for point in points
            if (value := getattr(point.record, metric)) is not None
        ]
        if not valued or not compares:
            continue
        (low, best), *others = sorted(valued, key=lambda pair: pair[0])
        least = _uncertain(low, best.record, metric)
        if not others:
            sentences.append(f"{_capital(words)} of {_name(best.quality)}: {least}.")
            continue
        high, worst = others[-1]
        near = sum(metrics_overlap(metric, best.record, point.record) for _, point in others)
        which = f"all {near}" if near == len(others) else f"{near} of the {len(others)}"
        several = f"its 95 % interval overlaps {which} others'"
        meets = several if len(others) > 1 else "the two 95 % intervals overlap"
        sentences.append(
            f"Lowest {words}: {least}, {_name(best.quality)}{f' ({meets})' if near else ''}; "
            f"highest: {_uncertain(high, worst.record, metric)}, {_name(worst.quality)}."
        )
    if absent := absent_everywhere([point.record for point in points]):
        sentences.append(
            f"Not computed: {markdown(metric_names(absent))}; beneath the quality table stands why."
        )
    return sentences

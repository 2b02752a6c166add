"""What a run could not measure, and with what care its numbers are to be read: Markdown."""

from collections import Counter

from bench.measure.conditions import disturbances
from bench.passes import is_cold
from bench.record import Record
from reports.results import ENDING_WORDS, NOT_RUN, Results, ending
from reports.text import count, listing, markdown
from reports.words import message, message_of_it


def failures(results: Results) -> list[str]:
    """One sentence an ending and kind, with the models and the commonest messages."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for end in ENDING_WORDS:
        for record in results.records:
            if ending(record) == end != "ok":
                groups.setdefault((end, record.kind), []).append(record)
    sentences = []
    for (end, kind), records in groups.items():
        models = dict.fromkeys(results.models[record.model] for record in records)
        say = message if len(models) == 1 else message_of_it
        reasons = Counter(say(record) for record in records)
        first, times = reasons.most_common(1)[0]
        example = markdown(first).rstrip(".")
        sentences.append(
            f"{_capital(ENDING_WORDS[end])}: {count(len(records), f'{kind} record')} of "
            f"{listing([markdown(name) for name in models])} "
            f"({'' if times == len(records) else 'for example: '}{example})."
        )
    return sentences


def caveats(results: Results) -> list[str]:
    """What a reader must know before taking the numbers for more than they are."""
    sentences = []
    if results.unreadable:
        sentences.append(
            f"{count(results.unreadable, 'record')} cannot be read and "
            f"{'is' if results.unreadable == 1 else 'are'} left out; `bench report` names "
            f"{'it' if results.unreadable == 1 else 'them'}."
        )
    if names := results.random_models:
        sentences.append(
            f"{listing([markdown(name) for name in names])}: random weights. Speed and memory are "
            "those of the network; pictures and quality would mean nothing and are left out."
        )
    cells = [cell for one in results.performance for cell in one.cells]
    measured = [cell for cell in cells if cell.status == "ok"]
    if cold := sum(map(is_cold, measured)):
        sentences.append(
            f"{count(cold, 'cell has', 'cells have')} the first pass only, which is cold and has "
            "no interval: times are compared with it where the first pass of the other is known "
            "too, and never with warm ones."
        )
    if once := sum(cell.repeats == 1 and not is_cold(cell) for cell in measured):
        sentences.append(
            f"{count(once, 'cell was', 'cells were')} measured once, so without an interval."
        )
    unsure = sum(cell.converged is False and cell.repeats != 1 for cell in measured)
    if unsure:
        sentences.append(
            f"{count(unsure, 'cell')} met a limit before the interval reached its target."
        )
    disturbed = [found for cell in cells if (found := disturbances(cell.conditions))]
    if disturbed:
        labels = Counter(label for found in disturbed for label in found)
        named = listing([f"{n} {label.replace('_', ' ')}" for label, n in labels.most_common()])
        sentences.append(
            f"{count(len(disturbed), 'cell was', 'cells were')} measured under disturbance "
            f"({named}): their times may say more about it than about the model."
        )
    predicted = sum(cell.estimate_s is not None for cell in cells if ending(cell) in NOT_RUN)
    if predicted:
        sentences.append(
            f"{count(predicted, 'latency is', 'latencies are')} extrapolated, not measured."
        )
    return sentences


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]

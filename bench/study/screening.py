"""Whose answers count: files of one rater merged, and raters who fail the checks left out."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.study.formats import Answer, Answers, Key
from bench.study.statistics import Comparison

MIN_REPEATS = 3
"""Mirrored repeats that must all be contradicted before a rater is left out for it: somebody to
whom two results look the same contradicts each with probability 1/2."""


@dataclass(frozen=True)
class Rater:
    """One rater's answers, and how the checks went."""

    name: str
    file: Path
    answers: int
    asked: int
    """Questions on the sheet."""
    attention: int
    """Attention checks answered."""
    failed: int
    """Of these, answered with the broken picture."""
    repeats: int
    """Mirrored repeats answered."""
    consistent: int
    """Of these, answered as the first time."""
    left: int
    """Answers that chose the left picture."""
    median_ms: float
    """Of the time the pictures were in view, over all answers; 0 without any."""
    dropped: str
    """Why the rater's answers do not count; empty if they do."""
    comparisons: tuple[Comparison, ...]
    """The real questions, each once."""


def merge(files: Iterable[tuple[Path, Answers]]) -> tuple[list[tuple[Path, Answers]], list[str]]:
    """One file for each rater: the one with most answers, of equals the first.

    Returns:
        The files, by rater; and a line for each that was left out.
    """
    best: dict[str, tuple[Path, Answers]] = {}
    warnings = []
    for path, answers in files:
        known = best.get(answers.rater)
        if known is None:
            best[answers.rater] = path, answers
        elif answers == known[1]:
            warnings.append(f"{path}: the same answers as {known[0]}, counted once")
        else:
            more, less = known, (path, answers)
            if len(answers.answers) > len(known[1].answers):
                more, less = less, more
            best[answers.rater] = more
            warnings.append(
                f"{less[0]}: rater {answers.rater} is in {more[0]} too, which counts "
                f"({len(more[1].answers)} answers, here {len(less[1].answers)})"
            )
    return [best[name] for name in sorted(best)], warnings


def judge_rater(path: Path, answers: Answers, key: Key, *, max_failed: int = 0) -> Rater:
    """Look at one rater's checks.

    A rater is left out who chose the broken picture in more than ``max_failed`` attention checks;
    who met none although the sheet has some (too few answers); or who contradicted every one of
    ``MIN_REPEATS`` or more repeats: these are mirrored, so that is to choose a side, not a picture.

    Args:
        path: the file, to name it.
        answers: checked against ``key``, see :func:`bench.study.formats.read_answers`.
        key: of the study.
        max_failed: attention checks that may go wrong.
    """
    sheet = key.sheets[answers.sheet]
    comparisons: dict[frozenset[str], Comparison] = {}
    attention = failed = repeats = consistent = 0
    for answer in sorted(answers.answers, key=lambda one: one.question):
        kind = sheet[answer.question].kind
        chosen = key.pictures[answer.left if answer.choice == "left" else answer.right]
        what = frozenset((answer.left, answer.right))
        if kind == "attention":
            attention += 1
            failed += chosen.method is None
        elif kind == "comparison":
            comparisons[what] = _comparison(answers.rater, answer, key)
        elif what in comparisons:
            repeats += 1
            consistent += comparisons[what].winner == chosen.method
    dropped = ""
    if failed > max_failed:
        dropped = f"chose the broken picture in {failed} of {attention} attention checks"
    elif not comparisons:
        dropped = "answered no question"
    elif attention == 0 and any(question.kind == "attention" for question in sheet):
        dropped = f"stopped after {len(answers.answers)} answers, before any attention check"
    elif repeats >= MIN_REPEATS and consistent == 0:
        dropped = f"contradicted all {repeats} mirrored repeats: chose a side, not a picture"
    return Rater(
        name=answers.rater,
        file=path,
        answers=len(answers.answers),
        asked=len(sheet),
        attention=attention,
        failed=failed,
        repeats=repeats,
        consistent=consistent,
        left=sum(answer.choice == "left" for answer in answers.answers),
        median_ms=median(answer.ms for answer in answers.answers) if answers.answers else 0.0,
        dropped=dropped,
        comparisons=tuple(comparisons.values()),
    )


def _comparison(rater: str, answer: Answer, key: Key) -> Comparison:
    left, right = key.pictures[answer.left], key.pictures[answer.right]
    assert left.method is not None  # a key says so of its comparisons
    assert right.method is not None
    # by name, so that what stood left says nothing to the statistics
    first, second = sorted((left.method, right.method))
    winner = left.method if answer.choice == "left" else right.method
    return Comparison(rater=rater, pair=left.pair, first=first, second=second, winner=winner)

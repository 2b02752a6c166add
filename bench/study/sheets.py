"""Which questions a rater is asked, in which order, and what stands left: drawn before the study.

A sheet is one rater's questions. Sheets are dealt like cards, so that every comparison comes up
equally often over the sheets and the pairs of methods equally often within one. On each sheet every
method stands left as often as right, or once more; sheets come in twins that ask the same with left
and right swapped and in another order, so that over both each comparison is balanced exactly.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, zip_longest
from typing import Literal

Kind = Literal["comparison", "repeat", "attention"]
Duel = tuple[str, str, str]
"""A comparison: the pair's name and two methods."""

BROKEN = ""
"""Stands for the picture that is obviously wrong, in place of a method."""
REPEAT_DISTANCE = 4
"""Questions between a comparison and its mirrored repeat, where the sheet is long enough."""


@dataclass(frozen=True)
class Question:
    """Two results of one content-style pair, side by side."""

    pair: str
    left: str
    right: str
    kind: Kind = "comparison"

    @property
    def duel(self) -> tuple[str, str, str]:
        """What is compared, whatever stands left."""
        return (self.pair, *sorted((self.left, self.right)))  # type: ignore[return-value]

    def mirrored(self) -> "Question":
        """With left and right swapped."""
        return replace(self, left=self.right, right=self.left)


@dataclass(frozen=True)
class Design:
    """How much every rater is asked."""

    comparisons: int
    """Real questions on a sheet; at most as many as there are comparisons."""
    attention: int = 3
    """Questions of which one answer is obviously wrong."""
    repeats: int = 3
    """Comparisons that come a second time, mirrored."""
    sheets: int = 24
    """Different sheets; an even number, in twins."""


def duels(pairs: Iterable[tuple[str, Iterable[str]]]) -> list[Duel]:
    """Every comparison of two methods on a pair, of pairs given with the methods they have."""
    return [(pair, *two) for pair, methods in pairs for two in combinations(sorted(methods), 2)]


def make_sheets(every: Sequence[Duel], design: Design, *, seed: int) -> list[list[Question]]:
    """The sheets of a study.

    Args:
        every: all comparisons, each once.
        design: how much is asked; ``comparisons`` at most ``len(every)``, ``repeats`` at most
            ``comparisons``, ``sheets`` even.
        seed: of everything drawn; the same gives the same sheets.
    """
    if not 1 <= design.comparisons <= len(every) or design.repeats > design.comparisons:
        raise ValueError(f"{design} cannot be had of {len(every)} comparisons")
    if design.sheets % 2:
        raise ValueError(f"sheets come in twins; got {design.sheets}")
    rng = random.Random(seed)
    deck: list[Duel] = []
    sheets = []
    for _ in range(design.sheets // 2):
        drawn, deck = _deal(every, deck, design.comparisons, rng)
        asked = _oriented(drawn, rng)
        repeated = [
            replace(one.mirrored(), kind="repeat") for one in rng.sample(asked, design.repeats)
        ]
        checks = _attention(drawn, design.attention, rng)
        swapped = [[one.mirrored() for one in part] for part in (asked, repeated, checks)]
        sheets.append(_ordered(asked, repeated, checks, rng))
        sheets.append(_ordered(swapped[0], swapped[1], swapped[2], rng))
    return sheets


def _deal(
    every: Sequence[Duel], deck: list[Duel], count: int, rng: random.Random
) -> tuple[list[Duel], list[Duel]]:
    """The next ``count`` distinct cards and the deck that is left, shuffled anew when it is out."""
    drawn: list[Duel] = []
    while len(drawn) < count:
        fresh = [card for card in deck if card not in drawn][: count - len(drawn)]
        drawn += fresh
        deck = [card for card in deck if card not in fresh]
        if len(drawn) < count:
            deck = [*deck, *_shuffled_deck(every, rng)]
    return drawn, deck


def _shuffled_deck(every: Sequence[Duel], rng: random.Random) -> list[Duel]:
    """All cards, the pairs of methods taking turns."""
    suits: dict[tuple[str, str], list[Duel]] = {}
    for card in rng.sample(every, len(every)):
        suits.setdefault(card[1:], []).append(card)
    return [card for turn in zip_longest(*suits.values()) for card in turn if card is not None]


def _oriented(drawn: Sequence[Duel], rng: random.Random) -> list[Question]:
    """Left and right such that each method stands left as often as right, or one apart.

    Comparisons are the edges of a graph of methods. With an edge more between methods of odd
    degree and a further node, every degree is even, so closed trails cover all edges; along them
    every method is left as often as it is entered.
    """
    ends = [list(card[1:]) for card in drawn]
    degree = dict.fromkeys(sorted({method for pair in ends for method in pair}), 0)
    for pair in ends:
        for method in pair:
            degree[method] += 1
    ends += [[method, BROKEN] for method, count in degree.items() if count % 2]
    open_edges: dict[str, list[int]] = {}
    for index in rng.sample(range(len(ends)), len(ends)):
        for method in ends[index]:
            open_edges.setdefault(method, []).append(index)
    left: dict[int, str] = {}
    for start in rng.sample(sorted(open_edges), len(open_edges)):
        here = start
        while open_edges[here]:
            index = open_edges[here].pop()
            if index in left:
                continue
            left[index] = here
            here = ends[index][ends[index][0] == here]
    return [
        Question(card[0], left[index], card[2] if left[index] == card[1] else card[1])
        for index, card in enumerate(drawn)
    ]


def _attention(drawn: Sequence[Duel], count: int, rng: random.Random) -> list[Question]:
    """A result against a broken picture, which stands on either side equally often."""
    sides = [bool(index % 2) for index in range(count)]
    rng.shuffle(sides)
    checks = []
    for on_left in sides:
        pair, *methods = rng.choice(drawn)
        check = Question(pair, rng.choice(methods), BROKEN, "attention")
        checks.append(check.mirrored() if on_left else check)
    return checks


def _ordered(
    asked: Sequence[Question],
    repeated: Sequence[Question],
    checks: Sequence[Question],
    rng: random.Random,
) -> list[Question]:
    """One order for all: checks spread over the sheet, repeats well after what they repeat."""
    sheet = rng.sample(asked, len(asked))
    # what is repeated comes in the first half, so that there is room behind it
    again = {one.duel for one in repeated}
    early = [one for one in sheet if one.duel in again]
    sheet = [one for one in sheet if one.duel not in again]
    half = max(1, len(asked) // 2)
    for one in early:
        sheet.insert(rng.randrange(min(half, len(sheet) + 1)), one)
    for one in repeated:
        first = next(i for i, other in enumerate(sheet) if other.duel == one.duel)
        earliest = min(first + 1 + REPEAT_DISTANCE, len(sheet))
        sheet.insert(rng.randint(earliest, len(sheet)), one)
    stretch = len(sheet) / max(1, len(checks))
    for index in reversed(range(len(checks))):
        place = int(stretch * index + rng.random() * stretch)
        sheet.insert(max(1, place), checks[index])
    return sheet

"""Which cells of two sides are the same, and which only one of them has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.compare.side import Key, Side, SideCell
from bench.errors import UserError
from distill.suggest import one_line

_EXAMPLES = 3


@dataclass(frozen=True)
class Matched:
    """The cells of two sides, in the base's order."""

    pairs: tuple[tuple[SideCell, SideCell], ...]
    vanished: tuple[SideCell, ...]
    """The base has them, and the new side was asked for them as well and has not."""
    left_out: tuple[SideCell, ...]
    """The base has them, and they are not to count."""
    added: tuple[SideCell, ...]
    """Only the new side has them."""


def match_cells(base: Side, new: Side, *, partial: bool) -> Matched:
    """Pair the cells.

    Cells are the same if everything that defines them is, but for the versions of code and weights.
    A model's weights may lie in another folder, if that leaves one cell on either side.

    Args:
        base: what to compare with.
        new: what is compared.
        partial: whether cells that only one side has are to be passed over.

    Raises:
        UserError: if no cell is shared; and, unless ``partial``, if the base has cells that the new
            side was not asked for, or lacks cells that both were asked for.
    """
    partner = {key: key for key in base.cells if key in new.cells}
    partner |= _moved(
        [cell for key, cell in base.cells.items() if key not in partner],
        [cell for key, cell in new.cells.items() if key not in partner],
    )
    found = set(partner.values())
    gone = [cell for key, cell in base.cells.items() if key not in partner]
    added = tuple(cell for key, cell in new.cells.items() if key not in found)
    if not partner:
        raise UserError(
            one_line(
                f"{base.path} and {new.path} have no cell in common: the former has "
                f"{_listed(gone)}, the latter {_listed(added)}"
            )
        )
    same_question = base.asked is not None and base.asked == new.asked
    if not partial:
        _refuse_what_both_lack(base, new)
        _refuse_fewer(base, new, gone, added, same_question=same_question)
    vanished = gone if same_question and not partial else []
    return Matched(
        pairs=tuple((base.cells[key], new.cells[other]) for key, other in partner.items()),
        vanished=tuple(vanished),
        left_out=tuple([] if vanished else gone),
        added=added,
    )


def _refuse_what_both_lack(base: Side, new: Side) -> None:
    """What neither has was asked for all the same."""
    if names := lacked_by_both(base, new):
        raise UserError(
            one_line(
                f"{base.path} and {new.path}: both lack {some(names)}, which both were asked for "
                "(unfinished runs? complete them with 'bench run --resume'); --partial compares "
                "what both have"
            )
        )


def lacked_by_both(base: Side, new: Side) -> list[str]:
    """Labels of the cells that both sides were asked for and neither has."""
    return [name for key, name in base.lacking.items() if key in new.lacking]


def _refuse_fewer(
    base: Side,
    new: Side,
    gone: Sequence[SideCell],
    added: Sequence[SideCell],
    *,
    same_question: bool,
) -> None:
    """An unfinished base, or a new side that was asked for less, would pass by not being looked at.

    What vanished although it was asked for is no wrong use but a result.
    """
    if same_question and added:
        lacking, cells, why = (
            base,
            added,
            "an unfinished run? complete it with 'bench run --resume'",
        )
    elif gone and not same_question:
        lacking, cells, why = new, gone, "its scenario asks for fewer"
    else:
        return
    raise UserError(
        one_line(
            f"{lacking.path}: lacks {_listed(cells)}, which the other side has ({why}); "
            "--partial compares what both have"
        )
    )


def _moved(base: Sequence[SideCell], new: Sequence[SideCell]) -> dict[Key, Key]:
    """Cells that differ in the folder of the weights alone."""

    def by_model(cells: Sequence[SideCell]) -> dict[Key, list[Key]]:
        groups: dict[Key, list[Key]] = {}
        for cell in cells:
            if "model" in cell.identity:
                name = str(cell.identity["model"]).partition(":")[0]
                place = tuple(sorted({**cell.identity, "model": name}.items()))
                groups.setdefault(place, []).append(cell.key)
        return groups

    theirs = by_model(new)
    return {
        keys[0]: theirs[place][0]
        for place, keys in by_model(base).items()
        if len(keys) == 1 and len(theirs.get(place, ())) == 1
    }


def _listed(cells: Sequence[SideCell]) -> str:
    return some([label(cell.identity) for cell in cells])


def some(names: Sequence[str]) -> str:
    """``5 cells (a, b, c and 2 more)``."""
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    listed = ", ".join(names[:_EXAMPLES])
    return f"{len(names)} cell{'s' if len(names) != 1 else ''} ({listed}{more})"


_WORDS = {
    "device": "on {}",
    "memory_cap_mb": "cap {:.4g} MB",
    "threads": "{} threads",
    "cudnn_benchmark": "cudnn.benchmark {}",
    "alpha": "alpha {:g}",
    "seed": "seed {}",
}


def label(identity: Mapping[str, Any], also: Sequence[str] = ()) -> str:
    """Short text that tells a cell; ``also`` names further fields that set it apart."""
    if "benchmark" in identity:
        return str(identity["benchmark"])
    words = [str(identity[name]) for name in ("model", "execution", "precision")]
    words.append(f"{identity['width']}x{identity['height']}")
    if identity["kind"] == "quality":
        words.append("quality")
    if "style_width" in also:
        words.append(f"style {identity['style_width']}x{identity['style_height']}")
    for name, form in _WORDS.items():
        if name in also:
            value = identity[name]
            words.append(f"no {name.removesuffix('_mb')}" if value is None else form.format(value))
    return " ".join(words)


def varying(identities: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The fields beyond model, execution, precision and size in which cells differ."""
    fields = ("style_width", *_WORDS)
    return tuple(name for name in fields if len({one.get(name) for one in identities if one}) > 1)

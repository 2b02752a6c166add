"""What a study compares: methods, each a model under settings, and their names."""

from collections.abc import Callable, Iterable, Mapping

from bench.record import Record
from bench.units import Size
from distill.models import short_names


def _cap(record: Record) -> str:
    cap = record.memory_cap_mb
    return "no cap" if cap is None else f"cap {cap / 1e3:.3g} GB"


SETTINGS: Mapping[str, Callable[[Record], str]] = {
    "device": lambda r: r.device,
    "precision": lambda r: r.precision,
    "execution": lambda r: r.execution,
    "size": lambda r: str(Size(r.width, r.height)),
    "alpha": lambda r: f"alpha {r.alpha:g}",
    "seed": lambda r: f"seed {r.seed}",
    "threads": lambda r: "any threads" if r.threads is None else f"{r.threads} threads",
    "style": lambda r: f"style {Size(r.style_width, r.style_height)}",
    "cap": _cap,
}
"""Words for each setting of a record, to stand behind a model's name."""


def methods_of(records: Iterable[Record]) -> dict[str, Record]:
    """Records by the name of their method: ``MODEL``, or ``MODEL (fp16, alpha 0.5)``.

    The model comes without the folders of its weights, as far as it stays distinct, and with the
    settings in which records differ, as in the labels of a report. Of a cell that was repeated the
    last counts; cells whose settings read the same have their id behind the name.
    """
    last = list({record.id: record for record in records}.values())
    short = short_names([record.model for record in last])
    varying = [words for words in SETTINGS.values() if len({words(one) for one in last}) > 1]
    named: dict[str, Record] = {}
    for record in last:
        settings = ", ".join(words(record) for words in varying)
        name = f"{short[record.model]} ({settings})" if settings else short[record.model]
        named[name if name not in named else f"{name} {record.id}"] = record
    return named

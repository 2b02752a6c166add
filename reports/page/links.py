"""From the numbers of a table to the records that they come from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.results import RunRecord
from reports.table import Row

Places = tuple[int, ...]
"""Positions of records in the run's order."""

_IDENTITY = (
    *("run", "model", "execution", "precision", "device", "alpha", "seed", "threads"),
    "memory_cap_mb",
)
_HERE = ("gflops", "peak_memory_mb", "latency_ms", "first_call_ms")
_AGAINST = ("speed_up", "memory_reduction")


@dataclass(frozen=True)
class Sources:
    """Where a row comes from."""

    row: Places
    """All of its records."""
    cells: dict[str, Places] = field(default_factory=dict)
    """Of columns whose number is that of some of them: the column's key and those."""


class RecordIndex:
    """Records by what names them."""

    def __init__(self, records: Sequence[RunRecord]) -> None:
        self.records = records
        self._of_cell: dict[tuple[str, str], list[int]] = {}
        self._alike: dict[tuple[str, ...], dict[tuple[Any, ...], Places]] = {}
        for place, record in enumerate(records):
            self._of_cell.setdefault((record.run, record.id), []).append(place)

    def of_cells(self, cells: Iterable[RunRecord]) -> Places:
        """Every process that measured any of these."""
        found = (self._of_cell.get((cell.run, cell.id), ()) for cell in cells)
        return tuple(place for places in found for place in places)

    def sources(self, row: Row) -> Sources:
        """The records of a table's row: by its ``id``, else by the settings that it names."""
        if row.get("id") is not None:
            places = self._of_cell.get((str(row.get("run") or ""), str(row["id"])), [])
            repeat = row.get("repeat")
            return Sources(tuple(p for p in places if repeat in (None, self.records[p].repeat)))
        if row.get("model") is None:
            return Sources(())
        own = self._like(row, str(row["model"]))
        found: dict[str, Places] = dict.fromkeys(_HERE, self._at(own, row, "common"))
        found["largest_megapixels"] = self._at(own, row, "largest")
        found["next_status"] = tuple(
            place
            for place in own
            if self.records[place].megapixels == row.get("next_megapixels")
            and self.records[place].status == row.get("next_status")
        )
        if row.get("baseline") is not None:
            baseline = self._like(row, str(row["baseline"]))
            both = self._at(own, row, "compared"), self._at(baseline, row, "compared")
            found |= dict.fromkeys(_AGAINST, both[0] + both[1] if all(both) else ())
        return Sources(own, {key: places for key, places in found.items() if places})

    def _like(self, row: Row, model: str) -> Places:
        """Performance records of ``model`` under the row's settings."""
        keys = tuple(key for key in _IDENTITY if key in row)
        if keys not in self._alike:
            groups: dict[tuple[Any, ...], list[int]] = {}
            for place, record in enumerate(self.records):
                if record.kind == "performance":
                    settings = tuple(getattr(record, key) for key in keys)
                    groups.setdefault(settings, []).append(place)
            self._alike[keys] = {settings: tuple(found) for settings, found in groups.items()}
        wanted = tuple(model if key == "model" else row[key] for key in keys)
        return self._alike[keys].get(wanted, ())

    def _at(self, places: Places, row: Row, which: str) -> Places:
        """Those of the size that the row calls ``which``."""
        size = (row.get(f"{which}_width"), row.get(f"{which}_height"))
        return tuple(
            place
            for place in places
            if (self.records[place].width, self.records[place].height) == size
        )

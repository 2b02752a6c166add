"""One side of a comparison: cells, each with what every process measured."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import PurePath
from typing import Any, Literal

from bench.measure.conditions import disturbances
from bench.passes import is_cold
from bench.record import FAILED, Record, cut_by_run
from bench.run.schedule import DECIDED
from bench.run.turn_numbers import Turns
from distill.errors import UserError

Key = tuple[tuple[str, Any], ...]
_DEFINING = (
    "kind",
    "model",
    "execution",
    "precision",
    "width",
    "height",
    "style_width",
    "style_height",
    "alpha",
    "seed",
    "threads",
    "cudnn_benchmark",
    "memory_cap_mb",
)


@dataclass(frozen=True)
class Process:
    """What one process measured of a cell."""

    repeat: int
    began: float | None
    """Seconds since the epoch."""
    ended: float | None
    values: Mapping[str, float]
    """By field of the record."""
    once: bool = False
    """Whether its latency is that of the first pass: there was no time for another."""
    conditions: tuple[str, ...] | None = None
    """What disturbed it, as records have it; None where that was not watched."""
    turn: tuple[str, int] | None = None
    """Session and number where two sides took turns: what tells the order, whatever the clock."""


@dataclass(frozen=True)
class Quality:
    """What a quality cell found; values by metric, also those of plug-ins."""

    values: Mapping[str, float]
    pairs: tuple[Mapping[str, Any], ...] = ()
    """Of content and style: their names and each metric."""
    definitions: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    """Metric asked for and not computed: why."""


@dataclass(frozen=True)
class SideCell:
    """A cell of one side, all its processes together."""

    identity: Mapping[str, Any]
    """What defines it, apart from the versions of code and weights."""
    status: str
    """``ok`` if every process that ran was."""
    reason_code: str | None = None
    reason: str | None = None
    processes: tuple[Process, ...] = ()
    """Those that were ok, in the order of the rounds."""
    quality: Quality | None = None
    weights_digest: str | None = None

    @property
    def key(self) -> Key:
        """The identity, hashable."""
        return tuple(sorted(self.identity.items()))

    @property
    def failed(self) -> bool:
        """Whether it ran and did not get through, or was not started for that reason.

        Not where the run's time was over: that says nothing of the cell.
        """
        if self.cut_by_run:
            return False
        return self.status in FAILED or self.status == "unsupported" or self.out_of_reach

    @property
    def cut_by_run(self) -> bool:
        """Whether the run's time limit stopped it or kept it from starting."""
        return cut_by_run(self.status, self.reason_code)

    @property
    def impossible(self) -> bool:
        """Whether no version of the code could be measured: the device or the weights lack it."""
        return self.status == "unsupported" or self.reason_code == "random_weights"

    @property
    def out_of_reach(self) -> bool:
        """Skipped because it would take too long or too much memory."""
        return self.status == "skipped" and self.reason_code in DECIDED - {"run_time_limit"}


@dataclass(frozen=True)
class Side:
    """One of the two inputs of a comparison."""

    path: str
    kind: Literal["run", "baseline", "pytest-benchmark"]
    environment: Mapping[str, Any]
    cells: Mapping[Key, SideCell]
    asked: Mapping[str, Any] | None
    """The keys of the scenario that decide which cells there are; None where there is none."""
    lacking: Mapping[Key, str] = field(default_factory=dict)
    """Labels of the cells that its scenario asks for and that have no record."""
    warmup: int | None = None
    measured_at: str | None = None

    @property
    def code_version(self) -> str | None:
        """Of what was measured."""
        version = self.environment.get("code_version")
        return None if version is None else str(version)


def cells_of(
    records: Iterable[Record], *, path: str, turns: Turns | None = None
) -> dict[Key, SideCell]:
    """Records by cell, processes in order; ``turns`` where those were kept.

    Raises ``UserError`` if a cell was measured under two conditions that do not tell cells apart.
    """
    grouped: dict[Key, list[Record]] = {}
    for record in records:
        grouped.setdefault(tuple(sorted(identity(dict(record)).items())), []).append(record)
    return {k: _merge(dict(k), group, path=path, turns=turns) for k, group in grouped.items()}


def identity(of: Mapping[str, Any]) -> dict[str, Any]:
    """What makes cells of two runs the same one, from a record's fields; values can be hashed.

    Paths of images count by their names: two checkouts are two folders.
    """
    found: dict[str, Any] = {name: of[name] for name in _DEFINING}
    found["cudnn_benchmark"] = bool(found["cudnn_benchmark"])  # none on a CPU
    found["device"] = str(of["device"]).partition(":")[0]
    for role in ("content", "style"):
        found[role] = tuple(PurePath(image).name for image in of[role])
    return found


def _merge(
    identity: Mapping[str, Any], group: Sequence[Record], *, path: str, turns: Turns | None
) -> SideCell:
    if len({record.id for record in group}) > 1:
        # The id also stands for the code, the weights and the folders of the images.
        versions = sorted({f"{r.code_version}, cell {r.id}" for r in group})
        raise UserError(
            f"{path}: {group[0].model} at {group[0].width}x{group[0].height} was measured under "
            f"several conditions ({'; '.join(versions)}): compare runs of one version each"
        )
    group = sorted(group, key=lambda record: record.repeat)
    for one, other in pairwise(group):
        if one.repeat == other.repeat:
            raise UserError(
                f"{path}: has process {one.repeat} of cell {one.id} twice: a copy is no measurement"
            )
    # Later rounds may have been left out for want of time; the earlier ones still count.
    ran = [
        record
        for record in group
        if record.status not in ("skipped", "predicted")
        and not cut_by_run(record.status, record.reason_code)
    ] or group[:1]
    ok = [record for record in ran if record.status == "ok"]
    told = next((record for record in ran if record.status != "ok"), ran[0])
    return SideCell(
        identity=identity,
        status=told.status,
        reason_code=told.reason_code,
        reason=told.reason,
        processes=tuple(_process(record, turns) for record in ok),
        quality=_quality(ok[0]) if ok and told.kind == "quality" else None,
        weights_digest=next((r.weights_digest for r in group if r.weights_digest), None),
    )


def number(value: float) -> float:
    """As a float; of an integer beyond all floats infinity, which no verdict is built on."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _process(record: Record, turns: Turns | None) -> Process:
    began = None
    if record.started_at:
        try:
            began = datetime.fromisoformat(record.started_at).timestamp()
        except ValueError:
            began = None
    values = {
        name: number(value)
        for name, value in record
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Process(
        repeat=record.repeat,
        began=began,
        ended=None if began is None or record.duration_s is None else began + record.duration_s,
        values=values,
        once=is_cold(record),
        conditions=None if record.conditions is None else tuple(disturbances(record.conditions)),
        turn=None if turns is None else turns.of(record.id, record.repeat),
    )


def _quality(record: Record) -> Quality:
    definitions = record.quality_definitions or {}
    values = {
        name: float(value)
        for name in definitions
        if (value := getattr(record, name, None)) is not None
    }
    extra = {f"{name}{end}" for name in definitions for end in ("_low", "_high")}
    values |= {name: float(v) for name in extra if (v := getattr(record, name, None)) is not None}
    return Quality(
        values=values | dict(record.quality_other or {}),
        pairs=tuple(record.per_pair or ()),
        definitions=definitions,
        absent=record.metrics_absent or {},
    )

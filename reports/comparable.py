"""Which runs may be laid over each other, and what differs between them.

Two runs differ in their machine, their software or their code; in one of these they are compared,
and a difference can come from it alone. All else must agree: the settings of the measurement and,
where both have quality, what its numbers are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bench.measure.environment_differences import environment_differences
from reports.reading import read_results
from reports.results import RunRecord
from reports.text import image_name, listing, one_line

_MACHINE = frozenset(
    {
        *("device", "machine", "cpu", "cpu_logical_cores", "cpu_usable_cores", "memory_total_mb"),
        *("cpu_quota_cores", "memory_limit_mb"),
        *("torch_threads", "gpu", "gpu_memory_mb", "gpu_driver", "gpu_power_limit_w", "gpu_ecc"),
    }
)
_CODE = frozenset({"code_version"})
_FORM = frozenset({"environment_schema"})
"""What says which facts an environment can have; kept wherever some of them are compared."""
_SETTINGS = (
    "memory_cap",
    "style_resolution",
    "alpha",
    "seed",
    "threads",
    "cudnn_benchmark",
    "measure",
)
"""Keys of a scenario that must agree; the other ones are dimensions, whose union is shown."""
_REPETITIONS = frozenset({"measure.processes", "measure.retry_disturbed", "measure.energy"})
"""More of them say more of the same; energy is measured after all else."""
_QUALITY = ("resolution", "network", "teacher", "max_pairs")
"""The same, under ``quality``; where a network is read from says nothing."""


@dataclass(frozen=True)
class Differences:
    """Between a run and the first."""

    dimensions: dict[str, list[str]]
    """``machine``, ``software`` and ``code``, as far as they differ, and in what."""
    settings: list[str]
    """What should agree and does not."""


@dataclass(frozen=True)
class Run:
    """A run folder, read."""

    path: Path
    frame: pd.DataFrame
    """One row a record."""
    environment: Mapping[str, Any]
    scenario: Mapping[str, Any]
    unreadable: int = 0
    """How many of its records cannot be read, and so are not in the frame."""

    @cached_property
    def records(self) -> tuple[RunRecord, ...]:
        """Its records, in order."""
        return read_results(self.frame).records


def differences(first: Run, other: Run) -> Differences:
    """What differs between two runs, in words: ``CPU: A against B``."""
    a, b = first.environment, other.environment
    dimensions = {
        "machine": _differ(_part(a, _MACHINE), _part(b, _MACHINE)),
        "software": _software(a, b),
        "code": _differ(_part(a, _CODE), _part(b, _CODE)),
    }
    return Differences(
        {name: lines for name, lines in dimensions.items() if lines},
        [
            *_settings(first.scenario, other.scenario),
            *_quality(first.records, other.records),
        ],
    )


def _part(environment: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in environment.items() if key in keys | _FORM}


def _differ(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [one_line(line) for line in environment_differences(a, b)]


def _software(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Between a CPU and a GPU, not what only one of them feels: CUDA, and a build of one version
    for it."""
    parts = [
        {key: value for key, value in one.items() if key not in _MACHINE | _CODE} for one in (a, b)
    ]
    kinds = {str(one.get("device", "")).partition(":")[0] for one in (a, b)}
    for part in parts:
        part["device"] = "cuda" if kinds == {"cuda"} else "cpu"
        if len(kinds) > 1:
            part["torch"] = str(part.get("torch", "")).partition("+")[0]
            part["torchvision"] = str(part.get("torchvision", "")).partition("+")[0]
    return _differ(*parts)


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    yield from _unequal("", _chosen(a, _SETTINGS), _chosen(b, _SETTINGS))
    ours, theirs = a.get("quality"), b.get("quality")
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        yield from _unequal("quality.", _chosen(ours, _QUALITY), _chosen(theirs, _QUALITY))


def _chosen(settings: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: settings[key] for key in keys if key in settings}


def _unequal(prefix: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Of the keys that both have: one that is missing is one that an older version did not know."""
    for key in ours:
        if key not in theirs or f"{prefix}{key}" in _REPETITIONS:
            continue
        if isinstance(ours[key], Mapping) and isinstance(theirs[key], Mapping):
            yield from _unequal(f"{prefix}{key}.", ours[key], theirs[key])
        elif ours[key] != theirs[key]:
            yield one_line(f"{prefix}{key}: {_shown(ours[key])} against {_shown(theirs[key])}")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _quality(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> Iterator[str]:
    """What the quality of both is of: image pairs and definitions of the metrics both have."""
    ours, theirs = (
        [record for record in records if record.kind == "quality" and record.status == "ok"]
        for records in (a, b)
    )
    if not ours or not theirs:
        return
    pairs = [{pair for record in records for pair in _pairs(record)} for records in (ours, theirs)]
    if pairs[0] != pairs[1]:
        only = [sorted(pairs[0] - pairs[1]), sorted(pairs[1] - pairs[0])]
        counts = [f"{len(extra)} of {len(found)}" for extra, found in zip(only, pairs, strict=True)]
        example = next(pair for extra in only for pair in extra)
        yield one_line(
            f"image pairs: {counts[0]} against {counts[1]} are not in the other, "
            f"such as {' with '.join(example)}"
        )
    known = [_definitions(records) for records in (ours, theirs)]
    for metric in sorted(known[0].keys() & known[1].keys()):
        if known[0][metric] != known[1][metric]:
            texts = [listing(sorted(found[metric])) for found in known]
            yield one_line(f"definition of {metric}: {texts[0]} against {texts[1]}")


def _pairs(record: RunRecord) -> Iterator[tuple[str, str]]:
    """By the files' names: machines keep the same pictures in different folders."""
    for pair in record.per_pair or []:
        yield image_name(str(pair.get("content"))), image_name(str(pair.get("style")))


def _definitions(records: Sequence[RunRecord]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for record in records:
        for metric, words in (record.quality_definitions or {}).items():
            found.setdefault(metric, set()).add(words)
    return found

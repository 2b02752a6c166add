"""What can be compared: run folders, stored baselines, pytest-benchmark's JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.compare.asked import lacking_cells
from bench.compare.pytest_benchmark import is_benchmark, side_of_benchmarks
from bench.compare.side import Side, cells_of
from bench.errors import UserError
from bench.record import Record
from bench.run.records import CELLS, parse_record, read_records
from bench.run.store import ENVIRONMENT, SCENARIO, check_run_folder
from bench.run.turn_numbers import Turns, read_turns
from bench.scenario.load import MAX_FILE_BYTES
from distill.files import read_regular
from distill.suggest import did_you_mean_path, one_line

BASELINE_FORMAT = "ultrastyle-bench baseline"
BASELINE_VERSION = 1
_ASKED = (
    "models",
    "execution",
    "precision",
    "alpha",
    "resolutions",
    "memory_cap",
    "style_resolution",
    "seed",
    "threads",
    "quality",
    "exclude",
)
"""Keys of a scenario that decide which cells there are (its images go by their names)."""


def load_side(path: Path, *, baselines: Path) -> Side:
    """Read one side of a comparison.

    Args:
        path: a run folder, a baseline's file, a pytest-benchmark JSON file or a folder of several
            (each of a process of its own); or the name of a baseline in ``baselines``.
        baselines: folder of stored baselines.

    Raises:
        UserError: for anything else, and for files that are damaged, empty or of another version.
    """
    stored = baselines / f"{path}.json"
    if not path.exists() and stored.is_file():
        path = stored
    if not path.exists():
        raise UserError(
            one_line(
                f"{path}: no such run folder, baseline or pytest-benchmark file"
                f"{did_you_mean_path(path)}"
            )
        )
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if (path / CELLS).exists() or (path / SCENARIO).exists() or not files:
            return _run_side(path)
        contents = {file: read_json(file) for file in files if file.name != ENVIRONMENT}
        if contents and all(map(is_benchmark, contents.values())):
            return side_of_benchmarks(str(path), contents)
        return _run_side(path)
    content = read_json(path)
    if is_benchmark(content):
        return side_of_benchmarks(str(path), {path: content})
    return _side(str(path), "baseline", read_baseline(path, content))


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises ``UserError`` if it cannot be read."""
    try:
        text = read_regular(path)
    except OSError as error:
        raise UserError(one_line(f"{path}: cannot be read: {error.strerror}")) from None
    if not text.strip():
        raise UserError(one_line(f"{path}: is empty"))
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(one_line(f"{path}: not a whole JSON file: {error}")) from None


class Stored(dict[str, Any]):
    """What a run or a baseline keeps: ``environment``, ``scenario`` and ``records``, checked."""

    @property
    def records(self) -> list[Record]:
        """At least one."""
        found: list[Record] = self["records"]
        return found


def read_run(path: Path) -> Stored:
    """A run folder's environment, scenario and records; takes no lock.

    Raises ``UserError`` if any of it is missing or damaged: no cell is left out in silence.
    """
    check_run_folder(path)
    problems: list[str] = []
    records = read_records(path, report=lambda line: problems.append(str(line).rpartition(";")[0]))
    if problems:
        raise _first_of(problems)
    if not records:
        raise UserError(one_line(f"{path}: has no records: nothing was measured"))
    environment = read_json(path / ENVIRONMENT)
    try:
        scenario = yaml.safe_load(read_regular(path / SCENARIO, most=MAX_FILE_BYTES))
    except OSError as error:
        raise UserError(one_line(f"{path / SCENARIO}: cannot be read: {error.strerror}")) from None
    except (yaml.YAMLError, ValueError, RecursionError):  # an impossible date is a ValueError
        raise UserError(one_line(f"{path / SCENARIO}: is not valid YAML")) from None
    for file, content in ((ENVIRONMENT, environment), (SCENARIO, scenario)):
        if not isinstance(content, dict):
            raise UserError(one_line(f"{path / file}: is damaged: a mapping is expected"))
    return Stored(environment=environment, scenario=scenario, records=records)


def read_baseline(path: Path, content: Any = None) -> Stored:
    """A stored baseline; ``content`` is its JSON if that was read already.

    Raises ``UserError`` for a file that is none, is damaged or is of another version.
    """
    content = read_json(path) if content is None else content
    if not isinstance(content, dict) or content.get("format") != BASELINE_FORMAT:
        raise UserError(
            one_line(f"{path}: is neither a run folder, a baseline nor pytest-benchmark's JSON")
        )
    version = content.get("schema_version")
    if version != BASELINE_VERSION:
        raise UserError(
            one_line(
                f"{path}: is a baseline of format {version!r}, this version reads "
                f"{BASELINE_VERSION}: save it again with 'bench baseline save'"
            )
        )
    kinds = {"environment": dict, "scenario": dict, "records": list, "name": str}
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            raise UserError(one_line(f"{path}: is damaged: {key!r} is missing or of another type"))
    if not content["records"]:
        raise UserError(one_line(f"{path}: has no records"))
    problems: list[str] = []
    records: list[Record] = []
    for number, entry in enumerate(content["records"]):
        try:
            records.append(parse_record(entry, f"{path}: records[{number}]"))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise _first_of(problems)
    return Stored(content | {"records": records})


def _run_side(path: Path) -> Side:
    return _side(str(path), "run", read_run(path), turns=read_turns(path))


def _side(path: str, kind: Any, stored: Stored, *, turns: Turns | None = None) -> Side:
    scenario = stored["scenario"]
    measure = scenario.get("measure")
    cells = cells_of(stored.records, path=path, turns=turns)
    return Side(
        path=path,
        kind=kind,
        environment=stored["environment"],
        cells=cells,
        asked=_asked(scenario),
        lacking=lacking_cells(scenario, stored["environment"], cells.values()),
        warmup=measure.get("warmup") if isinstance(measure, dict) else None,
        measured_at=min((r.started_at for r in stored.records if r.started_at), default=None),
    )


def _asked(scenario: Mapping[str, Any]) -> dict[str, Any]:
    images = scenario.get("images")
    names: dict[str, Any] = {}
    for role, specs in (images if isinstance(images, dict) else {}).items():
        listed = specs if isinstance(specs, list) else [specs]
        names[role] = [Path(str(spec)).name for spec in listed]
    return {key: scenario.get(key) for key in _ASKED} | {"images": names}


def _first_of(problems: Sequence[str]) -> UserError:
    more = f" (and {len(problems) - 1} more such files)" if len(problems) > 1 else ""
    return UserError(one_line(f"{problems[0]}{more}"))

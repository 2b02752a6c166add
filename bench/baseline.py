"""Baselines: runs kept as one small file each, to compare later runs with.

A baseline holds a run's records without samples and images, its scenario and its environment: what
``bench compare`` needs, in a file that can be committed.
"""

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.compare.asked import lacking_cells
from bench.compare.load import BASELINE_FORMAT, BASELINE_VERSION, Stored, read_baseline, read_run
from bench.compare.match import label, some, varying
from bench.compare.side import SideCell, cells_of
from bench.compare.text import shown_value
from bench.errors import UserError
from bench.record import Record
from bench.run.records import words_for_non_finite, write_file
from distill.suggest import did_you_mean_path, one_line

FOLDER = Path("baselines")
_HEAVY = {"latency_samples_ms", "device_samples_ms", "latency_outliers"}
_PICTURES = ("image", "content_image", "style_image")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


class Baseline(NamedTuple):
    """One stored baseline."""

    path: Path
    stored: Stored

    @property
    def name(self) -> str:
        """By which it is found: that of its file."""
        return self.path.stem

    @property
    def saved_at(self) -> str:
        """ISO 8601, or empty."""
        return str(self.stored.get("saved_at") or "")


def save_baseline(run: Path, name: str, *, folder: Path = FOLDER, replace: bool = False) -> Path:
    """Keep a run as ``folder/NAME.json``.

    Args:
        run: a finished run folder.
        name: letters, digits, ``.``, ``-`` and ``_``.
        folder: made if it is not there.
        replace: whether a baseline of this name may be overwritten.

    Returns:
        The file.

    Raises:
        UserError: for a bad name, a run that cannot be read or is not finished, or a name that is
            taken.
    """
    if not _NAME.fullmatch(name) or name.endswith(".json"):
        raise UserError(
            one_line(
                f"{name}: a baseline's name is 1 to 100 letters, digits, '.', '-' or '_', begins "
                "with a letter or digit and has no '.json'"
            )
        )
    path = folder / f"{name}.json"
    if path.exists() and not replace:
        raise UserError(one_line(f"{path}: exists already; --replace overwrites it"))
    stored = read_run(run)
    cells = cells_of(stored.records, path=str(run))
    lacking = lacking_cells(stored["scenario"], stored["environment"], cells.values())
    if lacking:
        raise UserError(
            one_line(
                f"{run}: lacks {some(list(lacking.values()))}: an unfinished run, with which a "
                f"comparison would pass over them; complete it with: "
                f"bench run --resume {shlex.quote(str(run))}"
            )
        )
    content = {
        "format": BASELINE_FORMAT,
        "schema_version": BASELINE_VERSION,
        "name": name,
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run.resolve().name,
        "environment": stored["environment"],
        "scenario": stored["scenario"],
        "records": [_light(record) for record in stored.records],
    }
    text = json.dumps(words_for_non_finite(content), indent=1, allow_nan=False, default=str)
    write_file(path, (text + "\n").encode())
    return path


def _light(record: Record) -> dict[str, Any]:
    """A record's values without samples, pictures and what is absent."""
    values = record.model_dump(exclude=_HEAVY, exclude_none=True)
    for pair in values.get("per_pair", ()):
        for key in _PICTURES:
            pair.pop(key, None)
    return values


def find_baseline(name: str, *, folder: Path = FOLDER) -> Baseline:
    """The baseline of a name, or in a file.

    Raises ``UserError`` if there is none, or it cannot be read.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        path = Path(name) if Path(name).is_file() else path
    if not path.is_file():
        raise UserError(one_line(f"{path}: no such baseline{did_you_mean_path(path)}"))
    return Baseline(path, read_baseline(path))


def list_baselines(folder: Path = FOLDER) -> tuple[list[Baseline], list[str]]:
    """The baselines of a folder by name, and what is wrong with the files that are none.

    Raises ``UserError`` if there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(one_line(f"{folder}: no such folder of baselines"))
    found: list[Baseline] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Baseline(path, read_baseline(path)))
        except UserError as error:
            problems += error.problems
    return found, problems


def describe(baseline: Baseline) -> Group:
    """Its environment, and its cells with medians over their processes."""
    cells = list(cells_of(baseline.stored.records, path=str(baseline.path)).values())
    also = varying([cell.identity for cell in cells])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("cell", "outcome"):
        table.add_column(name, overflow="fold")
    for name in ("processes", "latency", "lowest", "highest", "peak memory"):
        table.add_column(name, justify="right")
    for cell in cells:
        table.add_row(*map(_plain, (label(cell.identity, also), *_columns(cell))))
    facts = [
        f"{key}: {value}"
        for key, value in baseline.stored["environment"].items()
        if isinstance(value, str | int | float)
    ]
    heading = f"{baseline.path}: saved {baseline.saved_at}"
    return Group(_plain(heading), *map(_plain, facts), Text(), table)


def _columns(cell: SideCell) -> list[str]:
    # Warm times, or where no process has any the first passes: a spread of both says nothing.
    times = _values(cell, "latency_ms", once=False) or _values(cell, "latency_ms")
    peaks = _values(cell, "peak_allocated_mb") or _values(cell, "peak_rss_growth_mb")
    some = [median(times), min(times), max(times)] if times else []
    return [
        cell.status.replace("_", " "),
        str(len(cell.processes)),
        *([shown_value(value, "ms") for value in some] or ["", "", ""]),
        shown_value(median(peaks), "MB") if peaks else "",
    ]


def _values(cell: SideCell, name: str, *, once: bool = True) -> list[float]:
    """Of each process; without those measured once unless ``once``."""
    return [
        process.values[name]
        for process in cell.processes
        if name in process.values and (once or not process.once)
    ]


def _plain(text: str) -> Text:
    return Text("".join(c if c.isprintable() else "?" for c in text))

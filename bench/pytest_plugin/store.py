"""The file of measured checks: in the form of pytest-benchmark's, for ``bench compare`` too."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.compare.pytest_benchmark import OWN, SCHEMA_VERSION, Measured
from bench.compare.side import Process
from bench.run.records import write_file

_OWN_CODE = {"code_version", "git_commit", "git_dirty", "git_problem", "source_digest"}
"""Facts on this package: in a user's file the commit of interest is the user's."""


def write(
    path: Path,
    measured: Mapping[str, Sequence[Process]],
    *,
    before: Mapping[str, Any] | None,
    environment: Mapping[str, Any],
    warmup: int,
    root: Path,
) -> int:
    """Write what was measured, and what the file had beside it.

    Args:
        path: the file; folders on the way are made.
        measured: processes by full name of the check.
        before: JSON of the file as it was, None if there was none.
        environment: as ``collect_environment`` gives it.
        warmup: untimed calls before the repeats.
        root: folder of the test suite; its commit is noted.

    Returns:
        Number of checks in the file.

    Raises:
        EnvironmentUnfitError: if the disk refuses.
    """
    entries = {entry["fullname"]: entry for entry in (before or {}).get("benchmarks", ())}
    entries |= {name: _entry(name, found) for name, found in measured.items()}
    facts = {key: value for key, value in environment.items() if key not in _OWN_CODE}
    content = {
        OWN: {"schema_version": SCHEMA_VERSION, "warmup": warmup},
        "datetime": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine_info": {"environment": facts},
        "commit_info": {"id": _commit(root)},
        "benchmarks": [entries[name] for name in sorted(entries)],
    }
    write_file(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return len(entries)


def _entry(name: str, processes: Sequence[Process]) -> dict[str, Any]:
    times_s = [process.values["latency_ms"] / 1e3 for process in processes]
    return {
        "fullname": name,
        "stats": {
            "median": median(times_s),
            "min": min(times_s),
            "max": max(times_s),
            "rounds": len(times_s),
        },
        "processes": [
            Measured(
                began=process.began or 0.0, ended=process.ended or 0.0, values=dict(process.values)
            ).model_dump()
            for process in processes
        ],
    }


def _commit(root: Path) -> str | None:
    command = ["git", "-C", str(root), "rev-parse", "--short=10", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

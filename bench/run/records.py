"""Record files: one for each cell and repeat, absent, old or new at every moment, never half.

Apart from the run folder so that a worker need not load the table libraries to write its result.
"""

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import EnvironmentUnfitError, UserError
from bench.record import SCHEMA_VERSION, Record
from distill.files import read_regular, write_bytes_atomically

CELLS = "cells"
IMAGES = "images"
WORKER_FILES = ".worker"
"""Folder for what parent and worker pass to each other."""
_PART = "part.json"
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_log = logging.getLogger(__name__)


def record_name(cell_id: str, repeat: int) -> str:
    """File name of a record in ``cells/``."""
    return f"{cell_id}-{repeat}.json"


def write_record(run_dir: Path, record: Record) -> None:
    """Write a record so that at every moment the file is absent, the old one or the new one.

    Raises ``EnvironmentUnfitError`` when the disk does not take it.
    """
    write_file(run_dir / CELLS / record_name(record.id, record.repeat), _content(record))


def _content(record: Record) -> bytes:
    # Strict JSON has no NaN or infinity; written as words, they are still numbers when read.
    content = json.dumps(words_for_non_finite(record.model_dump()), indent=1, allow_nan=False)
    return (content + "\n").encode()


def write_part(run_dir: Path, record: Record) -> None:
    """Keep what a worker has by now of the cell it measures, should it be stopped."""
    write_file(run_dir / WORKER_FILES / _PART, _content(record))


def take_part(run_dir: Path, cell_id: str) -> Record | None:
    """What a worker kept of a cell (:func:`write_part`) before it was stopped; removes it.

    None where there is nothing of that cell.
    """
    path = run_dir / WORKER_FILES / _PART
    try:
        record = parse_record(json.loads(path.read_bytes()), str(path))
    except (OSError, ValueError, RecursionError):
        return None
    finally:
        path.unlink(missing_ok=True)
    return record if record.id == cell_id else None


def read_record(path: Path) -> Record:
    """Read one record file. Raises ``ValueError``, of one line, for anything but a valid record."""
    try:
        content = json.loads(read_regular(path))
    except UserError as error:
        raise ValueError(str(error)) from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # malformed JSON and malformed UTF-8 alike
        raise ValueError(f"{path}: not a whole JSON file: {error}") from None
    record = parse_record(content, str(path))
    if path.name != record_name(record.id, record.repeat):
        raise ValueError(
            f"{path}: holds the record of cell {record.id}, repeat {record.repeat}: "
            "the file was renamed or copied"
        )
    return record


def parse_record(content: object, where: str) -> Record:
    """A record from what its JSON holds; ``where`` it stands begins a message.

    Raises ``ValueError``, of one line, for anything but a valid record.
    """
    if isinstance(content, dict):
        if content.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"{where}: schema_version is {content.get('schema_version')!r}, "
                f"this version reads {SCHEMA_VERSION}"
            )
        # Typed numbers are turned back by the model; free-form entries have no type to go by.
        content = content | {"per_pair": _non_finite_for_words(content.get("per_pair"))}
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {key}: {first['msg']}") from None


def read_records(run_dir: Path, *, report: Callable[[str], object] = _log.warning) -> list[Record]:
    """All valid records of a run, in the order in which they were measured.

    A file that is not a valid record is told to ``report`` in one line, and left out. Half-written
    temporary files are not records.
    """
    records = []
    for path in sorted((run_dir / CELLS).glob("*.json")):
        try:
            records.append(read_record(path))
        except ValueError as error:
            report(f"{error}; the cell counts as not measured")
    return sorted(records, key=lambda record: (record.started_at or "", record.id, record.repeat))


def write_file(path: Path, content: bytes) -> None:
    """Write a whole file or nothing. Raises ``EnvironmentUnfitError`` if the disk refuses."""
    try:
        write_bytes_atomically(path, content)
    except OSError as error:
        raise EnvironmentUnfitError(f"{path}: cannot be written: {error.strerror}") from None


def words_for_non_finite(value: Any) -> Any:
    """NaN and infinities as text, at any depth: JSON has no numbers for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: words_for_non_finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [words_for_non_finite(item) for item in value]
    return value


def _non_finite_for_words(value: Any) -> Any:
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: _non_finite_for_words(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_non_finite_for_words(item) for item in value]
    return value

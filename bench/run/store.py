"""A run folder: append-only, one file per cell and repeat, safe to kill at any moment.

    NAME-TIMESTAMP/ scenario.yaml  environment.json  cells/ID-REPEAT.json  images/  records.parquet

``scenario.yaml`` is written last when a folder is made, so its presence says that the folder is
whole. Records are the only truth: ``records.parquet`` is an export that can be made again.
"""

import fcntl
import json
import logging
import os
import re
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from bench.errors import EnvironmentUnfitError, UserError, disk_error
from bench.quality.catalogue import TEACHER
from bench.record import Record
from bench.run.records import (
    CELLS,
    IMAGES,
    WORKER_FILES,
    read_records,
    record_name,
    write_file,
    write_record,
)
from distill.files import UNFINISHED, folder_made, read_regular
from distill.suggest import one_line

if TYPE_CHECKING:
    import pandas as pd

SCENARIO = "scenario.yaml"
ENVIRONMENT = "environment.json"
PARQUET = "records.parquet"
_LOCK = ".lock"
_LOCK_PATIENCE_S = 0.3

_log = logging.getLogger(__name__)


class ScenarioLike(Protocol):
    """What a run folder keeps of a scenario."""

    @property
    def name(self) -> str:
        """Name of the run folder, less the time."""

    def resolved_yaml(self) -> str:
        """The scenario with every default and override written out."""


def load_frame(run_dir: Path, *, report: Callable[[str], object] = _log.warning) -> "pd.DataFrame":
    """The records of a run folder as a table; see :func:`~bench.run.frame.frame_of`.

    Takes no lock, so a run that is going on can be looked at. Raises ``UserError`` if ``run_dir``
    is not a run folder.
    """
    from bench.run.frame import frame_of  # with pandas, which the parent of workers does without

    check_run_folder(run_dir)
    return frame_of(read_records(run_dir, report=report))


def check_run_folder(path: Path) -> None:
    """Raise ``UserError`` unless ``path`` is a readable run folder."""
    if not path.exists():
        raise UserError(f"{path}: no such run folder")
    if not path.is_dir():
        raise UserError(f"{path}: not a run folder but a file")
    if not os.access(path, os.R_OK | os.X_OK):
        raise UserError(f"{path}: the run folder cannot be read: permission denied")
    absent = [name for name in (SCENARIO, ENVIRONMENT, CELLS) if not (path / name).exists()]
    if absent:
        lacking = f"{path}: not a run folder: {', '.join(absent)} missing"
        raise UserError(one_line(f"{lacking}{_runs_below(path)}"))


def _runs_below(path: Path) -> str:
    """What the folder above runs was probably named for: the newest of them, or nothing."""
    try:
        if (path / "ab.json").exists():
            runs = " and ".join(shlex.quote(str(path / side)) for side in ("base", "new"))
            return f"; it is of 'bench ab', and has runs in {runs}"
        inside = [entry for entry in path.iterdir() if (entry / SCENARIO).is_file()]
        newest = max(inside, key=lambda entry: (entry / SCENARIO).stat().st_mtime, default=None)
    except OSError:
        return ""
    if newest is None:
        return ""
    many = "run" if len(inside) == 1 else f"{len(inside)} runs, the newest"
    return f"; it holds the {many} {shlex.quote(str(newest))}"


class RunFolder:
    """A run folder held for writing: nobody else can open it until it is closed.

    The lock is the kernel's, so a killed process never leaves it behind.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock of an existing folder; use :meth:`create` or :meth:`open`."""
        self.path = path
        self._lock = _take_lock(path)

    @classmethod
    def create(
        cls,
        parent: Path,
        scenario: ScenarioLike,
        environment: Mapping[str, Any],
        *,
        now: datetime | None = None,
    ) -> Self:
        """Make ``parent/NAME-YYYYmmdd-HHMMSS``, with a number behind it if that exists."""
        started = (now or datetime.now()).strftime("%Y%m%d-%H%M%S")
        stem = re.sub(r"[^\w.-]+", "-", scenario.name).strip(".-") or "run"
        text = json.dumps(dict(environment), indent=1, default=str)
        try:
            with folder_made(parent):
                path = make_unique(parent, f"{stem}-{started}")
                folder = None
                try:
                    folder = cls(path)
                    (path / CELLS).mkdir()
                    write_file(path / ENVIRONMENT, (text + "\n").encode())
                    folder.write_scenario(scenario)
                except BaseException:  # half a run folder is none
                    if folder is not None:
                        folder.close()
                    shutil.rmtree(path, ignore_errors=True)
                    raise
        except OSError as error:
            message = f"{parent}: no run folder can be made there: {error.strerror}"
            raise disk_error(error, message) from None
        return folder

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run folder to go on with it, and clear away what a killed run left half done.

        Raises ``UserError`` if it is not a run folder, cannot be written or is in use.
        """
        check_run_folder(path)
        if not os.access(path / CELLS, os.R_OK | os.W_OK | os.X_OK):
            raise EnvironmentUnfitError(f"{path / CELLS}: cannot be written: permission denied")
        folder = cls(path)
        for leftover in [*path.glob(f"*{UNFINISHED}"), *(path / CELLS).glob(f"*{UNFINISHED}")]:
            leftover.unlink(missing_ok=True)
        return folder

    @property
    def scenario_path(self) -> Path:
        """The resolved scenario."""
        return self.path / SCENARIO

    @property
    def image_dir(self) -> Path:
        """Where quality cells leave their images; made by whoever writes the first."""
        return self.path / IMAGES

    @property
    def worker_dir(self) -> Path:
        """What parent and worker pass to each other; nothing of worth once the worker is done."""
        directory = self.path / WORKER_FILES
        directory.mkdir(exist_ok=True)
        return directory

    def write_scenario(self, scenario: ScenarioLike) -> None:
        """Keep a scenario as the run's own, atomically."""
        write_file(self.scenario_path, scenario.resolved_yaml().encode())

    def environment(self) -> dict[str, Any]:
        """What ``environment.json`` holds. Raises ``UserError`` if it is damaged."""
        path = self.path / ENVIRONMENT
        try:
            content = json.loads(read_regular(path))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None
        if not isinstance(content, dict):
            raise UserError(f"{path}: not an environment: a JSON object is expected")
        return content

    def records(self, *, report: Callable[[str], object] = _log.warning) -> list[Record]:
        """See :func:`read_records`."""
        return read_records(self.path, report=report)

    def record_path(self, cell_id: str, repeat: int = 0) -> Path:
        """Where the record of a cell is or will be."""
        return self.path / CELLS / record_name(cell_id, repeat)

    def remove_teacher(self) -> None:
        """Remove the teachers' outputs: large, and of no use without students to compare."""
        shutil.rmtree(self.path / TEACHER, ignore_errors=True)

    def write_record(self, record: Record) -> None:
        """See :func:`write_record`."""
        write_record(self.path, record)

    def frame(self) -> "pd.DataFrame":
        """See :func:`load_frame`."""
        return load_frame(self.path)

    def write_parquet(self) -> Path:
        """Export all records to ``records.parquet``, atomically; see :func:`parquet_of`."""
        from bench.run.frame import parquet_of

        path = self.path / PARQUET
        write_file(path, parquet_of(self.records()))
        return path

    def close(self) -> None:
        """Let others have the folder. Does nothing the second time."""
        if self._lock >= 0:
            shutil.rmtree(self.path / WORKER_FILES, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def make_unique(parent: Path, stem: str) -> Path:
    """Make the folder ``parent/stem``, with a number behind it if that exists.

    Raises ``OSError`` if the disk refuses.
    """
    for number in range(1, 1000):
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise UserError(f"{parent}: a thousand folders named {stem} are there already")


def _take_lock(run_dir: Path) -> int:
    path = run_dir / _LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise disk_error(error, f"{path}: cannot be written: {error.strerror}") from None
    try:
        _lock_within(descriptor, _LOCK_PATIENCE_S)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
        os.close(descriptor)
        raise UserError(
            f"{run_dir}: in use by {holder or 'another process'}; wait for it or stop it"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise EnvironmentUnfitError(
            f"{run_dir}: this file system does not lock files: {error.strerror}; "
            "choose another place with --out"
        ) from None
    who = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, who.encode(), 0)
    return descriptor


def _lock_within(descriptor: int, seconds: float) -> None:
    # Between fork and exec, a worker of a run that was just killed still has its parent's lock.
    give_up = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise
        time.sleep(0.02)

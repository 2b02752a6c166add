"""What a device achieves, measured once by a few small passes and remembered for this machine.

The file is ``ultrastyle-bench/calibration-KEY.json`` in the user's cache folder
(``XDG_CACHE_HOME``, else ``~/.cache``); the key is made of device, threads and versions. A pass is
as fast as the fastest of its repeats: whatever else runs on the machine only slows it down.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cells import Cell, Frozen, Precision
from bench.errors import UserError
from bench.measure.environment import collect_environment
from bench.prediction.memory import Overheads
from bench.prediction.time import Roofline, Timed, fit_roofline
from bench.prediction.traffic import Work
from distill.files import read_regular, write_bytes_atomically

_SCHEMA = 2
_LONGEST_S = 300.0
_IDENTITY = (
    *("cpu", "cpu_usable_cores", "cpu_quota_cores", "variables", "torch", "torch_commit"),
    *("gpu", "gpu_driver", "cudnn"),
)
"""Facts of the environment that calibrations are told apart by; those on a GPU only for one."""


class TimedPass(Frozen):
    """A small pass: what it computes and moves, and how long it took at best."""

    macs: float
    lane_macs: float
    bytes: float
    fresh_bytes: float
    launches: float
    seconds: float

    @property
    def timed(self) -> Timed:
        """As :func:`~bench.prediction.time.fit_roofline` takes it."""
        values = self.model_dump(exclude={"seconds"})
        return Timed(Work(**values), self.seconds)


class PrecisionPasses(Frozen):
    """What was measured at one precision."""

    passes: tuple[TimedPass, ...]
    workspace_bytes: float = 0.0
    """CUDA: what kernels took beside the traced peak of a pass, whatever its size."""
    workspace_share: float = 0.0
    """CUDA: what they took on top, over that peak."""


class CalibrationFile(Frozen):
    """What is remembered."""

    schema_version: int = _SCHEMA
    identity: dict[str, str]
    measured_at: str
    precisions: dict[Precision, PrecisionPasses]
    context_bytes: int | None = None
    """CUDA: what the card holds for the process beside PyTorch's allocations."""
    new_byte_s: float = 0.0
    """CPU: what a byte takes in seconds that the system hands to a process for the first time, over
    one that the process gave back before."""


@dataclass(frozen=True)
class Calibration:
    """A device's rates."""

    file: CalibrationFile

    @cached_property
    def _rooflines(self) -> dict[Precision, Roofline]:
        return {
            precision: fit_roofline([one.timed for one in found.passes])
            for precision, found in self.file.precisions.items()
            if found.passes
        }

    def roofline(self, precision: Precision) -> Roofline | None:
        """The rates at a precision; None for one that was not measured."""
        return self._rooflines.get(precision)

    def knows(self, precision: Precision) -> bool:
        """Whether a precision was tried; the device may lack it."""
        return precision in self.file.precisions

    def overheads(self, precision: Precision) -> Overheads:
        """What kernels take beside a traced peak; nothing where it was not measured."""
        found = self.file.precisions.get(precision)
        return (
            Overheads()
            if found is None
            else Overheads(found.workspace_bytes, found.workspace_share)
        )


def load_calibration(
    like: Cell, environment: Mapping[str, Any] | None = None
) -> Calibration | None:
    """What is remembered of the device and threads of a cell, if anything is.

    ``environment`` is what :func:`~bench.measure.environment.collect_environment` says of the
    device, where that is known already.
    """
    try:
        path = _path(_identity(like, environment))
        found = CalibrationFile.model_validate(json.loads(read_regular(path)))
    except (OSError, ValueError, ValidationError, RuntimeError, UserError):
        # Absent, of another version, or of a user who has no home: measured anew.
        return None
    return Calibration(found) if found.schema_version == _SCHEMA else None


def calibrate(
    like: Cell, precisions: Sequence[Precision], *, longest_s: float = _LONGEST_S
) -> Calibration:
    """Measure the device and threads of a cell in a process of its own, and remember it.

    Takes seconds, and at most ``longest_s``. What was remembered of other precisions is kept.

    Raises:
        EnvironmentUnfitError: when the passes cannot be measured, with the reason.
    """
    identity = _identity(like)
    before = load_calibration(like)
    measured = _measure(like, precisions, longest_s)
    if before is not None:
        kept = {**before.file.precisions, **measured.precisions}
        measured = measured.model_copy(update={"precisions": kept})
    file = measured.model_copy(
        update={
            "identity": identity,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    _remember(identity, file)
    return Calibration(file)


def _measure(like: Cell, precisions: Sequence[Precision], longest_s: float) -> CalibrationFile:
    from bench.run.aside import measure_aside

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "calibration.json"
        threads = "-" if like.threads is None else str(like.threads)
        written = measure_aside(
            "bench.prediction.calibration_worker",
            (like.device, threads, ",".join(precisions), str(out)),
            like=like,
            out=out,
            longest_s=longest_s,
            what=f"calibrating {like.device}",
            advice="is something else using it? Try again later, or plan with --no-calibration",
        )
        return CalibrationFile.model_validate(json.loads(written))


def _identity(like: Cell, environment: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What tells one calibration from another."""
    facts = collect_environment(like.device) if environment is None else environment
    on_gpu = like.device.startswith("cuda")
    keys = [key for key in _IDENTITY if on_gpu or not key.startswith(("gpu", "cudnn"))]
    threads = like.threads or facts["torch_threads"]
    kind = like.device.partition(":")[0]
    return {"device": kind, "threads": str(threads)} | {
        key: str(facts[key]) for key in keys if facts.get(key)
    }


def _path(identity: dict[str, str]) -> Path:
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME")
    base = Path(cache) if cache else Path.home() / ".cache"
    return base / "ultrastyle-bench" / f"calibration-{key}.json"


def _remember(identity: dict[str, str], file: CalibrationFile) -> None:
    try:
        path = _path(identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, file.model_dump_json(indent=1).encode())
    except (OSError, RuntimeError):
        # No home, or one that cannot be written to: measured again next time.
        return

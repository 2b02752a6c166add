"""The process that measures one cell: ``python -m bench.run.worker CELL RUN_DIR REPEAT PARENT``.

What is imported up here is light: the process must be tied to its parent before it spends seconds
on loading PyTorch.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cells import Cell
from bench.errors import UserError
from bench.measure.code_version import digest_in
from bench.measure.heap import map_large_blocks
from bench.measure.oom_killer import offer_to_oom_killer
from bench.record import BAD_INPUT, Record
from bench.run.draft import draft_fields, random_weights_reason, timestamp
from bench.run.launch import OTHER_CODE
from bench.run.records import write_part, write_record
from bench.run.stage import Stage
from distill.host import limit_threads
from distill.sources import ROOT, source_digest

_PR_SET_PDEATHSIG = 1
_TRACEBACK_LINES = 6


def main(arguments: Sequence[str]) -> int:
    """Measure the cell in the file and write its record. Returns the exit status."""
    cell_file, run_dir, repeat, parent = arguments
    offer_to_oom_killer()
    die_with_parent(int(parent))
    cell = Cell.model_validate(json.loads(Path(cell_file).read_bytes()))
    if other := other_code(cell, Path(run_dir)):
        print(other, file=sys.stderr)
        return OTHER_CODE
    if cell.kind == "performance":
        # Before PyTorch is loaded: what is freed from here on leaves no holes.
        map_large_blocks()
    write_record(Path(run_dir), measure_cell(cell, Path(run_dir), repeat=int(repeat)))
    return 0


def other_code(cell: Cell, run_dir: Path) -> str | None:
    """Why what runs here may not measure under the cell's version of the code; None if it is that.

    Sources may be edited while a run goes on, and a path may lead to another copy of them.
    """
    asked, here = digest_in(cell.code_version), source_digest()
    if asked in (None, here):
        return None
    return (
        f"{run_dir}: was begun with the sources {asked}, and {ROOT} has {here}: another copy, or "
        "edited meanwhile. What was measured is kept; put the sources back and go on with "
        "--resume, or start a new run"
    )


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the parent is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before the request was made: then there is a new parent already.
    if os.getppid() != parent:
        os._exit(1)


def measure_cell(cell: Cell, run_dir: Path, *, repeat: int = 0) -> Record:
    """Measure one cell in this process. Every way it can end but a kill is a record.

    This process is changed for good: threads, seeds, and the cap on its memory.
    """
    started = time.perf_counter()
    fields = draft_fields(cell, repeat=repeat) | {"started_at": timestamp()}
    stage = Stage()
    try:
        _measure(cell, run_dir, fields, stage, repeat=repeat)
    except Exception as error:
        # Nothing is hidden: whatever it was, the record says it.
        fields |= _failure(error, stage)
        # The frames hold the tensors; without them there is memory to write the record with.
        traceback.clear_frames(error.__traceback__)
    _release(cell.device)
    gc.collect()
    fields["duration_s"] = round(time.perf_counter() - started, 3)
    return Record(**fields)


def _release(device: str) -> None:
    """Give the card back what only the cap took."""
    if device.startswith("cuda"):
        from bench.measure.ballast import release_ballast

        release_ballast(device)


def _failure(error: Exception, stage: Stage) -> dict[str, Any]:
    from bench.execution.strip_plan import BudgetError
    from bench.measure.out_of_memory import out_of_memory
    from bench.stylizers import Unsupported

    if isinstance(error, BudgetError):
        return {
            "status": "out_of_memory",
            "reason_code": "plan",
            "reason": str(error),
            "requested_mb": error.needed_bytes / 1e6,
        }
    if isinstance(error, Unsupported):
        return {"status": "unsupported", "reason_code": error.code, "reason": error.reason}
    if isinstance(error, UserError):
        # The lines say what to do about it, and where in the code it was found is no help.
        code = BAD_INPUT if error.exit_code == UserError.exit_code else "environment"
        return {"status": "crashed", "reason_code": code, "reason": "; ".join(error.problems)}
    if memory := out_of_memory(error):
        return {
            "status": "out_of_memory",
            "reason_code": memory.code,
            "reason": f"{memory.message}; while {stage.now}",
            "requested_mb": memory.requested_mb,
            "free_mb": memory.free_mb,
        }
    lines = "".join(traceback.format_tb(error.__traceback__)).splitlines()
    where = "\n".join(lines[-_TRACEBACK_LINES:])
    return {
        "status": "crashed",
        "reason_code": "exception",
        "reason": f"{type(error).__name__} while {stage.now}: {error}\n{where}",
    }


def _measure(
    cell: Cell, run_dir: Path, fields: dict[str, Any], stage: Stage, *, repeat: int
) -> None:
    import torch

    stage.now = "loading the model"
    if cell.threads is None:
        limit_threads()
    else:
        torch.set_num_threads(cell.threads)
    torch.manual_seed(cell.seed)

    # Now, because a failure under the cap may leave no memory to load what recognises it.
    import bench.measure.out_of_memory  # noqa: F401
    from bench.execution.strips import plan_in_memory
    from bench.measure.cap import apply_cap
    from bench.measure.memory import meter_for
    from bench.prediction.budget import budget_bytes
    from bench.run.performance import measure_performance, milliseconds_since, synchronise
    from bench.stylizers import load_stylizer

    # In this order: the meter has to see the card before CUDA is initialised, which the cap does.
    # The cap imitates a smaller card or machine, so what is loaded from here on counts: the model,
    # the images and the pass, but not the libraries, which are loaded by now. The threads are set
    # already, because the cap has them started.
    meter = meter_for(cell.device)
    fields["memory_cap_mechanism"] = apply_cap(cell.memory_cap_bytes, cell.device)
    torch.backends.cudnn.benchmark = cell.cudnn_benchmark
    began = time.perf_counter()
    with torch.inference_mode():
        stylizer = load_stylizer(
            cell.model,
            device=cell.device,
            precision=cell.precision,
            execution=cell.execution,
            memory_bytes=budget_bytes(cell),
            seed=cell.seed,
        )
        synchronise(cell.device)
        gmacs = stylizer.macs(cell.width, cell.height) / 1e9
        fields |= {
            "load_ms": milliseconds_since(began),
            "weights": stylizer.weights,
            "weights_detail": stylizer.weights_detail,
            "weights_digest": stylizer.weights_digest,
            "parameters": stylizer.parameters,
            "storage_mb": stylizer.storage_bytes / 1e6,
            "gmacs": gmacs,
            "gflops": 2 * gmacs,
        }
        if cell.execution == "strips":
            fields["strip_rows"] = plan_in_memory(stylizer, cell.width, cell.height).rows
        if cell.kind == "performance":
            measure_performance(cell, stylizer, meter, fields, stage)
        else:
            _measure_quality(cell, stylizer, run_dir, fields, stage, repeat=repeat)


def _measure_quality(
    cell: Cell,
    stylizer: Any,
    run_dir: Path,
    fields: dict[str, Any],
    stage: Stage,
    *,
    repeat: int,
) -> None:
    from bench.quality.evaluate import evaluate_quality
    from bench.run.records import IMAGES

    if stylizer.weights == "random":
        fields |= {
            "status": "skipped",
            "reason_code": "random_weights",
            "reason": random_weights_reason(cell.model),
        }
        return
    stage.now = "evaluating the quality"
    image_dir = run_dir / IMAGES
    image_dir.mkdir(exist_ok=True)

    def keep(found: dict[str, Any]) -> None:
        fields.update(found)
        write_part(run_dir, Record(**{**fields, "status": "ok"}))

    found = evaluate_quality(stylizer, cell, image_dir, keep=keep)
    fields |= {"status": "ok", "reason_code": None, "reason": None} | found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How near each stage comes to what the device can do: FLOP/s and bytes/s against its ceilings.

    S. Williams, A. Waterman, D. Patterson: "Roofline: An Insightful Visual Performance Model for
    Multicore Architectures", CACM 52(4), 2009.

FLOPs and bytes are the least that each operation must do by the shapes of its tensors; caches may
save traffic, so that a point may lie above the slope. Ceilings are measured, not quoted.
"""

import csv
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench.cells import Cell, Precision
from bench.errors import EnvironmentUnfitError, UserError
from bench.run.aside import measure_aside

FILE = "roofline.csv"
_LONGEST_S = 1800.0


@dataclass(frozen=True)
class Point:
    """One network of one stage, measured, beside the ceilings of its precision."""

    model: str
    weights: str
    """``trained`` or ``random``: speed does not depend on it."""
    stage: str
    """``relu4_1`` and the like."""
    part: str
    """``encoder`` or ``decoder``."""
    precision: str
    device: str
    threads: int
    width: int
    height: int
    gflop: float
    """10^9 floating-point operations, two a multiply-accumulate."""
    gb_moved: float
    """10^9 bytes read and written, operation by operation."""
    seconds: float
    """Median."""
    flop_per_byte: float
    gflop_s: float
    gb_s: float
    peak_gflop_s: float
    """The most that a product of matrices or a convolution reached on the device."""
    bandwidth_gb_s: float
    """Of a copy far beyond the caches, reading and writing."""


def measure_roofline(
    like: Cell, models: Sequence[str], precisions: Sequence[Precision], *, repeats: int
) -> list[Point]:
    """Measure the stages of models, and the ceilings, in a process of its own.

    Args:
        like: a cell of the device, threads and image size.
        models: ``METHOD-FAMILY-RATIOx[:WEIGHTS]``.
        precisions: those that the device lacks are left out.
        repeats: timed passes a network, of which the median counts.

    Raises:
        EnvironmentUnfitError: when nothing could be measured, with the reason.
    """
    request = {
        "device": like.device,
        "threads": like.threads,
        "models": list(models),
        "precisions": list(precisions),
        "width": like.width,
        "height": like.height,
        "repeats": repeats,
    }
    with tempfile.TemporaryDirectory() as folder:
        asked, out = Path(folder) / "request.json", Path(folder) / "roofline.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        written = measure_aside(
            "bench.roofline_worker",
            (str(asked), str(out)),
            like=like,
            out=out,
            longest_s=_LONGEST_S,
            what="measuring the roofline",
            advice="take a smaller --size",
        )
    found = json.loads(written)
    ceilings = {one["precision"]: one for one in found["ceilings"]}
    if not found["points"]:
        reasons = "; ".join(str(one.get("absent")) for one in found["ceilings"])
        raise EnvironmentUnfitError(f"no precision could be measured: {reasons}")
    return [
        Point(
            **one,
            device=like.device,
            threads=found["threads"],
            width=like.width,
            height=like.height,
            flop_per_byte=one["gflop"] / one["gb_moved"],
            gflop_s=one["gflop"] / one["seconds"],
            gb_s=one["gb_moved"] / one["seconds"],
            peak_gflop_s=ceilings[one["precision"]]["peak_gflop_s"],
            bandwidth_gb_s=ceilings[one["precision"]]["bandwidth_gb_s"],
        )
        for one in found["points"]
    ]


def as_csv(points: Sequence[Point]) -> str:
    """One row a point, numbers to six digits."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([one.name for one in fields(Point)])
    for point in points:
        values = asdict(point).values()
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    return sink.getvalue()


def read_roofline(folder: Path) -> list[Point]:
    """What ``roofline.csv`` in a folder holds; nothing where there is none.

    Raises:
        UserError: for a file that is not one of these.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    kinds: dict[str, Any] = {one.name: one.type for one in fields(Point)}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [Point(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{path}: is not what bench roofline writes: {text}") from None

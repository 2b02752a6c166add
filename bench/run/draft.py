"""What a record says of a cell before, and whether or not, anything was measured."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bench.cells import Cell
from bench.record import Record, Status
from distill.models import parse_model


def draft_fields(cell: Cell, *, repeat: int = 0) -> dict[str, Any]:
    """Record fields that the cell alone determines."""
    spec = parse_model(cell.model)
    cap = cell.memory_cap_bytes
    return {
        "id": cell.id,
        "repeat": repeat,
        "kind": cell.kind,
        "model": cell.model,
        "method": spec.method,
        "family": spec.family,
        "ratio": spec.ratio,
        "execution": cell.execution,
        "precision": cell.precision,
        "device": cell.device,
        "width": cell.width,
        "height": cell.height,
        "megapixels": cell.megapixels,
        "style_width": cell.style_width,
        "style_height": cell.style_height,
        "alpha": cell.alpha,
        "seed": cell.seed,
        "threads": cell.threads,
        "cudnn_benchmark": cell.cudnn_benchmark if cell.device.startswith("cuda") else None,
        "content": list(cell.content),
        "style": list(cell.style),
        "memory_cap_mb": None if cap is None else cap / 1e6,
        "code_version": cell.code_version,
    }


def unmeasured(
    cell: Cell,
    status: Status,
    reason_code: str,
    reason: str,
    *,
    repeat: int = 0,
    known: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Record:
    """The record of a cell that gave no measurement.

    ``known`` are facts about the model, so that a failure can be drawn at its place.
    """
    return Record(
        **{
            **draft_fields(cell, repeat=repeat),
            "started_at": timestamp(),
            **(known or {}),
            **fields,
            "status": status,
            "reason_code": reason_code,
            "reason": reason,
        }
    )


def random_weights_reason(model: str) -> str:
    """Why the quality of a model without trained weights is not measured."""
    return f"{model} has no trained weights here, and the quality of random ones says nothing"


def timestamp() -> str:
    """Now, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")

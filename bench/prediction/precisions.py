"""Which precisions a device has, as far as that is known without starting it."""

from collections.abc import Iterable

from bench.cells import Cell, Precision
from bench.stylizers.cascade import native_on_cpu, not_native


def lacking(device: str, precision: Precision) -> str:
    """Why a CPU cannot do a precision; empty where it can. A GPU is not asked."""
    if device.startswith("cuda"):
        return ""
    if precision == "tf32":
        return "tf32 needs an NVIDIA GPU"
    if precision in ("bf16", "fp16") and not native_on_cpu(precision):
        return not_native(precision)
    return ""


def wanted_precisions(cells: Iterable[Cell]) -> tuple[Precision, ...]:
    """Those that a device has to be calibrated at."""
    return tuple(dict.fromkeys(cell.precision for cell in cells))

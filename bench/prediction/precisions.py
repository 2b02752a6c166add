"""Which precisions a device has, as far as that is known without starting it."""

from collections.abc import Iterable

from bench.cells import Cell, Precision
from bench.stylizers.cascade import native_on_cpu, not_native


def lacking(device: str, precision: Precision, *, capability: str | None = None) -> str:
    """Why a device cannot do a precision; empty where it can, or where that is not known.

    Args:
        device: ``cpu`` or ``cuda:N``; a card is not asked.
        precision: of a cell.
        capability: of the card, such as ``7.5``, as the environment of a run has it.
    """
    if device.startswith("cuda"):
        major = (capability or "").partition(".")[0]
        if precision in ("tf32", "bf16") and major.isdecimal() and int(major) < 8:
            return (
                f"{precision} needs an NVIDIA GPU of compute capability 8, this one has "
                f"{capability}"
            )
        return ""
    if precision == "tf32":
        return "tf32 needs an NVIDIA GPU"
    if precision in ("bf16", "fp16") and not native_on_cpu(precision):
        return not_native(precision)
    return ""


def wanted_precisions(cells: Iterable[Cell]) -> tuple[Precision, ...]:
    """Those that a device has to be calibrated at."""
    return tuple(dict.fromkeys(cell.precision for cell in cells))

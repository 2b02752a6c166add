"""Which precisions a device has, as far as that is known without starting it."""

from bench.cells import Precision
from bench.stylizers.cascade import native_on_cpu


def lacking(device: str, precision: Precision) -> str:
    """Why a CPU cannot do a precision; empty where it can. A GPU is not asked."""
    if device.startswith("cuda"):
        return ""
    if precision == "tf32":
        return "tf32 needs an NVIDIA GPU"
    if precision in ("bf16", "fp16") and not native_on_cpu(precision):
        return f"this CPU has no native {precision} convolutions"
    return ""

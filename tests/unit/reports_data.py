"""Synthetic records with the shape of real runs; costs follow closed forms tests can repeat."""

from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from bench.record import Record

SIZES = {
    "512x512": (512, 512),
    "1MP": (1152, 864),
    "4MP": (2304, 1728),
    "8MP": (3840, 2160),
    "42MP": (10240, 4096),
    "100MP": (11552, 8656),
}
PARAMETERS = {"wct": 34_239_371, "adain": 7_010_959}
GFLOP_PER_MP = {"wct": 3094.0, "adain": 1460.0}
MB_PER_MP = {"wct": 800.0, "adain": 450.0}
MS_PER_MP = {"wct": 9000.0, "adain": 4200.0}


def latency_ms(method: str, ratio: int, megapixels: float, speed: float = 1.0) -> float:
    """Milliseconds of one pass: linear in the pixels, a power of the ratio."""
    return MS_PER_MP[method] * megapixels / ratio**0.7 / speed


def memory_mb(method: str, ratio: int, megapixels: float) -> float:
    """Peak of one pass: linear in the pixels and in the width of the network."""
    return 20 + MB_PER_MP[method] * megapixels / ratio**0.5


def record(
    model: str,
    size: tuple[int, int],
    *,
    kind: str = "performance",
    device: str = "cpu",
    execution: str = "whole",
    precision: str = "fp32",
    **fields: Any,
) -> dict[str, Any]:
    """A record of ``kind`` for ``METHOD-FAMILY-RATIOx[:PATH]``, ok unless ``fields`` say else."""
    method, family, rest = model.split("-", 2)
    ratio = int(rest.partition(":")[0].rstrip("x"))
    megapixels = size[0] * size[1] / 1e6
    identity = f"{kind}/{model}/{device}/{execution}/{precision}/{size[0]}x{size[1]}"
    made = {
        "id": identity,
        "kind": kind,
        "model": model,
        "method": method,
        "family": family,
        "ratio": ratio,
        "execution": execution,
        "precision": precision,
        "device": device,
        "width": size[0],
        "height": size[1],
        "megapixels": megapixels,
        "style_width": 512,
        "style_height": 512,
        "alpha": 1.0,
        "seed": 0,
        "content": ["builtin"],
        "style": ["builtin"],
        "code_version": "0.1.0",
        "memory_cap_mb": 12_000.0,
        "weights": "trained" if ratio in (1, 16) else "random",
        "parameters": round(PARAMETERS[method] / ratio),
        "storage_mb": PARAMETERS[method] / ratio * (4 if precision == "fp32" else 2) / 1e6,
        "gflops": GFLOP_PER_MP[method] * megapixels / ratio,
        "status": "ok",
    }
    return Record.model_validate({**made, **fields}).model_dump()


def performance(
    model: str, size: tuple[int, int], *, limit_s: float = 60.0, **fields: Any
) -> dict[str, Any]:
    """What a 12 GB cap and a time limit make of a cell: measured, out of memory or skipped."""
    method, _, rest = model.split("-", 2)
    ratio = int(rest.partition(":")[0].rstrip("x"))
    cuda = str(fields.get("device", "cpu")).startswith("cuda")
    half = fields.get("precision", "fp32") != "fp32"
    megapixels = size[0] * size[1] / 1e6
    latency = latency_ms(method, ratio, megapixels, (60 if cuda else 1) * (1.6 if half else 1))
    memory = memory_mb(method, ratio, megapixels) * (0.55 if half else 1)
    if fields.get("execution") == "strips":
        latency, memory = latency * 1.15, 200 + memory**0.6
    if fields.get("status", "ok") != "ok":
        return record(model, size, **fields)
    if memory > 12_000:
        return record(
            model,
            size,
            **fields
            | {
                "status": "out_of_memory",
                "reason_code": "cuda_allocator" if cuda else "host_allocator",
                "reason": f"an allocation of {memory / 5:.0f} MB failed under the cap of 12 GB",
                "requested_mb": memory / 5,
                "free_mb": memory / 9,
            },
        )
    if latency / 1000 > limit_s:
        return record(
            model,
            size,
            **fields
            | {
                "status": "skipped",
                "reason_code": "time_limit",
                "reason": f"estimated at {latency / 1000:.0f} s, over the limit of {limit_s:.0f} s",
                "estimate_s": latency / 1000,
            },
        )
    repeats = 1 if latency > limit_s * 600 else 7
    spread = 0.03 if megapixels > 1 else 0.08
    measured: dict[str, Any] = {
        "latency_ms": latency,
        "latency_ci_low_ms": latency * (1 - spread) if repeats > 1 else None,
        "latency_ci_high_ms": latency * (1 + spread) if repeats > 1 else None,
        "latency_samples_ms": [latency] * repeats,
        "latency_outliers": [],
        "repeats": repeats,
        "converged": repeats > 1,
        "throughput_mp_s": megapixels / latency * 1000,
        "load_ms": 220.0,
        "first_call_ms": latency * (1.3 if repeats > 1 else 1),
    }
    if repeats == 1:
        measured |= {"reason_code": "measured_once", "reason": "one pass, which was cold"}
    if cuda:
        measured |= {
            "device_latency_ms": latency * 0.99,
            "peak_allocated_mb": memory,
            "peak_reserved_mb": memory * 1.2,
            "peak_device_mb": memory * 1.2 + 520,
        }
    else:
        measured["peak_rss_growth_mb"] = memory
    return record(model, size, **measured | fields)


def quality(model: str, *, pairs: int = 2, lpips: bool = False, **fields: Any) -> dict[str, Any]:
    """A quality record; skipped with that reason where the model's weights are random."""
    made = record(model, (512, 512), kind="quality", **fields)
    if made["status"] != "ok":
        return made
    if made["weights"] == "random":
        skipped = {"status": "skipped", "reason_code": "random_weights"}
        reason = "the model has random weights: its pictures mean nothing"
        return made | skipped | {"reason": reason}
    worse = made["ratio"] ** 0.12 * (1 if made["method"] == "wct" else 1.3)
    layers = {f"style_loss_relu{n}_1": 0.01 * n * worse for n in range(1, 6)}
    made |= layers | {
        "quality_network": "vgg16-gatys",
        "quality_pairs": pairs,
        "content_loss": 2.1 * made["ratio"] ** 0.05 / (1 if made["method"] == "wct" else 1.4),
        "style_loss": sum(layers.values()),
        "lpips": 0.61 * worse**0.5 if lpips else None,
        "metrics_absent": None if lpips else {"lpips": "no AlexNet backbone in the cache"},
    }
    made["per_pair"] = [
        {
            "content": f"photo-{n}.jpg",
            "style": f"painting-{n}.jpg",
            "content_image": f"images/content-{n}.png",
            "style_image": f"images/style-{n}.png",
            "image": f"images/{made['model'].partition(':')[0]}-{made['precision']}-{n}.png",
            "content_loss": made["content_loss"],
            "style_loss": made["style_loss"],
        }
        for n in range(pairs)
    ]
    return made


def cpu_run(models: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
    """The ultra-resolution scenario on a CPU with a 12 GB cap."""
    models = models or tuple(f"{m}-vgg16-{r}x" for m in ("wct", "adain") for r in (1, 4, 16))
    cells = [performance(model, size) for model in models for size in SIZES.values()]
    return cells + [quality(model) for model in models]


def cuda_run() -> list[dict[str, Any]]:
    """Two executions and two precisions on a GPU, LPIPS at hand."""
    models = ("wct-vgg16-1x", "wct-vgg16-16x", "adain-vgg16-16x")
    settings = [
        {"device": "cuda:0", "execution": execution, "precision": precision}
        for execution in ("whole", "strips")
        for precision in ("fp32", "fp16")
    ]
    cells = [
        performance(model, size, **setting)
        for model in models
        for size in SIZES.values()
        for setting in settings
    ]
    return cells + [quality(m, lpips=True, **s) for m in models for s in settings[:2]]


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a record."""
    return pd.DataFrame(records)


def pictures(folder: Path, records: list[dict[str, Any]], side: int = 96) -> None:
    """Small pictures where the records' pairs say they are."""
    for made in records:
        for number, pair in enumerate(made.get("per_pair") or []):
            for position, key in enumerate(("content_image", "style_image", "image")):
                path = folder / pair[key]
                path.parent.mkdir(parents=True, exist_ok=True)
                gradient = Image.linear_gradient("L").resize((side, side))
                channels = [gradient.rotate(90 * (position + turn + number)) for turn in range(3)]
                Image.merge("RGB", channels).save(path)

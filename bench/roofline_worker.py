"""The process that measures a roofline: ``python -m bench.roofline_worker REQUEST OUT``.

REQUEST is a JSON file: device, threads, models, precisions, width, height, repeats.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cells import Precision
from bench.measure.latency import Clock, clock_for
from bench.measure.oom_killer import offer_to_oom_killer
from bench.prediction.ledger import Ledger
from bench.prediction.trace import shape_model, style_code, traced
from bench.prediction.traffic import Work
from bench.stylizers import Unsupported, load_stylizer
from bench.stylizers.cascade import DTYPES, Stylizer, set_precision
from distill.host import limit_threads
from distill.inference import Layout
from distill.networks import pad_to_alignment
from distill.transforms import ChannelAffine

_CEILING_REPEATS = 7
_MATRIX = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices whose product is timed."""
_CHANNELS, _SIDE = 256, {"cpu": 96, "cuda": 512}
"""Of the 3x3 convolution that is timed beside it: some kernels reach more with one than the other.
"""
_COPIED_BYTES = {"cpu": 256 * 10**6, "cuda": 2 * 10**9}
"""Bytes of the array that is read and written for the bandwidth: far more than any cache holds."""


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the points and the ceilings as JSON. Returns the exit status."""
    offer_to_oom_killer()
    request, out = (Path(argument) for argument in arguments)
    asked = json.loads(request.read_text(encoding="utf-8"))
    device = asked["device"]
    if asked["threads"] is None:
        limit_threads()
    else:
        torch.set_num_threads(asked["threads"])
    clock = clock_for(device)
    ceilings: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for precision in asked["precisions"]:
        try:
            ceilings.append({"precision": precision, **_ceilings(device, precision, clock)})
        except Unsupported as error:
            ceilings.append({"precision": precision, "absent": error.reason})
            continue
        for model in asked["models"]:
            points += _points(
                model,
                device,
                precision,
                # Not in inference mode, where shapes cannot be traced.
                stage_works(model, device, precision, asked["width"], asked["height"]),
                (asked["width"], asked["height"]),
                asked["repeats"],
                clock,
            )
    found = {"ceilings": ceilings, "points": points, "threads": torch.get_num_threads()}
    out.write_text(json.dumps(found), encoding="utf-8")
    return 0


@torch.inference_mode()
def _ceilings(device: str, precision: Precision, clock: Clock) -> dict[str, float]:
    """The most that a product of matrices or a convolution reaches, and a copy beyond the caches.

    The fastest of the repeats: whatever else runs on the machine only slows them down.
    """
    dtype = set_precision(precision, device)
    kind = device.partition(":")[0]
    matmul_tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    side = _MATRIX[kind]
    a, b = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    by_product = 2 * side**3 / _best(lambda: a @ b, clock)
    torch.backends.cuda.matmul.allow_tf32 = matmul_tf32
    layout = Layout(torch.device(device), dtype, torch.channels_last)
    size = _SIDE[kind]
    x = layout.place(torch.rand(1, _CHANNELS, size, size))
    weight = layout.place(torch.rand(_CHANNELS, _CHANNELS, 3, 3))
    macs = _CHANNELS**2 * 9 * size**2
    by_convolution = 2 * macs / _best(lambda: F.conv2d(x, weight, padding=1), clock)
    source = torch.zeros(_COPIED_BYTES[kind], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() / _best(lambda: target.copy_(source), clock)
    return {
        "peak_gflop_s": max(by_product, by_convolution) / 1e9,
        "product_gflop_s": by_product / 1e9,
        "convolution_gflop_s": by_convolution / 1e9,
        "bandwidth_gb_s": copied / 1e9,
    }


def _best(run: Callable[[], object], clock: Clock) -> float:
    """Seconds of the fastest repeat after one that does not count."""
    clock.time(run)
    return min(clock.time(run).wall_ms for _ in range(_CEILING_REPEATS)) / 1e3


@torch.inference_mode()
def _points(
    model: str,
    device: str,
    precision: Precision,
    works: Sequence[tuple[Work, Work]],
    size: tuple[int, int],
    repeats: int,
    clock: Clock,
) -> list[dict[str, Any]]:
    """Each stage's encoder and decoder: work, and median seconds."""
    stylizer = load_stylizer(model, device=device, precision=precision)
    layout = stylizer.layout
    width, height = size
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, height, width), generator=generator)
    content = pad_to_alignment(layout.place(image))
    found = []
    for stage, (encoding, decoding) in zip(stylizer.stages, works, strict=True):
        features: list[Tensor] = []

        def encode(stage: Any = stage, features: list[Tensor] = features) -> None:
            features[:] = [stage.encoder([content])]

        channels = stage.encoder.channels
        affine = ChannelAffine(
            torch.eye(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
        )

        def decode(
            stage: Any = stage,
            features: list[Tensor] = features,
            affine: ChannelAffine = affine,
        ) -> None:
            stage.decoder([features[0]], affine)

        for part, run, work in (("encoder", encode, encoding), ("decoder", decode, decoding)):
            run()
            seconds = median(clock.time(run).wall_ms for _ in range(repeats)) / 1e3
            found.append(
                {
                    **{"model": model, "precision": precision, "part": part},
                    "stage": f"relu{stage.encoder.stage}_1",
                    "weights": stylizer.weights,
                    "gflop": 2 * work.macs / 1e9,
                    "gb_moved": work.bytes / 1e9,
                    "seconds": seconds,
                }
            )
    return found


def stage_works(
    model: str, device: str, precision: Precision, width: int, height: int
) -> list[tuple[Work, Work]]:
    """What each stage's encoder and decoder compute and move, by their shapes."""
    stylizer: Stylizer = shape_model(
        model, device=device, precision=precision, execution="whole"
    ).stylizer
    found: list[tuple[Work, Work]] = []

    def run(content: Tensor, ledger: Ledger) -> None:
        padded = pad_to_alignment(content)
        for stage, affine in zip(stylizer.stages, style_code(stylizer), strict=True):
            begun = ledger.work
            features = stage.encoder([padded])
            encoded = ledger.work
            stage.decoder([features], affine)
            found.append((encoded - begun, ledger.work - encoded))

    traced(stylizer, width, height, run)
    assert stylizer.layout.dtype == DTYPES[precision]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

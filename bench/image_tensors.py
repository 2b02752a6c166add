"""Images as tensors ``1x3xHxW``, RGB in 0..1: from a spec, and back to pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench.image_specs import Role, image_source
from bench.images import AnyPixels, Pixels, cover, read_pixels
from bench.scenes import STRIP, Scene
from bench.units import Size

BUILTIN_SIZE = Size(512, 512)
"""Size of a generated image that is asked for without a size."""


def load_tensor(
    spec: str,
    size: Size | None,
    *,
    role: Role,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """The image as a contiguous tensor ``1x3xHxW``, RGB in 0..1, at exactly that size.

    A file or photograph, of 8 or 16 bits, is covered to the size (see ``bench.images.cover``), or
    left as it is without one. ``builtin`` as a content is a photograph as long as it need not be
    enlarged; beyond that, and as a style, it is a scene generated at that size, of which never more
    is held than the tensor and a strip. Raises ``UserError`` as ``bench.images.read_pixels`` does.
    """
    source = image_source(spec, size, role)
    if isinstance(source, Path):
        pixels = read_pixels(source)
        if size is not None:
            pixels = cover(pixels, size)
        actual = Size(pixels.shape[1], pixels.shape[0])
        return _filled(actual, lambda top, bottom: pixels[top:bottom], device, dtype)
    kind, seed = source
    actual = size or BUILTIN_SIZE
    return _filled(actual, Scene(*actual, seed, kind).rows, device, dtype)


def _filled(
    size: Size,
    rows: Callable[[int, int], AnyPixels],
    device: str | torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    out = torch.empty((1, 3, size.height, size.width), dtype=dtype, device=device)
    step = _strip_rows(size.width)
    for top in range(0, size.height, step):
        bottom = min(top + step, size.height)
        planes = np.ascontiguousarray(rows(top, bottom).transpose(2, 0, 1))
        most = np.iinfo(planes.dtype).max
        out[0, :, top:bottom] = torch.from_numpy(planes).to(device).to(torch.float32).div_(most)
    return out


def to_uint8(image: torch.Tensor) -> Pixels:
    """``1x3xHxW`` in 0..1 to uint8 ``(H, W, 3)``: clamped, rounded to the nearest level.

    No second copy of the image is made in floats. Raises ``ValueError`` for another shape and for
    values that are not finite.
    """
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[1] != 3:
        raise ValueError(f"an image is 1x3xHxW; got {tuple(image.shape)}")
    height, width = image.shape[2:]
    out = np.empty((height, width, 3), dtype=np.uint8)
    step = _strip_rows(width)
    with torch.inference_mode():
        for top in range(0, height, step):
            strip = image[0, :, top : top + step].to(torch.float32) * 255
            # One pass: a NaN anywhere is both least and greatest.
            if not bool(torch.stack(torch.aminmax(strip)).isfinite().all()):
                raise ValueError("the image holds values that are not finite numbers")
            levels = strip.round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
            for channel, plane in enumerate(levels):
                out[top : top + step, :, channel] = plane
    return out


def _strip_rows(width: int) -> int:
    """Rows that are converted at once: about 2 MP, in whole strips of a scene."""
    return max(STRIP, 2**21 // width // STRIP * STRIP)

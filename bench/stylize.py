"""Stylising one file: what `bench stylize` does."""

from pathlib import Path
from typing import cast, get_args

from torch import Tensor, from_numpy

from bench.cells import Precision
from bench.errors import EnvironmentUnfitError, UserError
from bench.images import Pixels, check_writable, read_image, resize, to_uint8, write_image
from bench.measure.environment import resolve_device
from bench.measure.memory import out_of_memory
from bench.stylizers import Unsupported, load_stylizer
from bench.units import Size, parse_size
from distill.models import parse_model


def stylize_file(
    content: Path,
    style: Path,
    out: Path,
    *,
    model: str,
    size: str | None = None,
    style_size: str | None = None,
    alpha: float = 1.0,
    precision: str = "fp32",
    device: str = "auto",
) -> None:
    """Stylise an image file; arguments as on the command line.

    Raises:
        UserError: for input that cannot be used, in one line a problem.
        EnvironmentUnfitError: when the device lacks the precision or the memory.
    """
    wanted, wanted_style = _size("--size", size), _size("--style-size", style_size)
    if not 0 <= alpha <= 1:
        raise UserError(f"--alpha must be between 0 and 1; got {alpha}")
    if precision not in get_args(Precision):
        raise UserError(f"--precision is one of {', '.join(get_args(Precision))}; got {precision}")
    try:
        spec = parse_model(model)
    except ValueError as error:
        raise UserError(f"--model: {error}") from error
    if spec.weights is None:
        raise UserError(
            f"--model {model}: has no trained weights in this version, so its pictures would be "
            f"noise; name a folder of weights: {model}:FOLDER"
        )
    device = resolve_device(device)
    pixels = read_image(content)
    height, width = pixels.shape[:2]
    check_writable(out, wanted or Size(width, height))
    try:
        stylizer = load_stylizer(model, device=device, precision=cast(Precision, precision))
        code = stylizer.encode_style(_tensor(read_image(style), wanted_style or wanted))
        image = to_uint8(stylizer.stylize(_tensor(pixels, wanted), code, alpha))
    except Unsupported as error:
        raise EnvironmentUnfitError(f"--precision {precision}: {error.reason}") from error
    except (RuntimeError, MemoryError) as error:
        if (shortage := out_of_memory(error)) is None:
            raise
        raise EnvironmentUnfitError(
            f"{content}: {shortage.message}; try a smaller --size, or a model of a higher ratio"
        ) from error
    write_image(out, image)


def _size(option: str, text: str | None) -> Size | None:
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from error


def _tensor(pixels: Pixels, size: Size | None) -> Tensor:
    array = resize(pixels, size) if size else pixels
    return from_numpy(array).permute(2, 0, 1)[None].float().div_(255)

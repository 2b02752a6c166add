"""Stylising one file: what `bench stylize` does."""

import errno
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import torch

from bench.cells import Execution, Precision
from bench.errors import EnvironmentUnfitError, UserError
from bench.execution.rows import TensorSink, TensorSource, padded_bands, padded_size
from bench.execution.strip_plan import (
    BudgetError,
    StripPlan,
    fixed_bytes,
    largest_band,
    plan_strips,
)
from bench.execution.strips import stylize_rows
from bench.execution.thumbnail import PADDING, PATCH, THUMBNAIL
from bench.images import read_pixels, resize
from bench.measure.devices import resolve_device
from bench.measure.out_of_memory import out_of_memory
from bench.pixel_rows import ArraySource
from bench.prefetch import Prefetched
from bench.stylizers import Stylizer, Unsupported, load_stylizer
from bench.units import Size, parse_bytes, parse_size
from bench.vips_rows import VipsSink, VipsSource, holds_16_bits, holds_exif
from distill.cascades import weights_kind
from distill.command_line import progress_bar
from distill.host import limit_threads, usable_memory
from distill.image_files import check_writable
from distill.images.metadata import Metadata, upright_exif
from distill.images.reader import ImageFile
from distill.inference import Layout
from distill.models import parse_model
from distill.networks import ALIGNMENT
from distill.streaming import stream
from distill.suggest import did_you_mean
from distill.transforms import FeatureStats

if TYPE_CHECKING:
    from distill.stages import StyleCode

BUFFERS = 48 * 10**6
"""Bytes for bands that are read ahead or wait to be written."""
BUFFERS_PER_COLUMN = 10_000
"""Bytes for each pixel of a row that decoding and encoding take: thousands of rows."""
BUFFERS_PER_PIXEL = 60
"""Bytes for each pixel of an image that all its rows take: decoded, ahead, and to be encoded."""
_SHARE = 0.8
"""Of the memory that is available, what is taken where nobody says how much may be."""
_BAND = 256
"""Rows that are read and written at a time when the whole image is in memory anyway."""


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
    execution: str = "auto",
    memory: str | None = None,
    depth: int | None = None,
    keep_metadata: bool = False,
    scratch: Path | None = None,
    quiet: bool = False,
) -> None:
    """Stylise an image file; arguments as on the command line.

    The file appears whole or not at all: after an exception, Ctrl-C or SIGTERM nothing is left.

    Raises:
        UserError: for input that cannot be used, in one line a problem.
        EnvironmentUnfitError: when the device lacks the precision or the memory, or the scratch
            folder the space.
    """
    wanted, wanted_style = _size("--size", size), _size("--style-size", style_size)
    if not 0 <= alpha <= 1:
        raise UserError(f"--alpha must be between 0 and 1; got {alpha}")
    _check_choice("--precision", precision, get_args(Precision))
    _check_choice("--execution", execution, ("auto", *get_args(Execution)))
    if depth not in (None, 8, 16):
        raise UserError(f"--depth is 8 or 16 bits a channel; got {depth}")
    try:
        allowed = None if memory is None else parse_bytes(memory)
    except ValueError as error:
        raise UserError(f"--memory: {error}") from error
    try:
        spec = parse_model(model)
    except ValueError as error:
        raise UserError(f"--model: {error}") from error
    if weights_kind(spec) == "random":
        raise UserError(
            f"--model {model}: has no trained weights in this version, so its pictures would be "
            f"noise; name a folder of weights: {model}:FOLDER"
        )
    folder = scratch or Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise EnvironmentUnfitError(
            f"{folder}: no such folder for scratch files; name another with --scratch"
        )
    device = resolve_device(device)
    if wanted is not None:
        check_writable(out, wanted)
    try:
        limit_threads()
        with _ending_on_signals(), torch.inference_mode():
            source = _source(content, wanted, folder)
            if depth is None:
                depth = source.depth if holds_16_bits(out) else 8
            sink = VipsSink(
                out,
                source.width,
                source.height,
                depth=depth,
                metadata=_metadata(content, out, source) if keep_metadata else None,
            )
            pixels = read_pixels(style)
            target = wanted_style or wanted
            style_source = ArraySource(resize(pixels, target) if target else pixels)
            stylizer = load_stylizer(
                model,
                device=device,
                precision=cast(Precision, precision),
                execution="thumbnail" if execution == "thumbnail" else "whole",
            )
            content_size = Size(source.width, source.height)
            host = source.held_bytes + sink.held_bytes + _buffers(content_size)
            choice = _choose(
                stylizer,
                content_size,
                style_source.width,
                cast("Literal['auto'] | Execution", execution),
                allowed=allowed,
                host=host if stylizer.layout.device.type == "cpu" else 0,
            )
            if not quiet:
                print(f"{out}: {source.width}x{source.height}, {choice.said}")
            with progress_bar("stylising", quiet=quiet, counted=False) as report, sink:
                if choice.plan is None:
                    _in_memory(stylizer, source, style_source, sink, alpha)
                else:
                    rows = _rows_of_equal_bytes(choice.plan.rows, source.width, style_source.width)
                    stylize_rows(
                        stylizer,
                        Prefetched(source, stylizer.layout.device),
                        sink,
                        _encode_style(stylizer, style_source, rows),
                        alpha,
                        plan=choice.plan,
                        scratch=folder,
                        report=report,
                    )
                sink.commit()
    except Unsupported as error:
        raise EnvironmentUnfitError(f"--precision {precision}: {error.reason}") from error
    except (RuntimeError, MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise EnvironmentUnfitError(
                f"{folder}: no space is left for scratch files; name another folder with --scratch"
            ) from error
        if (shortage := out_of_memory(error)) is None:
            raise
        raise EnvironmentUnfitError(
            f"{content}: {shortage.message}; try --execution strips with less --memory, a smaller "
            "--size, or a model of a higher ratio"
        ) from error


def _check_choice(option: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        hint = did_you_mean(given, allowed)
        raise UserError(f"{option} is one of {', '.join(allowed)}; got {given}{hint}")


def _size(option: str, text: str | None) -> Size | None:
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from error


def _source(content: Path, size: Size | None, scratch: Path) -> VipsSource | ArraySource:
    if size is None:
        return VipsSource(content, scratch=scratch)
    return ArraySource(resize(read_pixels(content), size))


def _metadata(content: Path, out: Path, source: VipsSource | ArraySource) -> Metadata:
    """Of the content, for the picture that is made of it."""
    exif, dots = ImageFile(content).metadata
    if exif is None:
        return Metadata(None, dots)
    if not holds_exif(out):
        raise UserError(
            f"--keep-metadata: {out}: EXIF is not written into TIFF; write .png, .jpg or .webp"
        )
    try:
        return Metadata(upright_exif(exif, source.width, source.height), dots)
    except ValueError as error:
        raise UserError(
            f"{content}: its EXIF is damaged ({error}); leave out --keep-metadata"
        ) from error


# --- Which execution ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Choice:
    """How the image will be run."""

    plan: StripPlan | None
    """None for an execution that holds the image."""
    said: str


def _buffers(size: Size) -> int:
    """Bytes that decoding, encoding and reading ahead take; a small image has few rows to hold."""
    return min(BUFFERS + BUFFERS_PER_COLUMN * size.width, BUFFERS_PER_PIXEL * size.pixels)


def _choose(
    stylizer: Stylizer,
    size: Size,
    style_width: int,
    execution: Literal["auto"] | Execution,
    *,
    allowed: int | None,
    host: int,
) -> _Choice:
    """The execution that is wanted, or the fastest that fits.

    An image that does not fit in strips is run whole where it fits so: a small one may, and the
    result is the same.

    Args:
        stylizer: the model.
        size: of the content.
        style_width: in pixels; a few rows of the style are in memory in any case.
        execution: what is wanted.
        allowed: bytes that the run may take; None for what is available.
        host: bytes of them that reading and writing take.

    Raises:
        EnvironmentUnfitError: when it does not fit what is allowed.
    """
    least_band = largest_band(stylizer, padded_size(style_width, 1)[0], ALIGNMENT)

    def fixed(band: int) -> int:
        # The style is encoded before the content's bands come; the higher of both is the peak.
        return host + fixed_bytes(stylizer, max(band, least_band)) + max(0, least_band - band)

    budget = _available(stylizer.layout.device) if allowed is None else allowed
    of = f"of {budget / 1e9:.2f} GB {'available' if allowed is None else 'allowed'}"
    held, band = _in_memory_bytes(stylizer, size)
    peak = fixed(band) + held + band
    if execution != "strips":
        if peak <= budget or (execution != "auto" and allowed is None):
            how = "in patches" if stylizer.execution == "thumbnail" else "whole"
            return _Choice(None, f"{how}: predicted peak {peak / 1e9:.2f} GB {of}")
        if execution != "auto":
            raise EnvironmentUnfitError(
                f"--execution {execution}: about {peak / 1e9:.2f} GB are needed and --memory allows"
                f" {budget / 1e9:.2f} GB; allow more, or take strips"
            )
    try:
        plan = plan_strips(stylizer, *size, budget=budget, fixed=fixed)
    except BudgetError as error:
        if stylizer.execution != "whole" or peak > budget:
            raise
        return _Choice(
            None,
            f"whole: predicted peak {peak / 1e9:.2f} GB {of}; strips would need "
            f"{error.needed_bytes / 1e9:.2f} GB, and the result is the same",
        )
    said = f"strips of {plan.rows} rows: predicted peak {plan.peak_bytes / 1e9:.2f} GB {of}"
    if plan.scratch_bytes:
        said += f", {plan.scratch_bytes / 1e9:.2f} GB of scratch"
    return _Choice(plan, said)


def _in_memory_bytes(stylizer: Stylizer, size: Size) -> tuple[int, int]:
    """Most bytes that whole execution, or that by patches, takes: for images, and for maps."""
    item = stylizer.layout.dtype.itemsize
    if stylizer.execution == "whole":
        return 2 * 3 * size.pixels * item, largest_band(stylizer, *padded_size(*size))
    # The content is float32 on the host until a patch of it is placed.
    patch, thumbnail = PATCH + 2 * PADDING, size.width * THUMBNAIL // size.height
    largest = max(patch * patch, thumbnail * min(THUMBNAIL, size.height))
    return 3 * size.pixels * (4 + item), largest_band(stylizer, *padded_size(largest // 16, 16))


def _available(device: torch.device) -> int:
    """Bytes that may be taken of a device's memory without being told how many."""
    if device.type == "cuda":
        return int(_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(_SHARE * usable_memory().available)


# --- Running --------------------------------------------------------------------------------------


def _in_memory(
    stylizer: Stylizer,
    source: VipsSource | ArraySource,
    style: ArraySource,
    sink: VipsSink,
    alpha: float,
) -> None:
    """With the image in memory from beginning to end."""
    layout = stylizer.layout
    if stylizer.execution == "thumbnail":
        layout = Layout.of("cpu", torch.float32)
    image = TensorSink(source.width, source.height, layout)
    for band in source.bands(_BAND):
        image.write(band)
    # A style larger than the content takes no more memory than that.
    rows = _rows_of_equal_bytes(source.height, source.width, style.width)
    if rows >= style.height:
        (style_image,) = style.bands(style.height)
        code = stylizer.encode_style(style_image)
    else:
        code = _encode_style(stylizer, style, rows)
    result = stylizer.stylize(image.image, code, alpha)
    for band in TensorSource(result).bands(_BAND):
        sink.write(band)


def _encode_style(stylizer: Stylizer, style: ArraySource, rows: int) -> "StyleCode":
    """:meth:`Stylizer.encode_style` in strips: a style may be as large as a content."""
    code = []
    for stage in stylizer.stages:
        stats = FeatureStats(stage.encoder.channels)
        for features in stream(stage.encoder.steps, padded_bands(style, rows, stylizer.layout)):
            stats.update(features)
        code.append(stage.restyle(stats))
    return tuple(code)


def _rows_of_equal_bytes(rows: int, width: int, other_width: int) -> int:
    """How many rows of the other width take no more than ``rows`` of a width; 16 at the least."""
    return max(ALIGNMENT, rows * width // other_width // ALIGNMENT * ALIGNMENT)


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP as an exception, so that what is unfinished is put away."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    names = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    if threading.current_thread() is not threading.main_thread():
        names = []
    # What somebody handles or ignores already (nohup) is left as it is.
    taken = [name for name in names if signal.getsignal(name) is signal.SIG_DFL]
    for name in taken:
        signal.signal(name, end)
    try:
        yield
    finally:
        for name in taken:
            signal.signal(name, signal.SIG_DFL)

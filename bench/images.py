"""Images in and out: files of every kind Pillow reads, and the built-in ones.

A *spec* names one image: the path of a file, ``builtin`` (a content or style at whatever size is
asked) or ``builtin:NAME``. Inside the suite an image is uint8 ``(H, W, 3)`` RGB in 0..255, or a
tensor ``1x3xHxW`` RGB in 0..1.
"""

import glob
import importlib.resources
import os
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from bench.errors import EnvironmentUnfitError, UserError
from bench.scenes import CONTENT_NAMES, STRIP, STYLE_NAMES, Kind, Scene
from bench.suggest import did_you_mean
from bench.units import Size

Pixels = npt.NDArray[np.uint8]
Role = Literal["content", "style"]

MAX_READ_PIXELS = 1_000_000_000
"""Largest image file that is read: 1000 MP, which is 3 GB as RGB."""
BUILTIN_SIZE = Size(512, 512)
"""Size of a generated image that is asked for without a size."""

_PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "motorcycle": "motorcycle_left.png",
    "rocket": "rocket.jpg",
}
BUILTIN_CONTENTS: tuple[str, ...] = tuple(_PHOTOGRAPHS)
"""Photographs that are part of the scikit-image wheel; nothing is downloaded."""
BUILTIN_STYLES: tuple[str, ...] = STYLE_NAMES
"""Generated paintings."""

_GENERATED: dict[str, tuple[Kind, int]] = {
    **{name: ("content", seed) for seed, name in enumerate(CONTENT_NAMES)},
    **{name: ("style", seed) for seed, name in enumerate(STYLE_NAMES)},
}
_BUILTIN = "builtin"

_READ_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"}
    | {".webp"}
)
_WRITERS: dict[str, tuple[str, dict[str, Any], int]] = {
    # Format, Pillow's options, longest side in px.
    ".png": ("PNG", {"compress_level": 4}, 2**31 - 1),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}, 65535),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}, 65535),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}, 2**31 - 1),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}, 2**31 - 1),
    ".webp": ("WEBP", {"quality": 95}, 16383),
}


# --- Files ----------------------------------------------------------------------------------------


def read_image(path: str | os.PathLike[str]) -> Pixels:
    """An image file as uint8 ``(H, W, 3)`` RGB.

    Turned as its EXIF orientation says; transparent parts over white; the first frame of several.
    Grey of 16 bits is scaled to 8 and rounded, colour of 16 bits
    loses its low byte (Pillow's way), floats must lie in 0..1. CMYK is converted without
    its colour profile. Raises ``UserError`` for what is missing, damaged, larger than
    ``MAX_READ_PIXELS`` or no image.
    """
    with _opened(Path(path)) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image, Path(path))


def image_size(path: str | os.PathLike[str]) -> Size:
    """Size as ``read_image`` would give it, from the file's header. Raises as that does."""
    with _opened(Path(path)) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return Size(*(reversed(image.size) if turned else image.size))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file opened by Pillow; what goes wrong in the block becomes a ``UserError``."""
    try:
        if not path.exists():
            raise UserError(f"{path}: no such file{_nearest(path)}")
        if path.is_dir():
            raise UserError(f"{path}: is a folder, not an image file")
        if not path.is_file():
            raise UserError(f"{path}: is not a regular file")
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes)")
        with _unlimited(), _unwarned(), Image.open(path) as image:
            if image.width * image.height > MAX_READ_PIXELS:
                raise UserError(
                    f"{path}: {image.width}x{image.height} is more than the"
                    f" {MAX_READ_PIXELS // 10**6} MP that are read; make it smaller first"
                )
            yield image
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image, or of a kind that cannot be read") from None
    # What Pillow's decoders raise on damaged data; SyntaxError is its word for a broken header.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read, it may be damaged: {reason}") from error


@contextmanager
def _unlimited() -> Iterator[None]:
    # Pillow warns from 89 MP and refuses from 179 MP; images here are larger by design, and
    # MAX_READ_PIXELS stands in.
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _unwarned() -> Iterator[None]:
    # Pillow warns of what it can do without and raises for what it cannot.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _rgb(image: Image.Image, path: Path) -> Pixels:
    if image.mode.startswith("I"):
        return _grey(_from_integers(np.asarray(image), path))
    if image.mode == "F":
        return _grey(_from_floats(np.asarray(image), path))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        over = Image.new("RGBA", rgba.size, "white")
        over.alpha_composite(rgba)
        return np.array(over.convert("RGB"))
    return np.array(image.convert("RGB"))


def _grey(values: Pixels) -> Pixels:
    return np.asarray(np.repeat(values[:, :, None], 3, axis=2))


def _from_integers(values: npt.NDArray[Any], path: Path) -> Pixels:
    """Grey in 0..65535 to 0..255, rounded. Pillow itself would clip at 255."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UserError(f"{path}: grey values must be 0 to 65535 (16 bit); found {low} to {high}")
    scaled = values.astype(np.uint32)
    scaled *= 255
    scaled += 32767
    scaled //= 65535
    return np.asarray(scaled, dtype=np.uint8)


def _from_floats(values: npt.NDArray[Any], path: Path) -> Pixels:
    low, high = float(values.min()), float(values.max())
    # Not a number compares as false.
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"{path}: floating-point pixels must lie in 0..1; found {low:g} to {high:g}"
        )
    return np.asarray(np.rint(values * 255), dtype=np.uint8)


def check_writable(path: str | os.PathLike[str], size: Size) -> None:
    """Raise the ``UserError`` that writing an image of that size there would end in.

    So that a command can refuse before it computes for an hour.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        allowed = ", ".join(_WRITERS)
        hint = did_you_mean(path.suffix, _WRITERS)
        raise UserError(f"{path}: an image to write ends in {allowed}, not '{path.suffix}'{hint}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a file to write")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no such folder {path.parent}{_nearest(path.parent)}")
    kind, _, longest = _WRITERS[path.suffix.lower()]
    if max(size) > longest:
        raise UserError(
            f"{path}: {kind} holds at most {longest} px a side, the image is {size};"
            " write .png or .tiff"
        )


def write_image(path: str | os.PathLike[str], array: Pixels) -> None:
    """Write uint8 ``(H, W, 3)`` RGB as PNG, JPEG, TIFF or WebP, by the file's extension.

    JPEG and WebP are lossy, of quality 95. The file appears whole or not at all. Raises
    ``UserError`` for an unknown extension, a folder that is missing or cannot be written to, and a
    size that the format cannot hold.
    """
    path = Path(path)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"an image is uint8 (H, W, 3); got {array.dtype} {array.shape}")
    check_writable(path, Size(array.shape[1], array.shape[0]))
    kind, options, _ = _WRITERS[path.suffix.lower()]
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            Image.fromarray(array).save(file, format=kind, **options)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


# --- Sizes ----------------------------------------------------------------------------------------


def resize(array: Pixels, size: Size) -> Pixels:
    """``(H, W, 3)`` to exactly that size by Lanczos, the aspect ratio not kept."""
    if (array.shape[1], array.shape[0]) == tuple(size):
        return array
    return np.array(Image.fromarray(array).resize(size, Image.Resampling.LANCZOS))


def cover(array: Pixels, size: Size) -> Pixels:
    """``(H, W, 3)`` to exactly that size by Lanczos: the centre, with its aspect ratio kept."""
    height, width = array.shape[:2]
    if (width, height) == tuple(size):
        return array
    fitted = ImageOps.fit(Image.fromarray(array), size, Image.Resampling.LANCZOS)
    return np.array(fitted)


# --- Specs ----------------------------------------------------------------------------------------


def builtin_names(role: Role) -> tuple[str, ...]:
    """Specs of all built-in images that quality is measured on."""
    names = BUILTIN_CONTENTS if role == "content" else BUILTIN_STYLES
    return tuple(f"{_BUILTIN}:{name}" for name in names)


def expand_images(spec: str, *, key: str, base: Path) -> list[str]:
    """The images that ``spec`` names: absolute paths, or the built-in spec as it is.

    ``spec`` is ``builtin``, ``builtin:NAME``, a file, a folder (its images, by name, not those of
    folders in it) or a glob; paths are relative to ``base``. Files are not opened. Raises
    ``UserError`` that names ``key`` and the value when there is nothing.
    """
    if spec == _BUILTIN:
        return [spec]
    if spec.startswith(f"{_BUILTIN}:"):
        _builtin(spec, key=key)
        return [spec]
    allowed = f"'{_BUILTIN}', '{_BUILTIN}:NAME', a file, a folder or a glob such as photos/*.jpg"
    if not spec.strip() or "\0" in spec:
        raise UserError(f"{key}: {spec!r} is not an image; allowed: {allowed}")
    path = Path(os.path.abspath(base / Path(spec).expanduser()))  # noqa: PTH100 - keeps links
    try:
        found = _found(path)
    except OSError as error:
        raise UserError(f"{key}: {spec!r} cannot be looked at: {error.strerror}") from error
    if found:
        return found
    if found is not None:
        raise UserError(
            f"{key}: no images in the folder {spec!r} ({path});"
            f" files that end in {', '.join(sorted(_READ_SUFFIXES))} count"
        )
    if glob.has_magic(spec):
        raise UserError(f"{key}: no image matches the glob {spec!r} ({path})")
    hint = _nearest(path, also=(_BUILTIN,) if Path(spec).name == spec else ())
    raise UserError(f"{key}: no such file or folder {spec!r} ({path}){hint}; allowed: {allowed}")


def _found(path: Path) -> list[str] | None:
    """The images of a folder, a file itself, or what a glob matches; ``None`` if none of these."""
    if path.is_dir():
        return _image_files(path.iterdir())
    if path.exists():
        return [str(path)]
    matches = glob.iglob(str(path), recursive=True)  # noqa: PTH207 - absolute globs too
    return _image_files(Path(name) for name in matches) or None


def _image_files(paths: Iterator[Path]) -> list[str]:
    return sorted(
        str(path)
        for path in paths
        if path.suffix.lower() in _READ_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )


def _nearest(path: Path, *, also: tuple[str, ...] = ()) -> str:
    """A hint at what stands where the first missing part of ``path`` was looked for, or nothing."""
    while not path.parent.is_dir() and path.parent != path:
        path = path.parent
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        names = []
    return did_you_mean(path.name, [*names, *also])


def _builtin(spec: str, *, key: str | None = None) -> str:
    """The name in a ``builtin:NAME`` spec. Raises ``UserError`` if there is none such."""
    name = spec.removeprefix(f"{_BUILTIN}:")
    names = (*_PHOTOGRAPHS, *_GENERATED)
    if name not in names:
        hint = did_you_mean(spec, [f"{_BUILTIN}:{known}" for known in names])
        raise UserError(
            f"{f'{key}: ' if key else ''}no built-in image {spec!r}{hint};"
            f" there are {', '.join(names)}"
        )
    return name


def _photograph(name: str) -> Path:
    path = Path(str(importlib.resources.files("skimage"))) / "data" / _PHOTOGRAPHS[name]
    if not path.is_file():
        raise EnvironmentUnfitError(
            f"{_BUILTIN}:{name}: scikit-image is installed without {path}; install it anew"
        )
    return path


def _source(spec: str, size: Size | None, role: Role) -> Path | tuple[Kind, int]:
    """The file to read, or kind and seed of the scene to generate."""
    if spec == _BUILTIN:
        if role == "style":
            return "style", 0
        photograph = _photograph("astronaut")
        if size is None:
            return photograph
        native = image_size(photograph)
        fits = size.width <= native.width and size.height <= native.height
        return photograph if fits else ("content", 0)
    if spec.startswith(f"{_BUILTIN}:"):
        name = _builtin(spec)
        return _GENERATED[name] if name in _GENERATED else _photograph(name)
    return Path(spec)


# --- Tensors --------------------------------------------------------------------------------------


def upscale_factor(spec: str, size: Size | None, *, role: Role = "content") -> float:
    """How much ``load_tensor`` enlarges the image along a side; 1.0 when it does not.

    Raises ``UserError`` as ``read_image`` does; a file's pixels are not decoded.
    """
    source = _source(spec, size, role)
    if size is None or not isinstance(source, Path):
        return 1.0
    native = image_size(source)
    return max(1.0, size.width / native.width, size.height / native.height)


def load_tensor(
    spec: str,
    size: Size | None,
    *,
    role: Role,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """The image as a contiguous tensor ``1x3xHxW``, RGB in 0..1, at exactly that size.

    A file or photograph is covered to the size (see ``cover``), or left as it is without one.
    ``builtin`` as a content is a photograph as long as it need not be enlarged; beyond that, and as
    a style, it is a scene generated at that size, of which never more is held than the tensor and a
    strip. Raises ``UserError`` as ``read_image`` does.
    """
    source = _source(spec, size, role)
    if isinstance(source, Path):
        pixels = read_image(source)
        if size is not None:
            pixels = cover(pixels, size)
        actual = Size(pixels.shape[1], pixels.shape[0])
        return _filled(actual, lambda top, bottom: pixels[top:bottom], device, dtype)
    kind, seed = source
    actual = size or BUILTIN_SIZE
    return _filled(actual, Scene(*actual, seed, kind).rows, device, dtype)


def _filled(
    size: Size,
    rows: Callable[[int, int], Pixels],
    device: str | torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    out = torch.empty((1, 3, size.height, size.width), dtype=dtype, device=device)
    step = _strip_rows(size.width)
    for top in range(0, size.height, step):
        bottom = min(top + step, size.height)
        planes = np.ascontiguousarray(rows(top, bottom).transpose(2, 0, 1))
        out[0, :, top:bottom] = torch.from_numpy(planes).to(device).to(torch.float32).div_(255)
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

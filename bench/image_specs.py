"""Specs of images: the path of a file, ``builtin`` (a content or style at whatever size is asked)
or ``builtin:NAME``; and what they stand for.
"""

import glob
import importlib.resources
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from bench.errors import EnvironmentUnfitError, UserError
from bench.scenes import CONTENT_NAMES, STYLE_NAMES, Kind
from bench.units import Size
from distill.files import expanded
from distill.images.kinds import READ_SUFFIXES
from distill.images.listing import has_image_suffix, is_visible, taken_text
from distill.suggest import did_you_mean, did_you_mean_path

Role = Literal["content", "style"]

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


def builtin_names(role: Role) -> tuple[str, ...]:
    """Specs of all built-in images that quality is measured on."""
    names = BUILTIN_CONTENTS if role == "content" else BUILTIN_STYLES
    return tuple(f"{_BUILTIN}:{name}" for name in names)


def expand_images(
    spec: str, *, key: str, base: Path, report: Callable[[str], object] = lambda _: None
) -> list[str]:
    """The images that ``spec`` names: absolute paths, or the built-in spec as it is.

    ``spec`` is ``builtin``, ``builtin:NAME``, a file, a folder (its images, by name, not those of
    folders in it) or a glob; paths are relative to ``base``. Files are not opened. ``report`` is
    told, in a line, how many files of a folder or glob are taken, and which not. Raises
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
    path = Path(os.path.abspath(base / expanded(spec)))  # noqa: PTH100 - keeps links
    try:
        found, left_out = _found(path)
    except OSError as error:
        raise UserError(f"{key}: {spec!r} cannot be looked at: {error.strerror}") from error
    if found:
        if left_out or path.is_dir():
            report(f"{key}: {spec}: {taken_text(len(found), left_out)}")
        return found
    if found is not None:
        there = f" ({taken_text(0, left_out)})" if left_out else ""
        raise UserError(
            f"{key}: no images in the folder {spec!r} ({path}){there};"
            f" files that end in {', '.join(sorted(READ_SUFFIXES))} count"
        )
    if glob.has_magic(spec):
        raise UserError(f"{key}: no image matches the glob {spec!r} ({path})")
    hint = did_you_mean_path(path, also=(_BUILTIN,) if Path(spec).name == spec else ())
    raise UserError(f"{key}: no such file or folder {spec!r} ({path}){hint}; allowed: {allowed}")


def _found(path: Path) -> tuple[list[str] | None, list[Path]]:
    """The images of a folder, a file itself, or what a glob matches; ``None`` if none of these.

    With them the other files of the folder or glob.
    """
    if path.is_dir():
        return _image_files(path.iterdir())
    if path.exists():
        return [str(path)], []
    matches = glob.iglob(str(path), recursive=True)  # noqa: PTH207 - absolute globs too
    images, others = _image_files(Path(name) for name in matches)
    return images or None, others


def _image_files(paths: Iterator[Path]) -> tuple[list[str], list[Path]]:
    files = [path for path in paths if is_visible(path) and path.is_file()]
    images = sorted(str(path) for path in files if has_image_suffix(path))
    return images, [path for path in files if not has_image_suffix(path)]


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


def image_source(spec: str, size: Size | None, role: Role) -> Path | tuple[Kind, int]:
    """The file to read, or kind and seed of the scene to generate."""
    if spec == _BUILTIN:
        if role == "style":
            return "style", 0
        photograph = _photograph("astronaut")
        if size is None:
            return photograph
        from bench.images import image_size  # here, as a process that only waits reads no image

        native = image_size(photograph)
        fits = size.width <= native.width and size.height <= native.height
        return photograph if fits else ("content", 0)
    if spec.startswith(f"{_BUILTIN}:"):
        name = _builtin(spec)
        return _GENERATED[name] if name in _GENERATED else _photograph(name)
    return Path(spec)

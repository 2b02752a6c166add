"""``images:`` of a scenario: what its specs come to when the scenario is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, ValidationInfo

from bench.cells import Frozen
from bench.errors import UserError
from bench.image_specs import Role, builtin_names, expand_images
from bench.scenario.fields import folder_of, key, listed, report_of
from bench.scenario.values import KeyProblemsError, read_list
from bench.scenario.yaml_lines import KeyPath
from distill.suggest import shown

MAX_IMAGES = 5_000
"""Images of one role: more would not fit the resolved scenario's file."""


def _read_images(role: Role) -> Callable[[object, ValidationInfo], tuple[str, ...]]:
    def read(value: object, info: ValidationInfo) -> tuple[str, ...]:
        found: dict[str, None] = {}
        problems: list[tuple[KeyPath, str]] = []
        for place, spec in enumerate(read_list(value, _read_image_spec)):
            try:
                images = _find_images(spec, f"images.{role}", folder_of(info), report_of(info))
            except UserError as error:
                prefix = f"images.{role}: "
                problems += [((place,), text.removeprefix(prefix)) for text in error.problems]
                continue
            if again := next((image for image in images if image in found), None):
                problems.append(((place,), f"{shown(spec)} gives {again!r} a second time"))
            found.update(dict.fromkeys(images))
        if not problems and len(found) > MAX_IMAGES:
            problems.append(((), f"{len(found)} images; at most {MAX_IMAGES}: use fewer"))
        if problems:
            raise KeyProblemsError(*problems)
        return tuple(found)

    return read


def _find_images(spec: str, key: str, folder: Path, report: Callable[[str], object]) -> list[str]:
    """The images of a spec in the working directory, else in the scenario's folder."""
    try:
        return expand_images(spec, key=key, base=Path(), report=report)
    except UserError as here:
        try:
            return expand_images(spec, key=key, base=folder, report=report)
        except UserError as beside:
            helps = "did you mean" in str(beside) and "did you mean" not in str(here)
            raise (beside if helps else here) from None


def _read_image_spec(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"builtin, a file, a folder or a glob is needed; got {shown(value)}")
    return value


_IMAGES_SCHEMA = listed({"type": "string", "minLength": 1, "examples": ["builtin", "photos/*.jpg"]})


class Images(Frozen):
    """Images to stylise and to take styles from, found: ``builtin`` or the paths of files.

    A performance cell takes the first of each; a quality cell pairs them all.
    """

    content: Annotated[
        tuple[str, ...],
        PlainValidator(_read_images("content")),
        PlainSerializer(list),
        _IMAGES_SCHEMA,
    ] = key(
        "builtin",
        "Images to stylise: builtin, a file, a folder, a glob, or a list of these. Paths are "
        "relative to the working directory, else to the scenario's folder.",
    )
    style: Annotated[
        tuple[str, ...],
        PlainValidator(_read_images("style")),
        PlainSerializer(list),
        _IMAGES_SCHEMA,
    ] = key("builtin", "Images to take styles from, given like content.")


def all_images(role: Role, images: tuple[str, ...]) -> tuple[str, ...]:
    """All images of a role, ``builtin`` replaced by the names of the built-in ones."""
    return tuple(
        name
        for image in images
        for name in (builtin_names(role) if image == "builtin" else (image,))
    )

"""Whether image files can be read, found out before anything depends on them."""

from collections.abc import Iterable
from pathlib import Path

from bench.errors import UserError
from bench.image_specs import Role, image_source
from bench.images import read_image


def unreadable(images: Iterable[tuple[Role, str]]) -> list[str]:
    """What is wrong with the images of these roles, one line each; each file is read once.

    Args:
        images: role and spec; ``builtin`` ones are generated or installed, and count as readable.
    """
    problems = []
    for role, spec in dict.fromkeys(images):
        if spec.startswith("builtin"):
            continue
        try:
            source = image_source(spec, None, role)
            if isinstance(source, Path):
                read_image(source)
        except UserError as error:
            problems += [f"images.{role}: {problem}" for problem in error.problems]
    return list(dict.fromkeys(problems))

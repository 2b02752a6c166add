"""A small study, and raters who answer it by rule."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.study.export import StudyOptions, export_study
from bench.study.formats import Key, KeyPicture, read_key
from bench.study.sources import material_of_folder

METHODS = ("good", "middling", "poor")
PAIRS = ("harbour", "street")
Choose = Callable[[KeyPicture, KeyPicture], bool]
"""Whether the left one is preferred."""


def make_material(
    folder: Path,
    *,
    methods: Sequence[str] = METHODS,
    pairs: Sequence[str] = PAIRS,
    size: tuple[int, int] = (48, 32),
    losses: bool = True,
) -> Path:
    """Pictures laid out for ``--folder``; with losses that grow along ``methods``."""
    rng = np.random.default_rng(0)
    for name in ("content", "style", *methods):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for pair in pairs:
            pixels = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
            pixels = pixels.repeat(8, 0).repeat(8, 1)
            Image.fromarray(pixels).save(folder / name / f"{pair}.png")
    if losses:
        rows = ["method,pair,style_loss,content_loss"]
        for place, method in enumerate(methods):
            rows += [f"{method},{pair},{1 + place},{2 + place}" for pair in pairs]
        (folder / "losses.csv").write_text("\n".join(rows) + "\n")
    return folder


def make_study(folder: Path, **options: Any) -> tuple[Path, Key]:
    """A study of ``make_material``: its folder and its key."""
    material = material_of_folder(make_material(folder / "material"))
    written = export_study(material, folder / "study", StudyOptions(**options))
    return written.folder, read_key(written.key)


def by_order(left: KeyPicture, right: KeyPicture) -> bool:
    """Prefers what comes first in ``METHODS``, and anything to a broken picture."""
    order = [*METHODS, None]
    return order.index(left.method) < order.index(right.method)


def answers_of(
    key: Key,
    rater: str,
    choose: Choose = by_order,
    *,
    sheet: int = 0,
    count: int | None = None,
    ms: float = 4000,
) -> dict[str, Any]:
    """The file of a rater who answers the first ``count`` questions by rule."""
    asked = key.sheets[sheet]
    given = []
    for place, question in enumerate(asked[:count]):
        is_left = choose(key.pictures[question.left], key.pictures[question.right])
        given.append(
            {
                "question": place,
                "left": question.left,
                "right": question.right,
                "choice": "left" if is_left else "right",
                "ms": ms,
                "zoomed": False,
                "window": [1440, 900],
            }
        )
    return {
        "format": "bench-study-answers",
        "version": 1,
        "study": key.study,
        "rater": rater,
        "sheet": sheet,
        "started": "2026-11-22T12:00:00.000Z",
        "finished": "2026-11-22T12:05:00.000Z" if len(given) == len(asked) else None,
        "pixel_ratio": 2,
        "touch": False,
        "answers": given,
    }


def write_json(path: Path, content: object) -> Path:
    """The path, with the content in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path

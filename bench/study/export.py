"""Write a study that people take part in: a folder with one page and blind pictures, and the key.

Nothing in the folder tells which method made a picture: names are random (not hashes, which
somebody who knows the methods could try out), pictures are decoded and written anew in one format,
so that no metadata comes along, and files are written in the order of their random names, so that
times tell nothing either. What they are stands in the key, beside the folder and not in it.
"""

import base64
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np

from bench.errors import UserError, disk_error
from bench.images import Pixels, image_size, read_image, resize
from bench.study.formats import Key, KeyPicture, KeyQuestion
from bench.study.sheets import BROKEN, Design, Question, duels, make_sheets
from bench.study.sources import Material, StudyPair
from bench.units import Size
from distill.files import write_bytes_atomically
from distill.image_files import write_picture

ASK = "Which result do you like better, as this content in this style?"
COMPARISONS = 24
"""Real questions on a sheet unless told otherwise: about five minutes."""
PHONE_PIXELS = 16_700_000
"""Larger pictures than this some phones do not show, or only reduced."""

Format = Literal["png", "jpg", "webp"]
_MIME = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_STATIC_CELLS = 48
_PAGE = "index.html"
_IMAGES = "images"


@dataclass(frozen=True)
class StudyOptions:
    """What a study is made of, beside its pictures."""

    pairs: int | None = None
    """Content-style pairs, drawn; None for all."""
    questions: int | None = None
    """Real questions for each rater; None for ``COMPARISONS``, or all if there are fewer."""
    attention: int = 3
    repeats: int = 3
    sheets: int = 24
    seed: int = 0
    ask: str = ASK
    image_format: Format = "png"
    max_side: int | None = None
    """Pictures are reduced to this, in pixels; None leaves them as they are."""
    embed: bool = False
    """Pictures inside the page instead of beside it."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    key: Path
    questions: int
    """On each sheet, checks included."""
    comparisons: int
    """Different ones in the study."""
    pictures: int
    megabytes: float
    notes: tuple[str, ...]


def key_path(folder: Path) -> Path:
    """Where the key of a study's folder is written: beside it, never in it."""
    return folder.with_name(f"{folder.name}-key.json")


def export_study(
    material: Material,
    folder: Path,
    options: StudyOptions,
    *,
    report: Callable[[int, int], object] = lambda done, total: None,
) -> Exported:
    """Write the folder of a study and its key.

    Args:
        material: what can be shown.
        folder: made; must be empty or absent, its key must be absent.
        options: how much is asked.
        report: told of the pictures done and of how many there are.

    Raises:
        UserError: for options that cannot be had, images that cannot be read, a folder in use.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - keeps links
    _check_free(folder)
    drawn = _draw_pairs(material.pairs, options)
    design, every = _design(drawn, options)
    sheets = make_sheets(every, design, seed=options.seed)
    pictures = _Pictures(drawn, sheets)
    study = secrets.token_hex(6)
    key = Key(
        format="bench-study-key",
        version=1,
        study=study,
        ask=options.ask,
        seed=options.seed,
        methods=tuple(sorted({method for pair in drawn for method in pair.results})),
        losses={
            pair.name: {method: dict(known) for method, known in pair.losses.items()}
            for pair in drawn
            if pair.losses
        },
        pictures=pictures.key,
        sheets=tuple(tuple(pictures.key_question(one) for one in sheet) for sheet in sheets),
    )
    images = folder / _IMAGES
    made = not folder.exists()
    whole = False
    try:
        images.mkdir(parents=True, exist_ok=True)
        largest = pictures.write(images, options, report)
        size = sum(path.stat().st_size for path in images.iterdir())
        page = {
            "id": study,
            "ask": options.ask,
            "suffix": f".{options.image_format}",
            "pairs": [pictures.given(pair) for pair in drawn],
            "sheets": [[pictures.page_question(one) for one in sheet] for sheet in sheets],
            "embedded": _embedded(images, options.image_format) if options.embed else None,
        }
        text = _page(page)
        write_bytes_atomically(folder / _PAGE, text.encode())
        write_bytes_atomically(
            key_path(folder), json.dumps(key.model_dump(mode="json"), indent=1).encode()
        )
        whole = True
    except OSError as error:
        raise disk_error(error, f"{folder}: cannot be written: {error.strerror or error}") from None
    finally:
        if options.embed or not whole:  # half a study is none
            shutil.rmtree(images, ignore_errors=True)
        if made and not whole:
            shutil.rmtree(folder, ignore_errors=True)
    notes = list(material.notes)
    if largest > PHONE_PIXELS:
        notes.append(
            f"pictures of up to {largest / 1e6:.0f} MP: some phones do not show more than "
            f"{PHONE_PIXELS / 1e6:.0f} MP; --max-side reduces all alike"
        )
    return Exported(
        folder=folder,
        key=key_path(folder),
        questions=len(sheets[0]),
        comparisons=len(every),
        pictures=len(pictures.sources),
        megabytes=size / 1e6,
        notes=tuple(notes),
    )


def _check_free(folder: Path) -> None:
    key = key_path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already; name another with --out")
    if key.exists():
        raise UserError(f"{key}: is there already, the key of another study; name another --out")


def _draw_pairs(pairs: tuple[StudyPair, ...], options: StudyOptions) -> list[StudyPair]:
    if options.pairs is None:
        return list(pairs)
    if not 1 <= options.pairs <= len(pairs):
        raise UserError(f"pairs: {options.pairs}; there are {len(pairs)}, and at least 1 is needed")
    rng = np.random.default_rng(options.seed)
    chosen = sorted(rng.permutation(len(pairs))[: options.pairs].tolist())
    return [pairs[index] for index in chosen]


def _design(
    pairs: list[StudyPair], options: StudyOptions
) -> tuple[Design, list[tuple[str, str, str]]]:
    every = duels((pair.name, pair.results) for pair in pairs)
    asked = options.questions if options.questions is not None else min(COMPARISONS, len(every))
    problems = []
    if not 1 <= asked <= len(every):
        problems.append(f"questions: {asked}; there are {len(every)} comparisons, at least 1 is")
    if options.attention < 0:
        problems.append(f"attention: {options.attention}; 0 or more are")
    if options.repeats < 0:
        problems.append(f"repeats: {options.repeats}; 0 or more are")
    if options.sheets < 2 or options.sheets % 2:
        problems.append(f"sheets: {options.sheets}; an even number, 2 or more, is")
    if options.max_side is not None and options.max_side < 16:
        problems.append(f"max_side: {options.max_side}; 16 px or more are")
    if problems:
        raise UserError(*(f"{problem} needed" for problem in problems))
    repeats = min(options.repeats, asked)
    return Design(asked, options.attention, repeats, options.sheets), every


class _Pictures:
    """The pictures that a study shows, by random names."""

    def __init__(self, pairs: list[StudyPair], sheets: list[list[Question]]) -> None:
        """Name every picture that a sheet shows, and its content and style."""
        by_name = {pair.name: pair for pair in pairs}
        self.sources: dict[str, Path] = {}
        """From the name to the file; for a broken picture to a result of its size."""
        self.key: dict[str, KeyPicture] = {}
        self._given: dict[Path, str] = {}
        self._results: dict[tuple[str, str], str] = {}
        for path in [path for pair in pairs for path in (pair.content, pair.style)]:
            if path not in self._given:
                self._given[path] = self._add(path)
        for question in (question for sheet in sheets for question in sheet):
            sides = (question.left, question.right)
            for method in sides:
                if (question.pair, method) in self._results:
                    continue
                shown = next(side for side in (method, *sides) if side != BROKEN)
                token = self._add(by_name[question.pair].results[shown])
                self._results[question.pair, method] = token
                self.key[token] = KeyPicture(pair=question.pair, method=method or None)
        self.sources = dict(sorted(self.sources.items()))
        self.key = dict(sorted(self.key.items()))
        self._order = {pair.name: index for index, pair in enumerate(pairs)}

    def _add(self, path: Path) -> str:
        while (token := secrets.token_hex(6)) in self.sources:
            pass
        self.sources[token] = path
        return token

    def given(self, pair: StudyPair) -> list[str]:
        """Content and style."""
        return [self._given[pair.content], self._given[pair.style]]

    def key_question(self, question: Question) -> KeyQuestion:
        """As the key has it."""
        left, right = self._sides(question)
        return KeyQuestion(left=left, right=right, kind=question.kind)

    def page_question(self, question: Question) -> list[int | str]:
        """As the page has it: the pair's place and the two pictures, no word of the kind."""
        return [self._order[question.pair], *self._sides(question)]

    def write(
        self, folder: Path, options: StudyOptions, report: Callable[[int, int], object]
    ) -> int:
        """Write all; returns the pixels of the largest."""
        largest = 0
        rng = np.random.default_rng(options.seed)
        for done, (token, path) in enumerate(self.sources.items()):
            size = _shown_size(image_size(path), options.max_side)
            what = self.key.get(token)
            broken = what is not None and what.method is None
            pixels = _static(size, rng) if broken else resize(read_image(path), size)
            write_picture(folder / f"{token}.{options.image_format}", pixels)
            largest = max(largest, size.width * size.height)
            report(done + 1, len(self.sources))
        return largest

    def _sides(self, question: Question) -> tuple[str, str]:
        pair = question.pair
        return self._results[pair, question.left], self._results[pair, question.right]


def _shown_size(size: Size, max_side: int | None) -> Size:
    if max_side is None or max(size) <= max_side:
        return size
    scale = max_side / max(size)
    return Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))


def _static(size: Size, rng: np.random.Generator) -> Pixels:
    """Coloured static of coarse cells: nobody who looks takes it for a result."""
    cell = -(-max(size) // _STATIC_CELLS)
    cells = rng.integers(0, 256, (-(-size.height // cell), -(-size.width // cell), 3), np.uint8)
    whole = cells.repeat(cell, axis=0).repeat(cell, axis=1)
    return np.ascontiguousarray(whole[: size.height, : size.width])


def _embedded(images: Path, image_format: Format) -> dict[str, str]:
    head = f"data:{_MIME[image_format]};base64,"
    return {
        path.stem: head + base64.b64encode(path.read_bytes()).decode()
        for path in sorted(images.iterdir())
    }


def _page(study: Mapping[str, object]) -> str:
    """The page, whole: its style, script and data in it, as file:// loads nothing else surely."""
    page = files("bench.study") / "page"
    text = {name: (page / file).read_text(encoding="utf-8") for name, file in _PARTS.items()}
    # '<' as an escape: the data cannot end its script element, whatever it holds
    text["study"] = json.dumps(study, separators=(",", ":")).replace("<", "\\u003c")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: text[found[1]], text.pop("index"))


_PARTS = {
    "index": _PAGE,
    "style": "page.css",
    "zoom": "zoom.js",
    "script": "study.js",
}

"""The two files of a study: the key, which only its maker has, and the answers of one rater."""

import json
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from bench.cells import Frozen
from bench.errors import UserError
from bench.study.sheets import Kind
from distill.files import read_regular
from distill.suggest import did_you_mean_path, one_line

MAX_BYTES = 50_000_000
"""Largest file that is read; a sheet of a thousand answers takes about 0.2 MB."""

Token = Annotated[str, Field(pattern="^[0-9a-f]{8,32}$")]
Side = Literal["left", "right"]


class KeyPicture(Frozen):
    """What a picture of the page is."""

    pair: str
    method: str | None
    """None for the obviously broken picture of an attention check."""


class KeyQuestion(Frozen):
    """A question of a sheet, as the page shows it."""

    left: Token
    right: Token
    kind: Kind


class Key(Frozen):
    """What the page does not tell: which picture is whose, and which questions are checks."""

    format: Literal["bench-study-key"]
    version: Literal[1]
    study: Token
    ask: str
    seed: int
    methods: tuple[str, ...]
    losses: dict[str, dict[str, dict[str, float]]]
    """From pair and method to ``style_loss`` and ``content_loss``, where they are known."""
    pictures: dict[Token, KeyPicture]
    sheets: tuple[tuple[KeyQuestion, ...], ...]

    @model_validator(mode="after")
    def _asks_what_it_knows(self) -> Self:
        for question in (question for sheet in self.sheets for question in sheet):
            sides = [self.pictures.get(token) for token in (question.left, question.right)]
            left, right = sides
            if left is None or right is None:
                raise ValueError(f"{question.left} or {question.right} is no picture of this key")
            broken = (left.method is None) + (right.method is None)
            same = left.pair != right.pair or left.method == right.method
            if same or broken != (question.kind == "attention"):
                raise ValueError(f"{question.left} against {question.right} is no {question.kind}")
        return self


class Answer(Frozen):
    """One choice."""

    question: Annotated[int, Field(ge=0)]
    """Place on the sheet, from 0."""
    left: Token
    right: Token
    choice: Side
    ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Milliseconds that the pictures were in view before the answer."""
    zoomed: bool
    window: tuple[float, float]
    """Width and height of the window in CSS pixels."""


class Answers(Frozen):
    """The file that a rater saves."""

    format: Literal["bench-study-answers"]
    version: Literal[1]
    study: Token
    rater: Token
    sheet: Annotated[int, Field(ge=0)]
    started: str
    finished: str | None
    """None while questions are open."""
    pixel_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    touch: bool
    answers: tuple[Answer, ...]


_File = TypeVar("_File", bound=BaseModel)


def read_key(path: Path) -> Key:
    """Read a key. Raises ``UserError``, of one line, for anything else."""
    return _read(path, Key, "the key of a study")


def read_answers(path: Path, key: Key) -> Answers:
    """Read the answers of one rater to the study of ``key``.

    Raises:
        UserError: of one line, for any other file, also the answers of another study.
    """
    answers = _read(path, Answers, "the answers of a study")
    if answers.study != key.study:
        raise UserError(
            f"{path}: answers of another study ({answers.study}); the key is of {key.study}"
        )
    if answers.sheet >= len(key.sheets):
        raise UserError(f"{path}: sheet {answers.sheet}; the key has 0 to {len(key.sheets) - 1}")
    sheet = key.sheets[answers.sheet]
    seen: set[int] = set()
    for answer in answers.answers:
        asked = sheet[answer.question] if answer.question < len(sheet) else None
        if asked is None or (asked.left, asked.right) != (answer.left, answer.right):
            raise UserError(
                f"{path}: question {answer.question} of sheet {answers.sheet} is not that of the "
                "key: the file was changed, or the study exported anew under its old name"
            )
        if answer.question in seen:
            raise UserError(f"{path}: question {answer.question} is answered twice")
        seen.add(answer.question)
    return answers


def _read(path: Path, kind: type[_File], what: str) -> _File:
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: more than {MAX_BYTES // 10**6} MB, so not {what}")
        content = read_regular(path, most=MAX_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file{did_you_mean_path(path)}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        # Not by pydantic alone: file names need not be Unicode, and its JSON must.
        return kind.model_validate(json.loads(content))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a whole JSON file: {one_line(str(error))}") from None
    first = problems[0]
    if any(
        problem["loc"] == ("format",) or problem["type"] == "model_type" for problem in problems
    ):
        raise UserError(f"{path}: JSON, but not {what}")
    where = one_line(".".join(str(part) for part in first["loc"])) or "damaged"
    more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
    raise UserError(f"{path}: {where}: {one_line(first['msg'])}{more}")

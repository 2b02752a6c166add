"""``exclude:`` and ``priority:`` of a scenario: which points are left out, which come first."""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from bench.cells import Execution, Frozen, Precision
from bench.scenario.fields import (
    SIZE_PATTERN,
    AlphasField,
    CapsField,
    ExecutionsField,
    PrecisionsField,
    folder_of,
    listed,
    pattern,
)
from bench.scenario.formats import format_bytes
from bench.scenario.values import read_list, read_model, read_size
from bench.scenario.yaml_lines import KeyPath
from bench.units import Size, parse_size
from distill.suggest import did_you_mean, shown


class Point(NamedTuple):
    """What the dimensions of a sweep give one cell."""

    model: str
    execution: Execution
    precision: Precision
    resolution: Size
    memory_cap: int | None
    alpha: float


def _read_model_pattern(value: object, info: ValidationInfo) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a model or a pattern such as 'wct-*-1x' is needed; got {shown(value)}")
    try:
        return read_model(value, folder_of(info))
    except ValueError:
        return value.strip()  # a pattern; one that matches no model is found out later


def _read_size_test(value: object) -> str:
    condition = (
        re.fullmatch(r"(>=|<=|>|<)\s*(.*)", value.strip()) if isinstance(value, str) else None
    )
    if condition is None:
        return str(read_size(value))
    read_size(condition[2])
    return f"{condition[1]}{condition[2]}"


def size_matches(test: str, size: Size) -> bool:
    """Whether a size passes ``512x512``, ``>4MP``, ``>=4MP``, ``<1MP`` or ``<=1MP``.

    Conditions compare numbers of pixels. ``4MP`` is the number itself as well as the size that it
    makes with sides of multiples of 16: both count as equal to it.
    """
    condition = re.fullmatch(r"(>=|<=|>|<)(.*)", test)
    if condition is None:
        return parse_size(test) == size
    made = float(parse_size(condition[2]).pixels)
    meant = float(condition[2].rstrip("MP")) * 1e6 if condition[2].endswith("MP") else made
    low, high = sorted((made, meant))
    tests: dict[str, bool] = {
        ">": size.pixels > high,
        ">=": size.pixels >= low,
        "<": size.pixels < low,
        "<=": size.pixels <= high,
    }
    return tests[condition[1]]


class Selection(Frozen):
    """Names the cells that match all its keys; a key matches if one of its values does."""

    model: Annotated[
        tuple[str, ...],
        PlainValidator(
            lambda value, info: read_list(value, lambda item: _read_model_pattern(item, info))
        ),
        PlainSerializer(list),
        listed({"type": "string", "minLength": 1, "examples": ["wct-*-1x"]}),
    ] = Field((), description="Models, or patterns with * and ? such as 'wct-*-1x'.")
    execution: ExecutionsField = Field((), description="Ways of running the cascade.")
    precision: PrecisionsField = Field((), description="Number formats.")
    resolution: Annotated[
        tuple[str, ...],
        PlainValidator(lambda value: read_list(value, _read_size_test)),
        PlainSerializer(list),
        listed(pattern(rf"(>=|<=|>|<)?\s*({SIZE_PATTERN})", "512x512", ">4MP")),
    ] = Field((), description="Sizes, or conditions on the number of pixels such as '>4MP'.")
    memory_cap: CapsField = Field((), description="Memory caps; null is the cell without one.")
    alpha: AlphasField = Field((), description="Strengths of the style.")

    @model_validator(mode="after")
    def _names_something(self) -> "Selection":
        if not self.named():
            keys = ", ".join(type(self).model_fields)
            raise ValueError(f"an entry names at least one of {keys}")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value}

    def named(self) -> list[str]:
        """The keys that the entry names."""
        return [key for key in type(self).model_fields if getattr(self, key)]

    def matches(self, point: Point) -> bool:
        """Whether this entry names the point."""
        return all(
            any(_MATCHERS[key](value, getattr(point, key)) for value in getattr(self, key))
            for key in self.named()
        )


class Exclusion(Selection):
    """Leaves out the cells that it names."""


class Priority(Selection):
    """Puts the cells that it names before those of later entries, and before all others."""


def _same(value: object, of_point: object) -> bool:
    return value == of_point


def _model_matches(value: str, model: str) -> bool:
    return value == model or fnmatchcase(model, value)


_MATCHERS: dict[str, Callable[[Any, Any], bool]] = {
    "model": _model_matches,
    "execution": _same,
    "precision": _same,
    "resolution": size_matches,
    "memory_cap": _same,
    "alpha": _same,
}


def unused(entries: Sequence[Selection], points: Iterable[Point]) -> list[tuple[KeyPath, str]]:
    """Entries and values that match nothing: slips of the pen, each with its path and message."""
    points = list(points)
    problems: list[tuple[KeyPath, str]] = []
    for place, entry in enumerate(entries):
        before = len(problems)
        for key in entry.named():
            present = list(dict.fromkeys(getattr(point, key) for point in points))
            for index, value in enumerate(getattr(entry, key)):
                if not any(_MATCHERS[key](value, one) for one in present):
                    problems.append(((place, key, index), _matches_nothing(key, value, present)))
        if len(problems) == before and not any(entry.matches(point) for point in points):
            message = "no cell matches all the keys of this entry, so it names nothing"
            problems.append(((place,), message))
    return problems


def _matches_nothing(key: str, value: object, present: Sequence[object]) -> str:
    def written(one: object) -> str:
        if key == "memory_cap":
            return "null" if one is None else format_bytes(one)  # type: ignore[arg-type]
        return str(one)

    options = [written(one) for one in present]
    some = ", ".join(options[:12]) + (", ..." if len(options) > 12 else "")
    return (
        f"'{written(value)}' matches no cell of this scenario, which has {some}"
        f"{did_you_mean(written(value), options)}"
    )

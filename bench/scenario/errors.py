"""What pydantic finds wrong with a scenario, as one message per key."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.scenario.exclusion import Exclusion
from bench.scenario.images import Images
from bench.scenario.schema import Measure, Quality, Scenario
from bench.scenario.values import KeyProblemsError
from bench.scenario.yaml_lines import KeyPath, dotted
from distill.suggest import nearest, shown

_SECTIONS: dict[str, type[BaseModel]] = {
    "": Scenario,
    "images": Images,
    "measure": Measure,
    "quality": Quality,
    "exclude": Exclusion,
}


def key_problems(error: ValidationError) -> Iterator[tuple[KeyPath, str]]:
    """Path and message of each problem, in the order of the keys."""
    for found in error.errors(include_url=False):
        path: KeyPath = found["loc"]
        cause = found.get("ctx", {}).get("error")
        if isinstance(cause, KeyProblemsError):
            yield from ((path + below, message) for below, message in cause.found)
        elif isinstance(cause, ValueError):
            yield path, str(cause)
        else:
            yield path, _message(found["type"], path, found["input"], found["msg"])


def _message(kind: str, path: KeyPath, value: Any, otherwise: str) -> str:
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return "is missing; every scenario needs it"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        null = "; null leaves it out" if path == ("quality",) else ""
        keys = ", ".join(_section(path).model_fields)
        return f"a mapping with the keys {keys} is needed; got {shown(value)}{null}"
    if kind in ("tuple_type", "list_type"):
        return f"a list of mappings is needed; got {shown(value)}"
    return f"{otherwise[:1].lower()}{otherwise[1:]}; got {shown(value)}"


def _section(path: KeyPath) -> type[BaseModel]:
    return _SECTIONS.get(str(path[0]) if path else "", Scenario)


def _unknown_key(path: KeyPath) -> str:
    *above, last = path
    key = str(last)
    siblings = list(_section(tuple(above)).model_fields)
    places = {
        field: f"{name}.{field}" if name else field
        for name, model in reversed(_SECTIONS.items())
        for field in model.model_fields
        if name != "exclude"
    }
    near = nearest(key, siblings)
    if near is not None:
        guess: str | None = dotted((*above, near))
    else:  # a key of another section
        guess = places.get(nearest(key, places) or "")
    hint = f"; did you mean '{guess}'?" if guess else ""
    return f"unknown key; allowed: {', '.join(siblings)}{hint}"

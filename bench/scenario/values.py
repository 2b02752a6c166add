"""Readers of a scenario's values: from what YAML holds to what it stands for.

A reader raises ``ValueError`` with one line that says what is allowed and, where there is one near,
the right spelling; ``read_list`` raises ``KeyProblemsError``, which places each line at its item.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TypeVar

from bench.scenario.formats import format_bytes
from bench.scenario.yaml_lines import KeyPath, dotted
from bench.units import Size, parse_bytes, parse_fraction, parse_seconds, parse_size
from distill.files import expanded
from distill.models import parse_model
from distill.suggest import did_you_mean, nearest, shown

Value = TypeVar("Value", bound=Hashable)
Reader = Callable[[object], Value]

BACKBONES = ("cache", "download")
"""Where the weights of a metric's network may be found, besides a file of one's own."""
ALEXNETS = ("cache", "embedded", "download")
"""Likewise those of LPIPS."""
_LONGEST = 40
"""Characters that a number with a unit may take; also keeps every float finite."""
_MIN_SECONDS, _MAX_SECONDS = 1e-3, 720 * 3600.0
_MIN_BYTES, _MAX_BYTES = 10**6, 10**15


class KeyProblemsError(ValueError):
    """Several problems below one key, each with its path from that key."""

    def __init__(self, *found: tuple[KeyPath, str]) -> None:
        self.found = found
        super().__init__("; ".join(f"{dotted(path)}: {message}" for path, message in found))


# ---- one value


def _single(value: object) -> None:
    if value is None or isinstance(value, dict | list | tuple):
        raise ValueError(f"{shown(value)} stands here; one value is needed")
    if isinstance(value, str) and not value.strip():
        raise ValueError(f"{value!r} is empty; a value is needed")


def _measured(
    value: object, parse: Callable[[object], Value], guesses: Callable[[str], list[str]]
) -> Value:
    """``parse(value)``; if it fails, the first guess that parses ends the message."""
    _single(value)
    if len(str(value)) > _LONGEST:
        raise ValueError(f"{shown(value)} is too long for a number with its unit")
    try:
        return parse(value)
    except ValueError as error:
        for guess in guesses(str(value).strip()):
            try:
                parse(guess)
            except ValueError:
                continue
            raise ValueError(f"{error}; did you mean '{guess}'?") from None
        raise


def _number_and_unit(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text)
    return (match[1], match[2].lower()) if match else ("", "")


def read_size(value: object) -> Size:
    """A size in pixels, 1 to ``units.MAX_SIDE`` a side."""

    def guesses(text: str) -> list[str]:
        number, unit = _number_and_unit(text)
        if sides := re.fullmatch(r"([0-9]+)\s*[xX*×]\s*([0-9]+)\s*(?:px)?", text):
            return [f"{sides[1]}x{sides[2]}"]
        if unit.startswith("m"):
            return [f"{number}MP"]
        return [f"{number}x{number}"] if unit in ("", "px") else []

    return _measured(value, parse_size, guesses)


def read_bytes(value: object) -> int:
    """An amount of memory in bytes, 1 MB to 1000 TB."""

    def guesses(text: str) -> list[str]:
        number, unit = _number_and_unit(text)
        if not unit and number.isdigit() and int(number) >= _MIN_BYTES:
            return [format_bytes(int(number))]
        if unit[:1] not in ("", "k", "m", "g", "t"):
            return []
        return [f"{number}{unit[:1].upper() or 'G'}{'i' if unit[1:2] == 'i' else ''}B"]

    amount = _measured(value, parse_bytes, guesses)
    if not _MIN_BYTES <= amount <= _MAX_BYTES:
        raise ValueError(f"an amount of memory here is 1MB to 1000TB; got {value!r}")
    return amount


def read_seconds(value: object) -> float:
    """A time in seconds, 1 ms to 30 days."""

    def guesses(text: str) -> list[str]:
        if clock := re.fullmatch(r"([0-9]+):([0-5][0-9])", text):
            return [f"{int(clock[1]) * 60 + int(clock[2])}s"]
        number, unit = _number_and_unit(text)
        if unit.startswith(("ms", "mil")):
            return [f"{number}ms"]
        meant = {"": "s", "s": "s", "m": "min", "h": "h"}.get(unit[:1])
        return [f"{number}{meant}"] if meant else []

    seconds = _measured(value, parse_seconds, guesses)
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        raise ValueError(f"a time here is 1ms to 720h; got {value!r}")
    return seconds


def read_fraction(value: object) -> float:
    """A fraction, above 0 and at most 1."""
    return _measured(value, parse_fraction, lambda text: [f"{_number_and_unit(text)[0]}%"])


def read_whole(low: int, high: int) -> Reader[int]:
    """A reader of whole numbers from ``low`` to ``high``."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high} is needed; got {shown(value)}")
        return int(value)

    return read


def read_alpha(value: object) -> float:
    """A number from 0 to 1."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"a number from 0 to 1 is needed; got {shown(value)}")
    return float(value)  # type: ignore[arg-type]


def read_switch(value: object) -> bool:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        guess = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false"}
        near = guess.get(str(value).lower()) or nearest(str(value)[:_LONGEST], ("true", "false"))
        hint = f"; did you mean {near}?" if near else ""
        raise ValueError(f"true or false is needed; got {shown(value)}{hint}")
    return value


def read_choice(options: Sequence[str]) -> Reader[str]:
    """A reader of one of ``options``."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in options:
            raise ValueError(
                f"{shown(value)} is not allowed; allowed: {', '.join(options)}"
                f"{did_you_mean(str(value)[:_LONGEST], options)}"
            )
        return value

    return read


def read_energy(value: object) -> str:
    """``auto`` or ``off``; the latter without quotes is ``false`` to YAML."""
    return read_choice(("auto", "off"))("off" if value is False else value)


def read_name(value: object) -> str:
    """Letters, digits, ``-`` and ``_``: the name stands in the run folder's name."""
    allowed = "a name is up to 64 letters, digits, - and _, the first a letter or digit"
    if isinstance(value, int | float):
        quoted = f"; put it in quotes: '{value}'" if not isinstance(value, bool) else ""
        raise ValueError(f"{allowed}; got {shown(value)}, which is not text{quoted}")
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value):
        guess = re.sub(r"[^A-Za-z0-9_-]+", "-", value).strip("-_") if isinstance(value, str) else ""
        hint = f"; did you mean '{guess}'?" if 0 < len(guess) <= 64 else ""
        raise ValueError(f"{allowed}; got {shown(value)}{hint}")
    return value


def read_device(value: object) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
        return value
    text = str(value).lower()[:_LONGEST]
    numbered = re.fullmatch(r"(?:cuda|gpu)\W*([0-9]{1,3})", text)
    guess = f"cuda:{numbered[1]}" if numbered else "cuda" if text == "gpu" else None
    guess = guess or nearest(text, ("auto", "cpu", "cuda"))
    hint = f"; did you mean '{guess}'?" if guess else ""
    raise ValueError(
        f"{shown(value)} is not a device; allowed: auto, cpu, cuda, cuda:N such as cuda:0{hint}"
    )


# ---- what depends on where the scenario lies


def find_path(text: str, folder: Path) -> Path | None:
    """An existing path, relative to the working directory, else to ``folder``."""
    for candidate in (expanded(text), folder / text):
        try:
            if candidate.exists():
                return candidate
        except (OSError, ValueError):  # too long, a null byte
            continue
    return None


def _near_path(text: str, folder: Path) -> str:
    """``; did you mean ...`` from what lies beside a path that does not exist."""
    for parent in (Path(text).parent, folder / Path(text).parent):
        try:
            names = [entry.name for entry in parent.iterdir()]
        except (OSError, ValueError):
            continue
        if near := nearest(Path(text).name, names):
            return f"; did you mean '{Path(text).parent / near}'?"
    return ""


def read_model(value: object, folder: Path) -> str:
    """A model's canonical name, its weights found."""
    _single(value)
    if isinstance(value, str) and len(value) > 2 * _LONGEST and ":" not in value:
        raise ValueError(f"{shown(value)} is not a model")
    spec = parse_model(value)
    if spec.weights is None:
        return str(spec)
    found = find_path(spec.weights, folder)
    if found is None:
        raise ValueError(
            f"{shown(value)}: the weights {shown(spec.weights)} do not exist"
            f"{_near_path(spec.weights, folder)}"
        )
    return str(spec._replace(weights=str(found)))


def read_backbone(value: object, folder: Path, *, words: tuple[str, ...] = BACKBONES) -> str:
    """One of the words, or the path of a file that exists."""
    if not isinstance(value, str) or not value.strip():
        allowed = ", ".join(words)
        raise ValueError(f"{allowed} or the path of a file is needed; got {shown(value)}")
    if value in words:
        return value
    found = find_path(value, folder)
    if found is None or not found.is_file():
        hint = did_you_mean(value, words) or _near_path(value, folder)
        neither = " nor ".join(words)
        raise ValueError(f"{shown(value)} is neither {neither} nor an existing file{hint}")
    return str(found)


# ---- lists


def read_list(
    value: object, read: Callable[[object], Value], write: Callable[[Value], object] = str
) -> tuple[Value, ...]:
    """A list, or one value for a list of one; empty lists and repeated values are refused."""
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise ValueError("an empty list; at least one value is needed")
    found: dict[Value, int] = {}
    problems: list[tuple[KeyPath, str]] = []
    for place, item in enumerate(items):
        try:
            one = read(item)
        except ValueError as error:
            problems.append(((place,), str(error)))
            continue
        if one in found:
            first = shown(items[found[one]])
            alike = "" if shown(item) == first else f": both are {write(one)}"
            problems.append(
                ((place,), f"{shown(item)} repeats entry [{found[one]}], {first}{alike}")
            )
        found.setdefault(one, place)
    if problems:
        raise KeyProblemsError(*problems)
    return tuple(found)

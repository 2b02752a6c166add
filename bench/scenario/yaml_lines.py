"""Plain YAML from people, read safely, with the line on which every key stands.

Only what a scenario needs is taken: text, numbers, true and false, null, lists and mappings with
text keys. Anchors, aliases, tags and several documents are refused while the text is scanned, so
nothing is expanded and no object is built. Scalars follow YAML 1.2's core schema, not PyYAML's
1.1: ``no`` and ``1:30`` stay text instead of turning into ``False`` and 90, and ``0x5`` is no
number, so the keys can say what they want.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import yaml
from yaml import events as ev

from distill.suggest import shown

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top down to a value."""

MAX_DEPTH = 16
MAX_VALUES = 50_000
MAX_TEXT = 4096
"""Longest text value in characters: no path is longer."""

_WORDS = {"": None, "~": None} | {
    spelling: value
    for word, value in {"null": None, "true": True, "false": False}.items()
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)")
_NAN = (".nan", ".NaN", ".NAN")
_NOT_BARE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NEVER = re.compile("[\x00\ud800-\udc7f\udd00-\udfff]")
"""What no name of a file holds; U+DC80 to U+DCFF stand for bytes that are not UTF-8."""


class LineProblem(NamedTuple):
    """One thing wrong in a text; ``line`` counts from 1."""

    line: int
    message: str


class YamlLineError(ValueError):
    """The text cannot be read any further."""

    def __init__(self, line: int, message: str) -> None:
        self.problem = LineProblem(line, message)
        super().__init__(f"line {line}: {message}")


@dataclass(frozen=True)
class Located:
    """What a text holds."""

    value: object
    lines: dict[KeyPath, int]
    """The line of each key and list item, from 1; the empty path is where the value begins."""
    problems: tuple[LineProblem, ...]
    """What is wrong although the rest could be read: repeated keys, keys that are not text."""


def load_yaml(text: str) -> Located:
    """Read one YAML document.

    Raises:
        YamlLineError: not YAML, or more of YAML than is taken here.
    """
    reader = _Reader(text)
    value = reader.document()
    return Located(value, reader.lines, tuple(reader.problems))


def _events(text: str) -> Iterator[ev.Event]:
    """PyYAML's events, with every way it fails made into ours."""
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        # PyYAML's annotation says bytes; for a str input it is the code point
        raise YamlLineError(
            line, f"the character {error.character!r} cannot stand in YAML"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _explained(error, text) from None
    except (ValueError, OverflowError) as error:
        # PyYAML lets these through for escapes such as "\UFFFFFFFF" and for huge %YAML versions
        raise YamlLineError(1, f"not valid YAML: {error}") from None


def _explained(error: yaml.MarkedYAMLError, text: str) -> YamlLineError:
    problem = error.problem or "cannot be read"
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    at = text[mark.index : mark.index + 1] if mark else ""
    begun = error.context_mark.line + 1 if error.context_mark else line
    if at == "\t" and "cannot start any token" in problem:
        return YamlLineError(line, "a tab; YAML is indented and spaced with blanks only")
    if "chomping" in problem or at == ">":
        problem = "'>' begins YAML's folded text; put a condition in quotes, such as '>4MP'"
    elif "alias" in (error.context or "") or "anchor" in (error.context or ""):
        problem = "'*' and '&' begin a YAML alias or anchor; put a pattern in quotes, such as '*'"
    elif "could not find expected ':'" in problem:
        line = begun  # the mark is on the line after the one that lacks it
    elif begun != line:
        problem = f"{problem} ({error.context or 'what was being read'}, begun on line {begun})"
    return YamlLineError(line, f"not valid YAML: {problem}")


class _Reader:
    """Builds the value of one document from its events."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[LineProblem] = []
        self._events = _events(text)
        self._values = 0
        self._at: KeyPath = ()
        """The key or item being read, which a message names."""

    def document(self) -> object:
        self._next()  # start of the stream
        event = self._next()
        if isinstance(event, ev.StreamEndEvent):
            self.lines[()] = 1
            return None
        event = self._next()
        self.lines[()] = _line(event)
        value = self._value(event, ())
        self._next()  # end of the document
        self._at = ()
        if isinstance(event := self._next(), ev.DocumentStartEvent):
            raise YamlLineError(_line(event), "a second document begins here ('---'); one is taken")
        return value

    def _next(self) -> ev.Event:
        try:
            event = next(self._events)
        except YamlLineError as error:
            if not self._at:
                raise
            line, message = error.problem
            raise YamlLineError(line, f"{message}; the last key read is {self._key()}") from None
        if isinstance(event, ev.AliasEvent):
            raise self._refused(
                event,
                f"'*{event.anchor}' is a YAML alias, which is not taken here; write the value out, "
                "or put a pattern that begins with * in quotes",
            )
        if isinstance(event, ev.NodeEvent) and event.anchor is not None:
            raise self._refused(
                event,
                f"'&{event.anchor}' is a YAML anchor, which is not taken here; write the value out",
            )
        if (
            isinstance(event, ev.ScalarEvent | ev.CollectionStartEvent)
            and getattr(event, "tag", None) is not None
        ):
            raise self._refused(
                event,
                f"{shown(event.tag)} is a YAML tag, which is not taken here; only text, numbers, "
                "lists and mappings are",
            )
        return event

    def _refused(self, event: ev.Event, message: str) -> YamlLineError:
        return YamlLineError(_line(event), f"{self._key()}: {message}" if self._at else message)

    def _key(self) -> str:
        text = dotted(self._at)
        return text if len(text) <= 80 else f"{text[:80]}..."

    def _value(self, event: ev.Event, path: KeyPath) -> object:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._refused(event, f"more than {MAX_VALUES} values in one file")
        if isinstance(event, ev.ScalarEvent):
            try:
                return _scalar(event)
            except ValueError as error:
                raise self._refused(event, str(error)) from None
        if len(path) >= MAX_DEPTH:
            raise self._refused(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, ev.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: KeyPath) -> list[object]:
        items: list[object] = []
        while not isinstance(event := self._next(), ev.SequenceEndEvent):
            here = self._at = (*path, len(items))
            self.lines[here] = _line(event)
            items.append(self._value(event, here))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, object]:
        entries: dict[str, object] = {}
        while not isinstance(event := self._next(), ev.MappingEndEvent):
            line = _line(event)
            key = self._value(event, (*path, ""))
            here = (*path, key if isinstance(key, str) else shown(key))
            first = self.lines.get(here)
            if not isinstance(key, str):
                self.problems.append(
                    LineProblem(line, f"{shown(key)} cannot be a key; keys are text")
                )
            elif key in entries:
                self.problems.append(
                    LineProblem(line, f"{dotted(here)}: given twice, first on line {first}")
                )
            self._at = here
            value = self._value(self._next(), here)
            if isinstance(key, str) and key not in entries:
                entries[key] = value
                self.lines[here] = line
        return entries


def dotted(path: KeyPath) -> str:
    """``measure.warmup`` or ``models[2]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _line(event: ev.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def plain_scalar(text: str) -> object:
    """What a text stands for where it is not quoted: a word's or a number's value, else itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if len(text) <= 40 and _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf"))
    if text in _NAN:
        return float("nan")
    return text


class WrittenInt(int):
    """A whole number that messages show as it was written: ``007``, not 7."""

    text: str

    def __repr__(self) -> str:
        return self.text


class WrittenFloat(float):
    """Likewise: ``12e4``, not 120000.0."""

    text: str

    def __repr__(self) -> str:
        return self.text


def as_written(text: str) -> object:
    """What a text stands for as :func:`plain_scalar`, a number with the text it was written as."""
    value = plain_scalar(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or repr(value) == text:
        return value
    number = WrittenInt(value) if isinstance(value, int) else WrittenFloat(value)
    number.text = text
    return number


def _scalar(event: ev.ScalarEvent) -> object:
    text: str = event.value
    value = as_written(text) if event.implicit[0] else text
    if not isinstance(value, str):
        return value
    if len(text) > MAX_TEXT:
        raise ValueError(f"a text of {len(text)} characters; at most {MAX_TEXT}")
    # In double quotes they are escapes, which nobody writes by mistake: names of files hold them.
    refused = _NEVER if event.style == '"' else _NOT_BARE
    if refused.search(text):
        raise ValueError(f"{shown(text)} holds a line break or another control character")
    return text

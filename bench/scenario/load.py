"""Scenario files: reading one, changing it from the command line, and saying what is wrong with it.

The keys themselves are in ``bench.scenario.schema``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from bench.errors import UserError
from bench.scenario.errors import key_problems
from bench.scenario.schema import Scenario
from bench.scenario.yaml_lines import KeyPath, YamlLineError, dotted, load_yaml
from distill.suggest import did_you_mean, nearest, one_line

MAX_FILE_BYTES = 10**6
_MAX_KEY_PARTS = 4
_MAX_PROBLEMS = 100


class _Origin(NamedTuple):
    """Where a value was written; sorts in reading order, the command line last."""

    line: int
    override: str | None = None

    def place(self, path: Path) -> str:
        return f"{path}:{self.line}" if self.override is None else f"--set {self.override}"


class _Problem(NamedTuple):
    origin: _Origin
    message: str


def load_scenario(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    report: Callable[[str], object] = lambda _: None,
) -> Scenario:
    """Read, change and check a scenario.

    Args:
        path: a YAML file of at most 1 MB.
        overrides: ``KEY=VALUE`` with a dotted key and a YAML value, such as
            ``measure.target_ci=1%`` or ``resolutions=[512x512, 1MP]``.
        report: told, in a line each, what is worth knowing and no problem.

    Raises:
        UserError: one line for everything wrong, with the file and line or the override.
    """
    return _parsed(_read_text(path), path, overrides, report)


def check_storable(scenario: Scenario) -> None:
    """Raise ``UserError`` unless a run folder can keep the scenario so that it is read as the same.

    Asked before anything is measured: a run that cannot be read could not be resumed.
    """
    text = scenario.resolved_yaml()
    path = Path(f"{scenario.name} (as a run keeps it)")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_FILE_BYTES:
        raise UserError(
            one_line(
                f"{scenario.name}: written out, with the name of every image, the scenario is "
                "larger than 1 MB, which no run folder keeps; name fewer images"
            )
        )
    if _parsed(text, path, ()).resolved_yaml() != text:
        raise UserError(one_line(f"{path}: is read as another scenario; use plainer names"))


def _parsed(
    text: str,
    path: Path,
    overrides: Sequence[str],
    report: Callable[[str], object] = lambda _: None,
) -> Scenario:
    try:
        located = load_yaml(text)
    except YamlLineError as error:
        raise _failure(
            path, [_Problem(_Origin(error.problem.line), error.problem.message)]
        ) from None
    if not isinstance(located.value, dict):
        what = "is empty" if located.value is None else "is not a mapping of KEY: VALUE"
        message = f"the scenario {what}; it needs at least name, models and resolutions"
        raise _failure(path, [_Problem(_Origin(located.lines[()]), message)])
    tree: dict[str, Any] = located.value
    origins = {at: _Origin(line) for at, line in located.lines.items()} | {(): _Origin(1)}
    problems = [_Problem(_Origin(line), message) for line, message in located.problems]
    for place, override in enumerate(overrides):
        try:
            _apply(override, place, tree, origins)
        except ValueError as error:
            problems.append(_Problem(_Origin(2**31 + place, override), str(error)))
    try:
        scenario = Scenario.model_validate(tree, context={"folder": path.parent, "report": report})
    except ValidationError as error:
        problems += _placed(key_problems(error), tree, origins)
        raise _failure(path, problems) from None
    if problems:
        raise _failure(path, problems)
    return scenario


def scenario_json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a scenario file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Scenario.model_json_schema(mode="validation"),
    }


def _failure(path: Path, problems: Iterable[_Problem]) -> UserError:
    """Every problem in reading order, one line each, none twice."""
    ordered = sorted(problems, key=lambda problem: problem.origin.line)
    lines = [one_line(f"{origin.place(path)}: {message}") for origin, message in ordered]
    lines = list(dict.fromkeys(lines))
    if len(lines) > _MAX_PROBLEMS:
        more = f"{path}: and {len(lines) - _MAX_PROBLEMS} more problems"
        lines = [*lines[:_MAX_PROBLEMS], one_line(more)]
    return UserError(*lines)


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise UserError(one_line(f"{path}: is a folder; name a scenario file in it"))
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise UserError(one_line(f"{path}: does not exist{_near_file(path)}")) from None
    except (OSError, ValueError) as error:  # a null byte in the name is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise UserError(one_line(f"{path}: cannot be read: {reason}")) from None
    if len(content) > MAX_FILE_BYTES:
        raise UserError(one_line(f"{path}: is larger than 1 MB, so it is no scenario"))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(one_line(f"{path}:{line}: is not UTF-8 text")) from None


def _near_file(path: Path) -> str:
    for folder in dict.fromkeys((path.parent, path.parent / "scenarios", Path("scenarios"))):
        try:
            names = {entry.name: entry for entry in folder.iterdir()}
        except OSError:
            continue
        names = {name: entry for name, entry in names.items() if name.endswith((".yaml", ".yml"))}
        if near := nearest(path.name, names) or nearest(f"{path.name}.yaml", names):
            return f"; did you mean '{names[near]}'?"
    return ""


def _apply(
    override: str, place: int, tree: dict[str, Any], origins: dict[KeyPath, _Origin]
) -> None:
    """Put an override into the tree; ``ValueError`` says why it cannot be."""
    key, equals, text = override.partition("=")
    path: tuple[str, ...] = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path) or len(path) > _MAX_KEY_PARTS:
        raise ValueError("write KEY=VALUE with a dotted key, such as measure.target_ci=1%")
    try:
        located = load_yaml(text)
    except YamlLineError as error:
        raise ValueError(f"{dotted(path)}: {error.problem.message}") from None
    if located.problems:
        raise ValueError(f"{dotted(path)}: {located.problems[0].message}")
    if not text.strip():
        raise ValueError(f"{dotted(path)}: a value is missing after '='; write null for none")
    origin = _Origin(2**31 + place, override)
    parent = tree
    for depth, part in enumerate(path[:-1], start=1):
        if parent.get(part) is None:
            parent[part] = {}
            origins[path[:depth]] = origin
        if not isinstance(parent[part], dict):
            hint = did_you_mean(part, (k for k, v in tree.items() if isinstance(v, dict)))
            raise ValueError(f"{dotted(path[:depth])}: is not a mapping, so it has no keys{hint}")
        parent = parent[part]
    parent[path[-1]] = located.value
    for replaced in [at for at in origins if at[: len(path)] == path]:
        del origins[replaced]
    origins[path] = origin


def _placed(
    found: Iterable[tuple[KeyPath, str]], tree: dict[str, Any], origins: dict[KeyPath, _Origin]
) -> Iterator[_Problem]:
    for path, message in found:
        path = _as_written(path, tree)
        origin = next(origins[path[:n]] for n in range(len(path), -1, -1) if path[:n] in origins)
        yield _Problem(origin, f"{dotted(path)}: {message}" if path else message)


def _as_written(path: KeyPath, tree: object) -> KeyPath:
    """The path without the positions that a single value has when it stands for a list."""
    written: list[str | int] = []
    for part in path:
        if isinstance(part, int):
            if not isinstance(tree, list):
                continue
            tree = tree[part] if part < len(tree) else None
        else:
            tree = tree.get(part) if isinstance(tree, dict) else None
        written.append(part)
    return tuple(written)

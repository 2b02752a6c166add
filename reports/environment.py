"""What a run was measured on, and the scenario it was made from, as a reader sees them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from reports.text import DASH, one_line


class Fact(NamedTuple):
    """A fact, and its value in each run."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether runs differ in it."""
        return len(set(self.values)) > 1


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every name and value, nested names joined by dots, fractions to six digits."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield one_line(name), one_line(", ".join(map(str, value))) or DASH
        else:
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            yield one_line(name), DASH if value is None else one_line(text)


def environment_facts(environment: Mapping[str, Any], runs: Sequence[str] = ()) -> list[Fact]:
    """Every value of the environment; with several runs, those of each, in their order."""
    each = [environment.get(run) or {} for run in runs] if runs else [environment]
    known = [dict(flat(one)) for one in each]
    names = dict.fromkeys(name for one in known for name in one)
    return [Fact(name, tuple(one.get(name, DASH) for one in known)) for name in names]


def scenario_text(scenario: Mapping[str, Any]) -> str:
    """The scenario as YAML; empty where there is none."""
    if not scenario:
        return ""
    plain = json.loads(json.dumps(dict(scenario), default=str))
    text: str = yaml.safe_dump(
        plain, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return text

"""What a run was measured on and with, for the page, and the few facts that come first."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from reports.results import Results
from reports.text import DASH, count, gigabytes, listing, one_line


class Fact(NamedTuple):
    """A fact, and its value in each run."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether runs differ in it."""
        return len(set(self.values)) > 1


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every name and value, nested names joined by dots."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield one_line(name), one_line(", ".join(map(str, value))) or DASH
        else:
            yield one_line(name), DASH if value is None else one_line(str(value))


def environment_facts(environment: Mapping[str, Any], runs: Sequence[str]) -> list[Fact]:
    """Every value of the environment; with several runs, those of each, in their order."""
    each = [environment.get(run) or {} for run in runs] if runs else [environment]
    known = [dict(flat(one)) for one in each]
    names = dict.fromkeys(name for one in known for name in one)
    return [Fact(name, tuple(one.get(name, DASH) for one in known)) for name in names]


def key_facts(results: Results, environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a reader wants to know before any number; what is not known is left out."""
    records = results.records
    caps = sorted({record.memory_cap_mb for record in records if record.memory_cap_mb})
    memory = environment.get("memory_total_mb")
    dates = sorted(record.started_at for record in records if record.started_at)
    known = {
        "Runs": count(len(results.runs), "run") if results.runs else None,
        "GPU": environment.get("gpu"),
        "CPU": environment.get("cpu"),
        "Cores": environment.get("cpu_physical_cores"),
        "Memory": gigabytes(memory) if isinstance(memory, int | float) else None,
        "Cap": listing([gigabytes(cap) for cap in caps]),
        "PyTorch": environment.get("torch"),
        "Code": listing(sorted({record.code_version for record in records})),
        "Measured": dates[0][:10] if dates else None,
    }
    return [(name, one_line(str(value))) for name, value in known.items() if value]


def scenario_text(scenario: Mapping[str, Any]) -> str:
    """The scenario as YAML; empty where there is none."""
    if not scenario:
        return ""
    plain = json.loads(json.dumps(dict(scenario), default=str))
    text: str = yaml.safe_dump(
        plain, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return text

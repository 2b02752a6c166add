"""Several runs laid over each other: machines, versions of software, or commits."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UserError
from reports.comparable import Differences, Run, differences
from reports.text import count, listing, markdown, one_line

MIX = "--allow-mixed"
_PICTURES = ("content_image", "style_image", "image")
_NOISE = re.compile(r"\((?:R|TM|tm|r)\)|\b(?:CPU|Processor|Graphics)\b|@.*$")


@dataclass(frozen=True)
class Overlay:
    """Runs as one report takes them."""

    labels: tuple[str, ...]
    frame: pd.DataFrame
    """The records of all, with the column ``run``; their pictures' paths are from ``out``."""
    environment: dict[str, Any]
    """By label."""
    scenario: dict[str, Any]
    """``name``, and the scenario of each by label; the scenario itself where they share it."""
    compared: tuple[str, ...]
    """What the runs are compared in: Markdown, a sentence each."""
    mixed: tuple[str, ...]
    """What should agree and does not: Markdown, a sentence each."""
    unreadable: int
    """Records of all that cannot be read."""


def overlay(
    runs: Sequence[Run], out: Path, *, labels: Sequence[str] = (), allow_mixed: bool = False
) -> Overlay:
    """At least two runs as one, the first being the one compared with.

    Args:
        runs: read from their folders.
        out: where the report goes.
        labels: names of the runs, in order; without them, what they differ in, or their folders.
        allow_mixed: whether runs that do not compare are taken all the same.

    Raises:
        UserError: for runs that do not compare, for labels that do not fit, and for a run that
            comes twice.
    """
    paths = [run.path.resolve() for run in runs]
    twice = [run.path for run, path in zip(runs, paths, strict=True) if paths.count(path) > 1]
    if twice:
        raise UserError(f"{twice[-1]}: is given twice; a run is compared with another one")
    found = [differences(runs[0], other) for other in runs[1:]]
    named = _given(labels, len(runs)) or _labels(runs, found)
    dimensions = {name for one in found for name in one.dimensions}
    mixed, problems = [], []
    for run, label, one in zip(runs[1:], named[1:], found, strict=True):
        texts = [f"{name} ({'; '.join(lines)})" for name, lines in one.dimensions.items()]
        reasons = list(one.settings)
        if len(dimensions) > 1 and texts:
            reasons.insert(0, listing(texts))
            problems.append(
                f"{run.path} differs from {runs[0].path} in {listing(texts)}: runs are compared in "
                f"one of machine, software and code, and of these {listing(sorted(dimensions))} "
                f"differ, so that a result could come from any; {MIX} shows them all the same"
            )
        problems += [
            f"{run.path} does not compare with {runs[0].path}: {line}; {MIX} shows them all "
            "the same"
            for line in one.settings
        ]
        mixed += [f"{label} against {named[0]}: {reason}" for reason in reasons]
    if problems and not allow_mixed:
        raise UserError(*problems)
    frames = [led_from(out, run).assign(run=label) for run, label in zip(runs, named, strict=True)]
    return Overlay(
        tuple(named),
        pd.concat([frame for frame in frames if len(frame)] or frames[:1]),
        {label: dict(run.environment) for run, label in zip(runs, named, strict=True)},
        _scenario(runs, named),
        tuple(f"{markdown(text)}." for text in _compared(named, found, dimensions)),
        tuple(f"Mixed on request, {markdown(text)}." for text in mixed),
        sum(run.unreadable for run in runs),
    )


def _given(labels: Sequence[str], runs: int) -> list[str]:
    given = [one_line(label) for label in labels]
    if given and len(given) != runs:
        raise UserError(
            f"--labels: {count(len(given), 'label')} ({', '.join(given)}) for {runs} runs; give "
            "one for each, with commas between them"
        )
    if "" in given:
        raise UserError("--labels: a label is empty")
    if len(set(given)) < len(given):
        raise UserError(f"--labels: two of {', '.join(given)} are the same")
    return given


def _labels(runs: Sequence[Run], found: Sequence[Differences]) -> list[str]:
    """Names by what the runs differ in, where that tells them apart; else by their folders."""
    dimensions = {name for one in found for name in one.dimensions}
    names: dict[str, list[str]] = {
        "machine": [_machine(run.environment) for run in runs],
        "software": [f"PyTorch {run.environment.get('torch')}" for run in runs],
        "code": [_code(run.environment) for run in runs],
    }
    choices = [names[name] for name in ("machine", "software", "code") if name in dimensions]
    depth = 1
    folders = [run.path.resolve() for run in runs]
    while len({path.parts[-depth:] for path in folders}) < len(folders):
        depth += 1
    choices.append(["/".join(path.parts[-depth:]) for path in folders])
    return next(choice for choice in choices if len(set(choice)) == len(choice))


def _machine(environment: Mapping[str, Any]) -> str:
    """``NVIDIA A100``, ``Intel Xeon``: the GPU where it was used, else the CPU."""
    key = "gpu" if str(environment.get("device", "")).startswith("cuda") else "cpu"
    name = _NOISE.sub(" ", one_line(str(environment.get(key) or key.upper())))
    return " ".join(name.split()) or key.upper()


def _code(environment: Mapping[str, Any]) -> str:
    commit = environment.get("git_commit")
    if commit is None:
        return str(environment.get("code_version"))
    return f"{commit}{' (changed)' if environment.get('git_dirty') else ''}"


def _compared(
    labels: Sequence[str], found: Sequence[Differences], dimensions: set[str]
) -> list[str]:
    if not dimensions:
        return [
            f"{listing(labels)}: nothing that was recorded of machine, software and code differs"
        ]
    if len(dimensions) > 1:
        return []
    (name,) = dimensions
    words = {"machine": "another machine", "software": "other software", "code": "other code"}
    return [
        f"{label} against {labels[0]}: "
        + (
            f"{words[name]} ({'; '.join(one.dimensions[name])})"
            if one.dimensions
            else f"the same {name}"
        )
        for label, one in zip(labels[1:], found, strict=True)
    ]


def led_from(out: Path, run: Run) -> pd.DataFrame:
    """The run's records, with paths of pictures that lead there from ``out``."""
    if "per_pair" not in run.frame:
        return run.frame
    way = Path(os.path.relpath(run.path.resolve(), out.resolve()))
    pairs = [_led(way, found) for found in run.frame["per_pair"]]
    return run.frame.assign(per_pair=pd.Series(pairs, index=run.frame.index, dtype=object))


def _led(way: Path, pairs: Any) -> list[dict[str, Any]] | None:
    if not isinstance(pairs, list):
        return None
    return [
        {
            key: (way / str(value)).as_posix() if key in _PICTURES and value else value
            for key, value in pair.items()
        }
        for pair in pairs
    ]


def _scenario(runs: Sequence[Run], labels: Sequence[str]) -> dict[str, Any]:
    if all(run.scenario == runs[0].scenario for run in runs):
        return dict(runs[0].scenario)
    names = dict.fromkeys(str(run.scenario.get("name") or "unnamed run") for run in runs)
    return {
        "name": listing(list(names)),
        **{label: dict(run.scenario) for run, label in zip(runs, labels, strict=True)},
    }

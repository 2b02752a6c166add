"""All checks of one pytest session: what they are compared with, and what they found."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.compare.comparison import environment_changes
from bench.compare.load import load_side, read_json
from bench.compare.result import Limits
from bench.compare.side import Process, Side, SideCell
from bench.errors import EnvironmentUnfitError, UserError
from bench.measure.devices import resolve_device
from bench.measure.environment import collect_environment
from bench.pytest_plugin import PerformanceWarning
from bench.pytest_plugin.child import WARMUP
from bench.pytest_plugin.fixture import Check
from bench.pytest_plugin.judge import Judged, judge
from bench.pytest_plugin.processes import measure
from bench.pytest_plugin.settings import Settings, settings_of
from bench.pytest_plugin.store import write
from distill.suggest import did_you_mean, one_line

_ALLOW = "--performance-allow-different-environment compares them all the same"


def start(config: pytest.Config, *, tests: int) -> "MeasuringSession":
    """Read the baseline, and the file that is to be written if it is there.

    Args:
        config: with the options.
        tests: how many have checks.

    Raises:
        pytest.UsageError: for files that cannot be read or are of another environment.
    """
    settings = settings_of(config)
    try:
        return MeasuringSession(settings, root=config.rootpath, tests=tests)
    except UserError as error:
        raise pytest.UsageError(*error.problems) from None


class MeasuringSession:
    """What is compared with, and what was found so far."""

    def __init__(self, settings: Settings, *, root: Path, tests: int) -> None:
        self._settings = settings = replace(settings, device=resolve_device(settings.device))
        self._root = root
        self._environment = collect_environment(settings.device)
        self._differences: list[str] = []
        self._base: Side | None = None
        if settings.baseline is not None:
            self._base, self._differences = self._read(settings.baseline)
            if not settings.allow_different_environment:
                _refuse(settings.baseline, self._differences, _ALLOW)
        self._checks = max(tests, len(self._base.cells) if self._base else 1)
        self._before: Mapping[str, Any] | None = None
        if settings.save is not None and settings.save.exists():
            _refuse(settings.save, self._read(settings.save)[1], "save to another file")
            self._before = read_json(settings.save)
        self._measured: dict[str, list[Process]] = {}
        self._judged: list[Judged] = []
        self._saved: str | None = None

    def _read(self, path: Path) -> tuple[Side, list[str]]:
        """What a file has, and in what its environment differs from this one."""
        side = load_side(path, baselines=self._root)
        if side.kind != "pytest-benchmark":
            raise UserError(
                one_line(f"{path}: is a {side.kind}; --performance-save writes what is meant here")
            )
        return side, environment_changes(side, self._now({}))

    def judge(self, check: Check) -> None:
        """Measure a check and say what came of it, by failing, warning or skipping the test."""
        __tracebackhide__ = True
        if check.against is not None:
            found = measure(check, self._settings)
            self._decide(check, found["against"], found["run"])
            return
        base = self._base_of(check)
        if base is None and self._settings.save is None:
            if self._base is not None:
                self._without_base(check)
            check.run()
            return
        processes = measure(check, self._settings)["run"]
        self._measured[check.fullname] = processes
        if base is not None:
            self._decide(check, base, processes)
        elif self._base is not None:
            self._undecided(check, f"{check.fullname}: is not in {self._settings.baseline}")

    def _decide(self, check: Check, base: Sequence[Process], new: Sequence[Process]) -> None:
        __tracebackhide__ = True
        judged = judge(
            self._now({check.fullname: base}),
            self._now({check.fullname: new}),
            limits=Limits(**check.limits),
            checks=self._checks,
            base_name="the other callable, in turn"
            if check.against is not None
            else f"{self._settings.baseline}",
        )
        self._judged.append(judged)
        if judged.verdict == "regression":
            pytest.fail(judged.text(), pytrace=False)
        if judged.verdict in ("inconclusive", "not_comparable"):
            self._undecided(check, judged.text())

    def _base_of(self, check: Check) -> Sequence[Process] | None:
        if self._base is None:
            return None
        cell = self._base.cells.get((("benchmark", check.fullname),))
        return None if cell is None else cell.processes

    def _without_base(self, check: Check) -> None:
        __tracebackhide__ = True
        names = [str(dict(key)["benchmark"]) for key in self._base.cells] if self._base else []
        text = one_line(
            f"{self._settings.baseline}: has no {check.fullname}"
            f"{did_you_mean(check.fullname, names)}; --performance-save measures and adds it"
        )
        if self._settings.strict:
            pytest.fail(text, pytrace=False)
        pytest.skip(text)

    def _undecided(self, check: Check, text: str) -> None:
        __tracebackhide__ = True
        if self._settings.strict:
            pytest.fail(text, pytrace=False)
        check.test.warn(PerformanceWarning(text))

    def _now(self, processes: Mapping[str, Sequence[Process]]) -> Side:
        """A side measured in this environment."""
        cells = [SideCell({"benchmark": n}, "ok", processes=tuple(p)) for n, p in processes.items()]
        return Side(
            path="now",
            kind="pytest-benchmark",
            environment=self._environment,
            cells={cell.key: cell for cell in cells},
            asked=None,
            warmup=WARMUP,
        )

    def save(self) -> bool:
        """Write what was measured, if that was asked for. Returns whether the disk took it."""
        path = self._settings.save
        if path is None or not self._measured:
            return True
        try:
            count = write(
                path,
                self._measured,
                before=self._before,
                environment=self._environment,
                warmup=WARMUP,
                root=self._root,
            )
        except EnvironmentUnfitError as error:
            self._saved = f"ERROR: {error}"
            return False
        self._saved = f"{path}: {len(self._measured)} checks saved, {count} in all"
        return True

    def summary(self) -> Iterator[str]:
        """Lines for the end of the session."""
        for judged in self._judged:
            yield from judged.text().splitlines()
        for difference in self._differences:
            yield f"differs: {difference}"
        if self._base is not None:
            names = [str(dict(key)["benchmark"]) for key in self._base.cells]
            done = {judged.name for judged in self._judged}
            if left := [name for name in names if name not in done]:
                yield (
                    f"{self._settings.baseline}: {len(left)} of {len(names)} checks were not "
                    f"compared: {', '.join(left)}"
                )
        if self._saved:
            yield self._saved


def _refuse(path: Path, differences: Sequence[str], advice: str) -> None:
    if differences:
        lines = [one_line(f"{path}: other environment than this: {line}") for line in differences]
        raise UserError(*lines, f"numbers of two environments do not compare; {advice}")

"""A pytest plugin: tests that assert latency and peak memory (``docs/pytest.md``).

pytest loads this module at every start, so it imports nothing that costs time, and nothing is done
before a test asks for the fixture ``performance``.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bench.pytest_plugin.fixture import Performance
    from bench.pytest_plugin.session import MeasuringSession


class PerformanceWarning(pytest.PytestWarning):
    """A check that could not be decided."""


_KEY = pytest.StashKey["MeasuringSession"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and ini keys; what is not given is None, so that it can be told."""
    group = parser.getgroup("performance", "latency and peak memory (ultrastyle-bench)")
    group.addoption(
        "--performance",
        action="store_true",
        help="Measure checks against a callable; implied by the next two.",
    )
    group.addoption(
        "--performance-baseline",
        metavar="FILE",
        help="Measure, and compare with this file of --performance-save.",
    )
    group.addoption(
        "--performance-save",
        metavar="FILE",
        help="Measure, and keep the result in this file; what else it has stays.",
    )
    group.addoption(
        "--performance-strict",
        action="store_true",
        help="What cannot be told, or has no baseline, fails instead of warning or skipping.",
    )
    group.addoption(
        "--performance-allow-different-environment",
        action="store_true",
        help="Compare although machine, versions or settings differ.",
    )
    for name, value, text in _KEYS:
        group.addoption(f"--performance-{name.replace('_', '-')}", metavar="X", help=text)
        parser.addini(f"performance_{name}", text, default=value)
    parser.addini("performance_strict", "As --performance-strict.", type="bool", default=False)


_KEYS = (
    ("max_slowdown", "5%", "Slowdown from which a latency is a regression."),
    ("max_memory_growth", "2%", "Growth from which a peak of memory is a regression."),
    ("processes", "5", "Fresh processes in which each callable is measured."),
    ("time", "2s", "Longest time for the repeats of a callable in one process."),
    ("device", "cpu", "What the callables run on: cpu, cuda, cuda:N or auto."),
)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to measure beside other workers."""
    if "ULTRASTYLE_BENCH_PERFORMANCE_ORDER" in os.environ:
        from bench.measure.oom_killer import offer_to_oom_killer

        offer_to_oom_killer()
    config.addinivalue_line(
        "markers",
        "performance(max_slowdown, max_memory_growth): limits of a test's performance checks.",
    )
    if not _measuring(config):
        return
    if config.getoption("dist", "no") != "no" and config.getoption("tx", None):
        raise pytest.UsageError(
            "--performance: processes that run at once slow each other down: run these tests "
            "without pytest-xdist's workers (-n 0)"
        )


def _measuring(config: pytest.Config) -> bool:
    options = ("performance", "performance_baseline", "performance_save")
    if not any(config.getoption(name) for name in options):
        return False
    from bench.pytest_plugin.child import order_of_parent

    return order_of_parent() is None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Read the baseline before the first test runs, if any test is going to need it."""
    config = session.config
    if not _measuring(config) or config.option.collectonly:
        return
    tests = sum("performance" in getattr(item, "fixturenames", ()) for item in session.items)
    if tests:
        _session(config, tests=tests)


def _session(config: pytest.Config, *, tests: int = 1) -> "MeasuringSession":
    if _KEY not in config.stash:
        from bench.pytest_plugin.session import start

        config.stash[_KEY] = start(config, tests=tests)
    return config.stash[_KEY]


@pytest.fixture
def performance(request: pytest.FixtureRequest) -> "Performance":
    """Checks of latency and peak memory: ``performance.check(lambda: ...)``.

    Without an option that asks for measuring, a check calls its callable once.
    """
    from bench.pytest_plugin.fixture import performance_of

    measuring = _measuring(request.config)
    return performance_of(request.node, _session(request.config) if measuring else None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep what was measured."""
    if _KEY in session.config.stash and not session.config.stash[_KEY].save():
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """What the checks found, and what was not checked."""
    refused = exitstatus == pytest.ExitCode.USAGE_ERROR and _KEY not in config.stash
    if refused or config.option.collectonly or not _measuring(config):
        return
    lines = list(_summary(config))
    if lines:
        terminalreporter.section("performance")
        for line in lines:
            terminalreporter.line(line)


def _summary(config: pytest.Config) -> Iterator[str]:
    if _KEY in config.stash:
        yield from config.stash[_KEY].summary()
    else:
        yield "nothing was measured: no test that ran has the fixture 'performance'"

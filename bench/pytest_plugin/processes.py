"""Fresh processes that measure one check: pytest itself, on the one test."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bench.compare.side import Process
from bench.measure.heap import SMALL
from bench.pytest_plugin.arguments import passed_on
from bench.pytest_plugin.child import VARIABLE, Order, Role
from bench.pytest_plugin.fixture import Check
from bench.pytest_plugin.settings import Settings
from distill import host

_TAIL = 20
"""Last lines of a failed process's output that are shown."""
_LARGE_BLOCKS_MAPPED = {"MALLOC_MMAP_THRESHOLD_": str(SMALL)}
"""Has glibc map large blocks from a process's start.

What a test frees before its check would otherwise leave holes, and which of them the check fills is
chance: five processes with a network at 256x256 had peaks of 50 to 62 MB, and so of 42.1 to 42.3.
"""


def measure(check: Check, settings: Settings) -> dict[Role, list[Process]]:
    """What each process found, by callable: of check.run, and of check.against if there is one.

    Processes follow each other; with two callables they take turns (A B, B A, ...), which leaves
    slow changes of the machine out of their ratio. Fails the test if a process fails.
    """
    roles: list[Role] = ["run"] if check.against is None else ["against", "run"]
    found: dict[Role, list[Process]] = {role: [] for role in roles}
    turn = 0
    for repeat in range(settings.processes):
        for role in roles if repeat % 2 == 0 else reversed(roles):
            process = _measure_once(check, settings, role, repeat)
            found[role].append(replace(process, turn=(check.fullname, turn)))
            turn += 1
    return found


def _measure_once(check: Check, settings: Settings, role: Role, repeat: int) -> Process:
    __tracebackhide__ = True
    with TemporaryDirectory(prefix="performance-") as scratch:
        output = Path(scratch) / "values.json"
        order = Order(check.fullname, role, settings.device, settings.time_s, str(output))
        host.unbind()
        began = time.time()
        done = subprocess.run(
            _command(check.test, Path(scratch)),
            cwd=check.test.config.invocation_params.dir,
            env=_environment(os.environ, order),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        ended = time.time()
        if done.returncode == 0 and output.is_file():
            return Process(repeat, began, ended, json.loads(output.read_bytes()))
    lines = "\n".join(done.stdout.splitlines()[-_TAIL:])
    pytest.fail(
        f"{check.fullname}: measuring process {repeat + 1} of {settings.processes} "
        f"{_end(done.returncode)}\n{lines}",
        pytrace=False,
    )


def _end(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    if code:
        return f"ended with exit code {code}"
    return "did not come to this check"


def _command(test: pytest.Item, scratch: Path) -> list[str]:
    config = test.config
    # `python -m` puts the folder first on the path; where pytest was not started so, other code
    # might be found.
    here = {"", str(config.invocation_params.dir)}
    command = [sys.executable, *([] if here & set(sys.path) else ["-P"]), "-m", "pytest"]
    # With those of the ini file and of the environment, which the process would else read itself.
    added = [*config.getini("addopts"), *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    command += passed_on([*added, *config.invocation_params.args], config.args)
    command += ["-o", "addopts=", "--rootdir", str(config.rootpath)]
    if config.inipath is not None:
        command += ["-c", str(config.inipath)]
    # Not those of this process, which is still using its own.
    command += ["--basetemp", str(scratch / "tmp")]
    if config.pluginmanager.hasplugin("cacheprovider"):
        command += ["-o", f"cache_dir={scratch / 'cache'}"]
    if config.pluginmanager.hasplugin("logging"):
        command += ["-o", f"log_file={os.devnull}"]
    if config.pluginmanager.hasplugin("xdist"):
        command += ["-n", "0"]
    if config.pluginmanager.hasplugin("pytest_cov"):
        command.append("--no-cov")
    return [*command, f"{test.path}::{test.nodeid.partition('::')[2]}"]


def _environment(of: Mapping[str, str], order: Order) -> dict[str, str]:
    # Lines that are counted are slow; the rest is this process's.
    left_out = (
        *("COV_CORE_", "COVERAGE_PROCESS_", "PYTEST_XDIST_"),
        *("PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS"),
    )
    kept = {name: value for name, value in of.items() if not name.startswith(left_out)}
    return _LARGE_BLOCKS_MAPPED | kept | {VARIABLE: order.text()}

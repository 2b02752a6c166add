"""What of the command line holds in a measuring process too."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

# What selects tests, writes files or belongs to the session that judges. All else (plugins, warning
# filters, the suite's own options, such as a device) is passed on.
# fmt: off
_WITH_VALUE = (
    "-k", "-m", "-n", "-r", "-c", "--config-file", "--rootdir", "--basetemp", "--deselect",
    "--ignore", "--ignore-glob", "--numprocesses", "--maxprocesses", "--dist", "--tx", "--maxfail",
    "--junitxml", "--junit-xml", "--junitprefix", "--junit-prefix", "--report-log", "--html",
    "--alluredir", "--ctrf", "--excelreport", "--json-report-file", "--md-report-output",
    "--nunit-xml", "--resultlog", "--result-log", "--log-file-mode",
    "--durations", "--durations-min", "--log-file", "--tb", "--color", "--verbosity",
    "--benchmark-json", "--benchmark-save", "--benchmark-storage", "--benchmark-compare-fail",
    "--cov-report", "--cov-config", "--cov-fail-under",
    "--performance-baseline", "--performance-save", "--performance-max-slowdown",
    "--performance-max-memory-growth", "--performance-processes", "--performance-time",
    "--performance-device",
)
_WITH_OR_WITHOUT = (
    "--debug", "--benchmark-compare", "--benchmark-histogram", "--cov", "--pastebin",
)
_FLAGS = (
    "-x", "-s", "-q", "-v", "--exitfirst", "--quiet", "--verbose", "--lf", "--last-failed", "--ff",
    "--failed-first", "--nf", "--new-first", "--sw", "--stepwise", "--sw-skip", "--stepwise-skip",
    "--cache-clear", "--pdb", "--trace", "--setup-plan", "--setup-only", "--setup-show", "--pyargs",
    "--json-report", "--md-report", "--self-contained-html", "--clean-alluredir",
    "--benchmark-autosave", "--benchmark-save-data", "--benchmark-enable", "--benchmark-only",
    "--benchmark-disable", "--cov-append", "--cov-branch",
    "--performance", "--performance-strict", "--performance-allow-different-environment",
)
# fmt: on


def passed_on(arguments: Sequence[str | os.PathLike[str]], files: Sequence[str]) -> list[str]:
    """The arguments of pytest that hold in a measuring process too, in their order.

    Args:
        arguments: as pytest was called.
        files: those of them that name files and tests.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in _WITH_VALUE:
        parser.add_argument(option, dest="dropped")
    for option in _WITH_OR_WITHOUT:
        parser.add_argument(option, dest="dropped", nargs="?")
    for option in _FLAGS:
        parser.add_argument(option, dest="dropped", action="store_true")
    _, rest = parser.parse_known_args([os.fspath(argument) for argument in arguments])
    for file in files:
        if file in rest:
            rest.remove(file)
    return _without(rest, _files_being_written())


def _without(arguments: Sequence[str], written: set[str]) -> list[str]:
    """The arguments less those whose value is one of these files: of a plugin that is not known."""
    kept: list[str] = []
    for argument in arguments:
        option, _, value = argument.partition("=")
        if value and option.startswith("-") and os.path.realpath(value) in written:
            continue
        if not argument.startswith("-") and os.path.realpath(argument) in written:
            if kept and kept[-1].startswith("--") and "=" not in kept[-1]:
                kept.pop()
            continue
        kept.append(argument)
    return kept


def _files_being_written() -> set[str]:
    """Regular files that this process has open to write to; Linux alone tells."""
    found = set()
    for descriptor in Path("/proc/self/fd").glob("*"):
        try:
            flags = Path("/proc/self/fdinfo", descriptor.name).read_text(encoding="ascii")
            target = descriptor.readlink()
            writable = re.search(r"^flags:\s+\d*[12]$", flags, re.MULTILINE)
            if writable and target.is_file():
                found.add(str(target))
        except OSError:
            continue
    return found

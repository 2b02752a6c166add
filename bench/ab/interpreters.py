"""What runs a version: this interpreter with the version's code in front, or one of its own."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from bench.ab.checkouts import PACKAGES, Version
from bench.errors import EnvironmentUnfitError, UserError
from distill.suggest import did_you_mean, one_line

Kind = Literal["auto", "shared", "own"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def parse_kind(text: str) -> Kind:
    """The value of ``--environment``. Raises ``UserError`` for another."""
    for kind in KINDS:
        if text == kind:
            return kind
    raise UserError(
        one_line(f"--environment {text}: allowed are {', '.join(KINDS)}{did_you_mean(text, KINDS)}")
    )


def needs_own(versions: Sequence[Version], trees: Sequence[Path]) -> str | None:
    """Why the installed packages do not do for all versions; None if they do.

    They do if the versions declare the same dependencies, and what is installed meets them.
    """
    declared = [_declared(tree, version) for version, tree in zip(versions, trees, strict=True)]
    differing = sorted({name for some in declared for name in some ^ declared[0]})
    if differing:
        return f"the versions depend on different packages: {', '.join(differing)}"
    unmet = sorted(filter(None, map(_unmet, declared[0])))
    return (
        f"the installed packages do not meet both versions': {', '.join(unmet)}" if unmet else None
    )


def own_interpreter(tree: Path, version: Version, folder: Path, log: Path) -> str:
    """Make a virtual environment in ``folder``, install the version in it, and return its Python.

    What pip prints is in ``log``. Raises ``EnvironmentUnfitError`` if that fails.
    """
    python = str(folder / "bin" / "python")
    steps = (
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--disable-pip-version-check", "-e", str(tree)],
    )
    with log.open("wb") as sink:
        for command in steps:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
            )
            if done.returncode:
                raise EnvironmentUnfitError(
                    one_line(f"{version.label}: cannot be installed; {log} says why")
                )
    return python


def compile_packages(python: str, tree: Path) -> None:
    """Have the tree's packages compiled: in a fresh checkout the first processes would do that.

    Files that do not compile are told of when they are imported.
    """
    folders = [str(tree / name) for name in PACKAGES if (tree / name).is_dir()]
    command = [python, "-m", "compileall", "-qq", "-j", "0", *folders]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


def environment_for(tree: Path) -> dict[str, str]:
    """Environment variables under which Python finds the tree's packages before all others."""
    environment = dict(os.environ)
    inherited = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(tree), *([inherited] if inherited else [])])
    return environment


def _declared(tree: Path, version: Version) -> set[str]:
    """Requirements of a tree's ``pyproject.toml``, in one spelling."""
    path = tree / "pyproject.toml"
    where = f"{version.label}: pyproject.toml"
    try:
        project: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        found = {str(Requirement(text)) for text in project.get("dependencies", ())}
        python = SpecifierSet(project.get("requires-python", ""))
    except FileNotFoundError:
        raise UserError(one_line(f"{where}: is missing")) from None
    except (KeyError, TypeError, AttributeError):
        raise UserError(one_line(f"{where}: declares no [project] with dependencies")) from None
    except (ValueError, InvalidRequirement, InvalidSpecifier) as error:
        raise UserError(one_line(f"{where}: {error}")) from None
    return found | ({f"python{python}"} if str(python) else set())


def _unmet(text: str) -> str | None:
    """What is wrong with what is installed for a requirement; None if nothing is."""
    requirement = Requirement(text)
    if requirement.marker and not requirement.marker.evaluate():
        return None
    if requirement.name == "python":
        installed = platform.python_version()
    else:
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return f"{text} is not installed"
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"{text} against {installed}"

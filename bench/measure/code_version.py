"""Which version of the code measures."""

import importlib.metadata
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_DISTRIBUTION = "ultrastyle-bench"
_SOURCES = ("bench", "distill", "reports")


def code_version() -> str:
    """Version of the measuring code: ``VERSION``, or ``VERSION+COMMIT[+dirty]`` in a checkout.

    ``dirty``: a tracked file of the source folders differs from the commit.
    """
    commit = _commit()
    if commit is None:
        return _package_version()
    return f"{_package_version()}+{commit}{'+dirty' if _dirty() else ''}"


def _package_version() -> str:
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        project = _ROOT / "pyproject.toml"
        if not project.is_file():
            return "unknown"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _commit() -> str | None:
    """Short commit if the package lies in the project's own checkout."""
    # A virtual environment inside some other project's checkout must not report that one's commit.
    if not (_ROOT / ".git").exists():
        return None
    return _git("rev-parse", "--short=10", "HEAD")


def _dirty() -> bool:
    return bool(_git("status", "--porcelain", "--untracked-files=no", "--", *_SOURCES))


def _git(*arguments: str) -> str | None:
    """Output of git in the project's root; None where git is missing or refuses."""
    # Inside a git hook these variables point at another index or work tree.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(_ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def code_facts() -> dict[str, Any]:
    """The version, its parts and the commit, by their names in a run's environment."""
    commit = _commit()
    return {
        "package_version": _package_version(),
        "code_version": code_version(),
        "git_commit": commit,
        "git_dirty": None if commit is None else _dirty(),
    }

"""Which version of the code measures."""

import importlib.metadata
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from distill.sources import source_digest

_ROOT = Path(__file__).resolve().parents[2]
_DISTRIBUTION = "ultrastyle-bench"
_SOURCES = ("bench", "distill", "reports")
_DIGEST = "+src."


def code_version() -> str:
    """Version of the measuring code: ``VERSION[+COMMIT[+dirty]]+src.DIGEST``.

    The commit is there in a checkout; ``dirty``: a tracked file of the source folders differs from
    it. The digest is that of the sources (:mod:`distill.sources`), so that two states of the code
    are two versions also without git, and with changes that are not committed. Versions that were
    recorded before there was one differ from all that have it.
    """
    commit = _commit()
    known = "" if commit is None else f"+{commit}{'+dirty' if _dirty() else ''}"
    return f"{_package_version()}{known}{_DIGEST}{source_digest()}"


def digest_in(version: str) -> str | None:
    """The digest of the sources in a version of the code; None in one from before there was one."""
    return version.rpartition(_DIGEST)[2] if _DIGEST in version else None


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
    done = _run_git(*arguments)
    return done.stdout.strip() if done is not None and done.returncode == 0 else None


def _run_git(*arguments: str) -> "subprocess.CompletedProcess[str] | None":
    # Inside a git hook these variables point at another index or work tree.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment["LC_ALL"] = "C"
    # What runs is this checkout's code, whoever owns it: asking git of it adds no risk, as long as
    # it starts nothing that the checkout names.
    trusted = ("-c", f"safe.directory={_ROOT}", "-c", "core.fsmonitor=false")
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", *trusted, "-C", str(_ROOT), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=20,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None


def git_problem() -> str | None:
    """Why git does not say which commit of a checkout this is: its ``fatal:`` line; or None."""
    if not (_ROOT / ".git").exists():
        return None
    done = _run_git("rev-parse", "HEAD")
    if done is None:
        return "git: cannot be started"
    return None if done.returncode == 0 else f"git: {refusal(done.stderr)}"


def refusal(text: str) -> str:
    """The line that says why git refused, and the advice it gives, of what it printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    advice = [line for line in lines if line.startswith("git config --global")]
    said = (fatal or lines or ["failed without a word"])[-1 if not fatal else 0]
    return "; ".join([said, *(f"'{line}' allows it" for line in advice[:1])])


def code_facts() -> dict[str, Any]:
    """The version, its parts and the commit, by their names in a run's environment."""
    commit = _commit()
    return {
        "package_version": _package_version(),
        "code_version": code_version(),
        "source_digest": source_digest(),
        "git_commit": commit,
        "git_dirty": None if commit is None else _dirty(),
        "git_problem": git_problem(),
    }

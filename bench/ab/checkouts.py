"""Versions of the project in git: finding them, and laying them out in folders that go again."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.cells import Frozen
from bench.errors import EnvironmentUnfitError, UserError
from bench.measure.code_version import refusal
from bench.run.interrupts import undisturbed
from distill.suggest import did_you_mean, one_line

UNCOMMITTED = (".", "WORKTREE")
"""Names of the tree as it stands, with what is not committed."""
PACKAGES = ("bench", "distill", "reports")
"""Folders of the code."""
_NEEDED = "bench/run/rounds.py"
"""What a version has that can measure a cell in several processes."""


class Version(Frozen):
    """A state of the code."""

    ref: str
    """As the user named it."""
    commit: str
    """In full; of the uncommitted tree the commit that it stands on."""
    tree: str | None = None
    """Git's name of the uncommitted tree where it differs from the commit."""

    @property
    def label(self) -> str:
        """``main (77e42a2d1c)``."""
        return f"{self.ref} ({self.commit[:10]}{'+dirty' if self.tree else ''})"


def find_repository(start: Path) -> Path:
    """The root of the git checkout that ``start`` lies in.

    Raises ``UserError`` if there is none, ``EnvironmentUnfitError`` without git.
    """
    done = _run(start, "rev-parse", "--show-toplevel")
    if done.returncode:
        raise UserError(
            one_line(f"'bench ab' compares commits, and {start.resolve()}: {_said(done)}")
        )
    return Path(done.stdout.rstrip("\n"))


def find_version(repository: Path, ref: str) -> Version:
    """The commit that ``ref`` names, or the tree as it stands (:data:`UNCOMMITTED`).

    Raises ``UserError`` if there is no such commit, if it is too old to measure in turn, and for an
    unfinished merge.
    """
    name = "HEAD" if ref in UNCOMMITTED else ref
    done = _run(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if done.returncode or name.startswith("-"):
        raise UserError(one_line(f"{ref}: no such commit, branch or tag{_near(repository, ref)}"))
    commit = done.stdout.strip()
    if _run(repository, "cat-file", "-e", f"{commit}:{_NEEDED}").returncode:
        raise UserError(
            one_line(
                f"{ref} ({commit[:10]}): has no {_NEEDED}: it is older than measuring in several "
                "processes, without which nothing can be told"
            )
        )
    tree = _uncommitted_tree(repository) if ref in UNCOMMITTED else None
    if tree == _git(repository, "rev-parse", f"{commit}^{{tree}}"):
        tree = None
    return Version(ref=ref, commit=commit, tree=tree)


def has_changes(repository: Path) -> bool:
    """Whether tracked files differ from HEAD."""
    return bool(_git(repository, "status", "--porcelain", "--untracked-files=no"))


@contextlib.contextmanager
def checked_out(repository: Path, versions: Sequence[Version]) -> Iterator[list[Path]]:
    """Worktrees of the versions in a temporary folder, removed at the end whatever happens.

    Raises ``UserError`` if git cannot check one out.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-ab-")).resolve()
    if os.pathsep in str(folder):
        folder.rmdir()
        raise EnvironmentUnfitError(
            one_line(
                f"{folder.parent}: Python finds no packages below a path with {os.pathsep!r}; name "
                "another folder for temporary files with TMPDIR"
            )
        )
    # Names of one length: the size of the environment, which holds them, can cost time.
    trees = [folder / name for name in "ab"[: len(versions)]]
    try:
        for version, tree in zip(versions, trees, strict=True):
            _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), version.commit)
            if version.tree:
                # HEAD stays the commit, so that the code says of itself that it is changed.
                _git(tree, "read-tree", "--reset", "-u", version.tree)
        yield trees
    finally:
        with undisturbed():
            # Not `prune`: it would forget the user's own worktrees on disks that are not mounted.
            for tree in trees:
                _run(repository, "worktree", "remove", "--force", str(tree))
            shutil.rmtree(folder, ignore_errors=True)


def _uncommitted_tree(repository: Path) -> str:
    """Write the tracked files and what is new in the packages to git's store, as a tree.

    Nothing refers to it, so git removes it in time. The user's index stays as it is.
    """
    unmerged = _git(repository, "diff", "--name-only", "--diff-filter=U")
    if unmerged:
        first = unmerged.splitlines()[0]
        raise UserError(one_line(f"{first}: has merge conflicts; resolve them first"))
    with tempfile.TemporaryDirectory(prefix="bench-ab-") as scratch:
        index = Path(scratch) / "index"
        own = repository / _git(repository, "rev-parse", "--git-path", "index")
        if own.is_file():
            shutil.copyfile(own, index)
        _git(repository, "add", "--update", "--", ".", index=index)
        present = [name for name in PACKAGES if (repository / name).is_dir()]
        if present:
            _git(repository, "add", "--all", "--", *present, index=index)
        return _git(repository, "write-tree", index=index)


def _near(repository: Path, ref: str) -> str:
    if _run(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        return "; this clone is shallow: 'git fetch --unshallow' brings the rest"
    names = _git(repository, "for-each-ref", "--format=%(refname:short)").splitlines()
    return did_you_mean(ref, [*names, "HEAD"])


def _git(folder: Path, *arguments: str, index: Path | None = None) -> str:
    """What git prints. Raises ``UserError`` with its last line if it fails."""
    done = _run(folder, *arguments, index=index)
    if done.returncode:
        raise UserError(one_line(f"git {' '.join(arguments[:2])}: {_said(done)}"))
    return done.stdout.rstrip("\n")


def _run(
    folder: Path, *arguments: str, index: Path | None = None
) -> subprocess.CompletedProcess[str]:
    # Inside a git hook these variables point at another index or work tree.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    if index is not None:
        environment["GIT_INDEX_FILE"] = str(index)
    try:
        return subprocess.run(
            ["git", "-C", str(folder), "-c", f"core.hooksPath={os.devnull}", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=environment,
        )
    except FileNotFoundError:
        raise EnvironmentUnfitError("git is not installed: 'bench ab' checks out commits") from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return refusal(done.stderr).removeprefix("fatal: ").removeprefix("error: ")

"""Versions in git: named, laid out and gone again; and what packages they need."""

import subprocess
from pathlib import Path

import pytest

from bench.ab import checkouts
from bench.ab.checkouts import checked_out, find_repository, find_version, has_changes
from bench.ab.interpreters import environment_for, needs_own, parse_kind
from bench.errors import EnvironmentUnfitError, UserError

PROJECT = '[project]\nname = "x"\nrequires-python = ">=3.11"\ndependencies = ["numpy>=1.26"]\n'


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits, of which the first is older than measuring in several processes."""
    root = tmp_path / "project"
    (root / "bench/run").mkdir(parents=True)
    (root / "bench/speed.txt").write_text("1\n")
    (root / "pyproject.toml").write_text(PROJECT)
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    git(root, "tag", "old")
    (root / "bench/run/rounds.py").write_text("")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "second")
    return root


def test_versions_lie_side_by_side_and_are_gone_afterwards(repository: Path):
    main = find_version(repository, "main")
    with checked_out(repository, (main, main)) as trees:
        assert len(set(trees)) == 2
        assert {git(tree, "rev-parse", "HEAD") for tree in trees} == {main.commit}
        assert (trees[0] / "bench/speed.txt").read_text() == "1\n"
        assert len({len(str(tree)) for tree in trees}) == 1
    assert not trees[0].parent.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_the_users_own_worktrees_stay_also_while_their_disk_is_away(
    repository: Path, tmp_path: Path
):
    git(repository, "worktree", "add", "--quiet", "--detach", str(tmp_path / "usb"), "main")
    (tmp_path / "usb").rename(tmp_path / "unplugged")
    with checked_out(repository, (find_version(repository, "main"),)):
        pass
    (tmp_path / "unplugged").rename(tmp_path / "usb")
    assert git(tmp_path / "usb", "status", "--porcelain") == ""


def test_worktrees_go_when_the_measurement_is_interrupted(repository: Path):
    main = find_version(repository, "main")
    with pytest.raises(KeyboardInterrupt), checked_out(repository, (main,)) as (tree,):
        (tree / "left.pyc").touch()
        raise KeyboardInterrupt
    assert not tree.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_the_uncommitted_tree_is_measured_as_it_stands(repository: Path):
    clean = find_version(repository, ".")
    assert clean.tree is None and not has_changes(repository)
    (repository / "bench/speed.txt").write_text("2\n")
    (repository / "bench/new.py").write_text("")
    (repository / "notes.txt").write_text("not of the code")
    git(repository, "add", "bench/speed.txt")
    (repository / "bench/speed.txt").write_text("3\n")
    staged = git(repository, "diff", "--cached")
    found = find_version(repository, "WORKTREE")
    assert has_changes(repository)
    assert found.label == f"WORKTREE ({clean.commit[:10]}+dirty)"
    (repository / "bench/speed.txt").write_text("changed meanwhile")
    with checked_out(repository, (found,)) as (tree,):
        assert (tree / "bench/speed.txt").read_text() == "3\n"
        assert (tree / "bench/new.py").exists() and not (tree / "notes.txt").exists()
        # so that the records say it
        assert git(tree, "rev-parse", "HEAD") == clean.commit
        assert git(tree, "status", "--porcelain", "--untracked-files=no")
    assert git(repository, "diff", "--cached") == staged


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("mian", "mian: no such commit, branch or tag; did you mean 'main'?"),
        ("--all", "--all: no such commit, branch or tag"),
        ("0" * 40, "no such commit"),
        ("old", "has no bench/run/rounds.py: it is older than measuring in several processes"),
    ],
)
def test_a_ref_that_will_not_do_has_one_line(repository: Path, ref: str, said: str):
    with pytest.raises(UserError) as caught:
        find_version(repository, ref)
    (problem,) = caught.value.problems
    assert said in problem and "\n" not in problem


def test_a_shallow_clone_says_so(repository: Path, tmp_path: Path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth", "1", repository.as_uri(), str(clone))
    with pytest.raises(UserError, match="this clone is shallow"):
        find_version(clone, "HEAD^1")


def test_merge_conflicts_are_named(repository: Path):
    git(repository, "checkout", "--quiet", "-b", "other")
    (repository / "bench/speed.txt").write_text("2\n")
    git(repository, "commit", "--quiet", "-am", "other")
    git(repository, "checkout", "--quiet", "main")
    (repository / "bench/speed.txt").write_text("3\n")
    git(repository, "commit", "--quiet", "-am", "main")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "other")
    with pytest.raises(UserError, match=r"^bench/speed.txt: has merge conflicts"):
        find_version(repository, ".")


def test_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkouts.os, "environ", {"PATH": "", "GIT_CEILING_DIRECTORIES": "/"})
    with pytest.raises(EnvironmentUnfitError, match="git is not installed") as caught:
        find_repository(tmp_path)
    assert caught.value.exit_code == 4
    monkeypatch.undo()
    with pytest.raises(UserError, match="not a git repository"):
        find_repository(tmp_path)


def needs(repository: Path, *projects: str) -> str | None:
    version = find_version(repository, "main")
    trees = [repository.parent / str(n) for n in range(len(projects))]
    for tree, text in zip(trees, projects, strict=True):
        tree.mkdir()
        (tree / "pyproject.toml").write_text(text)
    return needs_own([version] * len(trees), trees)


def test_the_installed_packages_do_if_both_declare_them_and_they_are_met(repository: Path):
    other_spelling = PROJECT.replace("numpy>=1.26", "numpy >= 1.26")
    assert needs(repository, PROJECT, other_spelling) is None


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("numpy>=1.26", "numpy>=1.27", "different packages: numpy>=1.26, numpy>=1.27"),
        (">=3.11", ">=3.12", "different packages: python"),
    ],
)
def test_other_dependencies_need_environments_of_their_own(
    repository: Path, before: str, after: str, why: str
):
    assert why in (needs(repository, PROJECT, PROJECT.replace(before, after)) or "")


@pytest.mark.parametrize("unmet", ["numpy>=1000", "a-package-that-is-not-there>=1"])
def test_packages_that_are_not_installed_need_environments(repository: Path, unmet: str):
    text = PROJECT.replace("numpy>=1.26", unmet)
    assert unmet in (needs(repository, text, text) or "")


@pytest.mark.parametrize("text", ["[project", "[tool.x]\n", '[project]\ndependencies = ["?"]\n'])
def test_a_version_whose_pyproject_is_broken_has_one_line(repository: Path, text: str):
    with pytest.raises(UserError, match=r"main \([0-9a-f]{10}\): pyproject.toml") as caught:
        needs(repository, text)
    assert len(caught.value.problems) == 1


def test_a_versions_code_comes_before_what_was_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    assert environment_for(Path("/ours"))["PYTHONPATH"] == "/ours:/theirs"


def test_kinds_of_environment_are_checked():
    assert parse_kind("own") == "own"
    with pytest.raises(UserError, match="did you mean 'shared'"):
        parse_kind("shred")

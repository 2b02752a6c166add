"""Reading what a user names: of files, as much as is sensible; of what is no file, nothing."""

import os
from pathlib import Path

import pytest

from bench.cli import app
from distill.command_line import run_app
from distill.errors import UserError
from distill.files import expanded, is_visible_file, read_regular


def test_a_file_is_read_whole_up_to_its_limit(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(b"x" * 100)
    assert read_regular(path, most=100) == b"x" * 100
    (tmp_path / "link").symlink_to(path)
    assert len(read_regular(tmp_path / "link")) == 100
    with pytest.raises(UserError, match="is larger than"):
        read_regular(path, most=99)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "y")


def no_files(folder: Path) -> list[Path]:
    os.mkfifo(folder / "pipe")
    return [folder / "pipe", *map(Path, ("/dev/full", "/dev/zero", "/dev/null"))]


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path):
    for path in no_files(tmp_path):
        with pytest.raises(UserError, match=r"is a pipe or a device; a file is needed"):
            read_regular(path)
    with pytest.raises(UserError, match="is a folder"):
        read_regular(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ("compare", "FILE", "FILE"),
        ("baseline", "show", "FILE"),
        ("study", "analyze", "FILE", "--key", "FILE"),
    ],
)
def test_commands_refuse_them_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
):
    for path in no_files(tmp_path):
        arguments = [str(path) if word == "FILE" else word for word in command]
        assert run_app(app, "bench", arguments) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_files_of_a_run_folder_are_read_likewise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    (run / "cells").mkdir(parents=True)
    (run / "scenario.yaml").write_text("name: x\n")
    (run / "environment.json").write_text("{}")
    os.mkfifo(run / "cells" / "0123456789ab-0.json")
    assert run_app(app, "bench", ["compare", str(run), str(run)]) == 2
    assert "is a pipe or a device" in capsys.readouterr().err
    assert run_app(app, "bench", ["report", str(run)]) == 2
    assert "is a pipe or a device" in capsys.readouterr().err


def test_where_one_may_not_look_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "x").touch()
    assert is_visible_file(tmp_path / "x")
    assert not is_visible_file(tmp_path / "y")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    assert not is_visible_file(tmp_path / "x")


def test_a_home_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch):
    assert expanded("~nobody-has-this-name/x") == Path("~nobody-has-this-name/x")
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/x") == Path("/home/me/x")

"""What every command does with errors that are not its own."""

import errno
import os

import pytest
import typer

from distill.command_line import run_app


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "tool: No space left on device"),
        (
            FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "runs/a/cells"),
            "tool: runs/a/cells: No such file or directory",
        ),
    ],
)
def test_a_file_system_that_refuses_is_one_line(
    error: OSError, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    assert run_app(app, "tool", []) == 4
    assert capsys.readouterr().err == f"{line}\n"


def test_a_bug_is_not_hidden() -> None:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise OSError("no number, so not the system's")

    with pytest.raises(OSError, match="no number"):
        run_app(app, "tool", [])

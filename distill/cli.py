"""``distill``: the compressed networks."""

import sys
from typing import TYPE_CHECKING

from distill.command_line import run_app

if TYPE_CHECKING:
    import typer


def commands() -> "typer.Typer":
    """Load the commands, and PyTorch with them: a machine that refuses is told of in a line."""
    from distill.commands import app

    return app


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_app(commands, "distill"))


if __name__ == "__main__":
    main()

"""How both commands end: exit codes, and one line for each problem instead of a traceback."""

import os
import sys
from collections.abc import Sequence

import typer
from rich.console import Console

from distill.errors import UserError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def console() -> Console:
    """Where tables are printed: as wide as the terminal, or wide enough when there is none."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160)


def run_app(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command-line application.

    Args:
        app: the application.
        name: of the command, for usage texts and messages.
        arguments: of the command; None for those of the process.

    Returns:
        The exit code: 0 done, 1 a check failed, 2 wrong use or bad input, 3 inconclusive,
        4 the environment cannot do it, 130 interrupted.
    """
    # Huge pages for tensors: first touches of memory cost up to a third of a pass on a CPU.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    command = typer.main.get_command(app)
    given = None if arguments is None else list(arguments)
    try:
        result = command.main(args=given, prog_name=name, standalone_mode=False)
    except UserError as error:
        for problem in error.problems:
            print(f"{name}: {problem}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`bench models | head`): nothing is wrong here.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # The parser's own errors; typer carries its own copy of click from some version on.
        if not hasattr(error, "format_message"):
            raise
        text = " ".join(error.format_message().split())
        print(f"{name}: {text} See '{name} --help'.", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0

"""What both commands share: exit codes, one line for each problem, tables, progress."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from distill.errors import EnvironmentUnfitError, UserError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def console() -> Console:
    """Where tables are printed: as wide as the terminal, or wide enough when there is none."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160)


@contextmanager
def progress_bar(
    what: str, *, quiet: bool, counted: bool = True
) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, if standard error is a terminal; it is told what is done of what.

    Args:
        what: is counted or going on, in a word.
        quiet: show nothing.
        counted: show numbers (``3/20``) instead of a percentage.
    """
    screen = Console(stderr=True)
    if quiet or not screen.is_terminal:
        yield lambda done, total: None
        return
    numbers = MofNCompleteColumn() if counted else TaskProgressColumn()
    columns = TextColumn(what), BarColumn(), numbers, TimeRemainingColumn(), TextColumn("left")
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """What is printed inside may find no reader (``bench models | head``): nothing is wrong then.

    What follows is done all the same.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _mute()
    except SystemExit as end:  # what Rich makes of it
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        _mute()


def _mute() -> None:
    """Let what standard output has buffered, which nobody reads, not fail at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    result: object = 0
    try:
        with reader_may_leave():
            result = command.main(args=given, prog_name=name, standalone_mode=False)
    except UserError as error:
        for problem in error.problems:
            print(f"{name}: {problem}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OSError as error:
        # What nobody foresaw of a file system: full, read-only, a folder deleted meanwhile.
        if error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"{name}: {where}{error.strerror}", file=sys.stderr)
        return EnvironmentUnfitError.exit_code
    except Exception as error:
        # The parser's own errors; typer carries its own copy of click from some version on.
        if not hasattr(error, "format_message"):
            raise
        text = " ".join(error.format_message().split())
        print(f"{name}: {text} See '{name} --help'.", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0

"""What both commands share: exit codes, one line for each problem, tables, progress."""

import importlib.metadata
import math
import os
import platform
import re
import resource
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Annotated, Any

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
from distill.models import ModelSpec
from distill.screen import Screen
from distill.sources import source_digest
from distill.streams import output_error, patient_streams
from distill.suggest import one_line

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
CRASHED = 70
"""Exit code where the tool itself failed: ``EX_SOFTWARE`` of sysexits.h."""
_OUTPUTS = ("-o", "--out", "--output", "--gallery")
DISTRIBUTION = "ultrastyle-bench"
_WANT_OF_MEMORY = re.compile(
    r"failed to map segment|cannot allocate memory|can't allocate memory|can't start new thread"
    r"|not enough memory|bad_alloc|CUDA (error: )?out of memory|_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def parse_ridges(texts: Sequence[str], spec: ModelSpec) -> dict[int, float]:
    """Stages and their ridges, of ``STAGE=VALUE`` texts (``--ridge``).

    Raises:
        UserError: for AdaIN, which whitens nothing, a stage that is none, or no number from 0 up.
    """
    if texts and spec.method != "wct":
        raise UserError(f"--ridge: {spec.method} does not whiten; only wct has a ridge")
    ridges = {}
    for text in texts:
        stage, _, value = text.partition("=")
        if stage.strip() not in map(str, spec.stages):
            raise UserError(
                f"--ridge {text}: {stage.strip()!r} is no stage; expected STAGE=VALUE with a stage "
                "of 1 to 5, such as 5=10"
            )
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise UserError(f"--ridge {text}: {value!r} is no number from 0 up")
        ridges[int(stage)] = number
    return ridges


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turn running out of memory, on a CPU or GPU, into one line that says what helps.

    Args:
        advice: what to do, as in ``give a smaller --size``.

    Raises:
        EnvironmentUnfitError: in the place of what the allocators raise.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not _is_want_of_memory(error):
            raise
        first = str(error).strip().partition("\n")[0] or "the allocation failed"
        raise EnvironmentUnfitError(
            one_line(f"there is too little memory: {advice} ({first}){_address_space()}")
        ) from error


def _is_want_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or _WANT_OF_MEMORY.search(str(error)) is not None


def console() -> Console:
    """Where tables are printed: as wide as the terminal, or wide enough when there is none."""
    return Screen(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160)


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


def run_app(
    app: typer.Typer | Callable[[], typer.Typer],
    name: str,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a command-line application.

    Args:
        app: the application, or what loads it.
        name: of the command, for usage texts and messages.
        arguments: of the command; None for those of the process.

    Returns:
        The exit code: 0 done, 1 a check failed, 2 wrong use or bad input, 3 inconclusive,
        4 the environment cannot do it, 70 the tool itself failed, 130 interrupted. Whether
        somebody reads what is printed does not decide it; a result that cannot be written does.
    """
    # Huge pages for tensors: first touches of memory cost up to a third of a pass on a CPU.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Figures go to files: what the user's Jupyter or desktop draws with is no concern of ours.
    os.environ["MPLBACKEND"] = "agg"

    def run() -> object:
        loaded = app if isinstance(app, typer.Typer) else app()
        given = sys.argv[1:] if arguments is None else list(arguments)
        _refuse_dash(given)
        command = typer.main.get_command(loaded)
        command.context_settings["help_option_names"] = ["-h", "--help"]
        return command.main(args=given, prog_name=name, standalone_mode=False)

    with patient_streams():
        code = _exit_code(run, name)
        lost = output_error()
        if lost is not None and code in (0, 1, 3):
            print(
                f"{name}: standard output: {lost.strerror}; what it had to say is lost",
                file=sys.stderr,
            )
            code = EnvironmentUnfitError.exit_code
    return code


def _refuse_dash(arguments: Sequence[str]) -> None:
    """Raise ``UserError`` for ``-`` as what to write to: a file of that name would be made."""
    for option, value in pairwise([*arguments, ""]):
        option, _, attached = option.partition("=")
        if option in _OUTPUTS and "-" in (attached, *([] if attached else [value])):
            raise UserError(
                f"{option} -: a file or folder is needed; standard output is /dev/stdout (where a "
                "file is written), and a file that is called - is ./-"
            )


def add_version(app: typer.Typer) -> None:
    """Give an application the option ``--version``."""

    def show(asked: bool) -> None:
        if asked:
            print(version_line(app.info.name or ""))
            raise typer.Exit

    @app.callback(help=app.info.help)
    def options(
        version: Annotated[
            bool,
            typer.Option(
                "--version", help="Print the version and exit.", is_eager=True, callback=show
            ),
        ] = False,
    ) -> None:
        pass


def _exit_code(run: Callable[[], object], name: str) -> int:
    """The code that a command returns, or that stands for the error it ended with."""
    try:
        result = run()
    except UserError as error:
        for problem in error.problems:
            print(f"{name}: {problem}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
            return error.code  # 128 and the number of the signal that ended it
        if isinstance(error, SystemExit) and not error.code:  # shell completion ends so
            return 0
        if _is_of_the_parser(error):
            return _wrong_use(error, name)
        if (refused := _environments_fault(error)) is not None:
            print(f"{name}: {refused}", file=sys.stderr)
            return EnvironmentUnfitError.exit_code
        traceback.print_exc()
        print(
            f"{name}: this is a fault of the tool, not of what it was given. Please report it with "
            f"the lines above, the command and: {version_line(name)}",
            file=sys.stderr,
        )
        return CRASHED
    return result if isinstance(result, int) else 0


def _is_of_the_parser(error: BaseException) -> bool:
    """Whether it is about the arguments; some versions of typer carry a copy of click."""
    return hasattr(error, "format_message")


def _wrong_use(error: Any, name: str) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help
        print(error.format_message(), file=sys.stderr)
    else:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else name
        text = " ".join(error.format_message().split())
        print(f"{name}: {text} See '{path} --help'.", file=sys.stderr)
    return UserError.exit_code


def _environments_fault(error: BaseException) -> str | None:
    """What the machine refused, in a line; None for what is the tool's own fault."""
    chain = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    if any(map(_is_want_of_memory, chain)):
        return one_line(f"there is too little memory: {error}{_address_space()}")
    # A library that the dynamic loader has no room for is "not found", too.
    limit = _address_space()
    if limit and isinstance(error, ImportError | OSError) and not getattr(error, "errno", None):
        return one_line(f"{error}{limit}")
    if isinstance(error, OSError) and error.strerror is not None:
        # What nobody foresaw of a file system: full, read-only, a folder deleted meanwhile.
        where = f"{error.filename}: " if error.filename is not None else ""
        return one_line(f"{where}{error.strerror}")
    return None


def _address_space() -> str:
    """The limit of the process's address space in words; empty without one."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return ""
    return f"; its address space is limited to {limit / 1e6:,.0f} MB (ulimit -v)"


def version_line(name: str) -> str:
    """``bench 0.1.0 (sources 1a2b3c4d5e; Python 3.12.3, PyTorch 2.11.0, Linux x86_64)``."""
    found = [_version(package) for package in (DISTRIBUTION, "torch")]
    return (
        f"{name} {found[0]} (sources {source_digest()}; Python {platform.python_version()}, "
        f"PyTorch {found[1]}, {platform.system()} {platform.machine()})"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

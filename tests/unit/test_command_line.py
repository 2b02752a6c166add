"""What every command does with errors that are not its own."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from distill.command_line import CRASHED, run_app, version_line
from distill.sources import DIGITS, digest_of, source_digest
from distill.streams import courtesy, output_error, patient_streams

ROOT = Path(__file__).parents[2]


def failing(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    return app


def of(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "tool: No space left on device"),
        (
            FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "runs/a\n/cells"),
            "tool: runs/a\\n/cells: No such file or directory",
        ),
        (MemoryError("12 MB"), "tool: there is too little memory: 12 MB"),
        (
            of(ImportError("no torch"), OSError("x.so: failed to map segment from shared object")),
            "tool: there is too little memory: no torch",
        ),
        (RuntimeError("can't start new thread"), "tool: there is too little memory: can't start"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(failing(error), "tool", []) == 4
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [OSError("no number, so not the system's"), ZeroDivisionError("x"), SystemExit(1)],
    ids=repr,
)
def test_a_fault_of_the_tool_has_a_code_of_its_own(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(failing(error), "tool", []) == CRASHED == 70
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and type(error).__name__ in said
    last = said.splitlines()[-1]
    assert last.startswith("tool: this is a fault of the tool") and last.endswith(
        version_line("tool")
    )


def test_a_fault_of_what_loads_the_commands_is_one_too(capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> typer.Typer:
        raise ImportError("cannot import name 'x'")

    assert run_app(load, "tool", []) == CRASHED
    assert "cannot import name 'x'" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_the_commands_own_code_stays(code: int) -> None:
    app = typer.Typer()

    @app.command()
    def end() -> int:
        return code

    assert run_app(app, "tool", []) == code


# ------------------------------------------------------------------------------- the real thing


def tool(
    module: str, *arguments: str, before: Callable[[], object] | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=before,
    )


def small() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))


TOOLS = pytest.mark.parametrize(
    ("module", "command"), [("bench.cli", "models"), ("distill.cli", "info")]
)


@TOOLS
def test_an_address_space_that_is_too_small_is_the_environments_fault(
    module: str, command: str
) -> None:
    done = tool(module, command, before=small)
    assert (done.returncode, done.stdout) == (4, "")
    (line,) = done.stderr.splitlines()
    assert "its address space is limited to 419 MB (ulimit -v)" in line


@TOOLS
def test_ascii_and_a_backend_that_is_not_there_do_not_matter(module: str, command: str) -> None:
    done = tool(module, command, PYTHONIOENCODING="ascii", MPLBACKEND="nosuch")
    assert (done.returncode, done.stderr) == (0, "")


def test_figures_need_no_backend_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "evaluate.csv").write_text("")
    code = "from distill.command_line import run_app; import typer; app = typer.Typer()\n"
    code += "@app.command()\ndef draw():\n    import matplotlib.pyplot as p\n"
    code += f"    p.figure().savefig({str(tmp_path / 'f.png')!r})\n"
    code += "raise SystemExit(run_app(app, 'x', []))"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "nosuch"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
    assert (tmp_path / "f.png").exists()


@TOOLS
@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full"])
def test_closed_and_full_streams(module: str, command: str, redirection: str) -> None:
    line = f'"{sys.executable}" -m {module} {command} {redirection}'
    done = subprocess.run(
        ["bash", "-c", line],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == (0 if redirection == "2>&-" else 4)
    words = {">&-": "it is closed", ">/dev/full": "No space left on device"}
    assert words.get(redirection, "") in done.stderr
    assert done.stderr.count("\n") == (redirection in words)


# ------------------------------------------------------------------------------------ streams


def test_a_name_that_is_no_text_is_written_as_an_escape() -> None:
    code = "import sys; from distill.streams import patient_streams\n"
    code += "with patient_streams(): print('\\udcff', 'Björk')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == "\\udcff Björk\n".encode()


def test_a_stream_that_will_not_wait_is_waited_for() -> None:
    code = "from distill.streams import *\n"
    code += "with patient_streams():\n    print('x' * 300_000)\n    assert output_error() is None"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=writer, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            assert len(stream.read()) == 300_001
    assert process.returncode == 0


def test_closed_descriptors_are_not_given_to_files(tmp_path: Path) -> None:
    """What a library prints would else end up in a file that was opened meanwhile."""
    code = "import os; from distill.streams import patient_streams\n"
    code += f"with patient_streams(), open({str(tmp_path / 'f')!r}, 'w') as file:\n"
    code += "    assert file.fileno() > 2\n    os.write(1, b'lost'); print('lost')"
    line = f'"{sys.executable}" -c "$CODE" >&- <&-'
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CODE": code}
    subprocess.run(["bash", "-c", line], env=environment, check=True)
    assert (tmp_path / "f").read_text() == ""


def test_streams_of_others_stay(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with patient_streams(), courtesy():
        assert sys.stdout is before
        print("here")
        assert output_error() is None
    assert capsys.readouterr().out == "here\n"


def test_what_is_printed_in_courtesy_is_no_result() -> None:
    code = """
import errno
from distill.streams import courtesy, output_error, patient_streams
with patient_streams():
    with courtesy():
        print("progress")
    assert output_error() is None
    print("a result")
    with courtesy():
        print("progress")
    assert output_error().errno == errno.ENOSPC
"""
    with Path("/dev/full").open("w") as full:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code], stdout=full, env=environment, check=True)


# ------------------------------------------------------------------------------------ sources


def test_the_digest_changes_with_any_source_and_with_nothing_else(tmp_path: Path) -> None:
    for name in ("bench/a.py", "distill/b.py", "distill/assets/w.safetensors", "reports/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    first = digest_of(tmp_path)
    assert len(first) == DIGITS
    for name, counts in {
        "bench/a.py": True,
        "distill/b.py": True,
        "distill/assets/w.safetensors": True,
        "reports/c.py": False,
        "bench/__pycache__.txt": False,
        "bench/new/d.py": True,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        before = path.read_text() if path.exists() else None
        path.write_text("x = 22\n")
        assert (digest_of(tmp_path) != first) == counts, name
        path.unlink() if before is None else path.write_text(before)
        assert digest_of(tmp_path) == first
    (tmp_path / "bench/a.py").rename(tmp_path / "bench/z.py")
    assert digest_of(tmp_path) != first
    assert source_digest() == source_digest()

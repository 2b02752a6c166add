"""A process that has the commands loaded and runs each request in a child of its own.

Starting Python and PyTorch for each of hundreds of cases would take minutes. The child sets up its
streams as a fresh interpreter would find them, and runs the command's entry point.

    python -m tests.fork_server READ_FD WRITE_FD

Requests and answers are lines of JSON; see :class:`tests.commands.Server`.
"""

import importlib
import json
import os
import pkgutil
import sys
import traceback
from typing import Any

import bench
import distill
import reports


def open_streams(request: dict[str, Any]) -> None:
    """Put the asked-for condition on standard output and standard error, as at a fresh start."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        kind = request[name]
        stream = None
        if kind == "closed":
            os.close(number)
        else:
            if kind == "gone":
                reader, target = os.pipe()
                os.close(reader)
            else:
                path = "/dev/full" if kind == "full" else kind
                target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(target, number)
            os.close(target)
            errors = "strict" if name == "stdout" else "backslashreplace"
            encoding = request.get("encoding", "utf-8")
            stream = open(number, "w", encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def load() -> None:
    """Import what commands import when they run; nothing is computed: threads do not survive."""
    for package in (bench, distill, reports):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith("bench.pytest_plugin") and "_main" not in module.name:
                importlib.import_module(module.name)


def run(request: dict[str, Any]) -> int:
    """Run the command in this process, as its console script does."""
    import tests.commands
    from distill.command_line import run_app

    os.chdir(request["folder"])
    open_streams(request)
    with tests.commands.without_measuring():
        return run_app(tests.commands.APPS[request["tool"]], request["tool"], request["arguments"])


def main() -> None:
    """Serve until the other end closes."""
    load()
    read, write = (int(number) for number in sys.argv[1:])
    with os.fdopen(read) as requests, os.fdopen(write, "w") as answers:
        print("ready", file=answers, flush=True)
        for line in requests:
            child = os.fork()
            if not child:
                code = 99
                try:
                    code = run(json.loads(line))
                except BaseException:
                    traceback.print_exc(file=answers)  # no number: whoever waits fails with it
                finally:
                    # What the interpreter does at its end: streams that cannot be written are 120.
                    for stream in (sys.stdout, sys.stderr):
                        try:
                            if stream is not None:
                                stream.flush()
                        except OSError:
                            code = 120
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main()

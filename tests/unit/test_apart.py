"""Work in a child process: what comes back, and that the parent of the workers stays small."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.run.apart import apart

ROOT = Path(__file__).parents[2]
FORKED = pytest.mark.skipif(sys.platform != "linux", reason="needs fork and /proc")

PRELUDE = """
import os, signal, sys
from bench.errors import UserError
from bench.run.apart import apart

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")  # pickled, it cannot be read

def fail(error):
    raise error
"""


def python(code, *arguments, **options):
    """What a process without PyTorch prints."""
    return subprocess.run(
        [sys.executable, "-P", "-c", PRELUDE + code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        **options,
    )


@FORKED
def test_the_result_comes_back_from_another_process():
    done = python(
        "pid, value = apart(lambda: (os.getpid(), {'a': [1.5, None]}), what='x')\n"
        "print(pid != os.getpid(), value)"
    )
    assert done.stdout == "True {'a': [1.5, None]}\n", done.stderr


@FORKED
def test_output_is_printed_once_and_in_order():
    done = python("print('before'); apart(lambda: print('child'), what='x'); print('after')")
    assert done.stdout == "before\nchild\nafter\n"


@FORKED
def test_exceptions_come_back_with_where_they_happened():
    done = python(
        "try: apart(lambda: fail(UserError('a: wrong', 'b: wrong')), what='x')\n"
        "except UserError as error: print(error.problems, error.exit_code)\n"
        "try: apart(lambda: fail(Odd(1, 2)), what='x')\n"
        "except RuntimeError as error: print(error)\n"
        "apart(lambda: 1 / 0, what='x')"
    )
    assert "('a: wrong', 'b: wrong') 2\n" in done.stdout, done.stderr
    assert "1 and 2" in done.stdout
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "in _answer" in done.stderr


@FORKED
def test_a_child_that_is_killed_is_an_error_in_words():
    done = python(
        "from bench.errors import EnvironmentUnfitError\n"
        "try: apart(lambda: os.kill(os.getpid(), signal.SIGKILL), what='preparing the run')\n"
        "except EnvironmentUnfitError as error: print(error)"
    )
    assert done.stdout.startswith("preparing the run was killed"), done.stderr


@FORKED
def test_an_interrupt_leaves_no_process():
    code = (
        "import time\n"
        "def wait():\n"
        "    print(os.getpid(), flush=True); time.sleep(100)\n"
        "signal.signal(signal.SIGALRM, lambda *_: fail(KeyboardInterrupt())); signal.alarm(2)\n"
        "apart(wait, what='x')"
    )
    done = python(code)
    assert done.returncode == -signal.SIGINT
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


@FORKED
def test_the_child_is_the_first_that_the_kernel_kills():
    done = python(
        "read = lambda: open('/proc/self/oom_score_adj').read().strip()\n"
        "print(apart(read, what='x'), read())"
    )
    assert done.stdout == f"1000 {Path('/proc/self/oom_score_adj').read_text().strip()}\n"


def test_where_pytorch_is_loaded_the_work_is_done_here():
    import torch  # noqa: F401

    assert apart(os.getpid, what="x") == os.getpid()


SCENARIO = """
name: small
device: cpu
models: [adain-vgg16-64x]
resolutions: [64x64, 80x80]
"""

RUN = """
from pathlib import Path
from bench.run import runner
from bench.run.store import RunFolder
from bench.scenario import load_scenario

def report(self):
    print(sorted({"torch", "pandas", "scipy", "matplotlib"} & set(sys.modules)))
    print(open("/proc/self/status").read())

RunFolder.write_parquet = report  # after the last worker
worker = (sys.executable, "-c", "")
runner.run_scenario(
    load_scenario(Path(sys.argv[1])), out=Path(sys.argv[2]), quiet=True, worker=worker
)
"""


@FORKED
def test_the_parent_of_the_workers_stays_small(tmp_path):
    scenario = tmp_path / "small.yaml"
    scenario.write_text(SCENARIO)
    done = python(RUN, scenario, tmp_path)
    assert done.stdout.startswith("[]\n"), done.stdout + done.stderr
    own_kb = int(re.search(r"RssAnon:\s+(\d+) kB", done.stdout)[1])
    assert own_kb < 100_000
    assert len(list(tmp_path.glob("small-*/cells/*.json"))) == 2

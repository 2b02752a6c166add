"""The pytest plugin and pytest-benchmark's files with real processes, of callables that are cheap.

What is looked for is far larger than the noise of a busy machine.
"""

import json
import os
from pathlib import Path

import pytest

# What pytest's own runs in this process would load must be there already: they forget what they
# loaded, and PyTorch cannot be loaded twice.
import bench.measure.memory
import bench.pytest_plugin.session  # noqa: F401
from bench.cli import app
from distill.command_line import run_app
from distill.host import status_bytes

pytest_plugins = "pytester"

PLUGIN = "bench.pytest_plugin"
QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
OPTIONS = ("-p", PLUGIN, *QUIET, "--performance-time=200ms")

needs_peaks = pytest.mark.skipif(
    status_bytes("VmHWM") is None, reason="this system does not tell a call's peak memory"
)


@pytest.fixture(autouse=True)
def only_plugins_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others, such as hypothesis, take each process seconds to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@needs_peaks
def test_growth_and_slowdown_are_found_and_the_same_code_passes(pytester: pytest.Pytester):
    pytester.makeini("[pytest]\naddopts = --strict-markers")
    pytester.makeconftest(
        """
        import pytest

        def pytest_addoption(parser):
            parser.addoption("--factor", type=float, default=1.0)
            parser.addoption("--grow", type=int, default=0)

        @pytest.fixture
        def work(request):
            import time
            factor, grow = (request.config.getoption(name) for name in ("factor", "grow"))
            def run():
                data = bytearray(grow * 10**6)
                time.sleep(0.01 * factor)
            return run
        """
    )
    pytester.makepyfile(
        test_it="""
        import pytest

        def test_other(performance):
            raise AssertionError("is not to be run")

        @pytest.mark.parametrize("size", ["a b", "c::d"])
        def test_work(performance, work, size):
            performance.check(work, name="work", max_slowdown="100%")
        """
    )

    def run(*more: str, processes: int) -> pytest.RunResult:
        chosen = ("-k", "c::d", f"--performance-processes={processes}")
        return pytester.runpytest_inprocess(*OPTIONS, *chosen, *more)

    run("--performance-save=base.json", processes=2).assert_outcomes(passed=1, deselected=2)
    base = pytester.path / "base.json"
    content = json.loads(base.read_bytes())
    (entry,) = content["benchmarks"]
    assert entry["fullname"] == "test_it.py::test_work[c::d]::work"
    assert entry["stats"]["median"] >= 0.01
    assert len(entry["processes"]) == 2

    same = run("--performance-baseline=base.json", processes=1)
    same.assert_outcomes(passed=1, deselected=2, warnings=1)  # too few to tell of times
    same.stdout.fnmatch_lines(["  latency *at least 4 a side are needed*"])

    entry["processes"] *= 2
    base.write_text(json.dumps(content))
    worse = run("--performance-baseline=base.json", "--factor=3", "--grow", "50", processes=4)
    worse.assert_outcomes(failed=1, deselected=2)
    worse.stdout.fnmatch_lines(
        ["  latency *: the limit is 100 %", "  peak memory (RSS growth) *: the limit is *"]
    )


@needs_peaks
def test_what_a_test_frees_before_its_check_adds_nothing_to_the_peak(pytester: pytest.Pytester):
    pytester.makepyfile(
        """
        import bench.measure.latency, bench.measure.memory  # or loading them fills the holes

        def resident(size):
            return bytearray(b"1") * size

        def work():  # takes 10 MB, and then 14 MB
            resident(10**7)
            resident(14 * 10**6)

        def test_it(performance):
            resident(2 * 10**7)  # glibc keeps blocks up to that size from now on
            blocks = [resident(size) for size in (10**7, 10**6, 14 * 10**6, 10**6)]
            del blocks[2], blocks[0]  # a hole for each
            performance.check(work)
        """
    )
    result = pytester.runpytest_inprocess(
        *OPTIONS, "--performance-save=base.json", "--performance-processes=1"
    )
    result.assert_outcomes(passed=1)
    (entry,) = json.loads((pytester.path / "base.json").read_bytes())["benchmarks"]
    assert 13 < entry["processes"][0]["values"]["peak_rss_growth_mb"] < 16


def test_a_measuring_process_that_fails_fails_the_test_and_shows_why(pytester: pytest.Pytester):
    pytester.makepyfile(
        test_it=f"""
        import os, signal
        from {PLUGIN}.child import VARIABLE

        def test_raises(performance):
            performance.check(lambda: 1 / 0)

        def test_dies(performance):
            performance.check(lambda: os.kill(os.getpid(), signal.SIGKILL))

        def test_goes_elsewhere(performance):
            if VARIABLE not in os.environ:
                performance.check(int)
        """
    )
    result = pytester.runpytest_inprocess(
        *OPTIONS, "--performance-save=base.json", "--performance-processes=1"
    )
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_raises: measuring process 1 of 1 ended with exit code 1",
            "*ZeroDivisionError*",
            "test_it.py::test_dies: measuring process 1 of 1 was killed by SIGKILL",
            "test_it.py::test_goes_elsewhere: measuring process 1 of 1 did not come to this check",
        ]
    )
    assert not (pytester.path / "base.json").exists()


STREAM = """
STREAMS = []

def pytest_addoption(parser):
    parser.addoption("--report-log")
    parser.addoption("--own-stream")
    parser.addoption("--data")

def pytest_configure(config):
    # As plug-ins do that write while the tests run.
    for name in ("report_log", "own_stream"):
        if path := config.getoption(name):
            STREAMS.append(open(path, "w"))
            config.add_cleanup(STREAMS[-1].close)

def pytest_runtest_logreport(report):
    if report.when == "call":
        for stream in STREAMS:
            print(report.nodeid, file=stream, flush=True)
"""


@pytest.mark.parametrize("where", ["ini", "PYTEST_ADDOPTS"])
def test_measuring_processes_leave_the_files_of_the_session_alone(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, where: str
):
    options = (
        "--report-log=report.log --own-stream own.log --data data.txt --junitxml=junit.xml "
        "-o junit_family=xunit2"
    )
    pytester.makeini(
        f"""
        [pytest]
        log_file = run.log
        log_file_level = INFO
        cache_dir = kept_cache
        addopts = {options if where == "ini" else ""}
        """
    )
    if where == "PYTEST_ADDOPTS":
        monkeypatch.setenv("PYTEST_ADDOPTS", options)
    pytester.makeconftest(STREAM)
    pytester.makefile(".txt", data="7")
    pytester.makepyfile(
        test_it="""
        import logging
        from pathlib import Path

        def test_a():
            logging.getLogger("x").info("first of the parent")

        def test_plain(performance, pytestconfig):
            data = pytestconfig.getoption("data")
            assert Path(data).read_text() == "7"  # it is passed on
            performance.check(lambda: sum(range(100)))

        def test_z():
            logging.getLogger("x").info("last of the parent")
        """
    )
    result = pytester.runpytest_subprocess(
        *OPTIONS, "--performance-save=base.json", "--performance-processes=2"
    )
    result.assert_outcomes(passed=3)
    log = (pytester.path / "run.log").read_bytes()
    assert b"first of the parent" in log
    assert b"last of the parent" in log
    names = "test_it.py::test_a\ntest_it.py::test_plain\ntest_it.py::test_z\n"
    assert (pytester.path / "report.log").read_text() == names
    assert (pytester.path / "own.log").read_text() == names
    assert (pytester.path / "junit.xml").read_text().count("<testcase") == 3
    assert (pytester.path / "kept_cache").is_dir()
    assert len(json.loads((pytester.path / "base.json").read_bytes())["benchmarks"]) == 1


@pytest.mark.parametrize("option", ["--performance-save", "--performance-baseline"])
@pytest.mark.parametrize("kind", ["/dev/full", "pipe"])
def test_what_is_no_file_is_refused_at_once(pytester: pytest.Pytester, option: str, kind: str):
    path = pytester.path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)
    pytester.makepyfile(
        test_it="""
        def test_it(performance):
            performance.check(int)
        """
    )
    file = str(path) if kind == "pipe" else kind
    result = pytester.runpytest_inprocess(*OPTIONS, f"{option}={file}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {file}: is a pipe or a device; a file is needed"])


@needs_peaks
def test_benchmarks_with_their_memory_are_sides_of_a_comparison(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
):
    """The fixture of tests/performance, pytest-benchmark and `bench compare`, end to end."""
    conftest = Path(__file__).parents[1] / "performance/conftest.py"
    pytester.makeconftest(conftest.read_text())
    pytester.makepyfile(
        """
        import os

        def test_it(metered):
            metered(lambda: bytearray(int(os.environ["MB"]) * 10**6))
        """
    )
    monkeypatch.setenv("ULTRASTYLE_BENCH_DEVICE", "cpu")
    # pytest-benchmark measures nothing in a worker of pytest-xdist, where this test may run.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def side(name: str, megabytes: int) -> str:
        monkeypatch.setenv("MB", str(megabytes))
        folder = pytester.mkdir(name)
        for repeat in range(2):
            file = f"--benchmark-json={folder / f'{repeat}.json'}"
            plugin = ("-p", "benchmark", *QUIET, "--benchmark-max-time=0.1")
            result = pytester.runpytest_inprocess(*plugin, file)
            result.assert_outcomes(passed=1)
        return str(folder)

    def compare(*sides: str) -> int:
        return run_app(app, "bench", ["compare", *sides, "--metric", "peak_rss_growth_mb"])

    base = side("base", 50)
    assert compare(base, side("same", 50)) == 0
    assert compare(base, side("grown", 55)) == 1

"""The pytest plugin and pytest-benchmark's files with real processes, of callables that are cheap.

What is looked for is far larger than the noise of a busy machine.
"""

import json
from pathlib import Path

import pytest

# What pytest's own runs in this process would load must be there already: they forget what they
# loaded, and PyTorch cannot be loaded twice.
import bench.measure.memory
import bench.pytest_plugin.session  # noqa: F401
from bench.cli import app
from bench.measure.proc import status_bytes
from distill.command_line import run_app

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

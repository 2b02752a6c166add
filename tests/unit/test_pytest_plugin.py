"""The pytest plugin: options, verdicts, files; what processes measure is given here."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.cli import app
from bench.compare.side import Process
from bench.pytest_plugin import child, session
from bench.pytest_plugin.arguments import passed_on
from distill.command_line import run_app
from tests.unit.compare_data import benchmark_json, ci_run

pytest_plugins = "pytester"

PLUGIN = "bench.pytest_plugin"
NOISE = (1.0, 1.01, 0.99, 1.005, 0.995)
TEST = """
    def test_it(performance):
        performance.check(lambda: None, name="work")
"""
NAME = "test_it.py::test_it::work"
Values = Callable[[str], Sequence[Mapping[str, float]]]


def processes(*, ms: float = 10.0, mb: float = 50.0, count: int = 5) -> list[dict[str, float]]:
    """What so many processes found, which differ by about a per cent."""
    return [{"latency_ms": ms * one, "peak_rss_growth_mb": mb} for one in NOISE[:count]]


class Suite:
    """A test-suite of a user's; ``finds`` tells what its processes will measure."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *, load: bool):
        self.pytester = pytester
        self.measured: list[str] = []
        self._monkeypatch = monkeypatch
        self._load = ("-p", PLUGIN) if load else ()

    def run(self, *options: str, finds: Mapping[str, Any] | None = None) -> pytest.RunResult:
        """Run it; ``finds`` by callable, ``run`` alone if it is a list."""
        found = finds or {"run": processes()}

        def measure(check: Any, settings: Any) -> dict[str, list[Process]]:
            self.measured.append(check.fullname)
            turns = enumerate(found)
            return {
                role: [
                    Process(n, 10.0 * n + place, 10.0 * n + place + 1, values)
                    for n, values in enumerate(found[role])
                ]
                for place, role in turns
            }

        self._monkeypatch.setattr(session, "measure", measure)
        quiet = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
        return self.pytester.runpytest_inprocess(*self._load, *quiet, *options)

    def save(self, *, finds: Mapping[str, Any] | None = None) -> Path:
        """Keep a baseline."""
        result = self.run("--performance-save=base.json", finds=finds)
        assert result.ret == 0
        return self.pytester.path / "base.json"


@pytest.fixture
def suite(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> Suite:
    pytester.makepyfile(test_it=TEST)
    # An installation of the checkout that is older than the plugin has no entry point for it.
    registered = pytestconfig.pluginmanager.hasplugin("ultrastyle-bench")
    return Suite(pytester, monkeypatch, load=not registered)


def bench(*arguments: object) -> int:
    return run_app(app, "bench", [str(argument) for argument in arguments])


# ---- unless it is asked for


def test_loading_the_plugin_loads_nothing_heavy():
    code = (
        "import sys, bench.pytest_plugin;"
        "print({'torch', 'numpy', 'scipy', 'pandas', 'pydantic', 'rich'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_without_an_option_a_check_calls_once_and_measures_nothing(suite: Suite):
    suite.pytester.makepyfile(
        test_it="""
        def test_it(performance):
            calls = []
            performance.check(lambda: calls.append("a"), against=lambda: calls.append("b"))
            assert calls == ["a", "b"]
        """
    )
    result = suite.run()
    result.assert_outcomes(passed=1)
    assert "= performance =" not in result.stdout.str()
    assert not suite.measured


def test_collecting_reads_no_baseline(suite: Suite):
    result = suite.run("--collect-only", "--performance-baseline=absent.json")
    assert result.ret == 0
    assert not suite.measured


def test_an_option_without_a_test_that_uses_it_says_so(suite: Suite):
    suite.pytester.makepyfile(test_it="def test_it(): pass")
    result = suite.run("--performance-baseline=absent.json")
    result.stdout.fnmatch_lines(["nothing was measured:*"])


# ---- verdicts


def test_what_was_saved_is_compared_with(suite: Suite):
    suite.save()
    result = suite.run("--performance-baseline=base.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            f"{NAME}: unchanged",
            "  latency 10 ms to 10 ms, 0 % [[]*[]]: more than 5 % is excluded",
            "  peak memory (RSS growth) 50 MB to 50 MB, 0 %: the same",
            "  compared with *base.json: 5 and 5 processes, intervals at 95 %",
        ]
    )


@pytest.mark.parametrize(
    ("finds", "says"),
    [
        ({"ms": 30.0}, "latency 10 ms to 30 ms, +200 % [[]+19? %, +20? %[]]: the limit is 5 %"),
        ({"mb": 100.0}, "peak memory (RSS growth) 50 MB to 100 MB, +100 %: the limit is 2 %"),
    ],
)
def test_a_regression_fails_and_says_what(suite: Suite, finds: dict[str, float], says: str):
    suite.save()
    result = suite.run("--performance-baseline=base.json", finds={"run": processes(**finds)})
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"{NAME}: regression", f"  {says}"])
    assert "bench/pytest_plugin" not in result.stdout.str()  # no traceback of the plugin's


def test_an_improvement_passes(suite: Suite):
    suite.save()
    result = suite.run(
        "--performance-baseline=base.json", finds={"run": processes(ms=5.0, mb=20.0)}
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"{NAME}: improvement"])


@pytest.mark.parametrize(
    ("options", "ini", "outcome"),
    [
        ([], "", {"passed": 1, "warnings": 1}),
        (["--performance-strict"], "", {"failed": 1}),
        ([], "performance_strict = true", {"failed": 1}),
    ],
)
def test_what_cannot_be_told_warns_or_fails(
    suite: Suite, options: list[str], ini: str, outcome: dict[str, int]
):
    suite.pytester.makeini(f"[pytest]\n{ini}")
    suite.save()
    few = {"run": processes(count=2)}
    result = suite.run("--performance-baseline=base.json", *options, finds=few)
    result.assert_outcomes(**outcome)
    result.stdout.fnmatch_lines(["*inconclusive*", "*at least 4 a side are needed; measure 3 more"])


@pytest.mark.parametrize(
    ("marker", "argument", "ini", "fails"),
    [
        ("", "", "", True),
        ("", "max_slowdown='20%'", "", False),
        ("@pytest.mark.performance(max_slowdown='20%')", "", "", False),
        ("@pytest.mark.performance(max_slowdown='20%')", "max_slowdown=0.05", "", True),
        ("", "", "performance_max_slowdown = 20%", False),
        ("@pytest.mark.performance(max_slowdown='5%')", "", "performance_max_slowdown=20%", True),
        ("@pytest.mark.performance(max_memory_growth='20%')", "", "", True),
    ],
)
def test_the_nearest_limit_holds(suite: Suite, marker: str, argument: str, ini: str, fails: bool):
    suite.pytester.makeini(f"[pytest]\n{ini}")
    comma = ", " if argument else ""
    suite.pytester.makepyfile(
        test_it=f"""
        import pytest
        {marker}
        def test_it(performance):
            performance.check(lambda: None, name="work"{comma}{argument})
        """
    )
    suite.save()
    slower = {"run": processes(ms=11.0)}
    result = suite.run("--performance-baseline=base.json", finds=slower)
    result.assert_outcomes(**({"failed": 1} if fails else {"passed": 1}))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("check(int, max_slowdown='5 parrots')", "*ValueError: max_slowdown: a fraction is*"),
        ("check(int); performance.check(int)", "*test_it: is checked twice: give each*"),
    ],
)
def test_a_wrong_check_is_an_error_even_if_nothing_is_measured(suite: Suite, call: str, says: str):
    suite.pytester.makepyfile(test_it=f"def test_it(performance): performance.{call}")
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([says])


def test_a_wrong_marker_is_named(suite: Suite):
    suite.pytester.makepyfile(
        test_it="""
        import pytest
        @pytest.mark.performance(slowdown="5%")
        def test_it(performance):
            performance.check(int)
        """
    )
    suite.run().stdout.fnmatch_lines(["*mark.performance has slowdown; allowed are max_slowdown*"])


def test_many_checks_raise_what_each_must_show(suite: Suite):
    """Chance alone has more opportunities: 0.2 % in one check is 20 % in a hundred."""
    wide = [{"latency_ms": 10.0 * one} for one in (1.0, 0.93, 1.07, 0.97, 1.03)]
    slower = [{"latency_ms": 1.2 * one["latency_ms"]} for one in wide]
    base = suite.save(finds={"run": wide})
    options = ("--performance-baseline=base.json",)
    suite.run(*options, finds={"run": slower}).assert_outcomes(failed=1)

    content = json.loads(base.read_text())
    (entry,) = content["benchmarks"]
    content["benchmarks"] += [entry | {"fullname": f"other {n}"} for n in range(99)]
    base.write_text(json.dumps(content))
    result = suite.run(*options, finds={"run": slower})
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*chance would show such an increase in * of 100 checks*"])
    result.stdout.fnmatch_lines(["*base.json: 99 of 100 checks were not compared: other 0, *"])


def test_two_callables_are_compared_without_a_baseline(suite: Suite):
    suite.pytester.makepyfile(
        test_it="""
        def test_it(performance):
            performance.check(lambda: 1, against=lambda: 2, name="work")
        """
    )
    noisy = [
        {"latency_ms": ms, "peak_rss_growth_mb": 50.0} for ms in (10.0, 20.0, 14.0, 30.0, 11.0)
    ]
    slower = [one | {"latency_ms": 1.2 * one["latency_ms"]} for one in noisy]
    result = suite.run("--performance", finds={"against": noisy, "run": slower})
    result.assert_outcomes(failed=1)  # in turn: what disturbed both of a turn is left out
    result.stdout.fnmatch_lines(["  latency 14 ms to 16.8 ms, +20.0 %*the limit is 5 %"])
    suite.run("--performance", finds={"against": noisy, "run": noisy}).assert_outcomes(passed=1)


# ---- the baseline's file


def test_a_check_that_has_no_baseline_is_skipped_with_the_nearest_name(suite: Suite):
    suite.save()
    suite.pytester.makepyfile(test_it=TEST.replace("work", "works"))
    options = ("-rs", "--performance-baseline=base.json")
    result = suite.run(*options)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        [f"SKIPPED*base.json: has no {NAME}s; did you mean '{NAME}'?; --performance-save *"]
    )
    suite.run(*options, "--performance-strict").assert_outcomes(failed=1)
    assert suite.measured == [NAME]


def test_saving_adds_to_a_file_and_replaces_what_was_measured_again(suite: Suite):
    base = suite.save()
    suite.pytester.makepyfile(
        test_it=TEST, test_more="def test_more(performance): performance.check(int)"
    )
    result = suite.run("--performance-save=base.json", "-k", "more")
    result.stdout.fnmatch_lines(["*base.json: 1 checks saved, 2 in all"])
    result = suite.run(
        "--performance-save=base.json", "-k", "test_it", finds={"run": processes(ms=20.0)}
    )
    found = {one["fullname"]: one for one in json.loads(base.read_text())["benchmarks"]}
    assert found[NAME]["stats"]["median"] == 0.02
    assert found["test_more.py::test_more"]["stats"]["median"] == 0.01


@pytest.mark.parametrize(("ms", "code"), [(10.0, 0), (30.0, 1)])
def test_saved_files_are_sides_of_a_comparison(suite: Suite, ms: float, code: int):
    base = suite.save()
    suite.run("--performance-save=new.json", finds={"run": processes(ms=ms)})
    assert bench("compare", base, suite.pytester.path / "new.json") == code


def spoiled(base: Path, **fields: Any) -> None:
    base.write_text(json.dumps(json.loads(base.read_text()) | fields))


def with_environment(base: Path, **facts: Any) -> None:
    content = json.loads(base.read_text())
    content["machine_info"]["environment"] |= facts
    base.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda base: base.unlink(), "*base.json: no such *"),
        (lambda base: base.write_text(""), "*base.json: is empty"),
        (lambda base: base.write_text("{}"), "*base.json: is neither *"),
        (lambda base: base.write_text(base.read_text()[:-20]), "*base.json: not a whole JSON *"),
        (lambda base: spoiled(base, benchmarks=[]), "*base.json: has no benchmarks*"),
        (lambda base: spoiled(base, benchmarks=[{"fullname": "a"}]), "*not as pytest-benchmark *"),
        (
            lambda base: spoiled(base, ultrastyle_bench={"schema_version": 2}),
            "*base.json: is of format 2, this version reads 1: measure it again",
        ),
    ],
)
def test_a_bad_baseline_ends_the_session_in_one_line(
    suite: Suite, damage: Callable[[Path], object], says: str
):
    damage(suite.save())
    suite.measured.clear()
    result = suite.run("--performance-baseline=base.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: ")
    pytest.LineMatcher([line]).fnmatch_lines([f"ERROR: {says}"])
    assert not suite.measured


def test_a_run_is_no_baseline_of_tests(suite: Suite):
    ci_run(suite.pytester.path / "base.json")
    result = suite.run("--performance-baseline=base.json")
    result.stderr.fnmatch_lines(["ERROR: *base.json: is a run; --performance-save writes what *"])


def test_another_environment_is_refused_unless_allowed(suite: Suite):
    with_environment(suite.save(), cpu="Other CPU", torch="1.0")
    options = ("--performance-baseline=base.json",)
    suite.measured.clear()
    result = suite.run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *base.json: other environment than this: CPU: Other CPU against *"]
    )
    result.stderr.fnmatch_lines(["ERROR: *: PyTorch: 1.0 against *"])
    assert not suite.measured
    result = suite.run(*options, "--performance-allow-different-environment")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["differs: CPU: Other CPU against *"])


def test_environments_are_not_mixed_in_one_file(suite: Suite):
    with_environment(suite.save(), cpu="Other CPU")
    result = suite.run("--performance-save=base.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *CPU: Other CPU against *", "*save to another file*"])


def test_a_disk_that_takes_nothing_is_told_and_ends_the_session_with_4(suite: Suite):
    (suite.pytester.path / "file").write_text("")
    result = suite.run("--performance-save=file/base.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["ERROR: *base.json: cannot be written: *"])


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--performance-processes=0", "--performance-processes: a number of processes is 1 or *"),
        ("--performance-time=5", "--performance-time: a time is a number with ms, s, min or h *"),
        ("--performance-device=gpu", "*device*gpu*"),
    ],
)
def test_a_wrong_option_ends_the_session_in_one_line(suite: Suite, option: str, says: str):
    result = suite.run("--performance", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {says}"])


# ---- beside other plugins


def test_measuring_beside_other_workers_is_refused(suite: Suite):
    result = suite.run("-n2", "--performance-save=base.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --performance: processes that run at once slow each *"])
    suite.run("-n0", "--performance-save=base.json").assert_outcomes(passed=1)


def test_pytest_benchmark_is_left_alone(suite: Suite):
    suite.pytester.makepyfile(
        test_it="""
        def test_it(performance, benchmark):
            benchmark.pedantic(int)
            performance.check(int)
        """
    )
    result = suite.run("--performance-save=base.json", "--benchmark-json=other.json")
    result.assert_outcomes(passed=1)
    assert suite.measured == ["test_it.py::test_it"]


# ---- what a measuring process does


def test_what_selects_tests_or_writes_files_is_not_passed_on():
    dropped = ["-qx", "-vv", "-k", "quick", "-n4", "--lf", "--basetemp=here", "--junitxml", "a.xml"]
    dropped += ["--cov", "--cov-report", "html", "--benchmark-json=b.json"]
    dropped += ["--performance-save", "b.json", "--performance-strict"]
    kept = ["-p", "one", "-pno:two", "--device", "cuda", "-W", "error", "-o", "x=y"]
    given = ["tests/perf.py", *kept[:4], *dropped, *kept[4:]]
    assert passed_on(given, ["tests/perf.py"]) == kept


def test_short_calls_are_timed_in_bundles():
    calls = 0

    def run() -> None:
        nonlocal calls
        calls += 1

    values = child.measure_callable(run, device="cpu", time_s=0.05)
    assert 0 < values["latency_ms"] < 0.1
    assert calls > 100 * child.MIN_REPEATS


def test_memory_is_that_of_one_call():
    def run() -> None:
        bytearray(40_000_000)

    values = child.measure_callable(run, device="cpu", time_s=0.05)
    assert values["peak_rss_growth_mb"] == pytest.approx(40, abs=5)


def test_cuda_is_not_timed_as_if_it_were_the_cpu(monkeypatch: pytest.MonkeyPatch):
    fake = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", fake)
    with pytest.raises(pytest.fail.Exception, match="measure with --performance-device cuda"):
        child.measure_callable(int, device="cpu", time_s=0.05)


# ---- pytest-benchmark's files, as far as they are of several processes


def test_every_process_must_have_measured_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    benchmark_json(tmp_path / "b/1.json", {"a": 0.1, "b": 0.1})
    benchmark_json(tmp_path / "b/2.json", {"a": 0.1})
    assert bench("compare", tmp_path / "b", tmp_path / "b") == 2
    assert "2.json: lacks b, which 1.json has: each process" in capsys.readouterr().err


def test_partly_overlapping_benchmarks_are_compared_only_if_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    base = benchmark_json(tmp_path / "base.json", {"a": 0.1, "b": 0.1}, {"parameters": 7})
    new = benchmark_json(tmp_path / "new.json", {"b": 0.1, "c": 0.1}, {"parameters": 7})
    assert bench("compare", base, new) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "lacks 1 cell (a)" in line and "--partial" in line
    assert bench("compare", base, new, "--partial", "--metric", "parameters") == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "bad.json: is empty"),
        ('{"benchmarks": [', "bad.json: not a whole JSON file"),
        ("[]", "bad.json: is neither a run folder, a baseline nor pytest-benchmark's JSON"),
        (
            '{"benchmarks": [{"name": "a", "stats": {"median": 1}}], "machine_info": {},'
            ' "version": "2.5"}',
            "bad.json: not as pytest-benchmark writes it (version 2.5): benchmarks.0.fullname",
        ),
    ],
)
@pytest.mark.parametrize("in_folder", [False, True])
def test_bad_benchmark_files_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str, in_folder: bool
):
    good = benchmark_json(tmp_path / "side/good.json", {"a": 0.1})
    bad = tmp_path / ("side" if in_folder else ".") / "bad.json"
    bad.write_text(text)
    assert bench("compare", good, bad.parent if in_folder else bad) == 2
    (line,) = capsys.readouterr().err.splitlines()
    if not (in_folder and text == "[]"):  # a folder with a file of another kind is taken for a run
        assert says in line


def test_versions_and_settings_count_where_a_file_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sides = [
        benchmark_json(
            tmp_path / f"{torch}.json",
            {"a": 0.1},
            machine_info={"environment": {"torch": torch, "load_average_1min": len(torch)}},
        )
        for torch in ("2.1", "2.11")
    ]
    assert bench("compare", *sides) == 2
    assert "PyTorch: 2.1 against 2.11" in capsys.readouterr().err

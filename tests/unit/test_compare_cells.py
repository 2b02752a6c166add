"""Two runs compared: which cells are the same, how they ended, what environments allow."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.compare.comparison import compare
from bench.compare.load import load_side
from bench.compare.metrics import chosen
from bench.compare.notes import taking_turns
from bench.compare.result import CellResult, Comparison, Finding, Limits
from bench.compare.side import Process
from bench.errors import UserError
from bench.run.turn_numbers import TurnCounter, Turns, read_turns
from tests.unit.compare_data import (
    SIZES,
    ci_run,
    latencies,
    performance,
    quality,
    run_folder,
)


def compared(base: Path, new: Path, *, metrics: tuple[str, ...] = (), **options: Any) -> Comparison:
    fields, judge_quality = chosen(metrics)
    return compare(
        load_side(base, baselines=base.parent),
        load_side(new, baselines=base.parent),
        limits=options.pop("limits", Limits()),
        metrics=fields,
        quality=judge_quality,
        **options,
    )


def only(comparison: Comparison) -> tuple[CellResult, Finding]:
    """The one finding that is not unchanged."""
    found = [(c, f) for c in comparison.cells for f in c.findings if f.verdict != "unchanged"]
    assert len(found) == 1, found
    return found[0]


def edit(position: int, **fields: Any):
    """Changes all records of the n-th cell."""

    def change(records: list[dict[str, Any]]) -> None:
        ids = list(dict.fromkeys(record["id"] for record in records))
        for record in records:
            if record["id"] == ids[position]:
                record.update(fields)

    return change


def drop(position: int):
    def change(records: list[dict[str, Any]]) -> None:
        ids = list(dict.fromkeys(record["id"] for record in records))
        records[:] = [record for record in records if record["id"] != ids[position]]

    return change


# ---- verdicts


def test_nothing_changed(tmp_path: Path):
    comparison = compared(ci_run(tmp_path / "a"), ci_run(tmp_path / "b"))
    assert comparison.verdict == "unchanged"
    assert comparison.exit_code == 0
    assert comparison.counts["unchanged"] == len(comparison.cells) == 2
    assert {f.metric for c in comparison.cells for f in c.findings} == {
        "latency_ms",
        "peak_rss_growth_mb",
        "parameters",
        "storage_mb",
    }


def test_one_slow_cell_is_a_regression_and_stands_first(tmp_path: Path):
    comparison = compared(ci_run(tmp_path / "a"), ci_run(tmp_path / "b", factors=(1.0, 1.2)))
    cell, finding = only(comparison)
    assert comparison.exit_code == 1
    assert comparison.cells[0] == cell
    assert (cell.label, finding.code) == ("adain-vgg16-16x whole fp32 512x512", "slower")


def test_the_limit_is_the_users(tmp_path: Path):
    base, new = ci_run(tmp_path / "a"), ci_run(tmp_path / "b", factors=(1.0, 1.2))
    assert compared(base, new, limits=Limits(slowdown=0.3)).exit_code == 0


def test_one_process_a_side_is_inconclusive_and_not_a_pass(tmp_path: Path):
    base, new = ci_run(tmp_path / "a", count=1), ci_run(tmp_path / "b", count=1)
    comparison = compared(base, new)
    assert (comparison.verdict, comparison.exit_code) == ("inconclusive", 3)


def test_a_cell_that_was_timed_once_is_compared_by_its_first_pass(tmp_path: Path):
    once = edit(1, reason_code="measured_once", peak_rss_growth_mb=None)
    slow = ci_run(tmp_path / "b", factors=(1.0, 3.0), change=once)
    _, finding = only(compared(ci_run(tmp_path / "a"), slow, metrics=("latency_ms",)))
    assert (finding.metric, finding.verdict) == ("first_call_ms", "regression")
    assert finding.change == pytest.approx(2, rel=0.05)


def test_a_peak_of_the_first_pass_is_not_held_against_one_of_a_later_pass(tmp_path: Path):
    once = edit(1, reason_code="measured_once", peak_rss_growth_mb=130.0)
    cell, finding = only(compared(ci_run(tmp_path / "a"), ci_run(tmp_path / "b", change=once)))
    assert (finding.metric, finding.code) == ("peak_rss_growth_mb", "other_definition")
    assert cell.verdict == "unchanged"


def test_one_process_tells_nothing_of_a_peak_that_is_chance(tmp_path: Path):
    """Strips of large images run with freed blocks kept: their peaks differ by per cents."""

    def strips(memory_mb: float):
        def change(records: list[dict[str, Any]]) -> None:
            for record in records:
                sizes = {"width": 4096, "height": 4096, "megapixels": 16.8}
                record.update(execution="strips", peak_rss_growth_mb=memory_mb, **sizes)
            del records[1:]

        return change

    asked = {"execution": ["strips"], "resolutions": ["4096x4096"]}
    sides = [
        ci_run(tmp_path / name, count=1, change=strips(peak), scenario=asked)
        for name, peak in (("a", 1000.0), ("b", 1050.0))
    ]
    comparison = compared(*sides, metrics=("peak_rss_growth_mb",))
    _, finding = only(comparison)
    assert (finding.verdict, finding.code) == ("inconclusive", "too_few_repeats")


def test_only_the_metrics_asked_for_are_judged(tmp_path: Path):
    base, new = ci_run(tmp_path / "a"), ci_run(tmp_path / "b", factors=(2.0, 2.0))
    comparison = compared(base, new, metrics=("parameters",))
    assert comparison.exit_code == 0
    assert {f.metric for c in comparison.cells for f in c.findings} == {"parameters"}


def test_a_metric_that_got_lost_is_not_passed_over(tmp_path: Path):
    lost = ci_run(tmp_path / "b", change=edit(0, peak_rss_growth_mb=None))
    comparison = compared(ci_run(tmp_path / "a"), lost)
    _, finding = only(comparison)
    assert (finding.code, comparison.exit_code) == ("metric_missing", 3)


# ---- how cells ended

OUT_OF_MEMORY = {"status": "out_of_memory", "reason_code": "host_allocator", "reason": "no room"}
TOO_SLOW = {"status": "skipped", "reason_code": "time_limit", "reason": "too long"}
NO_TIME = {"status": "skipped", "reason_code": "run_time_limit", "reason": "run over"}
STOPPED = {"status": "timeout", "reason_code": "run_time_limit", "reason": "stopped after 2 s"}
"""By the run's limit: the cell might have ended in its own time."""
OVER_TIME = {"status": "timeout", "reason_code": "time_limit", "reason": "stopped after 90 s"}
UNSUPPORTED = {"status": "unsupported", "reason_code": "precision", "reason": "no bfloat16"}
UNTRAINED = {"status": "skipped", "reason_code": "random_weights", "reason": "no weights"}


CUT = {str(NO_TIME), str(STOPPED)}


@pytest.mark.parametrize(
    ("before", "after", "verdict", "code"),
    [
        ({}, OUT_OF_MEMORY, "regression", "now_failing"),
        ({}, {"status": "crashed"}, "regression", "now_failing"),
        ({}, {"status": "unsupported"}, "regression", "now_failing"),
        ({}, TOO_SLOW, "regression", "now_failing"),
        ({}, UNTRAINED, "regression", "now_unmeasured"),
        ({}, NO_TIME, "inconclusive", "ran_out_of_time"),
        (OUT_OF_MEMORY, {}, "improvement", "fixed"),
        (TOO_SLOW, {}, "improvement", "fixed"),
        (OUT_OF_MEMORY, OUT_OF_MEMORY, "inconclusive", "still_failing"),
        (OUT_OF_MEMORY, {"status": "timeout"}, "inconclusive", "still_failing"),
        (OUT_OF_MEMORY, UNSUPPORTED, "inconclusive", "still_failing"),
        (NO_TIME, NO_TIME, "inconclusive", "ran_out_of_time"),
        (NO_TIME, {}, "inconclusive", "not_measured"),
        ({}, STOPPED, "inconclusive", "ran_out_of_time"),
        (STOPPED, STOPPED, "inconclusive", "ran_out_of_time"),
        (NO_TIME, STOPPED, "inconclusive", "ran_out_of_time"),
        (STOPPED, {}, "inconclusive", "not_measured"),
        (OVER_TIME, STOPPED, "inconclusive", "ran_out_of_time"),
        ({}, OVER_TIME, "regression", "now_failing"),
        (OVER_TIME, {}, "improvement", "fixed"),
        (OVER_TIME, OVER_TIME, "inconclusive", "still_failing"),
        (TOO_SLOW, TOO_SLOW, "inconclusive", "still_failing"),
        (UNTRAINED, UNTRAINED, "not_comparable", "cannot_be_measured"),
        (UNSUPPORTED, UNSUPPORTED, "not_comparable", "cannot_be_measured"),
        (UNSUPPORTED, UNTRAINED, "inconclusive", "not_measured"),
        (UNTRAINED, OUT_OF_MEMORY, "inconclusive", "not_measured"),
    ],
)
def test_how_a_cell_ended_counts(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], verdict: str, code: str
):
    base = ci_run(tmp_path / "a", change=edit(1, **before))
    new = ci_run(tmp_path / "b", change=edit(1, **after))
    (cell,) = [c for c in compared(base, new).cells if c.label.endswith("512x512")]
    assert [(f.verdict, f.code) for f in cell.findings] == [(verdict, code)]
    # What the run's time did is never said as if the cell took too long.
    (reason,) = [finding.reason for finding in cell.findings]
    assert ("run's time limit" in reason) == bool({str(before), str(after)} & CUT)


def test_a_cell_of_which_one_process_failed_has_failed(tmp_path: Path):
    def fail_once(records: list[dict[str, Any]]) -> None:
        records[-1].update(OUT_OF_MEMORY, latency_ms=None, peak_rss_growth_mb=None)

    comparison = compared(ci_run(tmp_path / "a"), ci_run(tmp_path / "b", change=fail_once))
    cell, finding = only(comparison)
    assert (cell.status_new, finding.code) == ("out_of_memory", "now_failing")


@pytest.mark.parametrize("failing", [(0,), (0, 1)])
def test_a_process_that_failed_hides_no_slowdown_of_the_others(
    tmp_path: Path, failing: tuple[int, ...]
):
    def fail_once(records: list[dict[str, Any]]) -> None:
        records[-1].update(OUT_OF_MEMORY, latency_ms=None, peak_rss_growth_mb=None)

    changes = [fail_once if side in failing else list for side in (0, 1)]
    base = ci_run(tmp_path / "a", change=changes[0])
    new = ci_run(tmp_path / "b", factors=(1.0, 3.0), change=changes[1])
    comparison = compared(base, new)
    codes = [f.code for f in comparison.cells[0].findings if f.metric == "latency_ms"]
    assert (codes, comparison.exit_code) == (["slower"], 1)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 0.0, -5.0])
def test_a_time_that_is_none_is_no_pass(tmp_path: Path, broken: float):
    new = ci_run(tmp_path / "b", change=edit(1, latency_ms=broken))
    comparison = compared(ci_run(tmp_path / "a"), new)
    _, finding = only(comparison)
    assert (finding.code, comparison.exit_code) == ("not_finite", 3)


def test_a_process_that_lacks_a_value_leaves_the_others_in_their_turns(tmp_path: Path):
    def lose(records: list[dict[str, Any]]) -> None:
        records[2]["latency_ms"] = None
        for record in records:  # after the other side's
            later = datetime.fromisoformat(record["started_at"]) + timedelta(seconds=5)
            record["started_at"] = later.isoformat()

    comparison = compared(ci_run(tmp_path / "a"), ci_run(tmp_path / "b", change=lose))
    times = {
        (f.processes_base, f.processes_new)
        for cell in comparison.cells
        for f in cell.findings
        if f.metric == "latency_ms"
    }
    assert times == {(5, 4), (5, 5)}
    assert comparison.exit_code == 0


@pytest.mark.parametrize("cut", [NO_TIME, STOPPED])
def test_rounds_that_the_run_cut_short_do_not_undo_the_others(tmp_path: Path, cut: dict[str, str]):
    def cut_short(records: list[dict[str, Any]]) -> None:
        records[-1].update(cut, latency_ms=None, peak_rss_growth_mb=None)

    comparison = compared(ci_run(tmp_path / "a"), ci_run(tmp_path / "b", change=cut_short))
    assert comparison.exit_code == 0
    counts = {f.processes_new for c in comparison.cells for f in c.findings}
    assert counts == {4, 5}


# ---- what was compared


def sides(
    folder: Path, before: dict[str, Any], after: dict[str, Any], *, both: bool = False
) -> list[Path]:
    """Runs whose second cell ended so; ``both`` has the first end like it."""
    made = []
    for name, fields in (("a", before), ("b", after)):

        def change(records: list[dict[str, Any]], fields: dict[str, Any] = fields) -> None:
            for position in range(0 if both else 1, 2):
                edit(position, **fields)(records)

        made.append(ci_run(folder / name, change=change))
    return made


ENDS = [OUT_OF_MEMORY, TOO_SLOW, NO_TIME, STOPPED, OVER_TIME, UNTRAINED, UNSUPPORTED]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: f"{end['status']}-{end['reason_code']}")
@pytest.mark.parametrize("partial", [False, True])
def test_nothing_measured_on_either_side_is_no_pass(
    tmp_path: Path, end: dict[str, Any], partial: bool
):
    comparison = compared(*sides(tmp_path, end, end, both=True), partial=partial)
    assert comparison.exit_code == 3
    assert comparison.coverage.compared == comparison.counts["unchanged"] == 0
    assert (comparison.coverage.cells, comparison.coverage.neither) == (2, 2)
    assert "same measurement" not in " ".join(comparison.notes)
    assert not comparison.more_processes_may_tell


@pytest.mark.parametrize("end", ENDS, ids=lambda end: f"{end['status']}-{end['reason_code']}")
def test_a_cell_that_neither_measured_passes_where_no_code_could(
    tmp_path: Path, end: dict[str, Any]
):
    runs = sides(tmp_path, end, end)
    comparison = compared(*runs)
    assert comparison.exit_code == (0 if end in (UNTRAINED, UNSUPPORTED) else 3)
    assert comparison.coverage.text.startswith(
        "compared 1 of 2 cells; 1 not measured on either side (1 "
    )
    assert compared(*runs, partial=True).exit_code == 0


def test_what_was_compared_is_counted_by_why_it_was_not(tmp_path: Path):
    def texts(before: dict[str, Any], after: dict[str, Any]) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return compared(*sides(folder, before, after)).coverage.text

    neither = "compared 1 of 2 cells; 1 not measured on either side"
    assert texts({}, {}) == "compared 2 of 2 cells"
    assert texts(OUT_OF_MEMORY, OUT_OF_MEMORY) == f"{neither} (1 out of memory)"
    assert texts(OVER_TIME, TOO_SLOW) == f"{neither} (1 timeout then skipped)"
    assert texts(STOPPED, NO_TIME) == f"{neither} (1 cut by the run's time limit)"
    assert texts(UNTRAINED, UNTRAINED) == f"{neither} (1 without trained weights)"
    assert texts(OUT_OF_MEMORY, {}) == "compared 1 of 2 cells; 1 measured on one side alone"
    assert texts({}, OUT_OF_MEMORY) == "compared 1 of 2 cells; 1 measured on one side alone"


def test_a_cell_without_a_value_that_compares_is_no_pass(tmp_path: Path):
    lost = dict.fromkeys(("latency_ms", "peak_rss_growth_mb", "parameters", "storage_mb"))
    runs = sides(tmp_path, {**lost, "load_ms": 5.0}, {**lost, "load_ms": 5.0})
    comparison = compared(*runs)
    _, finding = only(comparison)
    assert (finding.verdict, finding.code) == ("inconclusive", "not_compared")
    assert (comparison.exit_code, comparison.coverage.incomparable) == (3, 1)
    assert compared(*runs, partial=True).exit_code == 0
    assert compared(*runs, metrics=("load_ms",)).coverage.cells == 2


@pytest.mark.parametrize("end", [OVER_TIME, NO_TIME])
def test_a_kind_that_was_not_asked_for_does_not_count(tmp_path: Path, end: dict[str, Any]):
    runs = [
        run_folder(
            tmp_path / name,
            [*performance(SIZES[0], latencies(10)), *quality({"style_loss": 0.1}, **end)],
        )
        for name in "ab"
    ]
    assert compared(*runs).exit_code == 3
    assert compared(*runs, metrics=("latency_ms",)).exit_code == 0


# ---- which cells are the same


def test_what_vanished_though_it_was_asked_for_is_a_regression(tmp_path: Path):
    comparison = compared(ci_run(tmp_path / "a"), ci_run(tmp_path / "b", change=drop(0)))
    cell, finding = only(comparison)
    assert (finding.code, comparison.exit_code) == ("vanished", 1)
    assert (cell.status_base, cell.status_new) == ("ok", None)


def test_what_both_sides_lack_though_it_was_asked_for_is_named(tmp_path: Path):
    sides = [ci_run(tmp_path / name, change=drop(1)) for name in "ab"]
    with pytest.raises(UserError, match=r"both lack 1 cell \(adain.*512x512\).*--resume"):
        compared(*sides)
    comparison = compared(*sides, partial=True)
    assert comparison.exit_code == 0
    assert "cells that both sides were asked for and neither has: 1" in comparison.notes


def test_a_new_side_asked_for_less_is_bad_input(tmp_path: Path):
    less = ci_run(tmp_path / "b", change=drop(1), scenario={"resolutions": ["256x256"]})
    with pytest.raises(UserError, match=r"b: lacks 1 cell \(adain.*512x512\).*--partial"):
        compared(ci_run(tmp_path / "a"), less)
    comparison = compared(tmp_path / "a", less, partial=True)
    cell, finding = only(comparison)
    assert (finding.code, cell.verdict, comparison.exit_code) == ("left_out", "not_comparable", 0)
    assert any("1 of 2 cells compared" in note for note in comparison.notes)


def test_an_unfinished_base_is_bad_input(tmp_path: Path):
    base = ci_run(tmp_path / "a", change=drop(1))
    with pytest.raises(UserError, match=r"a: lacks 1 cell.*an unfinished run"):
        compared(base, ci_run(tmp_path / "b"))


def test_cells_that_a_change_of_the_scenario_adds_are_named_and_do_not_count(tmp_path: Path):
    base = ci_run(tmp_path / "a", change=drop(1), scenario={"resolutions": ["256x256"]})
    comparison = compared(base, ci_run(tmp_path / "b"))
    cell, finding = only(comparison)
    assert (cell.status_base, finding.code, comparison.exit_code) == (None, "new", 0)


def test_nothing_in_common_is_bad_input(tmp_path: Path):
    other = [r | {"precision": "bf16"} for r in performance(SIZES[0], latencies(10))]
    with pytest.raises(UserError, match="no cell in common"):
        compared(ci_run(tmp_path / "a"), run_folder(tmp_path / "b", other))


def test_cells_are_the_same_in_another_checkout_with_other_code_and_weights(tmp_path: Path):
    def moved(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["id"] = record["id"][::-1]
            record["model"] += ":/elsewhere/students"
            record["content"] = ["/other/checkout/photo.jpg"]
            record["weights_digest"] = "ffff"

    def home(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["content"] = ["/checkout/photo.jpg"]
            record["weights_digest"] = "eeee"

    base = ci_run(tmp_path / "a", change=home)
    new = ci_run(tmp_path / "b", change=moved, environment={"code_version": "0.1.0+bbbbbbbbbb"})
    comparison = compared(base, new)
    assert comparison.verdict == "unchanged"
    assert len(comparison.cells) == 2
    assert any(note.startswith("other weights") for note in comparison.notes)


def test_one_run_of_two_versions_of_the_code_is_bad_input(tmp_path: Path):
    def mixed(records: list[dict[str, Any]]) -> None:
        records[0]["id"] = "ba" * 6
        records[0]["code_version"] = "0.0.9"

    with pytest.raises(UserError, match=r"several conditions \(0\.0\.9"):
        compared(ci_run(tmp_path / "a", change=mixed), ci_run(tmp_path / "b"))


# ---- environments


def test_another_machine_or_version_is_refused_by_name(tmp_path: Path):
    base = ci_run(tmp_path / "a")
    new = ci_run(tmp_path / "b", environment={"torch": "2.13.0", "cpu": "Other CPU"})
    with pytest.raises(UserError) as refused:
        compared(base, new)
    *lines, advice = refused.value.problems
    assert [line.rpartition(": ")[2] for line in lines] == [
        "Some CPU against Other CPU",
        "2.12.0 against 2.13.0",
    ]
    assert "--allow-different-environment" in advice
    comparison = compared(base, new, allow_different_environment=True)
    assert len(comparison.environment_differences) == 2
    assert comparison.exit_code == 0


def test_another_warm_up_is_another_measurement(tmp_path: Path):
    new = ci_run(tmp_path / "b", scenario={"measure": {"warmup": 0}})
    with pytest.raises(UserError, match=r"measure\.warmup: 2 against 0"):
        compared(ci_run(tmp_path / "a"), new)


def test_the_code_may_differ_for_that_is_the_question(tmp_path: Path):
    new = ci_run(tmp_path / "b", environment={"code_version": "0.2.0"})
    assert compared(ci_run(tmp_path / "a"), new).new.code_version == "0.2.0"


# ---- in turn or one after the other


def process(repeat: int, began: float | None, lasted: float = 1.0) -> Process:
    return Process(repeat, began, None if began is None else began + lasted, {})


@pytest.mark.parametrize(
    ("base", "new", "turns"),
    [
        ([0, 4, 8], [2, 6, 10], True),
        ([0, 6, 8], [2, 4, 10], True),  # A B B A A B
        ([0, 2, 4], [6, 8, 10], False),
        ([0, 4, 8], [0.5, 4.5, 8.5], False),  # at the same time
        ([0, 4, 8], [2, 6], False),
        ([None, None, None], [None, None, None], False),
    ],
)
def test_whether_sides_took_turns_is_read_from_the_clock(base, new, turns: bool):
    sides = [tuple(process(n, begun) for n, begun in enumerate(side)) for side in (base, new)]
    assert taking_turns(*sides) is turns


def numbered(session: str, turns: list[int], *, began: list[float]) -> tuple[Process, ...]:
    processes = [process(n, begun) for n, begun in enumerate(began)]
    return tuple(
        replace(one, turn=(session, turn)) for one, turn in zip(processes, turns, strict=True)
    )


def test_numbers_of_turns_tell_the_order_whatever_the_clock_did():
    # As if it had been set back by 20 s after the second round.
    base = numbered("s", [0, 3, 4], began=[100, 106, 88])
    new = numbered("s", [1, 2, 5], began=[102, 104, 90])
    assert taking_turns(base, new)
    assert not taking_turns(tuple(replace(one, turn=None) for one in base), new)
    # Of two sessions the numbers say nothing, and the clock does.
    assert not taking_turns(base, numbered("t", [1, 2, 5], began=[102, 104, 90]))
    assert taking_turns(numbered("s", [0, 1], began=[0, 4]), numbered("t", [0, 1], began=[2, 6]))
    assert not taking_turns(
        numbered("s", [0, 1, 2], began=[0, 4, 8]), numbered("s", [3, 4, 5], began=[2, 6, 10])
    )


@pytest.mark.parametrize("kept", [True, False])
def test_a_clock_that_is_set_back_loses_no_pairing(tmp_path: Path, kept: bool):
    def side(name: str, first: int, seconds: int) -> Path:
        def change(records: list[dict[str, Any]]) -> None:
            for record in records:
                back = 20 if record["repeat"] >= 2 else 0
                second = 4 * record["repeat"] + seconds + 40 - back
                record["started_at"] = f"2026-02-17T10:00:{second:02}+00:00"
                record["duration_s"] = 1.5
                record["latency_ms"] *= 1 + seconds / 1000

        path = run_folder(
            tmp_path / name,
            _changed(performance((64, 64), latencies(6.4, 1.0, 4)), change),
        )
        if kept:
            for record in sorted(path.glob("cells/*.json")):
                repeat = int(record.stem.rpartition("-")[2])
                numbers = {record.stem: 2 * repeat + first}
                known = read_turns(path) or Turns(session="s")
                text = json.dumps({"session": "s", "numbers": {**known.numbers, **numbers}})
                (path / "turns.json").write_text(text)
        return path

    comparison = compared(side("a", 0, 0), side("b", 1, 2))
    designs = {f.design for cell in comparison.cells for f in cell.findings if f.family == "time"}
    assert designs == ({"alternating"} if kept else {"separate"})


def _changed(records: list[dict[str, Any]], change: Any) -> list[dict[str, Any]]:
    records = list(records)
    change(records)
    return records


def test_turns_are_numbered_on_and_kept_with_each_run(tmp_path: Path):
    for side in ("base", "new"):
        (tmp_path / side / "cells").mkdir(parents=True)
    base, new = (tmp_path / side for side in ("base", "new"))
    turns = TurnCounter()
    for run, name in ((base, "a-0"), (new, "a-0"), (new, "a-1")):
        turns.ended(run / "cells" / f"{name}.json")
    TurnCounter(base, new).ended(base / "cells" / "a-1.json")  # resumed
    first, second = read_turns(base), read_turns(new)
    assert first is not None
    assert second is not None
    assert (first.numbers, second.numbers) == ({"a-0": 0, "a-1": 3}, {"a-0": 1, "a-1": 2})
    assert first.session == second.session
    assert first.of("a", 1) == (first.session, 3)
    assert first.of("b", 0) is None
    (new / "turns.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        read_turns(new)


def test_runs_that_disturbed_each_other_are_told(tmp_path: Path):
    def later(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["latency_ms"] *= 1.001
            record["started_at"] = record["started_at"].replace("00+00:00", "02+00:00")

    comparison = compared(ci_run(tmp_path / "a"), ci_run(tmp_path / "b", change=later))
    assert any("at the same time" in note for note in comparison.notes)


def test_a_machine_that_is_slower_as_a_whole_is_suspected(tmp_path: Path):
    sizes = [(64 * n, 64) for n in range(1, 6)]

    def run(name: str, factor: float) -> Path:
        return run_folder(
            tmp_path / name,
            [r for size in sizes for r in performance(size, latencies(size[0], factor))],
        )

    comparison = compared(run("a", 1.0), run("b", 1.08))
    assert any("all 5 times are slower" in note for note in comparison.notes)


def test_quality_is_compared_beside_times(tmp_path: Path):
    def run(name: str, loss: float) -> Path:
        records = [*performance(SIZES[0], latencies(10)), *quality({"style_loss": loss})]
        return run_folder(tmp_path / name, records)

    cell, finding = only(compared(run("a", 0.010), run("b", 0.011)))
    assert (finding.metric, finding.verdict) == ("style_loss", "regression")
    assert cell.label.endswith("quality")

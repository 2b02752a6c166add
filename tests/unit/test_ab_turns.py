"""Who goes next when two versions measure themselves in turn."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ab.turns import SIDES, Driver, Side, Task, first_of, take_turns, whose_turn
from bench.errors import EnvironmentUnfitError, UserError

CELLS = ("a", "b", "c", "d")


def rounds(cells: tuple[str, ...], count: int) -> list[Task]:
    return [Task(cell, repeat) for repeat in range(count) for cell in cells]


def play(base: list[Task], new: list[Task], seed: int) -> list[tuple[Side, Task]]:
    """The order in which the two lists are measured."""
    todo: dict[Side, list[Task]] = {"base": [*base], "new": [*new]}
    done: dict[Side, set[Task]] = {"base": set(), "new": set()}
    order: list[tuple[Side, Task]] = []
    while True:
        waiting = {side: tasks[0] if tasks else None for side, tasks in todo.items()}
        side = whose_turn(waiting, done, seed=seed)
        if side is None:
            return order
        task = todo[side].pop(0)
        done[side].add(task)
        order.append((side, task))


@given(st.integers(0, 100), st.integers(1, 6))
def test_a_cell_is_measured_on_both_sides_before_anything_else(seed: int, count: int):
    tasks = rounds(CELLS, count)
    order = play(tasks, tasks, seed)
    assert [task for _, task in order] == [task for task in tasks for _ in SIDES]
    assert all({one, other} == set(SIDES) for (one, _), (other, _) in pairs(order))


def pairs(order: list[tuple[Side, Task]]) -> zip:  # type: ignore[type-arg]
    return zip(order[::2], order[1::2], strict=True)


@given(st.integers(0, 100))
def test_a_linear_drift_cancels_over_two_rounds(seed: int):
    order = play(rounds(CELLS, 6), rounds(CELLS, 6), seed)
    places: dict[tuple[Side, str], list[int]] = {}
    for place, (side, task) in enumerate(order):
        places.setdefault((side, task.cell), []).append(place)
    for cell in CELLS:
        assert sum(places["base", cell]) == sum(places["new", cell])


def test_either_side_begins_as_often():
    first = Counter(first_of(Task("a", 2 * n), seed=0) for n in range(400))
    assert 150 < first["base"] < 250
    assert {first_of(Task("a", 0), seed=seed) for seed in range(20)} == set(SIDES)


@given(
    st.integers(0, 100),
    st.permutations(CELLS),
    st.sets(st.sampled_from(CELLS)),
    st.sets(st.sampled_from(CELLS)),
)
def test_cells_that_fail_or_stand_elsewhere_get_nobody_a_round_ahead(
    seed: int, other: list[str], lost_base: set[str], lost_new: set[str]
):
    def kept(cells: tuple[str, ...], lost: set[str]) -> list[Task]:
        # a cell that failed has its first round alone
        return [task for task in rounds(cells, 4) if not task.repeat or task.cell not in lost]

    base, new = kept(CELLS, lost_base), kept(tuple(other), lost_new)
    order = play(base, new, seed)
    assert Counter(order) == Counter(
        [("base", task) for task in base] + [("new", task) for task in new]
    )
    turns = [task.repeat for _, task in order]
    assert turns == sorted(turns)


STUB_RUNNER = """
import os
from pathlib import Path

class Record: pass

def run_cell(cell, folder, *, repeat=0, **options):
    return Record()

class Cell:
    def __init__(self, name): self.id = self.name = name
    def label(self): return self.name

class Folder:
    def record_path(self, cell, repeat): return Path(f"{cell}-{repeat}")

def run_scenario(scenario, *, out, device, resume, processes, quiet, worker=None):
    for repeat in range(2):
        for name in scenario:
            run_cell(Cell(name), Folder(), repeat=repeat)
"""
STUB_SCENARIO = """
def load_scenario(path, overrides):
    return overrides
"""


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A version of the project as far as a driver looks."""
    root = tmp_path / "version"
    for package in ("bench/run", "bench/scenario", "distill", "reports"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").touch()
    (root / "bench/__init__.py").touch()
    (root / "bench/run/runner.py").write_text(STUB_RUNNER)
    (root / "bench/scenario/__init__.py").write_text(STUB_SCENARIO)
    return root


def driver(root: Path, log: Path, *, label: str = "main (aaaaaaaaaa)") -> Driver:
    environment = {"PYTHONPATH": str(root)}
    return Driver(label, python=sys.executable, environment=environment, log=log)


def job(root: Path, cells: list[str] | None = None) -> dict[str, object]:
    return {
        "root": str(root.resolve()),
        "scenario": "x.yaml",
        "overrides": cells or ["a", "b"],
        "out": "out",
        "resume": None,
        "device": None,
        "processes": 2,
        "worker": None,
    }


def test_drivers_measure_one_at_a_time(stub: Path, tmp_path: Path):
    with driver(stub, tmp_path / "1.log") as base, driver(stub, tmp_path / "2.log") as new:
        base.send(job(stub))
        new.send(job(stub, ["b", "a"]))
        order = [(side, *task, path.name) for side, task, path in take_turns(base, new, seed=0)]
    assert sorted(order) == sorted(
        (side, cell, repeat, f"{cell}-{repeat}")
        for side in SIDES
        for cell in "ab"
        for repeat in (0, 1)
    )


def test_a_version_that_runs_other_code_than_its_own_is_refused(stub: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    with driver(stub, tmp_path / "log") as one:
        one.send(job(tmp_path / "elsewhere"))
        with pytest.raises(UserError, match=r"^main \(a+\): runs .*bench.* instead of its own"):
            one.parked()


def test_a_version_without_the_options_is_too_old(stub: Path, tmp_path: Path):
    runner = stub / "bench/run/runner.py"
    runner.write_text(runner.read_text().replace(" processes,", ""))
    with driver(stub, tmp_path / "log") as one:
        one.send(job(stub))
        with pytest.raises(UserError, match="older than what that takes") as caught:
            one.parked()
    assert len(caught.value.problems) == 1


def test_what_a_version_refuses_is_told_in_its_words_and_with_its_code(stub: Path, tmp_path: Path):
    (stub / "bench/scenario/__init__.py").write_text("""
class Unfit(Exception):
    problems = ("ci.yaml:3: unknown key", "ci.yaml:4: also")
    exit_code = 4
def load_scenario(path, overrides):
    raise Unfit
""")
    with driver(stub, tmp_path / "1.log") as base, driver(stub, tmp_path / "2.log") as new:
        base.send(job(stub))
        new.send(job(stub))
        with pytest.raises(EnvironmentUnfitError) as caught:
            list(take_turns(base, new, seed=0))
    assert caught.value.problems == (
        "main (aaaaaaaaaa): ci.yaml:3: unknown key",
        "main (aaaaaaaaaa): ci.yaml:4: also",
    )


def test_a_version_that_crashes_has_its_last_words_quoted(stub: Path, tmp_path: Path):
    (stub / "bench/run/runner.py").write_text("import a_module_that_is_not_there")
    with driver(stub, tmp_path / "log") as one:
        one.send(job(stub))
        with pytest.raises(UserError, match=r"stopped unexpectedly: ModuleNotFoundError.*log"):
            one.parked()

"""A run on machines of any speed, played through: no process is started and no clock is read."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cells import Cell
from bench.prediction.precisions import lacking
from bench.record import Record
from bench.run.draft import draft_fields
from bench.run.foresight import Forecast, Foresight, foresee
from bench.run.loop import Surroundings, measure_all
from bench.run.progress import PlainProgress, QuietProgress
from bench.run.rounds import rounds
from bench.run.schedule import Run, in_order
from bench.scenario import Scenario, load_scenario
from distill.cascades import architecture
from distill.models import parse_model
from tests.unit.test_schedule import make_cell, quality_cell

ULTRARES = Path(__file__).parents[2] / "scenarios/ultrares.yaml"
REFERENCE = 170.0
"""10^9 multiply-accumulates a second: two cores of a Xeon with AVX-512, of the committed run."""
START_S = 4.0
"""Of a process on the machine of reference, as long as Python and PyTorch take to load."""


class Machine:
    """A machine on which every pass takes what its multiply-accumulates say, and a clock.

    Args:
        gmac_s: multiply-accumulates a second of a convolution in float32, in 10^9.
        cold: how many times longer the first pass of a process takes.
        lacks: precisions that it does not have.
    """

    def __init__(self, gmac_s: float, *, cold: float = 1.3, lacks: tuple[str, ...] = ()) -> None:
        self.gmac_s, self.cold, self.lacks = gmac_s, cold, lacks
        self.slower = REFERENCE / gmac_s
        self.clock = 0.0
        self.started: list[Cell] = []

    def now(self) -> float:
        return self.clock

    def pass_s(self, cell: Cell) -> float:
        faster = 2.0 if cell.precision == "bf16" else 1.0
        return gmacs(cell) / (self.gmac_s * faster)

    def measure(self, cell: Cell, run: Run, *, repeat: int, known: Any) -> Record:
        """As a worker does: one cold pass, then warm ones as long as the budget allows."""
        self.started.append(cell)
        pass_s, limit_s = self.pass_s(cell), cell.measure.cell_time_limit_s
        start_s = START_S * self.slower
        fields: dict[str, Any] = {"repeat": repeat, **known, "status": "ok"}
        if cell.kind == "quality":
            assert cell.quality is not None
            pairs = min(cell.quality.max_pairs, len(cell.content) * len(cell.style))
            metrics_s = 2.5 * pairs * self.slower
            took = start_s + pairs * pass_s + metrics_s
            fields |= {"quality_pairs": pairs, "metrics_s": metrics_s, "content_loss": 1.0}
        elif self.cold * pass_s * 2 > limit_s:
            took = start_s + self.cold * pass_s
            fields |= {"latency_ms": 1e3 * self.cold * pass_s, "reason_code": "measured_once"}
        else:
            took = start_s + min(limit_s, (self.cold + cell.measure.max_repeats) * pass_s)
            fields |= {"latency_ms": 1e3 * pass_s}
        if took > run.deadline_s:
            self.clock += run.deadline_s
            ended = {"status": "timeout", "reason_code": run.deadline_code}
            return Record(**{**draft_fields(cell, repeat=repeat), **ended})
        self.clock += took
        return Record(**{**draft_fields(cell, repeat=repeat), **fields})


def gmacs(cell: Cell) -> float:
    return architecture(parse_model(cell.model)).macs_per_pixel * cell.megapixels / 1e3


def play(
    scenario: Scenario,
    machine: Machine,
    *,
    wrong: Callable[[Cell], float] = lambda _: 1.0,
    calibrated: bool = True,
) -> list[Record]:
    """A whole run; predictions are ``wrong`` by a factor."""
    cells = scenario.cells("cpu", weights_digest=lambda model: model, code_version="1")
    facts = {cell.id: {"gmacs": gmacs(cell), "weights": "trained"} for cell in cells}
    forecasts = {}
    for cell in cells:
        lacking = "it has none" if cell.precision in machine.lacks else ""
        seconds = None if lacking else machine.pass_s(cell) * wrong(cell)
        forecasts[cell.id] = Forecast(1.0, seconds, seconds, True, None, lacking)
    foresight = Foresight(calibrated, False, forecasts)
    counts = {key: value["gmacs"] for key, value in facts.items()}
    ordered = in_order(cells, counts, foresight.seconds(cells), rank=scenario.rank)
    assert scenario.run_time_limit is not None
    return measure_all(
        rounds(ordered, scenario.measure.processes),
        [],
        Surroundings(
            facts=facts,
            foresight=foresight,
            progress=QuietProgress(None),  # type: ignore[arg-type]
            measure=machine.measure,
            write=lambda _: None,
            now=machine.now,
            listed=lambda cell: scenario.rank(cell) < len(scenario.priority),
        ),
        run_ends=scenario.run_time_limit,
    )


SIZES = ((512, 512), (1152, 864), (2304, 1728))
"""512x512, 1 MP and 4 MP."""


@pytest.mark.parametrize("lacks", [(), ("bf16",)])
@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("wrong", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("slower", [0.3, 1.0, 3.0, 4.0])
def test_every_model_is_there_at_three_sizes_on_a_machine_three_times_slower(
    slower, wrong, calibrated, lacks
):
    scenario = load_scenario(ULTRARES)
    machine = Machine(REFERENCE / slower, lacks=lacks)
    records = play(scenario, machine, wrong=lambda _: wrong, calibrated=calibrated)
    assert scenario.run_time_limit is not None
    assert machine.clock <= scenario.run_time_limit
    assert len({record.id for record in records}) == len(records)
    measured = {
        (r.model, r.width, r.height)
        for r in records
        if (r.status, r.kind, r.execution, r.precision) == ("ok", "performance", "whole", "fp32")
    }
    wanted = {(model, *size) for model in scenario.models for size in SIZES}
    assert wanted <= measured
    quality = [r for r in records if r.kind == "quality" and r.precision == "fp32"]
    assert [r.status for r in quality] == ["ok"] * len(scenario.models)


def test_the_largest_sizes_go_first_and_repeats_before_them():
    scenario = load_scenario(ULTRARES)
    records = play(scenario, Machine(REFERENCE / 3, lacks=("bf16",)))
    performance = [r for r in records if (r.kind, r.precision) == ("performance", "fp32")]
    done, skipped = ([r for r in performance if r.status == status] for status in ("ok", "skipped"))
    assert min(r.megapixels for r in skipped) > 10
    assert {r.reason_code for r in skipped} <= {"run_time_limit", "time_limit"}
    teacher = [r for r in done if r.model == "wct-vgg16-1x"]
    assert max(r.megapixels for r in teacher) > 8
    assert {r.reason_code for r in teacher} == {"measured_once"}
    small = [r for r in done if r.model == "adain-vgg16-16x" and r.megapixels < 4]
    assert {r.reason_code for r in small} == {None}


def test_a_fast_machine_measures_all():
    records = play(load_scenario(ULTRARES), Machine(100 * REFERENCE))
    assert {record.status for record in records} == {"ok"}


def test_what_the_device_lacks_takes_no_process_and_no_time():
    scenario = load_scenario(ULTRARES)
    with_it, without = Machine(REFERENCE / 3), Machine(REFERENCE / 3, lacks=("bf16",))
    more = play(scenario, with_it)
    records = play(scenario, without)
    assert not [cell for cell in without.started if cell.precision == "bf16"]
    lacking = [record for record in records if record.precision == "bf16"]
    assert {(r.status, r.reason_code, r.reason) for r in lacking} == {
        ("unsupported", "precision", "it has none")
    }

    def measured(found: list[Record]) -> int:
        return sum(r.status == "ok" and r.precision == "fp32" for r in found)

    assert measured(records) >= measured(more)


def loop(tasks: list[Cell], progress: Any, weights: str = "trained", lacking: str = "") -> Any:
    machine = Machine(REFERENCE)
    facts = {cell.id: {"gmacs": 1.0, "weights": weights} for cell in tasks}
    forecasts = {
        cell.id: Forecast(1.0, None, None, True, None, lacking if cell.precision == "bf16" else "")
        for cell in tasks
    }
    written: list[Record] = []
    records = measure_all(
        rounds(tasks, 3),
        [],
        Surroundings(
            facts=facts,
            foresight=Foresight(False, False, forecasts),
            progress=progress,
            measure=machine.measure,
            write=written.append,
            now=machine.now,
        ),
        run_ends=None,
    )
    return machine, records, written


def test_it_is_said_once_for_all_cells_of_one_reason(capsys):
    cells = [make_cell(100 * side, precision="bf16") for side in range(1, 38)] + [make_cell()]
    progress = PlainProgress(total=3 * len(cells), done=0, stream=sys.stdout)
    machine, records, written = loop(cells, progress, lacking="bf16 is not native here")
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "[37/114] 37 cells: bf16 is not native here"
    assert len(written) == 37
    assert [cell.precision for cell in machine.started] == ["fp32"] * 3
    assert len(records) == 37 + 3


@pytest.mark.parametrize(
    ("device", "precision", "capability", "lacks"),
    [
        ("cuda:0", "bf16", "7.5", True),
        ("cuda:0", "tf32", "7.0", True),
        ("cuda:0", "fp16", "7.0", False),
        ("cuda:0", "bf16", "9.0", False),
        ("cuda:0", "bf16", "12.0", False),
        ("cuda:0", "bf16", None, False),
        ("cpu", "tf32", None, True),
        ("cpu", "fp32", None, False),
    ],
)
def test_what_a_device_lacks_is_known_without_starting_it(device, precision, capability, lacks):
    found = lacking(device, precision, capability=capability)
    assert bool(found) == lacks
    cell = make_cell(device=device, precision=precision)
    foresight = foresee([cell], None, skip=False, capability=capability)
    assert foresight.lacking(cell) == found


def test_quality_of_random_weights_is_known_before(capsys):
    machine, records, _ = loop([quality_cell(2)], QuietProgress(None), weights="random")  # type: ignore[arg-type]
    assert machine.started == []
    (record,) = records
    assert (record.status, record.reason_code) == ("skipped", "random_weights")
    assert "has no trained weights here" in (record.reason or "")


def test_nothing_is_started_that_cannot_even_load():
    scenario = load_scenario(ULTRARES, ["run_time_limit=5s"])
    machine = Machine(REFERENCE)
    records = play(scenario, machine)
    assert machine.started == []
    assert {r.reason_code for r in records} <= {"run_time_limit", "time_limit"}
    assert "less than a start takes" in (records[0].reason or "")

import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import bench.stylizers
from bench.cells import Cell, MeasureSettings, QualitySettings
from bench.errors import UserError
from bench.run import performance
from bench.run.records import take_part
from bench.run.worker import measure_cell
from bench.stylizers import Unsupported


def make_cell(*, limit_s: float = 60, warmup: int = 2, repeats: int = 3, **fields: Any) -> Cell:
    return Cell(
        **{
            "kind": "performance",
            "model": "adain-vgg16-64x",
            "execution": "whole",
            "precision": "fp32",
            "device": "cpu",
            "width": 64,
            "height": 32,
            "style_width": 16,
            "style_height": 16,
            "memory_cap_bytes": None,
            "alpha": 0.5,
            "seed": 0,
            "threads": None,
            "content": ("builtin",),
            "style": ("builtin",),
            "measure": MeasureSettings(
                warmup=warmup,
                min_repeats=repeats,
                max_repeats=repeats,
                target_ci=0.5,
                cell_time_limit_s=limit_s,
            ),
            "weights_digest": "",
            "code_version": "1",
            **fields,
        }
    )


class FakeStylizer:
    """Counts its passes; each can be told to take time or to fail."""

    weights = "random"
    weights_detail = "seeded"
    weights_digest = "d"
    parameters = 1000
    storage_bytes = 4000

    def __init__(self, *, pass_s: float = 0.0, failure: BaseException | None = None) -> None:
        self.calls: list[tuple[tuple[int, ...], float]] = []
        self._pass_s = pass_s
        self._failure = failure

    def macs(self, width: int, height: int) -> int:
        return 10**6 * width * height

    def encode_style(self, style: torch.Tensor) -> str:
        assert tuple(style.shape) == (1, 3, 16, 16)
        return "code"

    def stylize(self, content: torch.Tensor, code: str, alpha: float) -> torch.Tensor:
        assert code == "code"
        assert torch.is_inference_mode_enabled()
        self.calls.append((tuple(content.shape), alpha))
        time.sleep(self._pass_s)
        if self._failure is not None:
            raise self._failure
        return content


@pytest.fixture
def use(monkeypatch):
    def install(stylizer: FakeStylizer) -> FakeStylizer:
        monkeypatch.setattr(bench.stylizers, "load_stylizer", lambda *_, **__: stylizer)
        return stylizer

    return install


def test_a_cell_has_a_first_pass_for_the_memory_warm_up_and_repeats(use, tmp_path):
    stylizer = use(FakeStylizer(pass_s=0.001))
    record = measure_cell(make_cell(), tmp_path, repeat=4)
    assert (record.status, record.reason_code, record.repeat) == ("ok", None, 4)
    assert stylizer.calls == [((1, 3, 32, 64), 0.5)] * (1 + 2 + 3)
    assert (record.warmup, record.repeats) == (2, 3)
    assert record.gmacs == pytest.approx(2.048)
    assert record.storage_mb == 0.004
    assert record.peak_rss_growth_mb is not None


def test_a_cell_without_time_for_another_pass_is_measured_once(use, tmp_path):
    stylizer = use(FakeStylizer(pass_s=0.05))
    record = measure_cell(make_cell(limit_s=0.06), tmp_path)
    assert len(stylizer.calls) == 1
    assert (record.status, record.reason_code) == ("ok", "measured_once")
    assert record.latency_samples_ms == [record.first_call_ms] == [record.latency_ms]
    assert (record.repeats, record.converged) == (1, False)
    assert record.latency_ci_low_ms is None
    assert record.peak_rss_growth_mb is not None


def test_warm_up_gives_way_when_time_is_short(use, tmp_path):
    # Room for five passes after the first, a quarter of them at most for warming up.
    stylizer = use(FakeStylizer(pass_s=0.6))
    record = measure_cell(make_cell(limit_s=3.9, warmup=50, repeats=50), tmp_path)
    assert record.status == "ok"
    assert record.reason_code is None
    assert record.warmup is not None
    assert record.warmup <= 1
    assert record.repeats is not None
    assert 1 <= record.repeats <= 5
    assert len(stylizer.calls) == 1 + record.warmup + record.repeats


class FakeMeter:
    """Counts the passes that its energy was taken from."""

    def __init__(self, needs_s: float = 0.0) -> None:
        self.needed = needs_s
        self.closed = 0

    def needs_s(self, pass_s: float) -> float:
        return self.needed

    def measure(self, run: Any, *, synchronise: Any, **given: float) -> dict[str, Any]:
        self.given = given
        run()
        synchronise()
        return {"energy_j_per_image": 3.0, "energy_source": "rapl"}

    def close(self) -> None:
        self.closed += 1


def test_energy_is_measured_last_and_its_counter_let_go(use, tmp_path, monkeypatch):
    stylizer, energy = use(FakeStylizer(pass_s=0.001)), FakeMeter()
    monkeypatch.setattr(performance, "energy_meter", lambda *_: energy)
    record = measure_cell(make_cell(), tmp_path)
    assert (record.status, record.energy_j_per_image) == ("ok", 3.0)
    assert len(stylizer.calls) == 1 + 2 + 3 + 1
    assert energy.given["pass_s"] == pytest.approx(record.latency_ms / 1e3)
    assert energy.given["megapixels"] == record.megapixels
    assert 0 < energy.given["left_s"] < 60
    assert energy.closed == 1
    assert record.energy_conditions is not None
    assert "clock_changed" not in record.energy_conditions


@pytest.mark.parametrize(("needs_s", "kept_s"), [(0, 0), (800, 800), (1200, 0)])
def test_time_is_kept_for_the_energy_if_it_is_at_most_a_third(
    use, tmp_path, monkeypatch, needs_s, kept_s
):
    use(FakeStylizer())
    budgets: list[float] = []

    def take(*_: Any, budget_s: Any, **__: Any) -> None:
        budgets.append(budget_s())
        raise MemoryError

    monkeypatch.setattr(performance, "energy_meter", lambda *_: FakeMeter(needs_s))
    monkeypatch.setattr(performance, "time_watched", take)
    measure_cell(make_cell(limit_s=3000), tmp_path)
    assert budgets == [pytest.approx(3000 - kept_s, abs=100)]


def test_the_counter_is_let_go_when_a_pass_fails(use, tmp_path, monkeypatch):
    stylizer, energy = use(FakeStylizer()), FakeMeter()

    def fail(*_: Any, **__: Any) -> None:
        stylizer._failure = MemoryError()
        stylizer.stylize(torch.zeros(1), "code", 1.0)

    monkeypatch.setattr(performance, "energy_meter", lambda *_: energy)
    monkeypatch.setattr(performance, "time_watched", fail)
    assert measure_cell(make_cell(), tmp_path).status == "out_of_memory"
    assert energy.closed == 1


def test_a_record_says_what_it_was_measured_under(use, tmp_path):
    use(FakeStylizer(pass_s=0.001))
    cell = make_cell()
    cell = cell.model_copy(update={"measure": cell.measure.model_copy(update={"energy": "off"})})
    record = measure_cell(cell, tmp_path)
    assert record.energy_reason == "switched off by the scenario (measure.energy: off)"
    assert record.conditions is not None
    assert record.attempts == 1
    assert record.watched_s >= 0.005
    assert record.cudnn_benchmark is None
    assert record.energy_conditions is None


def test_a_cell_that_is_measured_once_was_watched_too(use, tmp_path):
    use(FakeStylizer(pass_s=0.05))
    record = measure_cell(make_cell(limit_s=0.06), tmp_path)
    assert record.reason_code == "measured_once"
    assert record.conditions is not None
    assert record.watched_s >= 0.05
    assert "no second pass" in record.energy_reason


def test_running_out_of_memory_is_a_result(use, tmp_path):
    use(
        FakeStylizer(
            failure=RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried "
                "to allocate 9000000000 bytes. Error code 12"
            )
        )
    )
    record = measure_cell(make_cell(), tmp_path)
    assert (record.status, record.reason_code) == ("out_of_memory", "host_allocator")
    assert record.requested_mb == 9000
    assert "while stylizing for the first time" in record.reason
    assert record.load_ms is not None


def test_running_out_of_memory_with_the_content_is_a_result_too(use, tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    use(FakeStylizer())
    monkeypatch.setattr(performance, "load_tensor", fail)
    record = measure_cell(make_cell(), tmp_path)
    assert record.status == "out_of_memory"
    assert "while loading the content" in record.reason


def test_what_a_device_cannot_do_is_unsupported(tmp_path, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise Unsupported("precision", "no tf32 here")

    monkeypatch.setattr(bench.stylizers, "load_stylizer", refuse)
    record = measure_cell(make_cell(), tmp_path)
    assert (record.status, record.reason_code, record.reason) == (
        "unsupported",
        "precision",
        "no tf32 here",
    )


def test_any_other_exception_is_a_crash_that_says_where(use, tmp_path):
    use(FakeStylizer(failure=KeyError("relu9_1")))
    record = measure_cell(make_cell(), tmp_path)
    assert (record.status, record.reason_code) == ("crashed", "exception")
    first, *rest = record.reason.splitlines()
    assert first == "KeyError while stylizing for the first time: 'relu9_1'"
    assert any("test_worker.py" in line for line in rest)


def quality_cell() -> Cell:
    settings = QualitySettings(
        metrics=("content_loss",), network="vgg16", lpips_backbone="cache", max_pairs=1
    )
    return make_cell(kind="quality", quality=settings)


def test_quality_of_random_weights_is_skipped(use, tmp_path):
    stylizer = use(FakeStylizer())
    record = measure_cell(quality_cell(), tmp_path)
    assert (record.status, record.reason_code) == ("skipped", "random_weights")
    assert stylizer.calls == []


def test_quality_goes_into_the_record_and_its_images_into_the_run_folder(
    use, tmp_path, monkeypatch
):
    stylizer = use(FakeStylizer())
    stylizer.weights = "trained"
    given = {}

    def evaluate(stylizer: Any, cell: Cell, image_dir: Any, *, keep: Any) -> dict[str, Any]:
        given.update(stylizer=stylizer, cell=cell, image_dir=image_dir)
        return {"content_loss": 0.25, "metrics_absent": {"lpips": "no backbone"}}

    stand_in = SimpleNamespace(evaluate_quality=evaluate)
    monkeypatch.setitem(sys.modules, "bench.quality.evaluate", stand_in)
    cell = quality_cell()
    record = measure_cell(cell, tmp_path)
    assert (record.status, record.content_loss) == ("ok", 0.25)
    assert given == {"stylizer": stylizer, "cell": cell, "image_dir": tmp_path / "images"}
    assert (tmp_path / "images").is_dir()


def quality_worker(use: Any, monkeypatch: Any, evaluate: Any) -> None:
    use(FakeStylizer()).weights = "trained"
    stand_in = SimpleNamespace(evaluate_quality=evaluate)
    monkeypatch.setitem(sys.modules, "bench.quality.evaluate", stand_in)


SOME = {"reason_code": "some_pairs", "reason": "1 of 2 pairs", "quality_pairs": 1, "lpips": 0.5}


def test_finished_pairs_are_kept_until_the_cell_is_done(use, tmp_path, monkeypatch):
    parts = []

    def evaluate(*_: Any, keep: Any) -> dict[str, Any]:
        (tmp_path / ".worker").mkdir()
        keep(SOME)
        parts.append(take_part(tmp_path, cell.id))
        return {"quality_pairs": 2, "lpips": 0.25}

    cell = quality_cell()
    quality_worker(use, monkeypatch, evaluate)
    record = measure_cell(cell, tmp_path)
    (part,) = parts
    assert (part.status, part.reason, part.quality_pairs) == ("ok", "1 of 2 pairs", 1)
    assert (record.status, record.reason_code, record.reason) == ("ok", None, None)
    assert (record.quality_pairs, record.lpips) == (2, 0.25)


def test_a_failure_keeps_the_pairs_before_it(use, tmp_path, monkeypatch):
    def evaluate(*_: Any, keep: Any) -> dict[str, Any]:
        (tmp_path / ".worker").mkdir()
        keep(SOME)
        raise MemoryError("no more")

    quality_worker(use, monkeypatch, evaluate)
    record = measure_cell(quality_cell(), tmp_path)
    assert record.status == "out_of_memory"
    assert (record.quality_pairs, record.lpips) == (1, 0.5)


def test_bad_input_has_its_lines_and_no_traceback(use, tmp_path, monkeypatch):
    def evaluate(*_: Any, keep: Any) -> dict[str, Any]:
        raise UserError("a.png: cannot be read", "b.png: there is no such file")

    quality_worker(use, monkeypatch, evaluate)
    record = measure_cell(quality_cell(), tmp_path)
    assert (record.status, record.reason_code) == ("crashed", "bad_input")
    assert record.reason == "a.png: cannot be read; b.png: there is no such file"

"""What is predicted of a cell, and what is said of it under a cap."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cells import Cell
from bench.execution.strip_plan import Keep, StripPlan
from bench.prediction import precisions
from bench.prediction.budget import budget_bytes
from bench.prediction.calibration import Calibration, CalibrationFile
from bench.prediction.memory import PROCESS_BYTES, Overheads, peak_of_strips
from bench.prediction.predict import CONTEXT_BYTES, TOLERANCE, Predictor, judge
from bench.prediction.samples import StripsTrace
from bench.prediction.traffic import Work
from bench.run.foresight import hopeless
from tests.unit.test_prediction_calibration import make_cell, passes

PREDICTOR = Predictor()
GB = 10**9


def calibrated(seconds: float, **fields: object) -> Predictor:
    file = CalibrationFile(
        identity={}, measured_at="", precisions={"fp32": passes(seconds)}, **fields
    )
    return Predictor(Calibration(file))


def sized(width: int, height: int, **fields: object) -> Cell:
    return make_cell(width=width, height=height, **fields)


@pytest.mark.parametrize(
    ("share", "verdict"),
    [(0.5, "fits"), (0.89, "fits"), (0.91, "tight"), (1.09, "tight"), (1.11, "will not fit")],
)
def test_the_verdict_leaves_room_for_the_predictions_own_error(share, verdict):
    assert TOLERANCE == 0.10
    found, reason = judge(share * 4000, 4 * GB)
    assert found == verdict
    assert f"{share * 4000:.0f} MB" in reason
    assert "4000 MB" in reason
    assert judge(share * 4000, None)[0] == "no cap"


def test_a_cpus_need_counts_content_and_weights_and_its_peak_does_not():
    cell = sized(4000, 3000, model="adain-vgg16-16x", memory_cap_bytes=4 * GB)
    found = PREDICTOR.predict(cell)
    assert found.peak_mb is not None
    assert found.needed_mb is not None
    maps = 4 * 4000 * 3000 * 2 * 16 / 1e6
    assert found.peak_mb == pytest.approx(maps + PROCESS_BYTES / 1e6, rel=0.03)
    assert found.needed_mb - found.peak_mb > 12 * 4000 * 3000 / 1e6
    assert (found.verdict, found.seconds) == ("fits", None)


def test_a_gpus_peak_counts_content_and_weights_and_its_need_the_context():
    cell = sized(4000, 3000, model="adain-vgg16-16x", device="cuda:0", memory_cap_bytes=2 * GB)
    found = PREDICTOR.predict(cell)
    assert found.peak_mb is not None
    assert found.needed_mb is not None
    taken = 4 * 4000 * 3000 * (2 * 16 + 3) / 1e6
    assert found.peak_mb == pytest.approx(taken, rel=0.02)
    assert found.needed_mb - found.peak_mb == pytest.approx(CONTEXT_BYTES / 1e6)
    assert found.verdict == "will not fit" if found.needed_mb > 2200 else "tight"
    measured = calibrated(1.0, context_bytes=10**8).predict(cell)
    assert measured.needed_mb == pytest.approx(found.needed_mb - 400)
    assert not torch.cuda.is_initialized()


def test_on_a_gpu_half_the_bytes_halve_the_maps_but_not_the_indices_of_pooling():
    pixels = 4000 * 3008
    fp32, fp16 = (
        PREDICTOR.predict(
            sized(4000, 3000, model="adain-vgg16-4x", device="cuda:0", precision=precision)
        )
        for precision in ("fp32", "fp16")
    )
    content = 3 * 4000 * 3000 / 1e6
    # Both maps of the second convolution, 32 channels each, outweigh pooling in four bytes ...
    maps = 2 * 32 * pixels / 1e6
    assert fp32.peak_mb == pytest.approx(4 * (maps + content), rel=0.02)
    # ... and in two they do not: PyTorch keeps an int64 of every value that max_pool2d chose.
    pooling = (2 * 32 + 32 / 4 * (2 + 8)) * pixels / 1e6
    assert fp16.peak_mb == pytest.approx(pooling + 2 * content, rel=0.02)
    assert pooling > 2 * maps


@settings(max_examples=12)
@given(
    execution=st.sampled_from(["whole", "strips", "thumbnail"]),
    device=st.sampled_from(["cpu", "cuda:0"]),
    width=st.integers(200, 3000),
    height=st.integers(200, 3000),
    factor=st.floats(1.5, 3.0),
)
def test_a_larger_image_takes_more(execution, device, width, height, factor):
    small, large = (
        PREDICTOR.predict(
            sized(int(width * by), int(height * by), execution=execution, device=device)
        )
        for by in (1.0, factor)
    )
    assert small.peak_mb < large.peak_mb
    assert small.work.macs < large.work.macs


def test_strips_take_less_than_the_whole_and_tell_their_height():
    size = 10240, 4096
    whole = PREDICTOR.predict(sized(*size, model="adain-vgg16-16x", memory_cap_bytes=4 * GB))
    strips = PREDICTOR.predict(
        sized(*size, model="adain-vgg16-16x", memory_cap_bytes=4 * GB, execution="strips")
    )
    assert strips.peak_mb < 0.3 * whole.peak_mb
    assert strips.strip_rows in (16, 32, 64)
    assert (whole.verdict, strips.verdict) == ("will not fit", "fits")


def test_strips_that_the_planner_refuses_will_not_fit():
    cell = sized(20_000, 20_000, execution="strips", memory_cap_bytes=5 * GB)
    found = PREDICTOR.predict(cell)
    assert found.verdict == "will not fit"
    assert "strips of 20000 pixels need" in found.reason
    assert found.needed_mb > 5000
    assert budget_bytes(cell) == 0


def test_what_a_cpu_lacks_is_unsupported(monkeypatch):
    assert PREDICTOR.predict(make_cell(precision="tf32")).verdict == "unsupported"
    monkeypatch.setattr(precisions, "native_on_cpu", lambda precision: False)
    found = Predictor().predict(make_cell(precision="bf16"))
    assert (found.verdict, found.peak_mb, found.needed_mb) == ("unsupported", None, None)
    assert "bf16" in found.reason


def test_times_come_from_the_calibration_of_the_same_precision():
    predictor = calibrated(2.0)
    assert predictor.predict(make_cell(precision="tf32")).seconds is None
    small, large = (predictor.predict(sized(side, 600)).seconds for side in (600, 6000))
    assert small is not None
    assert large == pytest.approx(10 * small, rel=0.1)


def test_a_first_pass_also_takes_what_finding_its_memory_takes():
    cell = sized(600, 600)
    plain, found = (calibrated(2.0, new_byte_s=rate).predict(cell) for rate in (0.0, 2e-9))
    assert plain.first_seconds == plain.seconds == found.seconds
    assert None not in (found.first_seconds, found.seconds, found.peak_mb)
    assert found.first_seconds - found.seconds == pytest.approx(found.peak_mb * 1e6 * 2e-9)
    assert PREDICTOR.predict(cell).first_seconds is None


def test_hopeless_is_what_cannot_fit_or_takes_far_longer_than_its_limit():
    cell = sized(600, 600)
    slow = calibrated(1e4)
    assert (slow.predict(cell).seconds or 0) > 100
    assert "the cell's limit is 1 s" in (hopeless(cell, slow.predict(cell)) or "")
    assert hopeless(cell, PREDICTOR.predict(cell)) is None
    tight = sized(600, 600, memory_cap_bytes=2 * 10**7)
    assert "the cap is 20 MB" in (hopeless(tight, PREDICTOR.predict(tight)) or "")


def test_what_stays_of_one_pass_is_freed_while_the_next_writes_what_stays_of_it():
    keeps = tuple(Keep("features", "memory", count) for count in (50, 30))
    strips = StripsTrace(StripPlan(16, keeps, 0), (7, 20, 5), 40, Work(), whole=None)
    assert peak_of_strips(strips, Overheads()) == 20 + 50
    assert peak_of_strips(replace(strips, passing_bytes=(7, 20, 35)), Overheads()) == 35 + 40
    assert peak_of_strips(strips, Overheads(fixed_bytes=3, share=0.5)) == 3 + 30 + 50


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_image_of_two_strips_takes_what_both_take(precision, monkeypatch):
    monkeypatch.setattr(precisions, "native_on_cpu", lambda precision: True)
    cell = sized(1000, 700, model="adain-vgg16-16x", execution="strips", precision=precision)
    found = Predictor().predict(cell)
    assert found.strip_rows is not None
    assert found.strip_rows >= 256
    item = 4 if precision == "fp32" else 2
    # Both maps of the second convolution over the first strip, and the result.
    live = item * (2 * 16 * 1008 * found.strip_rows + 3 * 1000 * 700)
    assert found.peak_mb * 1e6 > live + PROCESS_BYTES

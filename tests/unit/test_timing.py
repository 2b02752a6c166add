import pytest

from bench.cells import MeasureSettings
from bench.run import timing
from bench.run.timing import time_watched


class FakeWatch:
    """Finds, time after time, the conditions it was given."""

    script: list

    def __init__(self, device):
        assert device == "cpu"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.fields = {"conditions": self.script.pop(0), "watched_s": float(len(self.script))}


def settings(**fields):
    return MeasureSettings(
        **{
            "warmup": 0,
            "min_repeats": 3,
            "max_repeats": 3,
            "target_ci": 0.5,
            "cell_time_limit_s": 60,
            **fields,
        }
    )


@pytest.fixture
def under(monkeypatch):
    """Times a pass under scripted conditions; the number of passes goes up in each attempt."""

    def measure(*script, retries=0, budget_s=60.0, **fields):
        passes = []
        monkeypatch.setattr(FakeWatch, "script", list(script), raising=False)
        latency, found = time_watched(
            lambda: passes.append(None),
            device="cpu",
            settings=settings(retry_disturbed=retries, **fields),
            pass_s=0.001,
            budget_s=lambda: budget_s,
        )
        return latency, found, len(passes)

    monkeypatch.setattr(timing, "Watch", FakeWatch)
    monkeypatch.setattr(timing, "_PAUSE_S", 0.0)
    return measure


def test_a_disturbed_timing_is_kept_and_labelled(under):
    latency, found, passes = under(["shared"])
    assert (found["conditions"], found["attempts"], passes) == (["shared"], 1, 3)
    assert len(latency.samples_ms) == 3


def test_an_undisturbed_timing_is_not_repeated(under):
    assert under([], retries=5)[1:] == ({"conditions": [], "watched_s": 0.0, "attempts": 1}, 3)
    _, found, passes = under(["power_capped"], retries=5)
    assert (found["conditions"], passes) == (["power_capped"], 3)


def test_it_is_repeated_until_it_is_undisturbed(under):
    _, found, passes = under(["shared", "throttled"], ["shared"], [], ["shared"], retries=5)
    assert (found["conditions"], found["attempts"], passes) == ([], 3, 9)


def test_the_attempt_with_the_fewest_disturbances_is_kept_and_the_first_of_equals(under):
    script = [["shared", "throttled"], ["shared"], ["throttled"], ["shared", "stolen"]]
    _, found, passes = under(*script, retries=3)
    assert (found["conditions"], found["attempts"], passes) == (["shared"], 4, 12)
    assert found["watched_s"] == 2.0


def test_repeats_are_bounded(under):
    _, found, passes = under(*[["shared"]] * 9, retries=2)
    assert (found["attempts"], passes) == (3, 9)


def test_without_time_for_another_attempt_there_is_none(under):
    _, found, _ = under(["shared"], ["shared"], retries=2, budget_s=0.0)
    assert (found["conditions"], found["attempts"]) == (["shared"], 1)

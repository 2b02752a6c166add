"""A cell's peak memory is the same in every process, or no growth of 2 % could be told."""

import sys

import pytest

from bench.compare.result import Limits
from bench.measure.environment import collect_environment
from bench.plan import scenario_cells
from bench.run.executor import run_cell
from bench.run.store import RunFolder
from bench.scenario import Scenario


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no resettable peak")
def test_the_peak_of_a_large_model_on_a_small_image_repeats(tmp_path):
    # What loading it frees is as large as what the pass takes: chance, if the pass finds it again.
    scenario = Scenario.model_validate(
        {"name": "peak", "models": ["adain-vgg16-1x"], "resolutions": ["256x256"], "device": "cpu"}
    )
    (cell,) = scenario_cells(scenario, "cpu")
    with RunFolder.create(tmp_path, scenario, collect_environment("cpu")) as folder:
        records = [run_cell(cell, folder, deadline_s=300, repeat=repeat) for repeat in range(4)]
    peaks = [record.peak_rss_growth_mb for record in records]
    assert min(peaks) > 30
    assert max(peaks) < (1 + Limits().memory_growth) * min(peaks)

"""``bench max-resolution`` with real processes under a real cap."""

import csv
import json
import sys

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.max_resolution import TOLERANCE
from tests.performance.max_resolution_search import SMALL, exhaustive

pytestmark = pytest.mark.numerical

CAP = "300MB"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process's data")
def test_the_answer_runs_and_three_percent_more_does_not(tmp_path):
    options = ["max-resolution", "--model", SMALL, "--memory-cap", CAP, "--device", "cpu"]
    result = CliRunner().invoke(app, [*options, "--out", str(tmp_path), "--format", "json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["limit"] == "memory"
    found, failed = answer["megapixels"], answer["smallest_failed_megapixels"]
    assert found < failed <= (1 + TOLERANCE) * found * 1.005
    # Predictions bring it near at once.
    assert len(answer["evidence"]) <= 9
    ran, beyond = exhaustive(
        CAP, [(answer["width"], answer["height"]), _larger(answer, 1.03)], out=tmp_path
    )
    assert (ran, beyond) == ("ok", "out_of_memory")

    (folder,) = (path for path in tmp_path.iterdir() if path.samefile(answer["run"]))
    with (folder / "evidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["megapixels"]) for row in rows] == [
        row["megapixels"] for row in answer["evidence"]
    ]
    assert {row["status"] for row in rows} == {"ok", "out_of_memory"}


def _larger(answer: dict[str, int], factor: float) -> tuple[int, int]:
    width, height = (round(answer[side] * factor**0.5) for side in ("width", "height"))
    return width, height

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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process's data")
def test_the_answer_ran_twice_and_what_is_beyond_it_did_not(tmp_path):
    options = ["max-resolution", "--model", SMALL, "--memory-cap", CAP, "--device", "cpu"]
    result = CliRunner().invoke(app, [*options, "--out", str(tmp_path), "--format", "json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    # Where memory ends, a library may end its process: oneDNN in PyTorch 2.11 sometimes does.
    assert answer["limit"] in ("memory", "crash")
    found, failed = answer["megapixels"], answer["smallest_failed_megapixels"]
    assert found < failed <= (1 + TOLERANCE) * found * 1.005
    statuses = {size: [] for size in (found, failed)}
    for row in answer["evidence"]:
        statuses.setdefault(row["megapixels"], []).append(row["status"])
    assert statuses[found] == ["ok", "ok"]
    assert "ok" not in statuses[failed]
    # Every kernel's memory is not predicted, so the start may be off by a factor (the unit tests
    # count the probes that this costs); beyond them are those that chance near the limit adds.
    assert len(answer["evidence"]) <= 18
    # What a process takes beside the maps varies, so not the answer's own size is tried again.
    ran, beyond = exhaustive(CAP, [_scaled(answer, 0.94), _scaled(answer, 1.1)], out=tmp_path)
    assert ran == "ok"
    assert beyond != "ok"

    (folder,) = (path for path in tmp_path.iterdir() if path.samefile(answer["run"]))
    with (folder / "evidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["megapixels"]) for row in rows] == [
        row["megapixels"] for row in answer["evidence"]
    ]
    assert {row["status"] for row in rows} - {"crashed"} == {"ok", "out_of_memory"}


def _scaled(answer: dict[str, int], factor: float) -> tuple[int, int]:
    """The answer's size with ``factor`` times the pixels."""
    width, height = (round(answer[side] * factor**0.5) for side in ("width", "height"))
    return width, height

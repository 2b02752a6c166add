"""A run in a container of little memory: a cell is killed, the command goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 900_000_000

SCENARIO = """
name: small
device: cpu
models: [adain-vgg16-64x]
resolutions: [64x64, 80x80]
quality: {resolution: 64x64, metrics: [content_loss], max_pairs: 1}
"""

# Joins the group, and runs with workers that hold far more than it may.
RUN = """
import os, sys
from pathlib import Path
open(sys.argv[1], "w").write(str(os.getpid()))
from bench.run.runner import run_scenario
from bench.scenario import load_scenario
hold = (
    "from bench.measure.oom_killer import offer_to_oom_killer; offer_to_oom_killer(); "
    "held = bytearray(b'x') * 2_000_000_000"
)
run_scenario(
    load_scenario(Path(sys.argv[2])), out=Path(sys.argv[3]), worker=(sys.executable, "-c", hold)
)
"""


@pytest.fixture
def group():
    """A memory control group of this machine, of either version."""
    for base, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        folder = Path("/sys/fs/cgroup") / base / f"ultrastyle-run-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(LIMIT))
            yield folder
            return
        except OSError:
            continue
        finally:
            folder.rmdir()
    pytest.skip("no memory control group can be made: needs root and writable control groups")


def test_a_cell_that_outgrows_the_container_is_a_record_and_the_run_goes_on(group, tmp_path):
    scenario = tmp_path / "small.yaml"
    scenario.write_text(SCENARIO)
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, str(group / "cgroup.procs"), str(scenario), tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(file.read_bytes()) for file in tmp_path.glob("*/cells/*.json")]
    killed = [record for record in records if record["reason_code"] == "killed"]
    assert len(records) == 3
    assert len(killed) == 2  # a performance cell and the quality cell; a larger one is skipped
    assert {record["status"] for record in killed} == {"out_of_memory"}
    environment = json.loads(next(tmp_path.glob("*/environment.json")).read_bytes())
    assert abs(environment["memory_limit_mb"] * 1e6 - LIMIT) < 8192

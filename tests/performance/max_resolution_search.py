"""The search for the largest image against trying every size of a grid, under three small caps.

    python -m tests.performance.max_resolution_search

Writes ``docs/results/prediction/max_resolution.csv``. The search agrees where its answer lies
between the largest size of the grid that ran and the smallest that did not, to its own tolerance.
Runs some minutes; how busy the machine is does not matter.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from bench.max_resolution import (
    TOLERANCE,
    find_largest,
    longest_side,
    predicted_side,
    prober,
    size_of_side,
)
from bench.measure.environment import collect_environment
from bench.plan import scenario_cells
from bench.prediction.predict import Predictor
from bench.run.store import RunFolder
from bench.scenario import Scenario
from bench.units import Size, parse_bytes

OUT = Path(__file__).parents[2] / "docs" / "results" / "prediction"
SMALL = "adain-vgg16-64x"
CAPS = ("150MB", "220MB", "320MB")
_ASPECT = Fraction(4, 3)
_GRID = 0.08
"""Of the pixels: from one size of the grid to the next."""
_AROUND = 4
"""Sizes of the grid on either side of the answer."""
_DEADLINE_S = 300.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Search under each cap, then try the grid."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.max_resolution_search")
    parser.add_argument("--out", type=Path, default=OUT, help="default: %(default)s")
    parser.add_argument(
        "--runs-out", type=Path, default=Path("runs"), help="of the probes' records"
    )
    options = parser.parse_args(arguments)
    rows = [compared(cap, options.runs_out) for cap in CAPS]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "max_resolution.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(path.read_text(encoding="utf-8"))


def compared(cap: str, runs_out: Path) -> dict[str, object]:
    """What the search finds under a cap, and what the grid around it says."""
    scenario = _scenario(cap)
    (cell,) = scenario_cells(scenario, "cpu")
    predictor = Predictor()
    bound = longest_side(_ASPECT, 100)
    room = parse_bytes(cap)
    start = predicted_side(cell, predictor, aspect=_ASPECT, room_bytes=room, bound=bound)
    with RunFolder.create(runs_out, scenario, collect_environment("cpu")) as folder:
        probe = prober(
            cell, predictor, folder, deadline_s=_DEADLINE_S, report=lambda one: _say(str(one))
        )
        found = find_largest(probe, aspect=_ASPECT, start=start, bound=bound)
    widths = [
        round(found.size.width * (1 + _GRID) ** (step / 2)) for step in range(-_AROUND, _AROUND + 1)
    ]
    # Sizes of their own, so that the search's probes are not merely repeated.
    grid = [size_of_side(width + 5, _ASPECT) for width in widths]
    statuses = exhaustive(cap, grid, out=runs_out)
    ran = [size.pixels for size, status in zip(grid, statuses, strict=True) if status == "ok"]
    failed = [size.pixels for size, status in zip(grid, statuses, strict=True) if status != "ok"]
    agrees = max(ran) <= (1 + TOLERANCE) * found.size.pixels and min(
        failed
    ) >= found.size.pixels / (1 + TOLERANCE)
    return {
        "model": SMALL,
        "memory_cap_mb": room / 1e6,
        "found_megapixels": round(found.size.megapixels, 4),
        "smallest_failed_megapixels": round(found.beyond.megapixels, 4) if found.beyond else "",
        "probes": len(found.probes),
        "grid_largest_ran_megapixels": round(max(ran) / 1e6, 4),
        "grid_smallest_failed_megapixels": round(min(failed) / 1e6, 4),
        "grid_sizes": len(grid),
        "agrees": "yes" if agrees else "no",
    }


def exhaustive(cap: str, sizes: Sequence[tuple[int, int]], *, out: Path) -> list[str]:
    """How each size ends under a cap, each in a fresh process."""
    scenario = _scenario(cap)
    (cell,) = scenario_cells(scenario, "cpu")
    with RunFolder.create(out, scenario, collect_environment("cpu")) as folder:
        probe = prober(
            cell, Predictor(), folder, deadline_s=_DEADLINE_S, report=lambda one: _say(str(one))
        )
        return [probe(Size(*size)).status for size in sizes]


def _scenario(cap: str) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "max-resolution-grid",
            "device": "cpu",
            "memory_cap": cap,
            "models": [SMALL],
            "resolutions": ["512x512"],
        }
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

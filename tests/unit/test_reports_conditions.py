"""Energy, and what a cell was measured under, in a report."""

import csv
import io

import pytest

from reports.reading import read_results
from reports.summary import findings
from reports.sweep_table import sweep_table
from tests.unit.reports_data import SIZES, frame, performance


def cell(size="1MP", **fields):
    return performance("wct-vgg16-16x", SIZES[size], **fields)


def test_cells_that_were_measured_under_disturbance_are_counted_with_their_labels():
    records = [
        cell("1MP", conditions=["shared", "throttled"]),
        cell("4MP", conditions=["shared", "power_capped"]),
        cell("8MP", conditions=["power_capped"]),
        cell("512x512", conditions=[]),
    ]
    caveats = dict(findings(read_results(frame(records))))["Read with care"]
    (found,) = [sentence for sentence in caveats if "disturbance" in sentence]
    assert found.startswith("2 cells were measured under disturbance (2 shared and 1 throttled)")
    calm = dict(findings(read_results(frame([cell(conditions=[]), cell("4MP")]))))
    assert not any("disturbance" in text for text in calm.get("Read with care", []))


def test_the_sweep_table_has_energy_and_conditions_where_there_are_any():
    energy = {
        "energy_j_per_image": 20.0,
        "energy_j_per_mp": 20.1,
        "energy_net_j_per_mp": 15.1,
        "conditions": ["clock_changed", "shared"],
    }
    table = sweep_table(read_results(frame([cell(**energy), cell("4MP", conditions=[])])))
    headings = [column.heading for column in table.shown_columns]
    assert {"Energy, gross (J/MP)", "Energy, idle subtracted (J/MP)", "Measured while"} <= {
        *headings
    }
    assert "| 20.1 |" in " ".join(table.markdown().split())
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [row["conditions"] for row in rows] == ["clock changed, shared", ""]
    assert float(rows[0]["energy_j_per_image"]) == 20
    bare = sweep_table(read_results(frame([cell(conditions=[])])))
    assert not {"Measured while", "Energy, gross (J/MP)"} & {
        column.heading for column in bare.shown_columns
    }


def test_repeats_of_a_cell_have_the_median_energy_and_all_their_labels():
    records = [
        cell(repeat=0, energy_j_per_mp=10.0, conditions=["shared"]),
        cell(repeat=1, energy_j_per_mp=12.0, conditions=[]),
        cell(repeat=2, energy_j_per_mp=40.0, conditions=["throttled"]),
    ]
    results = read_results(frame(records))
    (merged,) = results.performance[0].cells
    assert merged.energy_j_per_mp == pytest.approx(12)
    assert merged.conditions == ["shared", "throttled"]
    (unwatched,) = read_results(frame([cell(repeat=0), cell(repeat=1)])).performance[0].cells
    assert unwatched.conditions is None

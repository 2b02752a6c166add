"""What the tables say against the closed forms that the records were made from."""

import csv
import io
import re
from typing import Any

import pandas as pd
import pytest
from reports_data import SIZES, cpu_run, cuda_run, frame, latency_ms, memory_mb
from reports_data import performance as cell
from reports_data import quality as quality_cell

from reports.reading import read_results
from reports.summary_table import summary_table
from reports.table import Table
from reports.tables import all_tables, failures_table, quality_table, sweep_table


def parsed(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def cells_of(line: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]]


def markdown_rows(table: Table) -> list[dict[str, str]]:
    head, _, *lines = table.markdown().splitlines()
    return [dict(zip(cells_of(head), cells_of(line), strict=True)) for line in lines]


def of(rows: list[dict[str, str]], model: str, **where: str) -> dict[str, str]:
    (row,) = [
        r for r in rows if r["model"] == model and all(r[key] == v for key, v in where.items())
    ]
    return row


def test_costs_and_reductions_are_taken_at_the_largest_common_size() -> None:
    rows = parsed(summary_table(read_results(frame(cpu_run()))))
    megapixels = 2304 * 1728 / 1e6  # at 8.29 MP the full-size WCT takes longer than the limit
    for method in ("wct", "adain"):
        for ratio in (1, 4, 16):
            row = of(rows, f"{method}-vgg16-{ratio}x")
            assert float(row["common_megapixels"]) == pytest.approx(megapixels, rel=1e-5)
            assert float(row["latency_ms"]) == pytest.approx(
                latency_ms(method, ratio, megapixels), rel=1e-5
            )
            assert float(row["peak_memory_mb"]) == pytest.approx(
                memory_mb(method, ratio, megapixels), rel=1e-5
            )
            assert row["peak_memory_counter"] == "peak_rss_growth_mb"
            if ratio == 1:
                assert row["baseline"] == row["speed_up"] == row["memory_reduction"] == ""
            else:
                assert row["baseline"] == f"{method}-vgg16-1x"
                assert float(row["speed_up"]) == pytest.approx(ratio**0.7, rel=1e-5)
                full, small = (memory_mb(method, r, megapixels) for r in (1, ratio))
                assert float(row["memory_reduction"]) == pytest.approx(full / small, rel=1e-5)


def test_summary_says_how_far_a_model_goes_and_what_stops_it() -> None:
    rows = parsed(summary_table(read_results(frame(cpu_run()))))
    reach = {r["model"]: (r["largest_width"], r["next_status"], r["next_megapixels"]) for r in rows}
    assert reach["wct-vgg16-1x"] == ("2304", "skipped", "8.2944")
    assert reach["wct-vgg16-4x"] == ("3840", "out_of_memory", "41.943")
    assert reach["wct-vgg16-16x"] == ("10240", "out_of_memory", "99.9941")


def test_reductions_compare_only_equal_settings() -> None:
    rows = parsed(summary_table(read_results(frame(cuda_run()))))
    for execution in ("whole", "strips"):
        for precision in ("fp32", "fp16"):
            settings = {"execution": execution, "precision": precision}
            one, full = (of(rows, m, **settings) for m in ("wct-vgg16-16x", "wct-vgg16-1x"))
            assert one["peak_memory_counter"] == "peak_allocated_mb"
            for gain, cost in (("speed_up", "latency_ms"), ("memory_reduction", "peak_memory_mb")):
                expected = float(full[cost]) / float(one[cost])
                assert float(one[gain]) == pytest.approx(expected, rel=1e-4)
            # there is no full-size AdaIN in this run
            assert of(rows, "adain-vgg16-16x", **settings)["baseline"] == ""


def test_a_model_that_never_ran_does_not_hide_the_others() -> None:
    records = [cell("adain-vgg16-1x", size) for size in SIZES.values()]
    records += [cell("wct-vgg16-1x", size, status="crashed") for size in SIZES.values()]
    table = summary_table(read_results(frame(records)))
    row = of(parsed(table), "wct-vgg16-1x")
    assert (row["latency_ms"], row["largest_megapixels"], row["next_status"]) == ("", "", "crashed")
    assert of(parsed(table), "adain-vgg16-1x")["common_width"] == "3840"
    assert "1 row without a measurement there" in table.note


def test_sweep_lists_every_cell_with_its_interval() -> None:
    records = cuda_run()
    table = sweep_table(read_results(frame(records)))
    assert len(parsed(table)) == sum(r["kind"] == "performance" for r in records)
    settings = {"execution": "whole", "precision": "fp32", "width": "3840"}
    row = of(parsed(table), "wct-vgg16-16x", **settings)
    latency = latency_ms("wct", 16, 3840 * 2160 / 1e6, speed=60)
    assert float(row["latency_ci_low_ms"]) == pytest.approx(latency * 0.97, rel=1e-5)
    assert float(row["device_latency_ms"]) == pytest.approx(latency * 0.99, rel=1e-5)
    headings = list(markdown_rows(table)[0])
    assert "Device latency (ms)" in headings
    assert "Peak allocated (MB)" in headings
    assert "Peak resident growth (MB)" not in headings
    assert table.rows[0]["status"] == "ok"


def test_processes_of_one_cell_are_listed_apart_and_merged_in_the_summary() -> None:
    size = SIZES["1MP"]
    base = cell("wct-vgg16-16x", size)
    records = [
        base | {"repeat": n, "latency_ms": value, "latency_ci_low_ms": value - 1}
        for n, value in enumerate((30.0, 10.0, 20.0))
    ]
    results = read_results(frame(records))
    assert [row["Process"] for row in markdown_rows(sweep_table(results))] == ["1", "2", "3"]
    (row,) = parsed(summary_table(results))
    assert float(row["latency_ms"]) == 20
    assert results.performance[0].cells[0].latency_ci_low_ms == 9
    failed = base | {"repeat": 3, "status": "out_of_memory", "latency_ms": None}
    (row,) = parsed(summary_table(read_results(frame([*records, failed]))))
    assert row["largest_megapixels"] == ""


def test_quality_names_absent_metrics_and_random_weights() -> None:
    rows = parsed(quality_table(read_results(frame(cpu_run()))))
    assert "no lpips: no AlexNet backbone" in of(rows, "wct-vgg16-1x")["remark"]
    skipped = of(rows, "wct-vgg16-4x")
    assert (skipped["status"], skipped["style_loss"]) == ("skipped", "")
    assert "random weights" in skipped["remark"]
    measured = of(rows, "wct-vgg16-1x")
    layers = [float(measured[f"style_loss_relu{n}_1"]) for n in range(1, 6)]
    assert sum(layers) == pytest.approx(float(measured["style_loss"]), rel=1e-5)


def test_failures_carry_the_facts_and_a_message_in_any_case() -> None:
    size = SIZES["1MP"]
    records = [
        cell("wct-vgg16-1x", SIZES["100MP"]),
        cell("wct-vgg16-1x", size, status="crashed", signal=9, reason_code="killed"),
        cell("wct-vgg16-4x", size, status="timeout", reason="a | b\nc_d _e_"),
        cell("wct-vgg16-16x", size),
    ]
    table = failures_table(read_results(frame(records)))
    rows = parsed(table)
    assert [row["model"] for row in rows] == ["wct-vgg16-1x", "wct-vgg16-1x", "wct-vgg16-4x"]
    by_status = {row["status"]: row for row in rows}
    assert float(by_status["out_of_memory"]["requested_mb"]) > 12_000
    assert by_status["crashed"]["message"] == "ended by signal 9"
    (shown,) = [row for row in markdown_rows(table) if row["Status"] == "over time"]
    assert shown["Message"] == r"a \| b c_d \_e\_"


def test_every_markdown_row_has_the_columns_of_its_head() -> None:
    odd = "wct-vgg16-16x:/x/a|b_模型 `c`"
    records = [cell(odd, size) for size in SIZES.values()] + [quality_cell(odd)]
    for table in all_tables(read_results(frame(records))):
        for row in markdown_rows(table):
            assert row["Model"] == r"wct-vgg16-16x:a\|b_模型 \`c\`"


def test_numbers_in_csv_are_plain() -> None:
    text = summary_table(read_results(frame(cpu_run()))).csv()
    (row,) = [line for line in text.splitlines() if line.startswith("wct-vgg16-1x")]
    assert ",34239371," in row
    assert '"' not in text  # no thousands' commas, which would need quoting
    assert re.search(r"\de\+|nan|None", text) is None


def test_row_order_and_parquet_types_change_nothing(tmp_path: Any) -> None:
    table = frame(cpu_run())
    path = tmp_path / "records.parquet"
    table.to_parquet(path)
    forms = [table, table.sample(frac=1, random_state=3), pd.read_parquet(path)]
    texts = [
        [one.csv() + one.markdown() for one in all_tables(read_results(form))] for form in forms
    ]
    assert texts[0] == texts[1] == texts[2]


def test_a_setting_that_follows_the_size_makes_no_new_series() -> None:
    records = [
        cell("wct-vgg16-16x", size, style_width=size[0], style_height=size[1])
        for size in SIZES.values()
    ]
    assert len(read_results(frame(records)).performance) == 1
    both = [
        cell("wct-vgg16-16x", size, alpha=alpha) | {"id": f"{size}{alpha}"}
        for size in SIZES.values()
        for alpha in (0.6, 1.0)
    ]
    labels = [one.label for one in read_results(frame(both)).performance]
    assert labels == ["wct-vgg16-16x (alpha 0.600)", "wct-vgg16-16x (alpha 1.00)"]

"""What the tables say against the closed forms that the records were made from."""

import csv
import io
import json
import re
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports_data import SIZES, cpu_run, cuda_run, frame, latency_ms, memory_mb
from reports_data import performance as cell
from reports_data import quality as quality_cell

from reports.caveats import caveats, failures
from reports.latex import snippet
from reports.model_table import model_table
from reports.parquet import parquet
from reports.quality_points import no_quality
from reports.quality_table import quality_table
from reports.reading import read_results
from reports.results import common_size
from reports.spread import half_width
from reports.summary import findings
from reports.sweep_table import pairs_table, records_table, sweep_table
from reports.table import Mark, Rank, Table
from reports.tables import all_tables, failures_table


def parsed(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def cells_of(line: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]]


def markdown_rows(table: Table) -> list[dict[str, str]]:
    head, _, *lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
    return [dict(zip(cells_of(head), cells_of(line), strict=True)) for line in lines]


def shown(table: Table, key: str, model: str, **where: Any) -> tuple[str, Rank | None, Mark | None]:
    """The cell of a column as people see it, in the row of a model."""
    (column,) = [column for column in table.columns if column.key == key]
    (cell,) = [
        cells[0]
        for row, cells in zip(table.rows, table.cells([column]), strict=True)
        if row["model"] == model and all(row[name] == value for name, value in where.items())
    ]
    return cell.text, cell.rank, *(cell.marks or (None,))


def of(rows: list[dict[str, str]], model: str, **where: str) -> dict[str, str]:
    (row,) = [
        r for r in rows if r["model"] == model and all(r[key] == v for key, v in where.items())
    ]
    return row


def test_costs_and_reductions_are_taken_at_the_largest_common_size() -> None:
    rows = parsed(model_table(read_results(frame(cpu_run()))))
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
    rows = parsed(model_table(read_results(frame(cpu_run()))))
    reach = {r["model"]: (r["largest_width"], r["next_status"], r["next_megapixels"]) for r in rows}
    assert reach["wct-vgg16-1x"] == ("2304", "skipped", "8.2944")
    assert reach["wct-vgg16-4x"] == ("3840", "out_of_memory", "41.943")
    assert reach["wct-vgg16-16x"] == ("10240", "out_of_memory", "99.9941")


def test_reductions_compare_only_equal_settings() -> None:
    rows = parsed(model_table(read_results(frame(cuda_run()))))
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
    table = model_table(read_results(frame(records)))
    row = of(parsed(table), "wct-vgg16-1x")
    assert (row["latency_ms"], row["largest_megapixels"], row["next_status"]) == ("", "", "crashed")
    assert of(parsed(table), "adain-vgg16-1x")["common_width"] == "3840"
    assert "1 row without a measurement there says why." in table.note
    assert shown(table, "latency_ms", "wct-vgg16-1x") == ("crashed", None, Mark.FAILED)


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


def test_a_run_without_a_gpu_shows_no_column_of_one() -> None:
    def heads(records: list[dict[str, Any]]) -> set[str]:
        table = sweep_table(read_results(frame(records)))
        return {str(column.heading) for column in table.shown_columns}

    of_a_gpu = {"Device latency (ms)", "Peak allocated (MB)", "Peak on device (MB)"}
    assert not of_a_gpu & heads(cpu_run())
    assert of_a_gpu <= heads(cuda_run())
    assert "Peak resident growth (MB)" in heads(cpu_run()) - heads(cuda_run())


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(list(SIZES)), st.booleans()), max_size=6), max_size=4
    )
)
def test_the_common_size_is_the_largest_that_most_have(chosen: list[list[Any]]) -> None:
    models = [f"wct-vgg16-{ratio}x" for ratio in (1, 2, 4, 8)]
    records = [
        cell(model, SIZES[name], status="ok" if ok else "crashed", latency_ms=1.0)
        for model, sizes in zip(models, chosen, strict=False)
        for name, ok in dict(sizes).items()
    ]
    series = read_results(frame(records)).performance
    measured = {
        size: [one for one in series if size in [(c.width, c.height) for c in one.ok]]
        for size in SIZES.values()
    }
    found = common_size(series)
    if not any(measured.values()):
        assert found is None
        return
    best = max(measured, key=lambda size: (len(measured[size]), size[0] * size[1]))
    assert found is not None
    assert found.size == best
    assert set(map(id, found.missing)) == set(map(id, series)) - set(map(id, measured[best]))
    for one in series:
        for size in SIZES.values():
            assert (one.at(size) is None) == (one not in measured[size])


def test_processes_of_one_cell_are_listed_apart_and_merged_in_the_summary() -> None:
    size = SIZES["1MP"]
    base = cell("wct-vgg16-16x", size)
    records = [
        base | {"repeat": n, "latency_ms": value, "latency_ci_low_ms": value - 1}
        for n, value in enumerate((30.0, 10.0, 20.0))
    ]
    results = read_results(frame(records))
    assert [row["Process"] for row in markdown_rows(sweep_table(results))] == ["1", "2", "3"]
    (row,) = parsed(model_table(results))
    assert float(row["latency_ms"]) == 20
    assert results.performance[0].cells[0].latency_ci_low_ms == 9
    failed = base | {"repeat": 3, "status": "out_of_memory", "latency_ms": None}
    (row,) = parsed(model_table(read_results(frame([*records, failed]))))
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


def test_no_traceback_reaches_a_report() -> None:
    where = '  File "/site-packages/bench/run/worker.py", line 9, in _measure\n    raise error'
    reason = f"KeyError while stylizing: 'relu9_1'\n{where}"
    records = [
        cell("wct-vgg16-1x", SIZES["1MP"], status="crashed", reason=reason),
        quality_cell("wct-vgg16-1x", status="crashed", reason=reason),
    ]
    results = read_results(frame(records))
    (shown, _) = parsed(failures_table(results))
    assert shown["message"] == "KeyError while stylizing: 'relu9_1'"
    told = [*failures(results), *caveats(results), no_quality(results)]
    assert "relu9_1" in "".join(told)
    assert not [text for text in told if "worker.py" in text]


def test_every_markdown_row_has_the_columns_of_its_head() -> None:
    odd = "wct-vgg16-16x:/x/a|b_模型 `c`"
    records = [cell(odd, size) for size in SIZES.values()] + [quality_cell(odd)]
    for table in all_tables(read_results(frame(records))):
        for row in [] if table.long else markdown_rows(table):
            assert row["Model"] == r"wct-vgg16-16x:a\|b_模型 \`c\`"


def test_numbers_in_csv_are_plain() -> None:
    text = model_table(read_results(frame(cpu_run()))).csv()
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
        [(one.csv(), parquet(one), one.long or one.markdown() + snippet(one)) for one in tables]
        for tables in (all_tables(read_results(form)) for form in forms)
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
    assert labels == ["wct-vgg16-16x (alpha 0.6)", "wct-vgg16-16x (alpha 1)"]


PAPER = (3000, 3000)


def test_costs_are_at_the_papers_size_where_any_model_was_measured_there() -> None:
    models = ("wct-vgg16-1x", "wct-vgg16-16x")
    records = [cell(model, size) for model in models for size in (SIZES["1MP"], PAPER)]
    table = model_table(read_results(frame(records)))
    latency = latency_ms("wct", 16, 9.0)
    assert float(of(parsed(table), "wct-vgg16-16x")["latency_ms"]) == pytest.approx(
        latency, rel=1e-5
    )
    heads = [str(column.heading) for column in table.shown_columns]
    assert "Latency at 3000x3000 (s)" in heads
    assert "Peak memory at 3000x3000 (GB)" in heads
    assert "Largest size under 12 GB (MP)" in heads


def test_another_size_is_named_where_the_papers_was_not_measured() -> None:
    records = [cell("wct-vgg16-16x", size) for size in (SIZES["512x512"], SIZES["1MP"])]
    heads = [str(c.heading) for c in model_table(read_results(frame(records))).shown_columns]
    assert any("at 1152x864" in head for head in heads)
    assert not any("3000" in head for head in heads)


def test_what_was_not_measured_at_the_tables_size_is_said_and_not_made_up() -> None:
    size = SIZES["1MP"]
    records = [
        cell("wct-vgg16-16x", PAPER),
        cell("wct-vgg16-16x", size),
        cell("wct-vgg16-1x", PAPER, status="out_of_memory", requested_mb=9e3),
        cell("wct-vgg16-1x", size),
        cell("adain-vgg16-1x", PAPER, status="skipped", estimate_s=37.8),
        cell("adain-vgg16-4x", size),
    ]
    table = model_table(read_results(frame(records)))
    for key in ("latency_ms", "peak_memory_mb"):
        assert shown(table, key, "wct-vgg16-1x") == ("out of memory", None, Mark.FAILED)
        assert of(parsed(table), "wct-vgg16-1x")[key] == ""
    assert shown(table, "latency_ms", "adain-vgg16-1x") == ("≈ 37.8", None, Mark.PREDICTED)
    assert shown(table, "peak_memory_mb", "adain-vgg16-1x") == ("skipped", None, Mark.FAILED)
    assert shown(table, "latency_ms", "adain-vgg16-4x") == ("–", None, None)
    # that row says nothing: no cell of it was to be of this size
    assert "2 rows without a measurement there say why and 1 row was not asked for" in table.note
    # ratio 1 did not fit there: the two compare at the largest size that both have, which is marked
    text, _, mark = shown(table, "speed_up", "wct-vgg16-16x")
    assert (text, mark) == ("6.96x", Mark.ELSEWHERE)
    assert of(parsed(table), "wct-vgg16-16x")["compared_width"] == "1152"


def test_the_largest_size_is_a_bound_unless_memory_stopped_the_next() -> None:
    table = model_table(read_results(frame(cpu_run())))
    assert shown(table, "largest_megapixels", "wct-vgg16-16x")[0] == "41.9"
    assert shown(table, "largest_megapixels", "wct-vgg16-1x")[0] == "≥ 3.98"
    (one,) = read_results(frame([cell("wct-vgg16-1x", SIZES["1MP"])])).performance
    alone = model_table(read_results(frame([cell("wct-vgg16-1x", SIZES["1MP"])])))
    assert shown(alone, "largest_megapixels", one.model)[0] == "≥ 0.995"


def test_best_and_second_best_follow_the_direction_of_the_column() -> None:
    table = model_table(read_results(frame(cpu_run())))
    assert shown(table, "latency_ms", "adain-vgg16-16x")[1] == "best"
    assert shown(table, "latency_ms", "wct-vgg16-16x")[1] == "second"
    assert shown(table, "speed_up", "adain-vgg16-16x")[1] == "best"
    assert shown(table, "parameters", "adain-vgg16-4x")[1] == "second"
    # the same speed-up to three digits: a tie
    assert shown(table, "speed_up", "wct-vgg16-16x")[1] == "best"
    text = table.markdown()
    assert "| **2.401 ± 0.072** |" in re.sub(" +", " ", text)
    assert text.rstrip().endswith("**best**; <ins>second best</ins>.")


def test_values_that_are_all_alike_have_no_best() -> None:
    records = [cell(m, SIZES["1MP"], latency_ms=5.0) for m in ("wct-vgg16-1x", "wct-vgg16-16x")]
    table = model_table(read_results(frame(records)))
    assert shown(table, "latency_ms", "wct-vgg16-1x")[1] is None


def test_values_that_are_shown_alike_share_their_mark() -> None:
    models = [f"wct-vgg16-{ratio}x" for ratio in (1, 4, 8, 16)]
    spreads = ([0.41, 0.807], [0.41, 0.809], [0.95, 0.96], [1.95, 1.96])
    records = [
        pairs(quality_cell(model, weights="trained"), style_loss=values)
        for model, values in zip(models, spreads, strict=True)
    ]
    table = quality_table(read_results(frame(records)))
    # 0.6085 and 0.6095, of which their uncertainties leave one digit
    assert [shown(table, "style_loss", model)[:2] for model in models] == [
        ("0.6 ± 2.5", "best"),
        ("0.6 ± 2.5", "best"),
        ("0.955 ± 0.064", "second"),
        ("1.955 ± 0.064", None),
    ]


def test_a_latency_has_the_longer_side_of_its_interval() -> None:
    made = cell(
        "wct-vgg16-16x",
        SIZES["1MP"],
        latency_ms=20.0,
        latency_ci_low_ms=19.5,
        latency_ci_high_ms=21.2,
    )
    table = model_table(read_results(frame([made])))
    assert shown(table, "latency_ms", "wct-vgg16-16x")[0] == "20.0 ± 1.2"


def test_random_weights_carry_a_footnote_in_every_table() -> None:
    records = [cell("wct-vgg16-4x", SIZES["1MP"]), quality_cell("wct-vgg16-4x")]
    for table in all_tables(read_results(frame(records))):
        if not table.long:
            assert shown(table, "model", "wct-vgg16-4x")[2] is Mark.RANDOM
            assert "† random weights" in table.markdown()
            assert "dagger" in snippet(table)


# ----------------------------------------------------------------------------------------- quality


def pairs(record: dict[str, Any], **values: list[float]) -> dict[str, Any]:
    """The record with these values of its pairs, and their mean."""
    for name, found in values.items():
        record[name] = sum(found) / len(found)
        for entry, value in zip(record["per_pair"], found, strict=True):
            entry[name] = value
    return record


def test_half_width_is_students() -> None:
    # Student's t with 3 degrees of freedom: 3.182446; deviation of 1, 2, 3, 4: 1.290994
    assert half_width([1, 2, 3, 4]) == pytest.approx(3.182446 * 1.290994 / 2, rel=1e-6)
    assert half_width([5.0]) is None
    assert half_width([1.0, float("inf")]) is None
    assert half_width([2.0, 2.0]) == 0


def test_losses_have_the_spread_of_their_pairs() -> None:
    made = pairs(quality_cell("wct-vgg16-1x", pairs=4), content_loss=[1.0, 2.0, 3.0, 4.0])
    table = quality_table(read_results(frame([made])))
    assert shown(table, "content_loss", "wct-vgg16-1x")[0] == "2.5 ± 2.1"
    row = of(parsed(table), "wct-vgg16-1x")
    assert float(row["content_loss_sd"]) == pytest.approx(1.290994, rel=1e-5)
    assert float(row["content_loss_half"]) == pytest.approx(2.054260, rel=1e-5)
    alone = pairs(quality_cell("wct-vgg16-1x", pairs=1), content_loss=[2.5])
    assert shown(quality_table(read_results(frame([alone]))), "content_loss", "wct-vgg16-1x")[
        0
    ] == ("2.50")


def test_metrics_of_a_set_have_their_own_interval() -> None:
    made = quality_cell("wct-vgg16-1x") | {"kid": 0.02, "kid_low": 0.01, "kid_high": 0.03}
    made |= {"kd_vgg": 0.5, "kd_vgg_low": 0.4, "kd_vgg_high": 0.9, "psnr_teacher": float("inf")}
    table = quality_table(read_results(frame([made])))
    assert shown(table, "kid", "wct-vgg16-1x")[0] == "0.020 ± 0.010"
    assert shown(table, "kd_vgg", "wct-vgg16-1x")[0] == "0.500 [0.400, 0.900]"
    assert shown(table, "psnr_teacher", "wct-vgg16-1x")[0] == "∞"
    heads = [str(column.heading) for column in table.shown_columns]
    assert {"KID ↓", "Kernel distance (VGG) ↓", "PSNR to teacher (dB) ↑"} <= set(heads)


def test_metrics_of_plug_ins_have_columns() -> None:
    made = quality_cell("wct-vgg16-1x", pairs=2) | {"quality_other": {"edge_loss": 1.5}}
    made["per_pair"][0]["edge_loss"], made["per_pair"][1]["edge_loss"] = 1.0, 2.0
    table = quality_table(read_results(frame([made, quality_cell("adain-vgg16-1x")])))
    row = of(parsed(table), "wct-vgg16-1x")
    assert (row["quality_other.edge_loss"], row["quality_other.edge_loss_sd"]) == (
        "1.5",
        "0.707107",
    )
    assert of(parsed(table), "adain-vgg16-1x")["quality_other.edge_loss"] == ""


def test_quality_that_does_not_compare_competes_apart() -> None:
    one = pairs(quality_cell("wct-vgg16-1x"), style_loss=[3.0, 3.0])
    two = pairs(quality_cell("adain-vgg16-1x"), style_loss=[2.0, 2.0])
    both = quality_table(read_results(frame([one, two])))
    assert shown(both, "style_loss", "adain-vgg16-1x")[1] == "best"
    other = two | {"quality_network": "another"}
    apart = quality_table(read_results(frame([one, other])))
    assert shown(apart, "style_loss", "adain-vgg16-1x")[1] is None
    assert "only rows that agree" in apart.note
    sentences = dict(findings(read_results(frame([one, other]))))["Quality"]
    assert not any("Lowest" in sentence for sentence in sentences)


# --------------------------------------------------------------------------------------- long form


def test_the_long_form_has_every_field_of_every_record() -> None:
    records = cuda_run()
    made = [{**r, "quality_other": {"edge": 2.0}} if r["kind"] == "quality" else r for r in records]
    table = records_table(read_results(frame(made)))
    rows = parsed(table)
    assert len(rows) == len(records)
    plain = {name for name, value in records[0].items() if not isinstance(value, dict)}
    missing = plain - set(rows[0]) - {"per_pair", "quality_other"}
    assert {name for name in missing if records[0][name] is not None} == set()
    by_id = {row["id"]: row for row in rows}
    for record in records:
        row = by_id[record["id"]]
        assert row["status"] == record["status"]
        if record["latency_samples_ms"]:
            assert json.loads(row["latency_samples_ms"]) == record["latency_samples_ms"]
    assert {row["quality_other.edge"] for row in rows} == {"", "2.0"}


def test_pairs_are_rows() -> None:
    records = [quality_cell(model, pairs=3) for model in ("wct-vgg16-1x", "adain-vgg16-16x")]
    rows = parsed(pairs_table(read_results(frame(records))))
    assert len(rows) == 6
    assert [row["content"] for row in rows[:3]] == [f"photo-{n}.jpg" for n in range(3)]
    assert float(of(rows, "adain-vgg16-16x", pair="1")["style_loss"]) == pytest.approx(
        records[1]["style_loss"], rel=1e-5
    )


def test_parquet_has_full_numbers_and_types_that_do_not_hang_on_the_values() -> None:
    def read(records: list[dict[str, Any]]) -> dict[str, pa.Table]:
        tables = all_tables(read_results(frame(records)))
        return {one.name: pq.read_table(pa.BufferReader(parquet(one))) for one in tables}

    many, one = read(cpu_run()), read([cell("wct-vgg16-1x", SIZES["1MP"], status="crashed")])
    for name in ("models", "sweep", "failures"):
        assert many[name].schema.equals(one[name].schema), name
    models = many["models"].to_pandas().set_index("model")
    assert models["latency_ms"]["wct-vgg16-16x"] == latency_ms("wct", 16, 2304 * 1728 / 1e6)
    assert models["parameters"].dtype == "int64"
    assert one["models"].schema.field("speed_up").type == pa.float64()
    assert read([])["records"].num_rows == 0

"""``report.html``: what it says, that nothing in it can break out, and where its numbers lead."""

import base64
import hashlib
import json
import math
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.run.records import record_name
from reports.page.data import five_numbers, record_data
from reports.page.highlights import highlights
from reports.page.links import RecordIndex
from reports.page.prose import prose, strong_names
from reports.page.write import write_page
from reports.proxy_study import proxy_study
from reports.reading import read_results
from reports.tables import all_tables
from reports.text import markdown, one_line
from tests.unit.reports_data import (
    SIZES,
    cpu_run,
    cuda_run,
    frame,
    latency_ms,
    performance,
    pictures,
    quality,
)

NASTY = (
    "adain-vgg16-16x:/m/</script><script>alert(1)</script> & \"q\" 's' 100% $x_1$ \u202eрус 中 é"
)


class Document(HTMLParser):
    """A page taken apart: what elements it has, and the text of the whole and of each table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.rows: dict[str, list[tuple[str, list[tuple[str, dict[str, str]]]]]] = {}
        self._open: list[str] = []
        self._table = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self.tags.append((tag, known))
        if tag == "script":
            self.scripts.append("")
        if tag == "section" and known.get("class") == "table":
            self._table = known["id"].removeprefix("t-")
            self.rows[self._table] = []
        if tag == "tr" and self._table:
            self.rows[self._table].append((known.get("data-r", ""), []))
        if tag in ("td", "th") and self._table:
            self.rows[self._table][-1][1].append(("", known))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass
        if tag == "table":
            self._table = ""

    def handle_data(self, data: str) -> None:
        if "script" in self._open[-1:]:
            self.scripts[-1] += data
        elif "style" not in self._open[-1:]:
            self.texts.append(data)
            if self._table and self.rows[self._table] and {"td", "th"} & set(self._open):
                text, known = self.rows[self._table][-1][1][-1]
                self.rows[self._table][-1][1][-1] = (text + data, known)

    @property
    def text(self) -> str:
        """What can be read."""
        return " ".join("".join(self.texts).split())


def write(
    folder: Path, records: list[dict[str, Any]], *, cells: bool = True, **more: Any
) -> tuple[Document, str]:
    """The page of these records, with their files beside it."""
    results = read_results(frame(records))
    if cells:
        (folder / "cells").mkdir(parents=True, exist_ok=True)
        for record in results.records:
            name = record_name(record.id, record.repeat).replace("/", "_")
            (folder / "cells" / name).write_text("{}")
    values: dict[str, Any] = {
        "results": results,
        "tables": all_tables(results),
        "figures": {},
        "captions": {},
        "environment": {"cpu": "a CPU", "variables": {"OMP_NUM_THREADS": "2"}},
        "scenario": {"name": "a run"},
        "proxy": proxy_study(results),
        "run_dir": folder,
    }
    [page, *_] = write_page(**(values | more))
    text = page.read_text("utf-8")
    return Document(text), text


def embedded(document: Document) -> dict[str, Any]:
    """The data that the page's script reads."""
    found: dict[str, Any] = json.loads(document.scripts[1])
    return found


def column(data: dict[str, Any], name: str) -> list[Any]:
    """A field of every record, as the page's script has it."""
    found = data["records"]["columns"].get(name, {"same": None})
    if "same" in found:
        return [found["same"]] * data["records"]["count"]
    return found["each"] if "each" in found else [found["of"][place] for place in found["at"]]


@given(st.text())
def test_prose_shows_any_name_as_itself(name: str) -> None:
    assert unescape(re.sub("<[^>]*>", "", prose(markdown(name)))) == one_line(name)


def test_prose_knows_strong_code_and_nothing_else() -> None:
    html = prose("**a** `b` <img src=x onerror=1> [c](javascript:d) ![e](f) &amp; \\*g\\*")
    assert html == (
        "<strong>a</strong> <code>b</code> &lt;img src=x onerror=1&gt; [c](javascript:d) ![e](f) "
        "&amp; *g*"
    )


def test_a_name_in_a_sentence_leads_to_its_records() -> None:
    links = strong_names({"a & <b>": "3 4"})
    html = prose(f"**{markdown('a & <b>')}** is as fast as **c**", links)
    assert html == (
        '<a class="who" href="#tables" data-r="3 4"><strong>a &amp; &lt;b&gt;</strong></a> '
        "is as fast as <strong>c</strong>"
    )


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_five_numbers_are_numpys_percentiles(samples: list[float]) -> None:
    expected = np.percentile(samples, [0, 25, 50, 75, 100])
    assert five_numbers(samples) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_records_come_back_from_the_columns() -> None:
    results = read_results(frame(cuda_run()))
    data = {"records": record_data(results.records, frozenset())}
    for name in ("id", "model", "status", "width", "latency_ms", "reason", "peak_allocated_mb"):
        expected = [getattr(record, name) for record in results.records]
        found = column(data, name)
        assert [value is None for value in found] == [value is None for value in expected]
        for one, other in zip(found, expected, strict=True):
            assert one == (pytest.approx(other, rel=1e-5) if isinstance(other, float) else other)
    samples = column(data, "latency_samples_ms")
    measured = next(r for r in results.records if r.latency_samples_ms)
    assert samples[results.records.index(measured)]["count"] == len(
        measured.latency_samples_ms or []
    )
    assert column(data, "latency_outliers") == [None] * len(results.records)


def test_numbers_that_are_not_finite_are_words() -> None:
    made = quality("wct-vgg16-16x", psnr_teacher=math.inf)
    made["per_pair"][0]["style_loss"] = math.nan
    data = record_data(read_results(frame([made])).records, frozenset())
    assert data["columns"]["psnr_teacher"] == {"same": "Infinity"}
    count, *_ = data["columns"]["per_pair"]["same"]["style_loss"]
    assert count == 1  # of two pairs
    json.dumps(data, allow_nan=False)


def test_no_name_breaks_out_of_the_page(tmp_path: Path) -> None:
    run = [performance(NASTY, SIZES["1MP"]), performance("wct-vgg16-16x", SIZES["1MP"])]
    run += [quality(NASTY), performance(NASTY, SIZES["4MP"], status="crashed", reason=NASTY)]
    for entry in run[2]["per_pair"]:
        entry |= {"content": NASTY, "image": f"images/{NASTY}.png"}
    document, text = write(
        tmp_path, run, scenario={"name": NASTY, NASTY: NASTY}, environment={NASTY: {NASTY: NASTY}}
    )
    assert len(document.scripts) == 3
    assert "alert" not in document.scripts[0] + document.scripts[2]
    assert not [name for _, known in document.tags for name in known if name.startswith("on")]
    assert NASTY in column(embedded(document), "model")
    shown = one_line(NASTY).rpartition("/")[2]
    assert shown in document.text
    assert "</script><script>alert" not in text


def test_a_name_with_half_a_character_can_be_written(tmp_path: Path) -> None:
    document, text = write(tmp_path, cpu_run()[:2], scenario={"name": "a\udcff\x00b"})
    assert "a? b" in document.text
    assert "\x00" not in text


def test_only_the_scripts_of_the_page_may_run_and_nothing_is_fetched(tmp_path: Path) -> None:
    document, text = write(tmp_path, cpu_run())
    [policy] = [
        known["content"]
        for tag, known in document.tags
        if tag == "meta" and known.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    for script in (document.scripts[0], document.scripts[2]):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in rules["script-src"]
    assert "unsafe" not in rules["script-src"]
    addresses = [
        known[name] for _, known in document.tags for name in ("src", "href") if name in known
    ]
    assert not [one for one in addresses if "://" in one or one.startswith("//")]
    assert not re.findall(r"url\((?!#)", text)


def test_every_row_leads_to_its_record(tmp_path: Path) -> None:
    run = cpu_run()
    for place, made in enumerate(run):
        made["id"] = f"{place:012x}"
    document, _ = write(tmp_path, run)
    identity = column(embedded(document), "id")
    [heads, *rows] = document.rows["sweep"]
    names = [text.strip() for text, _ in heads[1]]
    latency = next(place for place, name in enumerate(names) if name.startswith("Latency"))
    assert len(rows) == sum(made["kind"] == "performance" for made in run)
    by_id = {made["id"]: made for made in run}
    for records, cells in rows:
        made = by_id[identity[int(records)]]
        assert cells[0][0].startswith(made["model"])
        if made["latency_ms"] is not None:
            assert float(cells[latency][1]["data-v"]) == pytest.approx(made["latency_ms"], rel=1e-5)
    links = [known["href"] for tag, known in document.tags if tag == "a" and "href" in known]
    files = {link for link in links if link.startswith("cells/")}
    assert files == {f"cells/{made['id']}-0.json" for made in run}
    assert all((tmp_path / file).is_file() for file in files)


def test_a_number_of_the_model_table_leads_to_the_cells_it_is_made_of(tmp_path: Path) -> None:
    document, _ = write(tmp_path, cpu_run(("wct-vgg16-1x", "wct-vgg16-16x")))
    data = embedded(document)
    [heads, _, student] = document.rows["models"]
    names = [text for text, _ in heads[1]]

    def sources(name: str) -> set[tuple[str, int, str]]:
        place = next(place for place, one in enumerate(names) if one.startswith(name))
        return {
            (column(data, "model")[n], column(data, "width")[n], column(data, "status")[n])
            for n in map(int, student[1][place][1]["data-r"].split())
        }

    assert sources("Latency") == {("wct-vgg16-16x", 2304, "ok")}
    assert sources("Speed-up") == {
        ("wct-vgg16-1x", 2304, "ok"),
        ("wct-vgg16-16x", 2304, "ok"),
    }
    assert sources("Largest") == {("wct-vgg16-16x", 10240, "ok")}
    assert sources("Next size") == {("wct-vgg16-16x", 11552, "out_of_memory")}


def test_highlights_are_the_least_and_by_how_much() -> None:
    models = ("wct-vgg16-1x", "wct-vgg16-16x", "adain-vgg16-16x")
    results = read_results(frame(cpu_run(models)))
    index = RecordIndex(results.records)
    found = {one.heading: one for one in highlights(results, index)}
    fastest = found["Fastest at 3.98 MP"]
    assert fastest.who == "adain-vgg16-16x"
    times = latency_ms("wct", 16, 1) / latency_ms("adain", 16, 1)
    assert fastest.detail.startswith(f"{times:.2f} times as fast as wct-vgg16-16x (")
    [place] = fastest.records
    assert results.records[place].model == "adain-vgg16-16x"
    assert (results.records[place].width, results.records[place].height) == SIZES["4MP"]
    assert found["Largest image measured"].value == "41.9 MP"
    # the next size was skipped for its time, and may fit
    assert "wct-vgg16-1x was measured to 3.98 MP" in found["Largest image measured"].detail


def test_the_lowest_loss_is_held_against_the_next_pair_by_pair() -> None:
    """One pair with a large loss rules both means: by it alone the first is lower."""
    first, other = (quality(f"wct-vgg16-{ratio}x", pairs=4) for ratio in (1, 16))
    for pairs, losses in ((first, (2, 2, 2, 50)), (other, (1, 1, 1, 100))):
        for pair, loss in zip(pairs["per_pair"], losses, strict=True):
            pair["style_loss"] = float(loss)
        pairs["style_loss"] = sum(losses) / 4

    def detail(records: list[dict[str, Any]]) -> str:
        results = read_results(frame(records))
        found = {one.heading: one for one in highlights(results, RecordIndex(results.records))}
        return found["Lowest style loss"].detail

    # 2 x 2 x 2 x 1/2 is 4: its fourth root
    assert detail([first, other]).startswith("pair by pair 1.41 times that of wct-vgg16-16x (25.8)")


def test_a_reach_is_that_of_all_models_only_where_none_failed_everywhere() -> None:
    def detail(records: list[dict[str, Any]]) -> str:
        results = read_results(frame(records))
        return highlights(results, RecordIndex(results.records))[0].detail

    size = SIZES["1MP"]
    two = [performance(model, size) for model in ("wct-vgg16-1x", "wct-vgg16-16x")]
    assert detail(two).endswith("reached by all")
    full = {"status": "out_of_memory"}
    assert detail([*two, performance("adain-vgg16-1x", size, **full)]).endswith("reached by 2 of 3")
    less = [*two, performance("wct-vgg16-16x", SIZES["4MP"])]
    assert detail(less).endswith("wct-vgg16-1x was measured to 0.995 MP")
    stopped = [*less, performance("wct-vgg16-1x", SIZES["4MP"], **full)]
    assert detail(stopped).endswith("wct-vgg16-1x stops at 0.995 MP")


def test_a_preference_leads_to_the_record_it_comes_from(tmp_path: Path) -> None:
    run = cpu_run(("wct-vgg16-1x", "wct-vgg16-16x"))
    for place, made in enumerate(run):
        made["id"] = f"{place:012x}"
    document, _ = write(tmp_path, run)
    data = embedded(document)
    [_, *rows] = document.rows["preference_proxy"]
    assert len(rows) == 2
    for records, cells in rows:
        place = int(records)
        assert column(data, "model")[place] == cells[0][0].strip()
        assert column(data, "kind")[place] == "quality"


def test_random_weights_are_said_wherever_such_a_model_leads() -> None:
    results = read_results(frame(cpu_run(("wct-vgg16-4x", "adain-vgg16-4x"))))
    found = highlights(results, RecordIndex(results.records))
    assert found
    assert all(one.random for one in found)
    assert not [one for one in found if "loss" in one.heading]


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    document, _ = write(tmp_path, [], environment={}, scenario={}, cells=False)
    assert "This run is empty" in document.text
    assert "Not recorded." in document.text
    assert "Made from 0 records" in document.text


@pytest.mark.parametrize("records", [cuda_run()[:1], cpu_run()[-1:]], ids=["measured", "skipped"])
def test_a_run_of_one_record_has_a_page(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    document, _ = write(tmp_path, records)
    assert embedded(document)["records"]["count"] == 1
    assert "1 record of 1 model" in document.text


def test_failed_cells_stand_with_their_messages(tmp_path: Path) -> None:
    run = cpu_run()
    document, _ = write(tmp_path, run)
    shown = [" ".join(text for text, _ in cells) for _, cells in document.rows["failures"][1:]]
    failed = [made for made in run if made["status"] != "ok"]
    assert len(shown) == len(failed)
    for made in failed:
        assert any(made["model"] in line and made["reason"] in line for line in shown)


def test_the_same_run_gives_the_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    run = cuda_run()
    for name, records in (("one", run), ("other", run[::-1])):
        (tmp_path / name).mkdir()
        pictures(tmp_path / name, run)
        write(tmp_path / name, records)
    pages = [(tmp_path / name / "report.html").read_bytes() for name in ("one", "other")]
    assert pages[0] == pages[1]


def test_thousands_of_records_keep_their_page_small(tmp_path: Path) -> None:
    run = cuda_run()
    many = [made | {"id": f"{n:04x}{m:08x}"} for n in range(40) for m, made in enumerate(run)]
    assert len(many) > 3000
    _, text = write(tmp_path, many, tables=[], cells=False)
    assert len(text) < 3_000_000


def test_several_runs_show_their_environments_side_by_side(tmp_path: Path) -> None:
    records = [
        {**made, "run": run}
        for run in ("here", "there")
        for made in cpu_run(("wct-vgg16-1x", "wct-vgg16-16x"))
    ]
    results = read_results(frame(records), ("here", "there"))
    document, _ = write(
        tmp_path,
        [],
        results=results,
        tables=all_tables(results),
        environment={"here": {"torch": "2.11", "python": "3.12"}, "there": {"torch": "2.15"}},
    )
    assert "Whatherethere torch2.112.15 python3.12– Scenario" in document.text
    data = embedded(document)
    [_, *rows] = document.rows["sweep"]
    runs = column(data, "run")
    for records_of_row, cells in rows:
        assert runs[int(records_of_row)] in [text for text, _ in cells]
    assert not [k for tag, k in document.tags if k.get("href", "").startswith("cells/")]

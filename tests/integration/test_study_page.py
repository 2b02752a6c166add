"""The study's page in a real browser, from file://, as raters use it."""

import json
import time
from pathlib import Path

import pytest

from bench.study.analyze import analyze_study
from bench.study.export import key_path
from tests.browser import Page, find_browser, running_browser
from tests.study_data import METHODS, make_study

pytestmark = pytest.mark.skipif(find_browser() is None, reason="there is no Chromium to drive")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Folder and key of a study with 12 questions on a sheet: 6, 3 repeats and 3 checks."""
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with running_browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def page(browser, tmp_path, study):
    with browser.page(tmp_path / "downloads") as opened:
        opened.window(1440, 900)
        opened.open((study[0] / "index.html").as_uri() + "#1")
        yield opened
        # whatever a test does, the page never stumbles and never asks anybody for anything
        assert opened.errors() == []
        assert all(url.startswith(("file:", "data:", "blob:")) for url in opened.requests())


def begin(page: Page) -> None:
    page.click("#begin")
    page.wait("ready")


def better_side(page: Page, study) -> str:
    """What somebody answers who goes by the order of ``METHODS``."""
    _, key = study
    shown = [page.run(f"at('{side}').src") for side in ("left", "right")]
    order = [*METHODS, None]
    left, right = (order.index(key.pictures[Path(url).stem].method) for url in shown)
    return "left" if left < right else "right"


def answered(page: Page) -> int:
    return len(page.run("state.answers"))


def wait_for_file(folder: Path) -> Path:
    end = time.monotonic() + 60
    while not (found := list(folder.glob("*.json"))):
        assert time.monotonic() < end, "nothing was downloaded"
        time.sleep(0.05)
    return found[0]


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_twelve_judgements_a_reload_and_a_file_that_can_be_analysed(page, study, tmp_path, phone):
    if phone:
        page.window(390, 844, phone=True, ratio=3)
    begin(page)
    keys = {"left": ["ArrowLeft", "1"], "right": ["ArrowRight", "2"]}
    for number in range(12):
        assert page.run("at('place').textContent") == f"{number + 1} of 12"
        side = better_side(page, study)
        if phone:
            page.touch([page.middle(f"#answer-{side}")])
        elif number % 3 == 2:
            page.click(f"#answer-{side}")
        else:
            page.key(keys[side][number % 3])
        page.wait(f"state.answers.length === {number + 1}")
        if number == 6:
            rater = page.run("state.rater")
            page.reload()
            assert "7 of 12 answers are kept" in page.run("at('welcome').textContent")
            assert page.run("state.rater") == rater
            page.click("#begin")
        page.wait("ready || !at('end').hidden")
    assert page.run("at('end-title').textContent") == "Done, thank you!"
    page.click("#save")
    file = wait_for_file(tmp_path / "downloads")
    saved = json.loads(file.read_text())
    assert saved["touch"] is phone
    assert saved["answers"][0]["window"] == ([390, 844] if phone else [1440, 900])
    found = analyze_study([file], key_path(study[0]))
    assert list(found.methods["share"]) == [1, 0.5, 0]
    [rater] = found.kept
    assert (rater.answers, rater.attention, rater.consistent) == (12, 3, 3)


def test_the_last_answer_can_be_taken_back(page, study):
    begin(page)
    page.key("1")
    page.wait("ready && state.answers.length === 1")
    page.key("Backspace")
    page.wait("ready && state.answers.length === 0")
    page.key("2")
    page.wait("ready")
    assert page.run("state.answers.map((one) => one.choice)") == ["right"]
    page.click("#back")
    assert answered(page) == 0


def test_a_key_held_down_is_one_answer(page):
    begin(page)
    for repeated in (False, True, True, True):
        page.send("Input.dispatchKeyEvent", type="rawKeyDown", key="ArrowLeft", autoRepeat=repeated)
        page.wait("ready")
    assert answered(page) == 1


def test_stopping_keeps_what_there_is(page, study, tmp_path):
    begin(page)
    for _ in range(4):
        page.key("1" if better_side(page, study) == "left" else "2")
        page.wait("ready")
    page.click("#stop")
    page.click("#save")
    saved = json.loads(wait_for_file(tmp_path / "downloads").read_text())
    assert len(saved["answers"]) == 4
    assert saved["finished"] is None
    assert json.loads(page.run("at('copy').value")) == saved
    page.click("#on")
    page.wait("ready")
    assert page.run("at('place').textContent") == "5 of 12"


# --- Zoom -----------------------------------------------------------------------------------------


def places(page: Page) -> list[list[float]]:
    """Scale and the shown middle of both results, as fractions of the picture's sides."""
    return page.run(
        """["left", "right"].map((id) => {
            const view = at(id).parentElement.getBoundingClientRect();
            const shown = at(id).getBoundingClientRect();
            return [shown.width / at(id).naturalWidth,
                    (view.left + view.width / 2 - shown.left) / shown.width,
                    (view.top + view.height / 2 - shown.top) / shown.height];
        })"""
    )


def both_alike(page: Page) -> list[float]:
    left, right = places(page)
    assert left == pytest.approx(right, abs=1e-3)
    return left


def test_the_wheel_zooms_both_at_the_pointer(page):
    begin(page)
    whole = both_alike(page)
    assert whole[1:] == pytest.approx([0.5, 0.5], abs=2e-3)
    x, y = page.middle("#left")
    at_pointer = "(b => [({} - b.left) / b.width, ({} - b.top) / b.height])(at('left')"
    where = at_pointer.format(x + 100, y) + ".getBoundingClientRect())"
    before = page.run(where)
    for _ in range(4):
        page.send(
            "Input.dispatchMouseEvent",
            type="mouseWheel",
            x=x + 100,
            y=y,
            deltaX=0,
            deltaY=-200,
        )
    page.wait(f"at('left').getBoundingClientRect().width > {4 * whole[0] * 48}")
    assert page.run(where) == pytest.approx(before, abs=2e-3)
    both_alike(page)
    page.key("z")
    assert both_alike(page) == pytest.approx(whole)
    page.key("1")
    page.wait("ready")
    assert page.run("state.answers[0].zoomed")


def test_dragging_moves_both_and_not_beyond_the_edge(page):
    begin(page)
    page.key("z")
    zoomed = both_alike(page)
    x, y = page.middle("#results .view:nth-child(2)")
    for kind, far in (("mousePressed", 0), ("mouseMoved", 80), ("mouseReleased", 80)):
        page.send("Input.dispatchMouseEvent", type=kind, x=x + far, y=y, button="left", buttons=1)
    moved = both_alike(page)
    assert moved[0] == pytest.approx(zoomed[0])
    assert moved[1] == pytest.approx(zoomed[1] - 80 / (48 * zoomed[0]), abs=2e-3)
    for _ in range(20):
        page.key("ArrowLeft", shift=True)
    edge = page.run("at('left').getBoundingClientRect().left")
    assert edge == pytest.approx(
        page.run("at('left').parentElement.getBoundingClientRect().left"), abs=1
    )
    assert answered(page) == 0


def test_pinch_and_double_tap_zoom_both(page):
    page.window(390, 844, phone=True, ratio=2)
    begin(page)
    whole = both_alike(page)
    x, y = page.middle("#results .view")
    page.touch(*([(x - far, y), (x + far, y)] for far in (20, 30, 40, 60)))
    pinched = both_alike(page)
    assert pinched[0] == pytest.approx(3 * whole[0], rel=0.02)
    for _ in range(2):
        page.touch([(x, y)])
    assert both_alike(page)[0] == pytest.approx(whole[0])
    assert answered(page) == 0
    assert page.run("visualViewport.scale") == 1  # the page itself stays as it is


@pytest.mark.parametrize(
    "window", [(390, 844), (360, 640), (844, 390), (768, 1024), (1440, 900), (1920, 1080)]
)
def test_a_question_fits_the_window(page, window):
    page.window(*window, phone=window[0] < 900)
    begin(page)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run("document.documentElement.scrollHeight <= innerHeight")
    for one in ("#back", "#stop", "#answer-left", "#answer-right", "#zoom", "#content", "#style"):
        inside = page.run(
            f"(b => b.left >= 0 && b.top >= 0 && b.right <= innerWidth && b.bottom <= innerHeight)"
            f"(document.querySelector('{one}').getBoundingClientRect())"
        )
        assert inside, one
    smallest = page.run(
        "Math.min(...[...document.querySelectorAll('#judge .view')].map((v) => v.clientHeight))"
    )
    assert smallest >= 150


def test_content_and_style_are_shown_large(page):
    begin(page)
    page.click("[data-large=style]")
    page.wait("document.querySelector('#large img').style.visibility === 'visible'")
    page.key("2")
    assert answered(page) == 0  # no answer while the results are covered
    page.click("#close")
    page.key("2")
    page.wait("state.answers.length === 1")


def test_every_control_has_a_name_and_every_picture_a_text(page):
    begin(page)
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and "role" in node
    }
    for wanted in (
        ("button", "A is better"),
        ("button", "B is better"),
        ("button", "Show the content large"),
        ("image", "Result A"),
        ("image", "Result B"),
    ):
        assert wanted in named
    assert not [role for role, name in named if role in ("button", "image") and not name]


def test_a_missing_picture_is_said_and_not_judged(browser, tmp_path, study):
    folder, key = study
    broken = tmp_path / "study"
    (broken / "images").mkdir(parents=True)
    (broken / "index.html").write_bytes((folder / "index.html").read_bytes())
    gone = key.sheets[0][0].left
    for path in (folder / "images").iterdir():
        if path.stem != gone:
            (broken / "images" / path.name).write_bytes(path.read_bytes())
    with browser.page(tmp_path) as page:
        page.open((broken / "index.html").as_uri() + "#1")
        page.click("#begin")
        page.wait("!at('trouble').hidden")
        assert gone in page.run("at('trouble').textContent")
        page.key("2")
        assert answered(page) == 0


def test_one_file_with_all_pictures_in_it(browser, tmp_path):
    folder, _ = make_study(tmp_path, embed=True)
    alone = tmp_path / "alone.html"
    (folder / "index.html").rename(alone)
    with browser.page(tmp_path) as page:
        page.open(alone.as_uri())
        begin(page)
        page.key("1")
        page.wait("ready && state.answers.length === 1")
        assert page.errors() == []


def test_a_browser_that_keeps_nothing_is_told_of(browser, tmp_path, study):
    with browser.page(tmp_path) as page:
        page.send(
            "Page.addScriptToEvaluateOnNewDocument",
            source="Object.defineProperty(window, 'localStorage', "
            "{get() { throw new DOMException('no', 'SecurityError'); }})",
        )
        page.open((study[0] / "index.html").as_uri())
        assert "keeps nothing" in page.run("at('storage').textContent")
        begin(page)
        page.key("1")
        page.wait("ready && state.answers.length === 1")

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from bench.cli import app
from bench.errors import UserError
from bench.images import read_image
from bench.run.records import write_record
from bench.study.export import StudyOptions, export_study, key_path
from bench.study.formats import read_key
from bench.study.sheets import BROKEN, REPEAT_DISTANCE, Design, duels, make_sheets
from bench.study.sources import material_of_folder, material_of_run
from distill.command_line import run_app
from tests.study_data import METHODS, PAIRS, make_material, make_study
from tests.unit.test_store import make_record


@st.composite
def studies(draw):
    methods = [f"m{i}" for i in range(draw(st.integers(2, 5)))]
    pairs = [f"p{i}" for i in range(draw(st.integers(1, 6)))]
    every = duels((pair, methods) for pair in pairs)
    comparisons = draw(st.integers(1, len(every)))
    design = Design(
        comparisons=comparisons,
        attention=draw(st.integers(0, 4)),
        repeats=draw(st.integers(0, min(4, comparisons))),
        sheets=2 * draw(st.integers(1, 5)),
    )
    return every, design, draw(st.integers(0, 2**32))


def of_kind(sheet, kind):
    return [question for question in sheet if question.kind == kind]


@given(studies())
def test_a_sheet_asks_what_was_ordered(study):
    every, design, seed = study
    for sheet in make_sheets(every, design, seed=seed):
        asked = of_kind(sheet, "comparison")
        assert len({question.duel for question in asked}) == len(asked) == design.comparisons
        assert {question.duel for question in asked} <= set(every)
        assert len(of_kind(sheet, "attention")) == design.attention
        assert len(of_kind(sheet, "repeat")) == design.repeats


@given(studies())
def test_every_method_stands_left_as_often_as_right(study):
    every, design, seed = study
    for sheet in make_sheets(every, design, seed=seed):
        asked = of_kind(sheet, "comparison")
        left = Counter(question.left for question in asked)
        right = Counter(question.right for question in asked)
        assert all(abs(left[name] - right[name]) <= 1 for name in left | right)
        broken_left = sum(one.left == BROKEN for one in of_kind(sheet, "attention"))
        assert abs(2 * broken_left - design.attention) <= 1


@given(studies())
def test_twin_sheets_are_mirrored(study):
    every, design, seed = study
    sheets = make_sheets(every, design, seed=seed)
    for one, other in zip(sheets[::2], sheets[1::2], strict=True):
        assert Counter(one) == Counter(question.mirrored() for question in other)


@given(studies())
def test_comparisons_come_up_equally_often(study):
    every, design, seed = study
    sheets = make_sheets(every, design, seed=seed)
    asked = Counter(one.duel for sheet in sheets[::2] for one in of_kind(sheet, "comparison"))
    counts = [asked[duel] for duel in every]
    assert max(counts) - min(counts) <= 1


@given(studies())
def test_a_repeat_is_mirrored_and_not_at_once(study):
    every, design, seed = study
    for sheet in make_sheets(every, design, seed=seed):
        for place, question in enumerate(sheet):
            if question.kind != "repeat":
                continue
            first = sheet.index(replace(question.mirrored(), kind="comparison"))
            later_comparisons = design.comparisons - 1 - first
            assert place - first > min(REPEAT_DISTANCE, later_comparisons, 0)
            if design.comparisons > 3 * REPEAT_DISTANCE:
                assert place - first > REPEAT_DISTANCE


def test_sheets_are_those_of_the_seed_and_differ():
    every = duels((f"p{i}", ["a", "b", "c"]) for i in range(8))
    design = Design(comparisons=12)
    sheets = make_sheets(every, design, seed=3)
    assert sheets == make_sheets(every, design, seed=3)
    assert sheets != make_sheets(every, design, seed=4)
    assert len({tuple(sheet) for sheet in sheets}) == len(sheets)


# --- The folder -----------------------------------------------------------------------------------


def page_data(folder):
    text = (folder / "index.html").read_text()
    found = re.search(r'<script id="study" type="application/json">(.*?)</script>', text, re.S)
    return json.loads(found[1])


def test_page_and_key_ask_the_same(tmp_path):
    folder, key = make_study(tmp_path, questions=4)
    page = page_data(folder)
    assert page["id"] == key.study
    assert [[question[1:] for question in sheet] for sheet in page["sheets"]] == [
        [[question.left, question.right] for question in sheet] for sheet in key.sheets
    ]
    for sheet, asked in zip(page["sheets"], key.sheets, strict=True):
        for (pair, *_), question in zip(sheet, asked, strict=True):
            assert PAIRS[pair] == key.pictures[question.left].pair


def test_pictures_are_those_the_key_names_pixel_for_pixel(tmp_path):
    folder, key = make_study(tmp_path)
    assert {what.method for what in key.pictures.values()} == {*METHODS, None}
    for token, what in key.pictures.items():
        shown = read_image(folder / "images" / f"{token}.png")
        if what.method is not None:
            source = read_image(tmp_path / "material" / what.method / f"{what.pair}.png")
            assert np.array_equal(shown, source)
        else:
            assert shown.shape == (32, 48, 3)
    page = page_data(folder)
    for (content, style), pair in zip(page["pairs"], PAIRS, strict=True):
        for role, token in (("content", content), ("style", style)):
            shown = read_image(folder / "images" / f"{token}.png")
            source = read_image(tmp_path / "material" / role / f"{pair}.png")
            assert np.array_equal(shown, source)


def test_a_turned_tiff_is_shown_upright_and_not_squashed(tmp_path):
    material = make_material(tmp_path / "in", pairs=("one",), size=(48, 32))
    upright = read_image(material / "content" / "one.png")
    (material / "content" / "one.png").unlink()
    stored = np.ascontiguousarray(np.rot90(upright))  # as orientation 6 has it
    image = Image.fromarray(stored)
    image.save(material / "content" / "one.tif", tiffinfo={274: 6})
    written = export_study(material_of_folder(material), tmp_path / "out", StudyOptions())
    ((content, _),) = page_data(written.folder)["pairs"]
    shown = read_image(written.folder / "images" / f"{content}.png")
    assert np.array_equal(shown, upright)


def test_nothing_raters_get_tells_a_method(tmp_path):
    names = ("secretmethod-a", "secretmethod-b")
    source = make_material(tmp_path / "in", methods=names)
    marked = PngImagePlugin.PngInfo()
    marked.add_text("Software", "secretmethod-a")
    picture = source / names[0] / "street.png"
    Image.open(picture).save(picture, pnginfo=marked)
    folder = export_study(material_of_folder(source), tmp_path / "out", StudyOptions()).folder
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if "secretmethod" in path.name]
    assert not [path for path in files if b"secretmethod" in path.read_bytes()]
    assert not [path for path in files if path.suffix == ".json"]
    # in the order of the names, so that the times of files tell nothing that the names do not
    images = sorted((folder / "images").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert images == sorted(images)


def test_names_of_files_do_not_follow_from_the_seed(tmp_path):
    material = material_of_folder(make_material(tmp_path / "in"))
    made = [export_study(material, tmp_path / name, StudyOptions(seed=5)) for name in "ab"]
    names = [{path.name for path in (one.folder / "images").iterdir()} for one in made]
    assert not names[0] & names[1]


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    folder, _ = make_study(tmp_path)
    text = (folder / "index.html").read_text()
    assert not re.search(r"https?://|{{|@import|\bfetch\(|XMLHttpRequest", text)
    assert re.search(r"default-src 'none'", text)


def test_a_question_cannot_break_out_of_the_page(tmp_path):
    ask = "Which </script><script>alert(1)</script> {{style}} & 'quotes'?"
    folder, key = make_study(tmp_path, ask=ask)
    assert page_data(folder)["ask"] == key.ask == ask
    assert "alert(1)</script>" not in (folder / "index.html").read_text()


def test_embedded_pictures_are_the_files(tmp_path):
    material = material_of_folder(make_material(tmp_path / "in"))
    written = export_study(material, tmp_path / "out", StudyOptions(embed=True))
    assert [path.name for path in written.folder.iterdir()] == ["index.html"]
    embedded = page_data(written.folder)["embedded"]
    assert set(read_key(written.key).pictures) < set(embedded)
    assert all(text.startswith("data:image/png;base64,") for text in embedded.values())


def test_max_side_reduces_all_alike(tmp_path):
    folder, _ = make_study(tmp_path, max_side=24, image_format="webp")
    sizes = {Image.open(path).size for path in (folder / "images").iterdir()}
    assert sizes == {(24, 16)}
    assert {path.suffix for path in (folder / "images").iterdir()} == {".webp"}


def test_losses_are_in_the_key(tmp_path):
    _, key = make_study(tmp_path)
    assert key.losses["street"]["middling"] == {"style_loss": 2, "content_loss": 3}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pairs": 3}, "pairs: 3; there are 2"),
        ({"questions": 7}, "questions: 7; there are 6 comparisons"),
        ({"questions": 0}, "questions: 0"),
        ({"sheets": 3}, "sheets: 3; an even number"),
        ({"attention": -1}, "attention: -1"),
        ({"max_side": 0}, "max_side: 0"),
    ],
)
def test_options_that_cannot_be_had_are_refused(tmp_path, options, complaint):
    with pytest.raises(UserError, match=complaint):
        make_study(tmp_path, **options)
    assert not (tmp_path / "study").exists()


def test_nothing_is_written_over(tmp_path):
    folder, _ = make_study(tmp_path)
    material = material_of_folder(tmp_path / "material")
    with pytest.raises(UserError, match="is there already; name another"):
        export_study(material, folder, StudyOptions())
    with pytest.raises(UserError, match="the key of another study"):
        (tmp_path / "other-key.json").touch()
        export_study(material, tmp_path / "other", StudyOptions())


def test_a_picture_that_cannot_be_read_leaves_nothing_behind(tmp_path):
    material = material_of_folder(make_material(tmp_path / "in"))
    (tmp_path / "in" / "good" / "street.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"street\.png: .*not an image"):
        export_study(material, tmp_path / "out", StudyOptions())
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


# --- Where pictures come from ---------------------------------------------------------------------


@pytest.fixture
def run_dir(tmp_path):
    """A run folder with three models on two pairs, one of them with random weights."""
    run = tmp_path / "run"
    (run / "images").mkdir(parents=True)
    (run / "cells").mkdir()
    (run / "scenario.yaml").write_text("name: test\n")
    (run / "environment.json").write_text("{}\n")
    rng = np.random.default_rng(0)

    def picture(name):
        Image.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8)).save(run / "images" / name)
        return f"images/{name}"

    for model, weights in {
        "wct-vgg16-1x": "trained",
        "wct-vgg16-16x:/somewhere/students": "trained",
        "adain-vgg16-4x": "random",
    }.items():
        identity = re.sub(r"\W", "", model)
        per_pair = [
            {
                "content": f"/photos/{pair}.jpg",
                "style": "builtin:waves",
                "content_image": picture(f"content-{pair}.png"),
                "style_image": picture("style-waves.png"),
                "image": picture(f"{pair}__{identity}.png"),
                "style_loss": 0.5,
                "content_loss": 2.0,
                "lpips": 0.1,
            }
            for pair in ("one", "two")
        ]
        record = make_record(
            id=identity, kind="quality", model=model, weights=weights, per_pair=per_pair
        )
        write_record(run, record)
    return run


def test_a_run_gives_its_trained_models(run_dir):
    material = material_of_run(run_dir)
    assert material.methods == ("wct-vgg16-16x:students", "wct-vgg16-1x")
    assert [pair.name for pair in material.pairs] == ["one + waves", "two + waves"]
    first = material.pairs[0]
    assert first.results["wct-vgg16-1x"] == run_dir / "images/one__wctvgg161x.png"
    assert first.content == run_dir / "images/content-one.png"
    assert first.losses["wct-vgg16-1x"] == {"style_loss": 0.5, "content_loss": 2.0}
    assert any("only 2 content-style pairs" in note for note in material.notes)


def test_settings_tell_methods_of_one_model_apart(run_dir):
    [path] = (run_dir / "cells").glob("wctvgg161x-*.json")
    content = json.loads(path.read_text()) | {"id": "half", "precision": "fp16"}
    (run_dir / "cells" / "half-0.json").write_text(json.dumps(content))
    methods = material_of_run(run_dir).methods
    assert methods == (
        "wct-vgg16-16x:students (fp32)",
        "wct-vgg16-1x (fp16)",
        "wct-vgg16-1x (fp32)",
    )


def test_a_lost_picture_is_told_and_left_out(run_dir):
    (run_dir / "images/one__wctvgg161x.png").unlink()
    material = material_of_run(run_dir)
    assert [pair.name for pair in material.pairs] == ["two + waves"]
    assert any(note.startswith("pair one + waves is left out") for note in material.notes)


def test_a_run_of_one_model_is_refused_in_one_line(run_dir):
    for path in (run_dir / "cells").glob("wctvgg1616x*"):
        path.unlink()
    with pytest.raises(UserError, match=r"images of 1 method \(wct-vgg16-1x\).*at least two"):
        material_of_run(run_dir)


def test_a_folder_of_another_layout_is_refused(tmp_path):
    with pytest.raises(UserError, match="no folder content and none style"):
        material_of_folder(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        material_of_folder(tmp_path / "absent")


def test_losses_of_unknown_names_are_refused_by_line(tmp_path):
    source = make_material(tmp_path)
    with (source / "losses.csv").open("a") as file:
        file.write("middlin,street,1,2\ngood,stret,1,2\ngood,street,x,2\n")
        file.write("good,street,1,nan\ngood,street,-1,2\ngood,street,inf,2\n")
    with pytest.raises(UserError) as caught:
        material_of_folder(source)
    assert [re.sub(r".*losses\.csv:", "", line) for line in caught.value.problems] == [
        "8: no method 'middlin'; did you mean 'middling'?",
        "9: no pair 'stret'; did you mean 'street'?",
        "10: style_loss and content_loss are finite numbers from 0 up; got 'x' and '2'",
        "11: style_loss and content_loss are finite numbers from 0 up; got '1' and 'nan'",
        "12: style_loss and content_loss are finite numbers from 0 up; got '-1' and '2'",
        "13: style_loss and content_loss are finite numbers from 0 up; got 'inf' and '2'",
    ]


# --- The command ----------------------------------------------------------------------------------


def test_the_command_writes_folder_and_key(tmp_path, capsys):
    source = make_material(tmp_path / "in")
    out = tmp_path / "out"
    arguments = ["study", "export", "--folder", str(source), "--out", str(out), "-q"]
    assert run_app(app, "bench", arguments) == 0
    assert (out / "index.html").is_file()
    assert key_path(out).parent == tmp_path
    assert "6 comparisons of 3 methods, 12 questions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give a run folder, or --folder"),
        (["RUN", "--folder", "X"], "give a run folder, or --folder"),
        (["absent"], "absent: no such run folder"),
        (["--folder", "X", "--format", "jgp"], "'jgp'.*did you mean 'jpg'"),
        (["--folder", "X", "--seed", "-1"], "'--seed'"),
    ],
)
def test_wrong_use_is_one_line(arguments, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_app(app, "bench", ["study", "export", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(complaint, lines[0])


def test_every_pair_of_methods_meets(tmp_path):
    _, key = make_study(tmp_path)
    met = {
        frozenset(key.pictures[token].method for token in (one.left, one.right))
        for sheet in key.sheets
        for one in sheet
        if one.kind == "comparison"
    }
    assert met == {frozenset(two) for two in combinations(METHODS, 2)}


def test_the_script_is_valid_for_node(tmp_path: Path):
    import shutil
    import subprocess

    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to check the script with")
    folder, _ = make_study(tmp_path)
    script = re.findall(r"<script>(.*?)</script>", (folder / "index.html").read_text(), re.S)
    (tmp_path / "page.js").write_text("\n".join(script))
    checked = subprocess.run([node, "--check", tmp_path / "page.js"], capture_output=True)
    assert checked.returncode == 0, checked.stderr.decode()

import json
import math
import random

import pandas as pd
import pytest
from scipy.stats import binomtest

from bench.cli import app
from bench.errors import UserError
from bench.study.analyze import analyze_study, write_analysis
from bench.study.export import key_path
from bench.study.formats import MAX_BYTES
from bench.study.prediction import PROXY, predict
from bench.study.statistics import Comparison
from distill.command_line import run_app
from tests.study_data import METHODS, answers_of, by_order, make_study, write_json


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study: the path of its key, and the key."""
    folder, key = make_study(tmp_path_factory.mktemp("made"))
    return key_path(folder), key


@pytest.fixture
def rated(made, tmp_path):
    """Six raters of one mind: their files, the key's path, the key."""
    path, key = made
    files = [
        write_json(tmp_path / "in" / f"{index}.json", answers_of(key, f"{index:08x}", sheet=index))
        for index in range(6)
    ]
    return files, path, key


def always_left(_left, _right):
    return True


def sees_the_broken(left, right):
    return left.method is not None if None in (left.method, right.method) else True


def test_raters_of_one_mind(rated):
    files, path, _ = rated
    found = analyze_study(files, path)
    assert len(found.kept) == 6
    assert len(found.comparisons) == 36
    methods = found.methods
    assert list(methods["method"]) == list(METHODS)
    assert list(methods["share"]) == [1, 0.5, 0]
    interval = binomtest(12, 24).proportion_ci(0.95, method="wilson")
    assert methods.loc[1, ["low", "high"]].tolist() == pytest.approx([interval.low, interval.high])
    assert list(methods["strength"]) == sorted(methods["strength"], reverse=True)
    assert found.agreement.value == pytest.approx(1)
    assert found.repeats.share == 1
    assert found.warnings == ()


def test_left_and_right_say_nothing(made, tmp_path):
    """A rater and one who sees everything mirrored give the same result."""
    path, key = made
    shares = []
    for sheet in (0, 1):
        file = write_json(tmp_path / f"{sheet}.json", answers_of(key, "ab" * 4, sheet=sheet))
        shares.append(analyze_study([file], path).methods)
    pd.testing.assert_frame_equal(*shares)


def test_coins_have_no_favourite(made, tmp_path):
    path, key = made
    rng = random.Random(1)

    def coin(left, right):
        return by_order(left, right) if None in (left.method, right.method) else rng.random() < 0.5

    files = [
        write_json(tmp_path / f"{i}.json", answers_of(key, f"{i:08x}", coin, sheet=i % 24))
        for i in range(40)
    ]
    found = analyze_study(files, path)
    assert (found.methods["low"] < 0.5).all() and (found.methods["high"] > 0.5).all()
    assert abs(found.agreement.value) < 0.15


# --- Who counts -----------------------------------------------------------------------------------


def test_who_chooses_the_broken_picture_is_left_out_by_name(rated, tmp_path):
    files, path, key = rated
    bad = write_json(tmp_path / "bad.json", answers_of(key, "bad" + "0" * 5, always_left))
    found = analyze_study([*files, bad], path)
    [dropped] = [rater for rater in found.raters if rater.dropped]
    assert dropped.name == "bad00000"
    assert dropped.file == bad
    assert dropped.dropped.startswith("chose the broken picture in")
    assert "bad00000" not in {one.rater for one in found.comparisons}
    failed = dropped.failed
    assert len(analyze_study([*files, bad], path, max_failed=failed - 1).kept) == 6
    # who fails no more than allowed must still not choose sides alone
    assert (
        analyze_study([*files, bad], path, max_failed=failed)
        .raters[-1]
        .dropped.startswith("contradicted all 3 mirrored repeats")
    )


def test_who_chooses_a_side_is_left_out(rated, tmp_path):
    files, path, key = rated
    file = write_json(tmp_path / "side.json", answers_of(key, "51de" * 2, sees_the_broken))
    found = analyze_study([*files, file], path)
    [dropped] = [rater for rater in found.raters if rater.dropped]
    assert dropped.failed == 0
    assert dropped.dropped == "contradicted all 3 mirrored repeats: chose a side, not a picture"


def test_who_stops_before_any_check_is_left_out(rated, tmp_path):
    files, path, key = rated
    first_check = [one.kind for one in key.sheets[0]].index("attention")
    early = write_json(
        tmp_path / "early.json", answers_of(key, "ea" * 4, count=min(first_check, 1))
    )
    nothing = write_json(tmp_path / "nothing.json", answers_of(key, "00" * 5, count=0))
    found = analyze_study([*files, early, nothing], path)
    reasons = {rater.name: rater.dropped for rater in found.raters if rater.dropped}
    assert reasons["00" * 5] == "answered no question"
    assert reasons["ea" * 4] == "stopped after 1 answers, before any attention check"


def test_who_stops_later_counts_with_a_warning(made, tmp_path):
    path, key = made
    kinds = [one.kind for one in key.sheets[0]]
    count = kinds.index("attention") + 1
    file = write_json(tmp_path / "part.json", answers_of(key, "ab" * 4, count=count, ms=200))
    found = analyze_study([file], path)
    assert len(found.comparisons) == kinds[:count].count("comparison")
    assert any(f"{count} of {len(kinds)} questions answered" in one for one in found.warnings)
    assert any("0.2 s" in one for one in found.warnings)
    assert any(one.startswith("1 rater:") for one in found.warnings)


def test_a_repeat_counts_for_consistency_only(rated):
    files, path, key = rated
    found = analyze_study(files[:1], path)
    comparisons = sum(one.kind == "comparison" for one in key.sheets[0])
    assert len(found.comparisons) == comparisons
    assert (found.repeats.consistent, found.repeats.repeats) == (3, 3)


def test_duplicates_count_once(rated, tmp_path):
    files, path, key = rated
    again = write_json(tmp_path / "again.json", json.loads(files[0].read_text()))
    part = write_json(tmp_path / "part.json", answers_of(key, f"{1:08x}", sheet=1, count=5))
    once = analyze_study(files, path)
    found = analyze_study([part, *files, again, files[2]], path)
    assert found.comparisons == once.comparisons
    assert any("again.json: the same answers as" in line for line in found.warnings)
    assert any("part.json: rater 00000001 is in" in line for line in found.warnings)


def test_a_folder_stands_for_its_files_less_the_key(rated, tmp_path):
    files, path, _ = rated
    key = tmp_path / "in" / "my-key.json"
    key.write_bytes(path.read_bytes())
    assert analyze_study([tmp_path / "in"], key).comparisons == (
        analyze_study(files, path).comparisons
    )


# --- Predictions ----------------------------------------------------------------------------------


def test_losses_that_rank_like_raters_predict_all(rated):
    files, path, _ = rated
    found = analyze_study(files, path).prediction
    table = found.table.set_index("predictor")
    assert set(table.index) == {PROXY, "lower style loss", "lower content loss"}
    assert (table["agreement"] == 1).all() and (table["winners"] == 1).all()
    assert table.loc["lower style loss", "pearson"] == pytest.approx(1)
    assert (table.loc[PROXY, ["pearson", "spearman"]] > 0.8).all()
    assert found.notes == ()


def comparison(winner, pair="p", first="a", second="b", rater="r"):
    return Comparison(rater=rater, pair=pair, first=first, second=second, winner=winner)


def losses(**style):
    return {name: {"style_loss": value, "content_loss": 1.0} for name, value in style.items()}


def test_a_prediction_counts_answers_and_winners():
    answers = [*[comparison("a")] * 3, comparison("b"), comparison("b", "q"), comparison("b", "q")]
    found = predict(answers, {"p": losses(a=1, b=2), "q": losses(a=1, b=2)})
    style = found.table.set_index("predictor").loc["lower style loss"]
    assert style["agreement"] == pytest.approx(3 / 6)
    assert style["winners"] == 0.5  # three to three
    content = found.table.set_index("predictor").loc["lower content loss"]
    assert content["agreement"] == 0.5  # equal losses favour neither
    assert math.isnan(style["pearson"])
    assert found.notes == ("1 matchup of methods: a correlation needs 3",)


def test_names_of_methods_and_their_order_change_no_correlation():
    rng = random.Random(0)
    known = {f"p{i}": losses(a=1, b=1.3, c=2) for i in range(4)}
    answers = [
        comparison(rng.choice(two), f"p{i}", *two)
        for i in range(4)
        for two in [("a", "b"), ("a", "c"), ("b", "c")] * 5
    ]
    renamed = {"a": "z", "b": "a", "c": "m"}
    others = [
        comparison(renamed[one.winner], one.pair, renamed[one.second], renamed[one.first])
        for one in answers
    ]
    known_others = {
        pair: {renamed[name]: values for name, values in methods.items()}
        for pair, methods in known.items()
    }
    pd.testing.assert_frame_equal(
        predict(answers, known).table, predict(others, known_others).table
    )


def test_missing_losses_are_told():
    answers = [comparison("a"), comparison("a", "q")]
    assert predict(answers, {}).notes == (
        "the key holds no losses of what was compared: nothing to predict from",
    )
    part = predict(answers, {"p": losses(a=1, b=2)})
    assert "predictions cover 1 of 2 answers: losses are missing" in part.notes
    assert set(part.table["answers"]) == {1}


# --- Bad input ------------------------------------------------------------------------------------


def complaints(files, path):
    with pytest.raises(UserError) as caught:
        analyze_study(files, path)
    lines = caught.value.problems
    assert all("\n" not in line for line in lines)
    return lines


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"half": ', "not a whole JSON file"),
        (b"\xff\xfe\x00", "not a whole JSON file"),
        (b"[1, 2]", "JSON, but not the answers of a study"),
        (b'{"name": "package"}', "JSON, but not the answers of a study"),
        (b"[" * 100_000, "not a whole JSON file"),
        (b"", "not a whole JSON file"),
    ],
)
def test_foreign_files_are_named_in_one_line_each(rated, tmp_path, content, complaint):
    files, path, _ = rated
    foreign = tmp_path / "foreign.json"
    foreign.write_bytes(content)
    also = write_json(tmp_path / "also.json", {"format": "something"})
    lines = complaints([files[0], foreign, also], path)
    assert len(lines) == 2
    assert lines[0].startswith(f"{foreign}: {complaint}")


def changed(key, change):
    content = answers_of(key, "ab" * 4)
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.update(study="0" * 12), "answers of another study (000000000000)"),
        (lambda c: c.update(sheet=99), "sheet 99; the key has 0 to 23"),
        (lambda c: c.update(rater="x\n"), "rater: String should match pattern"),
        (lambda c: c.update(version=2), "version: Input should be 1"),
        (lambda c: c["answers"][0].update(left="0" * 12), "question 0 of sheet 0 is not that of"),
        (lambda c: c["answers"][0].update(question=500), "question 500 of sheet 0 is not that of"),
        (lambda c: c["answers"].append(c["answers"][0]), "question 0 is answered twice"),
        (lambda c: c["answers"][2].update(choice="both"), "answers.2.choice: Input should be"),
        (lambda c: c["answers"][2].update(ms=-1), "answers.2.ms: Input should be greater"),
    ],
)
def test_answers_that_do_not_fit_the_key_are_refused(made, tmp_path, change, complaint):
    path, key = made
    file = write_json(tmp_path / "a.json", changed(key, change))
    [line] = complaints([file], path)
    assert line.startswith(f"{file}: {complaint}")


def test_no_raters_left_says_why(made, tmp_path):
    path, key = made
    file = write_json(tmp_path / "a.json", answers_of(key, "ab" * 4, always_left))
    lines = complaints([file], path)
    assert len(lines) == 2
    assert "rater abababab is left out: chose the broken picture" in lines[0]
    assert lines[1] == "no raters are left: nothing to analyse"


def test_a_key_must_be_one(rated, tmp_path):
    files, path, _ = rated
    [line] = complaints(files, files[0])
    assert line == f"{files[0]}: JSON, but not the key of a study"
    [line] = complaints(files, tmp_path / "absent.json")
    assert "no such file" in line
    content = json.loads(path.read_text())
    content["sheets"][0][0]["left"] = content["sheets"][0][0]["right"]
    [line] = complaints(files, write_json(tmp_path / "key.json", content))
    assert "against" in line


def test_missing_files_and_empty_folders_are_named(made, tmp_path):
    path, _ = made
    (tmp_path / "empty").mkdir()
    lines = complaints([tmp_path / "empty", tmp_path / "none.json"], path)
    assert lines[0] == f"{tmp_path / 'empty'}: no .json file in this folder"
    assert lines[1].startswith(f"{tmp_path / 'none.json'}: no such file or folder")


def test_a_huge_file_is_not_read(made, tmp_path):
    path, _ = made
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    [line] = complaints([tmp_path / "huge.json"], path)
    assert "more than 50 MB" in line


# --- Output ---------------------------------------------------------------------------------------


def test_tables_can_be_read_again(rated, tmp_path):
    files, path, _ = rated
    found = analyze_study(files[:2], path)
    write_analysis(found, tmp_path / "out")
    read = pd.read_csv(tmp_path / "out/methods.csv")
    pd.testing.assert_frame_equal(read, found.methods, check_dtype=False)
    assert len(pd.read_csv(tmp_path / "out/answers.csv")) == len(found.comparisons)
    whole = json.loads((tmp_path / "out/study.json").read_text())
    assert whole["methods"][0]["method"] == "good"
    assert whole["agreement"]["name"] == found.agreement.name
    assert whole["raters_kept"] == 2


def test_the_command_prints_everything_and_says_who_was_left_out(rated, tmp_path, capsys):
    files, path, key = rated
    bad = write_json(tmp_path / "in/bad.json", answers_of(key, "bad0" * 2, always_left))
    arguments = ["study", "analyze", str(tmp_path / "in"), "--key", str(path)]
    assert run_app(app, "bench", [*arguments, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert f"left out: rater bad0bad0 ({bad})" in printed
    for words in ("good over poor", "50.0 %", "Kendall", "18 of 18 mirrored", PROXY):
        assert words in printed
    assert (tmp_path / "out/study.json").is_file()
    assert len(files) == 6

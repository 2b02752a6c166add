"""YAML with line numbers: what is read, what is refused, and where."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bench.scenario.yaml_lines import MAX_DEPTH, YamlLineError, dotted, load_yaml

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcno1:-# ", max_size=5), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(PLAIN, st.sampled_from([None, True, False]))
def test_reads_what_pyyaml_writes(value: object, flow: bool | None) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    located = load_yaml(text)
    assert located.value == value
    assert located.problems == ()


def test_lines_of_keys_and_items() -> None:
    text = "# comment\na: 1\nb:\n  c: [x,\n    y]\n  d:\n\n    - z\n"
    located = load_yaml(text)
    assert located.value == {"a": 1, "b": {"c": ["x", "y"], "d": ["z"]}}
    assert located.lines == {
        (): 2,
        ("a",): 2,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "c", 0): 4,
        ("b", "c", 1): 5,
        ("b", "d"): 6,
        ("b", "d", 0): 8,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("0x5", "0x5"),
        ("0777", 777),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        ("2024-01-01", "2024-01-01"),
        ("'1'", "1"),
        ("<<", "<<"),
        ("=", "="),
        ("~", None),
        ("True", True),
        ("-.inf", float("-inf")),
        ("9" * 5000, None),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    if len(text) > 4096:
        with pytest.raises(YamlLineError, match="5000 characters"):
            load_yaml(text)
        return
    read = load_yaml(text).value
    assert read == value
    assert isinstance(read, type(value))


BOMB = 'a: &a ["lol", "lol"]\nb: &b [*a, *a]\nc: &c [*b, *b]\n'


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (BOMB, 1, "'&a' is a YAML anchor"),
        ("a: 1\nb: *a\n", 2, "'*a' is a YAML alias"),
        ("a: 1\nb: &x 3\n", 2, "'&x' is a YAML anchor"),
        ("a:\n  - *-1x\n", 2, "alias"),
        ("a:\n  - {m: *}\n", 2, "alias"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", 2, "tag"),
        ("a: 1\nb: !!binary aGk=\n", 2, "tag"),
        ("a: 1\nb: !own 3\n", 2, "tag"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: 1\n...\n---\nb: 2\n", 3, "second document"),
        ("a:\n\tb: 1\n", 2, "a tab"),
        ("a: 1\nb:\t\tc\td: 1\n", 2, "a tab"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "begun on line 2"),
        ("a: 'x\nb: 1\n", 3, "quoted"),
        ("a: 1\nnonsense\nb: 2\n", 2, "expected ':'"),
        ("a: 1\n b: 2\n", 2, "mapping values"),
        ("a: 1\nb: >4MP\n", 2, "in quotes"),
        ("a: 1\nb: {c: >4MP}\n", 2, "in quotes"),
        ("a: 1\nb: \x07\n", 2, "cannot stand in YAML"),
        ("a: 1\nb: |\n  x\n  y\n", 2, "line break"),
        ('a: "\\ud800"\n', 1, "control character"),
        ('a: "\\UFFFFFFFF"\n', 1, "not valid YAML"),
        ("%YAML 9" + "9" * 5000 + ".1\n--- 1\n", 1, "not valid YAML"),
        ("a: 1\nb: " + "[" * 100 + "]" * 100, 2, f"deeper than {MAX_DEPTH}"),
        ("a: 1\n" + "? " * 1000, 2, f"deeper than {MAX_DEPTH}"),
        ("- " * 100_000, 1, f"deeper than {MAX_DEPTH}"),
        ("- x\n" * 60_000, 50_000, "more than 50000 values"),
    ],
)
def test_refused(text: str, line: int, says: str) -> None:
    with pytest.raises(YamlLineError) as caught:
        load_yaml(text)
    assert says in caught.value.problem.message
    assert caught.value.problem.line == line
    assert "\n" not in caught.value.problem.message


def test_repeated_and_odd_keys_are_all_told_and_the_first_value_stays() -> None:
    located = load_yaml("a: 1\nb: {c: 1,\n  c: 2}\na: 3\n5: x\nnull: y\n[k]: z\nno: n\n")
    assert located.value == {"a": 1, "b": {"c": 1}, "no": "n"}
    assert located.lines[("a",)] == 1
    assert [problem.line for problem in located.problems] == [3, 4, 5, 6, 7]
    assert located.problems[0].message == "b.c: given twice, first on line 2"
    assert "5 cannot be a key" in located.problems[2].message
    assert "nothing cannot be a key" in located.problems[3].message
    assert "a list cannot be a key" in located.problems[4].message


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "--- ~\n"])
def test_nothing(text: str) -> None:
    assert load_yaml(text).value is None


def test_dotted() -> None:
    assert dotted(("exclude", 0, "model", 2)) == "exclude[0].model[2]"


@given(st.text("ab:-[]{}&*!|>'\"%@`,?# \n\t\\U0\x85\ufeff\x00", max_size=60))
def test_any_text_is_read_or_refused_with_a_line_of_the_text(text: str) -> None:
    try:
        load_yaml(text)
    except YamlLineError as error:
        # YAML also ends lines at U+0085
        assert 1 <= error.problem.line <= text.count("\n") + text.count("\x85") + 1

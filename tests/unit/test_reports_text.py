"""Numbers and foreign text as the report prints them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.text import (
    approximately,
    gigabytes,
    interval,
    listing,
    markdown,
    number,
    plus_minus,
    seconds,
    short_names,
    uncertain,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (0.262144, "0.262"),
        (1.0, "1.00"),
        (41.94304, "41.9"),
        (99.96, "100"),
        (999.6, "1,000"),
        (12345.6, "12,346"),
        (0.0123456, "0.0123"),
        (0.000012345, "1.23e-05"),
        (-3.14159, "-3.14"),
        (float("inf"), "∞"),
        (float("nan"), "–"),
    ],
)
def test_number_keeps_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_number_stays_within_half_a_percent(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=5.1e-3)


def test_interval_has_the_decimals_of_its_value() -> None:
    assert interval(12.345, 12.1, 12.6) == "12.3 [12.1, 12.6]"
    assert interval(1234.4, 1200.2, 1300.9) == "1,234 [1,200, 1,301]"
    assert interval(12.345, None, None) == "12.3"
    assert interval(None, None, None) == "–"


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (18.02, 0.31, "18.02 ± 0.31"),
        (12345.6, 120.0, "12,346 ± 120"),
        (1234.4, 0.02, "1,234.4 ± 0.1"),  # below the last digit shown, and not nothing
        (100.0, 0.0, "100 ± 0"),
        (0.00108, 0.00059, "0.00108 ± 0.00059"),
        (4.94e-4, 1.2e-4, "4.94e-04 ± 1.2e-04"),
        (18.02, None, "18.0"),
        (float("inf"), 1.0, "∞"),
    ],
)
def test_an_uncertainty_has_two_digits_and_its_value_the_same_decimals(
    value: float, half: float | None, text: str
) -> None:
    assert plus_minus(value, half) == text


@given(st.floats(min_value=1e-6, max_value=1e9), st.floats(min_value=1e-9, max_value=1e9))
def test_an_uncertainty_never_reads_as_smaller_than_it_is(value: float, half: float) -> None:
    shown = float(plus_minus(value, half).partition(" ± ")[2].replace(",", ""))
    assert shown >= half * 0.94


def test_only_a_symmetric_interval_becomes_plus_minus() -> None:
    assert uncertain(0.02, 0.01, 0.03) == "0.020 ± 0.010"
    assert uncertain(0.02, 0.019, 0.03) == "0.0200 [0.0190, 0.0300]"
    assert uncertain(0.02, None, None) == "0.0200"


def test_a_prediction_has_no_digits_that_it_cannot_know() -> None:
    assert approximately(156722.4) == "≈ 157,000"


def test_gigabytes_have_no_idle_zeros() -> None:
    assert [gigabytes(mb) for mb in (12_000, 100_000, 500, 10_240, 999.4, 999.6, 24.81)] == [
        *("12 GB", "100 GB", "500 MB", "10.2 GB", "999 MB", "1 GB", "24.8 MB")
    ]


def test_times_are_in_the_unit_that_reads_well() -> None:
    assert [seconds(ms) for ms in (18.34, 999.0, 1000.0, 62_000.0)] == [
        *("18.3 ms", "999 ms", "1.00 s", "62.0 s")
    ]


def test_listing_reads_as_a_sentence() -> None:
    assert [listing(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        *("", "a", "a and b", "a, b and c")
    ]


def test_markdown_escapes_what_has_a_meaning() -> None:
    assert markdown("a|b\nc") == r"a\|b c"
    assert markdown("_x_ y_z") == r"\_x\_ y_z"
    assert markdown("<b>*1* `q` [l](u)") == r"&lt;b&gt;\*1\* \`q\` \[l\](u)"
    assert markdown("\x1b[31mred\x1b[0m\x00") == "red"


@given(st.text())
def test_markdown_never_breaks_a_table_row(text: str) -> None:
    escaped = markdown(text)
    assert len(escaped.splitlines()) <= 1
    assert "|" not in escaped.replace("\\\\", "").replace("\\|", "")


def test_short_names_drop_folders_but_stay_distinct() -> None:
    models = ["wct-vgg16-1x", "wct-vgg19-16x:/a/w", "wct-vgg19-16x:/b/w/", "m:C:\\x\\net"]
    assert list(short_names(models).values()) == [
        *("wct-vgg16-1x", "wct-vgg19-16x:a/w", "wct-vgg19-16x:b/w", "m:net")
    ]


@given(st.lists(st.from_regex(r"[ab]:[/ab]{0,6}", fullmatch=True), unique=True))
def test_short_names_are_unique_for_different_paths(models: list[str]) -> None:
    # one path written with more slashes is the same file
    models = list({tuple(p for p in m.split("/") if p): m for m in models}.values())
    assert len(set(short_names(models).values())) == len(models)

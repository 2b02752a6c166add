"""Sizes, bytes, times and fractions: what people write, and what is written back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scenario.formats import format_bytes, format_fraction, format_seconds
from bench.units import MAX_SIDE, Size, parse_bytes, parse_fraction, parse_seconds, parse_size

SIDES = st.integers(1, MAX_SIDE)


@given(SIDES, SIDES)
def test_size_reads_what_it_writes(width: int, height: int) -> None:
    assert parse_size(str(Size(width, height))) == Size(width, height)


@given(st.decimals(min_value="0.01", max_value=100_000, places=2))
def test_megapixels_give_a_4_to_3_image_of_multiples_of_16(amount: object) -> None:
    size = parse_size(f"{amount}MP")
    assert size.width % 16 == 0 == size.height % 16
    # each side is rounded by at most 8 px, so the area by at most 8 (w + h) + 64
    assert abs(size.pixels - float(str(amount)) * 1e6) <= 8 * (size.width + size.height) + 64
    assert abs(size.width - size.height * 4 / 3) <= 8 + 8 * 4 / 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1MP", Size(1152, 864)), ("12.5 MP", Size(4080, 3056)), (" 3840x2160 ", Size(3840, 2160))],
)
def test_sizes(text: str, expected: Size) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["0x5", "5x0", "1000001x1", "1000000001x2", "0MP", "0.00001MP", "-5x5", "4", "4mp", 4]
)
def test_impossible_sizes(text: object) -> None:
    with pytest.raises(ValueError, match=r"size|side"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("12GB", 12 * 10**9), ("12GiB", 12 * 2**30), ("1.5 MB", 1_500_000), ("7kb", 7000)],
)
def test_bytes_are_powers_of_ten_unless_written_with_an_i(text: str, amount: int) -> None:
    assert parse_bytes(text) == amount


@given(st.integers(1, 10**15))
def test_bytes_read_what_was_written(amount: int) -> None:
    assert parse_bytes(format_bytes(amount)) == amount


@given(st.integers(1, 999), st.sampled_from(["MB", "GB", "TB", "MiB", "GiB", "TiB"]))
def test_bytes_are_written_with_the_unit_they_are_round_in(count: int, unit: str) -> None:
    text = format_bytes(parse_bytes(f"{count}{unit}"))
    assert len(text) <= len(f"{count}{unit}")


@given(st.floats(1e-6, 1e7, allow_subnormal=False))
def test_times_read_what_was_written(seconds: float) -> None:
    assert parse_seconds(format_seconds(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "written"),
    [("1320s", "22min"), ("90s", "90s"), ("7200s", "2h"), ("0.5s", "0.5s"), ("0.002s", "2ms")],
)
def test_times_are_written_shortly(text: str, written: str) -> None:
    assert format_seconds(parse_seconds(text)) == written


@given(st.floats(1e-9, 1))
def test_fractions_read_what_was_written(fraction: float) -> None:
    assert parse_fraction(format_fraction(fraction)) == fraction


@given(st.integers(1, 1000))
def test_tenths_of_a_percent_are_written_as_percentages(tenths: int) -> None:
    assert str(format_fraction(parse_fraction(f"{tenths / 10}%"))).endswith("%")


@pytest.mark.parametrize("value", [0, 0.0, -0.1, 1.01, math.nan, math.inf, True, "2", "101%", None])
def test_impossible_fractions(value: object) -> None:
    with pytest.raises(ValueError, match="fraction"):
        parse_fraction(value)


@pytest.mark.parametrize("value", ["12", 12, "GB", "12XB", "-1GB", "1e9B", "nanGB", "0GB", None])
def test_impossible_bytes(value: object) -> None:
    with pytest.raises(ValueError, match="memory"):
        parse_bytes(value)


@pytest.mark.parametrize("value", ["120", 120, "s", "1:30", "-1s", "infs", "0s", "2days", None])
def test_impossible_times(value: object) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_seconds(value)

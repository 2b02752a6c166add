"""Bytes, times and fractions written as people write them: what ``bench.units`` reads, backwards.

Each gives the shortest text that the parser reads as exactly the same value.
"""

from collections.abc import Callable
from decimal import Decimal

from bench.units import parse_bytes, parse_fraction, parse_seconds


def format_bytes(amount: int) -> str:
    """``12GB``: the shortest text that ``parse_bytes`` reads as this many bytes."""
    units = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "TiB": 2**40, "GiB": 2**30, "MiB": 2**20}
    texts = [f"{_decimal(amount / size)}{unit}" for unit, size in units.items()]
    return min((t for t in [*texts, f"{amount}B"] if _reads_as(t, parse_bytes, amount)), key=len)


def format_seconds(seconds: float) -> str:
    """``22min``: the shortest text that ``parse_seconds`` reads as this time."""
    units = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3}
    texts = [f"{_decimal(seconds / size)}{unit}" for unit, size in units.items()]
    return min((t for t in texts if _reads_as(t, parse_seconds, seconds)), key=len)


def format_fraction(fraction: float) -> str | float:
    """``2%``, or the number where no percentage is exactly it."""
    text = f"{_decimal(float(f'{fraction * 100:.12g}'))}%"
    return text if _reads_as(text, parse_fraction, fraction) else fraction


def _decimal(number: float) -> str:
    """All digits that tell the number apart, without an exponent."""
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _reads_as(text: str, parse: Callable[[object], float], wanted: float) -> bool:
    try:
        return parse(text) == wanted
    except ValueError:
        return False

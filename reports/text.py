"""Numbers, sizes and foreign text, as the report prints them."""

import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from distill.models import short_names as short_names

DASH = "–"


def number(value: float | None, *, digits: int = 3) -> str:
    """``digits`` significant digits without an exponent where that reads well; a dash for None.

    From 1000 up whole numbers with a comma between thousands; below 0.001 an exponent.
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) >= 10**digits:
        return f"{value:,.0f}"
    if abs(rounded) < 1e-3:
        return f"{value:.{digits - 1}e}"
    return f"{rounded:.{decimals(rounded, digits=digits)}f}"


def decimals(value: float, *, digits: int = 3) -> int:
    """Decimal places that give a non-zero ``value`` ``digits`` significant digits."""
    exponent = int(f"{abs(value):.{digits - 1}e}".partition("e")[2])
    return max(0, digits - 1 - exponent)


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """``123 [121, 126]``, all three with the decimals of the value; no brackets without bounds."""
    if value is None or low is None or high is None:
        return number(value)
    if value <= 0 or value < 1e-3:
        return f"{number(value)} [{number(low)}, {number(high)}]"
    places = decimals(float(f"{value:.3g}"))
    return f"{value:,.{places}f} [{low:,.{places}f}, {high:,.{places}f}]"


def plus_minus(value: float, half: float | None) -> str:
    """``18.0 ± 0.3``: an uncertainty of at most two digits, the value with the same decimals.

    The value keeps at most five significant digits; an uncertainty that is cut by that is rounded
    up, so that it never reads as none. Without an uncertainty the value alone.
    """
    if half is None or not math.isfinite(half) or not math.isfinite(value):
        return number(value)
    if 0 < abs(value) < 1e-3:
        return f"{number(value)} ± {number(half, digits=2)}"
    finest = decimals(value, digits=5) if value else 5
    places = min(decimals(half, digits=2), finest) if half else min(decimals(value or 1.0), finest)
    cut = half > 0 and decimals(half, digits=2) > places
    shown = math.ceil(half * 10.0**places) / 10.0**places if cut else half
    return f"{value:,.{places}f} ± {shown:,.{places}f}"


def approximately(value: float) -> str:
    """A prediction: ``≈ 157,000``, with three significant digits and no more."""
    return f"≈ {number(float(f'{value:.3g}'))}"


def uncertain(value: float | None, low: float | None, high: float | None) -> str:
    """``value ± half`` where the interval is symmetric, else ``value [low, high]``."""
    if value is None or low is None or high is None:
        return number(value)
    below, above = value - low, high - value
    if abs(above - below) <= 0.02 * max(abs(above), abs(below)):
        return plus_minus(value, (above + below) / 2)
    return interval(value, low, high)


def percent_of(times: float) -> str:
    """What is left of something that was reduced this many times: ``25.0 %`` for 4."""
    return f"{number(100 / times)} %"


def megapixels(value: float) -> str:
    """``4.19 MP``."""
    return f"{number(value)} MP"


def gigabytes(value_mb: float) -> str:
    """Megabytes (10^6) as ``12 GB``, less than one of those as ``24.8 MB``."""
    value = value_mb / 1000
    if value_mb < 999.5:
        return f"{value_mb:.3g} MB"
    return f"{value:.3g} GB" if value < 1000 else f"{number(value)} GB"


def seconds(value_ms: float) -> str:
    """Milliseconds as ``1.20 s``, less than a second as ``18.3 ms``."""
    return f"{number(value_ms / 1000)} s" if value_ms >= 1000 else f"{number(value_ms)} ms"


def count(number_of: int, one: str, many: str | None = None) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number_of} {one if number_of == 1 else many or one + 's'}"


def listing(items: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def one_line(text: str) -> str:
    """``text`` with line breaks and other control characters (terminal colours) taken out."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return " ".join(re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", text).split())


def markdown(text: str) -> str:
    """``text`` on one line, to stand in a Markdown table cell or paragraph as itself."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*|\[\]~$])", r"\\\1", text)
    # an underscore between letters is literal already; a backslash there only hurts the eye
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def image_name(name: str) -> str:
    """The file name of an image path; a built-in's name as it is."""
    return PurePosixPath(name.replace("\\", "/")).name or name

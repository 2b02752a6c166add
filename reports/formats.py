"""The formats that a report comes in."""

from bench.errors import UserError
from distill.suggest import did_you_mean, shown

FORMATS = ("html", "md", "latex", "csv", "parquet")
_OTHER_NAMES = {"markdown": "md", "tex": "latex", "page": "html"}


def parse_formats(text: str) -> tuple[str, ...]:
    """Formats from words with commas between them, each once, in their fixed order.

    Raises:
        UserError: for a word that is no format, a line each.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = {**{name: name for name in FORMATS}, **_OTHER_NAMES}
    unknown = [word for word in words if word.lower() not in known]
    if unknown:
        raise UserError(
            *(
                f"--formats: {shown(word)} is no format; allowed are {', '.join(FORMATS)}"
                f"{did_you_mean(word, known)}"
                for word in unknown
            )
        )
    if not words:
        raise UserError(f"--formats: names no format; allowed are {', '.join(FORMATS)}")
    wanted = {known[word.lower()] for word in words}
    return tuple(name for name in FORMATS if name in wanted)

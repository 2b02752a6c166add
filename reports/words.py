"""Words for what a record lacks."""

import re

from bench.record import Record
from reports.text import listing, number, short_names


def message(record: Record) -> str:
    """The record's reason, or what its other fields tell where it has none.

    A traceback is for whoever mends the program, and stays in the record.
    """
    if record.reason:
        return re.split(r"\n\s*(?:File \"|Traceback )", record.reason)[0]
    known = [
        f"asked for {number(record.requested_mb)} MB" if record.requested_mb is not None else "",
        f"{number(record.free_mb)} MB free" if record.free_mb is not None else "",
        f"ended by signal {record.signal}" if record.signal is not None else "",
        f"estimated at {number(record.estimate_s)} s" if record.estimate_s is not None else "",
    ]
    facts = [fact for fact in known if fact]
    return listing(facts) if facts else record.reason_code or "no reason was recorded"


def message_of_it(record: Record) -> str:
    """:func:`message` with the model called so, to be said of several models."""
    names = sorted({record.model, *short_names([record.model]).values()}, key=len, reverse=True)
    text = message(record)
    for name in names:
        text = re.sub(rf"(?<![\w:/-]){re.escape(name)}(?![\w:/-])", "the model", text)
    return text

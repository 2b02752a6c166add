"""Words for what a record lacks."""

from bench.record import Record
from reports.text import listing, number


def message(record: Record) -> str:
    """The record's reason, or what its other fields tell where it has none."""
    if record.reason:
        return record.reason
    known = [
        f"asked for {number(record.requested_mb)} MB" if record.requested_mb is not None else "",
        f"{number(record.free_mb)} MB free" if record.free_mb is not None else "",
        f"ended by signal {record.signal}" if record.signal is not None else "",
        f"estimated at {number(record.estimate_s)} s" if record.estimate_s is not None else "",
    ]
    facts = [fact for fact in known if fact]
    return listing(facts) if facts else record.reason_code or "no reason was recorded"

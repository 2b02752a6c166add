"""The few facts on what a run was measured on and with that come first on the page."""

from collections.abc import Mapping
from typing import Any

from reports.results import Results
from reports.text import count, gigabytes, listing, one_line


def key_facts(results: Results, environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a reader wants to know before any number; what is not known is left out."""
    records = results.records
    caps = sorted({record.memory_cap_mb for record in records if record.memory_cap_mb})
    memory = environment.get("memory_limit_mb", environment.get("memory_total_mb"))
    dates = sorted(record.started_at for record in records if record.started_at)
    known = {
        "Runs": count(len(results.runs), "run") if results.runs else None,
        "GPU": environment.get("gpu"),
        "CPU": environment.get("cpu"),
        "Cores": environment.get("cpu_physical_cores"),
        "Memory": gigabytes(memory) if isinstance(memory, int | float) else None,
        "Cap": listing([gigabytes(cap) for cap in caps]),
        "PyTorch": environment.get("torch"),
        "Code": listing(sorted({record.code_version for record in records})),
        "Measured": dates[0][:10] if dates else None,
    }
    return [(name, one_line(str(value))) for name, value in known.items() if value]

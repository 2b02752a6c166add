"""What a worker is doing at the moment."""

from dataclasses import dataclass


@dataclass
class Stage:
    """Changed as the worker goes on; read when something fails."""

    now: str = "starting"
    """In words that complete "out of memory while ..."."""

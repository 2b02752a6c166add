"""NVIDIA's management library, which tells of GPUs without a CUDA context."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pynvml


@contextmanager
def nvml() -> Iterator[Any | None]:
    """The initialised NVML binding, or None where there is no NVIDIA driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def ask_nvml(query: Callable[..., Any], *args: object) -> Any | None:
    """What ``query`` answers, or None where this card or driver does not support it."""
    try:
        return query(*args)
    except pynvml.NVMLError:
        return None

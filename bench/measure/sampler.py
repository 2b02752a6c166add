"""Readings at a fixed interval, by a thread of its own."""

import threading
import time
from collections.abc import Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class CounterError(Exception):
    """A counter cannot be read or makes no sense; the message says why, in a few words."""


class Sampler(Generic[T]):
    """Calls ``read`` every ``interval_s`` seconds while it is entered as a context manager.

    ``read`` may raise :class:`CounterError`: then the reading ends, and ``failure`` says why.
    """

    def __init__(self, read: Callable[[], T], *, interval_s: float) -> None:
        self._read = read
        self._interval_s = interval_s
        self._readings: list[tuple[float, T]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.failure: str | None = None

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except RuntimeError as error:  # a cap on memory may leave no room for its stack
            self.failure = f"no thread to read the counter: {error}"
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def readings(self) -> list[tuple[float, T]]:
        """Times by ``time.perf_counter`` and what was read then, so far."""
        return list(self._readings)

    def _run(self) -> None:
        while not self._over.wait(self._interval_s):
            try:
                value = self._read()
            except CounterError as error:
                self.failure = str(error)
                return
            # The time after the reading: what a counter shows is at most as old.
            self._readings.append((time.perf_counter(), value))

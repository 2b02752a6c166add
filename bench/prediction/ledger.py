"""The book of a traced run: what is taken and given back, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from bench.prediction.shapes import Buffer, Observer, ShapeTensor
from bench.prediction.traffic import FRESH, Work, work_of
from bench.prediction.workspaces import workspace_bytes


class Event(NamedTuple):
    """Memory taken, or given back (negative bytes)."""

    buffer: int
    bytes: int


@dataclass(frozen=True)
class Trace:
    """A pass."""

    events: tuple[Event, ...]
    """In their order; what is never given back is the result."""
    peak_bytes: int
    """Most that was taken at one time."""
    work: Work
    matches: tuple[int, ...]
    """Positions in ``events`` at which the stages' statistics were matched, in their order."""


class Ledger(Observer):
    """Keeps book of a traced run, of the memory of one kind of device.

    Args:
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self.events: list[Event] = []
        self.live_bytes = 0
        self.peak_bytes = 0
        self.work = Work()
        self.matches: list[int] = []
        self.factor = 1.0
        """How many times over the work that is being traced is done."""
        self._count = 0

    def allocate(self, count: int, device: torch.device) -> Buffer:
        """See :class:`~bench.prediction.shapes.Observer`."""
        self._count += 1
        if device.type == self._device:
            self._take(self._count, count)
        return Buffer(self._count, count, device, self._freed)

    def ran(self, name: str, inputs: Sequence[ShapeTensor], outputs: Sequence[ShapeTensor]) -> None:
        """See :class:`~bench.prediction.shapes.Observer`."""
        work = work_of(name, inputs, outputs)
        self.work += work if self.factor == 1.0 else self.factor * work
        blocks = workspace_bytes(name, inputs, outputs)
        for offset, block in enumerate(blocks, start=1):
            self._take(self._count + offset, block)
        for offset, block in enumerate(blocks, start=1):
            self._give(self._count + offset, block)
        self._count += len(blocks)

    def forget(self) -> None:
        """Begin anew: what is live now no longer counts."""
        self.events.clear()
        self.live_bytes = self.peak_bytes = 0
        self.work = Work()

    def trace(self) -> Trace:
        """What was booked since the beginning or :meth:`forget`."""
        return Trace(tuple(self.events), self.peak_bytes, self.work, tuple(self.matches))

    def _take(self, buffer: int, count: int) -> None:
        self.events.append(Event(buffer, count))
        if count >= FRESH and self._device == "cpu":
            self.work += Work(fresh_bytes=count)
        self.live_bytes += count
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _give(self, buffer: int, count: int) -> None:
        self.events.append(Event(buffer, -count))
        self.live_bytes -= count

    def _freed(self, buffer: Buffer) -> None:
        if buffer.device.type == self._device:
            self._give(buffer.identity, buffer.bytes)

"""Reading ahead: the next bands are decoded and copied while the last is computed on."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from bench.execution.rows import RowSource

AHEAD = 2
"""Bands that are read ahead at the most."""


class Prefetched:
    """A source of rows that is read in a thread, up to two bands ahead.

    On a GPU the bands come placed there, copied from pinned memory on a stream of their own.
    """

    def __init__(self, source: RowSource, device: torch.device) -> None:
        self.width, self.height = source.width, source.height
        self._source, self._device = source, device

    def bands(self, rows: int) -> Iterator[Tensor]:
        """See :class:`~bench.execution.rows.RowSource`; what reading raises is raised here."""
        cuda = self._device.type == "cuda"
        copying = torch.cuda.Stream(self._device) if cuda else None  # type: ignore[no-untyped-call]
        bands = self._source.bands(rows)

        def read() -> tuple[Tensor, torch.cuda.Event | None] | None:
            band = next(bands, None)
            if band is None or copying is None:
                return None if band is None else (band, None)
            with torch.cuda.stream(copying):
                placed = band.pin_memory().to(self._device, non_blocking=True)
                return placed, copying.record_event()

        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
            coming = deque(thread.submit(read) for _ in range(AHEAD))
            while (given := coming.popleft().result()) is not None:
                band, copied = given
                del given
                if copied is not None:
                    computing = torch.cuda.current_stream(self._device)
                    computing.wait_event(copied)
                    band.record_stream(computing)
                coming.append(thread.submit(read))
                yield band
                del band

"""Watching a measurement: what it ran under, for the record."""

from contextlib import ExitStack
from typing import Any, Self

from bench.measure.card_watch import CardWatch
from bench.measure.conditions import labels
from bench.measure.host_watch import ABSENT, HostState, host_fields
from distill.host import core_numbers


class Watch:
    """Enter it around what is measured on ``cpu`` or ``cuda:N``; then ``fields`` has what it saw.

    The host is read before and after, a card besides every 100 ms. Nothing that cannot be read is
    an error.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._card = CardWatch(device) if device.startswith("cuda") else None
        self._stack = ExitStack()
        self._before: HostState | None = None
        self._after: HostState | None = None

    def __enter__(self) -> Self:
        if self._card is not None:
            self._stack.enter_context(self._card)
        self._before = HostState.now()
        return self

    def __exit__(self, *_: object) -> None:
        # The card first: its clocks fall when it has nothing to do.
        self._stack.close()
        self._after = HostState.now()

    @property
    def fields(self) -> dict[str, Any]:
        """Record fields, ``conditions`` among them; ``conditions_absent`` says what is not known.

        Once it is over.
        """
        if self._before is None or self._after is None:
            raise RuntimeError("it has not been entered and left yet")
        host = host_fields(self._before, self._after)
        absent = {name: why for name, why in ABSENT.items() if host[name] is None}
        found = {name: value for name, value in host.items() if value is not None}
        if self._card is not None:
            found |= self._card.fields
            absent |= {name: why for name, why in self._card.absent.items() if name not in found}
        return {
            **found,
            "conditions": labels(found, device=self._device, cores=len(core_numbers())),
            "conditions_absent": absent or None,
        }

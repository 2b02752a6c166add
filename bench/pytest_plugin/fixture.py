"""The fixture ``performance``: what a test says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bench.pytest_plugin.settings import limits_of

if TYPE_CHECKING:
    from bench.pytest_plugin.session import MeasuringSession


@dataclass(frozen=True)
class Check:
    """One call of :meth:`Performance.check`."""

    test: pytest.Item
    fullname: str
    """The test's id and, if the check has one, its name."""
    run: Callable[[], object]
    against: Callable[[], object] | None
    limits: Mapping[str, float]
    """Shares of the base from which a change counts: ``slowdown`` and ``memory_growth``."""


class Performance:
    """Checks of one test."""

    def __init__(self, test: pytest.Item, handle: Callable[[Check], None]) -> None:
        self._test = test
        self._handle = handle
        self._names: set[str] = set()

    def check(
        self,
        run: Callable[[], object],
        *,
        name: str | None = None,
        against: Callable[[], object] | None = None,
        max_slowdown: str | float | None = None,
        max_memory_growth: str | float | None = None,
    ) -> None:
        """Fail the test if ``run`` is slower, or takes more memory at its peak, than before.

        Nothing is measured unless pytest was told to (``--performance-baseline FILE``,
        ``--performance-save FILE``, ``--performance``): then ``run`` is called once. When it is
        measured, that is in fresh processes that run this test up to here; in the test's own
        process ``run`` is not called.

        Args:
            run: what is measured; must do the same each time it is called.
            name: tells this check from others of the same test.
            against: compare with this callable, measured in turn with ``run``, instead of with the
                baseline.
            max_slowdown: increase of the latency that counts: ``"5%"`` or 0.05. Of the marker or
                the ini file if not given, as ``max_memory_growth`` is for the peak memory.
            max_memory_growth: increase of the peak memory that counts.

        Raises:
            ValueError: for limits that are no shares, or a name that this test has used.
        """
        __tracebackhide__ = True
        limits = limits_of(
            self._test, max_slowdown=max_slowdown, max_memory_growth=max_memory_growth
        )
        fullname = self._test.nodeid if name is None else f"{self._test.nodeid}::{name}"
        if fullname in self._names:
            raise ValueError(f"{fullname}: is checked twice: give each check a name of its own")
        self._names.add(fullname)
        self._handle(Check(self._test, fullname, run, against, limits))


def performance_of(test: pytest.Item, session: "MeasuringSession | None") -> Performance:
    """The fixture's value; ``session`` is None if nothing is measured."""
    from bench.pytest_plugin.child import order_of_parent

    order = order_of_parent()
    if order is not None:
        return Performance(test, order.carry_out)
    return Performance(test, _call_once if session is None else session.judge)


def _call_once(check: Check) -> None:
    __tracebackhide__ = True
    check.run()
    if check.against is not None:
        check.against()

"""Seconds of a pass, from what it computes and moves.

An additive roofline: the classical one (Williams, Waterman and Patterson, "Roofline: An Insightful
Visual Performance Model for Multicore Architectures", CACM 2009) takes the slower of computing and
moving, as if they overlapped without end. Here a pass is many operations, each of which does one
and then the other, so that times add up; so do what it takes to be handed fresh memory by the
system and to start an operation. The four rates are a device's, fitted to passes timed on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from bench.prediction.traffic import Work


class Timed(NamedTuple):
    """A pass that was timed."""

    work: Work
    seconds: float


@dataclass(frozen=True)
class Roofline:
    """What a device takes, at one precision; none is negative."""

    s_per_mac: float
    s_per_byte: float
    s_per_fresh_byte: float
    s_per_launch: float

    def seconds(self, work: Work) -> float:
        """Predicted time of a pass."""
        return float(np.dot(_row(work), self._rates()))

    def _rates(self) -> tuple[float, float, float, float]:
        return self.s_per_mac, self.s_per_byte, self.s_per_fresh_byte, self.s_per_launch


def fit_roofline(timed: Sequence[Timed]) -> Roofline:
    """The rates with which the relative errors of these passes are least, in the squares.

    Raises:
        ValueError: without a pass.
    """
    if not timed:
        raise ValueError("rates cannot be fitted to no pass")
    rows = np.array([_row(work) for work, _ in timed]) / [[seconds] for _, seconds in timed]
    # The rates differ by nine orders of magnitude.
    scale = np.maximum(rows.max(axis=0), np.finfo(float).tiny)
    rates, _ = nnls(rows / scale, np.ones(len(timed)))
    return Roofline(*(rates / scale).tolist())


def _row(work: Work) -> tuple[float, float, float, float]:
    return work.lane_macs, work.bytes, work.fresh_bytes, work.launches

"""Lattice noise and smooth fields, any part of which can be made by itself.

Noise is summed over octaves from a counter-based generator: the same value at a point, whatever is
asked around it.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 2**64 - 1


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood, 2014), in place."""
    scratch = z >> np.uint64(30)
    z ^= scratch
    z *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(z, np.uint64(27), out=scratch)
    z ^= scratch
    z *= np.uint64(0x94D049BB133111EB)
    np.right_shift(z, np.uint64(31), out=scratch)
    z ^= scratch
    return z


def derived_key(*parts: int) -> int:
    """One 64-bit key from several whole numbers."""
    key = 0
    for part in parts:
        word = np.array([(key + (part + 1) * _GOLDEN) & _WORD], dtype=np.uint64)
        key = int(_mix(word)[0])
    return key


def uniform(key: int, count: int) -> Array:
    """``count`` numbers in 0..1."""
    words = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return ((_mix(words + np.uint64(key)) >> np.uint64(40)) * 2.0**-24).astype(np.float32)


def _white(key: int, rows: range, columns: range) -> Bytes:
    """Independent bytes, one per lattice point; the same at a point whatever is asked around it."""
    first, last = columns.start >> 3, (columns.stop + 7) >> 3
    by_row = np.arange(rows.start, rows.stop).astype(np.uint64)
    by_row = _mix(by_row * np.uint64(_GOLDEN) + np.uint64(key))
    by_word = np.arange(first, last).astype(np.uint64) * np.uint64(_GOLDEN)
    words = _mix(by_row[:, None] + by_word[None, :])
    # "<u8": the same bytes in the same columns on machines of either byte order.
    skip = columns.start - 8 * first
    return words.astype("<u8", copy=False).view(np.uint8)[:, skip : skip + len(columns)]


def _doubled(coarse: Array, axis: int) -> Array:
    """Twice the samples along ``axis``, linearly interpolated, less those of the outermost two."""
    near, far = coarse * np.float32(0.75), coarse * np.float32(0.25)
    shape = list(coarse.shape)
    shape[axis] = 2 * (shape[axis] - 2)
    out = np.empty(shape, dtype=np.float32)
    if axis == 0:
        np.add(far[:-2], near[1:-1], out=out[0::2])
        np.add(near[1:-1], far[2:], out=out[1::2])
    else:
        np.add(far[:, :-2], near[:, 1:-1], out=out[:, 0::2])
        np.add(near[:, 1:-1], far[:, 2:], out=out[:, 1::2])
    return out


def _parents(children: range) -> range:
    """The coarser lattice's points that ``_doubled`` needs to make ``children``."""
    return range((children.start >> 1) - 1, ((children.stop - 1) >> 1) + 2)


@dataclass(frozen=True)
class Texture:
    """Noise summed over octaves of cell 1, 2, 4, .. px whose amplitude is cell**hurst.

    Read as a height in pixels, ``hurst`` near 1 is rolling ground and near 0 gravel. It is rougher
    where it is high (``contrast`` above 0), as ground and clouds are (F. K. Musgrave's
    heterogeneous terrain). ``stretch`` doublings are along x only.
    """

    key: int
    octaves: int
    hurst: float
    contrast: float = 0.0
    stretch: int = 0

    @property
    def spread(self) -> float:
        """About the standard deviation."""
        return self._spread(0)

    def tile(self, rows: range, columns: range) -> Array:
        """Values at those pixels, which may lie outside the picture."""
        return self._level(0, rows, columns)

    def _spread(self, level: int) -> float:
        # Interpolation keeps about half of a lattice's variance; bytes have a deviation of 0.29.
        squares = sum(4.0 ** (self.hurst * k) for k in range(level, self.octaves))
        return 0.29 * math.sqrt(squares / 2)

    def _level(self, level: int, rows: range, columns: range) -> Array:
        # Octaves are numbered from the top: twice the image has the same large shapes.
        white = _white(derived_key(self.key, self.octaves - level), rows, columns)
        detail = white.astype(np.float32)
        detail -= np.float32(127.5)
        detail *= np.float32(2.0 ** (self.hurst * level) / 255)
        if level == self.octaves - 1:
            return detail
        wide = _parents(columns)
        if level < self.stretch:
            coarse = _doubled(self._level(level + 1, rows, wide), 1)
        else:
            tall = _parents(rows)
            coarse = _doubled(_doubled(self._level(level + 1, tall, wide), 0), 1)
            top = rows.start - 2 * (tall.start + 1)
            coarse = coarse[top : top + len(rows)]
        left = columns.start - 2 * (wide.start + 1)
        coarse = coarse[:, left : left + len(columns)]
        if self.contrast:
            gain = coarse * np.float32(self.contrast / self._spread(level + 1))
            gain += np.float32(0.9)
            np.clip(gain, 0.15, 2.2, out=gain)
            detail *= gain
        detail += coarse
        return detail


def _spline(positions: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.intp], Array]:
    """First of the four lattice points at each position; their cubic B-spline weights (4, n)."""
    first = np.floor(positions)
    t = positions - first
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    return first.astype(np.intp), (np.stack(weights) / 6).astype(np.float32)


class Smooth:
    """A smooth field over the whole picture, ``cells`` bumps to its mean side, about -1..1.

    A tensor-product spline: one product of small matrices per tile, at any size.
    """

    def __init__(self, key: int, size: tuple[int, int], cells: float) -> None:
        width, height = size
        self._step = cells / math.sqrt(width * height)
        across, down = (math.ceil(side * self._step) + 3 for side in size)
        lattice = 3 * uniform(key, across * down).reshape(down, across) - np.float32(1.5)
        first, weights = _spline(np.arange(width) * self._step)
        self._across: Array = np.zeros((down, width), dtype=np.float32)
        for tap, weight in enumerate(weights):
            self._across += lattice[:, first + tap] * weight

    def tile(self, rows: range, columns: range) -> Array:
        """Values at those pixels."""
        first, weights = _spline(np.arange(rows.start, rows.stop) * self._step)
        top, bottom = int(first[0]), int(first[-1]) + 4
        basis = np.zeros((len(rows), bottom - top), dtype=np.float32)
        for tap, weight in enumerate(weights):
            basis[np.arange(len(rows)), first - top + tap] = weight
        return np.asarray(basis @ self._across[top:bottom, columns.start : columns.stop])


def line_noise(
    key: int, x: Array, first_cell: float, hurst: float, *, ridged: bool = False
) -> Array:
    """Noise along a line, about -1..1, in octaves from ``first_cell`` down to the spacing of x."""
    total = np.zeros_like(x)
    cell, octave, spacing = first_cell, 0, float(x[1] - x[0]) if len(x) > 1 else first_cell
    while cell > 1.5 * spacing:
        points = uniform(derived_key(key, octave), math.ceil(float(x[-1]) / cell) + 3) * 2 - 1
        value = np.interp(x / cell, np.arange(len(points)), points).astype(np.float32)
        if ridged:
            value = np.float32(0.9) - 2 * np.abs(value)
        total += value * np.float32((cell / first_cell) ** hurst)
        cell, octave = cell / 2, octave + 1
    return total

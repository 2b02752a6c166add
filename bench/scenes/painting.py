"""Generated styles: strokes of the brush in layers."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.scenes.noise import Array, Smooth, Texture, derived_key, uniform

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class _Look:
    """How a painting is made."""

    palette: tuple[Colour, ...]
    """Colours, neighbours in the picture being neighbours here."""
    stroke: tuple[float, float]
    """Length and width of the broadest stroke, of the picture's mean side."""
    swirl: float
    """How far the flow is bent, of the mean side."""
    variety: float
    """How far a stroke's colour strays from its surroundings, of the palette."""
    relief: float
    """Depth of bristles and ridges of paint."""
    round: bool = True
    """Whether strokes end round, or square as tiles do."""
    layers: int = 9
    """At most that many layers of ever finer strokes."""


_LOOKS = {
    "starry": _Look(
        palette=(
            (0.03, 0.06, 0.20),
            (0.07, 0.17, 0.45),
            (0.16, 0.36, 0.68),
            (0.45, 0.66, 0.82),
            (0.93, 0.86, 0.42),
            (0.98, 0.72, 0.12),
        ),
        stroke=(0.12, 0.022),
        swirl=0.30,
        variety=0.22,
        relief=0.5,
    ),
    "garden": _Look(
        palette=(
            (0.08, 0.20, 0.16),
            (0.18, 0.42, 0.22),
            (0.56, 0.66, 0.28),
            (0.94, 0.86, 0.66),
            (0.90, 0.52, 0.56),
            (0.52, 0.36, 0.66),
        ),
        stroke=(0.035, 0.016),
        swirl=0.16,
        variety=0.40,
        relief=0.35,
    ),
    "ember": _Look(
        palette=(
            (0.10, 0.03, 0.06),
            (0.36, 0.05, 0.09),
            (0.72, 0.14, 0.08),
            (0.95, 0.45, 0.08),
            (0.99, 0.80, 0.36),
            (0.18, 0.36, 0.42),
        ),
        stroke=(0.30, 0.035),
        swirl=0.45,
        variety=0.18,
        relief=0.6,
    ),
    "mosaic": _Look(
        palette=(
            (0.08, 0.12, 0.26),
            (0.10, 0.40, 0.48),
            (0.42, 0.66, 0.60),
            (0.95, 0.90, 0.76),
            (0.87, 0.60, 0.22),
            (0.66, 0.20, 0.14),
        ),
        stroke=(0.017, 0.015),
        swirl=0.22,
        variety=0.20,
        relief=0.15,
        round=False,
        layers=1,
    ),
    "marbled": _Look(
        palette=(
            (0.95, 0.92, 0.85),
            (0.16, 0.22, 0.42),
            (0.80, 0.30, 0.24),
            (0.96, 0.82, 0.52),
            (0.12, 0.44, 0.46),
            (0.93, 0.90, 0.84),
        ),
        stroke=(4.0, 0.02),
        swirl=0.55,
        variety=0.45,
        relief=0.2,
        layers=2,
    ),
}
STYLE_NAMES: tuple[str, ...] = tuple(_LOOKS)
"""The looks of generated styles; seed ``i`` is the look at ``i`` modulo their number."""


class Painting:
    """Strokes that follow a bent field, broad ones first and finer ones over them."""

    def __init__(self, size: tuple[int, int], seed: int) -> None:
        self._width, self._height = size
        self._mean = math.sqrt(self._width * self._height)
        self._look = look = _LOOKS[STYLE_NAMES[seed % len(_LOOKS)]]
        key = derived_key(seed, 2)
        self._theme = Smooth(derived_key(key, 1), size, 3.5)
        self._bend = tuple(Smooth(derived_key(key, 2 + i), size, 3.0) for i in range(2))
        self._where = Smooth(derived_key(key, 4), size, 7)
        octaves = max(2, round(math.log2(self._mean)) - 3)
        self._grain = Texture(derived_key(key, 5), octaves, 0.4)
        self._dice = uniform(derived_key(key, 6), 4096)
        self._angle = float(uniform(derived_key(key, 7), 1)[0]) * math.pi
        stops = np.linspace(0, 1, len(look.palette))
        fine = np.linspace(0, 1, 1024)
        self._colours = np.stack(
            [np.interp(fine, stops, [c[i] for c in look.palette]) for i in range(3)]
        ).astype(np.float32)
        widths = [look.stroke[1] * self._mean]
        while widths[-1] > 10:
            widths.append(widths[-1] / 2.6)
        self._widths = [max(2.0, w) for w in widths[: look.layers]]

    def tile(self, rows: range, columns: range) -> Array:
        """Colours 0..1 of those pixels, shape ``(3, len(rows), len(columns))``."""
        look = self._look
        x = np.arange(columns.start, columns.stop, dtype=np.float32)
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        bent = [b.tile(rows, columns) * np.float32(look.swirl * self._mean) for b in self._bend]
        grain = self._grain.tile(rows, columns)
        grain /= np.float32(self._grain.spread)
        theme = self._theme.tile(rows, columns) * np.float32(0.42) + np.float32(0.5)
        theme += grain * np.float32(0.05)
        where = self._where.tile(rows, columns) + grain * np.float32(0.06)
        tone, paint = theme.copy(), np.zeros_like(theme)
        for depth, wide in enumerate(self._widths):
            turn = self._angle + 0.35 * depth
            cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
            u = bent[0] + x * cos
            u += y * sin
            v = bent[1] - x * sin
            v += y * cos
            v += grain * np.float32(0.04 * wide)
            self._stroke(depth, wide, u, v, theme, where, tone, paint)
        index = np.clip(tone, 0, 1)
        index *= np.float32(1023)
        paint += grain * np.float32(0.06)
        paint += np.float32(1)
        at = index.astype(np.intp)
        out = np.empty((3, *tone.shape), dtype=np.float32)
        for plane, table in zip(out, self._colours, strict=True):
            np.take(table, at, out=plane, mode="clip")
            plane *= paint
        return out

    def _stroke(
        self, depth: int, wide: float, u: Array, v: Array,
        theme: Array, where: Array, tone: Array, paint: Array,
    ) -> None:  # fmt: skip
        look = self._look
        long = wide * look.stroke[0] / look.stroke[1]
        across = v * np.float32(1 / wide)
        lane = np.floor(across)
        across -= lane
        lanes = lane.astype(np.int32)
        start = self._roll(lanes, 7919, 13 * depth)
        along = u * np.float32(1 / long) + start
        cell = np.floor(along)
        along -= cell
        cells = cell.astype(np.int32)
        cells *= 557
        cells += lanes * np.int32(7919)
        dice = self._roll(cells, 1, 17 * depth + 5)
        # Distance to the stroke's border, px.
        border = np.abs(along - np.float32(0.5))
        border -= np.float32(0.5 * (1 - wide / long))
        border *= np.float32(long / wide)
        np.maximum(border, 0, out=border)
        side = across - np.float32(0.5)
        if look.round:
            border *= border
            border += side * side
            np.sqrt(border, out=border)
        else:
            np.maximum(border, np.abs(side), out=border)
        np.subtract(np.float32(0.5), border, out=border)
        border *= np.float32(wide)
        mask = np.clip(border, 0, 1)
        if depth:
            mask *= np.clip((where + (dice - np.float32(0.5)) * 3) * np.float32(wide), 0, 1)
        bristle = self._roll(
            (across * np.float32(max(4.0, wide / 2.5))).astype(np.int32), 31, cells
        )
        bristle -= np.float32(0.5)
        bristle *= np.float32(0.5)
        bristle += (np.float32(0.5) - across) * np.float32(0.7)
        bristle *= np.float32(look.relief)
        new = dice - np.float32(0.5)
        new *= np.float32(2 * look.variety)
        new += theme
        new -= tone
        new *= mask
        tone += new
        bristle -= paint
        bristle *= mask
        paint += bristle

    def _roll(
        self, index: npt.NDArray[np.int32], by: int, offset: int | npt.NDArray[np.int32]
    ) -> Array:
        at = index * np.int32(by)
        at += offset
        at &= 4095
        return np.take(self._dice, at, mode="clip")

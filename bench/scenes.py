"""Generated pictures of any size: landscapes to stylise and paintings to take the style from.

A picture is a function of kind, seed, width, height and pixel, computed tile by tile, so that 100
megapixels need no more memory than a few tiles. What composes it (ridges, clouds, the flow of
the brush) is laid out relative to the image; its texture is made at the scale of the pixel, and
every edge is one pixel wide, so that a larger picture shows more, not the same thing enlarged.

Texture is lattice noise summed over octaves, from a counter-based generator: any row of any octave
can be made by itself. Like photographs, the pictures have a power spectrum of about 1/f^2 and
heavy-tailed gradients (D. L. Ruderman, "The statistics of natural images", 1994).

The bytes do not depend on how a picture is cut, nor on the number of threads. Between processors or
NumPy versions, rounding may move a few pixels by a few levels.
"""

import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from bench.units import MAX_SIDE

Kind = Literal["content", "style"]
Array = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]
Ground = Literal["rock", "forest", "meadow", "water"]

_BLACK: Colour = (0.0, 0.0, 0.0)
STRIP = 64
"""Height in px of the strips a scene is made in."""
_TILE_COLUMNS = 2048
_MAX_THREADS = 4
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 2**64 - 1


# --- Noise ----------------------------------------------------------------------------------------


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


def _key(*parts: int) -> int:
    """One 64-bit key from several whole numbers."""
    key = 0
    for part in parts:
        word = np.array([(key + (part + 1) * _GOLDEN) & _WORD], dtype=np.uint64)
        key = int(_mix(word)[0])
    return key


def _uniform(key: int, count: int) -> Array:
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
class _Texture:
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
        white = _white(_key(self.key, self.octaves - level), rows, columns)
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


class _Smooth:
    """A smooth field over the whole picture, ``cells`` bumps to its mean side, about -1..1.

    A tensor-product spline: one product of small matrices per tile, at any size.
    """

    def __init__(self, key: int, size: tuple[int, int], cells: float) -> None:
        width, height = size
        self._step = cells / math.sqrt(width * height)
        across, down = (math.ceil(side * self._step) + 3 for side in size)
        lattice = 3 * _uniform(key, across * down).reshape(down, across) - np.float32(1.5)
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


def _line(key: int, x: Array, first_cell: float, hurst: float, *, ridged: bool = False) -> Array:
    """Noise along a line, about -1..1, in octaves from ``first_cell`` down to the spacing of x."""
    total = np.zeros_like(x)
    cell, octave, spacing = first_cell, 0, float(x[1] - x[0]) if len(x) > 1 else first_cell
    while cell > 1.5 * spacing:
        points = _uniform(_key(key, octave), math.ceil(float(x[-1]) / cell) + 3) * 2 - 1
        value = np.interp(x / cell, np.arange(len(points)), points).astype(np.float32)
        if ridged:
            value = np.float32(0.9) - 2 * np.abs(value)
        total += value * np.float32((cell / first_cell) ** hurst)
        cell, octave = cell / 2, octave + 1
    return total


def _blend(under: Array, over: Array | Colour, mask: Array | np.float32) -> None:
    """Lay ``over`` on the three planes of ``under`` where ``mask`` is 1, in place."""
    for plane, colour in zip(under, over, strict=True):
        part = np.subtract(colour, plane, dtype=np.float32)
        part *= mask
        plane += part


def _between(first: Colour, second: Colour, t: Array) -> Array:
    """Colours from ``first`` at 0 to ``second`` at 1, shape ``(3, *t.shape)``."""
    out = np.empty((3, *t.shape), dtype=np.float32)
    for plane, a, b in zip(out, first, second, strict=True):
        np.multiply(t, np.float32(b - a), out=plane)
        plane += np.float32(a)
    return out


class _Picture(Protocol):
    def tile(self, rows: range, columns: range) -> Array:
        """Colours 0..1 of those pixels, shape ``(3, len(rows), len(columns))``."""
        ...


# --- Landscapes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Season:
    """The colours of a landscape, sRGB in 0..1."""

    zenith: Colour
    horizon: Colour
    sun: Colour
    cloud: Colour
    rock: tuple[Colour, Colour]
    cap: Colour
    forest: tuple[Colour, Colour]
    meadow: tuple[Colour, Colour]
    bloom: Colour
    water: tuple[Colour, Colour] | None


_SEASONS = {
    "alpine": _Season(
        zenith=(0.20, 0.42, 0.74),
        horizon=(0.78, 0.87, 0.93),
        sun=(1.0, 0.97, 0.85),
        cloud=(0.98, 0.97, 0.95),
        rock=((0.20, 0.22, 0.30), (0.66, 0.62, 0.58)),
        cap=(0.95, 0.96, 0.99),
        forest=((0.03, 0.09, 0.07), (0.26, 0.40, 0.16)),
        meadow=((0.14, 0.26, 0.06), (0.62, 0.66, 0.22)),
        bloom=(0.95, 0.80, 0.20),
        water=((0.10, 0.25, 0.36), (0.66, 0.80, 0.88)),
    ),
    "sunset": _Season(
        zenith=(0.30, 0.20, 0.46),
        horizon=(1.0, 0.68, 0.42),
        sun=(1.0, 0.90, 0.60),
        cloud=(0.96, 0.55, 0.45),
        rock=((0.16, 0.10, 0.20), (0.74, 0.44, 0.36)),
        cap=(0.97, 0.78, 0.70),
        forest=((0.05, 0.04, 0.09), (0.42, 0.22, 0.14)),
        meadow=((0.12, 0.06, 0.07), (0.66, 0.38, 0.16)),
        bloom=(0.98, 0.45, 0.25),
        water=((0.20, 0.12, 0.26), (0.98, 0.66, 0.42)),
    ),
    "desert": _Season(
        zenith=(0.36, 0.56, 0.76),
        horizon=(0.95, 0.88, 0.76),
        sun=(1.0, 0.95, 0.80),
        cloud=(1.0, 0.98, 0.94),
        rock=((0.36, 0.15, 0.10), (0.86, 0.56, 0.34)),
        cap=(0.93, 0.74, 0.50),
        forest=((0.20, 0.13, 0.07), (0.62, 0.46, 0.22)),
        meadow=((0.40, 0.22, 0.10), (0.90, 0.72, 0.42)),
        bloom=(0.38, 0.42, 0.16),
        water=None,
    ),
    "autumn": _Season(
        zenith=(0.34, 0.50, 0.62),
        horizon=(0.86, 0.88, 0.86),
        sun=(1.0, 0.98, 0.92),
        cloud=(0.92, 0.93, 0.94),
        rock=((0.14, 0.20, 0.24), (0.52, 0.56, 0.54)),
        cap=(0.80, 0.80, 0.78),
        forest=((0.04, 0.10, 0.05), (0.80, 0.46, 0.12)),
        meadow=((0.16, 0.14, 0.06), (0.74, 0.56, 0.22)),
        bloom=(0.72, 0.16, 0.10),
        water=((0.12, 0.20, 0.24), (0.72, 0.78, 0.78)),
    ),
}


@dataclass(frozen=True)
class _Layer:
    """Ground from its upper edge (``edge``, px from the top at each column) down."""

    ground: Ground
    edge: Array
    texture: _Texture
    depth: float
    """0 far .. 1 near."""


def _conifers(key: int, x: Array, height: float) -> Array:
    """Height above ground of a line of trees, in the units of ``x``."""
    total = np.zeros_like(x)
    for row in range(3):
        cell = height * (0.22 + 0.05 * row)
        tree = np.floor(x / cell).astype(np.intp)
        tree -= tree[0]
        dice = _uniform(_key(key, row), 2 * (int(tree[-1]) + 1)).reshape(2, -1)
        tall = height * (0.35 + 0.65 * dice[0][tree])
        aside = np.abs(x - (np.floor(x / cell) + 0.35 + 0.3 * dice[1][tree]) * cell)
        slope = tall - aside * np.float32(4.5)
        for tiers in (0.12, 0.031):
            slope = slope - 0.6 * np.mod(slope, np.float32(tiers * height))
        np.maximum(total, slope, out=total)
    return total


def _relief(texture: _Texture, rows: range, columns: range) -> tuple[Array, Array]:
    """Height in px, and how much its slope faces the light, about -1..1."""
    tall = texture.tile(range(rows.start, rows.stop + 1), range(columns.start, columns.stop + 1))
    light = tall[1:, 1:] - tall[:-1, :-1]
    light += (tall[:-1, 1:] - tall[1:, :-1]) * np.float32(0.5)
    return tall[:-1, :-1].copy(), light


class _Landscape:
    """Sky and clouds over mountains, wooded hills and meadows, one behind the other."""

    def __init__(self, size: tuple[int, int], seed: int) -> None:
        self._width, self._height = size
        self._mean = math.sqrt(self._width * self._height)
        self._seed = seed
        self._season = _SEASONS[CONTENT_NAMES[seed % len(_SEASONS)]]
        self._octaves = max(2, round(math.log2(self._mean)) - 3)
        key = _key(seed, 1)
        self._cover = _Smooth(_key(key, 1), size, 3)
        self._clouds = _Texture(_key(key, 2), self._octaves + 1, 0.95, contrast=0.8, stretch=1)
        sun = _uniform(_key(key, 3), 2)
        x = np.arange(self._width) / self._mean - 0.2 - 0.6 * sun[0] * self._width / self._mean
        y = np.arange(self._height) / self._height - 0.15 - 0.2 * sun[1]
        self._sun = [
            tuple(np.exp(-((line / wide) ** 2)).astype(np.float32) for line in (y, x))
            for wide in (0.5, 0.06)
        ]
        self._layers = tuple(self._lay_out(key))

    def _lay_out(self, key: int) -> Iterator[_Layer]:
        x = (np.arange(self._width) / self._mean).astype(np.float32)
        grounds: tuple[Ground, ...] = ("rock", "rock", "rock", "forest", "forest", "meadow")
        if self._season.water:
            grounds = ("rock", "rock", "rock", "forest", "water", "forest", "meadow")
        for i, ground in enumerate(grounds):
            depth = i / (len(grounds) - 1)
            own = _key(key, 10 + i)
            base = 0.36 + 0.5 * depth**1.25
            if ground == "rock":
                ridge = _line(own, x, 0.9 - 0.4 * depth, 0.95, ridged=True)
                edge = base - (0.15 - 0.12 * depth) * ridge
            elif ground == "water":
                edge = np.full_like(x, base - 0.02)
            else:
                edge = base - 0.045 * _line(own, x, 0.8, 1.1)
                if ground == "forest":
                    tall = 0.035 + 0.13 * max(0.0, depth - 0.45)
                    edge -= _conifers(_key(own, 1), x, tall)
                    edge -= 0.06 * tall * _line(_key(own, 3), x, tall / 4, 0.6)
            hurst = {"rock": 1.05, "forest": 1.0, "meadow": 1.0, "water": 0.95}[ground]
            flat = {"rock": 0, "forest": 0, "meadow": 1, "water": 3}[ground]
            texture = _Texture(_key(own, 2), self._octaves, hurst, contrast=0.7, stretch=flat)
            yield _Layer(ground, (edge * self._height).astype(np.float32), texture, depth)

    def tile(self, rows: range, columns: range) -> Array:
        """Colours 0..1 of those pixels, shape ``(3, len(rows), len(columns))``."""
        down = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        edges = [layer.edge[columns.start : columns.stop] for layer in self._layers]
        seen = [i for i, edge in enumerate(edges) if float(edge.min()) < rows.stop]
        # What lies behind a layer that fills the tile is never seen.
        full = [i for i in seen if float(edges[i].max()) + 1 < rows.start]
        if not full:
            out = self._sky(rows, columns)
        for i in seen[seen.index(full[-1]) if full else 0 :]:
            below = down - edges[i]
            colours = self._ground(self._layers[i], rows, columns, below)
            if full and i == full[-1]:
                out = colours
            else:
                _blend(out, colours, np.clip(below + np.float32(0.5), 0, 1))
        return out

    def _sky(self, rows: range, columns: range) -> Array:
        season = self._season
        height, light = _relief(self._clouds, rows, columns)
        height /= np.float32(self._clouds.spread)
        down = np.arange(rows.start, rows.stop, dtype=np.float32) / np.float32(self._height)
        fade = height * np.float32(0.012)
        fade += np.clip(down / np.float32(0.6), 0, 1)[:, None] ** np.float32(0.8)
        out = _between(season.zenith, season.horizon, fade)
        for (vertical, horizontal), strength in zip(self._sun, (0.55, 0.9), strict=True):
            glow = vertical[rows.start : rows.stop, None] * horizontal[columns.start : columns.stop]
            glow *= np.float32(strength)
            _blend(out, season.sun, glow)
        cover = self._cover.tile(rows, columns)
        cover += height * np.float32(0.4)
        cover -= np.float32(0.1)
        thick = np.clip(cover * np.float32(2), 0, 1)
        # Thin edges are lit, thick middles and the sides away from the light are grey.
        light *= np.float32(0.13)
        light -= np.clip(cover, 0, 1.2) * np.float32(0.6)
        light += height * np.float32(0.14)
        light += np.float32(1.0)
        np.clip(light, 0, 1, out=light)
        shade = tuple(
            0.55 * z + 0.3 * h for z, h in zip(season.zenith, season.horizon, strict=True)
        )
        _blend(out, _between((shade[0], shade[1], shade[2]), season.cloud, light), thick)
        return out

    def _ground(self, layer: _Layer, rows: range, columns: range, below: Array) -> Array:
        season = self._season
        height, light = _relief(layer.texture, rows, columns)
        if layer.ground == "rock":
            light *= np.float32(0.75)
            light += np.float32(0.45)
            np.clip(light, 0, 1, out=light)
            out = _between(*season.rock, light)
            # Snow, or scrub: down to a line that follows the ground, sharp to the pixel.
            cap = height * np.float32(2.5)
            cap += np.float32(0.09 * (1 - 1.3 * layer.depth) * self._height)
            cap -= below
            np.clip(cap, 0, 1, out=cap)
            light *= np.float32(0.65)
            light += np.float32(0.35)
            _blend(out, _between(_BLACK, season.cap, light), cap)
        elif layer.ground == "water" and season.water:
            light *= np.float32(0.35)
            light += np.float32(0.35)
            light += np.clip(1 - below / np.float32(0.16 * self._height), 0, 1) * np.float32(0.5)
            out = _between(*season.water, np.clip(light, 0, 1))
        elif layer.ground == "forest":
            light *= np.float32(0.8)
            light += height / np.float32(6 * layer.texture.spread) + np.float32(0.3)
            out = _between(*season.forest, np.clip(light, 0, 1))
            # Gaps between the boughs.
            gap = np.float32(-0.3 * layer.texture.spread) - height
            np.clip(gap, 0, 0.7, out=gap)
            _blend(out, season.forest[0], gap)
        else:
            # Flowers on the crests of the higher ground.
            bloom = light * np.float32(3)
            bloom -= np.float32(2.2)
            np.minimum(bloom, height - np.float32(0.5 * layer.texture.spread), out=bloom)
            light *= np.float32(0.45)
            light += height / np.float32(4 * layer.texture.spread) + np.float32(0.45)
            out = _between(*season.meadow, np.clip(light, 0, 1))
            _blend(out, season.bloom, np.clip(bloom, 0, 1))
        # Air between here and there, thicker in the valleys.
        haze = below * np.float32(1.6 / self._height)
        np.clip(haze, 0, 0.35, out=haze)
        haze += np.float32(0.5)
        haze *= np.float32(1.1 * (1 - layer.depth) ** 1.3)
        np.clip(haze, 0, 0.9, out=haze)
        _blend(out, season.horizon, haze)
        return out


# --- Paintings ------------------------------------------------------------------------------------


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
CONTENT_NAMES: tuple[str, ...] = tuple(_SEASONS)
"""The seasons of generated contents; seed ``i`` is the one at ``i`` modulo their number."""


class _Painting:
    """Strokes that follow a bent field, broad ones first and finer ones over them."""

    def __init__(self, size: tuple[int, int], seed: int) -> None:
        self._width, self._height = size
        self._mean = math.sqrt(self._width * self._height)
        self._look = look = _LOOKS[STYLE_NAMES[seed % len(_LOOKS)]]
        key = _key(seed, 2)
        self._theme = _Smooth(_key(key, 1), size, 3.5)
        self._bend = tuple(_Smooth(_key(key, 2 + i), size, 3.0) for i in range(2))
        self._where = _Smooth(_key(key, 4), size, 7)
        octaves = max(2, round(math.log2(self._mean)) - 3)
        self._grain = _Texture(_key(key, 5), octaves, 0.4)
        self._dice = _uniform(_key(key, 6), 4096)
        self._angle = float(_uniform(_key(key, 7), 1)[0]) * math.pi
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


# --- Scenes ---------------------------------------------------------------------------------------


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Scene:
    """A generated picture of ``width`` x ``height`` px."""

    def __init__(self, width: int, height: int, seed: int, kind: Kind = "content") -> None:
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise ValueError(f"a scene's sides are 1 to {MAX_SIDE} px; got {width}x{height}")
        self.width, self.height = width, height
        make = _Landscape if kind == "content" else _Painting
        self._picture: _Picture = make((width, height), seed)

    def rows(self, y0: int, y1: int) -> Bytes:
        """Rows ``y0`` to ``y1`` (exclusive) as RGB, shape ``(y1 - y0, width, 3)``.

        Cheapest in multiples of ``STRIP`` rows.
        """
        if not 0 <= y0 <= y1 <= self.height:
            raise ValueError(f"rows {y0} to {y1} are not within 0 to {self.height}")
        out = np.empty((y1 - y0, self.width, 3), dtype=np.uint8)

        # Always whole tiles: the same arithmetic on the same shapes, wherever the cuts are.
        def fill(corner: tuple[int, int]) -> None:
            top, left = corner
            rows = range(top, min(top + STRIP, self.height))
            columns = range(left, min(left + _TILE_COLUMNS, self.width))
            planes = self._picture.tile(rows, columns)
            np.clip(planes, 0, 1, out=planes)
            planes *= np.float32(255)
            planes += np.float32(0.5)
            first, last = max(rows.start, y0), min(rows.stop, y1)
            for channel, plane in enumerate(planes):
                np.copyto(
                    out[first - y0 : last - y0, columns.start : columns.stop, channel],
                    plane[first - top : last - top],
                    casting="unsafe",
                )

        tops = range(y0 - y0 % STRIP, y1 if y1 > y0 else y0 - y0 % STRIP, STRIP)
        corners = list(itertools.product(tops, range(0, self.width, _TILE_COLUMNS)))
        threads = min(_MAX_THREADS, _cores(), len(corners))
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(fill, corners):
                    pass
        else:
            for corner in corners:
                fill(corner)
        return out

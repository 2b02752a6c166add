"""Generated contents: sky and clouds over mountains, wooded hills, water and meadows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.scenes.noise import Array, Smooth, Texture, derived_key, line_noise, uniform

Colour = tuple[float, float, float]
Ground = Literal["rock", "forest", "meadow", "water"]

_BLACK: Colour = (0.0, 0.0, 0.0)


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
CONTENT_NAMES: tuple[str, ...] = tuple(_SEASONS)
"""The seasons of generated contents; seed ``i`` is the one at ``i`` modulo their number."""


@dataclass(frozen=True)
class _Layer:
    """Ground from its upper edge (``edge``, px from the top at each column) down."""

    ground: Ground
    edge: Array
    texture: Texture
    depth: float
    """0 far .. 1 near."""


def _conifers(key: int, x: Array, height: float) -> Array:
    """Height above ground of a line of trees, in the units of ``x``."""
    total = np.zeros_like(x)
    for row in range(3):
        cell = height * (0.22 + 0.05 * row)
        tree = np.floor(x / cell).astype(np.intp)
        tree -= tree[0]
        dice = uniform(derived_key(key, row), 2 * (int(tree[-1]) + 1)).reshape(2, -1)
        tall = height * (0.35 + 0.65 * dice[0][tree])
        aside = np.abs(x - (np.floor(x / cell) + 0.35 + 0.3 * dice[1][tree]) * cell)
        slope = tall - aside * np.float32(4.5)
        for tiers in (0.12, 0.031):
            slope = slope - 0.6 * np.mod(slope, np.float32(tiers * height))
        np.maximum(total, slope, out=total)
    return total


def _relief(texture: Texture, rows: range, columns: range) -> tuple[Array, Array]:
    """Height in px, and how much its slope faces the light, about -1..1."""
    tall = texture.tile(range(rows.start, rows.stop + 1), range(columns.start, columns.stop + 1))
    light = tall[1:, 1:] - tall[:-1, :-1]
    light += (tall[:-1, 1:] - tall[1:, :-1]) * np.float32(0.5)
    return tall[:-1, :-1].copy(), light


class Landscape:
    """Sky and clouds over mountains, wooded hills and meadows, one behind the other."""

    def __init__(self, size: tuple[int, int], seed: int) -> None:
        self._width, self._height = size
        self._mean = math.sqrt(self._width * self._height)
        self._seed = seed
        self._season = _SEASONS[CONTENT_NAMES[seed % len(_SEASONS)]]
        self._octaves = max(2, round(math.log2(self._mean)) - 3)
        key = derived_key(seed, 1)
        self._cover = Smooth(derived_key(key, 1), size, 3)
        self._clouds = Texture(
            derived_key(key, 2), self._octaves + 1, 0.95, contrast=0.8, stretch=1
        )
        sun = uniform(derived_key(key, 3), 2)
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
            own = derived_key(key, 10 + i)
            base = 0.36 + 0.5 * depth**1.25
            if ground == "rock":
                ridge = line_noise(own, x, 0.9 - 0.4 * depth, 0.95, ridged=True)
                edge = base - (0.15 - 0.12 * depth) * ridge
            elif ground == "water":
                edge = np.full_like(x, base - 0.02)
            else:
                edge = base - 0.045 * line_noise(own, x, 0.8, 1.1)
                if ground == "forest":
                    tall = 0.035 + 0.13 * max(0.0, depth - 0.45)
                    edge -= _conifers(derived_key(own, 1), x, tall)
                    edge -= 0.06 * tall * line_noise(derived_key(own, 3), x, tall / 4, 0.6)
            hurst = {"rock": 1.05, "forest": 1.0, "meadow": 1.0, "water": 0.95}[ground]
            flat = {"rock": 0, "forest": 0, "meadow": 1, "water": 3}[ground]
            texture = Texture(derived_key(own, 2), self._octaves, hurst, contrast=0.7, stretch=flat)
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

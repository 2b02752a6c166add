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

from bench.scenes.landscape import CONTENT_NAMES
from bench.scenes.painting import STYLE_NAMES
from bench.scenes.scene import STRIP, Kind, Scene

__all__ = ["CONTENT_NAMES", "STRIP", "STYLE_NAMES", "Kind", "Scene"]

"""A worker whose passes take longer, or more memory, than they do: for the experiment.

    python -m tests.performance.slowed_worker SLOWDOWN EXTRA_MB CELL RUN_DIR REPEAT PARENT

``SLOWDOWN`` is the share of its time by which a pass is prolonged (0.1: 10 %), by spinning;
``EXTRA_MB`` are held during the pass, every page touched.
"""

import sys
import time
from typing import Any

import torch

import bench.stylizers
from bench.run import worker


class Slowed:
    """A stylizer with dearer passes."""

    def __init__(self, stylizer: Any, *, slowdown: float, extra_mb: float) -> None:
        self._stylizer = stylizer
        self._slowdown = slowdown
        self._extra_bytes = int(extra_mb * 1e6)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stylizer, name)

    def stylize(self, *arguments: Any) -> Any:
        """As the stylizer's, and then some."""
        began = time.perf_counter()
        held = torch.full((self._extra_bytes,), 1, dtype=torch.uint8)
        output = self._stylizer.stylize(*arguments)
        del held
        ends = began + (1 + self._slowdown) * (time.perf_counter() - began)
        while time.perf_counter() < ends:
            pass
        return output


def main() -> int:
    """Measure a cell as the plain worker does, with a slowed stylizer."""
    slowdown, extra_mb = map(float, sys.argv[1:3])
    load = bench.stylizers.load_stylizer

    def load_slowed(*arguments: Any, **options: Any) -> Any:
        return Slowed(load(*arguments, **options), slowdown=slowdown, extra_mb=extra_mb)

    bench.stylizers.load_stylizer = load_slowed  # type: ignore[assignment]
    return worker.main(sys.argv[3:])


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())

"""Executions: how a cascade is run over an image. Adding one is a module and a line here."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from bench.cells import Execution
from bench.execution.strips import run_strips
from bench.execution.thumbnail import run_thumbnail
from bench.execution.whole import run_whole

if TYPE_CHECKING:
    from bench.stylizers.cascade import Stylizer
    from distill.stages import StyleCode

EXECUTIONS: "dict[Execution, Callable[[Stylizer, Tensor, StyleCode, float], Tensor]]" = {
    "whole": run_whole,
    "strips": run_strips,
    "thumbnail": run_thumbnail,
}

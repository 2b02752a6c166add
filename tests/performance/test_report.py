"""The report of a run of 1,000 records: everything that `bench report` writes, in one process.

    python -m pytest tests/performance/test_report.py --benchmark-enable --benchmark-only

``extra_info`` has the processor's seconds too, which a busy machine does not stretch. Where
benchmarks are disabled, a small run's tables are written once.
"""

import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from reports.formats import FORMATS
from reports.report import write_report
from tests.unit.reports_data import SIZES, frame, performance, pictures, quality

METHODS = ("wct", "adain")


def many_sizes(records: int) -> list[dict[str, Any]]:
    """Ten models at many sizes, as a fine sweep has them."""
    models = [f"{method}-vgg16-{ratio}x" for method in METHODS for ratio in (1, 2, 4, 8, 16)]
    sizes = [(64 * n, 64 * n) for n in range(1, records // len(models) + 1)]
    return [performance(model, size) for model in models for size in sizes]


def many_models(records: int) -> list[dict[str, Any]]:
    """Many models at five sizes, as a search over students has them."""
    ratios = range(1, records // (5 * len(METHODS)) + 1)
    models = [f"{method}-vgg16-{ratio}x" for method, ratio in product(METHODS, ratios)]
    return [performance(model, size) for model in models for size in list(SIZES.values())[:5]]


@pytest.mark.benchmark(group="report")
@pytest.mark.parametrize("make", [many_sizes, many_models])
def test_report(benchmark: Any, tmp_path: Path, make: Any) -> None:
    count, formats = (40, ("csv", "parquet")) if benchmark.disabled else (1000, FORMATS)
    records = [*make(count), *(quality(f"{m}-vgg16-{r}x") for m in METHODS for r in (1, 16))]
    pictures(tmp_path, records)
    seconds = []

    def report() -> list[Path]:
        start = time.process_time()
        paths = write_report(tmp_path, frame(records), {}, {"name": "x"}, formats=formats)
        seconds.append(time.process_time() - start)
        return paths

    paths = benchmark.pedantic(report, rounds=3)
    benchmark.extra_info |= {"records": len(records), "cpu_s": min(seconds)}
    assert {path.suffix[1:] for path in paths} >= {"csv", "parquet"}

"""The four figures of a report, drawn and saved."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from reports.picture_grid import picture_figure
from reports.quality_figure import quality_figure
from reports.results import Results
from reports.style import paper_style, save
from reports.sweep_figures import latency_figure, memory_figure

CAPTIONS = {
    "memory": "Peak memory against image size",
    "latency": "Latency against image size",
    "quality": "Quality against cost",
    "pictures": "Pictures, with close-ups at full resolution",
}


def write_figures(results: Results, run_dir: Path) -> list[Path]:
    """Every figure as PNG, PDF and SVG in ``run_dir/figures``; the files written."""
    folder = run_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    draw: dict[str, Callable[[], Figure]] = {
        "memory": partial(memory_figure, results),
        "latency": partial(latency_figure, results),
        "quality": partial(quality_figure, results),
        "pictures": partial(picture_figure, results, run_dir),
    }
    written: list[Path] = []
    with paper_style():
        for name, make in draw.items():
            written += save(make(), folder, name)
    return written

"""The figures of a report: which there are, drawn and saved."""

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from bench.roofline import read_roofline
from reports.layer_figure import layer_figure
from reports.picture_grid import picture_figure
from reports.quality_figure import quality_figure
from reports.results import Results
from reports.roofline_figure import roofline_figure
from reports.run_ratios import run_ratio_figure
from reports.settings_figure import settings_figure
from reports.style import FORMATS, paper_style, save
from reports.sweep_figures import energy_figure, latency_figure, memory_figure, throughput_figure

_DRAW: Mapping[str, Callable[[Results], Figure | None]] = {
    "memory": memory_figure,
    "latency": latency_figure,
    "throughput": throughput_figure,
    "energy": energy_figure,
    "settings": settings_figure,
    "quality": quality_figure,
    "ratio": run_ratio_figure,
    "layers": layer_figure,
}
_FROM_FOLDER: Mapping[str, Callable[[Results, Path], Figure | None]] = {
    "roofline": lambda results, run_dir: roofline_figure(read_roofline(run_dir)),
    "pictures": picture_figure,
}
"""Those of what lies in the run's folder beside the records."""
CAPTIONS = {
    "memory": "Peak memory against image size",
    "latency": "Latency against image size",
    "throughput": "Throughput against image size",
    "energy": "Energy per megapixel against image size",
    "roofline": "Stages against the ceilings of the device",
    "settings": "Precisions and executions against whole images in fp32",
    "quality": "Quality against cost",
    "ratio": "Quality against compression ratio",
    "layers": "Style loss at each layer",
    "pictures": "Pictures, with close-ups at full resolution",
}
"""Of every figure that a run can have, by name, in the order of a report."""


def write_figures(results: Results, run_dir: Path, *, pictures: bool = True) -> list[Path]:
    """Each figure that has something to show as PNG, PDF and SVG in ``run_dir/figures``.

    Those of an earlier report that have nothing to show any more are removed.

    Args:
        results: of the run, or of several laid over each other.
        run_dir: where ``figures`` is made; pictures named in the records are found from it.
        pictures: whether the figure of pictures is drawn; without it that of an earlier report
            stays.

    Returns:
        The files written, figure by figure in the order of ``CAPTIONS``, whose names they have.
    """
    folder = run_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    with paper_style():
        for name in CAPTIONS if pictures else _DRAW:
            draw = _DRAW.get(name)
            figure = draw(results) if draw else _FROM_FOLDER[name](results, run_dir)
            if figure is not None:
                written += save(figure, folder, name)
                continue
            for suffix in FORMATS:
                (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    return written

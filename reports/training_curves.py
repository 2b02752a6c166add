"""Loss against images seen, of every network of some models: a figure of training logs.

``python -m reports.training_curves MODEL_FOLDER... --out FOLDER`` reads the ``log.csv`` of training
folders (``MODEL/training/stage4-encoder/log.csv``), or the copies ``MODEL/stage4-encoder.csv`` that
reference results keep.
"""

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from distill.command_line import run_app
from distill.errors import UserError
from reports.lettering import printable
from reports.style import PAGE, legend_below, looks, new_figure, paper_style, plain, save

SMOOTHING = 9
"""Windows of the log whose median is drawn; the single ones stand pale behind it."""
COLUMNS = 3
ROLES = {"decoder": "-", "encoder": (0, (5, 2))}

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def read_logs(folder: Path) -> dict[str, pd.DataFrame]:
    """The logs of a model's networks by name, such as ``stage4-encoder``.

    Raises:
        UserError: for a folder without any, or a log that is not one.
    """
    files = {path.parent.name: path for path in sorted(folder.glob("training/*/log.csv"))}
    files |= {path.stem: path for path in sorted(folder.glob("stage*-*.csv"))}
    if not files:
        raise UserError(f"{folder}: no training logs there (training/*/log.csv or stage*-*.csv)")
    logs = {}
    for name, path in files.items():
        logs[name] = log = pd.read_csv(path)
        if missing := {"images", "loss"} - set(log.columns):
            raise UserError(
                f"{path}: has no column {sorted(missing)[0]!r}; is it a training's log?"
            )
    return logs


def draw(folders: list[Path], out: Path, name: str = "curves") -> list[Path]:
    """One panel for each model, a line for each of its networks; returns the files written."""
    models = {folder.name: read_logs(folder) for folder in folders}
    rows = -(-len(models) // COLUMNS)
    with paper_style():
        figure = new_figure(PAGE, 1.75 * rows)
        stages = sorted({network.partition("-")[0] for logs in models.values() for network in logs})
        look = looks(stages)
        for index, (model, logs) in enumerate(models.items()):
            axes = figure.add_subplot(rows, min(COLUMNS, len(models)), index + 1)
            for network, log in logs.items():
                stage, _, role = network.partition("-")
                middle = log["loss"].rolling(SMOOTHING, center=True, min_periods=1).median()
                thousands = log["images"] / 1000
                colour, marker = look[stage]
                axes.plot(thousands, log["loss"], color=colour, alpha=0.2, linewidth=0.5)
                axes.plot(
                    *(thousands, middle),
                    color=colour,
                    linestyle=ROLES.get(role, "-"),
                    marker=marker,
                    # of its own for each, so that markers of near lines do not hide each other
                    markevery=(0.04 + 0.03 * stages.index(stage), 0.22),
                    markeredgecolor="white",
                    markeredgewidth=0.3,
                )
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            subs = (1.0, 3.0) if high / low > 30 else (1.0, 2.0, 3.0, 5.0, 7.0)
            axes.yaxis.set_major_locator(LogLocator(base=10, subs=subs))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
            axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
            axes.set_title(printable(model))
            axes.set_xlabel("images seen (thousands)")
            if index % COLUMNS == 0:
                axes.set_ylabel("weighted loss of the recipe")
        lines: list[tuple[Artist, str]] = [
            (Line2D([], [], color=colour, marker=marker), stage.replace("stage", "relu") + "_1")
            for stage, (colour, marker) in look.items()
        ]
        found = {network.partition("-")[2] for logs in models.values() for network in logs}
        kinds: list[tuple[Artist, str]] = [
            (Line2D([], [], color="0.2", linestyle=style), role)  # type: ignore[arg-type]
            for role, style in ROLES.items()
            if role in found
        ]
        legend_below(figure, [lines + kinds])
        out.mkdir(parents=True, exist_ok=True)
        return save(figure, out, name)


@app.command()
def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of models, or of their logs.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
) -> None:
    """Draw training curves as PNG, PDF and SVG."""
    for path in draw(folders, out):
        print(path)


if __name__ == "__main__":
    sys.exit(run_app(app, "reports.training_curves"))

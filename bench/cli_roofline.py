"""``bench roofline``: what each stage reaches of what the device can do."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UserError
from distill.streams import courtesy

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.


@courtesy()
def roofline(
    model: Annotated[
        list[str], typer.Option(help="METHOD-FAMILY-RATIOx[:WEIGHTS]; may be repeated.")
    ],
    size: Annotated[str, typer.Option(help="WxH or 12.5MP: of the image.")] = "2MP",
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32, tf32, bf16 or fp16; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    repeats: Annotated[
        int, typer.Option(min=1, max=1000, help="Timed passes of each network.")
    ] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, max=4096, help="CPU threads; else PyTorch's choice.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder to write to; a run's folder, to have the figure in its report."),
    ] = Path("roofline"),
) -> None:
    """Time encoder and decoder of every stage against the device's measured ceilings.

    Writes roofline.csv, and the figure as PNG, PDF and SVG.
    """
    from bench.cli_max_resolution import read_option
    from bench.measure.devices import resolve_device
    from bench.plan import scenario_cells
    from bench.roofline import FILE, as_csv, measure_roofline
    from bench.run.store import SCENARIO
    from bench.scenario import Scenario
    from bench.scenario.fields import PRECISIONS
    from bench.scenario.values import read_choice, read_model, read_size
    from distill.files import write_bytes_atomically
    from reports.roofline_figure import roofline_figure
    from reports.style import paper_style, save

    models = [read_option("--model", lambda text: read_model(text, Path.cwd()), m) for m in model]
    precisions = [
        read_option("--precision", read_choice(PRECISIONS), one) for one in precision or ["fp32"]
    ]
    chosen = read_option("--size", read_size, size)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {out} is a file; a folder is needed")
    scenario = Scenario.model_validate(
        {
            "name": "roofline",
            "models": list(dict.fromkeys(models)),
            "precision": list(dict.fromkeys(precisions)),
            "resolutions": [str(chosen)],
            "threads": threads,
        }
    )
    like = scenario_cells(scenario, resolve_device(device))[0]
    print(f"measuring {like.device}: some minutes at the most", file=sys.stderr, flush=True)
    points = measure_roofline(like, scenario.models, scenario.precision, repeats=repeats)
    out.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(out / FILE, as_csv(points).encode())
    # Beside the figures of the run whose folder it is.
    folder = out / "figures" if (out / SCENARIO).exists() else out
    folder.mkdir(exist_ok=True)
    with paper_style():
        figure = roofline_figure(points)
        assert figure is not None
        written = save(figure, folder, "roofline")
    print(f"{len(points)} points: {out / FILE}, {written[0]}")

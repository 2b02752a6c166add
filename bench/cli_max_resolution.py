"""``bench max-resolution``: the largest image under a memory cap, found by running."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bench.cli_plan import Format, FormatOption, read_format
from bench.errors import UserError
from distill.command_line import console

if TYPE_CHECKING:
    from bench.max_resolution import Found, Probe
    from bench.scenario import Scenario

Value = TypeVar("Value")
_EVIDENCE = "evidence.csv"
_WIDEST_ASPECT = 1000

# Commands import what they need when they run: `bench --help` and bad input need no PyTorch.


def max_resolution(
    model: Annotated[str, typer.Option(help="METHOD-FAMILY-RATIOx[:WEIGHTS].")],
    memory_cap: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory that a pass may use, such as 12GB; without it the card's, or nine tenths "
            "of the memory that is free.",
        ),
    ] = None,
    execution: Annotated[str, typer.Option(help="whole, strips or thumbnail.")] = "whole",
    precision: Annotated[str, typer.Option(help="fp32, tf32, bf16 or fp16.")] = "fp32",
    aspect: Annotated[str, typer.Option(metavar="W:H", help="Width to height.")] = "4:3",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    max_megapixels: Annotated[float, typer.Option(help="Try nothing larger than this.")] = 1000.0,
    time_limit: Annotated[
        str, typer.Option(help="Longest time of one probe; a longer one counts as too large.")
    ] = "30min",
    out: Annotated[Path, typer.Option(help="Folder in which the run's own folder is made.")] = Path(
        "runs"
    ),
    format_: FormatOption = "text",
) -> None:
    """Find the largest image that a model does under a memory cap, to 2 % of its pixels.

    Begins at the predicted size, brackets and bisects, and runs the answer once more; each probe is
    one pass in a fresh process.
    """
    from bench.max_resolution import (
        find_largest,
        longest_side,
        predicted_side,
        prober,
        size_of_side,
    )
    from bench.measure.devices import resolve_device
    from bench.measure.environment import collect_environment
    from bench.plan import scenario_cells
    from bench.prediction.calibration import load_calibration
    from bench.prediction.predict import Predictor
    from bench.run.store import RunFolder
    from bench.scenario.values import read_bytes, read_seconds
    from distill.files import write_bytes_atomically

    chosen = read_format(format_)
    ratio = _aspect(aspect)
    if not 0.001 <= max_megapixels <= 1e6:
        raise UserError(f"--max-megapixels: must be 0.001 to 1000000, got {max_megapixels:g}")
    deadline_s = read_option("--time-limit", read_seconds, time_limit)
    place = resolve_device(device)
    cap = None if memory_cap is None else read_option("--memory-cap", read_bytes, memory_cap)
    room = _room(place) if cap is None else cap
    if cap is None and place == "cpu":
        # Without one the machine's memory would be, and the kernel would end something.
        cap = room
    bound = longest_side(ratio, max_megapixels)
    scenario = _scenario(model, place, cap, execution, precision)
    cell = scenario_cells(scenario, place)[0]
    predictor = Predictor(load_calibration(cell))
    start = predicted_side(cell, predictor, aspect=ratio, room_bytes=room, bound=bound)
    size = size_of_side(max(start, 1), ratio)
    what = f"{size} ({size.megapixels:.3g} MP)" if start else "that no size fits"
    _say(f"predicted: {what} under {room / 1e6:,.0f} MB")
    scenario = scenario.model_copy(update={"resolutions": (size,)})
    with RunFolder.create(out, scenario, collect_environment(place)) as folder:
        probe = prober(cell, predictor, folder, deadline_s=deadline_s, report=_tell)
        found = find_largest(probe, aspect=ratio, start=start, bound=bound)
        folder.write_parquet()
        table = _as_csv(found)
        write_bytes_atomically(folder.path / _EVIDENCE, table.encode())
        _show(found, chosen, table, folder.path)


def search_largest(run_dir: Path, *, quiet: bool) -> None:
    """Search for the largest image of each of a run's settings, for ``bench run``.

    Raises:
        UserError: for a run without a memory cap.
    """
    from bench.run.interrupts import interruptible
    from bench.run.store import RunFolder
    from bench.searches import FILE, search_run

    with RunFolder.open(run_dir) as folder, interruptible():
        answers = search_run(folder, report=(lambda _: None) if quiet else _say)
    known = sum(one.width is not None for one in answers)
    print(f"{run_dir / FILE}: the largest image of {known} of {len(answers)} settings was found")


def read_option(option: str, read: Callable[[object], Value], text: object) -> Value:
    """The value of an option, or a ``UserError`` that names it."""
    try:
        return read(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


def _aspect(text: str) -> Fraction:
    match = re.fullmatch(r"\s*(\d{1,6})\s*[:x/]\s*(\d{1,6})\s*", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise UserError(f"--aspect: width to height such as 16:9 is needed; got {text!r}")
    ratio = Fraction(int(match[1]), int(match[2]))
    if not Fraction(1, _WIDEST_ASPECT) <= ratio <= _WIDEST_ASPECT:
        raise UserError(f"--aspect: at most {_WIDEST_ASPECT}:1 either way; got {text!r}")
    return ratio


def _scenario(
    model: str, device: str, cap: int | None, execution: str, precision: str
) -> "Scenario":
    from bench.scenario import Scenario
    from bench.scenario.fields import EXECUTIONS, PRECISIONS
    from bench.scenario.formats import format_bytes
    from bench.scenario.values import read_choice, read_model

    return Scenario.model_validate(
        {
            "name": "max-resolution",
            "device": device,
            "memory_cap": None if cap is None else format_bytes(cap),
            "models": [read_option("--model", lambda text: read_model(text, Path.cwd()), model)],
            "execution": read_option("--execution", read_choice(EXECUTIONS), execution),
            "precision": read_option("--precision", read_choice(PRECISIONS), precision),
            "resolutions": ["512x512"],
        }
    )


def _room(device: str) -> int:
    """Bytes that a process can count on where no cap is given."""
    from bench.measure.devices import gpus
    from distill.host import usable_memory

    if device == "cpu":
        return int(0.9 * usable_memory().available) // 10**6 * 10**6
    index = int(device.partition(":")[2] or 0)
    return int(gpus()[index].memory_mb * 1e6)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell(probe: "Probe") -> None:
    peak = probe.measured_peak_mb
    came = probe.status if peak is None else f"ok, peak {peak:,.0f} MB"
    expected = probe.predicted_mb
    predicted = "" if expected is None else f", predicted to need {expected:,.0f} MB"
    _say(f"{probe.size} ({probe.size.megapixels:.4g} MP): {came}{predicted}")


def _as_csv(found: "Found") -> str:
    from bench.max_resolution import evidence

    rows = evidence(found.probes)
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def _show(found: "Found", chosen: Format, table: str, folder: Path) -> None:
    from bench.max_resolution import evidence

    if chosen == "csv":
        sys.stdout.write(table)
        return
    rows = evidence(found.probes)
    beyond = found.beyond
    if chosen == "json":
        answer: dict[str, Any] = {
            "width": found.size.width,
            "height": found.size.height,
            "megapixels": found.size.megapixels,
            "limit": found.limit,
            "smallest_failed_megapixels": None if beyond is None else beyond.megapixels,
            "run": str(folder),
            "evidence": rows,
        }
        print(json.dumps(answer, indent=1))
        return
    from rich.table import Table

    shown = Table("size", box=None, pad_edge=False)
    for column in ("MP", "predicted need", "predicted peak", "measured peak", "a pass"):
        shown.add_column(column, justify="right")
    shown.add_column("status")
    for one in sorted(found.probes, key=lambda one: one.size.pixels):
        shown.add_row(
            *(str(one.size), f"{one.size.megapixels:.4g}"),
            *map(_megabytes, (one.predicted_mb, one.predicted_peak_mb, one.measured_peak_mb)),
            "" if one.seconds is None else f"{one.seconds:.3g} s",
            one.status,
        )
    console().print(shown)
    print(f"largest that ran: {found.size} ({found.size.megapixels:.4g} MP)")
    if beyond is None:
        print("nothing larger was tried: --max-megapixels")
    else:
        more = 100 * (beyond.pixels / found.size.pixels - 1)
        what = {"memory": "out of memory", "time": "over --time-limit", "crash": "a crash"}
        print(f"{beyond} ({more:.1f} % more pixels) did not: {what[found.limit]}")
    print(f"evidence: {folder / _EVIDENCE}")


def _megabytes(amount: float | None) -> str:
    return "" if amount is None else f"{amount:,.0f} MB"

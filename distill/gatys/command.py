"""``distill gatys``: one image painted in the style of another, by optimisation."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.command_line import memory_advice
from distill.errors import UserError
from distill.streams import courtesy

if TYPE_CHECKING:
    from distill.gatys.optimise import Report, Result
    from distill.reference_losses import ImageFeatures

LONGER_SIDE = 512
"""Of the result, pixels, where no size is given and the content image is not smaller."""
LEAST_SIDE, LARGEST_SIDE = 16, 32_768
"""Pixels; below the first, relu5_1 is a single pixel."""


@courtesy()
def gatys(
    content: Annotated[Path, typer.Argument(metavar="CONTENT", help="Picture to paint.")],
    style: Annotated[Path, typer.Argument(metavar="STYLE", help="Picture whose style to take.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Picture to write: .png, .jpg, ...")],
    model: Annotated[
        str,
        typer.Option(
            help="The loss network: registered weights ('distill info'), or METHOD-FAMILY-"
            "RATIOx[:FOLDER], of which the deepest stage's encoder is taken.",
        ),
    ] = "vgg16-normalised",
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded",
            help="Compare a student's features after its linear embeddings, in the teacher's "
            "space, instead of its own.",
        ),
    ] = False,
    steps: Annotated[int, typer.Option(help="Iterations of L-BFGS.")] = 300,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|WxH",
            help="Size of the result: its longer side, or both sides, in pixels; if not given, "
            f"that of CONTENT, its longer side at most {LONGER_SIDE}.",
        ),
    ] = None,
    style_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|WxH",
            help="Size that STYLE is brought to; if not given, its longer side is the result's.",
        ),
    ] = None,
    content_weight: Annotated[float, typer.Option(help="Weight of the content loss.")] = 1.0,
    style_weight: Annotated[float, typer.Option(help="Weight of the style loss.")] = 1000.0,
    smoothness: Annotated[float, typer.Option(help="Weight of the total variation.")] = 0.0,
    init: Annotated[str, typer.Option(help="Start from content or noise.")] = "content",
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Paint a picture in the style of another by optimising its pixels (Gatys et al. 2016).

    The loss network may be the teacher or a compressed student. Both are compared in the end in
    the teacher's space: content loss at relu4_1, style loss summed over relu1_1 to relu5_1.
    """
    import torch

    from distill.devices import resolve_device
    from distill.gatys.loss_network import TEACHER, LossNetwork, load_loss_network
    from distill.gatys.optimise import Weights, optimise
    from distill.host import limit_threads
    from distill.image_files import check_writable
    from distill.images.reader import picture_size
    from distill.pictures import read_rgb, save_rgb
    from distill.reference_losses import ReferenceLosses
    from distill.weights import load_named

    weights = Weights(content_weight, style_weight, smoothness)
    _check(out, (content, style), steps, init, seed)
    check_writable(out)
    target = _size("--size", size, picture_size(content))
    longer = str(max(target)) if style_size is None else style_size
    style_target = _size("--style-size", longer, picture_size(style))
    where = resolve_device(device)
    limit_threads()
    network = load_loss_network(model, embedded=embedded)
    pictures = [read_rgb(content, size=target), read_rgb(style, size=style_target)]
    advice = (
        f"{where} cannot do {target[0]}x{target[1]} on this network; choose a smaller --size, or a "
        "student as --model"
    )
    with memory_advice(advice), _progress(steps, quiet) as report:
        network = network.to(where)
        content_image, style_image = (picture.to(where) for picture in pictures)
        teacher = LossNetwork(TEACHER, load_named(TEACHER).to(where))
        result = optimise(
            content_image,
            style_image,
            network.matched_to(teacher, (content_image, style_image)),
            weights=weights,
            steps=steps,
            init=init,  # type: ignore[arg-type]
            seed=seed,
            report=report,
        )
        save_rgb(result.image, out)
        if quiet:
            return
        judge = ReferenceLosses(TEACHER, where)
        # As everywhere that losses are stated: in full float32, on a GPU too.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            judged = {
                name: judge.features(image)
                for name, image in (
                    ("content image", content_image),
                    ("style image", style_image),
                    ("result", result.image.to(torch.float32)),
                )
            }
    if not quiet:
        _print(out, target, model + (", embedded" if embedded else ""), result, judged)


def _print(
    out: Path,
    target: tuple[int, int],
    model: str,
    result: "Result",
    judged: "dict[str, ImageFeatures]",
) -> None:
    from rich.table import Table

    from distill.command_line import console
    from distill.gatys.loss_network import TEACHER
    from distill.reference_losses import ReferenceLosses

    first, last = result.curve[0], result.curve[-1]
    print(f"{out}: {target[0]}x{target[1]}, painted with {model}")
    print(
        f"{len(result.curve) - 1} steps, {result.evaluations} evaluations; weighted loss "
        f"{first.total:.4g} -> {last.total:.4g} (content {first.content:.4g} -> {last.content:.4g},"
        f" style {first.style:.4g} -> {last.style:.4g})"
    )
    style = judged.pop("style image")
    table = Table(f"on {TEACHER}", "content loss", "style loss", box=None)
    for name, features in judged.items():
        losses = ReferenceLosses.style_losses(features, style)
        content = ReferenceLosses.content_loss(features, judged["content image"])
        table.add_row(name, f"{content:.4g}", f"{sum(losses.values()):.4g}")
    console().print(table)


def _check(out: Path, inputs: tuple[Path, Path], steps: int, init: str, seed: int) -> None:
    problems = []
    if steps < 1:
        problems.append(f"--steps: must be 1 or more; got {steps}")
    if init not in ("content", "noise"):
        problems.append(f"--init: must be content or noise; got {init!r}")
    if not 0 <= seed < 1 << 63:
        problems.append(f"--seed: must be 0 to 2^63 - 1; got {seed}")
    for path in inputs:
        if out.exists() and path.exists() and out.samefile(path):
            problems.append(f"{out}: would overwrite the picture {path} that is read")
    if problems:
        raise UserError(*problems)


def _size(option: str, text: str | None, own: tuple[int, int]) -> tuple[int, int]:
    """(width, height) that an option asks for, for a picture of its own size."""
    if match := re.fullmatch(r"(\d{1,9})x(\d{1,9})", (text or "").strip()):
        found = int(match[1]), int(match[2])
    else:
        if text is not None and not re.fullmatch(r"\d{1,9}", text.strip()):
            raise UserError(
                f"{option}: a size is the longer side in pixels, such as 512, or WxH such as "
                f"512x384; got {text!r}"
            )
        longer = min(LONGER_SIDE, max(own)) if text is None else int(text)
        found = _scaled(own[0], longer, max(own)), _scaled(own[1], longer, max(own))
    if min(found) < LEAST_SIDE or max(found) > LARGEST_SIDE:
        raise UserError(
            f"{option}: each side must be {LEAST_SIDE} to {LARGEST_SIDE} px; "
            f"{text or 'the picture itself'} gives {found[0]}x{found[1]}"
        )
    return found


def _scaled(side: int, longer: int, own_longer: int) -> int:
    return max(1, round(side * longer / own_longer))


@contextmanager
def _progress(steps: int, quiet: bool) -> "Iterator[Report | None]":
    """A bar with loss and time left on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from distill.gatys.optimise import Losses

    screen = Console(stderr=True)
    if quiet or not screen.is_terminal:
        yield None
        return
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), Left()
    with Progress(*columns, TextColumn("left"), console=screen, transient=True) as bar:
        task = bar.add_task("loss ...", total=steps)

        def report(step: int, losses: Losses) -> None:
            bar.update(task, completed=step, description=f"loss {losses.total:.4g}")

        yield report

"""What a training will cost, said before it starts."""

import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from distill.networks import TEACHER_WIDTHS, count_macs_per_pixel, student_widths
from distill.training.book import Job, Recipebook
from distill.training.settings import DTYPES

TRIAL_S = 0.4
"""Seconds for which the machine's speed is tried."""
_CHANNELS, _SIDE = 64, 96


def macs_per_crop(book: Recipebook, job: Job) -> float:
    """Multiply-accumulates of one crop's part of a step, forwards and backwards.

    A trained network costs three times its forward pass, a frozen one that gradients go through
    twice, another once. The 1x1 convolutions are left out.
    """
    spec, stage = book.spec, job.stage
    teacher, big = count_macs_per_pixel(spec.family, TEACHER_WIDTHS, stage)
    student, small = count_macs_per_pixel(spec.family, student_widths(spec.ratio), stage)
    images = 2 if spec.method == "adain" else 1  # a crop comes with one of a painting
    if job.role == "decoder":
        frozen = student if spec.ratio != 1 else 0
        theirs = big if spec.ratio != 1 and spec.method == "adain" else 0
        cost = images * (teacher + frozen) + 3 * small + 2 * teacher + theirs
    elif book.compressor in ("pruned", "scratch"):
        cost = images * (3 * teacher + 3 * student + 3 * small)
    else:
        through = 2 * big + 2 * teacher if book.compressor == "collaborative" else 0
        cost = images * (teacher + 3 * student) + through
    return float(cost * book.crops.size**2)


def macs_per_second(device: torch.device, precision: str) -> float:
    """Try the speed of a convolution on a device, forwards and backwards."""
    x = torch.rand(4, _CHANNELS, _SIDE, _SIDE, device=device, dtype=DTYPES[precision])
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.rand(_CHANNELS, _CHANNELS, 3, 3, device=device, dtype=x.dtype)
    weight.requires_grad_()
    x.requires_grad_()
    done, begun = 0, 0.0
    while done < 2 or time.perf_counter() - begun < TRIAL_S:
        F.conv2d(x, weight, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        done += 1
        if done == 1:  # the first one chooses kernels
            begun = time.perf_counter()
    macs = 3 * x.numel() * _CHANNELS * 9
    return (done - 1) * macs / (time.perf_counter() - begun)


def announce(book: Recipebook, jobs: Sequence[Job], device: torch.device, processes: int) -> str:
    """Say in a line what the networks will cost.

    Args:
        book: how they are made.
        jobs: the networks.
        device: of the training.
        processes: that share each step.
    """
    settings = book.settings
    networks = f"{len(jobs)} network{'s' if len(jobs) != 1 else ''}"
    if settings.steps is None:
        assert settings.minutes is not None
        return f"{networks} of {settings.minutes:g} min: {_time(60 * settings.minutes * len(jobs))}"
    images = settings.steps * settings.batch
    macs = images * sum(macs_per_crop(book, job) for job in jobs)
    seconds = macs / macs_per_second(device, settings.precision) / processes
    return (
        f"{networks} of {settings.steps:,} steps of {settings.batch} crops of {book.crops.size} px "
        f"({images:,} each): {macs / 1e12:,.3g} x 10^12 multiply-accumulates, roughly "
        f"{_time(seconds)} on {device.type} by a trial of {TRIAL_S:g} s; --minutes sets a time"
    )


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"

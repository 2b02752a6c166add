"""Devices by their names on the command line."""

import re

from distill.errors import EnvironmentUnfitError, UserError
from distill.suggest import did_you_mean


def parse_device(requested: str) -> tuple[str, int]:
    """``auto``, ``cpu`` or ``cuda``, and the N of ``cuda:N`` (0 without one).

    Raises:
        UserError: for any other text.
    """
    if requested in ("auto", "cpu"):
        return requested, 0
    if match := re.fullmatch(r"cuda(?::([0-9]{1,4}))?", requested):
        return "cuda", int(match[1] or 0)
    hint = did_you_mean(requested, ("auto", "cpu", "cuda", "cuda:0"))
    raise UserError(
        f"device: {requested!r}; allowed are auto, cpu, cuda and cuda:N (N from 0){hint}"
    )


def resolve_device(requested: str) -> str:
    """``cpu``, ``cuda`` or ``cuda:N`` of a name that may be ``auto``, as PyTorch finds it.

    Raises:
        UserError: for no name of a device.
        EnvironmentUnfitError: for a CUDA device that is not there.
    """
    import torch

    kind, index = parse_device(requested)
    if kind == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and index >= (there := torch.cuda.device_count()):
        raise EnvironmentUnfitError(
            f"device: {requested!r}; PyTorch finds {there} CUDA devices here, counted from 0"
        )
    return requested

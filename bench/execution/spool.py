"""Bands kept for later: in memory, or in a scratch file that vanishes whatever happens."""

import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple

import torch
from torch import Tensor

from bench.errors import EnvironmentUnfitError

Place = Literal["memory", "host", "scratch"]
"""On the device that computes, in the host's memory, or in a file."""

_CHANNELS_FIRST = (0, 1, 2, 3)
_CHANNELS_LAST = (0, 2, 3, 1)
_RESERVE = 256 * 10**6
"""Bytes of a disc that are left free."""


class _Written(NamedTuple):
    """What tells a band in the file."""

    shape: torch.Size
    dtype: torch.dtype
    order: tuple[int, ...]
    """Of its axes as they lie in the file."""


class Spool:
    """A queue of bands (1, C, h, W) of one type, width and number of channels.

    Args:
        place: where they are kept.
        folder: of the scratch file.
    """

    def __init__(self, place: Place, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._bands: deque[Tensor | _Written] = deque()
        self._file: IO[bytes] | None = None

    def append(self, band: Tensor) -> None:
        """Keep one more band."""
        if self._place == "memory":
            self._bands.append(band)
        elif self._place == "host":
            self._bands.append(band.cpu())
        else:
            if self._file is None:
                # Without a name from the start: it is gone with the process, however it ends.
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            last = band.is_contiguous(memory_format=torch.channels_last)
            # In the order it lies in memory, so that nothing is copied here or converted later.
            order = _CHANNELS_LAST if last else _CHANNELS_FIRST
            flat = band.permute(order).contiguous().cpu().flatten().view(torch.uint8)
            self._file.write(flat.numpy().data)
            self._bands.append(_Written(band.shape, band.dtype, order))

    def drain(self, device: torch.device) -> Iterator[Tensor]:
        """The bands in their order, on ``device``; each is let go of as it is taken."""
        if self._file is not None:
            self._file.seek(0)
        while self._bands:
            band = self._bands.popleft()
            yield (band if isinstance(band, Tensor) else self._read(band)).to(device)
        if self._file is not None:
            self._file.close()

    def _read(self, band: _Written) -> Tensor:
        assert self._file is not None
        buffer = bytearray(band.shape.numel() * band.dtype.itemsize)
        if self._file.readinto(buffer) != len(buffer):  # type: ignore[attr-defined]
            raise OSError("the scratch file is shorter than what was written to it")
        lying = [band.shape[axis] for axis in band.order]
        flat = torch.frombuffer(buffer, dtype=band.dtype).view(lying)
        return flat.permute([band.order.index(axis) for axis in range(4)])


def check_scratch(folder: Path, needed: int) -> None:
    """Make sure that a scratch file of ``needed`` bytes can be written.

    Raises:
        EnvironmentUnfitError: for a folder that is not there or a disc that is too full.
    """
    if not folder.is_dir():
        raise EnvironmentUnfitError(f"{folder}: no such folder for scratch files; name another")
    free = shutil.disk_usage(folder).free
    if needed + _RESERVE > free:
        raise EnvironmentUnfitError(
            f"{folder}: {needed / 1e9:.1f} GB of scratch are needed and {free / 1e9:.1f} GB are "
            "free; name another folder with TMPDIR, or allow more memory"
        )

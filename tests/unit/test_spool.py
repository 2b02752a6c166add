"""Bands that are kept come back as they went, and leave nothing behind."""

import gc
import shutil
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import EnvironmentUnfitError
from bench.execution.spool import Spool, check_scratch

CPU = torch.device("cpu")
PLACES = ("memory", "host", "scratch")


def band(channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, channels, height, width, generator=generator)


@settings(max_examples=30)
@given(
    heights=st.lists(st.integers(1, 9), max_size=8),
    channels=st.integers(1, 20),
    width=st.integers(1, 20),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    memory_format=st.sampled_from([torch.channels_last, torch.contiguous_format]),
    place=st.sampled_from(PLACES),
)
def test_bands_come_back_in_order_as_they_were(
    tmp_path_factory, heights, channels, width, dtype, memory_format, place
):
    spool = Spool(place, tmp_path_factory.getbasetemp())
    kept = [
        band(channels, height, width, seed).to(dtype=dtype, memory_format=memory_format)
        for seed, height in enumerate(heights)
    ]
    for one in kept:
        spool.append(one)
    back = list(spool.drain(CPU))
    assert len(back) == len(kept)
    for found, expected in zip(back, kept, strict=True):
        assert found.dtype == dtype
        assert torch.equal(found, expected)
        # In another format the next convolution would convert it, or be another one.
        assert found.is_contiguous(memory_format=memory_format)


def test_part_of_a_larger_map_can_be_kept(tmp_path):
    spool, image = Spool("scratch", tmp_path), band(4, 10, 6)
    for top in (0, 4):
        spool.append(image[:, :, top : top + 4])
    assert torch.equal(torch.cat(list(spool.drain(CPU)), 2), image[:, :, :8])


@pytest.mark.parametrize("place", ["memory", "host"])
def test_a_band_is_let_go_of_as_it_is_taken(place, tmp_path):
    spool = Spool(place, tmp_path)
    watched = []
    for seed in range(3):
        one = band(2, 3, 4, seed)
        watched.append(weakref.ref(one))
        spool.append(one)
    del one
    bands = spool.drain(CPU)
    next(bands)
    next(bands)
    gc.collect()
    assert [ref() is None for ref in watched] == [True, False, False]


def test_the_scratch_file_has_no_name_while_it_is_used(tmp_path):
    spool = Spool("scratch", tmp_path)
    for seed in range(3):
        spool.append(band(8, 16, 64, seed))
        assert list(tmp_path.iterdir()) == []
    bands = spool.drain(CPU)
    next(bands)
    assert list(tmp_path.iterdir()) == []
    assert len(list(bands)) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are not listed here")
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_the_scratch_file_is_closed_however_much_was_taken(taken, tmp_path):
    def opened() -> list[str]:
        links = [fd.readlink() for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        return [str(link) for link in links if str(tmp_path) in str(link)]

    spool = Spool("scratch", tmp_path)
    for seed in range(3):
        spool.append(band(2, 3, 4, seed))
    assert len(opened()) == 1
    bands = spool.drain(CPU)
    for _ in range(taken):
        next(bands)
    del spool, bands
    gc.collect()
    assert opened() == []


_SPOOLING = """
import sys, time
import torch
from pathlib import Path
from bench.execution.spool import Spool

spool = Spool("scratch", Path(sys.argv[1]))
for _ in range(4):
    spool.append(torch.rand(1, 64, 64, 256))
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_process_leaves_nothing(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", _SPOOLING, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert list(tmp_path.iterdir()) == []
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disc_is_found_before_anything_is_written(tmp_path, monkeypatch):
    def usage(folder: Any) -> Usage:
        assert Path(folder) == tmp_path
        return Usage(10**12, 0, 3 * 10**9)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check_scratch(tmp_path, 2 * 10**9)
    # Some of the disc is left to others.
    for needed in (29 * 10**8, 5 * 10**9):
        with pytest.raises(EnvironmentUnfitError) as caught:
            check_scratch(tmp_path, needed)
        message = str(caught.value)
        assert str(tmp_path) in message
        assert f"{needed / 1e9:.1f} GB of scratch are needed" in message
        assert "3.0 GB are free" in message
        assert "TMPDIR" in message


def test_a_scratch_folder_that_is_not_there(tmp_path):
    with pytest.raises(EnvironmentUnfitError, match="no such folder") as caught:
        check_scratch(tmp_path / "gone", 1)
    assert str(tmp_path / "gone") in str(caught.value)

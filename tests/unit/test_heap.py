"""Large blocks leave the process when they are freed, while they are told to."""

import platform
import subprocess
import sys

import pytest

# In a process of its own: which holes this one's heap has is chance.
PROGRAM = """
import psutil
from bench.measure.heap import large_blocks_mapped

def freed():
    first, second = bytearray(10**7), bytearray(10**7)
    before = psutil.Process().memory_info().rss
    del first  # below the heap's top, if they lie there
    return before - psutil.Process().memory_info().rss

with large_blocks_mapped():
    inside = freed()
print(inside, freed())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_large_blocks_are_mapped_inside_and_kept_afterwards():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    inside, afterwards = map(int, done.stdout.split())
    assert inside > 9e6
    assert afterwards < 1e6

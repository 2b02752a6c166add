"""The model of glibc's allocator: what its manual says of it, and what any allocator must keep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.prediction.heap import Heap, resident_peak
from bench.prediction.ledger import Event

MB = 1 << 20
PAGE = 4096


def resident(heap: Heap) -> float:
    """What is resident now, by way of the peak since nothing changed."""
    heap.trim()
    return heap.peak


def test_large_blocks_go_back_as_soon_as_they_are_freed():
    heap = Heap()
    for number in range(20):
        heap.take(number, 64 * MB)
        heap.give(number)
    assert heap.peak == pytest.approx(64 * MB, abs=2 * PAGE)
    assert resident(heap) == 0


def test_the_threshold_grows_to_the_blocks_that_were_mapped():
    """mallopt(3), M_MMAP_THRESHOLD: freeing a mapped block adjusts it up to that block's size."""
    heap = Heap(pinned_first=10**6)
    heap.take("first", 20 * MB)
    heap.give("first")
    # From the heap now: it stays resident when it is freed, and the next one is put there.
    heap.take("second", 10 * MB)
    heap.give("second")
    heap.take("large", 40 * MB)
    assert heap.peak == pytest.approx(50 * MB, rel=0.01)
    heap.take("third", 9 * MB)
    assert heap.peak == pytest.approx(50 * MB, rel=0.01)


def test_what_is_free_goes_back_before_a_measurement():
    heap = Heap()
    for number in range(8):
        heap.take(number, 3 * MB)
    for number in range(0, 8, 2):
        heap.give(number)
    heap.trim()
    assert heap.peak == pytest.approx(4 * 3 * MB, rel=0.02)


@pytest.mark.parametrize(("pinned_first", "again_mb"), [(2, 8), (1, 16)])
def test_a_hole_whose_cuttings_are_in_use_is_not_for_a_block_of_its_size(pinned_first, again_mb):
    """Why a process grows: freed memory that is just too small for what comes next."""
    heap = Heap(pinned_first=pinned_first)
    heap.take("raises the threshold", 30 * MB)
    heap.give("raises the threshold")
    heap.trim()
    heap.take("block", 8 * MB)
    heap.take("behind it", 3 * MB)
    heap.give("block")
    heap.take("again", 8 * MB)
    assert heap.peak == pytest.approx((3 + again_mb) * MB, rel=0.01)


steps = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 48 * MB)), max_size=60)


@given(steps=steps, pinned=st.integers(0, 20))
def test_no_less_is_resident_than_is_in_use_and_nothing_when_all_is_freed(steps, pinned):
    heap = Heap(pinned_first=pinned)
    used: dict[int, int] = {}
    most = 0
    for block, size in steps:
        if block in used:
            heap.give(block)
            del used[block]
        else:
            heap.take(block, size)
            used[block] = size
        most = max(most, sum(used.values()))
        assert heap.peak >= most
    for block in used:
        heap.give(block)
    assert resident(heap) == pytest.approx(0, abs=1)


def test_the_peak_of_a_pass_leaves_out_what_came_before_it():
    before = [Event(1, 300 * MB), Event(1, -300 * MB)]
    a_pass = [Event(1, 80 * MB), Event(2, 100), Event(1, -80 * MB), Event(2, -100)]
    found = resident_peak(before, a_pass, peak=80 * MB)
    assert found == pytest.approx(80 * MB, abs=2 * PAGE)

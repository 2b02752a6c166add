"""What the C library keeps resident of the memory that a pass takes and gives back.

On a CPU the peak of a process is above that of its tensors, because freed blocks are not all used
again. This plays a pass through a model of glibc's allocator: blocks from a threshold on are mapped
and unmapped by themselves; smaller ones come from the best fitting hole of one heap, whose top is
trimmed when it is large. The threshold grows to the largest mapped block that was freed, up to
32 MiB. (Section "Malloc Tunable Parameters" of the GNU C Library's manual, and ``mallopt(3)``.)

PyTorch aligns blocks from 2 MB on to pages when it asks for huge pages, as the benchmark's
processes do. glibc cuts an aligned block out of a larger one, and a hole that was just large enough
for a block is not for the next of the same size once one of the two cuttings is in use. Which are
is chance: one in ``_PINNED`` here, and the peak is the mean over several choices. One cell measured
in five processes had peaks of 168 to 217 MB, so that nobody can be nearer than that for maps that
come from the heap; from a few megapixels on they are mapped, and the peak is sure.

Other C libraries and systems have other allocators; for them this is as good a guess as any.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from statistics import fmean

from bench.prediction.ledger import Event
from bench.prediction.traffic import FRESH

_PAGE = 4096
_LEAST = 32
"""Bytes of the smallest chunk."""
_HEADER = 8
_TOP_PAD = 128 << 10
_FIRST_THRESHOLD = 128 << 10
_CONSOLIDATED = 64 << 10
"""A freed chunk of at least this makes glibc look at the heap's top."""
PAGE_ALIGNED = 2 << 20
"""PyTorch aligns blocks from this on to pages."""
_SMALL = 256 << 10
_SMALL_SHARE = 1 / 512
"""Blocks below both of these, in bytes and in shares of the pass's peak, are left out: thousands of
them, that make no difference."""
_PINNED = 14
"""Learnt from measured cells: of the rates from 8 to 40, the one with the least error."""
_CHOICES = 4


def resident_peak(before: Sequence[Event], a_pass: Sequence[Event], *, peak: int) -> float:
    """Most bytes that are resident during a pass, over what stood before; expected, not certain.

    The mean of the first pass and of a later one: what a process has done before shifts its holes.

    Args:
        before: what the process has taken and given back earlier.
        a_pass: what a pass takes and gives back.
        peak: most bytes that it takes at one time.
    """
    small = max(_SMALL, int(_SMALL_SHARE * peak))
    passes = [_large(before, small), _large(a_pass, small)]
    return fmean(
        peak for choice in range(_CHOICES) for peak in _play([*passes, passes[1]], choice)[1:]
    )


def _large(events: Iterable[Event], small: int) -> list[Event]:
    kept: set[int] = set()
    found = []
    for event in events:
        if event.bytes >= small:
            kept.add(event.buffer)
            found.append(event)
        elif event.buffer in kept:
            found.append(event)
    return found


def _play(passes: Sequence[Sequence[Event]], choice: int) -> list[float]:
    """The peak of each pass; freed memory goes back to the system before it, as in measurements."""
    heap = Heap(pinned_first=choice * _PINNED // _CHOICES)
    peaks = []
    for number, events in enumerate(passes):
        heap.trim()
        for event in events:
            if event.bytes > 0:
                heap.take((number, event.buffer), event.bytes)
            else:
                heap.give((number, event.buffer))
        peaks.append(heap.peak)
    return peaks


class Heap:
    """A process's memory under glibc's allocator.

    Args:
        pinned_first: position of the first page-aligned block whose cuttings stay in use, after
            which one in ``_PINNED`` does.
    """

    def __init__(self, *, pinned_first: int = 0) -> None:
        self.peak = 0.0
        """Most that was resident since the last :meth:`trim`, in bytes."""
        self._resident = 0.0
        self._mapped: dict[object, tuple[int, int]] = {}
        """Size of a mapped chunk, and how much of it is resident."""
        self._used: dict[object, tuple[int, int]] = {}
        self._holes: dict[int, tuple[int, float]] = {}
        """Address: size, and how much of it is resident."""
        self._ends: dict[int, int] = {}
        self._by_size: list[tuple[int, int]] = []
        self._top = 0
        self._top_resident = 0.0
        self._end = 0
        self._threshold = _FIRST_THRESHOLD
        self._until_pinned = pinned_first

    def take(self, block: object, count: int) -> None:
        """Allocate ``count`` bytes and write to them."""
        aligned = count >= PAGE_ALIGNED
        alignment = _PAGE if aligned else 64
        needed = max(_LEAST, _rounded(count + _HEADER, 16))
        asked = _rounded(needed + alignment + _LEAST + _HEADER, 16)
        found = self._find(asked)
        if found is None:
            # Aligned within its own pages: those before it count no more.
            size = _rounded(asked + _HEADER, _PAGE) - (alignment - 16)
            self._mapped[block] = size, _rounded(count, _PAGE)
            self._resident += self._mapped[block][1]
        else:
            self._cut(block, found, needed, alignment)
        self.peak = max(self.peak, self._resident)

    def give(self, block: object) -> None:
        """Free a block; one that was never taken is none of ours."""
        mapped = self._mapped.pop(block, None)
        if mapped is not None:
            size, resident = mapped
            self._resident -= resident
            if self._threshold < size <= FRESH:
                self._threshold = size
        elif block in self._used:
            address, size = self._used.pop(block)
            self._release(address, size, size)

    def trim(self) -> None:
        """Give all freed memory back to the system, and forget the peak."""
        self._resident -= self._top_resident + sum(part for _, part in self._holes.values())
        self._holes = {address: (size, 0.0) for address, (size, _) in self._holes.items()}
        self._top_resident = 0.0
        self._end = self._top + (self._end - self._top) % _PAGE
        self.peak = self._resident

    def _find(self, size: int) -> tuple[int, int, float] | None:
        """Address, size and resident part of a chunk; None if it is to be mapped."""
        position = bisect_left(self._by_size, (size, -1))
        if position < len(self._by_size):
            found, address = self._by_size[position]
            resident = self._remove(address)
            if found - size < _LEAST:
                return address, found, resident
            left = resident * (found - size) / found
            self._insert(address + size, found - size, left)
            return address, size, resident - left
        if self._end - self._top < size + _LEAST:
            if size >= self._threshold:
                return None
            missing = size + _TOP_PAD + _LEAST - (self._end - self._top)
            self._end += _rounded(missing, _PAGE)
        address, resident = self._top, min(self._top_resident, size)
        self._top += size
        self._top_resident -= resident
        return address, size, resident

    def _cut(self, block: object, found: tuple[int, int, float], needed: int, to: int) -> None:
        address, size, resident = found
        start = _rounded(address + 16, to) - 16
        if 0 < start - address < _LEAST:
            start += to
        end = start + needed
        if address + size - end < _LEAST:
            end = address + size
        self._used[block] = start, end - start
        share = resident / size
        self._resident += (end - start) * (1 - share)
        if to == _PAGE:
            self._until_pinned -= 1
            if self._until_pinned < 0:
                self._until_pinned = _PINNED - 1
                return
        for low, high in ((address, start), (end, address + size)):
            if low < high:
                self._release(low, high - low, (high - low) * share)

    def _release(self, address: int, size: int, resident: float) -> None:
        before = self._ends.get(address)
        if before is not None:
            size += address - before
            resident += self._remove(before)
            address = before
        after = address + size
        if after == self._top:
            self._top = address
            self._top_resident += resident
            self._shrink(size)
            return
        if after in self._holes:
            size += self._holes[after][0]
            resident += self._remove(after)
        self._insert(address, size, resident)

    def _shrink(self, freed: int) -> None:
        room = self._end - self._top
        most = _FIRST_THRESHOLD if self._threshold == _FIRST_THRESHOLD else 2 * self._threshold
        if freed < _CONSOLIDATED or room < most:
            return
        self._end -= max(0, room - _LEAST - 1 - _TOP_PAD) // _PAGE * _PAGE
        lost = max(0.0, self._top_resident - (self._end - self._top))
        self._top_resident -= lost
        self._resident -= lost

    def _insert(self, address: int, size: int, resident: float) -> None:
        self._holes[address] = size, resident
        self._ends[address + size] = address
        insort(self._by_size, (size, address))

    def _remove(self, address: int) -> float:
        size, resident = self._holes.pop(address)
        del self._ends[address + size]
        self._by_size.pop(bisect_left(self._by_size, (size, address)))
        return resident


def _rounded(value: int, step: int) -> int:
    return -(-value // step) * step

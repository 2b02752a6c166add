"""Training images: folders, globs and tar files, and crops of them in a reproducible order.

Every crop is a function of (seed, position): which image, where, mirrored or not. A training that
is resumed at some step therefore sees what an uninterrupted one would have seen, whatever the
number of worker processes or devices. That holds for images that cannot be read as well: where they
are passed over, the next one of the epoch's order that can be read stands in.
"""

import glob
import hashlib
import signal
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from distill.errors import EnvironmentUnfitError, UserError
from distill.images.kinds import READ_SUFFIXES
from distill.images.listing import has_image_suffix, is_visible, taken_text
from distill.images.reader import ImageFile, to_8_bits

UNREADABLE = 50
"""Images in a row that cannot be read: then it is the disk, and not an image."""


class _Entry(NamedTuple):
    name: str
    path: Path
    offset: int
    """Of the image's bytes in ``path`` (0 unless it is a tar file)."""
    size: int

    def read(self) -> bytes:
        """The image's bytes. Raises ``UserError`` where the file is gone."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise UserError(f"{self.name}: cannot be read: {error.strerror}") from error


class ImageSet:
    """Images of folders, files and tar files, by index; nothing is read before it is asked for."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = tuple(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, index: int) -> str:
        """Name of an image: its path, or the tar file's and the member's."""
        return self._entries[index].name

    def open(self, index: int, *, at_least: int | None = None) -> Image.Image:
        """Read an image, RGB of 8 bits; see :class:`distill.images.reader.ImageFile`.

        Args:
            index: 0 to ``len - 1``.
            at_least: the shorter side that is needed: a JPEG may come smaller than it is (by a
                power of two), never below this.

        Raises:
            UserError: for a file that is no readable image.
        """
        entry = self._entries[index]
        image = ImageFile(entry.read(), name=entry.name, at_least=at_least)
        return Image.fromarray(to_8_bits(image.pixels()))

    def digest(self, *, ordered: bool = False) -> str:
        """16 hexadecimal digits over the names (without folders) and sizes of all images.

        Args:
            ordered: tell apart the same images in another order, too.
        """
        lines = [f"{entry.name.rpartition('/')[2]} {entry.size}" for entry in self._entries]
        if not ordered:
            lines.sort()
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def list_images(
    sources: Sequence[str | Path], *, report: Callable[[str], object] = lambda _: None
) -> ImageSet:
    """The images of folders (with all below them), image files, globs and tar files, sorted.

    Args:
        sources: folders, files, globs and tar files.
        report: told, in a line, of each source of which files were left out.

    Raises:
        UserError: for a source that is not there, is a compressed tar file, or has no images.
    """
    entries: list[_Entry] = []
    for source in map(str, sources):
        left_out: list[PurePath] = []
        found = sorted(_entries(source, left_out))
        if not found:
            raise UserError(
                f"{source}: no images there; expected a folder, glob or tar file with "
                f"{', '.join(sorted(READ_SUFFIXES))}"
            )
        if left_out:
            report(f"{source}: {taken_text(len(found), left_out)}")
        entries += found
    return ImageSet(entries)


def _entries(source: str, left_out: list[PurePath]) -> Iterator[_Entry]:
    """The images of a source; ``left_out`` is filled with its other files."""
    path = Path(source)
    if path.is_dir():
        yield from _file_entries(path.rglob("*"), left_out)
    elif path.is_file() and tarfile.is_tarfile(path):
        yield from _tar_entries(path, left_out)
    elif path.is_file():
        yield _file_entry(path)
    elif glob.has_magic(source):
        matches = glob.glob(source, recursive=True)  # noqa: PTH207, may be absolute
        yield from _file_entries(map(Path, matches), left_out)
    else:
        raise UserError(f"{source}: there is no such folder or file")


def _file_entries(paths: Iterable[Path], left_out: list[PurePath]) -> Iterator[_Entry]:
    for path in paths:
        if is_visible(path) and path.is_file():
            if has_image_suffix(path):
                yield _file_entry(path)
            else:
                left_out.append(path)


def _file_entry(path: Path) -> _Entry:
    return _Entry(str(path), path, 0, path.stat().st_size)


def _tar_entries(path: Path, left_out: list[PurePath]) -> Iterator[_Entry]:
    try:
        with tarfile.open(path, "r:") as archive:  # no compression: members are read in place
            for member in archive:
                inside = PurePath(member.name)
                if not (member.isfile() and is_visible(inside)):
                    continue
                if not has_image_suffix(inside):
                    left_out.append(inside)
                else:
                    yield _Entry(f"{path}/{member.name}", path, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise UserError(
            f"{path}: cannot be read in place ({error}); unpack it, or give an uncompressed tar"
        ) from error


@dataclass(frozen=True)
class Crops:
    """How crops are made of images."""

    size: int
    """Side of the square crops, pixels."""
    shorter: tuple[int, int]
    """The shorter side is resized to a length drawn evenly from this range, pixels."""
    flip: bool = True

    def __post_init__(self) -> None:
        if self.size < 16 or self.size % 16:
            raise UserError(f"crop: {self.size} is no multiple of 16 from 16 up")
        low, high = self.shorter
        if not self.size <= low <= high:
            raise UserError(
                f"resize: {low} to {high} pixels does not hold a crop of {self.size}; both must be "
                "at least the crop, the first not above the second"
            )


class _Crop(NamedTuple):
    """A crop, and why images before it in the order could not be read.

    Errors are values here: a worker process would wrap an exception in its traceback."""

    pixels: npt.NDArray[np.uint8] | None
    """None where no image could be read."""
    problems: tuple[str, ...]


class _CropDataset:
    """Crops by position, without end: position // len is the epoch.

    Args:
        images: what to crop.
        crops: how.
        seed: of order and augmentation.
        attempts: images to try at a position, one after another in the epoch's order.
    """

    def __init__(self, images: ImageSet, crops: Crops, seed: int, attempts: int) -> None:
        self.images, self.crops, self.seed = images, crops, seed
        self.attempts = min(attempts, len(images))

    def batch(self, positions: range) -> _Crop:
        """The crops at some positions as one array."""
        return _collate([self._crop(position) for position in positions])

    def _crop(self, position: int) -> _Crop:
        epoch, within = divmod(position, len(self.images))
        order = _permutation(len(self.images), self.seed, epoch)
        problems: list[str] = []
        for attempt in range(self.attempts):
            index = int(order[(within + attempt) % len(order)])
            rng = np.random.default_rng((self.seed, position))
            try:
                pixels = crop(self.images, index, self.crops, rng).numpy()
                return _Crop(pixels, tuple(problems))
            except UserError as error:
                problems.append(str(error))
        return _Crop(None, tuple(problems))


@lru_cache(maxsize=4)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, size)).permutation(size)


def crop(images: ImageSet, index: int, crops: Crops, rng: np.random.Generator) -> Tensor:
    """One random crop, uint8 (3, size, size)."""
    shorter = int(rng.integers(crops.shorter[0], crops.shorter[1] + 1))
    image = images.open(index, at_least=shorter)
    scale = shorter / min(image.size)
    width, height = (max(shorter, round(side * scale)) for side in image.size)
    left = int(rng.integers(0, width - crops.size + 1))
    top = int(rng.integers(0, height - crops.size + 1))
    # Only the crop is resampled, from the box of the image that it covers.
    box = (
        left * image.width / width,
        top * image.height / height,
        (left + crops.size) * image.width / width,
        (top + crops.size) * image.height / height,
    )
    small = image.resize((crops.size, crops.size), Image.Resampling.BICUBIC, box)
    if crops.flip and rng.random() < 0.5:
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)


def _positions(batch: int, start: int, rank: int, processes: int) -> Iterator[range]:
    """Positions of each step's batch, for one of several processes, from a step onwards."""
    share = batch // processes
    for step in count(start):
        first = step * batch + rank * share
        yield range(first, first + share)


def batches(
    images: ImageSet,
    crops: Crops,
    *,
    batch: int,
    seed: int,
    start: int = 0,
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
    skip: Callable[[str], None] | None = None,
) -> Iterator[Tensor]:
    """Batches without end: uint8 (batch / processes, 3, size, size).

    Args:
        images: what to crop.
        crops: how.
        batch: images of one step, over all processes.
        seed: of order and augmentation.
        start: the step of the first batch.
        workers: processes that decode images; 0 decodes in this one.
        rank: this process's number.
        processes: how many share each batch.
        skip: told why an image cannot be read, each time that it is passed over for the next one;
            None passes over none.

    Raises:
        UserError: for a batch that the processes cannot share, and (when it comes to it) for an
            image that cannot be read, or with ``skip`` for ``UNREADABLE`` of them in a row.
        EnvironmentUnfitError: when a worker ended, or cannot be started.
    """
    if batch < 1 or batch % processes:
        raise UserError(f"batch: {batch} images cannot be shared evenly by {processes} processes")
    dataset = _CropDataset(images, crops, seed, 1 if skip is None else UNREADABLE)
    steps = _positions(batch, start, rank, processes)
    for pixels, problems in _decoded(dataset, steps, workers):
        if skip is not None:
            for problem in problems:
                skip(problem)
        if pixels is None:
            raise UserError(
                f"{problems[-1]}; --skip-unreadable (with --resume) goes on without it"
                if skip is None
                else f"{problems[-1]}; nor can {len(problems) - 1} other images in a row"
            )
        yield torch.from_numpy(pixels)


def _decoded(dataset: "_CropDataset", steps: Iterator[range], workers: int) -> Iterator[_Crop]:
    """The batch of each step, decoded here or in worker processes, some steps ahead.

    Not by PyTorch's loader: that hands tensors over in shared memory, and where this is small (a
    container has 64 MB) a worker that finds it full tells nobody and is waited for; and a worker
    that is killed raises in the middle of whatever the trainer is doing.
    """
    if workers == 0:
        for step in steps:
            yield dataset.batch(step)
        return
    pool = ProcessPoolExecutor(workers, initializer=_begin_worker, initargs=(dataset,))
    try:
        ahead = deque(pool.submit(_batch_of_worker, step) for step in islice(steps, 2 * workers))
        for step in steps:
            yield ahead.popleft().result()
            ahead.append(pool.submit(_batch_of_worker, step))
    except (BrokenProcessPool, OSError) as error:
        raise EnvironmentUnfitError(
            "workers: a process that decodes images was killed or could not be started; memory may "
            "be short: give fewer --workers (0 needs none), and --resume"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_of_worker: "_CropDataset"


def _begin_worker(dataset: "_CropDataset") -> None:
    """Give a worker process its images, and leave Ctrl-C to the trainer."""
    global _of_worker
    _of_worker = dataset
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _batch_of_worker(positions: range) -> _Crop:
    return _of_worker.batch(positions)


def _collate(items: list[_Crop]) -> _Crop:
    """A batch; of one that lacks a crop the problems there, the last of them last."""
    lacking = [item for item in items if item.pixels is None]
    arrays = [item.pixels for item in items if item.pixels is not None]
    problems = [problem for item in lacking[:1] or items for problem in item.problems]
    return _Crop(None if lacking else np.stack(arrays), tuple(problems))

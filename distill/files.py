"""Files that are whole or not there."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from distill.errors import UserError
from distill.suggest import one_line

LONGEST_NAME = 255
"""Bytes of a file's name that file systems allow."""
UNFINISHED = ".tmp"
"""Ending of the file that is being written; what a killed process leaves has it."""


def is_visible_file(path: Path) -> bool:
    """Whether there is a file, as far as can be seen.

    Where it may not be looked (the home of another user, a server that does not answer) there is
    none: for caches and settings, without which everything works.
    """
    try:
        return path.is_file()
    except OSError:
        return False


MAX_BYTES = 200 * 10**6
"""Largest text file, such as JSON, that is read as a whole."""


def read_regular(path: Path, *, most: int = MAX_BYTES) -> bytes:
    """The content of a file that a user names, or that lies in a folder of a user's.

    A pipe or a device (``/dev/stdin``, ``/dev/full``) may never end, and keep a command waiting or
    fill the memory.

    Raises:
        OSError: when it cannot be read.
        UserError: for what is not a regular file, or is larger than ``most`` bytes.
    """
    # Opening a pipe that nobody writes to would wait.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise UserError(one_line(f"{path}: is {kind}; a file is needed"))
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UserError(one_line(f"{path}: is larger than {most // 10**6} MB, which is not read"))
    return content


@contextlib.contextmanager
def folder_made(path: Path) -> Iterator[Path]:
    """Make a folder and those on the way; where what is done in it fails, leave none that is empty.

    Raises:
        OSError: when the disk refuses.
    """
    absent = [one for one in (path, *path.parents) if not os.path.lexists(one)]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield path
    except BaseException:
        for one in absent:
            with contextlib.suppress(OSError):  # not empty, or never made
                one.rmdir()
        raise


def expanded(text: str) -> Path:
    """A path with ``~`` and ``~NAME`` replaced; as it stands where there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Have ``write`` fill a temporary file, and put it in the place of ``path`` once it is whole.

    A reader, and whoever looks after a crash or a power cut, finds the old file, the new one, or
    none. Folders on the way are made. A link stays, its target is replaced. A pipe or device, such
    as ``/dev/stdout``, is written to.

    Raises:
        OSError: when the disk refuses; nothing is left then.
    """
    if path.parent in map(Path, ("/dev", "/dev/fd")) or (path.exists() and not path.is_file()):
        write(path)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps one that is just dying from sharing a file with the next.
    temporary = temporary_path(path, f".{os.getpid()}{UNFINISHED}")
    try:
        with naming(path):
            write(temporary)
            temporary.chmod(0o666 & ~_umask())  # some writers make files for their owner only
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            # The rename itself is only safe from a power cut once the folder is on the disk.
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path, ending: str) -> Path:
    """Name a file beside ``path`` that stands for it until it is whole: ``.NAME`` and an ending.

    Where that would be longer than names may be, a digest takes the place of the name's end.
    """
    name = os.fsencode(path.name)
    room = LONGEST_NAME - 1 - len(os.fsencode(ending))
    if len(name) > room:
        digest = hashlib.sha256(name).hexdigest()[:12]
        # Not in the middle of a character: some file systems refuse half of one.
        kept = name[: room - len(digest)].decode(errors="ignore")
        return path.with_name(f".{kept}{digest}{ending}")
    return path.with_name(f".{path.name}{ending}")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an ``OSError`` the name of the file that is written: one of ``write`` has none."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename).endswith(UNFINISHED):
            error.filename = str(path)
        raise


def write_bytes_atomically(path: Path, content: bytes | memoryview) -> None:
    """A whole file of these bytes, or nothing; see :func:`write_atomically`."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write)


def _umask() -> int:
    mask = os.umask(0o022)  # the one way to ask is to set it
    os.umask(mask)
    return mask

"""A lock on the networks that a training makes, so that no two write the same files."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from distill.errors import UserError

LOCK = ".lock"
"""In a network's training folder; empty but for the process that has it, and left there."""


@contextmanager
def lock_networks(out: Path, names: Sequence[str], writes: bool = True) -> Iterator[None]:
    """Keep other trainings from making these networks of a folder.

    Others of the same folder may be made meanwhile. Where a file system has no locks, nothing is
    locked.

    Args:
        out: of the model.
        names: of the networks, such as ``stage1-encoder``.
        writes: whether this process writes files: of several that train together one does.

    Raises:
        UserError: where another training makes one of them.
    """
    with ExitStack() as held:
        for name in names if writes else ():
            folder = out / "training" / name
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context((folder / LOCK).open("a+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                process = file.read().strip() or "unknown"
                raise UserError(
                    f"{out}: another training (process {process}) makes {name} here; wait for it, "
                    "or give another --out"
                ) from None
            except OSError:
                continue
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield

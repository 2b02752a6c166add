"""The errors a user can cause, and the exit code each ends a command with."""

import errno

_REFUSALS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    }
)
"""A file system that does not take what is right: full, read-only, of somebody else."""


class UserError(Exception):
    """Wrong use or bad input: exit code 2. One whole, actionable line for each problem."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class EnvironmentUnfitError(UserError):
    """The machine cannot do what was asked (no such device, a missing extra): exit code 4."""

    exit_code = 4


def disk_error(error: OSError, message: str) -> UserError:
    """The error for what could not be written, with the message's path in it.

    The environment's (exit code 4) where the disk is full or refuses; the user's where the path
    cannot be meant, such as a folder in a file.
    """
    return EnvironmentUnfitError(message) if error.errno in _REFUSALS else UserError(message)

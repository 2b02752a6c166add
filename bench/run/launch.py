"""Commands that run a module of this code, and of no other, in a process of its own."""

import sys
import sysconfig
from pathlib import Path

import bench

ROOT = Path(bench.__file__).resolve().parents[1]
"""Folder of the packages that run here: of a checkout, or ``site-packages``."""
INSTALLED = str(ROOT) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
"""Whether Python finds them there anyway."""
OTHER_CODE = 78
"""Exit status of a worker that runs other code than its parent."""
_START = (
    "import runpy, sys; _, root, module, *rest = sys.argv; "
    "root and sys.path.insert(0, root); sys.argv[:] = [module, *rest]; "
    "runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def module_command(module: str) -> tuple[str, ...]:
    """Return the command that runs ``python -m MODULE`` with this code before any other.

    The path is an argument and no variable, for a list of paths has no way to write one with a
    colon. ``-P``: a folder named "bench" where the command happens to be given must not stand in.
    """
    return (sys.executable, "-P", "-c", _START, "" if INSTALLED else str(ROOT), module)

"""The control groups that this process is in, versions 1 and 2."""

from pathlib import Path, PurePosixPath

from bench.measure import proc

CGROUPS = Path("/sys/fs/cgroup")


def cgroup_files(controller: str, name: str) -> list[Path]:
    """Files called ``name`` of this process's groups, its own first, then those around it.

    ``controller`` counts under version 1 only, where each has groups of its own. Inside a
    container the path of the group can be that of the host, and its files lie at the top.
    """
    found = []
    for root, path in _memberships(controller):
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            file = root / group / name
            if file.is_file():
                found.append(file)
    return list(dict.fromkeys(found))


def counter(path: Path, name: str) -> int | None:
    """A counter of a file of ``NAME VALUE`` lines; None where it has none."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
    return int(values[0]) if values and values[0].isdecimal() else None


def memory_limit() -> int | None:
    """Bytes of memory that this process's groups may have together with it; None without a limit.

    The least of the limits of the group and of those around it.
    """
    limits = []
    for name in ("memory.max", "memory.limit_in_bytes"):
        for path in cgroup_files("memory", name):
            try:
                text = path.read_text(encoding="ascii").strip()
            except OSError:
                continue
            # "max", or under version 1 the largest number of pages, stands for no limit.
            if text.isdecimal() and int(text) < _UNLIMITED:
                limits.append(int(text))
    return min(limits, default=None)


_UNLIMITED = 2**60
"""Bytes; version 1 says 2^63 less a page."""


def _memberships(controller: str) -> list[tuple[Path, str]]:
    """Where the groups lie, and the path of this process's there: version 2's first."""
    try:
        lines = (proc.PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    unified: list[tuple[Path, str]] = []
    own: list[tuple[Path, str]] = []
    for line in lines:
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            # "unified": where both versions are mounted at once
            unified += [(CGROUPS, path), (CGROUPS / "unified", path)]
        elif controller in names.split(","):
            own += [(CGROUPS / names, path), (CGROUPS / controller, path)]
    return [*unified, *own]

"""The sources that decide results, as a digest: what runs, whatever git says of it."""

import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Folder of the packages: of the checkout, or ``site-packages``."""
PACKAGES = ("bench", "distill")
"""Those that measure; what draws reports changes no result."""
_ASSETS = "distill/assets"
DIGITS = 10


@functools.cache
def source_digest() -> str:
    """Return ten hexadecimal digits that change with the code that runs: milliseconds.

    Read once in a process: what is edited later is not what runs here. Of the embedded weights the
    names, the sizes and the list of checksums count, which loading holds them to.
    """
    return digest_of(ROOT)


def digest_of(root: Path) -> str:
    """Return the digest of the sources below ``root``; see :func:`source_digest`."""
    total = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            _add(total, path.relative_to(root), path.read_bytes())
    for path in sorted((root / _ASSETS).glob("*")):
        large = path.suffix == ".safetensors"
        content = str(path.stat().st_size).encode() if large else path.read_bytes()
        _add(total, path.relative_to(root), content)
    return total.hexdigest()[:DIGITS]


def _add(total: "hashlib._Hash", name: Path, content: bytes) -> None:
    # Lengths, so that no two lists of files run together to the same bytes.
    total.update(f"{name.as_posix()}\0{len(content)}\0".encode())
    total.update(content)

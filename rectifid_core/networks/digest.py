"""Digests, by which an identity file is bound to the weights that it was made with."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK = 1 << 20  # bytes at a time: a file may be larger than the memory


def file_digest(*files: Path) -> str:
    """The SHA-256 of the files, one after the other, in hexadecimal digits."""
    sha = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                sha.update(block)
    return sha.hexdigest()

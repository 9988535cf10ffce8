"""What it takes to trust a disk: content and names that have reached it, and digests to know content by (law 10)."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_PART, _READ = 2**20, 2**16
"""Bytes; so few are read at a time that the memory for them is used again."""


def sync(path: Path) -> None:
    """Flush a file's content, or a directory's names, to the disk.

    Raises:
        OSError: the disk refused, or the system cannot flush such a thing.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shared_digest(path: Path) -> str:
    """The SHA-256 of the SHA-256s of a file's parts of 1 MiB, which threads take at once: for files that no one else compares."""
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor() as threads:

        def of_part(start: int) -> bytes:
            digest = hashlib.sha256()
            for place in range(start, start + _PART, _READ):
                digest.update(os.pread(file.fileno(), _READ, place))
            return digest.digest()

        parts = threads.map(of_part, range(0, os.fstat(file.fileno()).st_size, _PART))
        return hashlib.sha256(b"".join(parts)).hexdigest()


def value_digest(value: Any) -> str:
    """The SHA-256 of a value that can be written as JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()

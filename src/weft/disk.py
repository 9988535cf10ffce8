"""What it takes to trust a disk: content and names that have reached it, and digests to know content by (law 10)."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_PART = 2**20


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
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor() as threads:
        parts = threads.map(
            lambda start: hashlib.sha256(os.pread(file.fileno(), _PART, start)).digest(), range(0, size, _PART)
        )
        return hashlib.sha256(b"".join(parts)).hexdigest()


def value_digest(value: Any) -> str:
    """The SHA-256 of a value that can be written as JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()

"""What kept results are keyed by: the content of files, and of this package."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

from weft.disk import shared_digest
from weft.errors import DataError

_SETTLED = 2 * 10**9
"""Nanoseconds after which a further change of a file is sure to give it another date."""


def content(path: Path, *, anew: bool = False) -> str:
    """The digest of a file's content, which a process takes once of a file that has not changed since.

    Args:
        path: the file.
        anew: take it again, whatever the file's dates say.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        status = path.stat()
        # The second date tells also of a file that was put in the place of another, with that one's date of change.
        if anew or time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _SETTLED:
            return shared_digest(path)
        return _taken(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}", where=str(path), fix="check its permissions"
        ) from None


def check_unchanged(digests: Iterable[tuple[Path, str]]) -> None:
    """Compare files with the digests that were taken of them: what was made of them since would be kept as what those stand for.

    Raises:
        DataError: a file changed.
    """
    for path, digest in digests:
        if content(path, anew=True) != digest:
            raise DataError("the file changed while it was being read", where=str(path), fix="run this again")


@lru_cache(maxsize=4096)
def _taken(path: Path, stamp: tuple[int, ...]) -> str:
    """``stamp`` is another one when the file changed."""
    return shared_digest(path)


@cache
def code_digest() -> str:
    """A digest of this package, so that no version of weft meets what another one made."""
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".jinja")):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()

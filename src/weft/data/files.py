"""Writing files so that each is whole or absent, and several appear together."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Any

from weft.disk import file_digest, sync
from weft.errors import DataError


class StagedFiles:
    """Files that are written aside and moved into place together.

    All of them are on the disk before :meth:`commit` renames the first, so that an interruption leaves the old files whole.
    As a context manager it removes what was not committed.
    """

    def __init__(self) -> None:
        self._staged: list[tuple[Path, Path, str]] = []

    def __enter__(self) -> StagedFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        for aside, _, _ in self._staged:
            with contextlib.suppress(OSError):  # where nothing can be written, nothing is there
                aside.unlink()

    def write(self, path: Path, chunks: Iterable[bytes]) -> str:
        """Write ``path`` aside, making its directory, and return the SHA-256 of its content.

        Raises:
            DataError: the directory cannot be made or written, or ``path`` is a directory itself, a device or a pipe.
        """
        if path.is_dir():
            raise DataError("a directory stands in the place of this file", where=str(path), fix="give a file's name")
        if path.exists() and not path.is_file():  # such as /dev/null, which is not to be replaced
            raise DataError("this is no file: nothing is put in its place", where=str(path), fix="give a file's name")
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        digest = hashlib.sha256()
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._staged.append((aside, path, ""))
            with aside.open("wb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        self._staged[-1] = (aside, path, digest.hexdigest())
        return digest.hexdigest()

    def commit(self) -> None:
        """Move every file into place, in the order in which they were written; one that is there already stays untouched."""
        changed = set()
        for aside, path, digest in self._staged:
            with writing(path):
                if path.is_file() and path.stat().st_size == aside.stat().st_size and file_digest(path) == digest:
                    aside.unlink()
                else:
                    aside.replace(path)
                    changed.add(path.parent)
        for directory in changed:
            sync_directory(directory)
        self._staged.clear()


def json_lines(rows: Iterable[Any]) -> Iterator[bytes]:
    """Each row as one line of JSON, in UTF-8."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    for row in rows:
        yield encode(row).encode() + b"\n"


def check_directory(directory: Path) -> None:
    """Raise DataError now where files could not be written into ``directory`` later; nothing is made."""
    whole = directory.absolute()
    existing = next(each for each in (whole, *whole.parents) if each.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        reason = "it is not writable" if existing.is_dir() else f"{existing.name} is a file"
        raise DataError(f"nothing can be written into it: {reason}", where=str(directory), fix="name another directory")


def first_line_has(path: Path, keys: Set[str], optional: Set[str] = frozenset()) -> bool:
    """Whether a file of JSON lines looks as weft writes it: its first line is an object with these keys, or it is empty.

    Some of the ``optional`` keys may be there too. A device or a pipe, which may never end, looks otherwise.
    """
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            first = file.readline()
        record = json.loads(first) if first else None
    except (OSError, ValueError, RecursionError):
        return False
    return record is None or (isinstance(record, dict) and record.keys() - optional == keys)


def sync_directory(directory: Path) -> None:
    """Make renames and removals inside ``directory`` last through a power cut, where the system can."""
    with contextlib.suppress(OSError):
        sync(directory)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write ``path`` into an error for people."""
    try:
        yield
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file stands where its directory should be" if in_the_way else error.strerror or str(error)
        raise DataError(
            f"the file cannot be written: {reason}",
            where=str(path),
            fix="make room and permission there, or set another path",
        ) from None

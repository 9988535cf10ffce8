"""Writing files so that each is whole or absent, and several appear together."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from weft.errors import DataError


class StagedFiles:
    """Files that are written aside and moved into place together.

    All of them are on the disk before :meth:`commit` renames the first, so that an interruption leaves the old files whole.
    As a context manager it removes what was not committed.
    """

    def __init__(self) -> None:
        self._staged: list[tuple[Path, Path]] = []

    def __enter__(self) -> StagedFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        for aside, _ in self._staged:
            aside.unlink(missing_ok=True)

    def write(self, path: Path, chunks: Iterable[bytes]) -> str:
        """Write ``path`` aside, making its directory, and return the SHA-256 of its content.

        Raises:
            DataError: the directory cannot be made or written.
        """
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        digest = hashlib.sha256()
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._staged.append((aside, path))
            with aside.open("wb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        return digest.hexdigest()

    def commit(self) -> None:
        """Move every file into place, in the order in which they were written."""
        for aside, path in self._staged:
            with writing(path):
                aside.replace(path)
        for directory in {path.parent for _, path in self._staged}:
            sync_directory(directory)
        self._staged.clear()


def json_lines(rows: Iterable[Any]) -> Iterator[bytes]:
    """Each row as one line of JSON, in UTF-8."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    for row in rows:
        yield encode(row).encode() + b"\n"


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(directory: Path) -> None:
    """Make renames and removals inside ``directory`` last through a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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

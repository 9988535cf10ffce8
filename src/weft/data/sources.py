"""Where records come from: a file or a directory of files, read in order.

A file that cannot be read at all is a :class:`~weft.errors.DataError`; a row that cannot be read is a :class:`BadRow` among
the records.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from weft.data.readers import READERS, BadRow
from weft.errors import DataError
from weft.types import Record

__all__ = ["BadRow", "find_files", "read_file", "read_records"]

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def find_files(path: Path, *, fix: str | None = None) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files to read at ``path``, and what lies beside them and is not read.

    ``path`` is a file, or a directory whose supported files are taken in the order of their names. Folders inside it and
    files of another kind are not read and returned second; hidden ones are left out of both.

    Raises:
        DataError: nothing is there (with ``fix``, or else the nearest name), or nothing of a supported kind.
    """
    try:
        return _find(path, fix)
    except OSError as error:
        raise DataError(f"the path cannot be read: {error.strerror}", where=str(path)) from None


def _find(path: Path, fix: str | None) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    if path.is_dir():
        visible = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        _check_names(visible)
        files = tuple(entry for entry in visible if entry.suffix.lower() in READERS and entry.is_file())
        if not files:
            raise DataError(
                f"the directory holds no {_endings()} file", where=str(path), fix=fix or "put your records into it"
            )
        return files, tuple(entry for entry in visible if entry not in files)
    if not path.exists():
        raise DataError("there is no such file or directory", where=str(path), fix=_nearest(path, fix))
    if path.suffix.lower() not in READERS:
        ending = f"files that end in '{path.suffix}'" if path.suffix else "files without an ending"
        raise DataError(f"{ending} cannot be read", where=str(path), fix=f"convert it to one of {_endings()}")
    return (path,), ()


def _check_names(entries: Iterable[Path]) -> None:
    """Raise where a name is bytes that are no UTF-8: reports and locations could not hold it."""
    for entry in entries:
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            raise DataError("the file's name is not valid UTF-8", where=str(entry), fix="rename the file") from None


def read_records(path: Path, *, fix: str | None = None) -> Iterator[Record | BadRow]:
    """Every record of a file or directory in order, and every row that is none.

    - ``.jsonl``: one record per line. Lines end with LF or CRLF only; blank lines are skipped but counted.
    - ``.json``: a list of records, ``{"data": [...]}``, one single record, or one record per line.
    - ``.csv``: commas, a header row, quotes doubled inside quotes; every value is a string.

    All are UTF-8, with or without a byte order mark.

    Raises:
        DataError: the file is missing (with ``fix``), unreadable, of another kind, or without any record.
    """
    files, _ = find_files(path, fix=fix)
    return (row for file in files for row in read_file(file))


def read_file(path: Path) -> Iterator[Record | BadRow]:
    """The rows of one file; see :func:`read_records`."""
    empty = True
    try:
        with path.open("rb") as file:
            if file.read(2) in _UTF16:
                raise DataError(
                    "the file is UTF-16, not UTF-8", where=str(path), fix=f"iconv -f UTF-16 -t UTF-8 {path.name}"
                )
        for row in READERS[path.suffix.lower()](path):
            empty = False
            yield row
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}", where=str(path), fix="check its permissions"
        ) from None
    if empty:
        raise DataError("the file holds no records", where=str(path), fix="put records into it, or remove it")


def _endings() -> str:
    return ", ".join(READERS)


def _nearest(path: Path, fix: str | None) -> str:
    if not path.parent.is_dir():
        return fix or f"the directory {path.parent} does not exist either"
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.8)
    if near:
        return f"did you mean {path.parent / near[0]}?" + (f" Otherwise {fix}" if fix else "")
    return fix or f"look into {path.parent}"

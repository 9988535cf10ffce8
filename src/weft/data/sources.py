"""Where records come from: files, directories, patterns, lists of these, and samples of them.

A file that cannot be read at all is a :class:`~weft.errors.DataError`; a row that cannot be read is a :class:`BadRow` among
the records.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from weft.data.places import Part, Paths, find_parts
from weft.data.read_json import read_jsonl
from weft.data.readers import DOCUMENTS, READERS, TABLES, kind, read_lines
from weft.data.rows import PASSED, BadRow, Passing, lines, never
from weft.data.sample import sample_rows
from weft.data.unpack import DamagedFile, open_bytes, unpacked_name
from weft.errors import DataError
from weft.types import Location, Record

__all__ = ["BadRow", "Part", "Paths", "find_parts", "read_file", "read_part", "read_records"]

_MISNAMED = {
    b"\xff\xfe\x00\x00": ("the file is UTF-32, not UTF-8", "iconv -f UTF-32 -t UTF-8 {name}"),
    b"\x00\x00\xfe\xff": ("the file is UTF-32, not UTF-8", "iconv -f UTF-32 -t UTF-8 {name}"),
    b"\xff\xfe": ("the file is UTF-16, not UTF-8", "iconv -f UTF-16 -t UTF-8 {name}"),
    b"\xfe\xff": ("the file is UTF-16, not UTF-8", "iconv -f UTF-16 -t UTF-8 {name}"),
    b"\x1f\x8b": ("the file is packed by gzip", "end its name in {ending}.gz"),
    b"\x28\xb5\x2f\xfd": ("the file is packed by Zstandard", "end its name in {ending}.zst"),
    b"PK\x03\x04": ("the file is a zip archive", "unpack it"),
    b"PAR1": ("the file is a Parquet file", "end its name in .parquet"),
    b"ARROW1": ("the file is an Arrow file", "end its name in .arrow"),
}
"""What a file that should be text is instead, by its first bytes, and what to do."""
_POINTER = b"version https://git-lfs."
"""How the few lines begin that Git leaves in the place of a large file, of any kind, where it cannot fetch it."""


def read_records(paths: Paths, *, seed: int = 0, fix: str | None = None) -> Iterator[Record | BadRow]:
    """Every record at ``paths`` in order, and every row that is none.

    - ``.jsonl``, ``.ndjson``: one record per line. Lines end with LF or CRLF only; blank lines are skipped but counted.
    - ``.json``: a list of records, ``{"data": [...]}``, one single record, or one record per line.
    - ``.csv``, ``.tsv``: commas or tabs, a header row, quotes doubled inside quotes; every value is a string.
    - ``.txt``, ``.md``: the whole file is one record, ``{"text": …}``.
    - ``.parquet``, ``.arrow``: tables; dates and decimals become text.

    Text is UTF-8, with or without a byte order mark. Any file may be packed (``.jsonl.gz``, ``.parquet.zst``); a packed table is
    unpacked into a temporary file. Files are read in a stream: at no time is more than a record of a text file, or a group of
    rows of a table, in memory.

    Args:
        paths: see :func:`weft.data.places.find_parts`.
        seed: which records a sample (``path#500``) takes.
        fix: what to do where a path is missing.

    Raises:
        DataError: a file is missing, unreadable, of another kind, or without any record.
    """
    return (row for part in find_parts(paths, seed=seed, fix=fix) for row in read_part(part, seed)[0])


def read_part(
    part: Part, seed: int, *, by_line: bool = False, passing: Passing = never
) -> tuple[Iterator[Record | BadRow], list[str]]:
    """The rows of a part, and what is to be said about them when they are read.

    Args:
        part: of a path.
        seed: which records a sample takes.
        by_line: each line of a ``.txt`` or ``.md`` file is a record.
        passing: which rows need not be parsed.
    """
    if part.sample is None:
        return (row for file in part.files for row in read_file(file, by_line=by_line, passing=passing)), []
    rows = (row for file in part.files for row in read_file(file, by_line=by_line))
    notices: list[str] = []
    return sample_rows(rows, part.sample, seed, name=part.name, notices=notices), notices


def read_file(path: Path, *, by_line: bool = False, passing: Passing = never) -> Iterator[Record | BadRow]:
    """The rows of one file; see :func:`read_part`.

    Raises:
        DataError: the file cannot be read, or holds no records.
    """
    last: Location | None = None
    ending = kind(path)
    assert ending is not None, "find_parts lets no other file through"
    try:
        _check_beginning(path, ending)
        for row in _rows(path, ending, by_line=by_line, passing=passing):
            last = row.location
            yield row
    except DamagedFile as error:
        if last is PASSED.location:
            last = _last_line(path)
        if last is None or isinstance(error.where, Location):
            raise
        after = f"; the last record before that is at {_place(last)}"
        raise DamagedFile(error.what + after, where=error.where, fix=error.fix) from None
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}", where=str(path), fix="check its permissions"
        ) from None
    if last is None:
        raise DataError("the file holds no records", where=str(path), fix="put records into it, or remove it")


def _rows(path: Path, ending: str, *, by_line: bool, passing: Passing) -> Iterator[Record | BadRow]:
    if READERS[ending] is read_jsonl:
        return read_jsonl(path, passing)
    return read_lines(path) if by_line and ending in DOCUMENTS else READERS[ending](path)


def _last_line(path: Path) -> Location | None:
    """The place of the last line with something in it, before a file is damaged."""
    last: Location | None = None
    with suppress(DamagedFile):
        for number, line in lines(path):
            if line.strip():
                last = Location(path=str(path), line=number)
    return last


def _place(location: Location) -> str:
    return f"line {location.line}" if location.record is None else f"record {location.record}"


def _check_beginning(path: Path, ending: str) -> None:
    if path.stat().st_size < 1024 and path.read_bytes().startswith(_POINTER):
        what = "Git LFS has left a pointer in the place of the file"
        raise DataError(what, where=str(path), fix="fetch it: git lfs pull")
    if ending in TABLES:
        return
    with open_bytes(path) as file:
        beginning = file.read(8)
    content = unpacked_name(path)
    first = "" if content == path else "unpack it, then "
    for mark, (what, fix) in _MISNAMED.items():
        if beginning.startswith(mark):
            raise DataError(what, where=str(path), fix=first + fix.format(name=content.name, ending=ending))
    if encoding := _of_two_bytes(beginning):
        what = "the file is UTF-16 without a byte order mark, not UTF-8"
        raise DataError(what, where=str(path), fix=f"{first}iconv -f {encoding} -t UTF-8 {content.name}")


def _of_two_bytes(beginning: bytes) -> str | None:
    """The encoding of text that has a NUL in place of every second byte, as any Latin text in UTF-16 has."""
    evens, odds = beginning[::2], beginning[1::2]
    if len(beginning) < 4 or (any(evens) and any(odds)):
        return None
    return "UTF-16LE" if all(evens) else "UTF-16BE" if all(odds) else None

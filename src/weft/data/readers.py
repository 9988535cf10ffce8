"""One file → its rows, each with its exact place: the table of readers, by the ending of a file's name.

A row that cannot be read becomes a :class:`~weft.data.rows.BadRow` in its place, so that one broken row neither hides nor ends
the others. Text is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from weft.data.read_arrow import read_arrow, read_parquet
from weft.data.read_csv import read_csv, read_tsv
from weft.data.read_json import read_json, read_jsonl
from weft.data.row_error import EMPTY_DOCUMENT
from weft.data.rows import BOM, MAX_RECORD_BYTES, BadRow, is_too_long, lines, not_utf8, too_long
from weft.data.unpack import open_bytes, unpacked_name
from weft.types import Location, Record

_NUL, _SAVE_AS_TEXT = "the text holds a NUL byte", "save the file as UTF-8 text"


def _read_document(path: Path) -> Iterator[Record | BadRow]:
    """The whole file as one record, ``{"text": …}``."""
    with open_bytes(path) as file:
        content = file.read(MAX_RECORD_BYTES + 1)
    location = Location(path=str(path), line=1)
    if len(content) > MAX_RECORD_BYTES:
        yield too_long(location, content[:4_000].decode(errors="replace"))
        return
    content = content.removeprefix(BOM)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        start = content.rfind(b"\n", 0, error.start) + 1
        line = content[start:].partition(b"\n")[0]
        shifted = UnicodeDecodeError(error.encoding, line, error.start - start, error.end - start, error.reason)
        yield not_utf8(Location(path=str(path), line=content.count(b"\n", 0, start) + 1), line, shifted)
        return
    if (nul := text.find("\0")) >= 0:
        location = Location(path=str(path), line=text.count("\n", 0, nul) + 1)
        yield BadRow(location=location, reason=_NUL, raw=text, fix=_SAVE_AS_TEXT)
    elif not text or text.isspace():
        yield BadRow(location=location, reason=EMPTY_DOCUMENT, raw=text, fix="leave it out")
    else:
        yield Record(data={"text": text}, location=location)


def read_lines(path: Path) -> Iterator[Record | BadRow]:
    """Each line that is not blank as one record, ``{"text": …}``."""
    for number, line in lines(path):
        location = Location(path=str(path), line=number)
        if is_too_long(line):
            yield too_long(location, line[:4_000].decode(errors="replace"))
            continue
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield not_utf8(location, line, error)
            continue
        if "\0" in text:
            yield BadRow(location=location, reason=_NUL, raw=text, fix=_SAVE_AS_TEXT)
        elif text and not text.isspace():
            yield Record(data={"text": text}, location=location)


READERS: dict[str, Callable[[Path], Iterator[Record | BadRow]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".txt": _read_document,
    ".md": _read_document,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}
"""The readers, by the ending of a file's name."""

DOCUMENTS = frozenset({".txt", ".md"})
"""Endings of files that hold one document each."""
HEADED = frozenset({".csv", ".tsv"})
"""Endings of files that begin with a row of names, which is text like the others."""
TABLES = frozenset({".parquet", ".arrow"})
"""Endings of files that are no text."""


def kind(path: Path) -> str | None:
    """The ending that says how ``path`` is read, without that of a packing; None where weft cannot read it."""
    ending = unpacked_name(path).suffix.lower()
    return ending if ending in READERS else None

"""The text inside files of records and documents, which a tokenizer learns from; piece by piece, whatever the size of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from weft.data.places import Paths, find_parts
from weft.data.readers import DOCUMENTS, HEADED, kind
from weft.data.rows import BadRow, is_too_long, lines, not_utf8, too_long
from weft.data.sources import read_file
from weft.errors import DataError
from weft.types import Location


def read_texts(paths: Paths, notices: list[str]) -> Iterator[str]:
    """The text at ``paths``: lines of documents, with their ends, strings in records, headers of CSV, and bad rows as they stand.

    Args:
        paths: see :func:`weft.data.places.find_parts`.
        notices: what lies there and is not read is added to it, and which rows are bad.

    Raises:
        DataError: a file is missing, of another kind, damaged, without text or a row that can be read, or a document that is not
            UTF-8; or a sample is asked for.
    """
    for part in find_parts(paths, fix="name files of text or records; a relative path starts at the working directory"):
        if part.sample is not None:
            raise DataError(
                "a tokenizer learns from whole files", where=part.name, fix="leave the # and its number out"
            )
        if part.skipped:
            notices.append(f"{part.name}: not read: {', '.join(path.name for path in part.skipped)}")
        for path in part.files:
            yield from _lines_of_document(path) if kind(path) in DOCUMENTS else _strings_of_records(path, notices)


def read_lines(paths: Paths, notices: list[str]) -> Iterator[str]:
    """The lines of :func:`read_texts` that are not blank, without their ends."""
    for text in read_texts(paths, notices):
        yield from filter(str.strip, text.rstrip("\r\n").split("\n"))


def _lines_of_document(path: Path) -> Iterator[str]:
    empty = True
    for number, raw in lines(path):
        location = Location(path=str(path), line=number)
        if is_too_long(raw):
            raise too_long(location, "").error()
        try:
            text = raw.decode()
        except UnicodeDecodeError as problem:
            raise not_utf8(location, raw, problem).error() from None
        empty = empty and not text.strip()
        yield text
    if empty:
        raise DataError("the file holds no text", where=str(path), fix="put text into it, or leave it out")


def _strings_of_records(path: Path, notices: list[str]) -> Iterator[str]:
    good, bad = 0, list[BadRow]()
    for row in read_file(path):
        if isinstance(row, BadRow):  # preparing stops for it; learning words need not
            bad.append(replace(row, raw=""))
            yield row.raw
            continue
        if not good and kind(path) in HEADED:
            yield from row.data
        yield from _strings(row.data)
        good += 1
    if bad and not good:  # as in a file whose ending is wrong
        raise bad[0].error()
    if bad:
        rows = (
            "this row cannot be read and counts"
            if len(bad) == 1
            else f"this row and {len(bad) - 1:,} more cannot be read and count"
        )
        notices.append(f"{bad[0].location}: {rows} as the text that stands there: {bad[0].reason}")


def _strings(value: Any) -> Iterator[str]:
    """Every string in a record, in its order; names of fields are not its text."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            pending.extend(reversed(value.values()))
        elif isinstance(value, list):
            pending.extend(reversed(value))

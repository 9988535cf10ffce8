"""Tables as text → rows: values between commas or tabs, under the names in the first row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from weft.data.rows import (
    BOM,
    MARK_INSIDE,
    MAX_RECORD_BYTES,
    MEND,
    REST_UNREAD,
    BadRow,
    excerpt,
    is_too_long,
    lines,
    not_utf8,
    too_long,
)
from weft.errors import DataError
from weft.types import Location, Record

_INDEX = "Unnamed: 0"
"""What pandas and datasets call a first column without a name, in which pandas writes the numbers of rows."""
_SPELLED = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_ELSE_CALL = {",": ", or call it .csv", "\t": ", or call it .tsv"}


def read_csv(path: Path) -> Iterator[Record | BadRow]:
    """Values between commas."""
    return _read(path, ",")


def read_tsv(path: Path) -> Iterator[Record | BadRow]:
    """Values between tabs."""
    return _read(path, "\t")


def _read(path: Path, delimiter: str) -> Iterator[Record | BadRow]:
    csv.field_size_limit(MAX_RECORD_BYTES)  # the default of 131,072 characters would refuse long answers
    pending: list[bytes] = []
    at_end = False

    def decoded() -> Iterator[str]:
        nonlocal at_end
        for _, line in lines(path):
            pending.append(line)
            begins_row = len(pending) == 1
            yield line.removeprefix(BOM if begins_row else b"").decode(errors="replace")  # a quote may follow it
        at_end = True

    header: list[str] | None = None
    source, skipped = decoded(), 0
    # Strict: otherwise a quote that is never closed swallows the rest of the file into one value.
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        location = Location(path=str(path), line=reader.line_num + skipped + 1)
        pending.clear()
        try:
            cells = next(reader, None)
            problem = None
        except csv.Error as error:
            if len(pending) > 1 and sum(map(len, pending)) > MAX_RECORD_BYTES:
                beginning = _text(pending[:1])
                further = _lines_to_end_of_row(source, pending, delimiter) if header else None
                yield _very_long(location, beginning, closed=further is not None)
                if further is None:
                    return
                skipped += further
                continue
            cells, problem = [], _broken(location, pending, None if at_end else str(error))
        if cells is None:
            return
        row = _unreadable(location, pending) or problem
        if header is None and (row or cells):
            header = _header(location, cells, row, delimiter)
        elif row:
            yield _with_column(row, header or [], cells)
        elif header and cells:
            yield _row(location, header, cells, pending)


def _lines_to_end_of_row(source: Iterator[str], pending: list[bytes], delimiter: str) -> int | None:
    """Read on from within a quote to the line that ends the row, and return how many lines that took. None where the file ends
    before, a line is too long to be seen whole, or what follows a quote is no CSV.

    Args:
        source: of lines, each of which is ``pending`` when it is read.
        pending: the lines of the row so far, the first of which leaves a quote open.
        delimiter: between values.
    """
    opening = ""
    for further in count():
        for line in pending:
            if is_too_long(line):
                return None
            try:
                next(csv.reader([opening + line.decode(errors="replace")], delimiter=delimiter, strict=True))
            except csv.Error as error:
                if "unexpected end" not in str(error):
                    return None
                opening = '"'  # each further line is read as one that begins within a quote
            else:
                return further
        pending.clear()
        if next(source, None) is None:
            return None
    raise AssertionError("counting has no end")


def _very_long(location: Location, beginning: str, *, closed: bool) -> BadRow:
    """For a quote that is closed so late, if at all."""
    row = too_long(location, beginning)
    if closed:
        return replace(row, detail="a quote is opened, and closed after as long")
    detail = "a quote is opened, and not closed for as long"
    return replace(row, reason=row.reason + REST_UNREAD, detail=detail, fix="close the quote there")


def _broken(location: Location, pending: list[bytes], detail: str | None) -> BadRow:
    """For a row that is no CSV; without a ``detail``, because the file ends within a quote."""
    reason, fix = "broken CSV", MEND
    if detail is None:
        reason += REST_UNREAD if len(pending) > 1 else ""
        detail, fix = "a quote is opened, and never closed", "close the quote there"
    elif "new-line" in detail:
        detail, fix = (
            "a carriage return stands between its values",
            "end lines with LF or CRLF; quote values that hold CR",
        )
    return BadRow(location=location, reason=reason, detail=detail, raw=_text(pending), fix=fix)


def _unreadable(start: Location, pending: list[bytes]) -> BadRow | None:
    """What is wrong with the lines of a row, whatever its values are."""
    for number, line in enumerate(pending, start.line or 1):
        location = Location(path=start.path, line=number)
        if is_too_long(line):
            return too_long(location, line[:4_000].decode(errors="replace"))
        if number == start.line and line.startswith(BOM):
            return BadRow(
                location=location, reason="broken CSV", detail=MARK_INSIDE, raw=_text(pending), fix="remove it"
            )
        if b"\0" in line:
            fix = "save the file as UTF-8 text"
            return BadRow(location=location, reason="the text holds a NUL byte", raw=_text(pending), fix=fix)
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return replace(not_utf8(location, line, error), raw=_text(pending))
    return None


def _with_column(row: BadRow, header: list[str], cells: list[str]) -> BadRow:
    """The bad row, which names the one column that is no text, if there is just one."""
    columns = [name for name, cell in zip(header, cells, strict=False) if "\ufffd" in cell or "\0" in cell]
    if len(columns) != 1 or len(cells) != len(header):
        return row
    return replace(row, detail=", ".join(filter(None, [row.detail, f"in the column {columns[0]!r}"])))


def _header(location: Location, cells: list[str], problem: BadRow | None, delimiter: str) -> list[str]:
    names = _names(cells)
    if problem:
        raise problem.error()
    between = next((each for each in _SPELLED if each in names[0]), delimiter) if len(names) == 1 else delimiter
    if between != delimiter:
        raise DataError(
            f"the values are not separated by {_SPELLED[delimiter]}: the header row is {excerpt(repr(names[0]))}",
            where=location,
            fix=f"save the file with {_SPELLED[delimiter]} in place of {_SPELLED[between]}{_ELSE_CALL.get(between, '')}",
        )
    if not all(names) or len(set(names)) < len(names):
        raise DataError(
            f"the header row has empty or repeated names: {excerpt(', '.join(map(repr, names)))}",
            where=location,
            fix=f"the first row names the columns, for example: input{delimiter}target",
        )
    return names


def _names(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) > 1 and not names[0]:
        names[0] = _INDEX
    return names


def _row(location: Location, header: list[str], cells: list[str], pending: list[bytes]) -> Record | BadRow:
    if len(header) > 1 and cells[-1].strip() == header[-1] and _names(cells) == header:  # one column may hold its name
        again = "the header row stands here again, as where files were put together"
        return BadRow(location=location, reason=again, raw=_text(pending), fix="remove it")
    if len(cells) == len(header):
        return Record(data=dict(zip(header, cells, strict=True)), location=location)
    return BadRow(
        location=location,
        reason="the row does not fit the header",
        detail=f"it has {len(cells)} values, the header {len(header)}",
        raw=_text(pending),
        fix='put values that hold separators or line breaks into double quotes, and write " as "" inside them',
    )


def _text(pending: list[bytes]) -> str:
    return b"".join(pending).decode(errors="replace").rstrip("\r\n")

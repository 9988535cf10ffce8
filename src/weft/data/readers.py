"""One file → its rows, each with its exact place.

A row that cannot be read becomes a :class:`BadRow` in its place, so that one broken row neither hides nor ends the others.
Everything is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from weft.data.strict_json import InvalidJson, list_items, parse, parse_at, skip_whitespace
from weft.errors import DataError
from weft.types import Location, Record

_MEND = "mend this record, or leave it out"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that cannot be used."""

    location: Location
    reason: str
    """The same for all rows with the same problem, so that they can be counted."""
    raw: str
    """The row as the file holds it (bytes that are no UTF-8 replaced by U+FFFD); a parsed one as JSON."""
    detail: str = ""
    """What tells rows with the same reason apart."""
    fix: str | None = None

    def error(self) -> DataError:
        """The same as an error for people."""
        what = f"{self.reason}: {self.detail}" if self.detail else self.reason
        return DataError(what, where=self.location, fix=self.fix)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The physical lines with their numbers. Only LF ends one: U+2028 and the like are text inside a record."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield number, line.removeprefix(_BOM) if number == 1 else line


def _read_jsonl(path: Path) -> Iterator[Record | BadRow]:
    name = str(path)
    for number, line in _lines(path):
        line = line.rstrip(b"\r\n")
        if line.isspace() or not line:
            continue
        location = Location(path=name, line=number)
        try:
            yield Record(data=parse(line.decode()), location=location)
        except UnicodeDecodeError as error:
            yield _not_utf8(location, line, error)
        except InvalidJson as problem:
            yield _bad_line(location, line.decode(), problem)


def _bad_line(location: Location, line: str, problem: InvalidJson) -> BadRow:
    column = f"column {problem.position + 1}: " if problem.position is not None else ""
    fix = "every line holds one whole record; a list of records belongs into a .json file" if column else _MEND
    return BadRow(location=location, reason=problem.reason, detail=column + problem.detail, raw=line, fix=fix)


def _not_utf8(location: Location, line: bytes, error: UnicodeDecodeError) -> BadRow:
    return BadRow(
        location=location,
        reason="the text is not valid UTF-8",
        detail=f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}",
        raw=line.decode(errors="replace").rstrip("\r\n"),
        fix="save the file as UTF-8",
    )


def _read_json(path: Path) -> Iterator[Record | BadRow]:
    content = path.read_bytes().removeprefix(_BOM)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        start = content.rfind(b"\n", 0, error.start) + 1
        line = content[start:].partition(b"\n")[0]
        shifted = UnicodeDecodeError(error.encoding, line, error.start - start, error.end - start, error.reason)
        location = Location(path=str(path), line=content.count(b"\n", 0, start) + 1)
        yield _not_utf8(location, line, shifted)
        return
    start = skip_whitespace(text, 0)
    if start == len(text):
        return
    if text[start] == "[":
        yield from _list(path, text, start)
        return
    try:
        value, end = parse_at(text, start)
    except InvalidJson as problem:
        yield _bad_item(path, text, start if problem.position is None else problem.position, None, problem)
        return
    if skip_whitespace(text, end) < len(text):
        yield from _read_jsonl(path)
    elif isinstance(value, dict) and isinstance(value.get("data"), list):
        start, end = _span_of_data(text, start)
        yield from _list(path, text[:end], start)
    else:
        yield Record(data=value, location=Location(path=str(path), line=_line_at(text, start)))


def _list(path: Path, text: str, start: int) -> Iterator[Record | BadRow]:
    line, counted = 1, 0
    for number, (position, item) in enumerate(list_items(text, start), 1):
        if isinstance(item, InvalidJson):
            yield _bad_item(path, text, position, number, item)
            continue
        line += text.count("\n", counted, position)
        counted = position
        yield Record(data=item, location=Location(path=str(path), line=line, record=number))


def _bad_item(path: Path, text: str, position: int, number: int | None, problem: InvalidJson) -> BadRow:
    start = text.rfind("\n", 0, position) + 1
    broken = problem.position is not None
    return BadRow(
        location=Location(path=str(path), line=_line_at(text, position), record=number),
        reason=problem.reason,
        detail=f"column {position - start + 1}: {problem.detail}" if broken else problem.detail,
        raw=text[start:].partition("\n")[0],
        fix="mend the list there: what follows in this file cannot be read" if broken else _MEND,
    )


def _span_of_data(text: str, start: int) -> tuple[int, int]:
    """Where the value of the key "data" starts and ends, in an object that is known to be whole."""
    position = start + 1
    while True:
        key, end = parse_at(text, skip_whitespace(text, position))
        value_start = skip_whitespace(text, skip_whitespace(text, end) + 1)
        _, value_end = parse_at(text, value_start)
        if key == "data":
            return value_start, value_end
        position = skip_whitespace(text, value_end) + 1


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _read_csv(path: Path) -> Iterator[Record | BadRow]:
    csv.field_size_limit(2**31 - 1)  # the default of 131,072 characters would refuse long answers
    pending: list[bytes] = []

    def decoded() -> Iterator[str]:
        for _, line in _lines(path):
            pending.append(line)
            yield line.decode(errors="replace")

    header: list[str] | None = None
    # Strict: otherwise a quote that is never closed swallows the rest of the file into one value.
    reader = csv.reader(decoded(), strict=True)
    while True:
        location = Location(path=str(path), line=reader.line_num + 1)
        pending.clear()
        try:
            cells = next(reader, None)
            problem = None
        except csv.Error as error:
            cells, problem = (
                [],
                BadRow(location=location, reason="broken CSV", detail=str(error), raw=_text(pending), fix=_MEND),
            )
        if cells is None:
            return
        row = problem or _undecodable(location, pending)
        if header is None and (row or cells):
            header = _header(path, cells, row)
        elif row:
            yield row
        elif header and cells:
            yield _row(location, header, cells, pending)


def _undecodable(start: Location, lines: list[bytes]) -> BadRow | None:
    for number, line in enumerate(lines, start.line or 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return _not_utf8(Location(path=start.path, line=number), line, error)
    return None


def _header(path: Path, cells: list[str], problem: BadRow | None) -> list[str]:
    names = [cell.strip() for cell in cells]
    if problem:
        raise problem.error()
    if not all(names) or len(set(names)) < len(names):
        raise DataError(
            f"the header row has empty or repeated names: {', '.join(map(repr, names))}",
            where=str(path),
            fix="the first row names the columns, for example: input,target",
        )
    return names


def _row(location: Location, header: list[str], cells: list[str], lines: list[bytes]) -> Record | BadRow:
    if len(cells) == len(header):
        return Record(data=dict(zip(header, cells, strict=True)), location=location)
    return BadRow(
        location=location,
        reason="the row does not fit the header",
        detail=f"it has {len(cells)} values, the header {len(header)}",
        raw=_text(lines),
        fix='put values that hold commas or line breaks into double quotes, and write " as "" inside them',
    )


def _text(lines: list[bytes]) -> str:
    return b"".join(lines).decode(errors="replace").rstrip("\r\n")


READERS: dict[str, Callable[[Path], Iterator[Record | BadRow]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
}
"""The readers, by the ending of a file's name."""

"""What all readers share: rows that cannot be used, and lines that do not fill the memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from weft.data.unpack import open_bytes
from weft.errors import DataError
from weft.types import Location, Record

BOM = b"\xef\xbb\xbf"
MARK_INSIDE = "a byte order mark stands in the midst of the file, as where files were put together"
MEND = "mend this record, or leave it out"

MAX_RECORD_BYTES = 2**26
"""The longest record that is read; no template prints more either (:data:`weft.data.limits.MAX_CHARACTERS`)."""
TOO_LONG = f"the record is longer than {MAX_RECORD_BYTES // 2**20} MiB"
REST_UNREAD = "; the rest of the file is not read"
"""Ends the reason of a bad row that hides all that follow it, so that they are not lost silently."""

_EXCERPT = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that cannot be used."""

    location: Location
    reason: str
    """The same for all rows with the same problem, so that they can be counted."""
    raw: str
    """The row as the file holds it (bytes that are no UTF-8 replaced by U+FFFD); a parsed one as JSON. Of one that is too
    long, the beginning.
    """
    detail: str = ""
    """What tells rows with the same reason apart."""
    fix: str | None = None

    @classmethod
    def of(cls, record: Record, reason: str, *, detail: str = "", fix: str | None = None) -> BadRow:
        """A record that was read, and cannot be used all the same."""
        raw = json.dumps(record.data, ensure_ascii=False)
        return cls(location=record.location, reason=reason, detail=detail, raw=raw, fix=fix)

    def error(self) -> DataError:
        """The same as an error for people."""
        what = f"{self.reason}: {self.detail}" if self.detail else self.reason
        return DataError(what, where=self.location, fix=self.fix)


Passing = Callable[[], bool]
"""Says whether nobody will look at the next row. A reader need not parse it, if it can do without."""

PASSED = Record(data=None, location=Location(path=""))
"""What a reader may yield for each of the rows that nobody looks at."""


def never() -> bool:
    """Every row is looked at."""
    return False


def as_json(row: BadRow) -> dict[str, str]:
    """The row as files of rejects have it."""
    return {"location": str(row.location), "reason": row.reason, "detail": row.detail, "raw": row.raw}


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The physical lines with their numbers. Only LF ends one: U+2028 and the like are text inside a record.

    Of a line of more than :data:`MAX_RECORD_BYTES` only the beginning is returned, which is longer than that by one byte.
    """
    with open_bytes(path) as file:
        number = 0
        while line := file.readline(MAX_RECORD_BYTES + 1):
            number += 1
            if len(line) > MAX_RECORD_BYTES and is_too_long(line):
                while (rest := file.readline(2**20)) and not rest.endswith(b"\n"):
                    pass
            yield number, line.removeprefix(BOM) if number == 1 else line


def is_too_long(line: bytes) -> bool:
    """Whether ``line`` is the beginning of a record that is longer than any may be."""
    return len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n")


def too_long(location: Location, beginning: str) -> BadRow:
    """For a record that is longer than any may be."""
    return BadRow(
        location=location,
        reason=TOO_LONG,
        raw=excerpt(beginning),
        fix="split it into several records",
    )


def not_utf8(location: Location, line: bytes, error: UnicodeDecodeError) -> BadRow:
    """For a line that is no UTF-8."""
    return BadRow(
        location=location,
        reason="the text is not valid UTF-8",
        detail=f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}",
        raw=line.decode(errors="replace").rstrip("\r\n"),
        fix="save the file as UTF-8",
    )


def excerpt(text: str) -> str:
    """The beginning of a text that may be huge."""
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"

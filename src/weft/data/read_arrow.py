"""Parquet and Arrow files → rows: what pyarrow reads, as the values that JSON has."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from weft.data.one_table import ARROW, PARQUET, AnotherBehindError, check_alone, check_end
from weft.data.rows import MAX_RECORD_BYTES, MEND, BadRow, excerpt, too_long
from weft.data.unpack import DamagedFile, is_packed, unpacked_copy, unpacked_name
from weft.errors import DataError
from weft.types import Location, Record

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_BYTES = 4  # of a character, in UTF-8
_AT_ONCE = 256  # rows: enough for speed, few enough that long texts do not fill the memory


def read_parquet(path: Path) -> Iterator[Record | BadRow]:
    """The rows of a Parquet file, one group of pages after the other."""
    import pyarrow.parquet as parquet

    def batches() -> Iterator[pa.RecordBatch]:
        # Without these pyarrow reads a whole group of rows ahead, which is the whole file of many writers.
        with _opened(path) as source:
            check_alone(source, PARQUET, parquet.read_metadata)
            with parquet.ParquetFile(source, buffer_size=2**20, pre_buffer=False) as file:
                _check_columns(path, file.schema_arrow)
                yield from file.iter_batches(batch_size=_AT_ONCE)

    return _rows(path, batches)


def read_arrow(path: Path) -> Iterator[Record | BadRow]:
    """The rows of an Arrow file, in the file format or, as the datasets library keeps them, in the stream format."""
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        with _opened(path) as source:
            is_file = source.read(len(ARROW)) == ARROW
            source.seek(0)
            if is_file:
                check_alone(source, ARROW, pa.ipc.open_file)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            _check_columns(path, reader.schema)
            found = map(reader.get_batch, range(reader.num_record_batches)) if is_file else iter(reader)
            for batch in found:
                batch.validate(full=True)  # offsets that point elsewhere would read foreign memory
                yield from (batch.slice(start, _AT_ONCE) for start in range(0, len(batch), _AT_ONCE))
            if not is_file:
                check_end(source)

    return _rows(path, batches)


def _opened(path: Path) -> pa.NativeFile:
    import pyarrow as pa

    return pa.PythonFile(unpacked_copy(path), "r") if is_packed(path) else pa.OSFile(str(path))


def _rows(path: Path, batches: Callable[[], Iterator[pa.RecordBatch]]) -> Iterator[Record | BadRow]:
    import pyarrow as pa

    number = 0
    try:
        for batch in batches():
            some_may_be_long = batch.nbytes > MAX_RECORD_BYTES
            for value in _values(batch):
                number += 1
                row = _row(Location(path=str(path), record=number), value)
                yield _unless_too_long(row) if some_may_be_long else row
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, pa.ArrowException):
            raise  # the disk's problem, not the file's
        where = Location(path=str(path), record=number + 1) if number else str(path)
        what = excerpt(str(error).partition("\n")[0]) or type(error).__name__
        is_several = isinstance(error, AnotherBehindError)
        raise DamagedFile(
            f"the file is damaged, or no {unpacked_name(path).suffix.lower()[1:]} file: {what}",
            where=where,
            fix="give each table a file of its own" if is_several else "write or copy it again",
        ) from None


def _check_columns(path: Path, schema: pa.Schema) -> None:
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise DataError(f"several columns have the name {twice[0]!r}", where=str(path), fix="rename all but one")


class _Unreadable(NamedTuple):
    """A row with a value that Python cannot have."""

    values: dict[str, Any]
    """What can be had of its columns."""
    column: str
    """The first one that cannot be read."""
    error: Exception


def _values(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | _Unreadable]:
    """Each row as Python has it, as far as it can."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):  # in some row: text that is no UTF-8, a time that Python does not reach
        for number in range(len(batch)):
            row = batch.slice(number, 1)
            try:
                yield row.to_pylist()[0]
            except (ValueError, OverflowError):
                yield _by_columns(row)


def _by_columns(row: pa.RecordBatch) -> _Unreadable:
    values: dict[str, Any] = {}
    problems: list[tuple[str, Exception]] = []
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            values[name] = column[0].as_py()
        except UnicodeDecodeError as error:
            values[name] = error.object.decode(errors="replace")
            problems.append((name, error))
        except (ValueError, OverflowError) as error:
            values[name] = getattr(column[0], "value", None)  # of a time, the number that the file holds
            problems.append((name, error))
    return _Unreadable(values, *problems[0])


def _row(location: Location, value: dict[str, Any] | _Unreadable) -> Record | BadRow:
    if isinstance(value, _Unreadable):
        return _bad_row(location, value)
    try:
        return Record(data={name: _plain(item, name) for name, item in value.items()}, location=location)
    except _NoJson as problem:
        return BadRow(
            location=location, reason=problem.reason, detail=problem.detail, raw=_as_text(value), fix=problem.fix
        )


def _bad_row(location: Location, row: _Unreadable) -> BadRow:
    column, error = row.column, row.error
    if isinstance(error, UnicodeDecodeError):
        reason = "the text is not valid UTF-8"
        detail = f"byte {error.start + 1} of the column {column!r} is 0x{error.object[error.start]:02x}"
    else:
        reason, detail = "a value cannot be read", f"the column {column!r}: {excerpt(str(error))}"
    return BadRow(location=location, reason=reason, detail=detail, raw=_as_text(row.values), fix=MEND)


def _as_text(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, default=lambda item: excerpt(repr(item)))


def _unless_too_long(row: Record | BadRow) -> Record | BadRow:
    if isinstance(row, BadRow):
        return row
    text = json.dumps(row.data, ensure_ascii=False)  # as JSON lines would hold it
    if len(text) * _MOST_BYTES <= MAX_RECORD_BYTES or len(text.encode()) <= MAX_RECORD_BYTES:
        return row
    return too_long(row.location, text[:4_000])


class _NoJson(Exception):
    def __init__(self, reason: str, detail: str, fix: str):
        self.reason, self.detail, self.fix = reason, detail, fix


def _plain(value: Any, column: str) -> Any:
    """A value as JSON has it. Dates and times become text as ISO 8601 writes them, and decimals digits, exactly."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            detail = f"{value} in the column {column!r}"
            raise _NoJson("a number is not finite", detail, "write null where a number is missing")
        return value
    if isinstance(value, dict):
        return {str(name): _plain(item, column) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, column) for item in value]
    if isinstance(value, tuple):  # an entry of a map
        return [_plain(item, column) for item in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal | datetime.timedelta):
        return str(value)
    kind = "bytes" if isinstance(value, bytes) else type(value).__name__
    raise _NoJson("a value is neither text nor a number", f"{kind} in the column {column!r}", "leave the column out")

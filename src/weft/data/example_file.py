"""Examples on disk: an Arrow IPC file that is mapped into memory, so that reading one example touches only its own pages.

Columns: ``ids`` list<int32>; ``spans``, the stretches of neighbouring ids that count, each with what all of them count, as
start, end and weight; ``target`` float64 (the sum of the weights), and where the record lies: ``file`` (the place of its file in
a list that the reader brings along), ``line``, ``record``. A weight for every id would make the file twice as large.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from weft.data.arrow_arrays import number_array, values_of
from weft.data.columns import Columns
from weft.types import Example, Location

_SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("weight", pa.float32())])
EXAMPLES = pa.schema(
    [
        ("ids", pa.list_(pa.int32())),
        ("spans", pa.list_(_SPAN)),
        ("target", pa.float64()),
        ("file", pa.int32()),
        ("line", pa.int64()),
        ("record", pa.int64()),
    ]
)
"""The columns of a batch."""


def batch_of(columns: Columns, numbers: Mapping[str, int]) -> pa.RecordBatch:
    """Examples as a batch of :data:`EXAMPLES`; ``numbers`` are those of the paths that they come from. At least one."""
    offsets = np.append(columns.starts, columns.ends[-1])
    places = columns.locations
    arrays = [
        _lists(offsets, number_array(columns.ids)),
        _spans(columns),
        number_array(np.add.reduceat(columns.weights, columns.starts, dtype=np.float64)),
        number_array(np.array([numbers[place.path] for place in places], np.int32)),
        _or_null([place.line for place in places]),
        _or_null([place.record for place in places]),
    ]
    return pa.record_batch(arrays, schema=EXAMPLES)


def numbered(files: Sequence[str]) -> dict[str, int]:
    """The number of each path, which stands for it in a batch."""
    return {file: number for number, file in enumerate(files)}


class ExampleWriter:
    """Writes examples in batches.

    Args:
        path: the file to write.
        files: the paths that examples come from, whose places in this list are written.
    """

    def __init__(self, path: Path, files: Sequence[str]):
        self._numbers = numbered(files)
        self._writer = pa.ipc.new_file(str(path), EXAMPLES)
        self._digests = [hashlib.sha256() for _ in _HASHED]

    def __enter__(self) -> ExampleWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def write(self, columns: Columns) -> None:
        """Append examples, if there are some, as one batch."""
        if len(columns):
            self.append(batch_of(columns, self._numbers))

    def append(self, batch: pa.RecordBatch) -> None:
        """Append a batch as :func:`batch_of` makes it."""
        views = _views(batch)
        for digest, (kind, values) in zip(self._digests, _HASHED, strict=True):
            digest.update(values(views).astype(kind, copy=False).data)
        self._writer.write_batch(batch)

    def digest(self) -> str:
        """SHA-256 over the ids and the spans written so far, in order, however they were divided into batches."""
        return hashlib.sha256(b"".join(digest.digest() for digest in self._digests)).hexdigest()


@dataclass(frozen=True, slots=True)
class _Batch:
    """One batch of the file, as views of mapped memory."""

    ids: np.ndarray
    offsets: np.ndarray
    span_starts: np.ndarray
    span_ends: np.ndarray
    span_weights: np.ndarray
    span_offsets: np.ndarray
    columns: pa.RecordBatch

    def weights(self, row: int) -> np.ndarray:
        """What each id of an example counts: float32, read-only."""
        weights = np.zeros(self.offsets[row + 1] - self.offsets[row], np.float32)
        for span in range(self.span_offsets[row], self.span_offsets[row + 1]):
            weights[self.span_starts[span] : self.span_ends[span]] = self.span_weights[span]
        weights.flags.writeable = False
        return weights


_HASHED: tuple[tuple[str, Callable[[_Batch], np.ndarray]], ...] = (
    ("<i8", lambda batch: np.diff(batch.offsets)),
    ("<i4", lambda batch: batch.ids),
    ("<i8", lambda batch: np.diff(batch.span_offsets)),
    ("<i4", lambda batch: batch.span_starts),
    ("<i4", lambda batch: batch.span_ends),
    ("<f4", lambda batch: batch.span_weights),
)
"""What a digest is of: each with a hash of its own, which no border between batches shows in."""


class ExampleFile:
    """The examples of a file, by their number.

    Args:
        path: what an :class:`ExampleWriter` wrote.
        files: the paths that its numbers of files stand for.

    Raises:
        pyarrow.ArrowInvalid, OSError: it is no such file.
    """

    def __init__(self, path: Path, files: Sequence[str]):
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema != EXAMPLES:
            raise pa.ArrowInvalid("its columns are not those of examples")
        self._files = tuple(files)
        self._batches = [_views(reader.get_batch(number)) for number in range(reader.num_record_batches)]
        sizes = [len(batch.offsets) - 1 for batch in self._batches]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self.lengths = _joined([np.diff(batch.offsets) for batch in self._batches], np.int32)
        self.targets = _joined([values_of(batch.columns["target"]) for batch in self._batches], np.float64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        batch = self._batches[number]
        row = index - (int(self._ends[number - 1]) if number else 0)
        start, end = batch.offsets[row], batch.offsets[row + 1]
        file, line, record = (batch.columns[name][row].as_py() for name in ("file", "line", "record"))
        return Example(
            ids=batch.ids[start:end],
            loss_weights=batch.weights(row),
            location=Location(path=self._files[file], line=line, record=record),
        )


def _views(batch: pa.RecordBatch) -> _Batch:
    ids, spans = batch["ids"], batch["spans"]
    starts, ends, weights = (values_of(spans.values.field(number)) for number in range(_SPAN.num_fields))
    return _Batch(
        ids=values_of(ids.values),
        offsets=values_of(ids.offsets),
        span_starts=starts,
        span_ends=ends,
        span_weights=weights,
        span_offsets=values_of(spans.offsets),
        columns=batch,
    )


def _spans(columns: Columns) -> pa.ListArray:
    """The stretches of ids that count, for each example."""
    weights = columns.weights
    begins = np.append(True, weights[1:] != weights[:-1])
    begins[columns.starts] = True
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(weights))
    counts = weights[starts] != 0
    starts, ends = starts[counts], ends[counts]
    offsets = np.searchsorted(starts, np.append(columns.starts, len(weights)))
    moved = np.repeat(columns.starts, np.diff(offsets))
    fields = [(starts - moved).astype(np.int32), (ends - moved).astype(np.int32), weights[starts]]
    return _lists(offsets, pa.StructArray.from_arrays(list(map(number_array, fields)), fields=list(_SPAN)))


def _lists(offsets: np.ndarray, values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(number_array(offsets.astype(np.int32)), values)


def _or_null(numbers: Sequence[int | None]) -> pa.Array:
    is_there = np.array([number is not None for number in numbers])
    return number_array(np.array([number or 0 for number in numbers], np.int64), is_there)


def _joined(parts: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)

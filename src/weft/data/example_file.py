"""Examples on disk: an Arrow IPC file that is mapped into memory, so that reading one example touches only its own pages.

Columns: ``ids`` list<int32> and ``weights`` list<float32> of equal lengths, ``target`` float64 (the sum of the weights), and
where the record lies: ``file`` (the place of its file in a list that the reader brings along), ``line``, ``record``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from weft.types import Example, Location

_SCHEMA = pa.schema(
    [
        ("ids", pa.list_(pa.int32())),
        ("weights", pa.list_(pa.float32())),
        ("target", pa.float64()),
        ("file", pa.int32()),
        ("line", pa.int64()),
        ("record", pa.int64()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Examples one after the other.

    Attributes:
        examples: the examples.
        ids: int32 [T].
        weights: float32 [T].
        ends: int64 [n], where each example ends.
    """

    examples: Sequence[Example]
    ids: np.ndarray
    weights: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Columns:
        """At least one example, none of them empty."""
        return cls(
            examples=examples,
            ids=np.concatenate([example.ids for example in examples]),
            weights=np.concatenate([example.loss_weights for example in examples]),
            ends=np.cumsum([len(example.ids) for example in examples]),
        )

    @property
    def starts(self) -> np.ndarray:
        """int64 [n], where each example begins."""
        return np.append(0, self.ends[:-1])


class ExampleWriter:
    """Writes examples in batches.

    Args:
        path: the file to write.
        files: the paths that examples come from, whose places in this list are written.
    """

    def __init__(self, path: Path, files: Sequence[str]):
        self._numbers = {file: number for number, file in enumerate(files)}
        self._writer = pa.ipc.new_file(str(path), _SCHEMA)
        self._lengths, self._ids, self._weights = (hashlib.sha256() for _ in range(3))

    def __enter__(self) -> ExampleWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def write(self, columns: Columns) -> None:
        """Append examples as one batch."""
        offsets = np.append(columns.starts, columns.ends[-1])
        places = [example.location for example in columns.examples]
        arrays = [
            pa.ListArray.from_arrays(_column(offsets, np.int32), _column(columns.ids, np.int32)),
            pa.ListArray.from_arrays(_column(offsets, np.int32), _column(columns.weights, np.float32)),
            _column(np.add.reduceat(columns.weights, columns.starts, dtype=np.float64), np.float64),
            _column([self._numbers[place.path] for place in places], np.int32),
            _column([place.line for place in places], np.int64),
            _column([place.record for place in places], np.int64),
        ]
        self.append(pa.record_batch(arrays, schema=_SCHEMA))

    def append(self, batch: pa.RecordBatch) -> None:
        """Append a batch as :meth:`write` makes it."""
        views = _views(batch)
        self._lengths.update(np.diff(views.offsets).astype("<i8").data)
        self._ids.update(views.ids.astype("<i4", copy=False).data)
        self._weights.update(views.weights.astype("<f4", copy=False).data)
        self._writer.write_batch(batch)

    def digest(self) -> str:
        """SHA-256 over the lengths, the ids and the weights written so far, in order."""
        parts = (self._lengths, self._ids, self._weights)
        return hashlib.sha256(b"".join(part.digest() for part in parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class _Batch:
    """One batch of the file, as views of mapped memory."""

    ids: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    columns: pa.RecordBatch


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
        if reader.schema != _SCHEMA:
            raise pa.ArrowInvalid("its columns are not those of examples")
        self._files = tuple(files)
        self._batches = [_views(reader.get_batch(number)) for number in range(reader.num_record_batches)]
        sizes = [len(batch.offsets) - 1 for batch in self._batches]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self.lengths = _joined([np.diff(batch.offsets) for batch in self._batches], np.int32)
        self.targets = _joined([_values(batch.columns["target"]) for batch in self._batches], np.float64)

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
            loss_weights=batch.weights[start:end],
            location=Location(path=self._files[file], line=line, record=record),
        )


def _views(batch: pa.RecordBatch) -> _Batch:
    ids, weights = batch["ids"], batch["weights"]
    return _Batch(
        ids=_values(ids.values),
        weights=_values(weights.values),
        offsets=_values(ids.offsets),
        columns=batch,
    )


# pyarrow's own ways to and from NumPy, pa.array and to_numpy, import pandas wherever it is installed, which takes longer than all
# the rest of opening a store. So these two go through the buffers.


def _column(values: Sequence[float | None] | np.ndarray, dtype: type[np.generic]) -> pa.Array:
    """Numbers as a column; None is null."""
    nulls = 0 if isinstance(values, np.ndarray) else sum(value is None for value in values)
    known = np.packbits([value is not None for value in values], bitorder="little") if nulls else None
    numbers = np.ascontiguousarray([value or 0 for value in values] if nulls else values, dtype)
    buffers = [None if known is None else pa.py_buffer(known), pa.py_buffer(numbers)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(dtype), len(numbers), buffers, nulls)


def _values(column: pa.Array) -> np.ndarray:
    """A view of a column of numbers.

    Raises:
        pyarrow.ArrowInvalid: some are null.
    """
    if column.null_count:
        raise pa.ArrowInvalid("numbers are missing")
    data = np.frombuffer(column.buffers()[1], column.type.to_pandas_dtype())
    return data[column.offset : column.offset + len(column)]


def _joined(parts: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)

"""Arrow arrays from NumPy's and from texts, and back.

``pa.array`` and ``to_numpy`` would do, but they import pandas, if there is one, to see whether it is asked for: half a second,
for every process that encodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def number_array(values: np.ndarray, is_there: np.ndarray | None = None) -> pa.Array:
    """The values, of the same type and without a copy.

    Args:
        values: numbers [n].
        is_there: bool [n], which of them are not null; None for all.
    """
    mask = None if is_there is None else pa.py_buffer(np.packbits(is_there, bitorder="little"))
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [mask, pa.py_buffer(np.ascontiguousarray(values))])


def text_array(texts: Sequence[str]) -> pa.LargeStringArray:
    """The texts.

    Raises:
        UnicodeEncodeError: one holds half of a surrogate pair.
    """
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return pa.Array.from_buffers(
        pa.large_string(), len(encoded), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )


def values_of(array: pa.Array) -> np.ndarray:
    """The values of an array of numbers, as a read-only view; undefined where they are null."""
    values = np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype())
    return values[array.offset : array.offset + len(array)]


def places_of_nulls(array: pa.Array) -> np.ndarray:
    """int64, in order."""
    mask = array.buffers()[0]
    if mask is None:
        return np.empty(0, np.int64)
    is_there = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
    return np.flatnonzero(is_there[array.offset : array.offset + len(array)] == 0)

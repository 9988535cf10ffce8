"""Files of records of every kind, packed or not, and what is read from them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from weft.data.sources import read_records
from weft.types import Record

RECORDS = [{"input": f'é{n}\u2028 "x", y\tz', "target": "😀" * n} for n in range(3)]


def table(values: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(values)


def encoded(ending: str) -> bytes:
    """:data:`RECORDS` as a file with this ending holds them."""
    separator = {".csv": ",", ".tsv": "\t"}.get(ending, "")
    if separator:
        quoted = ['"{}"'.format(text.replace('"', '""')) for row in RECORDS for text in row.values()]
        lines = [f"input{separator}target", *(separator.join(quoted[at : at + 2]) for at in range(0, len(quoted), 2))]
        return "\r\n".join(lines).encode()
    if ending == ".json":
        return json.dumps({"data": RECORDS}).encode()
    return b"\n".join(json.dumps(row, ensure_ascii=False).encode() for row in RECORDS)


def zstandard(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def data(path: Path) -> list[Any]:
    return [row.data if isinstance(row, Record) else row.reason for row in read_records(path)]


def tables(path: Path, content: pa.Table) -> Path:
    """A table in the format of the path's name; ``stream.arrow`` as the datasets library keeps its cache."""
    if path.suffix == ".parquet":
        parquet.write_table(content, path, row_group_size=2)
        return path
    new = pa.ipc.new_stream if path.name == "stream.arrow" else pa.ipc.new_file
    with new(str(path), content.schema) as writer:
        writer.write_table(content, max_chunksize=2)
    return path


TABLES = ["a.parquet", "a.arrow", "stream.arrow"]

"""Each kind of file gives the same records at exact places, packed or not, in memory that does not grow with the file."""

from __future__ import annotations

import datetime
import gzip
import json
import random
import tempfile
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from record_files import PACK, RECORDS, TABLES, data, encoded, table, tables, write, zstandard
from weft.data import json_stream, unpack
from weft.data.rows import REST_UNREAD
from weft.data.sources import BadRow, read_file, read_records
from weft.errors import WeftError
from weft.types import Location, Record


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".JSONL"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_kind_gives_the_same_records(tmp_path: Path, ending: str, packing: str, mark: bytes) -> None:
    path = write(tmp_path / f"a{ending}{packing}", PACK[packing](mark + encoded(ending.lower())))
    assert data(path) == RECORDS


def test_a_mark_inside_a_file_of_lines_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n\xef\xbb\xbf{"a": 2}\n{"a": 3}\n')
    first, marked, last = read_records(path)
    assert isinstance(marked, BadRow)
    assert (marked.location.line, marked.reason, marked.fix) == (2, "broken JSON", "remove it")
    assert marked.detail.startswith("a byte order mark stands in the midst of the file")
    assert [row.data for row in (first, last) if isinstance(row, Record)] == [{"a": 1}, {"a": 3}]


def test_a_mark_inside_a_table_is_named_and_its_quotes_are_read(tmp_path: Path) -> None:
    table = b'\xef\xbb\xbf"q","a"\n"1","\xef\xbb\xbf2"\n'
    path = write(tmp_path / "a.csv", table + table + b'\xef\xbb\xbf"3\n4","5"\n6,7\n')
    rows = list(read_records(path))
    assert [row.data for row in rows if isinstance(row, Record)] == [{"q": "1", "a": "\ufeff2"}] * 2 + [
        {"q": "6", "a": "7"}
    ]
    marked = [row for row in rows if isinstance(row, BadRow)]
    assert [(row.location.line, row.reason, row.fix) for row in marked] == [
        (3, "broken CSV", "remove it"),
        (5, "broken CSV", "remove it"),
    ]
    assert all(row.detail.startswith("a byte order mark stands in the midst of the file") for row in marked)
    assert marked[1].raw == '\ufeff"3\n4","5"'


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("ending", [".txt", ".md"])
def test_a_document_is_one_record(tmp_path: Path, ending: str, packing: str) -> None:
    path = write(tmp_path / f"a{ending}{packing}", PACK[packing](b"\xef\xbb\xbfone\r\n\ntwo\n"))
    (row,) = read_records(path)
    assert isinstance(row, Record)
    assert (row.data, str(row.location)) == ({"text": "one\r\n\ntwo\n"}, f"{path}:1")


@pytest.mark.parametrize(("content", "line"), [(b"a\n\xff", 2), (b"a\n\nb\0", 3)])
def test_a_document_that_is_no_text_is_a_bad_row(tmp_path: Path, content: bytes, line: int) -> None:
    (row,) = read_records(write(tmp_path / "a.txt", content))
    assert isinstance(row, BadRow)
    assert row.location.line == line


@pytest.mark.parametrize("name", TABLES)
def test_tables_give_records_with_their_numbers(tmp_path: Path, name: str) -> None:
    path = tables(tmp_path / name, table(RECORDS))
    assert data(path) == RECORDS
    assert [str(row.location) for row in read_records(path)] == [f"{path} (record {n})" for n in (1, 2, 3)]


@pytest.mark.parametrize("name", TABLES)
def test_values_of_tables_become_those_of_json(tmp_path: Path, name: str) -> None:
    row = {
        "messages": [{"role": "user", "content": "a", "name": None}],
        "day": datetime.date(2024, 2, 29),
        "time": datetime.datetime(2024, 2, 29, 1, 2, 3),
        "price": Decimal("1.50"),
        "number": 2**53 + 1,
        "none": None,
    }
    (record,) = read_records(tables(tmp_path / name, table([row])))
    assert isinstance(record, Record)
    assert record.data == row | {"day": "2024-02-29", "time": "2024-02-29T01:02:03", "price": "1.50"}
    json.dumps(record.data)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "a number is not finite: nan in the column 'b'"),
        (float("inf"), "a number is not finite: inf in the column 'b'"),
        (b"x", "a value is neither text nor a number: bytes in the column 'b'"),
    ],
)
def test_a_bad_value_in_a_table_hides_no_other_row(tmp_path: Path, name: str, value: Any, reason: str) -> None:
    path = tables(tmp_path / name, table([{"a": "1", "b": None}, {"a": "2", "b": value}, {"a": "3", "b": None}]))
    first, bad, last = read_records(path)
    assert isinstance(bad, BadRow)
    assert str(bad.error()).startswith(f"{path} (record 2): {reason}\n  fix: ")
    assert json.loads(bad.raw)["a"] == "2"
    assert [row.data["a"] for row in (first, last) if isinstance(row, Record)] == ["1", "3"]


def test_text_that_is_no_utf8_in_a_table_hides_no_other_row(tmp_path: Path) -> None:
    column = pa.array([b"good", b"caf\xe9", b"fine"]).view(pa.string())
    path = tables(tmp_path / "a.parquet", pa.table({"a": column}))
    assert data(path) == [{"a": "good"}, "the text is not valid UTF-8", {"a": "fine"}]


def test_a_value_of_csv_that_is_no_text_is_named_with_its_column_and_its_row_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b'a,b\n1,"x\n\xff y"\n2,\0\n3,z\n4\xff,\xff\n')
    several, nul, _, both = read_records(path)
    assert isinstance(several, BadRow)
    assert isinstance(nul, BadRow)
    assert isinstance(both, BadRow)
    assert data(path)[2] == {"a": "3", "b": "z"}
    assert str(several.location) == f"{path}:3"
    assert (several.detail, several.raw) == ("byte 1 of the line is 0xff, in the column 'b'", '1,"x\n\ufffd y"')
    assert (nul.detail, nul.raw) == ("in the column 'b'", "2,\0")
    assert both.detail == "byte 2 of the line is 0xff"


NO_UTF8 = pa.array([b"good", b"caf\xe9"]).view(pa.string())


@pytest.mark.parametrize(
    ("column", "said", "kept"),
    [
        (NO_UTF8, "the text is not valid UTF-8: byte 4 of the column 'b' is 0xe9", "caf\ufffd"),
        (
            pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), NO_UTF8),
            "the text is not valid UTF-8: byte 4 of the column 'b' is 0xe9",
            "caf\ufffd",
        ),
        (
            pa.array([0, 2**62], pa.timestamp("us")),
            "a value cannot be read: the column 'b': date value out of range",
            2**62,
        ),
        (pa.array([0, 10**9], pa.date32()), "a value cannot be read: the column 'b': days=1000000000", 10**9),
    ],
)
def test_a_value_that_cannot_be_read_is_named_with_its_column(
    tmp_path: Path, column: pa.Array, said: str, kept: Any
) -> None:
    path = tables(tmp_path / "t.parquet", pa.table({"a": ["1", "2"], "b": column, "c": [None, {"d": [1]}]}))
    first, bad = read_records(path)
    assert isinstance(first, Record)
    assert isinstance(bad, BadRow)
    assert str(bad.error()).startswith(f"{path} (record 2): {said}")
    assert json.loads(bad.raw) == {"a": "2", "b": kept, "c": {"d": [1]}}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("cut", [0, 5, 30, -30, -1])
def test_a_damaged_table_is_refused_by_name(tmp_path: Path, name: str, cut: int) -> None:
    path = tables(tmp_path / name, table(RECORDS))
    write(path, path.read_bytes()[:cut])
    with pytest.raises(
        WeftError, match=r"the file is damaged, or no \.?(parquet|arrow) file|holds no records"
    ) as error:
        list(read_records(path))
    assert str(error.value).startswith(str(path))


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    both = pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["a", "a"])
    with pytest.raises(WeftError, match="several columns have the name 'a'"):
        list(read_records(tables(tmp_path / "a.parquet", both)))


# --- packed files ---


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_packed_file_that_ends_early_says_how_far_it_was_read(tmp_path: Path, packing: str) -> None:
    generator = random.Random(1)
    lines = [json.dumps({"a": generator.randbytes(50).hex()}).encode() for _ in range(5000)]
    packed = PACK[packing](b"\n".join(lines))
    path = write(tmp_path / f"a.jsonl{packing}", packed[: len(packed) // 2])
    found: list[Record | BadRow] = []
    with pytest.raises(WeftError, match=r"it ends early.*the last record before that is at line \d+\n  fix: ") as error:
        found.extend(read_records(path))
    assert [row.data for row in found if isinstance(row, Record)] == [json.loads(line) for line in lines[: len(found)]]
    assert f"at line {len(found)}\n" in str(error.value)
    with pytest.raises(WeftError) as passing:
        list(read_file(path, passing=lambda: True))
    assert str(passing.value) == str(error.value)


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".txt"])
def test_a_packed_file_cut_at_any_byte_is_refused(tmp_path: Path, packing: str, ending: str) -> None:
    whole = PACK[packing](encoded(ending))
    for cut in range(len(whole)):
        path = write(tmp_path / f"a{ending}{packing}", whole[:cut])
        with pytest.raises(WeftError, match=r"it ends early|cannot be unpacked|the file is empty") as error:
            list(read_records(path))
        assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl.gz", b"hello, world", "gzip: it cannot be unpacked"),
        ("a.jsonl.zst", b"hello, world", "Zstandard: it cannot be unpacked"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "the file holds no records"),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), r"the file is packed by gzip\n  fix: end its name in \.jsonl\.gz"),
        ("a.csv", zstandard(b"a,b"), r"the file is packed by Zstandard\n  fix: end its name in \.csv\.zst"),
        ("a.json", b"PK\x03\x04", "the file is a zip archive"),
        ("a.json", b"PAR1", "the file is a Parquet file"),
        (
            "a.jsonl.gz",
            gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0),
            r"packed by gzip\n  fix: unpack it, then end",
        ),
        (
            "a.csv.zst",
            zstandard("a,b".encode("utf-16")),
            r"UTF-16, .*\n  fix: unpack it, then iconv .* -t UTF-8 a\.csv",
        ),
        ("a.parquet.gz", b"", "gzip: the file is empty, which no packed file is"),
        ("a.parquet.zst", zstandard(b"{}"), "the file is damaged, or no parquet file"),
        ("a.arrow.gz", gzip.compress(b"ARROW1\0\0" * 9, mtime=0)[:-4], "gzip: it ends early"),
        ("a.gz", b"", r"files that end in '\.gz' cannot be read"),
    ],
)
def test_packed_files_that_are_not_what_they_seem(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(WeftError, match=said):
        list(read_records(write(tmp_path / name, content)))


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("name", TABLES)
def test_a_packed_table_is_read_as_the_unpacked_one(
    tmp_path: Path, name: str, packing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [{"a": f"é{number}", "b": number} for number in range(700)]
    plain = tables(tmp_path / name, table(values))
    packed = write(tmp_path / f"{name}{packing}", PACK[packing](plain.read_bytes()))
    assert data(packed) == data(plain) == values
    assert [row.location for row in read_records(packed)][-1] == Location(path=str(packed), record=700)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    assert data(plain) == values
    with pytest.raises(WeftError, match=rf"{packing}: the file cannot be unpacked into .*\n  fix: set TMPDIR to"):
        data(packed)


def test_several_packed_members_are_one_file(tmp_path: Path) -> None:
    for packing in (".gz", ".zst"):
        content = PACK[packing](b'{"a": 1}\n') + PACK[packing](b'{"a": 2}\n')
        assert data(write(tmp_path / f"a.jsonl{packing}", content)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".txt"])
def test_a_bomb_is_not_unpacked(tmp_path: Path, packing: str, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "FREE_BYTES", 2**20)
    path = write(tmp_path / f"a{ending}{packing}", PACK[packing](b" " * 2**25))
    with pytest.raises(WeftError, match=r"unpacks to more than 200 times its size.*\n  fix: unpack it yourself"):
        list(read_records(path))


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".json.zst", ".parquet", ".arrow"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, ending: str) -> None:
    values = [{"input": f"question {n}", "target": "x" * 1000} for n in range(20_000)]
    path = tmp_path / f"a{ending}"
    if ending in (".parquet", ".arrow"):
        tables(path, table(values))
    else:
        kind = Path(path.stem).suffix if path.suffix in (".gz", ".zst") else ending
        separator = {".csv": ",", ".tsv": "\t"}.get(kind)
        if separator:
            text = "\n".join(["input" + separator + "target", *(separator.join(row.values()) for row in values)])
        else:
            text = json.dumps(values) if kind == ".json" else "\n".join(map(json.dumps, values))
        write(path, PACK[path.suffix if path.suffix in PACK else ""](text.encode()))
    count = sum(1 for _ in read_records(path))  # what is imported on the way is no part of the measure
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_records(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 3 * 2**20, "the file holds 20 MiB"


def table_of(ending: str, *texts: str) -> bytes:
    """A file with a column ``a``, whose size is that of the texts and the same for all texts of this size."""
    content, sink = pa.table({"a": list(texts)}), pa.BufferOutputStream()
    if ending == ".parquet":
        parquet.write_table(content, sink, compression="none", use_dictionary=False, write_statistics=False)
    else:
        with pa.ipc.new_file(sink, content.schema) as writer:
            writer.write_table(content)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_tables_behind_each_other_are_not_read_as_the_last(tmp_path: Path, ending: str, packing: str) -> None:
    path = tmp_path / f"a{ending}{packing}"
    whole, pack = table_of(ending, "x", "y"), gzip.compress if packing else bytes
    path.write_bytes(pack(whole))
    assert [record.data for record in read_records(path)] == [{"a": "x"}, {"a": "y"}]
    path.write_bytes(pack(whole) + pack(whole))
    with pytest.raises(WeftError, match=f"another one begins at byte {len(whole) + 1}") as error:
        list(read_records(path))
    assert error.value.fix == "give each table a file of its own"


@pytest.mark.parametrize("place", [*range(2**20 - 24, 2**20 + 24, 4), 2**20 + 2**19])
@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_wherever_the_second_table_begins(tmp_path: Path, ending: str, place: int) -> None:
    """Also where its beginning lies in two reads."""
    beginning = table_of(ending, "x" * (place - len(table_of(ending, "x" * 2**19)) + 2**19))
    (tmp_path / f"a{ending}").write_bytes(beginning + table_of(ending, "y"))
    assert abs(len(beginning) - place) < 8  # Arrow's are multiples of eight
    with pytest.raises(WeftError, match=f"another one begins at byte {len(beginning) + 1}"):
        list(read_records(tmp_path / f"a{ending}"))


@pytest.mark.parametrize(("ending", "mark"), [(".parquet", "PAR1"), (".arrow", "ARROW1")])
def test_a_text_about_tables_is_no_second_table(tmp_path: Path, ending: str, mark: str) -> None:
    texts = [f"It ends with {mark}{mark} begins the next.", mark * 5, "x" * (2**20 - 30) + mark * 9]
    (tmp_path / f"a{ending}").write_bytes(table_of(ending, *texts))
    assert [record.data["a"] for record in read_records(tmp_path / f"a{ending}")] == texts


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_arrow_keeps_some_rows_in_its_own_memory(tmp_path: Path, ending: str) -> None:
    generator = random.Random(1)
    content = table([{"a": generator.randbytes(500).hex()} for _ in range(20_000)])
    path = tmp_path / f"a{ending}"
    if ending == ".parquet":
        parquet.write_table(content, path)
    else:
        with pa.ipc.new_file(str(path), content.schema) as writer:
            writer.write_table(content, max_chunksize=1000)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for number, _ in enumerate(read_records(path)) if number % 100 == 0]
    assert len(held) == 200
    assert max(held) < 8 * 2**20, "the file holds 20 MiB"


# --- json in pieces ---


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("form", ["list", "data", "lines"])
def test_json_is_read_in_pieces_of_any_size(
    tmp_path: Path, form: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    generator = random.Random(chunk)
    for _ in range(60):
        values = [{"v": _value(generator), "n": n} for n in range(generator.randrange(1, 5))]
        indent, ascii_only = generator.choice([None, 0, 2]), generator.random() < 0.5
        if form == "lines":
            text = "\n".join(json.dumps(value, ensure_ascii=ascii_only) for value in values)
        else:
            whole = {"x": [_value(generator), 0], "data": values, "z": 1e5} if form == "data" else values
            text = json.dumps(whole, ensure_ascii=ascii_only, indent=indent)
        mark = generator.choice([b"", b"\xef\xbb\xbf"])
        assert data(write(tmp_path / "a.json", mark + text.encode())) == values


def _value(generator: random.Random, depth: int = 0) -> Any:
    text = "".join(generator.choice('aé"\\\n\u2028😀 ,]}{[') for _ in range(generator.randrange(12)))
    number = generator.choice([0, -1, 10**30, 1e300, -2.5e-7, generator.random()])
    inner = [_value(generator, depth + 1) for _ in range(generator.randrange(3))] if depth < 3 else []
    return generator.choice(
        [None, True, False, number, text, inner, {f"{text}{n}": item for n, item in enumerate(inner)}]
    )


@pytest.mark.parametrize("chunk", [1, 65536])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[{"a": "\xff"},\n{"a": 2}]', [(1, "the text is not valid UTF-8"), (2, {"a": 2})]),
        (
            b'[{"a": NaN},\n{"a": "\xff", "b": NaN},\n1]',
            [(1, "a number is not finite"), (2, "the text is not valid UTF-8"), (3, 1)],
        ),
        (b'{"a": NaN}\n{"a": 2}\n', [(1, "a number is not finite"), (2, {"a": 2})]),
        (b'{"a": \n{"a": 2}\n', [(1, "broken JSON"), (2, {"a": 2})]),
        (b'{"data": [1,\n2], "data": [3]}', [(1, 1), (2, 2), (2, "broken JSON")]),
        (b'{"data": [1,\n2], "x": NaN}', [(1, 1), (2, 2), (2, "a number is not finite")]),
        (b'{"data": [1,\n2]', [(1, 1), (2, 2), (2, "broken JSON")]),
        (b'{"data": [1,\n2]} x', [(1, 1), (2, 2), (2, "broken JSON")]),
        (b'{"x": 1,\n"data" 2}', [(2, "broken JSON")]),
        (b"[1, " + b"[" * 100_000, [(1, 1), (1, "the record is nested too deeply")]),
        (b"nonsense", [(1, "broken JSON")]),
    ],
)
def test_bad_json_files(
    tmp_path: Path, content: bytes, expected: list[Any], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    found = read_records(write(tmp_path / "a.json", content))
    assert [
        (row.location.line, row.data if isinstance(row, Record) else row.reason.removesuffix(REST_UNREAD))
        for row in found
    ] == expected

"""Each kind of file gives the same records at exact places, packed or not, in memory that does not grow with the file."""

from __future__ import annotations

import datetime
import gzip
import json
import random
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from weft.data import json_stream, read_arrow, read_csv, read_json, rows, unpack
from weft.data.rows import REST_UNREAD
from weft.data.sources import BadRow, read_records
from weft.errors import WeftError
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


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".JSONL"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_kind_gives_the_same_records(tmp_path: Path, ending: str, packing: str, mark: bytes) -> None:
    path = write(tmp_path / f"a{ending}{packing}", PACK[packing](mark + encoded(ending.lower())))
    assert data(path) == RECORDS


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
        ("a.jsonl.gz", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "the file is packed by gzip"),
        ("a.parquet.gz", b"", "are read as they are"),
        ("a.gz", b"", r"files that end in '\.gz' cannot be read"),
    ],
)
def test_packed_files_that_are_not_what_they_seem(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(WeftError, match=said):
        list(read_records(write(tmp_path / name, content)))


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


# --- length ---


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that tests reach in no time."""
    for module in (rows, json_stream, read_csv, read_json, read_arrow):
        if hasattr(module, "MAX_RECORD_BYTES"):
            monkeypatch.setattr(module, "MAX_RECORD_BYTES", 2**17)
    return 2**17


LONG = "the record is longer than"


@pytest.mark.parametrize("packing", ["", ".gz"])
def test_a_line_that_is_too_long_hides_no_other(tmp_path: Path, short: int, packing: str) -> None:
    long = b'{"a": "' + random.Random(1).randbytes(short).hex().encode() + b'"}'
    content = b'{"a": 1}\n' + long + b'\n{"a": 3}\n' + long
    path = write(tmp_path / f"a.jsonl{packing}", PACK[packing](content))
    found = list(read_records(path))
    assert [row.location.line for row in found] == [1, 2, 3, 4]
    assert [row.reason.startswith(LONG) for row in found if isinstance(row, BadRow)] == [True, True]
    assert all(len(row.raw) < 5000 for row in found if isinstance(row, BadRow))
    exact = b'{"a": "' + b"x" * (short - 9) + b'"}'
    assert len(exact) == short
    assert len(data(write(tmp_path / "b.jsonl", exact + b"\n" + exact))) == 2


@pytest.mark.parametrize(
    ("times", "reason"), [(0.9, None), (1.1, LONG + " 64 MiB"), (8, LONG + " 64 MiB"), (50, LONG + " 64 MiB")]
)
@pytest.mark.parametrize("inside", ['"x"', r'"\""', r'"\\"', '"{["', '"]}"', '["x"]', '{"b": ["]"]}'])
def test_a_record_of_a_list_that_is_too_long_hides_no_other(
    tmp_path: Path, short: int, times: float, reason: str | None, inside: str
) -> None:
    size = int(times * short) - 20
    if inside.startswith('"'):
        row = '{"a": "' + inside[1:-1] * (size // len(inside[1:-1])) + '"}'
    else:
        row = '{"a": [' + ", ".join([inside] * (size // (len(inside) + 2))) + "]}"
    content = f'[{{"a": 1}},\n{row}, {{"a": 3}},\n\n {{"a": 4, "a": 5}}\n]'.encode()
    first, second, third, fourth = read_records(write(tmp_path / "a.json", content))
    assert isinstance(first, Record)
    assert (second.location.line, second.location.record) == (2, 2)
    assert (second.reason if isinstance(second, BadRow) else None) == reason
    assert not isinstance(second, BadRow) or second.raw.startswith('{"a": ')
    assert not isinstance(second, BadRow) or len(second.raw) < 5000
    assert (third.data, third.location.line, third.location.record) == ({"a": 3}, 2, 3)
    assert (fourth.reason, fourth.location.line, fourth.location.record) == ("a key is given twice", 4, 4)


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        ('[{{"a": 1}}, {{"a": "{long}', [None, LONG + " 64 MiB" + REST_UNREAD]),
        ('[{{"a": 1}}, {{"a": "{long}\\', [None, LONG + " 64 MiB" + REST_UNREAD]),
        ('[{{"a": 1}}, {{"a": "{long}"}}', [None, LONG + " 64 MiB", "broken JSON" + REST_UNREAD]),
        ('[{{"a": 1}}, {nines}, {{"a": 3}}]', [None, LONG + " 64 MiB" + REST_UNREAD]),
        ('{{"a": "{long}"}}', [LONG + " 64 MiB"]),
        ('{{"a": "{long}"}} x', [LONG + " 64 MiB", "broken JSON" + REST_UNREAD]),
        ('{{"n": "{long}", "data": [{{"a": 1}}]}}', [LONG + " 64 MiB"]),
        ('{{"n": 1, "data": ["{long}", {{"a": 1}}]}}', [LONG + " 64 MiB", None]),
    ],
)
def test_what_is_too_long_and_what_stands_behind_it(
    tmp_path: Path, short: int, content: str, reasons: list[str | None]
) -> None:
    text = content.format(long="x" * 5 * short, nines="9" * 5 * short)
    found = list(read_records(write(tmp_path / "a.json", text.encode())))
    assert [row.reason if isinstance(row, BadRow) else None for row in found] == reasons
    assert all(0 < len(row.raw) < 5000 for row in found if isinstance(row, BadRow))


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_a_row_of_a_table_that_is_too_long_hides_no_other(tmp_path: Path, short: int, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    exact = "é" * ((short - len('{"a": ""}')) // 2) + "x" * ((short - len('{"a": ""}')) % 2)
    tables(path, table([{"a": "1"}, {"a": exact}, {"a": exact + "x"}, {"a": "x" * 10 * short}, {"a": "5"}]))
    found = list(read_records(path))
    assert [row.location.record for row in found] == [1, 2, 3, 4, 5]
    assert [row.reason if isinstance(row, BadRow) else None for row in found] == [
        *(None, None),
        *(LONG + " 64 MiB", LONG + " 64 MiB"),
        None,
    ]
    assert all(row.raw.startswith('{"a": "') and len(row.raw) < 5000 for row in found if isinstance(row, BadRow))


def test_a_csv_line_that_is_too_long_hides_no_other(tmp_path: Path, short: int) -> None:
    first, second, third = read_records(write(tmp_path / "a.csv", b"a,b\n1,2\n" + b"x" * 2**20 + b",2\n3,4\n"))
    assert isinstance(second, BadRow)
    assert second.location.line == 3
    assert second.reason.startswith(LONG)
    assert [row.data for row in (first, third) if isinstance(row, Record)] == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": "4"},
    ]


@pytest.mark.parametrize("quotes", ["", 'and ""quoted"" text', '""'])
def test_a_csv_value_of_many_lines_that_is_too_long_hides_no_other(tmp_path: Path, short: int, quotes: str) -> None:
    lines = (f"line {number} {quotes}\n" for number in range(short // 4))
    content = f'a,b\n1,2\n"{"".join(lines)}",2\n"3",4\n5\n6,"7"\n'
    first, second, third, fourth, fifth = read_records(write(tmp_path / "a.csv", content.encode()))
    assert isinstance(first, Record)
    assert isinstance(second, BadRow)
    assert (second.location.line, second.reason) == (3, LONG + " 64 MiB")
    assert second.detail == "a quote is opened, and closed after as long"
    behind = 3 + short // 4 + 1
    assert [row.location.line for row in (third, fourth, fifth)] == [behind, behind + 1, behind + 2]
    assert [row.data if isinstance(row, Record) else row.reason for row in (third, fourth, fifth)] == [
        {"a": "3", "b": "4"},
        "the row does not fit the header",
        {"a": "6", "b": "7"},
    ]


INCHES = '5" tape'
"""A cell that needs no quotes, and holds one that is no more than a character."""


@pytest.mark.parametrize("before", ["1", INCHES])
@pytest.mark.parametrize("after", ["2", INCHES, '"5"" tape"', '"two\nlines"', '"two ""\nlines"'])
@pytest.mark.parametrize("text", ["2,3\n", 'a ""quote""\n', '""\n'])
def test_quotes_in_cells_beside_a_value_that_is_too_long_hide_no_other(
    tmp_path: Path, short: int, before: str, after: str, text: str
) -> None:
    long = text * (short // 2 + 9)
    content = f'a,b,c\n{before},"{long}",{after}\n3,{INCHES},4\n5,"6\n",7\n'
    first, second, third = read_records(write(tmp_path / "a.csv", content.encode()))
    assert isinstance(first, BadRow)
    assert (first.location.line, first.reason, first.detail) == (
        2,
        LONG + " 64 MiB",
        "a quote is opened, and closed after as long",
    )
    assert [row.data for row in (second, third) if isinstance(row, Record)] == [
        {"a": "3", "b": INCHES, "c": "4"},
        {"a": "5", "b": "6\n", "c": "7"},
    ]
    behind = 3 + long.count("\n") + after.count("\n")
    assert [row.location.line for row in (second, third)] == [behind, behind + 1]


def test_behind_a_value_that_is_too_long_and_no_csv_nothing_is_read(tmp_path: Path, short: int) -> None:
    long, others = "x,y\n" * short, "3,4\n" * 9
    content = f'a,b\n1,"{long}" or so",2\n{others}'
    (found,) = read_records(write(tmp_path / "a.csv", content.encode()))
    assert isinstance(found, BadRow)
    assert (found.location.line, found.reason) == (2, LONG + " 64 MiB" + REST_UNREAD)


def test_a_header_that_is_too_long_leaves_nothing_to_read_by(tmp_path: Path, short: int) -> None:
    content = '"a\n' + "x\n" * short + '",b\n1,2\n'
    (found,) = read_records(write(tmp_path / "a.csv", content.encode()))
    assert isinstance(found, BadRow)
    assert found.reason == LONG + " 64 MiB" + REST_UNREAD


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path: Path, short: int) -> None:
    first, second = read_records(write(tmp_path / "a.csv", b'a,b\n1,2\n"' + b"3,4\n" * 2**18))
    assert isinstance(first, Record)
    assert isinstance(second, BadRow)
    assert str(second.error()).endswith(
        f"{path_of(second)}:3: the record is longer than 64 MiB; the rest of the file is not read: "
        "a quote is opened, and not closed for as long\n  fix: close the quote there"
    )


def path_of(row: BadRow) -> str:
    return row.location.path


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
            whole = {"x": _value(generator), "data": values, "z": 1e5} if form == "data" else values
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

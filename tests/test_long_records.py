"""A record that is too long hides no other, is named with its place, and does not fill the memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from record_files import PACK, data, table, tables, write
from weft.data import json_stream, read_arrow, read_csv, read_json, rows
from weft.data.rows import REST_UNREAD
from weft.data.sources import BadRow, read_records
from weft.types import Record


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

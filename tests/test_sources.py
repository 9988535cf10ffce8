"""Readers: every record at its exact place, every bad row named, nothing but WeftError for any bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.data.files import json_lines
from weft.data.rows import REST_UNREAD
from weft.data.sources import BadRow, find_parts, read_records
from weft.errors import WeftError
from weft.types import Record

PER_EXAMPLE_FILE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # with U+2028, U+0085, NUL, …; lone surrogates are no text
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path) -> list[tuple[int | None, Any]]:
    """(line, data) of records and (line, reason) of bad rows."""
    return [
        (row.location.line, row.data if isinstance(row, Record) else row.reason.removesuffix(REST_UNREAD))
        for row in read_records(path)
    ]


def bad(path: Path) -> BadRow:
    (row,) = (row for row in read_records(path) if isinstance(row, BadRow))
    return row


# --- jsonl ---


def test_jsonl_counts_physical_lines_and_skips_blank_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\n  \t\r\n{"a": 2}\n{"a": 3}')
    assert rows(path) == [(1, {"a": 1}), (4, {"a": 2}), (5, {"a": 3})]


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    content = {"a": "x\u2028y\u2029z\x85w\x0bv\x0c"}
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(json_lines([content, content])))
    assert "\u2028".encode() in path.read_bytes()
    assert rows(path) == [(1, content), (2, content)]


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b'{"a": 1,}', "broken JSON", "column 8: illegal trailing comma before end of object"),
        (b'{"a": "x', "broken JSON", "column 7: unterminated string"),
        (b'{"a": 1} {"a": 2}', "broken JSON", "column 10: there is text after the end of the value"),
        (b'{"a": NaN}', "a number is not finite", "NaN"),
        (b'{"a": -Infinity}', "a number is not finite", "-Infinity"),
        (b'{"a": 1e999}', "a number is not finite", "1e999"),
        (b'{"a": 1, "b": {"c": 2, "c": 2}}', "a key is given twice", "'c'"),
        (b'{"a": "\\ud800"}', "a string holds half of a surrogate pair", "without its other half"),
        (b'{"\\uDC00": 1}', "a string holds half of a surrogate pair", "without its other half"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number has too many digits", ""),
        (b'{"a": "caf\xe9"}', "the text is not valid UTF-8", "byte 11 of the line is 0xe9"),
        (b"[" * 101 + b"]" * 101, "the record is nested too deeply", "more than 100 levels"),
        (b"[" * 200_000, "the record is nested too deeply", ""),
    ],
)
def test_a_bad_line_is_named_and_hides_no_other(tmp_path: Path, line: bytes, reason: str, detail: str) -> None:
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n\n' + line + b'\r\n{"a": 3}\n')
    assert rows(path) == [(1, {"a": 1}), (3, reason), (4, {"a": 3})]
    if "trailing comma" in detail:  # worded differently before Python 3.13
        return
    assert detail in bad(path).detail
    assert bad(path).raw == line.decode(errors="replace")
    assert str(bad(path).error()).startswith(f"{path}:3: {reason}")


def test_what_looks_like_a_lone_surrogate_but_is_none_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rb'{"a": "\ud83d\ude00", "b": "\\ud800", "c": "' + b"[{" * 80 + b'"}')
    assert rows(path) == [(1, {"a": "😀", "b": "\\ud800", "c": "[{" * 80})]


# --- json ---


def test_json_lists_give_line_and_number_of_each_record(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '\ufeff\n[\n  {"a": 1},\n\n  {"a":\n 2}, {"a": 3}\n]\n')
    places = [str(row.location) for row in read_records(path)]
    assert places == [f"{path}:3 (record 1)", f"{path}:5 (record 2)", f"{path}:6 (record 3)"]
    assert [row.data["a"] for row in read_records(path) if isinstance(row, Record)] == [1, 2, 3]


@pytest.mark.parametrize(
    "content",
    [
        '{"version": [1, {"data": 0}],\n "data": [{"a": 1},\n{"a": 2}], "more": "]"}',
        '{"data":\n[{"a": 1},\n{"a": 2}]}',
        '\n{"a": 1}\n{"a": 2}\n',
    ],
    ids=["data", "data first", "json lines"],
)
def test_json_also_holds_data_or_one_record_per_line(tmp_path: Path, content: str) -> None:
    assert rows(write(tmp_path / "a.json", content)) == [(2, {"a": 1}), (3, {"a": 2})]


def test_json_may_hold_a_single_record_over_many_lines(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.json", '\n{\n"a":\n1}\n')) == [(2, {"a": 1})]


@pytest.mark.parametrize("is_first", [False, True])
def test_records_beside_the_data_are_named(tmp_path: Path, is_first: bool) -> None:
    data, others = (
        '"data": [{"a": 1}]',
        '"version": "1", "tags": ["x"], "about": {"a": 0}, "validation":\n [{"a": 2}], "test": []',
    )
    content = f"{{{others}, {data}}}" if is_first else f"{{{data}, {others}}}"
    record, other = read_records(write(tmp_path / "a.json", content))
    assert isinstance(record, Record)
    assert record.data == {"a": 1}
    assert isinstance(other, BadRow)
    assert (other.location.line, other.raw) == (2, '[{"a": 2}]')
    assert other.reason == 'a list of objects stands beside the records under "data", and is not read'
    assert other.detail == 'it is under "validation"'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"a": 1},\n{"a": 2', [(1, {"a": 1}), (2, "broken JSON")]),
        ('[{"a": 1},\n{"a": 2}', [(1, {"a": 1}), (2, {"a": 2}), (2, "broken JSON")]),
        ('[{"a": 1}\n{"a": 2}]', [(1, {"a": 1}), (2, "broken JSON")]),
        ('[{"a": 1}]\n\n,', [(1, {"a": 1}), (3, "broken JSON")]),
        ('[{"a": 1},\n{"a": NaN},\n{"a": 3}]', [(1, {"a": 1}), (2, "a number is not finite"), (3, {"a": 3})]),
        ('[{"a": 1, "a": 1},\n{"a": 3}]', [(1, "a key is given twice"), (2, {"a": 3})]),
        ('[{"a": ' + "9" * 5000 + '},\n{"a": 3}]', [(1, "a number has too many digits"), (2, {"a": 3})]),
        ('{"a":\n oops}', [(2, "broken JSON")]),
    ],
)
def test_broken_json_keeps_what_came_before_and_names_the_line(
    tmp_path: Path, content: str, expected: list[Any]
) -> None:
    assert rows(write(tmp_path / "a.json", content)) == expected


def test_a_json_file_that_is_no_utf8_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", b'[\n{"a": "\xff"}]')
    assert (bad(path).location.line, bad(path).detail) == (2, "line 2, column 8 holds the byte 0xff")


def test_a_row_that_hides_those_that_follow_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[{"a": 1},\n{"a": },\n{"a": 3}]')
    assert str(bad(path).error()) == (
        f"{path}:2 (record 2): broken JSON; the rest of the file is not read: column 7: expecting value"
        "\n  fix: mend the file there"
    )


# --- csv ---


def test_csv_names_the_line_on_which_a_row_starts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", b'\xef\xbb\xbfinput, target\r\n\r\n"one\nline ""x""",b\r\n\xe4\xb8\xad,\xe2\x80\xa8\n'
    )
    assert rows(path) == [
        (3, {"input": 'one\nline "x"', "target": "b"}),
        (5, {"input": "中", "target": "\u2028"}),
    ]


@pytest.mark.parametrize(
    ("row", "line", "reason"),
    [
        (b"a", 2, "the row does not fit the header"),
        (b"a,b,c", 2, "the row does not fit the header"),
        (b"input, target", 2, "the header row stands here again, as where files were put together"),
        (b'"a"b,c', 2, "broken CSV"),
        (b"a,b\rc,d", 2, "broken CSV"),
        (b'"a\n\xff",c', 3, "the text is not valid UTF-8"),
    ],
)
def test_a_bad_csv_row_hides_no_other(tmp_path: Path, row: bytes, line: int, reason: str) -> None:
    path = write(tmp_path / "a.csv", b"input,target\n" + row + b"\nx,y\n")
    last = 3 + row.count(b"\n")
    assert rows(path) == [(line, reason), (last, {"input": "x", "target": "y"})]
    assert bad(path).raw.encode() == row or b"\xff" in row


def test_a_single_column_may_hold_commas_in_its_name(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.csv", '"what, and why"\n"a, b"\n')) == [(2, {"what, and why": "a, b"})]


def test_a_header_is_no_record_where_it_stands_again(tmp_path: Path) -> None:
    again = "the header row stands here again, as where files were put together"
    numbered = write(tmp_path / "a.tsv", "\tinput\ttarget\n0\ta\tb\n" * 2)
    assert [content for _, content in rows(numbered)][1] == again
    assert rows(write(tmp_path / "b.csv", "text\ntext\n")) == [(2, {"text": "text"})]
    assert rows(write(tmp_path / "c.csv", "a,b\nA,b\n")) == [(2, {"a": "A", "b": "b"})]


def test_a_carriage_return_between_values_is_named(tmp_path: Path) -> None:
    row = bad(write(tmp_path / "a.csv", b"input,target\na,b\rc,d\n"))
    assert row.detail == "a carriage return stands between its values"
    assert row.fix == "end lines with LF or CRLF; quote values that hold CR"


def test_a_quote_that_is_never_closed_does_not_swallow_the_file_silently(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'input,target\na,b\nc,"d\ne,f\n')
    assert rows(path) == [(2, {"input": "a", "target": "b"}), (3, "broken CSV")]
    assert (bad(path).raw, bad(path).detail) == ('c,"d\ne,f', "a quote is opened, and never closed")
    last = bad(write(tmp_path / "b.csv", 'input,target\na,b\nc,"d'))
    assert (bad(path).reason, last.reason) == ("broken CSV" + REST_UNREAD, "broken CSV")


def test_csv_values_may_be_long(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "input,target\nq," + "x" * 200_000)
    assert rows(path) == [(2, {"input": "q", "target": "x" * 200_000})]


# --- files that cannot be read at all ---


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "the file holds no records"),
        ("a.jsonl", b"\xef\xbb\xbf\n \r\n", "the file holds no records"),
        ("a.json", b" \n", "the file holds no records"),
        ("a.json", b"[]", "the file holds no records"),
        ("a.json", b'{"data": []}', "the file holds no records"),
        ("a.csv", b"", "the file holds no records"),
        ("a.csv", b"input,target\n", "the file holds no records"),
        ("a.csv", b"\ninput,,\na,b,c", r"a\.csv:2: the header row has empty or repeated names"),
        ("a.csv", b"input,input\na,b", r"a\.csv:1: the header row has empty or repeated names"),
        ("a.csv", b'"input,target\n', "broken CSV"),
        ("a.csv", b"question;answer\n", "not separated by commas[^\n]*\n.*commas in place of semicolons"),
        ("a.csv", b"sep=;\nquestion;answer\n", r"a\.csv:1: the values are not separated by commas"),
        ("a.csv", b"question\tanswer\n", r"not separated by commas[^\n]*\n.*or call it \.tsv"),
        ("a.tsv", b"question,answer\n", r"not separated by tabs[^\n]*\n.*or call it \.csv"),
        ("a.yaml", b"hello", "files that end in '.yaml' cannot be read"),
        ("a", b"hello", "files without an ending cannot be read"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "the file is UTF-16"),
        ("a.jsonl", '{"a": 1}'.encode("utf-32"), "the file is UTF-32"),
        ("a.csv", b"\x00\x00\xfe\xff" + "a,b".encode("utf-32-be"), r"the file is UTF-32[^\n]*\n.*UTF-32 -t UTF-8"),
        (
            "a.jsonl",
            '{"a": 1}'.encode("utf-16-le"),
            r"UTF-16 without a byte order mark[^\n]*\n.*UTF-16LE -t UTF-8 a\.jsonl",
        ),
        (
            "a.csv",
            "input,target".encode("utf-16-be"),
            r"UTF-16 without a byte order mark[^\n]*\n.*UTF-16BE -t UTF-8 a\.csv",
        ),
    ],
)
def test_useless_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(WeftError, match=message) as error:
        list(read_records(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.csv", "a.txt"])
def test_a_pointer_of_git_in_the_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:2b0a\nsize 24246638\n"
    with pytest.raises(WeftError, match=r"Git LFS has left a pointer[^\n]*\n.*git lfs pull"):
        list(read_records(write(tmp_path / name, pointer)))


@pytest.mark.parametrize("text", [b"{}\n", b"\0\0\0\0\0\0", b"\0a\0\0", b'{"a": "\0"}', "一二三四".encode("utf-16-le")])
def test_other_files_are_not_taken_for_utf_16(tmp_path: Path, text: bytes) -> None:
    rows = list(read_records(write(tmp_path / "a.jsonl", text)))
    assert len(rows) == 1


def test_a_list_that_yaml_does_not_take_for_one_is_told_from_a_pattern() -> None:
    with pytest.raises(
        WeftError, match=r"\n  fix: to name a list, put each name in it that begins with \* into quotes"
    ):
        find_parts("[*.jsonl, more.csv]")
    with pytest.raises(WeftError, match=r"\n  fix: patterns are matched from"):
        find_parts("[ab]*.jsonl")


def test_a_missing_file_suggests_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "{}")
    with pytest.raises(WeftError, match=r"no such file.*\n.*did you mean .*/train\.jsonl\?"):
        read_records(tmp_path / "trian.jsonl")
    with pytest.raises(WeftError, match=r"train\.jsonl\? Otherwise run `weft prepare`"):
        read_records(tmp_path / "trian.jsonl", fix="run `weft prepare`")
    with pytest.raises(WeftError, match="does not exist either"):
        read_records(tmp_path / "no" / "file.jsonl")
    with pytest.raises(WeftError):
        read_records(tmp_path / ("x" * 5000))


def test_a_directory_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", "a\n2\n")
    write(tmp_path / "a.JSONL", '{"a": 1}\n')
    write(tmp_path / "c.json", '[{"a": 3}]')
    write(tmp_path / "notes.txt", "not data")
    write(tmp_path / ".gitkeep", "")
    (tmp_path / "folder.json").mkdir()
    assert [row.data["a"] for row in read_records(tmp_path) if isinstance(row, Record)] == [1, "2", 3]
    (part,) = find_parts(tmp_path)
    assert [path.name for path in part.files] == ["a.JSONL", "b.csv", "c.json"]
    assert [path.name for path in part.skipped] == ["folder.json", "notes.txt"]
    with pytest.raises(WeftError, match=r"holds no \.jsonl, \.ndjson, \.json, \.csv"):
        read_records(tmp_path / "folder.json")


def test_what_save_to_disk_says_of_its_tables_is_no_record(tmp_path: Path) -> None:
    """Of the datasets library, for one split and for several; a file of the one name alone may be anybody's records."""
    for split in ("test", "train"):
        write(tmp_path / split / "data-00000-of-00001.csv", "a\n1\n")
        write(tmp_path / split / "dataset_info.json", '{"features": {}}')
        write(tmp_path / split / "state.json", '{"_split": null}')
    write(tmp_path / "dataset_dict.json", '{"splits": ["train", "test"]}')
    (part,) = find_parts(tmp_path / "train")
    assert [path.name for path in part.files] == ["data-00000-of-00001.csv"]
    assert [path.name for path in part.skipped] == ["dataset_info.json", "state.json"]
    with pytest.raises(WeftError, match=r"\*\*/\*\.csv"):
        find_parts(tmp_path)
    (tmp_path / "test/dataset_info.json").unlink()
    assert [path.name for path in find_parts(tmp_path / "test")[0].files] == ["data-00000-of-00001.csv", "state.json"]


# --- properties ---


@given(st.lists(JSON, min_size=1, max_size=5), st.booleans())
@PER_EXAMPLE_FILE
def test_what_is_written_is_read(tmp_path: Path, values: list[Any], as_list: bool) -> None:
    if as_list:
        path = write(tmp_path / "a.json", json.dumps(values, ensure_ascii=False, indent=1))
    else:
        path = write(tmp_path / "a.jsonl", b"".join(json_lines(values)))
    found = list(read_records(path))
    assert [row.data for row in found if isinstance(row, Record)] == values
    if not as_list:
        assert [row.location.line for row in found] == list(range(1, len(values) + 1))


CHUNKS = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b",",
        b":",
        b"\n",
        b"\r",
        b'{"a": 1}',
        b"\xff",
        b"\\ud800",
        b"NaN",
        b"1e999",
        b"data",
    ]
)


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.md", "a.json.gz", "a.csv.zst", "a.parquet", "a.arrow"]
)
@given(content=st.binary(max_size=60) | st.lists(CHUNKS, max_size=12).map(b"".join))
@PER_EXAMPLE_FILE
def test_no_bytes_raise_anything_but_a_weft_error(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path / name, content)
    found = rows_or_error(path)
    if isinstance(found, WeftError):
        assert str(path) in str(found)
    else:
        assert found
        assert all(row.location.path == str(path) and row.location.line for row in found)


def rows_or_error(path: Path) -> list[Record | BadRow] | WeftError:
    try:
        return list(read_records(path))
    except WeftError as error:
        return error


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_file_cut_at_any_byte_keeps_the_records_before_the_cut(tmp_path: Path, name: str) -> None:
    records = [{"input": f"é{n}", "target": "x"} for n in range(3)]
    whole = {
        "a.jsonl": b"".join(json_lines(records)),
        "a.json": json.dumps(records, ensure_ascii=False).encode(),
        "a.csv": "input,target\né0,x\né1,x\né2,x\n".encode(),
    }[name]
    for cut in range(len(whole)):
        try:
            found = list(read_records(write(tmp_path / name, whole[:cut])))
        except WeftError:
            continue
        good = [row.data for row in found if isinstance(row, Record)]
        assert good == records[: len(good)] or name == "a.csv"  # a csv row that ends early can be a whole one
        assert len(found) - len(good) <= 1

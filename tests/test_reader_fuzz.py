"""Files that were spoiled in thousands of ways: each is read, or refused in words, and every record is accounted for.

The commands run in this process. A sample runs always, the campaign of more than 5,000 files with the slow tests.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from weft.cli import main

RECORDS = [{"input": f'Frage {n}: é\u2028 "x", {n}', "target": f"😀 answer\t{n}"} for n in range(12)]


def _json_lines() -> bytes:
    return b"\r\n".join(json.dumps(row, ensure_ascii=row["input"] < "Frage 5").encode() for row in RECORDS) + b"\n\n"


def _separated(separator: str) -> bytes:
    cells = ['"{}"'.format(text.replace('"', '""')) for row in RECORDS for text in row.values()]
    lines = [f"input{separator}target", *(separator.join(cells[at : at + 2]) for at in range(0, len(cells), 2))]
    return "\n".join(lines).encode()


def _zstandard(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def _parquet(**options: object) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(RECORDS), sink, row_group_size=5, **options)
    return sink.getvalue()


def _arrow(new: Callable[..., pa.RecordBatchWriter]) -> bytes:
    table = pa.Table.from_pylist(RECORDS)
    sink = pa.BufferOutputStream()
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    return sink.getvalue().to_pybytes()


VALID: dict[str, tuple[str, bytes]] = {
    "lines": ("a.jsonl", _json_lines()),
    "lines in json": ("a.json", _json_lines()),
    "list": ("a.json", json.dumps(RECORDS, ensure_ascii=False, indent=1).encode()),
    "list on a line": ("a.json", json.dumps(RECORDS).encode()),
    "data": ("a.json", json.dumps({"n": [1], "data": RECORDS, "x": {"y": 2}}, indent=1).encode()),
    "csv": ("a.csv", b"\xef\xbb\xbf" + _separated(",")),
    "tsv": ("a.tsv", _separated("\t")),
    "gzip": ("a.jsonl.gz", gzip.compress(_json_lines(), mtime=0)),
    "gzip of a list": ("a.json.gz", gzip.compress(json.dumps(RECORDS, indent=1).encode(), mtime=0)),
    "zstd": ("a.jsonl.zst", _zstandard(_json_lines())),
    "zstd of csv": ("a.csv.zst", _zstandard(_separated(","))),
    "parquet": ("a.parquet", _parquet()),
    "plain parquet": ("a.parquet", _parquet(use_dictionary=False, compression="none")),
    "arrow": ("a.arrow", _arrow(pa.ipc.new_file)),
    "arrow stream": ("a.arrow", _arrow(pa.ipc.new_stream)),
    "gzip of parquet": ("a.parquet.gz", gzip.compress(_parquet(), mtime=0)),
    "zstd of an arrow stream": ("a.arrow.zst", _zstandard(_arrow(pa.ipc.new_stream))),
    "documents": (
        "a.jsonl",
        b"\n".join(json.dumps({"text": row["input"], "n": row["target"]}).encode() for row in RECORDS),
    ),
    "lines of a text": ("a.txt", b"\r\n\n".join(row["input"].encode() for row in RECORDS)),
}
SETTINGS = {"documents": ["mode=cpt"], "lines of a text": ["mode=cpt", "data.format=lines"]}
"""Beside the defaults."""

NASTY = (
    b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", "\u2028".encode(), b"\x1f\x8b", b"\\ud800",
    b"\\", b'"', b"'", b",", b"\t", b"{", b"}", b"[", b"]", b":", b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"0", b"-",
    b"9" * 5000, b"[" * 5000, b'{"a":' * 5000, b'"data": [', b'"input": 1, ', b'"input": "x", "input": "y", ', b" " * 70_000,
    b"x" * 70_000, b'{"input": "q", "target": ""}\n', b'{"messages": []}\n', b"\x1b[2J", b"#", b"//",
)  # fmt: skip


def spoiled(content: bytes, random: random.Random) -> bytes:
    """``content`` after one to three accidents."""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        at, to = sorted(random.randrange(len(content) + 1) for _ in "ab")
        to = min(to, at + random.choice([1, 4, 50, 10_000]))
        match random.randrange(7):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + content[to:]
            case 2:
                content = content[:to] + content[at:to] * random.choice([1, 1, 3]) + content[to:]
            case 3 if at < len(content):
                content = content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
            case 4:
                content = content[:at] + random.randbytes(to - at) + content[to:]
            case 5:
                content = content[to:] + content[:to]
            case _:
                content = content[:at] + random.choice(NASTY) + content[at:]
    return content


def spoil(kind: str, random: random.Random) -> tuple[str, bytes]:
    """A file's name and content. Half of the packed files are spoiled before they are packed."""
    name, content = VALID[kind]
    packing = Path(name).suffix
    if packing in (".gz", ".zst") and random.random() < 0.5:
        plain = (
            gzip.decompress(content)
            if packing == ".gz"
            else pa.input_stream(pa.BufferReader(content), compression="zstd").read()
        )
        return name, (gzip.compress if packing == ".gz" else _zstandard)(spoiled(plain, random))
    return name, spoiled(content, random)


def try_out(name: str, content: bytes, settings: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Prepare the file both ways; what became of it."""
    Path(name).write_bytes(content)
    words = ["prepare", *settings, f"data.raw_path={name}", "data.train_path=out/train.jsonl"]
    words += ["data.val_path=out/val.jsonl", "data.test_path=out/test.jsonl"]
    for policy in ("error", "drop"):
        code = main([*words, f"on_bad_row={policy}"])
        out, err = capsys.readouterr()
        assert code in (0, 2), err
        assert "Traceback" not in err
        assert "bug in weft" not in err
        if code == 2:
            assert out == ""
            # A row is named by its line or its number; what a file is as a whole, by the file's name.
            assert re.match(rf"weft: {re.escape(name)}(:\d+)?( \(record \d+\))?: \S", err), err
            assert "\n  fix: " in err
    if code == 2:
        return "refused"
    report = json.loads(Path("out/prepare_report.json").read_text())
    kept = sum(split["records"] for split in report["splits"].values())
    rejected = sum(report["rejected"].values())
    assert report["records"] == kept + rejected + len(report["duplicates"])
    assert report["kept"] == kept == sum(_count(Path("out", f"{split}.jsonl")) for split in report["splits"])
    rejects = Path("out/rejects.jsonl")
    left_out = rejected + len(report["duplicates"])
    assert left_out == (_count(rejects) if rejects.exists() else 0)
    if left_out:
        for row in map(json.loads, rejects.read_bytes().splitlines()):
            assert re.fullmatch(rf"{re.escape(name)}(:\d+)?( \(record \d+\))?", row["location"])
            assert row["location"] != name
            assert row["reason"]
    return "some rejected" if rejected else "all kept"


def _count(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def campaign(
    kind: str,
    cases: int,
    seed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    generator = random.Random(zlib.crc32(f"{kind} {seed}".encode()))
    settings = SETTINGS.get(kind, [])
    outcomes = {try_out(*VALID[kind], settings, capsys)}
    assert outcomes == {"all kept"}, "the file is sound before it is spoiled"
    for case in range(cases):
        name, content = spoil(kind, generator)
        try:
            outcomes.add(try_out(name, content, settings, capsys))
        except BaseException:
            print(f"case {case} of {kind!r}, in {tmp_path / name}")
            raise
    assert outcomes > {"all kept"}
    assert "refused" in outcomes or kind == "lines of a text"  # of which some is almost always left


@pytest.mark.parametrize("kind", VALID)
def test_a_sample_of_spoiled_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign(kind, 20, "sample", tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("kind", VALID)
def test_the_campaign_of_spoiled_files(
    kind: str, part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign(kind, 90, f"part {part}", tmp_path, monkeypatch, capsys)

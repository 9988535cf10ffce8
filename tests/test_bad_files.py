"""Records, files and paths that nobody can use: one message with place and fix, exit code 2, and nothing is lost."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from refusing import GOOD, RAW, RECORD, TRAIN, VAL, write
from weft.cli import main

BAD_ROWS = {
    "{broken": "broken JSON",
    RECORD[:30]: "broken JSON",
    "[1, 2]": "must be an object",
    '"text"': "must be an object",
    "null": "must be an object",
    "[" * 50_000: "nested too deeply",
    '{"input": NaN, "target": "a"}': "not finite",
    '{"input": "\\ud800", "target": "a"}': "surrogate",
    "{}": "no known format",
    '{"text_in": "a"}': "no known format",
    '{"\\u001b[2J": "a"}': "'\\x1b[2J'",
    '{"messages": []}': "there are no messages",
    '{"messages": "hi"}': "messages",
    '{"messages": [{"role": "user", "content": "a"}]}': "no assistant message",
    '{"messages": [{"role": "robot", "content": "a"}]}': "unknown role",
    '{"messages": [{"role": "user", "content": 5}, {"role": "assistant", "content": "a"}]}': "must be text",
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}': "message is empty",
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " \\n"}]}': "message is empty",
    '{"input": "a", "target": ""}': "message is empty",
    '{"instruction": "a", "output": ""}': "message is empty",
}


@pytest.mark.parametrize(("row", "said"), BAD_ROWS.items())
@pytest.mark.parametrize("line", [1, 3, 5])
def test_a_row_that_cannot_be_used(refused: Callable[..., str], row: str, said: str, line: int) -> None:
    rows = GOOD.splitlines()
    rows.insert(line - 1, row)
    write(TRAIN, "\n".join(rows))
    message = refused("check", "c.yaml")
    assert f"{TRAIN}:{line}: " in message
    assert said in message
    shutil.rmtree("data/processed")
    write(RAW, "\n".join(rows))
    assert f"{RAW}:{line}: " in refused("prepare", "c.yaml")
    assert main(["prepare", "c.yaml", "on_bad_row=drop"]) == 0
    (reject,) = map(json.loads, Path("data/processed/rejects.jsonl").read_text().splitlines())
    assert reject["location"] == f"{RAW}:{line}"


BAD_FILES: dict[str, tuple[bytes, str, str]] = {
    "ragged.csv": (b"input,target\na,b\nc\n", ":3", "the row does not fit the header: it has 1 values, the header 2"),
    "wide.tsv": (b"input\ttarget\na\tb\nc\td\te\n", ":3", "the row does not fit the header: it has 3 values"),
    "nul.csv": (b"input,target\na,b\nc,d\0\n", ":3", "the text holds a NUL byte"),
    "nul.jsonl": (GOOD.encode() + b"\0" * 100 + b"\n", ":5", "broken JSON"),
    "latin.csv": (b"input,target\na,b\ncaf\xe9,d\n", ":3", "the text is not valid UTF-8: byte 4 of the line is 0xe9"),
    "surrogate.json": (
        b'[{"input": "a", "target": "b"},\n{"input": "\\ud800", "target": "a"}]',
        ":2 (record 2)",
        "surrogate",
    ),
    "cut.json": (b'[{"input": "a", "target": "b"},\n{"input": "a", "tar', ":2 (record 2)", "broken JSON; the rest"),
    "cut.jsonl.gz": (gzip.compress(GOOD.encode(), mtime=0)[:-9], "", "gzip: it ends early"),
    "empty.jsonl.gz": (b"", "", "gzip: the file is empty"),
    "empty.parquet": (b"", "", "the file is damaged, or no parquet file"),
    "notes.txt": (b"A document.", ":1", "document"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_of_any_kind_that_cannot_be_used(refused: Callable[..., str], name: str) -> None:
    content, place, said = BAD_FILES[name]
    write(name, content)
    Path(TRAIN).unlink()
    Path(VAL).unlink()
    for command, key in (("check", "train_path"), ("prepare", "raw_path")):
        message = refused(command, "c.yaml", f"data.{key}={name}")
        assert message.startswith(f"weft: {name}{place}: ")
        assert said in message


def test_a_table_with_numbers_in_place_of_text(refused: Callable[..., str]) -> None:
    """Where no quotes can be put."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"input": "2 + 2?", "target": 4}]), "a.parquet")
    assert refused("check", "c.yaml", "data.train_path=a.parquet").startswith(
        'weft: a.parquet (record 1): the field "target" must be text: found a number\n'
        "  fix: put quotes around it; in a table (Parquet, Arrow), store it as text\n"
    )


def test_a_table_with_nulls(refused: Callable[..., str]) -> None:
    rows = [{"input": "a", "target": "b"}, {"input": None, "target": "c"}, {"input": "d", "target": "e"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "a.parquet")
    message = refused("check", "c.yaml", "data.train_path=a.parquet")
    assert message.startswith("weft: a.parquet (record 2): a user message is empty")
    shutil.rmtree("data/processed")
    assert main(["prepare", "c.yaml", "data.raw_path=a.parquet", "on_bad_row=drop"]) == 0
    (reject,) = map(json.loads, Path("data/processed/rejects.jsonl").read_text().splitlines())
    assert (reject["location"], json.loads(reject["raw"])) == ("a.parquet (record 2)", rows[1])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no records"),
        ("\n \n", "holds no records"),
        (b"\xef\xbb\xbf", "holds no records"),
        (GOOD.encode() + b'{"input": "caf\xe9", "target": "a"}\n', ":5: the text is not valid UTF-8"),
        (GOOD.encode("utf-16"), "is UTF-16"),
        (b"\x1f\x8b\x08" + b"\0" * 50, "is packed by gzip"),
        ("input,target\na,b\n", "broken JSON"),
    ],
)
@pytest.mark.parametrize(("command", "path"), [("check", TRAIN), ("check", VAL), ("show", TRAIN), ("eval", VAL)])
def test_files_of_records(
    refused: Callable[..., str], content: str | bytes, said: str, command: str, path: str
) -> None:
    write(path, content)
    message = refused(command, "c.yaml")
    assert message.startswith(f"weft: {path}")
    assert said in message


@pytest.mark.parametrize(("command", "path"), [("check", TRAIN), ("render", TRAIN), ("show", TRAIN), ("eval", VAL)])
def test_missing_files_of_records(refused: Callable[..., str], command: str, path: str) -> None:
    Path(path).unlink()
    message = refused(command, "c.yaml")
    assert message.startswith(f"weft: {path}: there is no such file")
    assert "weft prepare" in message


def test_names_of_files_that_are_not_utf8(refused: Callable[..., str]) -> None:
    shutil.rmtree("data/processed")
    write(RAW, GOOD)
    try:
        Path(os.fsdecode(b"data/raw/caf\xe9.jsonl")).write_text(GOOD)
    except OSError:
        pytest.skip("this file system has no such names")
    assert "the file's name is not valid UTF-8" in refused("prepare", "c.yaml")


@pytest.mark.parametrize("setting", ["train.load_best_model_at_end=true", "train.early_stopping_patience=2"])
def test_a_missing_validation_set_that_training_needs(refused: Callable[..., str], setting: str) -> None:
    Path(VAL).unlink()
    message = refused("check", "c.yaml", setting)
    assert f"the validation set {VAL} is missing; it is needed for {setting.partition('=')[0]}" in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "c.yaml", "--rejects", "null.jsonl"], "null.jsonl: the file exists and was not written by weft"),
        (["check", "c.yaml", "--rejects", "pipe.jsonl"], "pipe.jsonl: the file exists and was not written by weft"),
        (["infer", "c.yaml", "--prompt", "a", "--output", "null.jsonl"], "null.jsonl: this is no file"),
        (["infer", "c.yaml", "--prompt", "a", "--output", "pipe.jsonl"], "pipe.jsonl: this is no file"),
        (["prepare", "c.yaml", "data.train_path=null.jsonl"], "null.jsonl: the file exists and was not written by"),
        (["prepare", "c.yaml", "data.train_path=pipe.jsonl"], "pipe.jsonl: the file exists and was not written by"),
    ],
)
def test_devices_and_pipes_are_neither_read_to_their_end_nor_replaced(
    refused: Callable[..., str], words: list[str], said: str
) -> None:
    write(RAW, GOOD)
    Path("null.jsonl").symlink_to(os.devnull)
    os.mkfifo("pipe.jsonl")
    assert refused(*words).startswith(f"weft: {said}")
    assert Path("null.jsonl").is_char_device()
    assert Path("pipe.jsonl").is_fifo()


def test_every_example_is_too_long(refused: Callable[..., str]) -> None:
    message = refused("check", "c.yaml", "model.max_seq_len=8")
    assert "every example is longer than model.max_seq_len, 8 tokens" in message


@pytest.mark.parametrize("name", ["train.jsonl", "val.jsonl", "rejects.jsonl", "prepare_report.json"])
def test_preparing_replaces_nothing_of_others(refused: Callable[..., str], name: str) -> None:
    write(RAW, GOOD)
    for path in Path("data/processed").iterdir():
        path.unlink()
    write(f"data/processed/{name}", "my own notes\n")
    assert f"data/processed/{name}: the file exists and was not written by `weft prepare`" in refused(
        "prepare", "c.yaml"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.raw_path=nope"], "nope: there is no such file or directory"),
        (["data.raw_path=loop"], "loop: the link leads nowhere"),
        (["data.raw_path=empty"], "empty: the directory holds no"),
        (["data.raw_path=c.yaml"], "c.yaml: files that end in '.yaml' cannot be read"),
        (["data.train_path=data/raw/train.jsonl"], "would lie among the raw records"),
        (["data.train_path=out/train.csv"], "prepared files are .jsonl files"),
        (["data.train_path=c.yaml/train.jsonl"], "c.yaml/train.jsonl: the file cannot be written"),
        (["data.val_path=data/processed/train.jsonl"], "must be different files"),
    ],
)
def test_paths_of_preparing(refused: Callable[..., str], words: list[str], said: str) -> None:
    write(RAW, GOOD)
    shutil.rmtree("data/processed")
    Path("empty").mkdir()
    Path("loop").symlink_to("loop")
    assert said in refused("prepare", "c.yaml", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no style to apply"),
        (["--style", ""], "the style is empty"),
        (["--style", " \n"], "the style is empty"),
        (["--style", "Be kind", "data.style=Be rude"], "not the style that is configured"),
        (["--style", "Be kind", "data.train_path=nope.jsonl", "data.val_path=no.jsonl"], "no prepared files yet"),
    ],
)
def test_styles(refused: Callable[..., str], words: list[str], said: str) -> None:
    assert said in refused("style", "c.yaml", *words)


def test_an_edited_file_keeps_its_edits(refused: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["style", "c.yaml", "--style", "Be kind"]) == 0
    capsys.readouterr()
    write(TRAIN, Path(TRAIN).read_text().replace("Hello", "Goodbye"))
    for words in (["--undo"], ["--style", "Be brief"]):
        assert f"{TRAIN}: the file was changed after its style was applied" in refused("style", "c.yaml", *words)


def test_a_list_that_breaks_behind_a_record_leaves_that_record_alone(
    sound_project: None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"input": f"question {number}", "target": "a"} for number in range(3)]
    write("a.json", json.dumps(rows)[:-1])
    assert main(["check", "c.yaml", "data.train_path=a.json", "on_bad_row=drop", "--rejects", "left_out.jsonl"]) == 0
    (reject,) = map(json.loads, Path("left_out.jsonl").read_text().splitlines())
    assert (reject["location"], reject["raw"]) == ("a.json:1 (record 4)", "")


def _stream(rows: int) -> bytes:
    """An Arrow stream of as many batches as rows."""
    table = pyarrow.table({"input": [f"question {row}" for row in range(rows)], "target": ["a"] * rows})
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content[: content.rfind(b"\xff\xff\xff\xff")], "it ends early"),
        (lambda content: content[: content.rfind(b"\xff\xff\xff\xff", 0, -8)], "it ends early"),
        (lambda content: content + content, "bytes follow the end of the stream"),
    ],
)
def test_a_stream_of_batches_that_is_not_whole(
    refused: Callable[..., str], spoil: Callable[[bytes], bytes], said: str
) -> None:
    shutil.rmtree("data/processed")
    write("a.arrow", spoil(_stream(4)))
    for policy in ("error", "drop"):
        message = refused("prepare", "c.yaml", "data.raw_path=a.arrow", f"on_bad_row={policy}")
        assert message.startswith("weft: a.arrow")
        assert said in message


@pytest.mark.parametrize(("levels", "kept"), [(98, True), (99, False)])
def test_preparing_writes_only_what_can_be_read_again(
    sound_project: None, capsys: pytest.CaptureFixture[str], levels: int, kept: bool
) -> None:
    shutil.rmtree("data/processed")
    write(RAW, GOOD + RECORD[:-1] + ', "notes": ' + "[" * levels + "]" * levels + "}\n")
    assert main(["prepare", "c.yaml", "on_bad_row=drop"]) == 0
    rejects = Path("data/processed/rejects.jsonl")
    assert rejects.exists() is not kept
    if not kept:
        assert "nested too deeply" in rejects.read_text()
    for path in Path("data/processed").glob("*.jsonl"):
        if path != rejects:
            assert main(["check", "c.yaml", f"data.train_path={path}"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        ("5", "put quotes around it; in a table (Parquet, Arrow), store it as text\n"),
        ("[1]", "make one text of it"),
        ("{}", "make one text of it"),
    ],
)
def test_quotes_are_advised_only_where_they_help(refused: Callable[..., str], value: str, fix: str) -> None:
    write(TRAIN, f'{{"input": {value}, "target": "a"}}\n')
    assert f"fix: {fix}" in refused("check", "c.yaml")

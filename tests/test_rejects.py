"""The files that list what is left out: of training in its run directory, of `weft check` where it is asked to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from weft.cli import main
from weft.config.load import load_config
from weft.data.conversations import read_conversations
from weft.data.rejects import rejected_rows
from weft.data.store import SourceFile
from weft.types import Location


def qa(question: str, answer: str) -> str:
    return json.dumps({"prompt": question, "response": answer})


ROWS = [
    qa("a?", "A"),
    "{broken",
    qa("b?", ""),
    qa("long?", "word " * 200),
    json.dumps({"messages": [{"role": "wizard", "content": "x"}]}),
    qa("c?", "C"),
    json.dumps({"messages": [{"role": "user", "content": "x\ud800"}, {"role": "assistant", "content": "y"}]}),
]


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("train.jsonl").write_text("\n".join(ROWS) + "\n")
    Path("val.jsonl").write_text(qa("d?", "D") + "\n[]\n")
    Path("c.yaml").write_text(
        f"model: {{name: {tiny_model_dir}, max_seq_len: 128}}\n"
        "data: {train_path: train.jsonl, val_path: val.jsonl, test_path: none.jsonl, cache_dir: cache}\n"
        "on_bad_row: drop\ntrain: {max_steps: 1, output_dir: run}\n"
    )
    return tmp_path


def listed(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_training_and_check_list_the_same_records(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "c.yaml", "--rejects", "out.jsonl", "--json"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert "out.jsonl lists 6 records that are left out" in said.err
    rows = listed("out.jsonl")
    assert [(row["set"], row["location"]) for row in rows] == [
        ("train", "train.jsonl:2"),
        ("train", "train.jsonl:3"),
        ("train", "train.jsonl:4"),
        ("train", "train.jsonl:5"),
        ("train", "train.jsonl:7"),
        ("val", "val.jsonl:2"),
    ]
    for row, index in zip(rows, (1, 2, 3, 4, 6), strict=False):
        if row["location"] not in ("train.jsonl:2", "train.jsonl:7"):
            assert json.loads(row["raw"]) == json.loads(ROWS[index])
    assert rows[0]["raw"] == "{broken"
    assert rows[2]["reason"] == "longer than model.max_seq_len, 128 tokens"
    assert "wizard" in rows[3]["detail"]
    by_reason = {name: len(places) for one in report["sets"] for name, places in one["dropped"].items()}
    assert sum(by_reason.values()) == len(rows)
    assert {row["reason"] for row in rows} == set(by_reason)
    assert main(["train", "c.yaml"]) == 0
    assert "run/rejects.jsonl lists what is left out, record by record: 6" in capsys.readouterr().out
    assert listed("run/rejects.jsonl") == rows


def test_what_is_read_and_what_is_listed_is_everything(project: Path) -> None:
    found = read_conversations("train.jsonl", on_bad_row="drop")
    places = {row.location for row in found.bad_rows}
    rows = list(rejected_rows([SourceFile(path="train.jsonl", name="x")], {"any": places}))
    assert len(rows) + len(found.conversations) == len(ROWS)
    assert {row.location for row in rows} == places


def test_without_rejects_there_is_no_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "c.yaml", "--rejects", "out.jsonl"]) == 0
    assert Path("out.jsonl").exists()
    Path("train.jsonl").write_text(ROWS[0])
    Path("val.jsonl").write_text(ROWS[5])
    assert main(["check", "c.yaml", "--rejects", "out.jsonl"]) == 0
    assert not Path("out.jsonl").exists(), "what an earlier call wrote is no longer true"
    assert "nothing is left out, so there is no out.jsonl" in capsys.readouterr().err
    assert main(["train", "c.yaml"]) == 0
    assert not Path("run/rejects.jsonl").exists()


def test_a_list_that_is_still_true_is_not_made_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a resumed run would read all of its files for it once more."""
    words = ["check", "c.yaml", "--rejects", "out.jsonl"]
    assert main(words) == 0
    true = Path("out.jsonl").read_bytes()

    def read(*_: object) -> None:
        raise AssertionError("the files are read again")

    with monkeypatch.context() as patched:
        patched.setattr("weft.data.reread.read_part", read)
        assert main(words) == 0
    for other in (
        true.replace(b"{broken", b"{BROKEN"),
        true + true.splitlines(keepends=True)[0],
        true[:-20],
        true.replace(b"train.jsonl:2", b"train.jsonl:1"),
    ):
        Path("out.jsonl").write_bytes(other)
        assert main(words) == 0
        assert Path("out.jsonl").read_bytes() == true


@pytest.mark.parametrize("how", ["file", "directory", "link"])
def test_a_list_is_made_again_where_another_file_was_put_whatever_its_date(project: Path, how: str) -> None:
    """With the same places and reasons: what it says of the records would be of the old ones."""
    words = ["check", "c.yaml", "--rejects", "out.jsonl", "data.train_path=now/train.jsonl"]
    for name, broken in (("one", "{broken"), ("two", "{BROKEN")):
        Path(name).mkdir()
        Path(name, "train.jsonl").write_text("\n".join(ROWS).replace("{broken", broken))
        os.utime(Path(name, "train.jsonl"), (1, 1))
    if how == "link":
        Path("now").symlink_to("one")
    else:
        Path("one").rename("now")
    assert main(words) == 0
    assert listed("out.jsonl")[0]["raw"] == "{broken"
    if how == "file":
        Path("two/train.jsonl").replace("now/train.jsonl")
    elif how == "directory":
        Path("now").rename("one")
        Path("two").rename("now")
    else:
        Path("now").unlink()
        Path("now").symlink_to("two")
    assert main(words) == 0
    assert listed("out.jsonl")[0]["raw"] == "{BROKEN"


@pytest.mark.parametrize("name", ["train.jsonl", "c.yaml", "cache", "."])
def test_what_weft_did_not_write_is_not_overwritten(
    project: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cache").mkdir()
    before = Path(name).read_bytes() if Path(name).is_file() else b""
    assert main(["check", "c.yaml", "--rejects", name]) == 2
    error = capsys.readouterr().err
    assert f"{name}: the file exists and was not written by weft\n  fix: " in error
    assert "Traceback" not in error
    assert before == (Path(name).read_bytes() if Path(name).is_file() else b"")


def test_records_of_several_sets_samples_and_lists_are_found(project: Path) -> None:
    Path("list.json").write_text(json.dumps([{"prompt": "p", "response": "r"}, {"prompt": "q"}, 7]))
    Path("many.jsonl").write_text("\n".join([qa(f"{n}?", "x" * (n % 2)) for n in range(40)]))
    sets = "datasets=[{path: list.json}, {path: 'many.jsonl#20', name: many}]"
    assert main(["check", "c.yaml", sets, "--rejects", "out.jsonl"]) == 0
    rows = [row for row in listed("out.jsonl") if row["set"] == "train"]
    assert [row["location"] for row in rows[:2]] == ["list.json:1 (record 2)", "list.json:1 (record 3)"]
    assert [row["raw"] for row in rows[:2]] == ['{"prompt": "q"}', "7"]
    config = load_config("c.yaml", [sets]).config
    sampled = read_conversations("many.jsonl#20", on_bad_row="drop", seed=config.seed)
    assert [row["location"] for row in rows[2:]] == [str(row.location) for row in sampled.bad_rows]
    assert 0 < len(sampled.bad_rows) < 20


def test_lines_of_a_text_are_listed_by_their_lines(project: Path) -> None:
    Path("t.txt").write_bytes(b"one\n\nt\xffwo\nthree\nfo\0ur\n")
    words = ["mode=cpt", "data.format=lines", "data.train_path=t.txt", "data.val_path=none", "data.test_path=none"]
    assert main(["check", "c.yaml", *words, "--rejects", "left.jsonl"]) == 0
    assert [(row["location"], row["reason"]) for row in listed("left.jsonl")] == [
        ("t.txt:3", "the text is not valid UTF-8"),
        ("t.txt:5", "the text holds a NUL byte"),
    ]


def test_a_place_with_two_reasons_is_listed_twice(project: Path) -> None:
    place = Location(path="train.jsonl", line=1)
    rows = list(rejected_rows([SourceFile(path="train.jsonl", name="x")], {"one": [place, place], "two": [place]}))
    assert [(row.location, row.reason) for row in rows] == [(place, "one"), (place, "two")]


def test_a_full_disk_is_an_error_for_people(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check", "c.yaml", "--rejects", "c.yaml/out.jsonl"]) == 2
    assert "c.yaml/out.jsonl: the file cannot be written: " in capsys.readouterr().err

"""`weft datasets get`: local copies in the schemas that the hub has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from weft.cli import main
from weft.commands import datasets
from weft.data.well_known import WELL_KNOWN

DOLLY = [
    {"instruction": "When?", "context": "It began in 2000.", "response": "In 2000.", "category": "closed_qa"},
    {"instruction": "Why?", "context": "", "response": "Because.", "category": "open_qa"},
]
ALPACA = [
    {"instruction": "Add.", "input": "1, 2", "output": "3", "text": "Below is an instruction …"},
    {"instruction": "Greet.", "input": "", "output": "Hello!", "text": "Below is an instruction …"},
    {"instruction": "Nothing.", "input": "", "output": "", "text": "Below is an instruction …"},
]


def node(name: str, parent: str | None, role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"message_id": name, "parent_id": parent, "role": role, "text": text, "lang": "en", "deleted": False, **more}


OASST = [
    node("a", None, "prompter", "Hi?", rank=None),
    node("b", "a", "assistant", "Worse.", rank=1),
    node("c", "a", "assistant", "Better.", rank=0),
    node("d", "c", "prompter", "And?", rank=0),
    node("e", "d", "assistant", "More.", rank=0),
    node("f", None, "prompter", "¿Qué?", lang="es"),
    node("g", "f", "assistant", "Nada.", lang="es"),
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Called as the hub calls them: a file, a folder, and JSON."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "copies"
    write(folder / "databricks-dolly-15k.jsonl", DOLLY)
    write(folder / "oasst1/messages.jsonl", OASST)
    (folder / "alpaca_data.json").write_text(json.dumps(ALPACA))
    return folder


def test_all_of_them(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "get", "all", "--source", str(copies), "--out", "sft"]) == 0
    assert rows(Path("sft/dolly15k.jsonl")) == [
        {"prompt": "When?\n\nIt began in 2000.", "response": "In 2000."},
        {"prompt": "Why?", "response": "Because."},
    ]
    assert rows(Path("sft/oasst1_en.jsonl")) == [{"prompt": "Hi?", "response": "Better."}]
    assert rows(Path("sft/alpaca.jsonl")) == [
        {"prompt": "Add.\n1, 2", "response": "3"},
        {"prompt": "Greet.", "response": "Hello!"},
    ]
    out = capsys.readouterr().out
    assert "wrote sft/oasst1_en.jsonl: 1 records of" in out
    assert "left out: 1 answers after the first of their conversation" in out
    assert "left out: 2 × of another language than data.oasst_lang" in out
    assert "left out: 1 × an assistant message is empty" in out


def test_again_gives_the_same_bytes_and_training_reads_them(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["datasets", "get", "all", "--source", str(copies), "--out", "sft", "--json"]
    assert main(words) == 0
    before = {path.name: path.read_bytes() for path in Path("sft").iterdir()}
    first = capsys.readouterr().out
    assert main(words) == 0
    assert capsys.readouterr().out == first
    assert {path.name: path.read_bytes() for path in Path("sft").iterdir()} == before
    assert [entry["records"] for entry in json.loads(first)["datasets"]] == [2, 1, 2]
    assert main(["prepare", "data.raw_path=sft", "data.train_path=t.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["formats"] == {"prompt": 5}


def test_clones_of_the_hubs_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card, the records in data/, and beside them the messages in other files."""
    monkeypatch.chdir(tmp_path)
    write(Path("clones/databricks-dolly-15k/databricks-dolly-15k.jsonl"), DOLLY)
    write(Path("clones/alpaca/data/train.jsonl"), ALPACA)
    write(Path("clones/oasst1/data/train.jsonl"), OASST[:5])
    write(
        Path("clones/oasst1/data/validation.jsonl"),
        [node("v", None, "prompter", "V?"), node("w", "v", "assistant", "W.")],
    )
    write(Path("clones/oasst1/all.messages.jsonl"), OASST)
    for folder in Path("clones").iterdir():
        (folder / "README.md").write_text("---\nlicense: x\n---\n")
    assert main(["datasets", "get", "all", "--source", "clones", "--out", "sft"]) == 0
    assert [len(rows(path)) for path in sorted(Path("sft").iterdir())] == [2, 2, 1]
    assert main(["datasets", "get", "oasst1", "--source", "clones/oasst1", "--out", "one"]) == 0
    assert Path("one/oasst1_en.jsonl").read_bytes() == Path("sft/oasst1_en.jsonl").read_bytes()


def test_the_folder_of_the_records_alone_is_a_copy(copies: Path) -> None:
    """As where nothing but ``data/`` of a repository was fetched."""
    for name in ("train", "validation"):
        write(Path(f"alone/oasst1/data/{name}-00000.jsonl"), OASST)
    write(Path("alone/oasst1/.cache/x.jsonl"), DOLLY)
    assert main(["datasets", "get", "oasst1", "--source", "alone/oasst1", "--out", "sft"]) == 0
    assert main(["datasets", "get", "oasst1", "--source", "alone", "--out", "again"]) == 0
    expected = [{"prompt": "Hi?", "response": "Better."}]
    assert rows(Path("sft/oasst1_en.jsonl")) == rows(Path("again/oasst1_en.jsonl")) == expected


def test_one_from_its_own_file(copies: Path) -> None:
    path = write(Path("mine.jsonl"), [{**DOLLY[0], "system": "Be brief."}])
    assert main(["datasets", "get", "dolly15k", "--source", str(path)]) == 0
    assert rows(Path("data/sft/dolly15k.jsonl")) == [
        {"prompt": "When?\n\nIt began in 2000.", "response": "In 2000.", "system": "Be brief."}
    ]


@pytest.mark.parametrize(
    ("lang", "why"),
    [
        ("es", "of another language than data.oasst_lang, or a reply to such a message"),
        (None, "without a language (lang) for data.oasst_lang to choose by, or a reply to such a message"),
    ],
)
def test_without_english_messages_the_advice_is_for_this_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str | None, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("mine.jsonl"), [{**message, "lang": lang} for message in OASST[:2]])
    assert main(["datasets", "get", "oasst1", "--source", "mine.jsonl"]) == 2
    assert capsys.readouterr().err == (
        f"weft: mine.jsonl: no conversation is left: 2 messages are {why}\n"
        "  fix: give a copy with answers in en (lang) as --source; other records need no `weft datasets get`: name them as "
        "data.raw_path\n"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["alpaca", "--source", "absent.json"], "absent.json: there is no such file or directory"),
        (["all", "--source", "copies/alpaca_data.json"], "there is no copy of dolly15k"),
        (["dolly15k", "--source", "copies/alpaca_data.json"], "the record is not in the format dolly"),
        (["alpaca", "--source", "two"], "several copies of alpaca lie there: alpaca-1.jsonl, alpaca-2.jsonl"),
        (["alpaca", "--source", "copies", "--out", "copies/alpaca_data.json"], "nothing can be written into it"),
        (["alpaca", "--source", "copies", "--out", "taken"], "another file stands in the place of this one"),
    ],
)
def test_what_goes_wrong_is_said_and_writes_nothing(
    copies: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        write(Path(f"two/alpaca-{number}.jsonl"), ALPACA)
    write(Path("taken/alpaca.jsonl"), [{"mine": True}])
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(["datasets", "get", *words]) == 2
    assert says in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_what_is_left_out_is_told_with_its_places(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps(ALPACA[0]), *["{broken"] * 4, json.dumps({"instruction": "a", "output": ""})]
    Path("mine.jsonl").write_text("\n".join(lines))
    assert main(["datasets", "get", "alpaca", "--source", "mine.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "  left out: 4 × broken JSON: mine.jsonl:2, mine.jsonl:3, mine.jsonl:4, …\n" in out
    assert "  left out: 1 × an assistant message is empty: mine.jsonl:6\n" in out
    assert main(["datasets", "get", "alpaca", "--source", "mine.jsonl", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["datasets"]
    assert one["bad_rows"] == {
        "broken JSON": [f"mine.jsonl:{line}" for line in (2, 3, 4, 5)],
        "an assistant message is empty": ["mine.jsonl:6"],
    }


def test_records_of_another_kind_are_told_what_to_do_with_them(
    copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("mine.jsonl"), [{"q": "a"}, {"q": "b"}])
    assert main(["datasets", "get", "alpaca", "--source", "mine.jsonl"]) == 2
    assert capsys.readouterr().err == (
        "weft: mine.jsonl:1: no record of it can be used as tatsu-lab/alpaca; the first one: the record is not in the format "
        "alpaca: expected instruction + output; found the fields 'q'\n"
        "  fix: give a copy of that set in its own fields as --source; other records need no `weft datasets get`: name them as "
        "data.raw_path\n"
    )


def test_the_command_names_what_there_is() -> None:
    assert tuple(WELL_KNOWN) == datasets._NAMES

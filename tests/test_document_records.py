"""What is a document: records with a text, lines of text files, and how documents are prepared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.config.schema import Config
from weft.data.conversations import canonical, read_conversations
from weft.data.formats import RowError, parse_as
from weft.data.reading import Reading
from weft.errors import Problems
from weft.types import Conversation, Document, Location, Record

PLACE = Location(path="docs.jsonl", line=7)
QA = {"question": "Who?", "answer": "You."}
TREE = {"message_id": "1", "parent_id": None, "role": "prompter", "text": "Who?"}


def read(data: Any, **reading: Any) -> Conversation | Document:
    return parse_as(Record(data=data, location=PLACE), Reading(**reading), source="docs").material


@pytest.mark.parametrize("mode", ["cpt", "cpt_mixed"])
@pytest.mark.parametrize("format", ["auto", "text", "lines"])
def test_a_record_with_a_text_is_a_document(mode: Any, format: Any) -> None:
    data = {"text": " A text.\n", "id": 5, "url": "a.example", "tools": "hammer", "meta": {"lang": "en"}}
    meta = {"url": "a.example", "lang": "en", "tools": "hammer"}
    assert read(data, mode=mode, format=format) == Document(
        text=" A text.\n", location=PLACE, id="5", source="docs", meta=meta
    )


def test_what_a_record_with_two_kinds_of_fields_is() -> None:
    both = {"text": "Who? You.", **QA}
    assert isinstance(read(both, mode="sft"), Conversation)
    assert isinstance(
        read(both, mode="cpt_mixed"), Conversation
    )  # as Alpaca's records, which repeat themselves in a text
    assert isinstance(read(both, mode="cpt_mixed", format="text"), Document)
    assert isinstance(read(both, mode="cpt"), Document)
    assert isinstance(read(QA, mode="cpt_mixed"), Conversation)


@pytest.mark.parametrize(
    ("data", "reading", "said"),
    [
        ({"text": "A"}, {}, "(?s)is a document, which mode: sft does not train.*cpt_mixed"),
        ({"text": "A"}, {"mode": "cpt_mixed", "format": "chat"}, "no known format"),
        (
            QA,
            {"mode": "cpt"},
            "of a conversation, and mode: cpt trains documents.*found the fields 'question', 'answer'",
        ),
        (["Who?", {"answer": "You."}], {"mode": "cpt"}, "of a conversation, and mode: cpt"),
        (TREE, {"mode": "cpt"}, "of a conversation, and mode: cpt"),
        (QA, {"mode": "cpt_mixed", "format": "text"}, 'is no document: it has no field "text"'),
        ({"body": "A"}, {"mode": "cpt"}, "is no document: it has no field \"text\"; found the fields 'body'"),
        ({"text": ""}, {"mode": "cpt"}, "the document is empty"),
        ({"text": None}, {"mode": "cpt"}, "the document is empty"),
        ({"text": " \n\t\u3000"}, {"mode": "cpt"}, "the document is empty"),
        ({"text": ["A"]}, {"mode": "cpt"}, '"text" must be text: found a list'),
    ],
)
def test_records_that_are_refused(data: Any, reading: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said) as caught:
        read(data, **reading)
    assert caught.value.where == PLACE
    assert caught.value.fix


def test_each_line_of_a_text_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "wiki.txt"
    path.write_bytes(b"\xef\xbb\xbfOne\r\n\n  \nTwo \xe2\x80\xa8more\n\xff\nNUL\0\nLast")
    found = read_conversations(path, format=Reading(format="lines", mode="cpt"), on_bad_row="drop")
    assert [(one.text, one.location.line) for one in found.conversations] == [  # type: ignore[union-attr]
        ("One", 1),
        ("Two \u2028more", 4),
        ("Last", 7),
    ]
    assert [(row.location.line, row.reason) for row in found.bad_rows] == [
        (5, "the text is not valid UTF-8"),
        (6, "the text holds a NUL byte"),
    ]
    path.write_text("One\nTwo\n")
    (whole,) = read_conversations(path, format=Reading(format="text", mode="cpt"), on_bad_row="error").conversations
    assert isinstance(whole, Document)
    assert whole.text == "One\nTwo\n"


def test_a_prepared_document_reads_back(tmp_path: Path) -> None:
    reading = Reading(mode="cpt_mixed")
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "A\u2028b", "topic": "x"}) + "\n" + json.dumps({"text": "C", "id": "c"}))
    first = read_conversations(path, format=reading, on_bad_row="error").conversations
    path.write_text("".join(json.dumps(canonical(one)) + "\n" for one in first))
    assert read_conversations(path, format=reading, on_bad_row="error").conversations == first


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[dict[str, Any]]]]:
    from weft.data.prepare import prepare

    monkeypatch.chdir(tmp_path)

    def run(*rows: Any, **config: Any) -> dict[str, list[dict[str, Any]]]:
        Path("raw").mkdir(exist_ok=True)
        Path("raw/docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        report = prepare(Config(**config))
        splits = {name: Path(split.path).read_text().splitlines() for name, split in report.splits.items()}
        return {name: [json.loads(line) for line in lines] for name, lines in splits.items()}

    return run


def test_documents_are_prepared(prepared: Callable[..., dict[str, list[dict[str, Any]]]]) -> None:
    rows = [{"text": f"Document {number}.", "topic": number} for number in range(20)]
    data = {"raw_path": "raw", "style": "Be brief."}
    splits = prepared(*rows, rows[3], {"text": " "}, QA, mode="cpt_mixed", on_bad_row="drop", data=data)
    assert sum(map(len, splits.values())) == 21
    every = [row for split in splits.values() for row in split]
    documents = [row for row in every if "text" in row]
    assert sorted(row["text"] for row in documents) == sorted(row["text"] for row in rows)
    assert all(row.keys() == {"id", "source", "text", "meta"} for row in documents)
    assert documents[0]["meta"] == {"topic": int(documents[0]["text"].split()[1][:-1])}
    report = json.loads(Path("data/processed/prepare_report.json").read_text())
    assert (report["records"], report["kept"], len(report["duplicates"])) == (23, 21, 1)
    assert report["rejected"] == {"the document is empty": 1}
    assert "documents have no system message, so they are not changed" in report["notes"]
    again = prepared(*rows, rows[3], {"text": " "}, QA, mode="cpt_mixed", on_bad_row="drop", data=data)
    assert again == splits


def test_documents_are_cleaned_like_conversations(
    prepared: Callable[..., dict[str, list[dict[str, Any]]]],
) -> None:
    long = " ".join(f"word{number}" for number in range(60))
    rows = [{"text": f" {long}\r\nend "}, {"text": f"{long}\nend"}, {"text": f"{long}\nend!"}, {"text": "\u200b"}, QA]
    Path("bench.jsonl").write_text(
        json.dumps({"question": "word1 word2 word3 word4 word5 word6 word7 word8 word9 word10 word11?"})
    )
    data = {"raw_path": "raw", "near_duplicates": 0.9, "benchmarks": "bench.jsonl", "filter": {"min_response": 2}}
    data["normalise"] = {"zero_width": True}
    splits = prepared(*rows, mode="cpt_mixed", on_bad_row="drop", data=data)
    kept = [row for split in splits.values() for row in split]
    assert [row["text"] for row in kept if "text" in row] == [f"{long}\nend"]
    report = json.loads(Path("data/processed/prepare_report.json").read_text())
    assert (len(report["duplicates"]), report["near_duplicates"]["records"]) == (1, 1)
    assert report["rejected"]["the document is empty"] == 1
    in_training = any("text" in row for row in splits["train"])
    assert [one["quoted"] for one in report["leaks"] if one["name"] == "bench.jsonl"] == [int(in_training)]


def test_documents_are_not_prepared_for_sft(prepared: Callable[..., dict[str, list[dict[str, Any]]]]) -> None:
    with pytest.raises(Problems, match="set mode: cpt to train documents"):
        prepared({"text": "A"}, QA, data={"raw_path": "raw"})

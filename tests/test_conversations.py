"""Files to conversations: every record is accounted for, and bad rows are reported or dropped as asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.data.conversations import canonical, content_digest, read_conversations
from weft.data.reading import Reading
from weft.errors import DataError, Problems
from weft.types import Message

GOOD = {"user": "Hi?", "assistant": "Hello."}
EMPTY = {"user": "Hi?", "assistant": ""}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_files_formats_and_sources_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", GOOD, {"input": "a", "target": "b"}, {**GOOD, "source": "book"})
    (tmp_path / "a.csv").write_text("question,answer\nq,a\n")
    (tmp_path / "notes.md").write_text("x")
    found = read_conversations(tmp_path, on_bad_row="error")
    assert [each.source for each in found.conversations] == ["a", "b", "b", "book"]
    assert found.formats == {"qa": 2, "chat": 2}
    assert found.files == {str(tmp_path / "a.csv"): 1, str(tmp_path / "b.jsonl"): 3}
    assert found.skipped == (tmp_path / "notes.md",)
    assert found.bad_rows == ()
    named = read_conversations(tmp_path / "a.csv", on_bad_row="error", source="quiz")
    assert named.conversations[0].source == "quiz"


def test_the_system_prompt_is_for_those_without_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, {"system": "Own.", **GOOD})
    found = read_conversations(path, on_bad_row="error", system_prompt="Default.")
    assert [each.messages[0].content for each in found.conversations] == ["Default.", "Own."]
    assert [len(each.messages) for each in found.conversations] == [3, 3]


def test_bad_rows_are_reported_together_with_place_reason_and_fix(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, EMPTY, "{oops", GOOD, '{"a"')
    with pytest.raises(Problems) as error:
        read_conversations(path, on_bad_row="error")
    text = str(error.value)
    assert f"{path}:2: an assistant message is empty: message 2" in text
    assert f"{path}:3: broken JSON: column 2: " in text
    assert f"{path}:5: broken JSON: column 5: " in text
    assert text.count("every line holds one whole record") == 1, "a fix that repeats is said once"
    assert f"{path}: 3 of 5 records cannot be used\n  fix: mend them, or leave them out with on_bad_row=drop" in text


def test_at_most_twenty_bad_rows_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, *[EMPTY] * 25)
    with pytest.raises(Problems) as error:
        read_conversations(path, on_bad_row="error")
    assert len(error.value.problems) == 21
    assert "25 of 26 records cannot be used (5 more than are shown)" in str(error.value)


def test_dropped_rows_are_returned_with_what_they_held(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "{oops", GOOD, EMPTY)
    found = read_conversations(path, on_bad_row="drop")
    assert len(found.conversations) == 1
    assert [(row.location.line, row.reason) for row in found.bad_rows] == [
        (1, "broken JSON"),
        (3, "an assistant message is empty"),
    ]
    assert found.bad_rows[0].raw == "{oops"
    assert json.loads(found.bad_rows[1].raw) == EMPTY
    assert found.files == {str(path): 3}


def test_nothing_but_bad_rows_is_an_error_even_when_they_may_be_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", EMPTY, "{oops")
    with pytest.raises(Problems, match=r"none of the 2 records can be used\n  fix: mend them, or name another file"):
        read_conversations(path, on_bad_row="drop")


def test_a_missing_file_says_what_the_caller_knows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `weft prepare`"):
        read_conversations(tmp_path / "train.jsonl", on_bad_row="drop", fix="run `weft prepare`")


def test_a_forced_format_is_kept_to(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, {"prompt": "a", "completion": "b"})
    found = read_conversations(path, format="prompt", on_bad_row="drop")
    assert (found.formats, [row.location.line for row in found.bad_rows]) == ({"prompt": 1}, [1])


def test_a_field_that_is_named_is_in_some_record(tmp_path: Path) -> None:
    reading = Reading(format="custom", instruction_field="q", response_field="a", system_field="s", context_field="c")
    path = write(tmp_path / "a.jsonl", {"q": "x", "a": "y", "s": None}, {"q": "x", "a": "y", "s": "z", "c": ""})
    found = read_conversations(path, format=reading, on_bad_row="error")
    assert found.mappings == {"custom": {"q → user": 2, "a → assistant": 2, "s → system": 1}}
    with pytest.raises(DataError, match=r'no record has the field "cc", which data\.context_field names'):
        read_conversations(path, format=reading._replace(context_field="cc"), on_bad_row="error")
    prepared = write(tmp_path / "b.jsonl", *map(canonical, found.conversations))
    again = read_conversations(prepared, format=reading._replace(context_field="cc"), on_bad_row="error")
    assert [talk.messages for talk in again.conversations] == [talk.messages for talk in found.conversations]


ROWS = st.sampled_from([json.dumps(GOOD), json.dumps(EMPTY), "{oops", "", "  ", "[]", "3", '{"messages": []}'])


@given(st.lists(ROWS, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_records_in_are_conversations_and_bad_rows_out(tmp_path: Path, rows: list[str]) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps(GOOD), *rows)
    found = read_conversations(path, on_bad_row="drop")
    expected = 1 + sum(bool(row.strip()) for row in rows)
    assert len(found.conversations) + len(found.bad_rows) == expected == sum(found.files.values())
    assert len(found.conversations) == sum(found.formats.values()) == 1 + rows.count(json.dumps(GOOD))


def test_equal_digests_mean_equal_messages() -> None:
    one = [Message(role="user", content="a assistant 1 b")]
    two = [Message(role="user", content="a "), Message(role="assistant", content="b")]
    same = [Message(role="user", content="a assistant 1 b")]
    assert content_digest(one) == content_digest(same) != content_digest(two)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "formats"),
    [
        ("alpaca_en.json", {"alpaca": 999}),
        ("identity.json", {"alpaca": 91}),
        ("course", {"messages": 55}),
        ("toolcall_en.json", {"sharegpt": 300}),
    ],
)
def test_real_data_is_read_whole(shared_data: Path, name: str, formats: dict[str, int]) -> None:
    found = read_conversations(shared_data / name, on_bad_row="error")
    assert found.formats == formats
    first = found.conversations[0]
    line = Path(first.location.path).read_text(encoding="utf-8").split("\n")[(first.location.line or 0) - 1]
    assert line.strip().startswith("{")


@pytest.mark.shared
def test_real_documents_are_refused_where_answers_are_trained(shared_data: Path) -> None:
    with pytest.raises(Problems, match=r"set mode: cpt to train documents[\s\S]*none of the 300 records"):
        read_conversations(shared_data / "c4.jsonl", on_bad_row="drop")

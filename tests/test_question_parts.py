"""A part of the question that a format has no place for is never left out of what is asked."""

from __future__ import annotations

from typing import Any

import pytest

from format_records import A, parse
from weft.data.formats import RowError, parse_as
from weft.data.reading import Reading
from weft.types import Conversation, Location, Record

PLACE = Location(path="x.jsonl", line=7)
UNREAD = "a part of the question stands in a field that this format does not read: the field"


@pytest.mark.parametrize(
    ("data", "named", "settings"),
    [
        ({"question": "Q?", "context": "c", "answer": A}, '"context" beside "question"', ("question", "answer")),
        ({"instruction": "Q?", "context": "c", "output": A}, '"context" beside "instruction"', ("instruction", "output")),
        ({"instruction": "c", "input": "Q?", "target": A}, '"instruction" beside "input"', ("instruction", "target", "input")),
        ({"instruction": "Q?", "input": "c", "response": A}, '"input" beside "instruction"',
         ("instruction", "response", "input")),
        ({"prompt": "Q?", "input": "c", "completion": A}, '"input" beside "prompt"', ("prompt", "completion", "input")),
        ({"prompt": "Q?", "instruction": "c", "completion": A}, '"instruction" beside "prompt"',
         ("instruction", "completion", "prompt")),
        ({"user": "Q?", "instruction": "c", "assistant": A}, '"instruction" beside "user"', ("instruction", "assistant", "user")),
    ],
)  # fmt: skip
def test_a_part_of_the_question_in_an_unread_field_is_refused_with_the_settings_that_read_it(
    data: Any, named: str, settings: tuple[str, ...]
) -> None:
    with pytest.raises(RowError) as error:
        parse(data)
    assert f"{UNREAD} {named}" in str(error.value)
    keys = ("data.instruction_field", "data.response_field", "data.context_field")
    told = ", ".join(["data.format: custom", *map("{}: {}".format, keys, settings)])
    assert error.value.fix == f"set {told}; or rename the field, if it is no part of the question"
    own = dict(zip(("instruction_field", "response_field", "context_field"), settings, strict=False))
    found = parse_as(Record(data=data, location=PLACE), Reading(format="custom", **own)).material
    assert isinstance(found, Conversation)
    assert sorted(found.messages[0].content.split("\n\n")) == ["Q?", "c"]
    assert found.messages[1].content == A


@pytest.mark.parametrize("value", ["", None, "the whole", " question\n", [], {}])
def test_what_the_question_says_already_is_kept_in_meta(value: Any) -> None:
    found = parse({"prompt": "Here is the whole question", "completion": A, "input": value})
    assert found.messages[0].content == "Here is the whole question"
    assert found.meta == {"input": value}


def test_a_part_of_a_word_says_nothing() -> None:
    with pytest.raises(RowError, match=UNREAD):
        parse({"prompt": "What is a cat?", "completion": A, "input": "at"})
    assert parse({"prompt": "Look at c++: why?", "completion": A, "input": "c++"}).meta == {"input": "c++"}


@pytest.mark.parametrize(
    "data",
    [
        {"instruction": "I", "input": "i", "context": "c", "output": A},
        {"instruction": "I", "input": "i", "context": "c", "response": A},
        {"prompt": [{"role": "user", "content": "I"}], "context": "c", "completion": A},
        {"question": "I", "context": ["c"], "answer": A},
        {"query": "I", "context": "c", "answers": '{"name": "f"}', "tools": []},
        {"query": "I", "context": "c", "answers": [{"name": "f"}], "tools": []},
    ],
)
def test_a_part_that_no_setting_reads_is_to_be_added_to_the_question(data: Any) -> None:
    with pytest.raises(RowError, match=UNREAD) as error:
        parse(data)
    asked = next(iter(data))
    assert error.value.fix == f'add what it says to "{asked}"; or rename the field, if it is no part of the question'


def test_a_part_beside_the_answer_of_a_list_is_to_be_added_to_the_question() -> None:
    """No setting names the fields of a list."""
    with pytest.raises(RowError, match=UNREAD) as error:
        parse(["Q?", {"answer": A, "context": "c"}])
    assert error.value.fix == "add what it says to the question; or rename the field, if it is no part of the question"

"""TRL's prompts and completions: one conversation, of which the completion is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import IM_END
from format_records import TURN, A, S, U, messages, parse
from test_format_laws import CONVERSATIONS
from weft.cli import main
from weft.config.data_schema import DataConfig
from weft.data.conversations import canonical
from weft.data.formats import RowError, detect, parse_as
from weft.data.reading import Reading, reading_of
from weft.data.render import Renderer
from weft.data.template import load_template
from weft.data.tokenizer import load_tokenizer
from weft.types import Conversation, Location, Message, Record, Setting, ToolCall

ASKED, ANSWERED = {"role": "user", "content": U}, {"role": "assistant", "content": A}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
MANY = {
    "prompt": [{"role": "system", "content": S}, ASKED, ANSWERED, {"role": "user", "content": "And?"}],
    "completion": [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "4"}, ANSWERED],
}


def weights(data: Any, reading: Reading | None = None) -> list[float | None]:
    record = Record(data=data, location=Location(path="x.jsonl", line=7))
    material = parse_as(record, reading or Reading()).material
    assert isinstance(material, Conversation)
    return [message.weight for message in material.messages]


@pytest.mark.parametrize("format", ["auto", "chat", "prompt"])
@pytest.mark.parametrize("answer", ["completion", "response"])
def test_a_prompt_and_a_completion_of_messages_are_one_conversation(format: str, answer: str) -> None:
    data = {"prompt": [ASKED], answer: [ANSWERED]}
    assert detect(data) == "prompt"
    assert messages(data, format) == TURN
    assert messages({**data, "system": S}, format) == [("system", S), *TURN]
    assert messages({"prompt": U, answer: [ANSWERED]}, format) == TURN
    assert messages({"prompt": [ASKED], answer: A}, format) == TURN


def test_what_was_read_is_said_by_what_the_fields_hold() -> None:
    def mapping(prompt: Any, completion: Any) -> tuple[str, ...]:
        record = Record(data={"prompt": prompt, "completion": completion}, location=Location(path="x.jsonl", line=1))
        return parse_as(record, "auto").mapping

    assert mapping(U, A) == ("prompt → user", "completion → assistant")
    assert mapping([ASKED], [ANSWERED]) == ("prompt → messages", "completion → messages")
    assert mapping([ASKED], A) == ("prompt → messages", "completion → assistant")


def test_answers_in_the_prompt_are_context_and_those_of_the_completion_count() -> None:
    assert messages(MANY) == [
        ("system", S),
        *TURN,
        ("user", "And?"),
        ("assistant", ""),
        ("tool", "4"),
        ("assistant", A),
    ]
    assert weights(MANY) == [None, None, 0.0, None, None, None, None]
    assert parse(MANY).messages[4].tool_calls == (ToolCall(name="f", arguments={"x": 1}),)


def test_what_an_answer_in_the_prompt_says_itself_goes_first() -> None:
    for said, weight in (({"train": True}, 1.0), ({"weight": 0.5}, 0.5), ({"train": False}, 0.0)):
        data = {"prompt": [ASKED, {**ANSWERED, **said}, ASKED], "completion": [ANSWERED]}
        assert weights(data) == [None, weight, None, None]


def test_where_the_whole_text_is_trained_the_prompt_counts_as_well() -> None:
    for train_on, weight in (("assistant", 0.0), ("last_turn", 0.0), ("all", None)):
        reading = reading_of(DataConfig(train_on=train_on), "auto")  # type: ignore[arg-type]
        assert weights(MANY, reading)[2] == weight
        assert weights(MANY, reading_of(DataConfig(train_on=train_on), "prompt"))[2] == weight  # type: ignore[arg-type]


def test_tools_and_template_arguments_stand_beside() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    found = parse({**MANY, "tools": tools, "chat_template_kwargs": {"enable_thinking": False}})
    assert found.messages[0].setting == Setting(tools=tuple(tools), arguments={"enable_thinking": False})


def test_what_nothing_reads_of_the_messages_is_kept() -> None:
    data = {"prompt": [{**ASKED, "rating": 1}], "completion": [{**ANSWERED, "by": "me"}], "score": 3}
    assert parse(data).meta == {"score": 3, "message_fields": [{"rating": 1}, {"by": "me"}]}


def test_the_completion_alone_is_trained(tiny_tokenizer_dir: Path) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_dir)
    renderer = Renderer(tokenizer, load_template(None, tokenizer), 512)
    more = [{"role": "user", "content": "More?"}]
    (example,) = renderer.render(parse({"prompt": [ASKED, ANSWERED, *more], "completion": "Yes."}))
    alone = [token for token, weight in zip(example.ids.tolist(), example.loss_weights, strict=True) if weight]
    assert alone == [*tokenizer.encode("Yes."), IM_END]
    same = [ASKED, {**ANSWERED, "train": False}, *more, {"role": "assistant", "content": "Yes."}]
    (expected,) = renderer.render(parse({"messages": same}))
    assert example.ids.tolist() == expected.ids.tolist()
    assert example.loss_weights.tolist() == expected.loss_weights.tolist()


def test_preparation_keeps_what_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("raw.jsonl").write_text(json.dumps(MANY) + "\n")
    paths = ["data.raw_path=raw.jsonl", "data.train_path=t.jsonl"]
    assert main(["prepare", *paths]) == 0
    prepared = json.loads(Path("t.jsonl").read_text())
    assert [message.get("weight") for message in prepared["messages"]] == [None, None, 0, None, None, None, None]
    once = parse(MANY)
    assert parse(canonical(once)) == once


@pytest.mark.parametrize(
    ("prompt", "completion", "reason"),
    [
        ([ASKED], [], 'a completion holds no message of the assistant: the field "completion"'),
        ([ASKED], [ASKED], 'a completion holds no message of the assistant: the field "completion"'),
        ([], [ANSWERED], "the assistant speaks before the user: message 1"),
        ([ASKED, ASKED], [ANSWERED], "two messages of one role follow each other: messages 1 and 2, both user"),
        (ASKED, [ANSWERED], 'the field "prompt" must be text or a list of messages: found an object'),
        ([ASKED], ANSWERED, 'the field "completion" must be text or a list of messages: found an object'),
        ([ASKED], 3, 'the field "completion" must be text: found a number'),
        (["Hi?"], [ANSWERED], 'a message must be an object: message 1 is text in "prompt"'),
        (
            [ASKED],
            [{"role": "gpt", "content": A}],
            "a message has an unknown role: message 1 has 'gpt' in \"completion\"",
        ),
        ([ASKED], [{"content": A}], 'a message has no "role": message 1 in "completion"'),
        ([ASKED], [ANSWERED, ASKED], "the last message is the user's: nothing after it to learn"),
        ([ASKED], None, "an assistant message is empty: message 2"),
    ],
)
def test_other_shapes_are_named(prompt: Any, completion: Any, reason: str) -> None:
    for format in ("auto", "prompt"):
        with pytest.raises(RowError) as error:
            parse({"prompt": prompt, "completion": completion}, format)
        assert reason in str(error.value)
        assert error.value.fix


def test_a_system_message_in_the_prompt_and_one_beside_it_must_agree() -> None:
    data = {"prompt": [{"role": "system", "content": S}, ASKED], "completion": [ANSWERED], "system": "Other."}
    with pytest.raises(RowError, match='the field "system" and the system message disagree'):
        parse(data)
    assert messages({**data, "system": S}) == [("system", S), *TURN]


def test_a_message_is_read_as_it_is_in_a_list_of_messages() -> None:
    thinking = {"role": "assistant", "content": A, "reasoning_content": "Because."}
    found = parse({"prompt": [{"role": "developer", "content": S}, ASKED], "completion": [thinking]})
    assert found.messages[-1] == Message(role="assistant", content=A, reasoning="Because.")
    assert found.messages[0].role == "system"


@given(CONVERSATIONS, st.data())
@settings(max_examples=60, deadline=None)
def test_wherever_a_conversation_is_cut_it_is_the_same_one(conversation: Conversation, data: st.DataObject) -> None:
    record = json.loads(json.dumps(canonical(conversation)))
    said = record.pop("messages")
    cut = data.draw(st.integers(1, len(said) - 1))
    del record["id"], record["meta"]
    whole = {**record, "prompt": said[:cut], "completion": said[cut:]}
    expected = [
        replace(one, weight=0.0) if number < cut and one.role == "assistant" and one.weight is None else one
        for number, one in enumerate(conversation.messages)
    ]
    assert list(parse(whole).messages) == expected
    assert list(parse(whole, Reading(trains_all=True)).messages) == list(conversation.messages)

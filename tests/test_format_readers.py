"""What single formats mean: ShareGPT's speakers, Dolly's context, Alpaca's history, pairs, fields of one's own naming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from format_records import TURN, A, S, U, messages, parse, said, turns
from template_families import CHATML, from_source
from test_tools import TOOLS
from weft.config.data_schema import DataConfig
from weft.config.load import load_config
from weft.data.conversations import read_conversations
from weft.data.formats import RowError, detect, parse_as
from weft.data.reading import Reading, reading_of
from weft.types import Location, Message, Record, Setting, ToolCall


def test_dolly_puts_a_blank_line_before_the_context() -> None:
    data = {"instruction": "Who?", "context": "Ada wrote it.", "response": "Ada.", "category": "closed_qa"}
    assert messages(data) == [("user", "Who?\n\nAda wrote it."), ("assistant", "Ada.")]
    assert parse(data).meta == {"category": "closed_qa"}


def test_alpaca_history_comes_before_the_instruction() -> None:
    data = {"instruction": U, "output": A, "system": S, "history": [["One?", "1"], ["Two?", "2"]]}
    earlier = [("user", "One?"), ("assistant", "1"), ("user", "Two?"), ("assistant", "2")]
    assert messages(data) == [("system", S), *earlier, *TURN]
    assert messages({**data, "history": []}) == messages({**data, "history": None}) == [("system", S), *TURN]


@pytest.mark.parametrize(
    ("speaker", "role"),
    [
        ("human", "user"),
        ("user", "user"),
        ("gpt", "assistant"),
        ("chatgpt", "assistant"),
        ("assistant", "assistant"),
        ("bing", "assistant"),
        ("GPT", "assistant"),
    ],
)
def test_sharegpt_speakers(speaker: str, role: str) -> None:
    data = said(("system", S), ("human", "0"), ("gpt", "1"), ("human", "2"), ("gpt", "3"))
    place = 1 if role == "user" else 2
    data["conversations"][place]["from"] = speaker
    assert messages(data) == [("system", S), ("user", "0"), ("assistant", "1"), ("user", "2"), ("assistant", "3")]


@pytest.mark.parametrize("result", ["observation", "tool"])
def test_sharegpt_calls_and_results(result: str) -> None:
    calls = [{"name": "f", "arguments": {"x": [1]}}, {"name": "g", "arguments": "{}"}]
    data = said(("human", U), ("function_call", json.dumps(calls)), (result, "4"), (result, "5"), ("gpt", A))
    found = parse({**data, "tools": '[{"name": "f"}]', "system": S})
    assert found.messages == (
        Message(
            role="system",
            content=S,
            setting=Setting(tools=({"type": "function", "function": {"name": "f"}},)),
        ),
        Message(role="user", content=U),
        Message(
            role="assistant",
            content="",
            tool_calls=(ToolCall(name="f", arguments={"x": [1]}), ToolCall(name="g", arguments={})),
        ),
        Message(role="tool", content="4"),
        Message(role="tool", content="5"),
        Message(role="assistant", content=A),
    )


def test_a_turn_may_hold_beside_its_value_what_a_message_may() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}, "id": "c"}
    data = {
        "conversations": [
            {"from": "human", "value": U, "name": "Ada"},
            {"from": "gpt", "value": "", "reasoning": "Hm.", "tool_calls": [call], "score": 3},
            {"from": "tool", "value": "4", "tool_call_id": "c"},
            {"from": "function_call", "value": '{"name": "g"}', "thinking": "Again."},
            {"from": "observation", "value": [{"type": "text", "text": "5"}]},
            {"from": "gpt", "value": A},
        ]
    }
    assert parse(data).messages == (
        Message(role="user", content=U, name="Ada"),
        Message(role="assistant", content="", reasoning="Hm.", tool_calls=(ToolCall(name="f", arguments={}, id="c"),)),
        Message(role="tool", content="4", tool_call_id="c"),
        Message(role="assistant", content="", reasoning="Again.", tool_calls=(ToolCall(name="g", arguments={}),)),
        Message(role="tool", content="5"),
        Message(role="assistant", content=A),
    )
    assert parse(data).meta == {"message_fields": [{}, {"score": 3}, {}, {}, {}, {}]}


def test_conversations_may_hold_messages_in_openai_form() -> None:
    assert messages({"conversations": turns(*TURN)["messages"]}) == TURN
    stamped = {"conversations": [{"from": "human", "value": U, "at": 1}, {"from": "gpt", "value": A}]}
    assert parse(stamped).meta == {"message_fields": [{"at": 1}, {}]}


def test_what_a_turn_says_in_both_forms_is_kept_where_they_differ() -> None:
    both = [
        {"from": "human", "value": U, "content": "Other?", "role": "user"},
        {"from": "gpt", "value": A, "role": "user", "content": "Other."},
        {"from": "human", "value": U, "content": U, "role": None},
        {"role": "assistant", "content": A, "value": "Other."},
    ]
    assert parse({"conversations": both}).meta == {
        "message_fields": [{"content": "Other?"}, {"role": "user", "content": "Other."}, {}, {"value": "Other."}]
    }
    assert messages({"conversations": both}) == [*TURN, *TURN]
    same = [
        {"from": "human", "value": U, "content": U, "role": "user"},
        {"from": "gpt", "value": A, "content": "", "role": "GPT"},
        {"role": "user", "content": U, "value": None},
        {"role": "assistant", "content": A, "value": A},
    ]
    assert parse({"conversations": same}).meta == {}


def test_a_function_call_may_hold_its_calls_twice() -> None:
    def calling(**beside: Any) -> Any:
        turn = {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}', **beside}
        return parse({"conversations": [{"from": "human", "value": U}, turn]})

    same = {"id": "c", "function": {"name": "f", "arguments": '{"x": 1}'}}
    assert calling(tool_calls=[same]).messages[1].tool_calls == (ToolCall(name="f", arguments={"x": 1}, id="c"),)
    assert calling(tool_calls=None).messages[1].tool_calls == (ToolCall(name="f", arguments={"x": 1}),)
    assert calling(content="I call it.").meta == {"message_fields": [{}, {"content": "I call it."}]}
    for other in ([same, same], [{"name": "f"}], [{"name": "g", "arguments": {"x": 1}}]):
        with pytest.raises(RowError) as error:
            calling(tool_calls=other)
        assert 'a message holds two different calls: message 2, in "tool_calls" and "value"' in str(error.value)


def test_pairs_of_a_question_and_an_object_with_its_answer() -> None:
    data = [U, {"answer": A, "system": S, "id": 3, "page": 9}]
    assert detect(data) == "pairs"
    for format in ("auto", "chat", "pairs"):
        assert messages(data, format) == [("system", S), *TURN]
    assert (parse(data).id, parse(data).meta) == ("3", {"page": 9})
    with pytest.raises(RowError, match=r'not in the format pairs: expected \["a question", \{"answer": …\}\]; found'):
        parse({"question": U, "answer": A}, "pairs")
    with pytest.raises(RowError, match="not in the format qa: expected input"):
        parse(data, "qa")


def test_custom_fields_are_those_that_are_named() -> None:
    reading = Reading(format="custom", instruction_field="q", response_field="r", context_field="c", system_field="s")
    data = {"q": U, "r": A, "c": "Text.", "s": S, "instruction": "other", "k": 1}
    assert messages(data, reading) == [("system", S), ("user", U + "\n\nText."), ("assistant", A)]
    assert parse(data, reading).meta == {"instruction": "other", "k": 1}
    assert messages({"q": U, "r": A}, reading) == TURN
    assert messages({"instruction": U, "response": A, "system": S, "context": ""}, "custom") == [("system", S), *TURN]
    for lacking, key in (({"qq": U, "r": A}, "instruction_field: qq"), ({"q": U, "rs": A}, "response_field: rs")):
        with pytest.raises(RowError, match=rf"the record has no field .* names: found .*\n  fix: set data.{key}$"):
            parse(lacking, reading)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("context", "response"),
        ("system", "response"),
        ("instruction", "context"),
        ("messages", "conversations"),
        ("tools", "id"),
    ],
)
def test_a_custom_field_may_have_a_name_that_means_something_elsewhere(question: str, answer: str) -> None:
    reading = Reading(format="custom", instruction_field=question, response_field=answer)
    parsed = parse_as(Record(data={question: "[]", answer: A}, location=Location(path="x.jsonl")), reading)
    assert parsed.mapping == (f"{question} → user", f"{answer} → assistant")
    assert [(one.role, one.content) for one in parsed.material.messages] == [("user", "[]"), ("assistant", A)]
    assert parsed.material.meta == {}
    absent = reading._replace(context_field="messages", system_field="conversations")
    assert messages({question: "[]", answer: A}, absent) == [("user", "[]"), ("assistant", A)]


@pytest.mark.parametrize(
    ("record", "fix"),
    [
        ({"system_prompt": "s", "question": "q", "response": "r"}, "data.format: custom, data.instruction_field"),
        ({"user": [{"role": "user", "content": "q"}], "assistant": "a"}, "messages belong into a list"),
        ({"instruction": {"0": "q"}, "output": {"0": "a"}}, "make one text of it"),
        ({"question": "2 + 2?", "answer": 4}, "put quotes around it"),
    ],
)
def test_what_to_do_with_fields_of_another_kind_is_said(record: dict[str, Any], fix: str) -> None:
    with pytest.raises(RowError) as error:
        parse(record)
    assert fix in str(error.value)


def test_the_mapping_says_what_was_read_as_what() -> None:
    data = {"instruction": U, "input": "x", "output": A, "history": [], "system": S, "tools": [{"name": "f"}], "k": 1}
    parsed = parse_as(Record(data=data, location=Location(path="x.jsonl")), "auto")
    assert (parsed.format, parsed.mapping) == (
        "alpaca",
        ("instruction → user", "output → assistant", "input → user", "system → system", "tools → tools"),
    )
    listed = parse_as(Record(data=said(("human", U), ("gpt", A)), location=Location(path="x.jsonl")), "auto")
    assert (listed.format, listed.mapping) == ("sharegpt", ("conversations → messages",))


def test_the_keys_of_seed_003_name_the_fields(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "data:\n  sft:\n    format: custom\n    custom_format:\n      instruction_field: q\n      response_field: r\n"
        "      system_field: s\n"
    )
    data = load_config(path, environ={}).config.data
    expected = Reading(format="custom", instruction_field="q", response_field="r", system_field="s")
    assert reading_of(data, data.format) == expected


def test_only_settings_that_matter_to_a_format_are_part_of_its_reading() -> None:
    data = DataConfig(instruction_field="q", oasst_paths="all", oasst_lang=["en"])
    assert reading_of(data, "qa") == Reading(format="qa")
    assert reading_of(data, "custom") == Reading(format="custom", instruction_field="q")
    assert reading_of(data, "auto") == Reading(oasst_paths="all", oasst_lang=("en",))


@pytest.mark.parametrize(
    ("record", "format", "expected"),
    [
        (
            {
                "instruction": "What is the capital of France?",
                "output": "The capital of France is Paris.",
                "system": "You are a helpful assistant.",
            },
            "alpaca",
            [
                ("system", "You are a helpful assistant."),
                ("user", "What is the capital of France?"),
                ("assistant", "The capital of France is Paris."),
            ],
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "What is the capital of France?"},
                    {"from": "assistant", "value": "The capital of France is Paris."},
                ]
            },
            "sharegpt",
            [("user", "What is the capital of France?"), ("assistant", "The capital of France is Paris.")],
        ),
        (
            {
                "instruction": "What is the capital of France?",
                "response": "The capital of France is Paris.",
                "system": "You are a helpful assistant.",
            },
            "custom",
            [
                ("system", "You are a helpful assistant."),
                ("user", "What is the capital of France?"),
                ("assistant", "The capital of France is Paris."),
            ],
        ),
    ],
)
def test_the_records_of_seed_003(record: dict[str, Any], format: str, expected: list[tuple[str, str]]) -> None:
    assert messages(record, format) == expected
    assert messages(record) == expected


@pytest.mark.shared
def test_real_calls_are_trained_whole(shared_data: Path) -> None:
    found = read_conversations(shared_data / "toolcall_en.json", on_bad_row="error")
    template = from_source(TOOLS, CHATML)
    turns = calls = 0
    for talk in found.conversations:
        (example,) = template.examples(talk)
        trained = [segment.text for segment in example.segments if segment.trained]
        spoken = [message for message in talk.messages if message.role == "assistant"]
        for text, message in zip(trained, spoken, strict=True):
            called = [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls]
            written = "".join(f"<tool_call>{json.dumps(call, ensure_ascii=False)}</tool_call>" for call in called)
            assert text == message.content + written + "<|im_end|>"
            calls += len(called)
        turns += len(trained)
    assert (len(found.conversations), turns, calls) == (300, 957, 211)
    assert found.mappings == {"sharegpt": {"conversations → messages": 300, "tools → tools": 191}}

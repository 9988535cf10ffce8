"""Record formats: each shape to exactly these messages, every other record refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from format_records import TURN, A, S, U, called, messages, parse, said, turns
from weft.data.formats import FORMATS, RowError, detect
from weft.types import Conversation, Location, Message


def test_a_call_that_a_content_spells_out_is_answered_too() -> None:
    calling = '<tool_call>{"name": "f"}</tool_call>'
    data = turns(("user", U), ("assistant", calling), ("tool", "4"), ("tool", "5"), ("assistant", A))
    assert [role for role, _ in messages(data)] == ["user", "assistant", "tool", "tool", "assistant"]


def test_a_result_may_name_any_function_that_was_called_or_none() -> None:
    results = [{"role": "tool", "name": "g", "content": "4"}, ("tool", "5")]
    assert messages(called("f", "g", *results, ("assistant", A)))[2:] == [
        ("tool", "4"),
        ("tool", "5"),
        ("assistant", A),
    ]
    by_id = {"role": "tool", "tool_call_id": "a", "name": "weather", "content": "4"}
    assert messages(called({"id": "a", "name": "f"}, by_id, ("assistant", A)))[2:] == [("tool", "4"), ("assistant", A)]
    spelt_out = turns(("user", U), ("assistant", "[f(x=1)]"))["messages"]
    result = {"role": "tool", "name": "h", "content": "4"}
    answer = {"role": "assistant", "content": A}
    assert messages({"messages": [*spelt_out, result, answer]})[2:] == [("tool", "4"), ("assistant", A)]


def test_developers_speak_as_the_system() -> None:
    assert messages(turns(("developer", S), *TURN)) == [("system", S), *TURN]


RECORDS: dict[str, list[dict[str, Any]]] = {
    "messages": [turns(*TURN)],
    "chat": [{"user": U, "assistant": A}],
    "qa": [{"input": U, "target": A}, {"question": U, "answer": A}, {"query": U, "response": A}],
    "prompt": [{"prompt": U, "response": A}, {"prompt": U, "completion": A}],
    "alpaca": [{"instruction": U, "output": A}, {"instruction": U, "input": "", "output": A}],
    "sharegpt": [said(("human", U), ("gpt", A))],
    "dolly": [{"instruction": U, "response": A}, {"instruction": U, "context": "", "response": A, "category": "qa"}],
}
CASES = [(name, data) for name, records in RECORDS.items() for data in records]


@pytest.mark.parametrize(("name", "data"), CASES)
def test_each_shape_is_detected_and_read(name: str, data: dict[str, Any]) -> None:
    assert RECORDS.keys() == FORMATS.keys() - {"pairs"}
    assert detect(data) == name
    for format in ("auto", "chat", name):
        assert messages(data, format) == TURN
        assert messages({**data, "system": S}, format) == [("system", S), *TURN]
        for none in (None, "", " \n"):
            assert messages({**data, "system": none}, format) == TURN


@pytest.mark.parametrize(("name", "data"), CASES)
def test_a_forced_format_refuses_the_others(name: str, data: dict[str, Any]) -> None:
    for other in FORMATS.keys() - {name, "chat"}:
        with pytest.raises(
            RowError, match=rf"^x\.jsonl:7: the record is not in the format {other}: expected .*; found the fields"
        ) as error:
            parse(data, other)
        assert all(repr(key) in error.value.detail for key in data)


def test_texts_are_taken_as_they_are() -> None:
    text = "  a\u2028\tb\r\n "
    assert messages({"user": text, "assistant": text}) == [("user", text), ("assistant", text)]


def test_alpaca_joins_instruction_and_input_by_a_newline() -> None:
    assert messages({"instruction": "Add.", "input": "1 2", "output": "3"})[0] == ("user", "Add.\n1 2")
    assert messages({"instruction": "", "input": "1 2", "output": "3"})[0] == ("user", "1 2")


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages(turns(("user", parts), ("assistant", "c")))[0] == ("user", "ab")


def test_an_empty_system_message_is_one_but_an_empty_system_field_is_none() -> None:
    assert messages(turns(("system", ""), *TURN)) == [("system", ""), *TURN]
    assert messages({"system": "", "user": U, "assistant": A}) == TURN


def test_many_turns_and_an_equal_system_field() -> None:
    data = {**turns(("system", S), *TURN, *TURN), "system": S}
    assert messages(data) == [("system", S), *TURN, *TURN]


# --- which format ---


def test_fields_of_two_formats_must_agree() -> None:
    both = {"user": U, "assistant": A, "prompt": U, "completion": A}
    assert messages(both) == TURN
    assert detect(both) == "chat"
    with pytest.raises(RowError, match=r"disagree: chat \(user, assistant\) and prompt \(prompt, completion\)"):
        parse({**both, "completion": "other"})
    assert messages({**both, "completion": "other"}, "prompt") == [("user", U), ("assistant", "other")]
    with pytest.raises(RowError, match=r"disagree: prompt \(prompt, response\) and prompt \(prompt, comp") as error:
        parse({"prompt": U, "response": A, "completion": "other"})
    assert error.value.fix == (
        "set data.format: custom, data.instruction_field: prompt, data.response_field: response, or remove the other fields"
    )
    for listed in (turns(*TURN), said(("human", U), ("gpt", A))):
        with pytest.raises(RowError, match=r"(messages|sharegpt) \((messages|conversations)\) and prompt .*") as error:
            parse({**listed, "prompt": U, "response": "other"})
        assert error.value.fix == "set data.format to the one that is meant, or remove the other fields"


def test_empty_fields_do_not_count_beside_filled_ones() -> None:
    assert messages({"messages": None, "user": "", "assistant": "", "prompt": U, "completion": A}) == TURN
    with pytest.raises(RowError, match="a user message is empty"):
        parse({"user": "", "assistant": "", "prompt": None, "completion": None})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"title": "a", "body": "b"}, "no known format: found the fields 'title', 'body'"),
        ({}, "no known format: found the fields none"),
        (
            {"text": "a document"},
            r"the record is a document, which mode: sft does not train: found the fields 'text'",
        ),
        ([U, A], "must be an object with named fields: found a list"),
        ([{"input": "a", "target": "b"}], "found a list\n  fix: .*; a list of records belongs into a .json file"),
        ("text", "must be an object with named fields: found text"),
        (None, "must be an object with named fields: found null"),
        ({"\x1b[31muser": 1}, r"found the fields '\\x1b\[31muser'"),
    ],
)
def test_unknown_records_are_refused(data: Any, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        parse(data)


# --- what a conversation must be ---


def test_an_answer_may_come_in_several_messages() -> None:
    talk = parse(turns(*TURN, ("assistant", "And more.")))
    assert [message.role for message in talk.messages] == ["user", "assistant", "assistant"]
    unanswered = parse(called("f", ("assistant", A)))
    assert [message.content for message in unanswered.messages] == [U, "", A]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"messages": []}, "there are no messages"),
        (turns(("system", S)), "there are no messages"),
        (turns(("user", U)), "there is no assistant message"),
        (turns(("system", S), ("assistant", A)), "the assistant speaks before the user: message 2"),
        (turns(*TURN, ("user", U)), "the last message is the user's"),
        (turns(("user", U), ("user", U), ("assistant", A)), "follow each other: messages 1 and 2, both user"),
        (turns(*TURN, ("system", S), *TURN), "a system message stands after other messages: message 3"),
        (turns(("system", S), ("system", S), *TURN), "a system message stands after other messages: message 2"),
        (turns(("user", U), ("assistant", " \n\t")), "an assistant message is empty: message 2"),
        (turns(("user", "\u2028"), ("assistant", A)), "a user message is empty: message 1"),
        ({"user": U, "assistant": ""}, "an assistant message is empty"),
        ({"user": U, "assistant": None}, "an assistant message is empty"),
        ({"user": U, "assistant": 4}, 'the field "assistant" must be text: found a number'),
        (
            {"user": [{"role": "user", "content": U}], "assistant": A},
            'the field "user" must be text: found a list',
        ),
        ({"messages": "hello"}, '"messages" must be a list: found text'),
        ({"messages": ["hello"]}, "a message must be an object: message 1 is text"),
        (turns(("user", None), ("assistant", A)), "content must be text: message 1 has null"),
        (
            turns(("user", [{"type": "image"}]), ("assistant", A)),
            "only text parts are supported yet: message 1 has a part of type 'image'",
        ),
        (
            turns(("user", ["x"]), ("assistant", A)),
            "only text parts are supported yet: message 1 has a part without a type",
        ),
        ({"messages": [{"content": U}]}, 'a message has no "role": message 1'),
        (turns(("human", U), ("gpt", A)), "unknown role: message 1 has 'human'\n  fix: write \"user\""),
        (turns(("User", U)), "unknown role: message 1 has 'User'\n  fix: write \"user\""),
        (turns(("narrator", U)), "unknown role: message 1 has 'narrator'\n  fix: the roles are"),
        ({"messages": [{"role": ["user"], "content": U}]}, "unknown role"),
        (turns(("ipython", U)), "unknown role: message 1 has 'ipython'\n  fix: write \"tool\""),
        (turns(*TURN, ("tool", "4")), "a tool's result stands without its call: message 3"),
        (turns(("user", U), ("tool", "4"), ("assistant", A)), "a tool's result stands without its call: message 2"),
        (called("f", "f", ("tool", "4"), ("tool", "5")), "the last message is a tool's result"),
        (called("f", ("tool", "4"), ("tool", "5"), ("assistant", A)), "without its call: message 4"),
        (
            called("f", "g", {"role": "tool", "name": "h", "content": ""}, ("assistant", A)),
            "a tool's result stands without its call: message 3 is a result of 'h'",
        ),
        (
            called({"id": "a", "name": "f"}, {"role": "tool", "tool_call_id": "b", "content": ""}),
            "answers the call 'b'",
        ),
        (called({}), "a tool call has no name: message 2 has an object"),
        (called(3), "a tool call has no name: message 2 has a number"),
        (called({"function": {"name": ""}}), "a tool call has no name"),
        (called({"name": "f", "arguments": [1]}), "a tool call's arguments must be an object: message 2 has a list"),
        (called({"name": "f", "arguments": "[1]"}), "a tool call's arguments must be an object: message 2 has a list"),
        (called({"name": "f", "arguments": "{x"}), "a tool call's arguments are not JSON: message 2, column 2: "),
        (called({"name": "f", "id": 3}), "the id of a tool call must be text: message 2 has a number"),
        (
            called({"name": "f", "arguments": "[" * 95 + "]" * 95}),
            "a tool call's arguments are not JSON: message 2, the record is nested too deeply: more than 100 levels",
        ),
        (
            called({"name": "f", "arguments": '{"x": 1, "x": 2}'}),
            "a tool call's arguments are not JSON: message 2, a key is given twice: 'x'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]},
            "the text of a content's part must be text: a part of message 1 has a number",
        ),
        ({"messages": [{"role": "user", "content": U, "name": 3}]}, 'a message\'s "name" must be text'),
        (
            {"messages": [{"role": "user", "content": U, "tool_calls": ["f"]}]},
            "a tool call is not JSON: message 1, column 1: ",
        ),
        (
            {"messages": [{"role": "user", "content": U, "tool_calls": [{"name": "f"}]}]},
            "only an assistant message may have \"tool_calls\": message 1 is of the role 'user'",
        ),
        (
            {"messages": [{"role": "user", "content": U, "thinking": "?"}]},
            'only an assistant message may have "reasoning',
        ),
        (
            {"messages": [{"role": "user", "content": U, "tool_call_id": "a"}]},
            'only a tool message may have "tool_call_id"',
        ),
        (
            {"messages": [{"role": "assistant", "content": A, "reasoning": "a", "thinking": "b"}]},
            "a message holds two reasonings: message 1",
        ),
        (
            {"messages": [{"role": "assistant", "content": A, "reasoning_content": ["a"]}]},
            "a message's reasoning must be text: message 1 has a list",
        ),
        ({**turns(*TURN), "tools": "{x"}, 'the field "tools" is not JSON: column 2: '),
        (
            {**turns(*TURN), "tools": {"name": "f"}},
            'the field "tools" must be a list of tool definitions: found an object',
        ),
        ({**turns(*TURN), "tools": [{"type": "search"}]}, "a tool definition has no name: tool 1 is an object"),
        ({**turns(*TURN), "tools": [{"name": "f"}], "functions": [{"name": "g"}]}, '"tools" and "functions" disagree'),
        ({**turns(*TURN), "chat_template_kwargs": [1]}, '"chat_template_kwargs" must be an object: found a list'),
        ({**turns(*TURN), "chat_template_kwargs": "{"}, '"chat_template_kwargs" is not JSON: column 2: '),
        ({**turns(*TURN), "chat_template_kwargs": {"messages": []}}, "gives what weft gives itself: 'messages'"),
        ({**turns(*TURN), "images": ["a.png"]}, 'records with images are not supported yet: the field "images"'),
        (
            {"question": U, "answer": A, "history": [["a", "b"]]},
            "earlier turns in a field of their own are not of this",
        ),
        ({"instruction": U, "output": A, "history": "x"}, 'the field "history" must be a list of questions with their'),
        ({"instruction": U, "output": A, "history": [["a"]]}, "with their answers: an item is no pair of texts"),
        ({"instruction": U, "output": A, "history": [["a", 1]]}, "with their answers: an item is no pair of texts"),
        ({"instruction": U, "output": A, "history": [["", "b"]]}, "a user message is empty: message 1"),
        ({"instruction": U, "context": ["c"], "response": A}, 'the field "context" must be text: found a list'),
        ({"instruction": U, "input": 0, "output": A}, 'the field "input" must be text: found a number'),
        ({"user": U, "assistant": A, "system": False}, 'the field "system" must be text: found true or false'),
        (
            called({"name": "f", "parameters": {"x": 1}}),
            'a tool call has its arguments under another name: message 2 has "parameters"',
        ),
        (
            said(("human", U), ("function_call", '{"function": {"name": "f", "args": {"x": 1}}}')),
            'a tool call has its arguments under another name: message 2 has "args"',
        ),
        ({"conversations": "x"}, '"conversations" must be a list: found text'),
        ({"conversations": ["x", 3]}, "a message must be an object: message 1 is text"),
        ({"conversations": ["x"]}, "there is no assistant message"),
        ({"conversations": [{"value": U}]}, 'a turn has no "from": turn 1'),
        (said(("narrator", U)), "a turn has an unknown speaker: turn 1 has 'narrator'"),
        (said(("human", U), ("gpt", None)), "content must be text: message 2 has null"),
        (said(("human", U), ("function_call", "f(x)")), "a tool call is not JSON: message 2, column 1: "),
        (said(("human", U), ("function_call", "[]")), "a function call is empty: message 2"),
        (said(("human", U), ("function_call", "{}")), "a function call is empty: message 2"),
        (said(("human", U), ("function_call", "3")), "a tool call has no name: message 2 has a number"),
        (said(("human", U), ("observation", "4"), ("gpt", A)), "a tool's result stands without its call: message 2"),
        ({**said(("human", U), ("gpt", A)), "tools": "none"}, 'the field "tools" is not JSON: column 1: '),
        ([U, {"answer": A, "question": "Other?"}], "a pair holds two questions"),
        ([U, {"reply": A}], "the record has no known format: found the fields 'question', 'reply'"),
        ({**turns(("system", S), *TURN), "system": "Other."}, 'the field "system" and the system message disagree'),
        ({"user": U, "assistant": A, "id": [1]}, 'the field "id" must be text or a number: found a list'),
        (
            {"messages": [{**turn, "at": 1} for turn in turns(*TURN)["messages"]], "message_fields": [{"at": 2}, {}]},
            'the field "message_fields" and what the messages hold beside their content disagree',
        ),
        ({"user": U, "assistant": A, "meta": {"k": 1}, "k": 2}, 'the field "k" and the same field of "meta" disagree'),
    ],
)
def test_records_that_cannot_be_used_say_why(data: Any, reason: str) -> None:
    with pytest.raises(RowError) as error:
        parse(data)
    assert reason in str(error.value)
    assert str(error.value).startswith("x.jsonl:7: ")


def test_fields_without_content_are_no_reason_to_refuse() -> None:
    message = {
        "role": "assistant",
        "content": A,
        "tool_calls": [],
        "reasoning_content": "",
        "weight": 1,
        "train": True,
        "name": None,
    }
    data = {"messages": [{"role": "user", "content": U}, message], "tools": "[]"}
    assert messages(data) == TURN


# --- what a record says beside its messages ---


def test_id_source_and_meta_are_kept() -> None:
    data = {"user": U, "assistant": A, "id": 3, "source": "book", "mode": "tutor", "meta": {"page": 1, "mode": "tutor"}}
    conversation = parse(data, source="file")
    assert (conversation.id, conversation.source, conversation.meta) == ("3", "book", {"mode": "tutor", "page": 1})
    assert parse({"user": U, "assistant": A, "id": ""}, source="file") == Conversation(
        messages=(Message(role="user", content=U), Message(role="assistant", content=A)),
        location=Location(path="x.jsonl", line=7),
        source="file",
    )


def test_fields_of_other_kinds_go_into_meta() -> None:
    data = {"user": U, "assistant": A, "meta": "note", "source": {"url": "u"}, "tags": ["a"]}
    assert parse(data).meta == {"meta": "note", "source": {"url": "u"}, "tags": ["a"]}
    stamped = {
        "messages": [{"role": "user", "content": U, "at": 1, "name": "Ann"}, {"role": "assistant", "content": A}]
    }
    for own in ({}, {"message_fields": None}, {"message_fields": [{"at": 1}, {}]}):
        assert parse({**stamped, **own}).meta == {"message_fields": [{"at": 1}, {}]}
    assert parse({**turns(*TURN), "message_fields": "own"}).meta == {"message_fields": "own"}

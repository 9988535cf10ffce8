"""What holds for every record of every format: it round-trips, in any order of fields, and nothing else is raised."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from format_records import parse, said
from weft.data.conversations import canonical
from weft.data.formats import FORMATS, RowError, detect
from weft.types import Conversation, Location, Message, Setting, ToolCall

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
WORDS = TEXT.filter(lambda text: bool(text.strip()))
VALUES = st.recursive(TEXT | st.integers() | st.booleans() | st.none(), lambda inner: st.lists(inner, max_size=2))
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=2)
NAMES = TEXT.filter(bool)
CALLS = st.builds(ToolCall, name=NAMES, arguments=OBJECTS, id=st.none())
FUNCTIONS = st.fixed_dictionaries({"name": NAMES, "parameters": OBJECTS})
TOOLS = FUNCTIONS.map(lambda function: {"type": "function", "function": function})
SETTINGS = st.builds(
    Setting,
    tools=st.lists(TOOLS, max_size=2).map(tuple),
    arguments=st.dictionaries(st.sampled_from(["enable_thinking", "date"]), VALUES, max_size=1),
).filter(lambda setting: bool(setting.tools or setting.arguments))


WEIGHTS = st.none() | st.sampled_from([0.0, 1.0]) | st.floats(1e-6, 1e6)


def message(role: str, contents: st.SearchStrategy[str] = WORDS, **fields: Any) -> st.SearchStrategy[Message]:
    given: dict[str, Any] = {"content": contents, "name": st.none() | NAMES, "weight": WEIGHTS, **fields}
    return st.builds(Message, role=st.just(role), **given)  # type: ignore[arg-type]


def called_and_answered(messages: tuple[Message, Message]) -> tuple[Message, Message]:
    """A call and its result, whose name is the function's where no id says which call it answers."""
    call, result = messages
    if result.name and result.tool_call_id is None:
        result = replace(result, name=call.tool_calls[0].name)
    return call, result


CALLING = st.tuples(
    message("assistant", TEXT, tool_calls=st.tuples(CALLS)), message("tool", TEXT, tool_call_id=st.none() | NAMES)
).map(called_and_answered)
ANSWER = message("assistant", reasoning=st.just("") | WORDS)
EXCHANGES = st.tuples(message("user"), st.lists(CALLING, max_size=2), ANSWER).map(
    lambda parts: (parts[0], *(message for pair in parts[1] for message in pair), parts[2])
)


def held_with(messages: tuple[Message, ...], setting: Setting | None) -> tuple[Message, ...]:
    return (replace(messages[0], setting=setting), *messages[1:])


CONVERSATIONS = st.builds(
    Conversation,
    messages=st.builds(
        held_with,
        st.tuples(st.lists(message("system", TEXT), max_size=1), st.lists(EXCHANGES, min_size=1, max_size=3)).map(
            lambda parts: (*parts[0], *(message for exchange in parts[1] for message in exchange))
        ),
        st.none() | SETTINGS,
    ),
    location=st.just(Location(path="x.jsonl", line=7)),
    id=st.none() | NAMES,
    source=st.none() | NAMES,
    meta=st.dictionaries(TEXT, TEXT | st.integers() | st.none(), max_size=3),
)


@given(CONVERSATIONS, st.sampled_from(["auto", "chat", "messages", "alpaca"]))
@settings(max_examples=100, deadline=None)
def test_the_canonical_form_round_trips_under_every_format(conversation: Conversation, format: str) -> None:
    stored = json.loads(json.dumps(canonical(conversation), ensure_ascii=False))
    assert parse(stored, format) == conversation


FIELDS = {field for form in FORMATS.values() for fields in (*form.fields, form.optional) for field in fields}


@given(st.data(), st.sampled_from([(name, fields) for name, form in FORMATS.items() for fields in form.fields]))
@settings(max_examples=200)
def test_a_record_of_any_format_is_its_conversation_in_any_order_of_fields(
    data: st.DataObject, shape: tuple[str, tuple[str, ...]]
) -> None:
    name, fields = shape
    conversation = data.draw(CONVERSATIONS)
    openai = canonical(conversation)["messages"]
    question, answer = data.draw(WORDS), data.draw(WORDS)
    exchange = [("user", question), ("assistant", answer)]
    if name == "messages":
        record: dict[str, Any] = {"messages": openai}
        expected = [replace(message, setting=None) for message in conversation.messages]
    elif name == "sharegpt":
        record = said(("human", question), ("gpt", answer))
        expected = [Message(role=role, content=text) for role, text in exchange]  # type: ignore[arg-type]
    elif len(fields) == 3:
        call, tool = {"name": answer, "arguments": {"x": 1}}, {"type": "function", "function": {"name": answer}}
        record = dict(zip(fields, (question, json.dumps([call]), [tool]), strict=True))
        asked = Message(role="user", content=question, setting=Setting(tools=(tool,)))
        calls = (ToolCall(name=answer, arguments={"x": 1}),)
        expected = [asked, Message(role="assistant", content="", tool_calls=calls)]
    else:
        record = dict(zip(fields, (question, answer), strict=True))
        expected = [Message(role=role, content=text) for role, text in exchange]  # type: ignore[arg-type]
    beside = data.draw(st.dictionaries(TEXT.filter(lambda key: key not in KNOWN), VALUES, max_size=2))
    shuffled = dict(data.draw(st.permutations(list({**record, **beside}.items()))))
    given: Any = shuffled
    if name == "pairs":
        given = [shuffled.pop("question"), shuffled]
    found = parse(given)
    assert list(found.messages) == expected
    assert found.meta == beside
    assert detect(given) == name
    assert parse(given, name) == found


KNOWN = FIELDS | {"id", "source", "meta", "tools", "functions", "chat_template_kwargs", "images", "videos", "audios"}
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["user", "assistant", "system", "tool", "text", "", " ", "x", "{}", "[1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "role",
                    "content",
                    "user",
                    "assistant",
                    "system",
                    "id",
                    "meta",
                    "source",
                    "type",
                    "text",
                    "weight",
                    "tools",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "tool_call_id",
                    "reasoning",
                    "chat_template_kwargs",
                    "conversations",
                    "from",
                    "value",
                    "instruction",
                    "response",
                    "output",
                    "context",
                    "history",
                    "answer",
                    "answers",
                    "query",
                    "prompt",
                    "completion",
                    "conversation",
                    "chosen",
                    "rejected",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ANYTHING, st.sampled_from(["auto", "chat", *FORMATS, "custom"]))
@settings(max_examples=300, deadline=None)
def test_no_value_raises_anything_but_a_row_error(data: Any, format: str) -> None:
    outcome = parse_or_error(data, format)
    if isinstance(outcome, RowError):
        assert outcome.reason
        assert str(outcome.where) == "x.jsonl:7"
    else:
        assert outcome.messages[-1].role == "assistant"


def parse_or_error(data: Any, format: str) -> Conversation | RowError:
    try:
        return parse(data, format)
    except RowError as error:
        return error

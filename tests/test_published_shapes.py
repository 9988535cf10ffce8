"""Records in the shapes of sets that many people have: read, or refused with the settings that read them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from format_records import TURN, A, S, U, messages, parse, said, turns
from weft.config.data_schema import DataConfig
from weft.data.answered import answered
from weft.data.conversations import read_conversations
from weft.data.formats import RowError, detect
from weft.data.reading import Reading, reading_of
from weft.types import Document, Message, Setting, ToolCall

CONVERSATION = [{"role": "user", "content": U}, {"role": "assistant", "content": A}]


def fix_of(data: Any, format: Any = "auto") -> str:
    with pytest.raises(RowError) as error:
        parse(data, format)
    assert error.value.fix
    return error.value.fix


# ---- fields of one's own naming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"system_prompt": S, "question": U, "response": A}, [("system", S), *TURN]),
        ({"Instruction": U, "Response": A, "id": "1"}, TURN),
        ({"inputs": U, "targets": A, "task": "t"}, TURN),
        ({"input": U, "output": A}, TURN),
        ({"problem": U, "solution": A, "answer": "4"}, TURN),
        ({"human": U, "assistant": A}, TURN),
        ({"instruction": "Sum up.", "input": "Long.", "completion": A}, [("user", "Sum up.\n\nLong."), TURN[1]]),
        ({"passage": "Long.", "Question": U, "reply": A}, [("user", f"{U}\n\nLong."), TURN[1]]),
        ({"context": "Long.", "question": U, "answer": A}, [("user", f"{U}\n\nLong."), TURN[1]]),
        ({"system": S, "question": U, "chosen": A, "rejected": "no"}, [("system", S), *TURN]),
        ({"prompt": U, "chosen": A, "rejected": "no", "answer": "4"}, TURN),
    ],
)
def test_the_settings_that_are_named_read_the_record(data: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    settings = dict(re.findall(r"data\.(\w+): (\w+)", fix_of(data)))
    assert settings.pop("format") == "custom"
    assert messages(data, reading_of(DataConfig(**settings), "custom")) == expected


def test_a_forced_format_names_them_too_where_detection_would_not_help() -> None:
    assert "data.response_field: response" in fix_of({"question": U, "response": A}, "prompt")
    assert fix_of({"question": U, "answer": A}, "prompt").startswith("set data.format: auto")


def test_a_list_of_messages_under_another_name_is_named() -> None:
    assert fix_of({"dialogue": CONVERSATION}) == "rename 'dialogue' to \"messages\""
    assert fix_of({"turns": said(("human", U), ("gpt", A))["conversations"]}) == "rename 'turns' to \"conversations\""
    assert fix_of({"id": "0", "data": [U, A]}).startswith("rename 'data' to \"conversations\"")
    assert "conversations or" in fix_of({"ctx": U, "endings": [A, U]}), "a list of choices is no conversation"
    assert "\x1b" not in fix_of({"\x1b[31m": CONVERSATION})
    assert fix_of(CONVERSATION).startswith('put the messages into one: {"messages": […]}; a list of records')


def test_a_prompt_alone_lacks_its_answer() -> None:
    assert fix_of({"prompt": CONVERSATION[:1]}) == fix_of({"prompt": U, "id": 3}) == 'add the answer as "completion"'


def test_splits_in_one_object_are_said_to_be_that() -> None:
    assert "each split into a file of its own, such as train.jsonl" in fix_of({"train": [{"a": 1}], "test": []})


def test_roles_of_calls_and_results_elsewhere_are_told_apart() -> None:
    assert fix_of(turns(("user", U), ("tool_call", "{}"))) == 'write it as "tool_calls" of a message of the assistant'
    assert fix_of(turns(("user", U), ("tool_response", "4"))) == 'write "tool"'


# ---- preferences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "fix"),
    [
        ({"prompt": U, "chosen": A, "rejected": "no"}, "data.instruction_field: prompt, data.response_field: chosen"),
        ({"prompt": CONVERSATION[:1], "chosen": CONVERSATION[1:], "rejected": []}, 'rename "chosen" to "completion"'),
        ({"prompt": U, "chosen": CONVERSATION, "rejected": CONVERSATION}, 'rename "chosen" to "messages"'),
        ({"chosen": CONVERSATION, "rejected": CONVERSATION}, 'rename "chosen" to "messages"'),
        ({"chosen": "Human: Hi", "rejected": "Human: Ho"}, 'as {"messages":'),
        ({**turns(("user", U)), "chosen": CONVERSATION[1], "rejected": CONVERSATION[1]}, 'at the end of "messages"'),
        (
            {**said(("human", U)), "chosen": {"from": "gpt", "value": A}, "rejected": {}},
            'at the end of "conversations"',
        ),
        ({"input": turns(("user", U)), "preferred_output": CONVERSATION[1:], "non_preferred_output": []}, "messages"),
    ],
)
@pytest.mark.parametrize("format", ["auto", "qa"])
def test_a_preference_is_said_to_be_one(data: dict[str, Any], fix: str, format: str) -> None:
    with pytest.raises(RowError) as error:
        parse(data, "auto" if "messages" in data or "conversations" in data else format)
    assert error.value.reason.startswith("the record is a preference between two answers")
    assert fix in str(error.value.fix)
    assert "to train on the chosen answers alone" in str(error.value.fix)


def test_a_preference_beside_a_whole_conversation_is_kept_as_it_was() -> None:
    data = {**turns(*TURN), "chosen": CONVERSATION, "rejected": CONVERSATION}
    assert messages(data) == TURN
    assert parse(data).meta == {"chosen": CONVERSATION, "rejected": CONVERSATION}


@pytest.mark.parametrize(("prompt", "completion"), [(U, A), (CONVERSATION[:1], CONVERSATION[1:])])
def test_an_answer_that_is_not_wanted_is_not_learned(prompt: Any, completion: Any) -> None:
    data = {"prompt": prompt, "completion": completion}
    for label in (True, None, 0, "false"):
        assert messages({**data, "label": label}) == TURN
        assert parse({**data, "label": label}).meta == {"label": label}
    with pytest.raises(RowError, match="an answer that its label calls unwanted"):
        parse({**data, "label": False})
    assert messages({"question": U, "answer": A, "label": False}) == TURN


# ---- conversations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["auto", "sharegpt"])
def test_a_conversation_in_the_singular(format: str) -> None:
    assert messages({"conversation": CONVERSATION}, format) == TURN
    assert messages({"conversation": said(("human", U), ("gpt", A))["conversations"]}, format) == TURN
    found = parse({"conversation": [{**CONVERSATION[0], "language": "English"}, CONVERSATION[1]], "turn": 1}, format)
    assert found.meta == {"turn": 1, "message_fields": [{"language": "English"}, {}]}


def test_texts_of_a_conversation_are_said_in_turn() -> None:
    data = {"conversations": [U, A, "And?", "So."], "system": S}
    assert messages(data) == [("system", S), *TURN, ("user", "And?"), ("assistant", "So.")]
    assert parse(data).meta == {}
    with pytest.raises(RowError, match="the last message is the user's"):
        parse({"conversations": [U, A, "And?"]})


def written(path: Path, field: str, text: str) -> Path:
    row = {"id": "1", field: text, **({"instruction": "And?", "output": "So."} if field == "history" else {})}
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)
    else:
        parquet.write_table(pa.Table.from_pylist([row]), path)
    return path


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("messages", CONVERSATION, TURN),
        ("conversations", said(("human", U), ("gpt", A))["conversations"], TURN),
        ("conversation", CONVERSATION, TURN),
        ("history", [[U, A]], [*TURN, ("user", "And?"), ("assistant", "So.")]),
        ("history", [], [("user", "And?"), ("assistant", "So.")]),
    ],
)
def test_lists_in_tables_may_be_json_text(
    tmp_path: Path, ending: str, field: str, value: Any, expected: list[tuple[str, str]]
) -> None:
    path = written(tmp_path / f"t{ending}", field, json.dumps(value))
    (found,) = read_conversations(str(path), on_bad_row="error").talks
    assert [(message.role, message.content) for message in found.messages] == expected
    assert (found.id, found.meta) == ("1", {})


def test_a_list_that_python_printed_is_named_as_such() -> None:
    with pytest.raises(RowError, match='the field "messages" is not JSON: column 3') as error:
        parse({"messages": str(CONVERSATION)})
    assert "json.dumps" in str(error.value.fix)


def test_what_a_text_of_messages_holds_beside_is_kept() -> None:
    data = {"messages": json.dumps([{**CONVERSATION[0], "rating": 1}, CONVERSATION[1]])}
    assert detect(data) == "messages"
    assert parse(data).meta == {"message_fields": [{"rating": 1}, {}]}


def test_a_text_that_nothing_reads_is_not_looked_into() -> None:
    data = {"prompt": U, "completion": A, "messages": "[broken"}
    assert messages(data, "prompt") == TURN
    assert parse(data, "prompt").meta == {"messages": "[broken"}


# ---- calls of tools -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [[{"name": "f", "arguments": {"x": 1}}], '[{"name": "f", "arguments": {"x": 1}}]'])
def test_a_query_that_is_answered_by_calls(answers: Any) -> None:
    tools = json.dumps([{"name": "f", "parameters": {"x": {"type": "int"}}}])
    found = parse({"id": 0, "query": U, "answers": answers, "tools": tools})
    definition = {"type": "function", "function": {"name": "f", "parameters": {"x": {"type": "int"}}}}
    assert found.messages == (
        Message(role="user", content=U, setting=Setting(tools=(definition,))),
        Message(role="assistant", content="", tool_calls=(ToolCall(name="f", arguments={"x": 1}),)),
    )
    assert (found.id, found.meta) == ("0", {})
    with pytest.raises(RowError, match="an assistant message is empty: message 2"):
        parse({"query": U, "answers": "[]", "tools": tools})
    with pytest.raises(RowError, match="a tool call is not JSON: message 2"):
        parse({"query": U, "answers": "four", "tools": tools})


def test_definitions_and_calls_may_each_be_json_text() -> None:
    call, tool = {"name": "f", "arguments": {"x": 1}}, {"name": "f", "parameters": {}}
    data = turns(("user", U), ("tool", "4"), ("assistant", A))
    data["messages"].insert(1, {"role": "assistant", "tool_calls": [json.dumps(call)]})
    found = parse({**data, "tools": [json.dumps(tool)]})
    assert found.messages[0].setting == Setting(tools=({"type": "function", "function": tool},))
    assert found.messages[1].tool_calls == (ToolCall(name="f", arguments={"x": 1}),)
    with pytest.raises(RowError, match="a tool definition is not JSON: tool 1, column 1"):
        parse({**data, "tools": ["f(x)"]})
    with pytest.raises(RowError, match="a tool call is not JSON: message 2, column 1"):
        parse(
            turns(("user", U))
            | {"messages": [*turns(("user", U))["messages"], {"role": "assistant", "tool_calls": ["f"]}]}
        )


def test_a_function_call_need_not_be_text() -> None:
    call = {"name": "f", "arguments": {"x": 1}}
    as_text = parse(said(("human", U), ("function_call", json.dumps(call)), ("observation", "4"), ("gpt", A)))
    assert parse(said(("human", U), ("function_call", call), ("observation", "4"), ("gpt", A))) == as_text
    assert parse(said(("human", U), ("function_call", [call]), ("observation", "4"), ("gpt", A))) == as_text


@pytest.mark.parametrize(
    "calling",
    [
        '[Market Trends API(kind="x", n=2), other()]',
        "Thought: I should look.\nAction: search\nAction Input: {}",
        "Action: search\n\nAction Input: {}",
    ],
)
def test_a_call_that_is_spelled_out_is_answered(calling: str) -> None:
    data = said(("user", U), ("assistant", calling), ("tool", "4"), ("assistant", A))
    assert [role for role, _ in messages(data)] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("answer", ["See [the page](https://x.org).", "[1] (2)", "Take action: now.", "f(x)"])
def test_what_is_no_call_is_not_answered_by_a_tool(answer: str) -> None:
    with pytest.raises(RowError, match="a tool's result stands without its call"):
        parse(said(("user", U), ("assistant", answer), ("tool", "4"), ("assistant", A)))


@pytest.mark.parametrize(
    "data",
    [
        {"prompt": CONVERSATION[:1]},
        {"prompt": CONVERSATION[:1], "completion": CONVERSATION[1:]},
        {"query": U, "answers": ["four"]},
        {"query": U, "answers": "[]", "tools": "[]"},
        {"query": U, "answers": '[{"name": "f"}]', "tools": [{"name": "f"}]},
        {"conversation": CONVERSATION[:1]},
        {"conversations": CONVERSATION[:1], "chosen": {}, "rejected": {}},
    ],
)
def test_questions_without_a_usable_answer_are_read_as_benchmarks_are(data: dict[str, Any]) -> None:
    assert messages(answered(data, anew=True))[0] == ("user", U)


# ---- tables and documents -----------------------------------------------------------------------------------------------


def test_a_first_column_without_a_name_is_the_index_of_pandas(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f",instruction,input,output\n0,{U},,{A}\n")
    (found,) = read_conversations(str(path), on_bad_row="error").talks
    assert [(message.role, message.content) for message in found.messages] == TURN
    assert found.meta == {"Unnamed: 0": "0"}


@pytest.mark.parametrize("field", ["text", "content", "document"])
@pytest.mark.parametrize(
    "reading", [Reading(mode="cpt"), Reading(format="text", mode="cpt_mixed"), Reading(mode="cpt_mixed")]
)
def test_what_the_text_of_a_document_may_be_called(field: str, reading: Reading, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({field: "Long.", "lang": "en", "id": 3}) + "\n")
    found = read_conversations(str(path), format=reading, on_bad_row="error")
    (document,) = found.conversations
    assert isinstance(document, Document)
    assert (document.text, document.id, document.meta) == ("Long.", "3", {"lang": "en"})
    assert found.mappings == {"text": {f"{field} → document": 1}}


def test_text_comes_before_its_other_names_and_a_message_is_no_document(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"content": "Other.", "text": "Long."}) + "\n")
    (document,) = read_conversations(str(path), format=Reading(mode="cpt"), on_bad_row="error").conversations
    assert isinstance(document, Document)
    assert (document.text, document.meta) == ("Long.", {"content": "Other."})
    with pytest.raises(RowError, match="the record is no document"):
        parse({"role": "user", "content": U}, Reading(mode="cpt"))

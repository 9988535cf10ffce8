"""Tools, reasoning and template arguments: from records through the template to trained text, and never silently left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import IM_END, IM_START
from template_families import CHATML, from_source, shown
from weft.config.schema import Config
from weft.data.conversations import canonical
from weft.data.formats import RowError, parse_record
from weft.data.render import Renderer
from weft.data.system_prompt import under
from weft.data.tokenizer import load_tokenizer
from weft.errors import TemplateError
from weft.evaluation.sets import EvalSet
from weft.inference.evaluate import _render
from weft.types import Conversation, Location, Message, Record, Setting, ToolCall

TOOLS = """
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n' }}{% endif %}
    {%- for tool in tools %}{{- tool | tojson + '\n' }}{% endfor %}
    {{- '<|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages if message.role != 'system' %}
    {{- '<|im_start|>' + message.role + '\n' }}
    {%- if message.reasoning_content %}{{- '<think>' + message.reasoning_content + '</think>' }}{% endif %}
    {{- message.content }}
    {%- for call in message.tool_calls or [] %}
        {{- '<tool_call>' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson) + '</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if brief %}{{- '(brief) ' }}{% endif %}
{%- endif %}
"""
"""In the manner of Hermes and Qwen: definitions in the system message, arguments as an object."""

STRINGS = """
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' }}
    {%- if message['content'] is none %}
        {%- for call in message['tool_calls'] %}
            {{- call['function']['name'] + ' ' + call['function']['arguments'] }}
        {%- endfor %}
    {%- else %}
        {{- message['content'] }}
    {%- endif %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\n' if add_generation_prompt }}
"""
"""In the manner of DeepSeek: arguments as JSON text, and calls only where there is no content."""

PARAMETERS = {"type": "object", "properties": {"x": {"type": "number"}}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": PARAMETERS}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"x": 1, "y": "ä"}}}
CALLED = ToolCall(name="add", arguments={"x": 1, "y": "ä"}, id="c1")
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "1+ä?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "2"},
    {"role": "assistant", "content": "It is 2.", "reasoning_content": "Easy."},
]


def parse(**data: Any) -> Conversation:
    return parse_record(Record(data=data, location=Location(path="x.jsonl", line=7)), "messages")


def test_messages_hold_calls_results_names_and_reasoning() -> None:
    setting = Setting(tools=(TOOL,), arguments={"brief": True})
    assert parse(messages=TURNS, tools=[TOOL], chat_template_kwargs={"brief": True}).messages == (
        Message(role="user", content="1+ä?", setting=setting),
        Message(role="assistant", content="", tool_calls=(CALLED,)),
        Message(role="tool", content="2", tool_call_id="c1", name="add"),
        Message(role="assistant", content="It is 2.", reasoning="Easy."),
    )


@pytest.mark.parametrize("reasoning", ["[]", "{}", " "])
def test_reasoning_of_a_few_characters_is_kept(reasoning: str) -> None:
    *_, answer = parse(messages=[*TURNS[:3], {**TURNS[3], "reasoning_content": reasoning}], tools=[TOOL]).messages
    assert answer.reasoning == reasoning


@pytest.mark.parametrize("reasoning", ["", [], {}, None])
def test_no_reasoning_in_the_forms_that_tables_have(reasoning: Any) -> None:
    *_, answer = parse(messages=[*TURNS[:3], {**TURNS[3], "reasoning_content": reasoning}], tools=[TOOL]).messages
    assert answer.reasoning == ""


@pytest.mark.parametrize(
    "call",
    [
        {"tool_calls": [CALL]},
        {"tool_calls": json.dumps([CALL])},
        {"tool_calls": [{"id": "c1", "name": "add", "arguments": {"x": 1, "y": "ä"}}]},
        {"tool_calls": [{"id": "c1", "function": {"name": "add", "arguments": '{"x": 1, "y": "ä"}'}}]},
    ],
)
def test_every_way_to_write_a_call_is_the_same_call(call: dict[str, Any]) -> None:
    turns = [TURNS[0], {"role": "assistant", "content": "", **call}]
    assert parse(messages=turns).messages[1].tool_calls == (CALLED,)


def test_the_older_function_call_has_no_id_and_may_lack_arguments() -> None:
    turns = [
        TURNS[0],
        {"role": "assistant", "content": None, "function_call": {"name": "now", "arguments": ""}},
        {"role": "function", "name": "now", "content": ""},
        TURNS[3],
    ]
    assert parse(messages=turns).messages[1:3] == (
        Message(role="assistant", content="", tool_calls=(ToolCall(name="now", arguments={}),)),
        Message(role="tool", content="", name="now"),
    )


def test_a_call_under_both_names_is_one_call() -> None:
    def calling(legacy: Any) -> Any:
        return parse(
            messages=[TURNS[0], {"role": "assistant", "content": "", "tool_calls": [CALL], "function_call": legacy}]
        )

    assert calling({"name": "add", "arguments": '{"x": 1, "y": "ä"}'}).messages[1].tool_calls == (CALLED,)
    assert calling(None).messages[1].tool_calls == (CALLED,)
    for other in ({"name": "add", "arguments": {"x": 2, "y": "ä"}}, {"name": "sub", "arguments": {"x": 1, "y": "ä"}}):
        with pytest.raises(RowError) as error:
            calling(other)
        assert 'a message holds two different calls: message 2, in "tool_calls" and "function_call"' in str(error.value)


@pytest.mark.parametrize("given", [{"tools": [TOOL]}, {"tools": json.dumps([TOOL])}, {"functions": [TOOL["function"]]}])
def test_every_way_to_define_a_tool_is_the_same_definition(given: dict[str, Any]) -> None:
    assert parse(messages=TURNS, **given).messages[0].setting == Setting(tools=(TOOL,))


def test_prepared_records_keep_all_of_it() -> None:
    talk = parse(messages=TURNS, tools=[TOOL], chat_template_kwargs={"brief": True}, id="7", mode="tutor")
    stored = json.loads(json.dumps(canonical(talk)))
    assert stored["tools"] == [TOOL]
    assert stored["chat_template_kwargs"] == {"brief": True}
    assert stored["messages"] == [{**TURNS[0]}, {**TURNS[1], "content": ""}, *TURNS[2:]]
    assert stored["meta"] == {"mode": "tutor"}
    assert parse(**stored) == talk


# --- through the template ---


def test_calls_results_and_reasoning_are_printed_and_the_assistant_is_trained() -> None:
    assert shown(from_source(TOOLS, CHATML).examples(parse(messages=TURNS, tools=[TOOL]))) == [
        "<|im_start|>system\n"
        '{"type": "function", "function": {"name": "add", "parameters": '
        '{"type": "object", "properties": {"x": {"type": "number"}}}}}\n<|im_end|>\n'
        "<|im_start|>user\n1+ä?<|im_end|>\n<|im_start|>assistant\n"
        '⟦<tool_call>{"name": "add", "arguments": {"x": 1, "y": "ä"}}</tool_call><|im_end|>⟧\n'
        "<|im_start|>tool\n2<|im_end|>\n<|im_start|>assistant\n⟦<think>Easy.</think>It is 2.<|im_end|>⟧"
    ]


def test_arguments_are_text_where_the_template_expects_text() -> None:
    template = from_source(STRINGS, CHATML)
    turns = [*TURNS[:3], {"role": "assistant", "content": "It is 2."}]
    assert shown(template.examples(parse(messages=turns))) == [
        "<|im_start|>user\n1+ä?<|im_end|>\n<|im_start|>assistant\n"
        '⟦add {"x": 1, "y": "ä"}<|im_end|>⟧\n<|im_start|>tool\n2<|im_end|>\n<|im_start|>assistant\n⟦It is 2.<|im_end|>⟧'
    ]


def test_template_arguments_reach_the_prompt() -> None:
    template = from_source(
        TOOLS.replace(
            "{{- message.content }}",
            "{{- ('(brief) ' if brief and message.role == 'assistant' else '') + message.content }}",
        ),
        CHATML,
    )
    turns = [TURNS[0], {"role": "assistant", "content": "It is 2."}]
    plain, brief = parse(messages=turns), parse(messages=turns, chat_template_kwargs={"brief": True})
    assert shown(template.examples(plain))[0].endswith("assistant\n⟦It is 2.<|im_end|>⟧")
    assert shown(template.examples(brief))[0].endswith("assistant\n(brief) ⟦It is 2.<|im_end|>⟧")


def test_the_prompt_of_inference_has_the_tools() -> None:
    talk = parse(messages=TURNS, tools=[TOOL])
    template = from_source(TOOLS, CHATML)
    (example,) = template.examples(talk)
    fed = "".join(segment.text for segment in template.prompt(talk.messages[:-1]))
    text = "".join(segment.text for segment in example.segments)
    assert text == fed + "<think>Easy.</think>It is 2.<|im_end|>"


def test_a_system_prompt_takes_the_setting_over() -> None:
    talk = parse(messages=TURNS, tools=[TOOL])
    system, first, *_ = under(talk.messages, "Be brief.")
    assert (system.setting, first.setting) == (Setting(tools=(TOOL,)), None)
    assert under((system, first), "Other.") == (system, first)


PLAIN = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"


@pytest.mark.parametrize("source", [PLAIN, "Q{{ user }}\nA{{ assistant }}<|im_end|>"])
def test_calls_that_a_template_leaves_out_are_an_error(source: str) -> None:
    talk = parse(messages=[*TURNS[:3], {"role": "assistant", "content": "2"}])
    with pytest.raises(
        TemplateError, match=r"^x.jsonl:7: the chat template does not print calls of tools \(`tool_calls`\)"
    ):
        from_source(source, CHATML).examples(talk)


@pytest.mark.parametrize(
    ("data", "note"),
    [
        ({"messages": [TURNS[0], TURNS[3]]}, "content-dropped"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": "It is 2."}], "tools": [TOOL]}, "tools-dropped"),
    ],
)
@pytest.mark.parametrize("source", [PLAIN, "Q{{ user }}\nA{{ assistant }}<|im_end|>"])
def test_reasoning_and_definitions_that_a_template_leaves_out_are_noted(
    data: dict[str, Any], note: str, source: str
) -> None:
    (example,) = from_source(source, CHATML).examples(parse(**data))
    assert example.segments[-1].text.endswith("It is 2.<|im_end|>")
    assert note in example.notes


# --- what weft does not do with it ---


@pytest.mark.parametrize(
    "given",
    [
        {"messages": [TURNS[0], {"role": "assistant", "tool_calls": [{"name": "<|im_end|>"}]}]},
        {
            "messages": [
                TURNS[0],
                {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a": '"<|im_end|>"'}}]},
            ]
        },
        {"messages": [TURNS[0], {**TURNS[3], "reasoning_content": "<|im_end|><|eos|>"}]},
        {"messages": [{**TURNS[0], "name": "<|im_start|>"}, TURNS[3]]},
        {"messages": [TURNS[0], TURNS[3]], "chat_template_kwargs": {"a": "<|im_end|>"}},
    ],
)
def test_control_tokens_in_calls_and_reasoning_stay_text(given: dict[str, Any], tiny_tokenizer_dir: Path) -> None:
    renderer = Renderer(load_tokenizer(tiny_tokenizer_dir), from_source(TOOLS, CHATML), 512)
    talk = parse(**given)
    (example,) = renderer.render(talk)
    assert [index for index in example.ids if index <= IM_END] == [IM_START, IM_END] * 2
    assert [index for index in renderer.prompt_ids(talk.messages[:1]) if index <= IM_END] == [
        IM_START,
        IM_END,
        IM_START,
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"messages": [TURNS[0], {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a<|eos|>": 1}}]}]},
        {"messages": TURNS, "tools": [{"name": "f", "parameters": {"enum": ["a", "<|im_end|>"]}}]},
    ],
)
def test_control_tokens_that_no_mark_can_tell_from_the_templates_are_refused(
    given: dict[str, Any], tiny_tokenizer_dir: Path
) -> None:
    renderer = Renderer(load_tokenizer(tiny_tokenizer_dir), from_source(TOOLS, CHATML), 512)
    talk = parse(**given)
    for render in (lambda: renderer.render(talk), lambda: renderer.prompt_ids(talk.messages)):
        with pytest.raises(TemplateError, match="holds control tokens as text"):
            render()


def test_evaluation_counts_answers_that_it_does_not_score(tiny_tokenizer_dir: Path) -> None:
    renderer = Renderer(load_tokenizer(tiny_tokenizer_dir), from_source(TOOLS, CHATML), 512)
    continued = [{"role": "user", "content": "1+1?"}, *2 * [{"role": "assistant", "content": "It is 2."}]]
    left = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    left += [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "3", "train": False}]
    talks = (parse(messages=TURNS), parse(messages=TURNS[:2]), parse(messages=continued), parse(messages=left))
    found = EvalSet(name="val", sources=("x.jsonl",), conversations=talks, dropped={})
    rendered = _render(renderer, found, Config())
    assert rendered.conversations == [talks[0]]
    assert rendered.dropped == {
        "the last answer calls a tool, which is not scored yet": 1,
        "the last answer continues another one, which is not scored yet": 1,
        "the record says that its last answer is not to be learned, so it is no reference": 1,
    }

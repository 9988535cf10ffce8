"""Ids for calls of tools where a template prints none without: the same ones in training and at inference, and counted."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mask_pairs import PAIRS, A, T, U
from template_families import PLACE, from_source, shown
from weft.data.call_ids import with_call_ids
from weft.data.conversations import read_conversations
from weft.data.template import ChatTemplate
from weft.errors import TemplateError
from weft.types import Conversation, Message, ToolCall

SOURCES = Path(__file__).parent / "templates" / "pairs"


def pair(name: str) -> ChatTemplate:
    tokenizer = PAIRS[name]
    text = (SOURCES / f"{name}.jinja").read_text(encoding="utf-8")
    return ChatTemplate(text, name, tokenizer.control, tokenizer.stops, tokenizer.bos, tokenizer.eos)


def called(name: str, ident: str | None = None) -> ToolCall:
    return ToolCall(name=name, arguments={"city": "Paris"}, id=ident)


def result(content: str, ident: str | None = None) -> Message:
    return Message(role="tool", content=content, tool_call_id=ident)


def talk(*messages: Message) -> Conversation:
    return Conversation(messages=messages, location=PLACE)


IDS = re.compile('"id": "([0-9A-Za-z]{9})"')
ANSWERED = re.compile('"call_id": "([0-9A-Za-z]{9})"')


def ids(text: str) -> tuple[list[str], list[str]]:
    """The ids of calls and of their results in what Mistral's template printed."""
    return IDS.findall(text), ANSWERED.findall(text)


@pytest.mark.parametrize("name", ["mistral_tools", "mistral_v3"])
def test_calls_are_printed_by_every_template_that_needs_ids(name: str) -> None:
    (example,) = pair(name).examples(talk(U("Q"), A("", called("f")), result("1"), A("B")))[-1:]
    calls, results = ids("".join(segment.text for segment in example.segments))
    assert calls == results
    assert len(calls) == 1
    assert "call-ids" in example.notes


def test_calls_and_their_results_get_the_same_ids_in_order() -> None:
    messages = (
        U("Q"),
        A("", called("f"), called("g")),
        result("1"),
        result("2"),
        A("", called("f")),
        result("3"),
        A("B"),
    )
    (example,) = pair("mistral_tools").examples(talk(*messages))
    (text,) = shown([example])
    calls, results = ids(text)
    assert len(set(calls)) == 3  # the same call twice is two calls
    assert results == calls
    assert "call-ids" in example.notes
    assert (
        f'⟦[TOOL_CALLS][{{"name": "f", "arguments": {{"city": "Paris"}}, "id": "{calls[0]}"}}, ' in text
    )  # it is trained


def test_the_prompt_of_inference_has_the_ids_of_the_training_example() -> None:
    messages = (U("Q"), A("", called("f")), result("1"), A("B"), U("R"), A("", called("g")), result("2"), A("C"))
    template = pair("mistral_tools")
    (example,) = template.examples(talk(*messages))
    whole = "".join(segment.text for segment in example.segments)
    for count in (1, 3, 5, 7):
        prompt = "".join(segment.text for segment in template.prompt(messages[:count]))
        assert whole.startswith(prompt)


def test_ids_that_the_template_takes_are_kept_and_others_replaced() -> None:
    mine = (U("Q"), A("", called("f", "abcDEF123")), result("1", "abcDEF123"), A("B"))
    (example,) = pair("mistral_tools").examples(talk(*mine))
    assert ids(shown([example])[0]) == (["abcDEF123"], ["abcDEF123"])
    assert "call-ids" not in example.notes
    openai = (
        U("Q"),
        A("", called("f", "call_abc"), called("g", "call_def")),
        result("2", "call_def"),
        result("1", "call_abc"),
        A("B"),
    )
    (example,) = pair("mistral_tools").examples(talk(*openai))
    calls, results = ids(shown([example])[0])
    assert results == calls[::-1]
    assert "call-ids" in example.notes
    mixed = (U("Q"), A("", called("f", "abcDEF123"), called("g")), result("2"), result("1"), A("B"))
    (example,) = pair("mistral_tools").examples(talk(*mixed))
    calls, results = ids(shown([example])[0])
    assert calls[0] == "abcDEF123"
    assert results == calls


CALLS_BY_ID = re.compile(r"<\|tool_call_begin\|>(.*?)<\|tool_call_argument_begin\|>")
RESULTS_BY_ID = re.compile("## Return of (.*)")


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("given", [("call_abc", "call_def", "call_1"), (None, None, None)])
def test_ids_name_the_tool_where_the_template_prints_them_instead(given: tuple[str | None, ...], as_text: bool) -> None:
    template = pair("kimi")
    if as_text:
        either = "(call.function.arguments if call.function.arguments is string else call.function.arguments | tojson)"
        assert either in template.source
        template = from_source(template.source.replace(either, "call.function.arguments"), PAIRS["kimi"])
    first, second, third = given
    messages = (
        U("Q"),
        A("", called("f", first), called("g", second)),
        replace(result("1", first), name="f"),
        replace(result("2", second), name="g"),
        A("", called("f", third)),
        replace(result("3", third), name="f"),
        A("B"),
    )
    (example,) = template.examples(talk(*messages))
    (text,) = shown([example])
    ids = ["functions.f:0", "functions.g:1", "functions.f:2"]
    assert CALLS_BY_ID.findall(text) == ids
    assert RESULTS_BY_ID.findall(text) == ids
    assert (
        '⟦<|tool_calls_section_begin|><|tool_call_begin|>functions.f:2<|tool_call_argument_begin|>{"city": "Paris"}'
        in text
    )
    assert example.notes == ("call-ids",)


def test_ids_that_name_the_tool_are_kept() -> None:
    messages = (U("Q"), A("", called("f", "tools.f:7")), replace(result("1", "tools.f:7"), name="f"), A("B"))
    (example,) = pair("kimi").examples(talk(*messages))
    assert CALLS_BY_ID.findall(shown([example])[0]) == ["tools.f:7"]
    assert "call-ids" not in example.notes


def test_ids_are_the_same_whenever_they_are_made() -> None:
    messages = (U("Q"), A("", called("f")), result("1"), A("B"))
    made = with_call_ids(messages, lambda ident: ident == "123456789")
    assert made[1].tool_calls[0].id == made[2].tool_call_id == "MFq1Eaebc"
    assert with_call_ids(made, lambda ident: ident == "123456789") is made


@pytest.mark.parametrize("name", sorted(set(PAIRS) - {"mistral_tools", "mistral_v3", "kimi", "kimi_thinking"}))
def test_other_templates_are_given_what_the_record_has(name: str) -> None:
    messages = (U("Q"), A("", called("f")), result("1"), A("B"))
    with_ids = (U("Q"), A("", called("f", "call_1")), T("1", 1), A("B"))
    for given in (messages, with_ids, (*with_ids[:2], replace(with_ids[2], tool_call_id="call_1"), with_ids[3])):
        try:
            examples = pair(name).examples(talk(*given))
        except TemplateError:  # it prints no calls
            continue
        assert all("call-ids" not in example.notes for example in examples)


def test_real_calls_without_ids(shared_data: Path) -> None:
    talks = read_conversations(shared_data / "toolcall_en.json", on_bad_row="error").conversations
    template = pair("mistral_tools")
    with_calls = [talk for talk in talks if any(message.tool_calls for message in talk.messages)]
    assert (len(talks), len(with_calls)) == (300, 153)
    for one in with_calls[::10]:
        for example in template.examples(one):
            calls, results = ids("".join(segment.text for segment in example.segments))
            assert len(calls) == sum(len(message.tool_calls) for message in one.messages)
            assert results == calls[: len(results)]
            assert "call-ids" in example.notes

"""Plans for records with reasoning, calls of tools, their results and definitions: always what the derivation in full gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from mask_pairs import PAIRS, READY, SHAPES, TEXT_ONLY, TEXT_SHAPES, A, S, T, U, shaped
from planned import Compared, planner_of
from planned_records import FUNCTION, TOOL, WHOLE, weighed
from varied_records import in_its_place, varied
from weft.data.control import ControlTokens
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.said import in_other_words
from weft.data.shape import Depth, shape_of
from weft.data.shape_details import details_of
from weft.types import Message, Setting, ToolCall

pytestmark = pytest.mark.usefixtures("hardly_any_trial")


# ---- templates in the shapes of well-known families ---------------------------------------------------------------------


@pytest.mark.parametrize("family", PAIRS)
def test_plans_are_the_derivation(family: str) -> None:
    pair = READY[family]
    compared = Compared(pair.plain, pair.control)
    more = [*sorted(pair.control.control)[:3], *(f"x{token}y" for token in sorted(pair.control.control)[:3])]
    for name in TEXT_SHAPES if family in TEXT_ONLY else SHAPES:
        random = Random(name)
        for _ in range(5):
            messages = varied(shaped(family, name), random, more)
            assert compared.agrees(messages), messages
    assert compared.planner.disproved is None


RECORDS: dict[str, list[Message]] = {
    "reasoning": [U("Why?"), A("So.", reasoning="hm")],
    "reasoning twice": [S("Be brief."), U("Why?"), A("So.", reasoning="hm"), U("And?"), A("Yes.", reasoning="well")],
    "tools": [U("Hi?", setting=Setting(tools=(TOOL,))), A("Hello.")],
    "call": [U("Rain?", setting=Setting(tools=(TOOL,))), A("", FUNCTION), T("21", 1), A("No.")],
    "call and words": [U("Rain?"), A("I look.", FUNCTION), T("21\n", 1), A("No.\n")],
}
BY_PLAN = (
    *(
        "chatml_tools",
        "qwen3",
        "qwen3_thinking",
        "llama31",
        "deepseek",
        "deepseek_r1",
        "deepseek32",
        "mistral_tools",
        "mistral_v3",
    ),
    *("glm4", "glm45", "gpt_oss_tools", "granite", "cohere", "apertus", "exaone4", "gemma4", "kimi", "kimi_k3"),
    *("kimi_thinking", "minimax_m2"),
)


@pytest.mark.parametrize(("family", "record"), [(family, record) for family in BY_PLAN for record in RECORDS])
def test_records_with_more_than_contents_go_by_plan(family: str, record: str) -> None:
    pair = READY[family]
    compared = Compared(pair.plain, pair.control)
    assert compared.goes_by_plan(RECORDS[record])
    assert compared.agrees(RECORDS[record])


@pytest.mark.parametrize("family", ["mistral_tools", "mistral_v3"])
def test_answers_behind_results_go_by_plan_where_only_those_behind_questions_are_spliced(family: str) -> None:
    pair = READY[family]
    compared = Compared(pair.plain, pair.control)
    other = replace(FUNCTION, id="987654321")
    chain = [A("", FUNCTION), T("21", 1), A("", other), replace(T("22", 1), tool_call_id=other.id), A("Hot.")]
    messages = [S("Be brief."), U("Rain?", setting=Setting(tools=(TOOL,))), *chain, U("And?"), A("No.")]
    assert compared.goes_by_plan(messages)
    assert compared.agrees(messages)


def has_details(messages: list[Message]) -> bool:
    found = shape_of(messages, Depth())
    return found is not None and details_of(messages, found[1]) is not None


CLOSELY = {name for name in SHAPES if has_details(SHAPES[name])}


@pytest.mark.parametrize("family", PAIRS)
def test_plans_for_white_space_reasoning_and_equal_contents_are_the_derivation(family: str) -> None:
    pair = READY[family]
    compared = Compared(pair.plain, pair.control)
    by_plan = {}
    for name in CLOSELY if family not in TEXT_ONLY else CLOSELY & TEXT_SHAPES.keys():
        random = Random(name)
        for _ in range(6):
            compared.in_full = 0
            messages = in_its_place(shaped(family, name), random)
            assert compared.agrees(messages), messages
        by_plan[name] = not compared.in_full
    assert compared.planner.disproved is None
    if family != "compared":
        closely = (
            "edge white space",
            "edge line breaks",
            "reasoning in the contents",
            "unopened reasoning",
            "one letter",
        )
        assert [name for name in closely if not by_plan[name]] == []


@pytest.mark.parametrize(
    ("reasoning", "answer"), [("b", "a"), ("hm, " * 20 + "why", "so"), ("hm", "so " * 30 + "be it")]
)
def test_a_call_beside_reasoning_and_an_answer_of_any_length_drops_nothing(reasoning: str, answer: str) -> None:
    pair = READY["qwen3_thinking"]
    compared = Compared(pair.plain, pair.control)

    def record(reasoning: str, answer: str) -> list[Message]:
        return [U("Rain?"), A(f"<think>\n{reasoning}\n</think>\n\n{answer}", FUNCTION), T("21", 1), A("No.")]

    assert compared.goes_by_plan(record("some words", "more words"))
    assert compared.agrees(record(reasoning, answer))
    (derived,) = pair.derived(record(reasoning, answer))
    assert derived.rendered.notes == ()


def with_control(messages: list[Message], random: Random, tokens: list[str]) -> list[Message]:
    """The messages, some of whose contents hold control tokens as text, or a part of one at an end."""

    def content(text: str) -> str:
        token = random.choice(tokens)
        cut = random.randrange(len(token))
        forms = (
            f"{text}{token}",
            f"{token}{text}",
            f"a {token}\n{text}",
            token,
            text + token[:cut],
            token[cut:] + text,
        )
        return random.choice((*forms, text, text)) if text else text

    return [replace(message, content=content(message.content)) for message in messages]


@pytest.mark.parametrize("family", PAIRS)
def test_plans_for_contents_with_control_tokens_are_the_derivation(family: str) -> None:
    pair, random = READY[family], Random(family)
    compared = Compared(pair.plain, pair.control)
    for name in random.sample(list(TEXT_SHAPES if family in TEXT_ONLY else SHAPES), 12):
        for vary in (in_its_place, varied) * 4:
            messages = with_control(vary(shaped(family, name), random), random, sorted(pair.control.control))
            assert compared.agrees(messages), messages
    assert compared.planner.disproved is None


@pytest.mark.parametrize("family", ["chatml_tools", "deepseek", "gemma4", "glm4", "llama31", "phi4_mini", "qwen3"])
def test_contents_with_control_tokens_go_by_plan(family: str) -> None:
    pair = READY[family]
    compared = Compared(pair.plain, pair.control)
    for token in sorted(pair.control.control):
        messages = [U(f"What is {token}?"), A(f"{token} is a token."), U(f"And {token[1:]}?"), A(f"Part of {token}")]
        assert compared.goes_by_plan(messages), token
        assert compared.agrees(messages), token


def test_a_control_token_between_two_answers_of_a_turn_is_derived_in_full() -> None:
    """It may be what closes the first of them; so this record is refused."""
    pair = READY["minicpm"]
    compared = Compared(pair.plain, pair.control)
    assert compared.goes_by_plan([U("a b c"), A("d e f"), A("g h i")])
    assert compared.agrees([U("a b c"), A("d e f"), A("</s></s>")])
    assert compared.in_full


def always_asking(family: str) -> Printer:
    """That family's template, which prints its generation prompt behind every conversation."""
    source = re.sub(r"\badd_generation_prompt\b(?! is)", "true", READY[family].plain.template.source)
    return Printer(JinjaTemplate(source, family), bos=PAIRS[family].bos, eos=PAIRS[family].eos)


ALWAYS_ASKING = {family: printer for family in PAIRS if (printer := always_asking(family)).standing_prompt}


@pytest.mark.parametrize("family", ALWAYS_ASKING)
def test_plans_of_templates_that_always_ask_are_the_derivation(family: str) -> None:
    compared, random = Compared(ALWAYS_ASKING[family], READY[family].control), Random(family)
    for name in random.sample(list(TEXT_SHAPES if family in TEXT_ONLY else SHAPES), 12):
        for vary in (in_its_place, varied) * 3:
            messages = vary(shaped(family, name), random)
            assert compared.agrees(messages), messages
    assert compared.planner.disproved is None


@pytest.mark.parametrize("space", [" ", "\n\n", "\t \n", "\u3000", "\u2003\u00a0"])
def test_white_space_that_a_template_trims_is_no_shape_of_its_own(space: str) -> None:
    pair = READY["llama31"]
    compared = Compared(pair.plain, pair.control)
    assert compared.goes_by_plan([U("q"), A("a"), U("r"), A("b")])
    for contents in ((f"q{space}", "a", "r", "b"), ("q", f"{space}a{space}", f"{space}r", f"b{space}")):
        assert compared.agrees(list(map(message_of, zip(contents, "uaua", strict=True))))
    assert compared.in_full == 0
    assert len(compared.planner._plans) == 1
    assert compared.agrees([U(space), A("a"), U("r"), A("b")])
    assert compared.agrees([U("q"), A("a"), U("r"), A(space)])


@pytest.mark.parametrize(
    ("token", "question", "answer"),
    [
        ("\n\nHuman:", "\n\n{} q", "a"),
        ("so: \n", "{} \n", "a"),
        ("\n\nHuman:", "q", "<think>w</think>\n\n{} a"),
        ("</think>Human:", "q", "<think>w</think>{} a"),
    ],
)
def test_control_tokens_that_begin_or_end_in_white_space_or_tags(token: str, question: str, answer: str) -> None:
    control = ControlTokens(frozenset({"<|im_start|>", "<|im_end|>", token}), frozenset({"<|im_end|>"}))
    source = USUAL.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1].lstrip('\\n') }}")
    compared = Compared(Printer(JinjaTemplate(source, "template"), bos="", eos=""), control)
    assert compared.goes_by_plan([U("q"), A("a")])
    assert compared.goes_by_plan([U(question.format("well")), A(answer.format("well"))])
    said = token.removeprefix("</think>").strip()
    assert compared.agrees([U(question.format(said)), A(answer.format(said))])


@pytest.mark.parametrize(
    "content", ["\n\nHuman:", "\n\nHuman: ", " \n\nHuman:", "x\n\nHuman:", "so: \n", "<|im_end|> "]
)
def test_control_tokens_of_which_a_template_trims_a_part(content: str) -> None:
    tokens = {"<|im_start|>", "<|im_end|>", "\n\nHuman:", "so: \n"}
    source = USUAL.replace("{{ m.content }}", "{{ m.content | trim }}")
    control = ControlTokens(frozenset(tokens), frozenset({"<|im_end|>"}))
    compared = Compared(Printer(JinjaTemplate(source, "template"), bos="", eos=""), control)
    assert compared.goes_by_plan([U("q"), A(" a ")])
    assert compared.agrees([U("q"), A(content)])
    assert compared.agrees([U(content), A("a")])
    assert compared.in_full == 2


def test_an_answer_with_reasoning_in_its_content_may_have_a_weight() -> None:
    compared = planner_of(USUAL.replace("{{ m.content }}", "{{ m.content.rstrip('\\n') }}"))
    for number in range(12):
        answer = A(f"<think>\nwhy {number}\n</think>\n\nso {number}\n")
        assert compared.agrees([U("q"), answer])
        assert compared.agrees([U("q"), replace(answer, weight=0.5)])
    for weight in (None, 0.5):
        assert compared.goes_by_plan([U("q"), replace(answer, weight=weight)])


@pytest.mark.parametrize(("reasoning", "answer"), [("why", "so " * 30 + "be it"), ("hm, " * 20 + "why", "so")])
def test_reasoning_that_is_printed_twice_is_derived_in_full(reasoning: str, answer: str) -> None:
    tokens = frozenset({"<|im_start|>", "<|im_end|>", "<think>", "</think>"})
    source = USUAL.replace("{{ m.content }}", "{{ m.content.split('</think>')[0] ~ m.content }}")
    printer = Printer(JinjaTemplate(source, "template"), bos="", eos="")
    compared = Compared(printer, ControlTokens(tokens, frozenset({"<|im_end|>"})))
    for why, so in (*((f"why {number}", f"so {number}") for number in range(9)), (reasoning, answer)):
        assert compared.agrees([U("q"), A(f"<think>{why}</think>{so}"), U("r"), A("s")])


def message_of(said: tuple[str, str]) -> Message:
    content, role = said
    return U(content) if role == "u" else A(content)


@pytest.mark.parametrize("family", ["nemotron", "nemotron_v2", "switches"])
@pytest.mark.parametrize("system", ["/no_think", "Be brief. /no_think", "/think"])
def test_system_messages_that_a_template_looks_into_are_a_shape_each(family: str, system: str) -> None:
    compared = Compared(READY[family].plain, READY[family].control)
    assert compared.goes_by_plan([S(system), U("q"), A("a")])
    assert compared.agrees([S(system), U("another"), A("answer")])
    assert compared.in_full == 0
    assert compared.agrees([S(f"{system}!"), U("another"), A("answer")])
    assert compared.agrees([S(system), U(system), A("answer")])


TRIMMED_IN_PART = {
    "one end": "{{ m.content.rstrip() }}",
    "line breaks": "{{ m.content.strip('\n') }}",
    "where there is none": "{{ m.content.strip() if m.content.startswith('a') else m.content }}",
    "where there is some": "{{ m.content.strip() if m.content.endswith(' ') else m.content }}",
    "and not": "{{ m.content }}{{ m.content.strip() }}",
    "without the first": "{{ m.content[1:] if m.content.strip() == 'x' else m.content }}",
    "where a text with a space is absent": "{{ m.content.strip() if ' b' not in m.content else '' }}",
    "as JSON": "{{ (m.content | tojson)[1:-1] if m.content.strip() }}",
}


@pytest.mark.parametrize("content", TRIMMED_IN_PART.values(), ids=TRIMMED_IN_PART)
def test_white_space_that_is_trimmed_in_part_is_looked_at(content: str) -> None:
    compared = planner_of(USUAL.replace("{{ m.content }}", content))
    for question in ("q", "q ", " q", "ab ", "a b ", "\nq\n", " b"):
        for answer in ("x", "x ", "a\n", " b", " a b"):
            for _ in range(2):
                assert compared.agrees([U(question), A(answer)])
    assert compared.planner.disproved is None


# ---- what templates may ask ---------------------------------------------------------------------------------------------

HEAD = (
    "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
)
CALL = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
TAIL = "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
USUAL = HEAD + CALL + TAIL

PROVED = {
    "as they are": USUAL,
    "reasoning trimmed": USUAL.replace("{{ m.reasoning_content }}", "{{ m.reasoning_content.strip() }}"),
    "reasoning split": USUAL.replace("{{ m.reasoning_content }}", "{{ m.reasoning_content.split('</think>')[0] }}"),
    "a kind of arguments": USUAL.replace(
        "{{ c.function.arguments | tojson }}",
        "{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}",
    ),
    "arguments twice": USUAL.replace(CALL, CALL + "{{ c.function.arguments | tojson }}"),
    "arguments indented": USUAL.replace("arguments | tojson", "arguments | tojson(indent=2)"),
    "arguments first": USUAL.replace(CALL, "{{ c.function.arguments | tojson }} {{ c.function.name }}"),
    "a call as JSON": USUAL.replace(CALL, "{{ {'n': c.function.name, 'a': c.function.arguments} | tojson }}"),
    "a call as JSON, indented": USUAL.replace(
        CALL, "{{ {'a': c.function.arguments} | tojson(indent=4) }}{{ c.function.name }}"
    ),
    "arguments by name": USUAL.replace(
        "{{ c.function.arguments | tojson }}",
        "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v if v is string else v | tojson }};{% endfor %}",
    ),
    "a call as JSON, open": USUAL.replace(CALL, "{{ (c.function | tojson)[:-1] + ', 1}' }}"),
    "a name as JSON, bare": USUAL.replace("{{ c.function.name }}", "{{ (c.function.name | tojson)[1:-1] }}"),
    "two ids": USUAL.replace(
        "{{ m.content }}",
        "{{ 'X' if m.tool_call_id and m.tool_call_id == messages[1].tool_calls[0].id }}{{ m.content }}",
    ),
    "two messages": USUAL.replace("{{ m.content }}", "{{ 'X' if m == messages[2] }}{{ m.content }}"),
    "safe arguments": USUAL.replace("arguments | tojson", "arguments | tojson | safe"),
    "arguments by name, as texts": USUAL.replace(
        "{{ c.function.arguments | tojson }}",
        "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v | string if v is string or v is number }}"
        "{{ v if v is number else v | tojson | safe }};{% endfor %}",
    ),
    "typed parts": USUAL.replace(
        "{{ m.content }}", "{{ m.content.content if m.content.content is defined else m.content }}"
    ),
    "a name": USUAL.replace("{{ m.content }}", "{{ 'X' if m.name == 'python' }}{{ m.content }}"),
    "a tool's name": USUAL.replace(CALL, "{{ 'X' if c.function.name == 'python' }}" + CALL),
    "the length of an id": USUAL.replace(CALL, "{{ raise_exception('!') if c.id | length != 9 }}{{ c.id }}" + CALL),
    "tools as a list": USUAL.replace(
        "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}", "{{ tools | tojson }}"
    ),
    "tools indented": USUAL.replace("{{ t | tojson }}", "{{ t | tojson(indent=4) }}"),
    "functions of tools": USUAL.replace("{{ t | tojson }}", "{{ t.function | tojson }}"),
    "descriptions of tools": USUAL.replace("{{ t | tojson }}", "{{ t.function.description[:9] }}"),
    "tools counted": USUAL.replace("{{ t | tojson }}", "{{ tools | length }}{{ t.type }}"),
    "the number of arguments": USUAL.replace(CALL, CALL + "{{ c.function.arguments | length }}"),
    "an attribute of the watch": USUAL.replace(CALL, CALL + "{{ 'X' if c.function.arguments.text is defined }}"),
    "in arguments' text": USUAL.replace(CALL, CALL + "{{ 'X' if 'Oslo' in c.function.arguments | tojson }}"),
    "a name in JSON's text": USUAL.replace(CALL, CALL + "{{ 'X' if 'python' in (c.function | tojson) }}"),
    "arguments as text": USUAL.replace("{{ c.function.arguments | tojson }}", "{{ c.function.arguments }}"),
}
LOOKING = {
    "reasoning's length": USUAL.replace(
        "{{ m.content }}", "{{ 'X' if m.reasoning_content | length > 9 }}{{ m.content }}"
    ),
    "a part of reasoning": USUAL.replace("{{ m.reasoning_content }}", "{{ m.reasoning_content[:99] }}"),
    "reasoning in a text": USUAL.replace(
        "{{ m.content }}", "{{ 'X' if m.reasoning_content and m.reasoning_content in 'hm' }}{{ m.content }}"
    ),
    "reasoning in capitals": USUAL.replace("{{ m.reasoning_content }}", "{{ m.reasoning_content | capitalize }}"),
    "arguments in two ways": USUAL.replace(CALL, CALL + "{{ c.function.arguments | tojson(indent=2) }}"),
    "arguments' text": USUAL.replace(
        "{{ c.function.arguments | tojson }}", "{{ (c.function.arguments | tojson)[:99] }}"
    ),
    "arguments' end": USUAL.replace(CALL, CALL + "{{ (c.function | tojson)[-9:] }}"),
    "arguments' letters": USUAL.replace(CALL, CALL + "{{ (c.function | tojson)[:-5] }}"),
    "a letter": USUAL.replace(CALL, CALL + "{{ (c.function | tojson)[3] }}"),
    "arguments' length": USUAL.replace(CALL, CALL + "{{ 'X' if (c.function.arguments | tojson | length) > 30 }}"),
    "sorted by a name": USUAL.replace(CALL, CALL + "{{ 'X' if c.function.name < 'p' }}"),
    "a name as a key": USUAL.replace(CALL, CALL + "{{ {'python': 'X'}[c.function.name] }}"),
}


@pytest.mark.parametrize("source", PROVED.values(), ids=PROVED)
def test_what_tells_nothing_is_proved(source: str) -> None:
    compared = planner_of(source)
    assert compared.goes_by_plan(WHOLE)
    for seed in range(40):
        assert compared.agrees(varied(WHOLE, Random(seed)))
    assert compared.planner.disproved is None


@pytest.mark.parametrize("source", LOOKING.values(), ids=LOOKING)
def test_looking_proves_nothing(source: str) -> None:
    compared = planner_of(source)
    assert not compared.goes_by_plan(WHOLE)
    for seed in range(20):
        assert compared.agrees(varied(WHOLE, Random(seed)))
    assert compared.planner.disproved is None


THROUGH_ARGUMENTS = (
    "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v if v is string else v | tojson }};{% endfor %}",
    "{% for k, v in c.function.arguments | items %}{{ k }}={{ v if v is string else v | tojson }};{% endfor %}",
    "{% for k in c.function.arguments %}{{ k }}{{ c.function.arguments[k] | tojson }}{% endfor %}",
    "{% for k in c.function.arguments.keys() %}{{ k if k in c.function.arguments }}{{ loop.index }}{% endfor %}",
    "{{ c.function.arguments | length }}{% for v in c.function.arguments.values() %}{{ v | tojson }}{% endfor %}",
    "{% if c.function.arguments is mapping and c.function.arguments %}{{ c.function.arguments.items() | length }}{% endif %}",
)
INTO_ARGUMENTS = (
    "{{ c.function.arguments.city }}",
    "{{ 'X' if 'city' in c.function.arguments }}{{ c.function.arguments['days'] }}",
    "{{ 'X' if c.function.arguments != {} }}",
    "{{ c.function.arguments.get('city', '-') }}",
    "{% for k, v in c.function.arguments | dictsort %}{{ k }}{{ v if v is string }}{% endfor %}",
    "{% for k in c.function.arguments.keys() | sort %}{{ k }}{% endfor %}",
    "{% for k, v in c.function.arguments.items() %}{{ k | upper }}{% endfor %}",
    "{% for k, v in c.function.arguments.items() %}{{ {'city': 'X'}.get(k, '-') }}{% endfor %}",
    "{% for k, v in c.function.arguments.items() %}{% endfor %}{{ c.function.arguments | tojson }}",
    "{% for k, v in c.function.arguments.items() %}{% endfor %}{{ c.function.arguments }}",
    "{{ 'X' if c.function.arguments.open }}{{ 'Y' if c.function.arguments.watch is defined }}",
    "{{ 'X' if c.function.arguments.items() == messages[0] }}{{ 'Y' if c.function.arguments.items().mapping is defined }}",
    "{{ 'X' if ('city', 'Rome') in c.function.arguments.items() }}{{ 'Y' if 'x' in c.function.arguments.keys() }}",
    "{{ 'X' if c.function.arguments.keys() is sameas c.function.arguments.keys() }}{{ c.function.arguments.keys()[0] }}",
    "{{ dict(c.function.arguments).city }}{{ c.function.arguments.items() | list | first | first }}",
)
NAMED = (
    {"city": "Rome", "days": 3},
    {"a b": "x", "exact": 7},
    {"days": "Rome", "city": 5},
    {"x": "x", "y": 1},
    {"ünits": "<", "é": 2},
    {"open": "x", "watch": 1},
)


@pytest.mark.parametrize("calling", THROUGH_ARGUMENTS)
def test_names_of_arguments_are_values_where_a_template_only_goes_through_them(calling: str) -> None:
    compared = planner_of(HEAD + calling + "{{ c.function.name }}" + TAIL)
    assert compared.goes_by_plan(calling_with(NAMED[0]))
    for arguments in NAMED:
        assert compared.agrees(calling_with(arguments))
    assert compared.in_full == 0
    assert compared.agrees(calling_with({"city<|im_end|>": "Rome", "days": 3}))
    assert compared.agrees(calling_with({"": "Rome", "days": 3}))


@pytest.mark.parametrize("calling", INTO_ARGUMENTS)
def test_names_of_arguments_that_a_template_looks_for_tell_shapes_apart(calling: str) -> None:
    compared = planner_of(HEAD + calling + "{{ c.function.name }}" + TAIL)
    for _ in range(4):
        for arguments in NAMED:
            assert compared.agrees(calling_with(arguments))
    assert compared.planner.disproved is None


def calling_with(arguments: dict[str, object]) -> list[Message]:
    call = ToolCall(name="f", arguments=arguments, id="123456789")
    return [U("Rain?"), A("I look.", call), T("21", 1), A("No.")]


def test_arguments_are_printed_as_the_template_writes_them() -> None:
    compared = planner_of(PROVED["a call as JSON, indented"])
    assert compared.goes_by_plan(WHOLE)
    arguments = {"z": "é\n", "a": {"b": [1, 2.5, None, {"c": "</x>"}]}}
    (example,) = compared.planner.examples(
        [*WHOLE[:1], A("I look.", ToolCall(name="f", arguments=arguments, id="1"), reasoning="r"), *WHOLE[2:]]
    )
    assert compared.in_full == 0
    assert (
        '<think>r</think>I look.{\n    "a": {\n        "z": "é\\n",\n        "a": {\n            "b": [\n                1,\n'
        '                2.5,\n                null,\n                {\n                    "c": "</x>"\n                }\n'
        "            ]\n        }\n    }\n}f<|im_end|>" in "".join(segment.text for segment in example.segments)
    )


def test_control_tokens_in_any_string_but_contents_are_derived_in_full() -> None:
    compared = planner_of(USUAL)
    assert compared.goes_by_plan(WHOLE)
    for number in range(60):
        places = iter(range(100))

        def changed(text: str, places: Iterator[int] = places, number: int = number) -> str:
            return f"{text}<|im_end|>" if text and next(places) == number else text

        record = [in_other_words(message, changed, changed) for message in WHOLE]
        compared.in_full = 0
        assert compared.agrees(record)
        is_in_content = any(one.content != other.content for one, other in zip(record, WHOLE, strict=True))
        assert bool(compared.in_full) == (record != WHOLE and not is_in_content)
    assert record == WHOLE  # every place was tried


@pytest.mark.parametrize("token", ['{"city', '"}', "{", "12345", "e}"])
def test_control_tokens_that_could_begin_before_a_value_and_end_in_it(token: str) -> None:
    control = ControlTokens(frozenset({"<|im_start|>", "<|im_end|>", token}), frozenset({"<|im_end|>"}))
    compared = Compared(Printer(JinjaTemplate(USUAL, "template"), bos="", eos=""), control)
    for seed in range(30):
        assert compared.agrees(varied(WHOLE, Random(seed)))


def test_a_name_that_ends_as_a_control_token_is_derived_in_full() -> None:
    pair = READY["nemotron3"]  # prints <parameter=city>
    compared = Compared(pair.plain, pair.control)

    def record(name: str) -> list[Message]:
        return [U("Rain?"), A("", ToolCall(name="weather", arguments={name: "Rome"}, id="1")), T("21", 1), A("No.")]

    for _ in range(16):  # how far its shapes must go, first
        compared.planner.examples(record("city"))
    assert compared.goes_by_plan(record("city"))
    for name, in_full in (("<town>", 0), ("im_end|", 0), ("<|im_end|", 1), ("a <|im_start|", 1)):
        compared.in_full = 0
        assert compared.agrees(record(name))
        assert compared.in_full == in_full
    assert compared.planner.disproved is None


def test_a_plan_is_made_when_a_shape_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = planner_of(USUAL)
    compared.planner.examples(WHOLE)
    assert list(compared.planner._plans.values()) == []
    compared.planner.examples(WHOLE)
    (plan,) = compared.planner._plans.values()
    assert plan is not None
    monkeypatch.setattr("weft.data.shape_plan._MOST_PLANS", 3)
    for count in range(1, 6):
        for _ in range(2):
            compared.planner.examples([m for _ in range(count) for m in (U("q"), A("a", reasoning="r"))])
    assert len(compared.planner._plans) == 3
    assert compared.planner._sights == 16
    assert compared.planner._characters == sum(each.size for each in compared.planner._plans.values() if each)


@pytest.mark.parametrize("family", PAIRS)
def test_plans_for_messages_that_say_what_they_count_are_the_derivation(family: str) -> None:
    pair, random = READY[family], Random(family)
    options: dict[str, Any] = random.choice([{}, {"last_turn": True}, {"mismatch": "splice"}])
    compared = Compared(pair.plain, pair.control, **options)
    for name in random.sample(list(TEXT_SHAPES if family in TEXT_ONLY else SHAPES), 12):
        for vary in (in_its_place, varied) * 4:
            messages = weighed(vary(shaped(family, name), random), random)
            assert compared.agrees(messages), messages
    assert compared.planner.disproved is None


@pytest.mark.parametrize("family", ["chatml_tools", "deepseek_r1", "gemma4", "gpt_oss_tools", "llama31", "qwen3"])
def test_messages_that_say_what_they_count_go_by_plan(family: str) -> None:
    pair = READY[family]
    compared = Compared(pair.plain, pair.control)
    plain = [S("Be brief."), U("Why?"), A("So."), U("And?"), A("Yes.")]
    assert compared.goes_by_plan(plain)
    for seed in range(20):
        messages = weighed(plain, Random(seed))
        assert compared.agrees(messages)
        assert not compared.in_full


def test_what_a_call_counts_where_it_is_history_is_derived_in_full() -> None:
    """Each text among its arguments is printed for itself, and these are no part of the shape."""
    pair = READY["qwen3"]
    compared = Compared(pair.plain, pair.control)
    assert compared.goes_by_plan(RECORDS["call"])
    messages = [replace(message, weight=0.5) for message in RECORDS["call"]]
    assert compared.agrees(messages)
    assert compared.in_full


@pytest.mark.parametrize("question", ["Why?", " Why?", "Why?\n"])
def test_white_space_beside_a_question_is_no_part_of_what_it_counts(question: str) -> None:
    compared = planner_of(USUAL)
    assert compared.goes_by_plan([U("Well?"), A("So.")])
    messages = [replace(U(question), weight=0.5), A("So.")]
    assert compared.agrees(messages)
    (example,) = compared.planner.examples(messages)
    context = example.segments[0]
    ((start, end, weight),) = context.weights
    assert (context.text[start:end], weight) == ("Why?<|im_end|>" if question[-1] == "?" else "Why?\n<|im_end|>", 0.5)

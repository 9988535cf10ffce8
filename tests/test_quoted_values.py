"""Plans for texts that a template writes as JSON, where they look otherwise: always what the derivation in full gives."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_pairs import READY, A, S, T, U
from planned import Compared
from weft.data.derive import Derived
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.shape_details import details_of
from weft.data.shape_pattern import PLACE, Pattern, number_as_json, number_at, quotable_word, word
from weft.types import Message, Setting, ToolCall

pytestmark = pytest.mark.usefixtures("hardly_any_trial")


def called(city: str, result: str, **more: Any) -> list[Message]:
    """A question, a call of a tool, what it found, and the answer."""
    tool = {"type": "function", "function": {"name": "weather", "description": more.pop("description", "d")}}
    call = ToolCall(name="weather", arguments={"city": city} | more, id="123456789")
    return [U("Rain?", setting=Setting(tools=(tool,))), A("", call), T(result, 1), A("No.")]


QUOTED = called('Rome "EUR"', '{"sky": "blüe"}\n')
OTHER = called("a\\b", "one\ntwo\n")


# ---- stand-ins that JSON changes ----------------------------------------------------------------------------------------


@given(number=st.integers(0, 99_999), as_json=st.integers(0, 99_999))
def test_a_quotable_word_stands_for_one_value_and_as_json_for_another(number: int, as_json: int) -> None:
    said = quotable_word(number, as_json)
    written = json.dumps(said)[1:-1]
    assert written != said
    assert Pattern(f"a{said}b{written}c{word(7)}").numbers == [number, as_json, 7]
    for place, stands_for in ((said, number), (written, as_json)):
        marked = "".join(f"\U000f0001{character}" for character in place)[1:]
        for each in (place, place.swapcase(), marked):
            assert PLACE.fullmatch(each)
            assert (number_at(each), number_as_json(each)) == (stands_for, as_json)
    assert number_as_json(word(number)) is None


def test_what_json_changes_is_two_values() -> None:
    messages = [U("q"), T("a\n", 1), T("a", 2), A("b")]
    found = details_of(messages, [message.content for message in messages], quoted_in=lambda values: [1, 2])
    assert found is not None
    details, values = found
    assert details.contents == ((0,), (1, "\n"), (2,), (3,))
    assert details.quoted == ((1, 4),)  # the second result is the first one
    assert details.same == (0, 1, 1, 3, 4)
    assert values == ["q", "a", "a", "b", ""]


# ---- templates in the shapes of well-known families ---------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt_oss_tools", "olmo3", "lfm2", "cohere"])
def test_results_and_arguments_in_json_go_by_plan(family: str) -> None:
    compared = Compared(READY[family].plain, READY[family].control)
    for _ in range(16):  # how far its shapes must go, first
        compared.planner.examples(QUOTED)
    assert compared.goes_by_plan(QUOTED)
    compared.in_full = 0
    assert compared.agrees(OTHER)
    assert not compared.in_full
    for city, result in (("Rome", "dry"), ('"', "\\"), ("é", '"\n'), ('Rome "EUR"', 'Rome "EUR"'), ("No.", 'N"o.')):
        for _ in range(8):
            assert compared.agrees(called(city, result))
    assert compared.planner.disproved is None


# ---- what templates may write -------------------------------------------------------------------------------------------

START = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
CALLS = "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% for k, v in c.function.arguments.items() %}"
END = "{% endfor %}{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CONTENT = "{{ m.content | tojson if m.role == 'tool' else m.content }}"
PROVED = {
    "in JSON": START + CONTENT + CALLS + "{{ k }}={{ v | tojson }}" + END,
    "in ASCII": START + CONTENT + CALLS + "{{ k | tojson }}: {{ v | tojson(ensure_ascii=true) }}" + END,
    "as said, and in JSON": START + CONTENT + CALLS + "{{ k }}={{ v | tojson }} ({{ v }})" + END,
    "trimmed": START + CONTENT.replace("m.content | tojson", "m.content | trim | tojson") + CALLS + "{{ v | tojson }}" + END,
    "among others": START + "{{ {'of': m.name, 'is': m.content} | tojson if m.role == 'tool' else m.content }}" + CALLS
    + "{{ [k, v] | tojson }}" + END,
    "definitions": "{% for t in tools or [] %}{{ t.function.name }}: {{ t.function.description | tojson }}\n{% endfor %}"
    + START + "{{ m.content }}" + CALLS + "{{ v }}" + END,
}  # fmt: skip
LOOKING = {
    "in two ways": START + "{{ m.content }}" + CALLS + "{{ v | tojson }}{{ v | tojson(ensure_ascii=true) }}" + END,
    "for quotes": START + "{{ m.content }}" + CALLS + "{{ v | tojson }}{{ 'X' if '\"' in v }}" + END,
    "as it is written": START + "{{ m.content }}" + CALLS + "{{ v | tojson | upper }}" + END,
    "as answers": START + "{{ m.content | tojson if m.role != 'user' else m.content }}" + CALLS + "{{ v }}" + END,
}


def compared_with(source: str) -> Compared:
    return Compared(Printer(JinjaTemplate(source, "template"), bos="", eos=""))


def records() -> list[list[Message]]:
    """Records in which the same texts look otherwise in JSON, whatever else they say."""
    numbers = count()
    texts = ('"{}"', "{}\\", "{}\n{}", "é{}\x00", "<b>{}</b>\t.", '</b>"{}"')
    return [
        called(
            text.format(next(numbers), next(numbers)),
            other.format(next(numbers), next(numbers)) + end,
            description=f"what\n{next(numbers)}",
        )
        for text in texts
        for other in texts
        for end in ("", "\n")
    ]


@pytest.mark.parametrize("source", PROVED.values(), ids=PROVED)
def test_what_is_written_as_json_is_proved(source: str) -> None:
    compared = compared_with(source)
    for record in records():
        assert compared.agrees(record), record
    compared.in_full = 0
    for record in records():
        assert compared.agrees(record), record
    assert compared.in_full == 0
    assert compared.planner.disproved is None


@pytest.mark.parametrize("source", LOOKING.values(), ids=LOOKING)
def test_looking_at_what_is_written_as_json_proves_nothing(source: str) -> None:
    compared = compared_with(source)
    for record in [*records(), [S("s"), *called('"', '"')], [U("q"), A('"a"')], [U('"a"'), A('"a"')]]:
        assert compared.agrees(record), record
    assert compared.planner.disproved is None
    compared.in_full = 0
    assert compared.agrees([*QUOTED[:-1], A('N"o.')])
    assert compared.in_full == 1


DEFINED = "{% for t in tools or [] %}<|im{{ (t.function.description | tojson)[1:-1] }}\n{% endfor %}"
JSON_RESULT = "{% if m.role == 'tool' %}<|im{{ (m.content | tojson)[1:-1] }}{% else %}{{ m.content }}{% endif %}"


def test_no_control_token_comes_of_what_json_writes() -> None:
    compared = compared_with(DEFINED + START + JSON_RESULT + CALLS + "{{ (v | tojson)[1:-1] }}_end|>" + END)
    begun, ended = '"{}" <|im', '_end|> "{}" and more words of it'
    for number in range(12):
        for city, result, description in ((begun, "{}", "\n"), ("{}", ended, "\n"), ("{}", "{}", ended)):
            for _ in range(4):  # each of them by plan at last, but for the token
                record = called(city.format(number), result.format(number), description=description.format(number))
                assert compared.agrees(record), record
                assert compared.agrees(called('"', '"', description="\n")), record
    assert compared.planner.disproved is None


# Behind every conversation stand words that move behind the answer once it is there.
MOVING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' if m.role != 'assistant' else 'assistant: ' }}"
    + CONTENT + CALLS + "{{ k }}={{ v }}" + END.partition("{% if add_generation_prompt %}")[0]
    + "Be brief.\n{% if add_generation_prompt %}assistant: {% endif %}"
)  # fmt: skip


def test_results_in_json_are_found_where_answers_are_found_by_comparing_texts() -> None:
    compared = compared_with(MOVING)
    for number in range(20):
        compared.in_full = 0
        assert compared.agrees(called("Rome", f'"{number}" and on assistant: "{number}" assistant: x'))
    assert compared.in_full == 0
    assert compared.planner.disproved is None


@pytest.mark.parametrize("result", ['{"a": "<|call|>", "b": "and more words"}', '"and more words" "<|call|>"'])
def test_control_tokens_in_json_that_a_tool_found_are_text(result: str) -> None:
    pair = READY["gpt_oss_tools"]
    *_, derived = pair.derived(called("Rome", result))
    said, other = (list(map(control_of, pair.derived(called("Rome", text)))) for text in (result, "dry"))
    assert said == other
    assert json.dumps(result, ensure_ascii=False) in "".join(segment.text for segment in derived.rendered.segments)


def control_of(derived: Derived) -> list[str]:
    """The control tokens of an example."""
    return [segment.text[start:end] for segment in derived.rendered.segments for start, end in segment.control]


def test_an_answer_that_says_what_a_tool_found_is_derived_in_full() -> None:
    compared = Compared(READY["gpt_oss_tools"].plain, READY["gpt_oss_tools"].control)
    for _ in range(12):
        assert compared.agrees(QUOTED)
    record = [*QUOTED[:-1], A(QUOTED[2].content.strip())]
    compared.in_full = 0
    for _ in range(12):
        assert compared.agrees(record)
    assert compared.in_full == 12

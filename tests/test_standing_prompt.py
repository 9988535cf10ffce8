"""Templates that print a generation prompt unasked, or none behind an answer, and what else they expect of messages."""

from __future__ import annotations

import pytest

from mask_pairs import TOOL, A, T, U, call
from template_families import CHATML, FakeTokenizer, chat, from_source, messages, shown, tokens
from weft.data.template import ChatTemplate
from weft.errors import TemplateError
from weft.types import Conversation, Location, Message, Setting

TURN = "{{ '<|head|>' + message.role + '<|/head|>' + message.content + '<|end|>' }}"
LOOP = "{% for message in messages %}" + TURN + "{% endfor %}"
HEADS = tokens("<|end|>", "<|head|> <|/head|>")


def examples(template: ChatTemplate, *said: Message) -> list[str]:
    return shown(template.examples(Conversation(messages=said, location=Location(path="data.jsonl", line=7))))


@pytest.mark.parametrize(
    ("prompt", "trained"),
    [
        ("<|head|>assistant<|/head|>", "A<|end|>"),  # as before an answer
        ("<|head|>assistant", "<|/head|>A<|end|>"),
        ("<|head|>assistant<|/head|><think>", "A<|end|>"),  # more than stands before an answer
    ],
)
def test_a_prompt_that_stands_behind_every_conversation_begins_the_answer(prompt: str, trained: str) -> None:
    template = from_source(LOOP + prompt, HEADS)
    whole = "<|head|>user<|/head|>Q<|end|><|head|>assistant<|/head|>A<|end|>"
    assert examples(template, *messages("ua", "Q", "A")) == [whole.replace(trained, f"⟦{trained}⟧")]
    (example,) = template.examples(chat("ua", "Q", "A"))
    assert example.notes == (("prompt-mismatch",) if prompt.endswith("<think>") else ())
    context = "".join(segment.text for segment in template.prompt(messages("u", "Q")))
    assert context == whole.removesuffix(trained)


def test_where_no_stop_ends_an_answer_before_a_standing_prompt_the_eos_does() -> None:
    template = from_source(
        LOOP + "<|head|>assistant<|/head|>", FakeTokenizer(control=HEADS.control, stops=frozenset({"<|eos|>"}))
    )
    first, second = examples(template, *messages("uaua", "Q", "A", "R", "B"))
    assert first == "<|head|>user<|/head|>Q<|end|><|head|>assistant<|/head|>⟦A⟧EOS"
    assert second.endswith("<|head|>user<|/head|>R<|end|><|head|>assistant<|/head|>⟦B⟧EOS")


def test_what_closes_the_last_message_only_is_no_prompt() -> None:
    template = from_source(
        "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}<|eos|>", CHATML
    )
    (example,) = examples(template, *messages("ua", "Q", "A"))
    assert example == "user: Q\nassistant:⟦ A\n<|eos|>⟧"


def test_answers_that_nothing_closes_do_not_train_each_others_headers() -> None:
    turn = "{{ '### ' + message.role + ':\n' + message.content + '\n\n' }}"
    prompt = "{% if add_generation_prompt and messages[-1].role == 'user' %}### assistant:\n{% endif %}"
    template = from_source("{% for message in messages %}" + turn + "{% endfor %}" + prompt, CHATML)
    assert examples(template, *messages("uaaua", "Q", "A", "B", "R", "C")) == [
        "### user:\nQ\n\n### assistant:\n⟦A⟧EOS",
        "### user:\nQ\n\n### assistant:\nA\n\n### assistant:\n⟦B⟧EOS",
        "### user:\nQ\n\n### assistant:\nA\n\n### assistant:\nB\n\n### user:\nR\n\n### assistant:\n⟦C⟧EOS",
    ]


def test_a_few_letters_in_common_do_not_make_white_space_a_part_of_the_prompt() -> None:
    call_on_a_line = (
        "{% for call in message.tool_calls or [] %}{{ '\n<tool>' + call.function.name + '</tool>' }}{% endfor %}<|end|>"
    )
    turn = "{{ '<|head|>' + message.role + '<|/head|>' + message.content }}" + call_on_a_line
    prompt = "{% if add_generation_prompt %}<|head|>assistant<|/head|><think>\n{% endif %}"
    template = from_source("{% for message in messages %}" + turn + "{% endfor %}" + prompt, HEADS)
    assert examples(template, U("Q"), A("", call())) == [
        "<|head|>user<|/head|>Q<|end|><|head|>assistant<|/head|>⟦\n<tool>weather</tool><|end|>⟧"
    ]


def test_a_template_that_needs_tools_is_tried_with_one() -> None:
    source = (
        "{% for tool in tools %}{{ tool.function.name }}{% endfor %}"
        + LOOP
        + "{% if add_generation_prompt %}<|head|>assistant<|/head|>{% endif %}"
    )
    template = from_source(source, HEADS)
    template.validate()
    question = U("Q", setting=Setting(tools=(TOOL,)))
    assert examples(template, question, A("A")) == [
        "weather<|head|>user<|/head|>Q<|end|><|head|>assistant<|/head|>⟦A<|end|>⟧"
    ]
    with pytest.raises(TemplateError, match="no record without `tools`"):
        examples(template, U("Q"), A("A"))


def test_a_call_without_words_is_handed_over_such_that_no_empty_answer_follows_it() -> None:
    source = (
        "{% for message in messages %}"
        "{% for call in message.tool_calls or [] %}<|head|>assistant<|/head|>{{ call.function.name }}"
        "{{ call.function.arguments | tojson }}<|end|>{% endfor %}"
        "{% if message.content is not none %}" + TURN + "{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|/head|>{% endif %}"
    )
    assert examples(from_source(source, HEADS), U("Q"), A("", call(city="Rome")), T("21"), A("A")) == [
        '<|head|>user<|/head|>Q<|end|><|head|>assistant<|/head|>⟦weather{"city": "Rome"}<|end|>⟧'
        "<|head|>tool<|/head|>21<|end|><|head|>assistant<|/head|>⟦A<|end|>⟧"
    ]

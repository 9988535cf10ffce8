"""Answers that a template prints as two, each with its stop: where the second begins, and what is no second answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mask_pairs import A, T, U, call
from weft.data.template import ChatTemplate
from weft.types import Conversation, Location, Message

HEADER, CONTENT, STOP, LINE = "{{ '<|turn|>bot\\n' }}", "{{ m.content }}", "{{ '<|stop|>' }}", "{{ '\\n' }}"
CALLS = "[{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}]"
ROME = [U("Q"), A("I look.", call(city="Rome"))]
CALL = '[weather{"city": "Rome"}]<|stop|>'


def template(answer: str, asks: str = "{{ '<|turn|>bot\\n' }}") -> ChatTemplate:
    """One that prints each answer ``m`` in this way, behind the generation prompt that ``asks`` for it."""
    other = "{{ '<|turn|>' + m.role + '\\n' + m.content + '<|stop|>\\n' }}"
    source = (
        f"{{% for m in messages %}}{{% if m.role == 'assistant' %}}{answer}{LINE}{{% else %}}{other}{{% endif %}}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{asks}{{% endif %}}"
    )
    return ChatTemplate(source, "divided", frozenset({"<|stop|>", "<|turn|>"}), frozenset({"<|stop|>"}), "", "<|stop|>")


def behind_its_words(header: str = HEADER, words: str = CONTENT + STOP, calls: str = CALLS + STOP) -> str:
    """Calls of tools that the ``header`` opens anew, behind the stop of the words."""
    return f"{HEADER}{words}{{% if m.tool_calls %}}{LINE}{header}{calls}{{% endif %}}"


def trained(chat_template: ChatTemplate, messages: list[Message]) -> list[tuple[list[str], list[str]]]:
    """What each example trains, and its notes of stops."""
    conversation = Conversation(messages=tuple(messages), location=Location(path="x", line=1))
    return [
        (
            [segment.text for segment in example.segments if segment.trained],
            [note for note in example.notes if note.endswith("-within")],
        )
        for example in chat_template.examples(conversation)
    ]


@pytest.mark.parametrize("space", [" ", "\n", " \n\t"])
def test_words_of_white_space_alone_are_an_answer_of_their_own(space: str) -> None:
    found = trained(template(behind_its_words()), [U("Q"), A(space, call(city="Rome"))])
    assert found == [([f"{space}<|stop|>", CALL], ["closed-within"])]


def test_an_answer_is_opened_behind_the_results_of_tools_as_behind_a_question() -> None:
    """There the generation prompt is empty, as in templates whose results of tools lead on to the answer."""
    first = "{% if loop.index0 and messages[loop.index0 - 1].role == 'tool' %}{% else %}" + HEADER + "{% endif %}"
    answer = behind_its_words().replace(HEADER, first, 1)
    found = template(answer, asks="{% if messages[-1].role != 'tool' %}" + HEADER + "{% endif %}")
    talk = [*ROME, T("21"), A("Again.", call(2, city="Rome")), T("9", 2), A("Done.")]
    assert trained(found, talk) == [
        (["I look.<|stop|>", CALL, "Again.<|stop|>", CALL, "Done.<|stop|>"], ["closed-within"])
    ]


@pytest.mark.parametrize("header", ["", "{{ '<|turn|>calls\\n' }}", "{{ '<|turn|>bot_calls\\n' }}"])
def test_what_opens_no_answer_is_trained_with_it_and_named(header: str) -> None:
    opens = header.removeprefix("{{ '").removesuffix("' }}").replace("\\n", "\n")
    found = trained(template(behind_its_words(header)), ROME)
    assert found == [([f"I look.<|stop|>\n{opens}{CALL}"], ["stop-within"])]


def test_a_stop_in_the_words_of_a_content_is_none() -> None:
    """Law 4: what a record says divides nothing, be it just what the template would print."""
    content = "I look.<|stop|>\n<|turn|>bot\n[]<|stop|>"
    found = trained(template(HEADER + CONTENT + STOP), [U("Q"), A(content)])
    assert found == [([f"{content}<|stop|>"], [])]
    found = trained(template(behind_its_words()), [U("Q"), A(content, call(city="Rome"))])
    assert found == [([f"{content}<|stop|>", CALL], ["closed-within"])]


TAG, END = "{% generation %}", "{% endgeneration %}"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (behind_its_words(words=TAG + CONTENT + END + STOP, calls=TAG + CALLS + END + STOP), ["I look.<|stop|>", CALL]),
        (behind_its_words(words=TAG + CONTENT + END + STOP), ["I look.<|stop|>"]),
        (behind_its_words(words=TAG + CONTENT + STOP + END), ["I look.<|stop|>"]),
        (behind_its_words(calls=TAG + CALLS + END + STOP), [CALL]),
        (TAG + behind_its_words() + END, ["I look.<|stop|>", CALL]),
    ],
)
def test_a_tag_around_a_content_trains_the_stop_of_its_own_answer(answer: str, expected: list[str]) -> None:
    assert trained(template(answer), ROME) == [(expected, ["closed-within"])]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_what_a_divided_answer_counts_holds_for_both_and_not_for_what_opens_the_second(weight: float) -> None:
    messages = [ROME[0], replace(ROME[1], weight=weight)]
    conversation = Conversation(messages=tuple(messages), location=Location(path="x", line=1))
    (example,) = template(behind_its_words()).examples(conversation)
    assert [
        sum(end - start for start, end, given in segment.weights if given == weight)
        for segment in example.segments
        if segment.trained
    ] == [len("I look.<|stop|>"), len(CALL)]
    assert not any(given for segment in example.segments if not segment.trained for *_, given in segment.weights)

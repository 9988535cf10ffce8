"""Derived masks against hand-written ones: pairs of templates that differ by ``{% generation %}`` only.

Every template of ``templates/pairs`` marks what the model says by hand. Without those tags, the derivation must find the same
characters, for every shape of conversation that the template takes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mask_pairs import (
    KIMI,
    PAIRS,
    READY,
    SHAPES,
    TEXT_ONLY,
    TEXT_SHAPES,
    A,
    Pair,
    S,
    T,
    U,
    call,
    shaped,
    with_a_telling_id,
)
from planned import Compared
from weft.data.control import ControlTokens, Span
from weft.data.derive import derive
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer, Variant
from weft.data.turns import Chat
from weft.errors import TemplateError
from weft.types import Message

WITH_DELIMITERS = {
    "question": lambda d: [U(f"x{d}y"), A("A"), U("R"), A("B")],
    "answer": lambda d: [U("Q"), A(f"x{d}y"), U("R"), A("B")],
    "answer's edge": lambda d: [U("Q"), A(f"x{d}"), U("R"), A(f"{d}B")],
    "system": lambda d: [S(f"x{d}y"), U("Q"), A("A")],
    "result": lambda d: [U("Q"), A("", call(city="Rome")), T(f"x{d}y"), A("A")],
    "argument": lambda d: [U("Q"), A("", call(city=f'{d}"x"{d}')), T("21"), A("A")],
    "reasoning": lambda d: [U("Q"), A("A", reasoning=f"x{d}y")],
}


def check(family: str, messages: list[Message]) -> None:
    """The derived masks are the tagged ones, up to a stop that the template leaves to the next role."""
    pair, answers = READY[family], _answers(family, messages)
    trained: list[int] = []
    for derived in pair.derived(messages):
        example = derived.rendered
        text, tagged = pair.by_hand(messages[: derived.count])
        runs, position = [], 0
        for segment in example.segments:
            if segment.trained:
                runs.append((position, position + len(segment.text)))
            position += len(segment.text)
        printed = "".join(segment.text for segment in example.segments)
        assert runs[-1][1] == len(printed)
        if "spliced" in example.notes:
            assert len(runs) == 1
            own, said = text[slice(*tagged[-1])], printed[slice(*runs[0])]
            assert own.endswith(said)
            assert printed[: runs[0][0]].endswith(own.removesuffix(said))  # the prompt opens the reasoning
            trained.append(len(tagged) - 1)
            continue
        if "next-role-closes" in example.notes:  # once at the end; within, the closing is printed but not tagged
            assert printed[tagged[-1][1] :].strip() in pair.control.stops
            tagged = [(start, _end_of_stop(pair, printed, end)) for start, end in tagged]
        else:
            assert text.startswith(printed)
        variants = dict(derived.prompts)
        tagged = [
            (_end_of_prompt(pair, messages[:before], printed, run, variants), run[1])
            for before, run in zip(answers, tagged, strict=False)
        ]
        assert runs[-1] == tagged[-1]
        assert set(runs) <= set(tagged)
        trained += [tagged.index(run) for run in runs]
    assert sorted(trained) == list(range(len(answers)))


def _answers(family: str, messages: list[Message]) -> list[int]:
    """Which message each of the tagged turns is; twice the one that a template prints as two."""
    is_divided = [
        family == "closed_within" and bool(message.tool_calls and (message.content or message.reasoning))
        for message in messages
    ]
    return [
        index
        for index, message in enumerate(messages)
        if message.role == "assistant"
        for _ in range(1 + is_divided[index])
    ]


def _end_of_stop(pair: Pair, text: str, end: int) -> int:
    for start, stop in pair.control.find(text, end)[:1]:
        if text[start:stop] in pair.control.stops and not text[end:start].strip():
            return stop
    return end


def _end_of_prompt(pair: Pair, before: list[Message], text: str, tagged: Span, variants: dict[int, Variant]) -> int:
    """Where the model takes over in a tagged turn, whose first part the prompt may print (a block of reasoning, or its tag)."""
    try:
        prompt = pair.plain.prompt(before, variants.get(len(before), ()))
    except TemplateError:
        assert not before
        return tagged[0]
    return len(prompt) if text.startswith(prompt) and tagged[0] < len(prompt) <= tagged[1] else tagged[0]


REFUSED = {
    ("llama31", "two calls"): "only one call at a time",
    ("gpt_oss_tools", "two calls"): r"prints some of the 2 calls of tools of an answer \(message 2\)",
}
TAGGED_OTHERWISE = {
    # Nothing but the EOS that weft appends is trained, which no tag can say.
    *((family, shape) for family in ("falcon", "minicpm") for shape in ("empty answer", "empty answer between")),
    # Nothing but the stop that comes with the next message is trained, and it is not tagged.
    *((family, shape) for family in ("open_answer", "last_open") for shape in ("empty answer", "empty answer between")),
    # Two messages are one turn; a call without its result is closed twice.
    *(("apertus", shape) for shape in ("consecutive answers", "consecutive answers, then a turn", "call")),
}


def cases() -> list[tuple[str, str]]:
    return [
        (family, shape)
        for family in PAIRS
        for shape in (TEXT_SHAPES if family in TEXT_ONLY else SHAPES)
        if (family, shape) not in {*REFUSED, *TAGGED_OTHERWISE}
    ]


@pytest.mark.parametrize(("family", "shape"), cases())
def test_the_derived_mask_is_the_tagged_one(family: str, shape: str) -> None:
    check(family, shaped(family, shape))


@pytest.mark.parametrize(("family", "shape"), cases())
def test_tags_around_whole_turns_change_nothing(family: str, shape: str) -> None:
    pair, messages = READY[family], shaped(family, shape)
    derived = [example.rendered for example in pair.derived(messages)]
    assert [example.rendered for example in pair.derived(messages, tagged=True)] == derived


@pytest.mark.parametrize(("family", "shape"), REFUSED)
def test_what_the_template_cannot_print_is_an_error(family: str, shape: str) -> None:
    with pytest.raises(TemplateError, match=REFUSED[family, shape]):
        READY[family].derived(SHAPES[shape])


@pytest.mark.parametrize("family", PAIRS)
def test_every_pair_is_tried_on_enough_shapes(family: str) -> None:
    assert sum(name == family for name, _ in cases()) >= 18


@pytest.mark.parametrize("place", WITH_DELIMITERS)
@pytest.mark.parametrize("family", PAIRS)
def test_delimiters_in_what_is_said(family: str, place: str) -> None:
    for delimiter in sorted(PAIRS[family].control):
        messages = WITH_DELIMITERS[place](delimiter)
        if PAIRS[family] is KIMI:
            messages = list(map(with_a_telling_id, messages))
        if family in TEXT_ONLY and any(message.tool_calls for message in messages):
            continue
        check(family, messages)


@pytest.mark.parametrize("family", ["qwen3", "qwq", "deepseek", "inference_only", "training_bos", "words_put_in"])
@pytest.mark.parametrize("shape", ["consecutive answers", "consecutive answers, then a turn"])
def test_answers_in_a_row_are_two_where_their_closing_token_is_no_stop(family: str, shape: str) -> None:
    """As with the tokenizer of a base model, whose end-of-text token is none of the template's."""
    pair, messages = READY[family], shaped(family, shape)
    bare = replace(pair, control=ControlTokens(pair.control.control, {"<other>"}))
    segments = [example.rendered.segments for example in bare.derived(messages)]
    assert segments == [example.rendered.segments for example in pair.derived(messages)]


OPENED = {
    "an answer first": [A("A"), U("Q"), A("B")],
    "an answer behind the system message": [S("S"), A("A"), U("Q"), A("B")],
}


@pytest.mark.parametrize("shape", OPENED)
@pytest.mark.parametrize("family", ["dbrx", "chatml_tools", "llava"])
def test_an_answer_to_no_question(family: str, shape: str) -> None:
    """Some templates print their prompt behind questions only, or fail where there is no message."""
    check(family, OPENED[shape])


def test_an_answer_that_opens_the_conversation_where_no_prompt_can_be_printed() -> None:
    pair = READY["chatml_tools"]
    source = "{%- if messages[0]['role'] == 'other' %}{% endif %}" + pair.plain.template.source
    printer = Printer(JinjaTemplate(source, "asks for the first message"), bos="", eos="")
    (first, second) = derive(Chat(printer, pair.control, [A("A"), U("Q"), A("B")]))
    assert first.rendered.notes == ("prompt-mismatch",)
    assert [(segment.text, segment.trained) for segment in first.rendered.segments] == [
        ("<|im_start|>assistant\n", False),
        ("A<|im_end|>", True),
    ]
    assert second.rendered.segments[-1].text == "B<|im_end|>"
    compared = Compared(printer, pair.control)
    assert compared.goes_by_plan([A("why"), U("R"), A("so")])
    assert compared.agrees([A("why"), U("R"), A("so")])

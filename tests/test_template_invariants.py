"""What holds for every conversation and every template (laws 2 and 3), with calls of tools and reasoning among the messages."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mask_pairs import PAIRS, READY, TEXT_ONLY, A, Pair, S, T, U, call
from template_families import FAMILIES, ONE_TURN_ONLY, source
from test_built_in_templates import TOKENIZERS
from weft.data.control import ControlTokens
from weft.data.derive import derive
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.shape_plan import Planner
from weft.data.template import BUILT_IN, built_in_source
from weft.data.turns import Chat
from weft.errors import TemplateError
from weft.types import Message, Setting


def _ready(text: str, name: str) -> Pair:
    tokenizer = TOKENIZERS[name] if name in BUILT_IN and text == built_in_source(name) else FAMILIES[name]
    printer = Printer(JinjaTemplate(text, name), bos=tokenizer.bos, eos=tokenizer.eos)
    return Pair(printer, printer, ControlTokens(tokenizer.control, tokenizer.stops))


UNTAGGED: dict[str, Pair] = {
    **READY,
    **{f"built-in {name}": _ready(built_in_source(name), name) for name in BUILT_IN},
    **{f"test {name}": _ready(source(name), name) for name in FAMILIES if name not in {"tagged", *ONE_TURN_ONLY}},
}
CALLS_TOOLS = {family for family in PAIRS if family not in TEXT_ONLY} | {"built-in qwen3"}

WORDS_AND_DELIMITERS = [
    *("A", "thread", "é", "語", "the warp", "<b>", "{}", '"quoted"', "\\", "\n", "  ", "assistant", "</think>", "why"),
    *sorted({token for pair in UNTAGGED.values() for token in pair.control.control})[::5],
]
WORDS = st.lists(st.sampled_from(WORDS_AND_DELIMITERS), min_size=1, max_size=4).map(" ".join).filter(str.strip)
VALUES = WORDS | st.integers(0, 99) | st.booleans() | st.none() | st.lists(WORDS, max_size=2)


@st.composite
def conversations(draw: st.DrawFn, *, tools: bool) -> list[Message]:
    messages: list[Message] = [S(draw(WORDS))] if draw(st.booleans()) else []
    numbers = count(1)
    for _ in range(draw(st.integers(1, 3))):
        messages.append(U(draw(WORDS)))
        for _ in range(draw(st.integers(0, 2)) if tools else 0):
            number = next(numbers)
            arguments = draw(st.dictionaries(st.sampled_from(["city", "n"]), VALUES, max_size=2))
            thought = draw(st.just("") | WORDS)
            messages += [
                A(draw(st.just("") | WORDS), call(number, **arguments), reasoning=thought),
                T(draw(WORDS), number),
            ]
        messages.append(A(draw(WORDS), reasoning=draw(st.just("") | WORDS)))
    arguments = draw(st.sampled_from([{}, {}, {"enable_thinking": False}, {"thinking": True}]))
    if arguments:
        first = messages[0]
        messages[0] = Message(role=first.role, content=first.content, setting=Setting(arguments=arguments))
    return messages


many = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.mark.parametrize("family", UNTAGGED)
def test_contexts_are_prompts_and_turns_end_with_a_stop(family: str) -> None:
    pair = UNTAGGED[family]
    printer, control = pair.plain, pair.control
    used = 0

    @many
    @given(conversations(tools=family in CALLS_TOOLS))
    def check(messages: list[Message]) -> None:
        nonlocal used
        try:
            examples = derive(Chat(printer, control, messages))
        except TemplateError:
            assume(False)
        used += 1
        for derived in examples:
            rendered = derived.rendered
            assert rendered.segments[-1].trained
            text, contexts = "", []
            for segment in rendered.segments:
                contexts += [text] if segment.trained else []
                text += segment.text
            if "closed-within" in rendered.notes:  # a second answer to one prompt, behind the first one's stop
                prompts = {printer.prompt(messages[:before], variant) for before, variant in derived.prompts}
                again = [context for context in contexts if context not in prompts]
                assert again
                assert all(context.endswith("<|stop|>\n<|turn|>bot\n") for context in again)
                contexts = [context for context in contexts if context in prompts]
            assert len(contexts) == len(derived.prompts)
            for context, (before, variant) in zip(contexts, derived.prompts, strict=True):
                assert context == printer.prompt(messages[:before], variant) or "prompt-mismatch" in rendered.notes
                assert all(f"prompt:{name}={value}" in rendered.notes for name, value in variant)
            for segment in rendered.segments:
                if segment.trained and not (rendered.append_eos and segment is rendered.segments[-1]):
                    start, end = segment.control[-1]
                    assert segment.text[start:end] in control.stops
                    assert end == len(segment.text)
            assert rendered.append_eos == ("eos-appended" in rendered.notes)
        answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
        assert sorted(before for derived in examples for before, _ in derived.prompts) == answers
        assert [example.segments for example in Planner(printer, control).examples(messages)] == [
            derived.rendered.segments for derived in examples
        ]

    check()
    assert used >= 8

"""Templates as the rest of weft meets them: loading, prompts, parsing, stops, errors; and what holds for any contents."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from template_families import (
    CHATML,
    FAMILIES,
    ONE_TURN_ONLY,
    PLACE,
    FakeTokenizer,
    chat,
    control,
    from_source,
    messages,
    shown,
    source,
    template,
    tokens,
)
from weft.data.control import ControlTokens
from weft.data.derive import Rendered, derive
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.shape_plan import Planner
from weft.data.template import load_template
from weft.data.turns import Chat
from weft.errors import TemplateError
from weft.types import Conversation, Message, Segment

ROOT = Path(__file__).parents[1]
BARE = FakeTokenizer(control=frozenset({"</s>"}), stops=frozenset({"</s>"}), eos="</s>")
TEMPLATES = {family: template(family) for family in FAMILIES}
"""Built once: what a template learns about itself it learns on its first use."""


def text(segments: tuple[Segment, ...]) -> str:
    return "".join(segment.text for segment in segments)


# ---- loading -----------------------------------------------------------------------------------------------------------


def test_the_tokenizers_own_template_comes_first() -> None:
    own = FakeTokenizer(chat_template=source("labels"))
    assert load_template(None, own).name == "the tokenizer's chat template"
    assert load_template("chatml", own).name == "chatml"
    assert load_template(None, CHATML).name == "chatml"


def test_without_any_template_the_error_says_what_to_set() -> None:
    with pytest.raises(TemplateError, match="no chat template, nor the control tokens of chatml") as caught:
        load_template(None, BARE)
    assert caught.value.fix is not None
    assert "data.template_path" in caught.value.fix


def test_the_documented_template_prints_what_chatml_prints() -> None:
    documented = load_template(str(ROOT / "chat_templates" / "default.jinja"), CHATML)
    built_in = load_template("chatml", CHATML)
    for conversation in (
        chat("ua", "Q", "A"),
        chat("suaua", " S\n", "Q", "A\n", "<|im_end|>", "B"),
        chat("uaua", "", "A", "R", "B"),
    ):
        assert shown(documented.examples(conversation)) == shown(built_in.examples(conversation))
        assert documented.prompt(conversation.messages[:-1]) == built_in.prompt(conversation.messages[:-1])
    (example,) = built_in.examples(chat("ua", "Q", "A"))
    assert text(example.segments) == "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>"


def test_the_documented_template_works_without_its_tokens() -> None:
    plain = load_template(str(ROOT / "chat_templates" / "default.jinja"), BARE)
    assert shown(plain.examples(chat("ua", "Q", "A"))) == [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧EOS"
    ]


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "default.jinja").write_text("x")
    with pytest.raises(TemplateError) as caught:
        load_template(str(tmp_path / "defualt.jinja"), CHATML)
    assert str(caught.value) == (
        f"{tmp_path}/defualt.jinja: there is no such chat template\n  fix: did you mean {tmp_path}/default.jinja?"
    )
    with pytest.raises(TemplateError, match="did you mean chatml"):
        load_template("chatlm", CHATML)
    with pytest.raises(TemplateError, match=r"Is a directory"):
        load_template(str(tmp_path), CHATML)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_bytes(b"{{ messages }}\xff")
    with pytest.raises(TemplateError, match=r"t\.jinja:1: the chat template is not UTF-8 text \(byte 14\)"):
        load_template(str(path), CHATML)


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{% for message in messages %}\n{{ message.content }\n{% endfor %}\n")
    with pytest.raises(TemplateError, match=rf"^{path}:2: the chat template is not valid Jinja: .*\n  fix: "):
        load_template(str(path), CHATML)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{{ m.content if m.role == 'assistant' }}<|im_end|>", "does not print the user message"),
        ("{{ m.content if m.role == 'user' }}<|im_end|>", "does not print the assistant message"),
        ("hello", "does not print the assistant message"),
        ("{{ raise_exception('never') }}", "refused the conversation: never"),
        ("{{ m.content + 1 }}", "failed"),
        ("{{ 'x' * 10**9 }}", "was stopped: it makes more than"),
        (
            "{{ m.role }}{{ messages | length }}:{{ m.content }}<|im_end|>{{ 'x' if add_generation_prompt }}",
            "differently",
        ),
        ("{% generation %}{% endgeneration %}{{ m.role }}:{{ m.content }}<|im_end|>", "marks no part"),
    ],
)
def test_a_template_that_cannot_be_used_is_told_at_once(tmp_path: Path, body: str, problem: str) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{% for m in messages %}" + body + "{% endfor %}")
    with pytest.raises(TemplateError, match=problem) as caught:
        load_template(str(path), CHATML)
    assert str(caught.value.where).startswith(str(path))
    assert caught.value.fix


def test_a_turn_needs_an_end() -> None:
    endless = FakeTokenizer(control=frozenset(), stops=frozenset(), eos="")
    with pytest.raises(TemplateError, match="has no end-of-text token"):
        from_source(source("labels"), endless).validate()


def test_a_template_that_needs_a_system_message_is_accepted() -> None:
    needy = from_source(
        "{% if messages[0].role != 'system' %}{{ raise_exception('say who you are') }}{% endif %}" + source("labels")
    )
    needy.validate()
    assert needy.parse(" A") == "A"
    with pytest.raises(TemplateError, match=r"^data\.jsonl:7: .* say who you are \(mine\.jinja:1\)"):
        needy.examples(chat("ua", "Q", "A"))


# ---- inference ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "prompt"),
    [
        ("chatml", "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"),
        ("labels", "Question: Q\nAnswer:"),
        ("mistral", "<s>[INST] Q [/INST]"),
        ("variables", "Question: Q\nAnswer:"),
        ("forced_think", "<|bos|><|User|>Q<|Assistant|>"),
        ("thinking_switch", "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think></think>"),
    ],
)
def test_prompt(family: str, prompt: str) -> None:
    segments = TEMPLATES[family].prompt(messages("u", "Q"))
    assert text(segments) == prompt
    assert not any(segment.trained for segment in segments)


def test_a_prompt_is_cut_where_its_training_example_is() -> None:
    conversation = chat("uaua", "Q", "A", "R", "B")
    (example,) = TEMPLATES["chatml"].examples(conversation)
    prompt = TEMPLATES["chatml"].prompt(conversation.messages[:-1])
    assert [(segment.text, segment.control) for segment in prompt] == [
        (segment.text, segment.control) for segment in example.segments[:-1]
    ]


def test_two_answers_in_a_row() -> None:
    dialogue = messages("ua", "Q", "A")
    assert text(TEMPLATES["chatml"].prompt(dialogue)).endswith("A<|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(TemplateError, match="two answers in a row as one turn"):
        TEMPLATES["glued"].prompt(dialogue)


def test_stop_strings() -> None:
    assert {family: TEMPLATES[family].stop_strings for family in FAMILIES} == {
        "chatml": {"<|im_end|>", "<|eos|>"},
        "llama3": {"<|eot_id|>"},
        "mistral": {"</s>"},
        "mistral_v3": {"</s>"},
        "gemma": {"<end_of_turn>", "<eos>"},
        "phi3": {"<|end|>", "<|endoftext|>"},
        "qwen3": {"<|im_end|>", "<|eos|>"},
        "forced_think": {"<|eos|>"},
        "thinking_switch": {"<|im_end|>", "<|eos|>"},
        "glm": {"<|user|>", "<|endoftext|>"},
        "gpt_oss": {"<|return|>"},
        "zephyr": {"</s>"},
        "alpaca": {"<|eos|>"},
        "labels": {"<|eos|>"},
        "variables": {"<|eos|>"},
        "prompt_only": {"<|eos|>"},
        "parts": {"<end_of_utterance>"},
        "glued": {"<|im_end|>", "<|eos|>"},
        "tagged": {"<|im_end|>", "<|eos|>"},
    }


@pytest.mark.parametrize(
    ("template", "closing"),
    [
        ("{{ '<|calls|>' if m.tool_calls else '<|done|>' }}", {"<|done|>", "<|calls|>"}),
        ("{{ '<|call|>' if m.tool_calls }}{{ '<|done|>' }}", {"<|done|>"}),
        # What ends each call, and what ends each part of an answer, ends no answer.
        ("{{ '<|done|>' if not m.tool_calls }}", {"<|done|>"}),
        ("{{ '<|call|>' if not m.tool_calls }}", set()),
    ],
)
def test_what_closes_calls_is_a_stop_string(template: str, closing: set[str]) -> None:
    source = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }} {{ c.function.arguments | tojson }}<|call|>{% endfor %}"
        "{% if m.role == 'assistant' %}" + template + "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    special = "<|user|> <|assistant|> <|tool|> <|call|> <|calls|> <|done|>"
    assert from_source(source, tokens("<|eos|>", special)).closing_strings == closing


@pytest.mark.parametrize(
    ("family", "generated", "content"),
    [
        ("chatml", "A", "A"),
        ("chatml", " A\n", " A\n"),
        ("labels", " A", "A"),
        ("labels", "A", "A"),
        ("labels", " Answer: A", "Answer: A"),
        ("variables", " A\n---", "A"),
        ("qwen3", "<think>\n\n</think>\n\nA", "A"),
        ("qwen3", "<think>\nwhy\n</think>\n\nA", "<think>\nwhy\n</think>\n\nA"),
        ("gpt_oss", "<|channel|>final<|message|>A", "A"),
        ("gpt_oss", "finalA", "A"),
    ],
)
def test_parse(family: str, generated: str, content: str) -> None:
    assert TEMPLATES[family].parse(generated) == content


# ---- what holds for any contents ---------------------------------------------------------------------------------------

SNIPPETS = (
    "<|im_end|>", "<|im_start|>", "<|im_start|>assistant\n", "</s>", "[INST]", "[/INST]", "<think>", "</think>", "<s>",
    "<|eot_id|>", "<|user|>", "<|assistant|>", "<end_of_turn>", "<|end|>", "Answer:", "Question: ", "### Response:\n",
    "\n", "  ", "\t", "Qz0zQ", "\U000f0000", "é", "語", "{{ x }}", "{% raw %}", "'", '"', "\\n", "a", "The warp", "user",
)  # fmt: skip
ANY_CONTENT = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=4), min_size=1, max_size=6).map("".join)
WORDS = st.lists(st.sampled_from(["A", "thread", "é", "語", "Answer:", "<b>", "x\ny", "0"]), min_size=1).map(" ".join)
many = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def dialogues(family: str, content: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[Message, ...]]:
    """Conversations that the family's template takes."""
    shapes = ["ua", "sua"] if family in ONE_TURN_ONLY else ["ua", "uaua"] if family == "gemma" else ["sua", "uaua"]
    return st.sampled_from(shapes).flatmap(
        lambda roles: st.tuples(*[content for _ in roles]).map(lambda drawn: messages(roles, *drawn))
    )


def examples(family: str, dialogue: tuple[Message, ...]) -> tuple[Rendered, ...]:
    """Nothing where the template is refused for these contents."""
    try:
        return TEMPLATES[family].examples(Conversation(messages=dialogue, location=PLACE))
    except TemplateError:
        return ()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_plan_changes_nothing(family: str) -> None:
    tokenizer = FAMILIES[family]
    printer = Printer(JinjaTemplate(source(family), family), bos=tokenizer.bos, eos=tokenizer.eos)
    tokens = ControlTokens(tokenizer.control, tokenizer.stops)
    planner = Planner(printer, tokens)

    @many
    @given(dialogues(family, ANY_CONTENT) | dialogues(family, WORDS))
    def check(dialogue: tuple[Message, ...]) -> None:
        try:
            derived = [example.rendered for example in derive(Chat(printer, tokens, dialogue))]
        except TemplateError as error:
            with pytest.raises(TemplateError, match=f"^{re.escape(str(error))}$"):
                planner.examples(dialogue)
            return
        planned = planner.examples(dialogue)
        assert [example.segments for example in planned] == [example.segments for example in derived]
        assert [example.append_eos for example in planned] == [example.append_eos for example in derived]
        notes = [tuple(note for note in example.notes if note != "prompt-varies") for example in planned]
        assert notes == [example.notes for example in derived]

    check()


@pytest.mark.usefixtures("hardly_any_trial")
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"tagged"}))  # what a tag selects is derived for each record
def test_plain_contents_go_by_plan(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    TEMPLATES[family].examples(chat("ua", "Why?", "So."))
    monkeypatch.setattr("weft.data.shape_plan.derive", None)
    assert text(TEMPLATES[family].examples(chat("ua", "What is it?", "A <b>thing</b>."))[0].segments)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"tagged"}))  # which does not train every answer
def test_the_prompt_is_what_stands_before_each_trained_turn(family: str) -> None:
    """Law 3, on text."""

    @many
    @given(dialogues(family, ANY_CONTENT.filter(str.strip)))
    def check(dialogue: tuple[Message, ...]) -> None:
        answers = iter([index for index, message in enumerate(dialogue) if message.role == "assistant"])
        for example in examples(family, dialogue):
            for number in (number for number, segment in enumerate(example.segments) if segment.trained):
                prompt = TEMPLATES[family].prompt(dialogue[: next(answers)])
                assert text(prompt) == text(example.segments[:number]) or "prompt-varies" in example.notes

    check()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_is_trained_once_and_read_back(family: str) -> None:
    trims = family in {"llama3", "gemma"}

    @many
    @given(dialogues(family, WORDS))
    def check(dialogue: tuple[Message, ...]) -> None:
        trained = [segment for example in examples(family, dialogue) for segment in example.segments if segment.trained]
        said = [message.content for message in dialogue if message.role == "assistant"]
        if family == "tagged":
            said = said[: len(trained)]
        closed = [segment.text[: segment.control[-1][0]] if segment.control else segment.text for segment in trained]
        read = [TEMPLATES[family].parse(turn) for turn in closed]
        assert read == ([content.strip() for content in said] if trims else said)

    check()


@pytest.mark.parametrize("family", FAMILIES)
def test_contents_never_become_control_tokens(family: str) -> None:
    """Law 4: the control tokens are those of a conversation in other words. (Templates take reasoning apart as they like.)"""

    @many
    @given(dialogues(family, ANY_CONTENT.filter(lambda content: "think>" not in content)))
    def check(dialogue: tuple[Message, ...]) -> None:
        harmless = tuple(Message(role=message.role, content="w") for message in dialogue)
        found = [control(example) for example in examples(family, dialogue)]
        assert not found or found == [control(example) for example in examples(family, harmless)]

    check()


def test_a_record_takes_less_than_a_fifth_of_a_millisecond() -> None:
    build = TEMPLATES["llama3"]
    records = [
        chat("ua", f"What is thread {n}? " + "word " * 40 + ".", f"It is {n}. " + "word " * 80 + ".")
        for n in range(200)
    ]
    build.examples(records[0])
    best = min(_seconds(lambda: [build.examples(record) for record in records]) for _ in range(5))
    assert best / len(records) < 0.0004  # twice the aim, for machines that are busy


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

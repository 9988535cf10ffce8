"""Templates whose generation prompt is not what they print before an answer: ``data.prompt_mismatch``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import CHATML
from mask_pairs import PAIRS, A, call
from template_families import FAMILIES, HERE, PLACE, chat, from_source, messages, shown, source, template
from weft.cli import main
from weft.config.data_schema import PromptMismatch
from weft.data.control import ControlTokens
from weft.data.derive import derive
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.render import Renderer
from weft.data.shape_plan import Planner
from weft.data.template import ChatTemplate, load_template
from weft.data.tokenizer import load_tokenizer
from weft.data.turns import Chat
from weft.errors import TemplateError
from weft.types import Conversation, Message

LABELLED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}Answer (final): {{ m.content }}<|im_end|>"
    "{% else %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}Answer (draft): {% endif %}"
)
"""Announces an answer in other words than it prints before one."""
SOURCES = {"forced_think": source("forced_think"), "labelled": LABELLED}


def of(name: str, mismatch: PromptMismatch) -> ChatTemplate:
    return from_source(SOURCES[name], FAMILIES.get(name, FAMILIES["chatml"]), name, mismatch)


EXPECTED = {
    ("forced_think", "template"): [
        "<|bos|><|User|>Q<|Assistant|>⟦A<|eos|>⟧",
        "<|bos|><|User|>Q<|Assistant|>A<|eos|><|User|>R<|Assistant|>⟦B<|eos|>⟧",
    ],
    ("forced_think", "splice"): [
        "<|bos|><|User|>Q<|Assistant|><think>\n⟦A<|eos|>⟧",
        "<|bos|><|User|>Q<|Assistant|>A<|eos|><|User|>R<|Assistant|><think>\n⟦B<|eos|>⟧",
    ],
    ("labelled", "template"): [
        "user: Q\nAnswer (⟦final): A<|im_end|>⟧",
        "user: Q\nAnswer (final): A<|im_end|>user: R\nAnswer (⟦final): B<|im_end|>⟧",
    ],
    ("labelled", "splice"): [
        "user: Q\nAnswer (draft): ⟦final): A<|im_end|>⟧",
        "user: Q\nAnswer (final): A<|im_end|>user: R\nAnswer (draft): ⟦final): B<|im_end|>⟧",
    ],
}


@pytest.mark.parametrize(("name", "mismatch"), EXPECTED)
def test_each_choice_by_hand(name: str, mismatch: PromptMismatch) -> None:
    examples = of(name, mismatch).examples(chat("uaua", "Q", "A", "R", "B"))
    assert shown(examples) == EXPECTED[name, mismatch]
    note = {"template": "prompt-mismatch", "splice": "spliced"}[mismatch]
    assert [example.notes for example in examples] == [(note,), (note,)]


@pytest.mark.parametrize("name", SOURCES)
def test_splicing_feeds_what_a_server_feeds(name: str) -> None:
    """The prompt is the template's own, byte for byte; without splicing it is what training had."""
    question = messages("uau", "Q", "A", "R")
    tokenizer = FAMILIES.get(name, FAMILIES["chatml"])
    own = JinjaTemplate(SOURCES[name], name).render(
        {
            "messages": [{"role": one.role, "content": one.content} for one in question],
            "add_generation_prompt": True,
            "bos_token": tokenizer.bos,
            "eos_token": tokenizer.eos,
        }
    )
    assert "".join(part.text for part in of(name, "splice").prompt(question)) == own
    fed = "".join(part.text for part in of(name, "template").prompt(question))
    assert fed != own
    assert fed == EXPECTED[name, "template"][1].partition("⟦")[0]


@pytest.mark.parametrize("name", SOURCES)
def test_an_error_says_what_differs(name: str) -> None:
    refused = of(name, "error")
    goes_on = {"forced_think": "'<think>\\\\n'", "labelled": "'draft\\): '"}[name]
    with pytest.raises(TemplateError, match=f"not what it prints before an answer: it goes on with {goes_on} where"):
        refused.examples(chat("ua", "Q", "A"))
    with pytest.raises(TemplateError, match=f"^{name}: "):  # before any data is read
        refused.validate()


@pytest.mark.parametrize("mismatch", ["template", "splice", "error"])
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"forced_think"}))
def test_nothing_changes_where_prompts_are_prefixes(family: str, mismatch: PromptMismatch) -> None:
    talk = chat("ua", "Q", "A")
    changed = from_source(source(family), FAMILIES[family], family, mismatch)
    usual = template(family).examples(talk)
    found = changed.examples(talk)
    assert shown(found) == shown(usual)
    assert [(one.segments, one.notes) for one in found] == [(one.segments, one.notes) for one in usual]


CONTENT = st.lists(st.sampled_from(["A", "é", " ", "\n", "<|eos|>", "</think>", "<think>", "x y"]), min_size=1).map(
    "".join
)


@pytest.mark.parametrize("mismatch", ["template", "splice"])
@pytest.mark.parametrize("name", SOURCES)
def test_the_plan_joins_as_the_derivation_does(name: str, mismatch: PromptMismatch) -> None:
    """Also where an answer begins as the prompt goes on, so that nothing differs."""
    names = FAMILIES.get(name, FAMILIES["chatml"])
    printer = Printer(JinjaTemplate(SOURCES[name], name), bos=names.bos, eos=names.eos)
    control = ControlTokens(names.control, names.stops)
    planner = Planner(printer, control, mismatch=mismatch)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.tuples(CONTENT, CONTENT, CONTENT, CONTENT))
    def check(contents: tuple[str, ...]) -> None:
        talk: tuple[Message, ...] = messages("uaua", *contents)
        try:
            derived = [one.rendered for one in derive(Chat(printer, control, talk, mismatch))]
        except TemplateError:
            return
        planned = planner.examples(talk)
        assert [one.segments for one in planned] == [one.segments for one in derived]
        for count, example in zip((1, 3), planned, strict=True) if len(planned) == 2 else ():
            context = "".join(part.text for part in example.segments[:-1])
            assert context == printer.prompt(talk[:count]) or "prompt-mismatch" in example.notes
            assert mismatch == "template" or "prompt-mismatch" not in example.notes

    check()


# ---- templates that print no generation prompt behind an answer ---------------------------------------------------------

ONCE = CHATML.replace(
    "if add_generation_prompt", "if add_generation_prompt and messages[-1].role != 'assistant'"
).replace("assistant\n'", "assistant\n<think>\n'")
"""Asks for reasoning, and for nothing where the last message is an answer."""


@pytest.mark.parametrize(
    ("answers", "mismatch", "expected"),
    [
        ("A B", "template", ["{⟦A;⟧", "{A;{⟦B;⟧"]),
        ("<think>\nA B", "template", ["{<think>\n⟦A;⟧{⟦B;⟧"]),
        ("A <think>\nB", "template", ["{⟦A;⟧", "{A;{<think>\n⟦B;⟧"]),
        ("<think>\nA <think>\nB", "template", ["{<think>\n⟦A;⟧{<think>\n⟦B;⟧"]),
        ("A B", "splice", ["{<think>\n⟦A;⟧", "{A;⟦B;⟧"]),
        ("<think>\nA B", "splice", ["{<think>\n⟦A;⟧", "{<think>\nA;⟦B;⟧"]),
        ("A <think>\nB", "splice", ["{<think>\n⟦A;⟧", "{A;⟦<think>\nB;⟧"]),
        ("<think>\nA <think>\nB", "splice", ["{<think>\n⟦A;⟧", "{<think>\nA;⟦<think>\nB;⟧"]),
    ],
)
def test_the_second_of_two_answers_follows_no_prompt(
    answers: str, mismatch: PromptMismatch, expected: list[str]
) -> None:
    assert ONCE.count("add_generation_prompt and messages[-1].role != 'assistant'") == ONCE.count("<think>") == 1
    talk = chat("uaa", "Q", *answers.split(" "))
    found = shown(from_source(ONCE, mismatch=mismatch).examples(talk))
    briefly = [
        text.removeprefix("<|im_start|>user\nQ<|im_end|>\n")
        .replace("<|im_start|>assistant\n", "{")
        .replace("<|im_end|>⟧\n", ";⟧")
        .replace("<|im_end|>⟧", ";⟧")
        .replace("<|im_end|>\n", ";")
        for text in found
    ]
    assert briefly == expected
    with pytest.raises(TemplateError, match="before an answer: it ends before what introduces answer 3\n"):
        from_source(ONCE, mismatch="error").examples(talk)


@pytest.mark.parametrize("mismatch", ["template", "splice", "error"])
def test_the_plan_takes_such_answers_as_the_derivation_does(mismatch: PromptMismatch) -> None:
    names = FAMILIES["chatml"]
    printer = Printer(JinjaTemplate(ONCE, "once"), bos=names.bos, eos=names.eos)
    control = ControlTokens(names.control, names.stops)
    planner = Planner(printer, control, mismatch=mismatch)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.tuples(CONTENT, CONTENT, CONTENT))
    def check(contents: tuple[str, ...]) -> None:
        talk: tuple[Message, ...] = messages("uaa", *contents)
        try:
            derived = [one.rendered.segments for one in derive(Chat(printer, control, talk, mismatch))]
        except TemplateError as problem:
            with pytest.raises(TemplateError, match=re.escape(problem.what)):
                planner.examples(talk)
            return
        assert [one.segments for one in planner.examples(talk)] == derived

    check()


def test_other_processes_choose_alike() -> None:
    kind, arguments = of("forced_think", "splice").__reduce__()
    assert shown(kind(*arguments).examples(chat("uaua", "Q", "A", "R", "B"))) == EXPECTED["forced_think", "splice"]


def test_another_choice_is_another_entry_of_the_cache(tiny_tokenizer_dir: Path) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_dir)
    choices: tuple[PromptMismatch, ...] = ("template", "splice", "error")
    renderers = [Renderer(tokenizer, load_template(None, tokenizer, prompt_mismatch=one), 64) for one in choices]
    assert len({renderer.fingerprint for renderer in renderers}) == 3


FORCED = CHATML.replace("assistant\n'", "assistant\n<think>\n'")


def test_check_counts_it_and_show_shows_it(
    tmp_path: Path, tiny_tokenizer_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert FORCED != CHATML
    (tmp_path / "forced.jinja").write_text(FORCED, encoding="utf-8")
    (tmp_path / "train.jsonl").write_text(json.dumps({"prompt": "Q", "response": "A"}), encoding="utf-8")
    words = [
        f"model.name={tiny_tokenizer_dir}",
        f"data.template_path={tmp_path}/forced.jinja",
        f"data.train_path={tmp_path}/train.jsonl",
        f"data.cache_dir={tmp_path}/cache",
    ]
    assert main(["check", *words]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "train: 1 × prompt-mismatch (the text before an answer differs" in page
    assert "set data.prompt_mismatch=splice" in page
    assert main(["check", *words, "data.prompt_mismatch=splice"]) == 0
    page = capsys.readouterr().out
    assert "train: 1 × spliced" in page
    assert "prompt-mismatch" not in page
    assert main(["show", *words, "data.prompt_mismatch=splice"]) == 0
    assert "assistant↵\n<think>↵\n│⟦A<|im_end|>⟧\n" in capsys.readouterr().out
    assert main(["check", *words, "data.prompt_mismatch=error"]) == 2
    said = capsys.readouterr().err
    assert (
        f"{tmp_path}/forced.jinja: the chat template's generation prompt is not what it prints before an answer" in said
    )
    assert "Traceback" not in said
    assert main(["check", *words, "data.prompt_mismatch=guess"]) == 2
    assert "data.prompt_mismatch" in capsys.readouterr().err


# ---- templates that ignore add_generation_prompt ------------------------------------------------------------------------

DOCUMENTED = """{% for message in messages %}
{% if message['role'] == 'system' %}
System: {{ message['content'] }}
{% elif message['role'] == 'user' %}
Human: {{ message['content'] }}
{% elif message['role'] == 'assistant' %}
Assistant: {{ message['content'] }}
{% endif %}
{% endfor %}"""
"""As the first of the systems whose users weft serves documents it."""


@pytest.mark.parametrize(
    ("family", "mismatch", "expected"),
    [
        ("words_put_in", "template", "### user:\nQ\n### Response:\n⟦A</s>⟧"),
        ("words_put_in", "splice", "### user:\nQ\n### Remember to be brief.\n### Response:\n⟦A</s>⟧"),
        ("words_left_out", "template", "### user:\nQ\n(answer 2)\n### Response:\n⟦A</s>⟧"),
        ("words_left_out", "splice", "### user:\nQ\n### Response:\n⟦A</s>⟧"),
        ("training_bos", "template", "user: Q\nBot:⟦ A</s>⟧"),
    ],
)
def test_a_header_is_not_trained_behind_words_that_only_one_of_the_two_has(
    family: str, mismatch: PromptMismatch, expected: str
) -> None:
    chats = from_source((HERE / "pairs" / f"{family}.jinja").read_text(), PAIRS[family], family, mismatch)
    assert shown(chats.examples(chat("ua", "Q", "A"))) == [expected]


@pytest.mark.parametrize(
    ("opening", "expected"),
    [("({{ messages | length }})", "(3)"), ("({{ 'answer' if add_generation_prompt else 'read' }})", "(answer)")],
)
def test_words_that_differ_before_the_question_are_those_of_the_prompt(opening: str, expected: str) -> None:
    chats = from_source(opening + source("chatml"))
    last = chats.examples(chat("uaua", "Q", "A", "R", "B"))[-1]
    history = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
    assert shown([last]) == [f"{expected}{history}<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n⟦B<|im_end|>⟧"]
    assert last.notes == ("spliced",)


def test_a_question_that_was_asked_before_is_not_taken_for_the_last() -> None:
    """Its answer has another header than the prompt, so that nothing tells where it begins."""
    numbered = source("chatml").replace(
        "'<|im_start|>' + message", "'<|im_start|>' + ('last ' if loop.last else '') + message"
    )
    assert numbered != source("chatml")
    with pytest.raises(TemplateError, match="cannot be told apart"):
        from_source(numbered).examples(chat("uaua", "Q", "A", "Q", "B"), last_turn=True)


@pytest.mark.parametrize("mismatch", ["template", "splice", "error"])
def test_what_a_template_always_prints_is_its_header(mismatch: PromptMismatch) -> None:
    """Context in training, appended at inference, its space the model's to say, and taken away from an answer again."""
    talk = Conversation(messages=messages("suaua", "S", "Q", "A", "R", "B"), location=PLACE)
    made = from_source(DOCUMENTED, FAMILIES["chatml"], mismatch=mismatch)
    first, second = made.examples(talk)
    assert shown([first, second]) == [
        "System: S\nHuman: Q\nAssistant:⟦ A⟧EOS",
        "System: S\nHuman: Q\nAssistant: A\nHuman: R\nAssistant:⟦ B⟧EOS",
    ]
    assert first.notes == second.notes == ("header-appended", "eos-appended")
    assert "".join(part.text for part in made.prompt(talk.messages[:2])) == "System: S\nHuman: Q\nAssistant:"
    assert made.parse(" A") == "A"
    assert made.parse("A") == "A"


REASONS, CALLS = Message(role="assistant", content="A", reasoning="why"), A("", call(city="Rome"))


@pytest.mark.parametrize(
    ("family", "answer", "prompt", "trained"),
    [
        (
            "deepseek32",
            A("A"),
            "<｜begin▁of▁sentence｜><｜User｜>Q<｜Assistant｜><think>",
            "</think>A<｜end▁of▁sentence｜>",
        ),
        (
            "deepseek32",
            REASONS,
            "<｜begin▁of▁sentence｜><｜User｜>Q<｜Assistant｜><think>",
            "why</think>A<｜end▁of▁sentence｜>",
        ),
        ("hunyuan_tools", A("A"), "用户：Q<|extra_0|>", "助手：A<|eos|>"),
        (
            "hunyuan_tools",
            CALLS,
            "用户：Q<|extra_0|>",
            '<tool_calls>[{"name": "weather", "arguments": {"city": "Rome"}}]</tool_calls><|eos|>',
        ),
    ],
)
def test_what_only_some_answers_begin_with_is_the_models_to_say(
    family: str, answer: Message, prompt: str, trained: str
) -> None:
    made = from_source((HERE / "pairs" / f"{family}.jinja").read_text(), PAIRS[family], family)
    question = Message(role="user", content="Q")
    examples = made.examples(Conversation(messages=(question, answer), location=PLACE))
    assert shown(examples) == [f"{prompt}⟦{trained}⟧"]
    assert examples[0].notes == ()
    assert "".join(part.text for part in made.prompt([question])) == prompt
    if answer.content == "A" and not answer.reasoning:
        assert made.parse(trained.removesuffix(PAIRS[family].eos)) == "A"


@pytest.mark.parametrize(
    ("plain", "calling", "header"),
    [
        ("Answer: ", "Action: ", ""),  # words are not cut
        ("<say>", "<act>", ""),  # nor tags
        ("Bot <say>", "Bot <act>", "Bot"),
        ("Bot: ", "Bot: [", "Bot:"),
    ],
)
def test_a_header_that_answers_of_all_kinds_share_is_not_cut_within_a_word(
    plain: str, calling: str, header: str
) -> None:
    source = (
        "{% for m in messages %}{% if m.role != 'assistant' %}{{ m.role + ': ' + m.content + '\n' }}{% elif m.tool_calls %}"
        f"{calling}{{{{ m.tool_calls[0].function.name }}}}<|im_end|>{{% else %}}{plain}{{{{ m.content }}}}<|im_end|>"
        "{% endif %}{% endfor %}"
    )
    (example,) = from_source(source).examples(chat("ua", "Q", "A"))
    assert shown([example]) == [f"user: Q\n{header}⟦{plain.removeprefix(header)}A<|im_end|>⟧"]


@pytest.mark.parametrize("behind", ["\n", " ", "\n\n"])
def test_space_at_the_end_of_what_a_question_prints_is_the_prompts(behind: str) -> None:
    """Servers feed what the template prints, to the last character; only the space before an answer is the model's to say."""
    asked = "{{ '<|im_start|>user\n' + message.content + '<|im_end|>\n<|im_start|>assistant' + '" + behind + "' }}"
    for before_answer, said in (("", "⟦A<|im_end|>⟧"), ("{{ ' ' }}", "⟦ A<|im_end|>⟧")):
        answered = before_answer + "{{ message.content + '<|im_end|>' }}"
        source = (
            "{% for message in messages %}{% if message.role == 'user' %}"
            + asked
            + "{% else %}"
            + answered
            + "{% endif %}"
        )
        made = from_source(source + "{% endfor %}", FAMILIES["chatml"])
        prompt = f"<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant{behind}"
        (example,) = made.examples(Conversation(messages=messages("ua", "Q", "A"), location=PLACE))
        assert shown([example]) == [prompt + said]
        assert example.notes == ()
        assert "".join(part.text for part in made.prompt(messages("u", "Q"))) == prompt

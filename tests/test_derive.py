"""What is trained, asserted by hand for templates of every shape."""

from __future__ import annotations

import pytest

from template_families import (
    CHATML,
    FAMILIES,
    ONE_TURN_ONLY,
    chat,
    control,
    from_source,
    shown,
    source,
    template,
    tokens,
)
from weft.errors import TemplateError

ONE_TURN = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user"
    "<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦A<|eot_id|>⟧",
    "mistral": "<s>[INST] S\n\nQ [/INST]⟦ A</s>⟧",
    "mistral_v3": "<s>[INST] S\n\nQ[/INST]⟦ A</s>⟧",
    "phi3": "<|system|>\nS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\n⟦A<|end|>⟧",
    "qwen3": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    "⟦<think>\n\n</think>\n\nA<|im_end|>⟧",
    "forced_think": "<|bos|><|User|>S<|User|>Q<|Assistant|>⟦A<|eos|>⟧",
    "thinking_switch": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    "<think></think>⟦A<|im_end|>⟧",
    "glm": "[gMASK]<sop><|system|>\nS<|user|>\nQ<|assistant|>\n⟦A<|user|>⟧",
    "gpt_oss": "<|start|>system<|message|>S<|end|><|start|>user<|message|>Q<|end|><|start|>assistant"
    "⟦<|channel|>final<|message|>A<|return|>⟧",
    "zephyr": "<|system|>\nS</s>\n<|user|>\nQ</s>\n<|assistant|>\n⟦A</s>⟧",
    "alpaca": "S\n\n### Instruction:\nQ\n\n### Response:\n⟦A⟧EOS",
    "labels": "Rules: S\nQuestion: Q\nAnswer:⟦ A⟧EOS",
    "variables": "S\n\nQuestion: Q\nAnswer:⟦ A\n---⟧EOS",
    "prompt_only": "S\nQuestion: Q\nAnswer:⟦ A⟧EOS",
    "parts": "System: S<end_of_utterance>\nUser: Q<end_of_utterance>\nAssistant:⟦ A<end_of_utterance>⟧",
    "glued": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧",
    "tagged": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧",
}


@pytest.mark.parametrize("family", ONE_TURN)
def test_one_turn(family: str) -> None:
    assert shown(template(family).examples(chat("sua", "S", "Q", "A"))) == [ONE_TURN[family]]


def test_every_family_is_asserted() -> None:
    assert set(FAMILIES) - {"gemma"} == set(ONE_TURN)  # Gemma's refuses a system message, which is asserted below


def test_gemma_trims_and_refuses_a_system_message() -> None:
    gemma = template("gemma")
    assert shown(gemma.examples(chat("ua", " Q\n", "\nA "))) == [
        "<bos><start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n⟦A<end_of_turn>⟧"
    ]
    with pytest.raises(TemplateError, match=r"data\.jsonl:7: the chat template refused .*no system role \(gemma:3\)"):
        gemma.examples(chat("sua", "S", "Q", "A"))


# ---- several turns -----------------------------------------------------------------------------------------------------

SEVERAL_TURNS = {
    "chatml": [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧\n"
        "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n⟦B<|im_end|>⟧"
    ],
    "mistral": ["<s>[INST] Q [/INST]⟦ A</s>⟧[INST] R [/INST]⟦ B</s>⟧"],
    "glm": ["[gMASK]<sop><|user|>\nQ<|assistant|>\n⟦A<|user|>⟧\nR<|assistant|>\n⟦B<|user|>⟧"],
    # It rewrites its history: an example for each turn.
    "qwen3": [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\nA<|im_end|>⟧",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\nB<|im_end|>⟧",
    ],
    "gpt_oss": [
        "<|start|>user<|message|>Q<|end|><|start|>assistant⟦<|channel|>final<|message|>A<|return|>⟧",
        "<|start|>user<|message|>Q<|end|><|start|>assistant<|channel|>final<|message|>A<|end|>"
        "<|start|>user<|message|>R<|end|><|start|>assistant⟦<|channel|>final<|message|>B<|return|>⟧",
    ],
    # It closes no turn, and an EOS never stands inside a history.
    "labels": ["Question: Q\nAnswer:⟦ A⟧EOS", "Question: Q\nAnswer: A\nQuestion: R\nAnswer:⟦ B⟧EOS"],
    "alpaca": [
        "### Instruction:\nQ\n\n### Response:\n⟦A⟧EOS",
        "### Instruction:\nQ\n\n### Response:\nA\n\n### Instruction:\nR\n\n### Response:\n⟦B⟧EOS",
    ],
    # The prompt of inference differs from the history's print, so that nothing can be shared.
    "forced_think": [
        "<|bos|><|User|>Q<|Assistant|>⟦A<|eos|>⟧",
        "<|bos|><|User|>Q<|Assistant|>A<|eos|><|User|>R<|Assistant|>⟦B<|eos|>⟧",
    ],
}


@pytest.mark.parametrize("family", SEVERAL_TURNS)
def test_several_turns(family: str) -> None:
    assert shown(template(family).examples(chat("uaua", "Q", "A", "R", "B"))) == SEVERAL_TURNS[family]


def test_a_history_that_loses_its_system_message_is_spliced() -> None:
    first, second = template("mistral_v3").examples(chat("suaua", "S", "Q", "A", "R", "B"))
    assert shown([first, second]) == [
        "<s>[INST] S\n\nQ[/INST]⟦ A</s>⟧",
        "<s>[INST] Q[/INST] A</s>[INST] S\n\nR[/INST]⟦ B</s>⟧",
    ]
    assert "spliced" in first.notes
    assert "spliced" in second.notes


def test_a_system_message_with_the_history_that_is_left_out_is_no_switch() -> None:
    turn = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    source = (
        "{% set ns = namespace(last=0) %}"
        "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
        "{% for m in messages %}{% if ns.last < 2 or loop.index0 >= ns.last %}" + turn + "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    for system in ("Be brief.", "/no_think"):
        first, second = from_source(source).examples(chat("suaua", system, "Q", "A", "R", "B"))
        assert shown([first, second]) == [
            f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧",
            "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n⟦B<|im_end|>⟧",
        ]
        assert first.notes == second.notes == ()


def test_consecutive_answers() -> None:
    two = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧\n<|im_start|>assistant\n⟦B<|im_end|>⟧"
    one = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A\nB<|im_end|>⟧"
    assert shown(template("chatml").examples(chat("uaa", "Q", "A", "B"))) == [two]
    assert shown(template("glued").examples(chat("uaa", "Q", "A", "B"))) == [one]


def test_a_template_of_single_variables_takes_one_turn_only() -> None:
    for family in ONE_TURN_ONLY:
        with pytest.raises(TemplateError, match=r"each once; the conversation has 4 messages"):
            template(family).examples(chat("uaua", "Q", "A", "R", "B"))
        assert shown(template(family).examples(chat("ua", "Q", "A")))[0].startswith("Question: Q\nAnswer:⟦ A")


# ---- reasoning ---------------------------------------------------------------------------------------------------------


def test_reasoning_is_trained_where_it_is_printed() -> None:
    first, second = template("qwen3").examples(chat("uaua", "Q", "<think>\nwhy\n</think>\n\nA", "R", "B"))
    assert shown([first, second]) == [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦<think>\nwhy\n</think>\n\nA<|im_end|>⟧",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\nB<|im_end|>⟧",
    ]
    assert first.notes == second.notes == ()


def test_reasoning_that_the_template_leaves_out_is_noted() -> None:
    (example,) = template("forced_think").examples(chat("ua", "Q", "<think>\nwhy\n</think>\n\nA"))
    assert shown([example]) == ["<|bos|><|User|>Q<|Assistant|>⟦\n\nA<|eos|>⟧"]
    assert example.notes == ("prompt-mismatch", "content-dropped")


def test_an_answer_with_reasoning_may_follow_another_prompt() -> None:
    switch = template("thinking_switch")
    (plain,) = switch.examples(chat("ua", "Q", "A"))
    (reasoned,) = switch.examples(chat("ua", "Q", "<think>\nwhy</think>A"))
    assert shown([reasoned]) == [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n⟦why</think>A<|im_end|>⟧"
    ]
    assert plain.notes == ("prompt:enable_thinking=False",)
    assert reasoned.notes == ("prompt-varies",)


# ---- notes -------------------------------------------------------------------------------------------------------------

NOTES = {
    "chatml": (),
    "mistral": (),
    "forced_think": ("prompt-mismatch",),
    "glm": ("next-role-closes",),
    "alpaca": ("eos-appended",),
    "labels": ("header-appended", "eos-appended"),
    "prompt_only": ("eos-appended",),
}


@pytest.mark.parametrize("family", NOTES)
def test_notes(family: str) -> None:
    (example,) = template(family).examples(chat("ua", "Q", "A"))
    assert example.notes == NOTES[family]


def test_messages_after_the_last_answer_are_noted() -> None:
    (example,) = template("chatml").examples(chat("uau", "Q", "A", "R"))
    assert shown([example]) == ["<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧"]
    assert example.notes == ("unanswered",)


def test_a_changed_answer_is_noted() -> None:
    shouting = from_source("{% for m in messages %}{{ m.role }}: {{ m.content | upper }}<|im_end|>{% endfor %}")
    (example,) = shouting.examples(chat("ua", "why", "because"))
    assert shown([example]) == ["user: WHY<|im_end|>assistant:⟦ BECAUSE<|im_end|>⟧"]
    assert "content-changed" in example.notes


# ---- {% generation %} --------------------------------------------------------------------------------------------------


def test_the_generation_tag_selects_turns() -> None:
    (example,) = template("tagged").examples(chat("uauaua", "Q", "A", "Skip R", "B", "T", "C"))
    assert shown([example]) == [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧\n"
        "<|im_start|>user\nSkip R<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n"
        "<|im_start|>user\nT<|im_end|>\n<|im_start|>assistant\n⟦C<|im_end|>⟧"
    ]
    (example,) = template("tagged").examples(chat("uaua", "Q", "A", "Skip R", "B"))
    assert shown([example]) == ["<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧"]
    with pytest.raises(TemplateError, match="marks no part of the conversation"):
        template("tagged").examples(chat("ua", "Skip Q", "A"))


@pytest.mark.parametrize(
    ("body", "trained"),
    [
        ("<|im_start|>assistant\n{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>", "A<|im_end|>"),
        ("{% generation %}<|im_start|>assistant\n{{ m.content }}<|im_end|>{% endgeneration %}", "A<|im_end|>"),
        (
            "<|im_start|>assistant\n{% generation %}{{ m.content }}{% endgeneration %}"
            "{% generation %}<|im_end|>{% endgeneration %}",
            "A<|im_end|>",
        ),
    ],
)
def test_tags_are_snapped_to_the_turn(body: str, trained: str) -> None:
    text = (
        "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>{% else %}"
        + body
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (example,) = from_source(text).examples(chat("ua", "Q", "A"))
    assert shown([example]) == [f"<|im_start|>user\nQ<|im_end|><|im_start|>assistant\n⟦{trained}⟧"]


def test_a_tag_inside_a_filter_that_it_disturbs_is_refused() -> None:
    trimmed = from_source(
        "{% for m in messages %}{% filter trim %}{% generation %} {{ m.content }} {% endgeneration %}{% endfilter %}"
        "<|im_end|>{% endfor %}"
    )
    with pytest.raises(TemplateError, match="changes what stands inside"):
        trimmed.examples(chat("ua", "Q", "A"))


# ---- closing tokens ----------------------------------------------------------------------------------------------------


def test_the_last_control_token_closes_where_no_stop_does() -> None:
    unaware = from_source(
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|tool|><|done|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}",
        FAMILIES["gpt_oss"].__class__(frozenset({"<|tool|>", "<|done|>", "<|eos|>"}), frozenset({"<|eos|>"})),
    )
    assert shown(unaware.examples(chat("ua", "Q", "A"))) == [
        "<|user|>Q<|tool|><|done|><|assistant|>⟦A<|tool|><|done|>⟧"
    ]
    assert unaware.stop_strings == {"<|done|>", "<|eos|>"}


def test_markers_that_are_no_tokens_leave_the_end_to_eos() -> None:
    plain = from_source("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
                        CHATML.__class__(frozenset({"</s>"}), frozenset({"</s>"}), "", "</s>"))  # fmt: skip
    assert shown(plain.examples(chat("ua", "Q", "A"))) == [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧EOS"
    ]


# ---- what cannot be derived --------------------------------------------------------------------------------------------


def test_no_answer_no_example() -> None:
    with pytest.raises(TemplateError, match="no answer to learn from"):
        template("chatml").examples(chat("su", "S", "Q"))


def test_a_history_printed_in_two_ways_is_refused() -> None:
    text = (
        "{% for m in messages %}{{ m.role }}{{ messages | length }}: {{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(TemplateError, match="prints the messages before answer 2 differently"):
        from_source(text).examples(chat("ua", "Q", "A"))


@pytest.mark.parametrize(("role", "number"), [("system", 1), ("user", 2), ("assistant", 3)])
def test_a_message_that_is_not_printed_is_named(role: str, number: int) -> None:
    text = (
        f"{{% for m in messages if m.role != '{role}' %}}{{{{ m.role }}}}: {{{{ m.content }}}}<|im_end|>{{% endfor %}}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(TemplateError, match=rf"does not print the {role} message \(message {number}\)"):
        from_source(text).examples(chat("sua", "S", "Q", "A"))


@pytest.mark.parametrize("roles", ["ua", "uaua"])
def test_an_answer_of_reasoning_alone_that_is_left_out_is_named(roles: str) -> None:
    leaves_out = from_source(
        "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[-1] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    contents = ["Q", "<think>\nwhy\n</think>\n\n", "R", "B"][: len(roles)]
    with pytest.raises(
        TemplateError, match=r"nothing but reasoning \(message 2\), and the chat template leaves that out"
    ):
        leaves_out.examples(chat(roles, *contents))


@pytest.mark.parametrize("answer", ["so", "so it is, " * 9])
@pytest.mark.parametrize("reasoning", ["why", "because of that, " * 9])
def test_a_template_that_prints_nothing_but_reasoning_leaves_the_answer_out(reasoning: str, answer: str) -> None:
    only_reasons = from_source(
        "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[0] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(TemplateError, match=r"does not print the assistant message \(message 2\)"):
        only_reasons.examples(chat("ua", "Q", f"<think>\n{reasoning}\n</think>\n\n{answer}"))


def test_a_record_that_holds_every_private_use_character_is_refused() -> None:
    every = "".join(map(chr, range(0xF0000, 0xFFFFE)))
    for conversation in (chat("ua", every, "A "), chat("ua", "Q", every[:-1] + " ")):
        with pytest.raises(
            TemplateError, match=r"^data.jsonl:7: the record holds 65,53[34] different private-use characters"
        ):
            template("chatml").examples(conversation)


def test_contents_whose_line_breaks_the_template_joins() -> None:
    joining = from_source(
        "{% for m in messages %}{{ m.role }}: {{ m.content.replace('\\r\\n', '\\n').replace('\\n\\n', '\\n') }}"
        "{{ eos_token if m.role == 'assistant' }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    (example,) = joining.examples(chat("uaua", "Qu\r\nQu", "one\r\n\r\ntwo", "R\n\nRs", "six\n\n\nsix"))
    assert shown([example]) == [
        "user: Qu\nQu\nassistant:⟦ one\ntwo<|eos|>⟧\nuser: R\nRs\nassistant:⟦ six\n\nsix<|eos|>⟧"
    ]


def test_a_header_that_depends_on_whether_something_was_asked() -> None:
    unprompted = from_source(
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% else %}"
        "{{ '\\nA: ' if messages[0].content else 'B: ' }}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    conversations = [chat("ua", "", "A"), chat("ua", "Q ", "A"), chat("ua", "", "A")]
    assert [shown(unprompted.examples(each)) for each in conversations] == [
        ["B:⟦ A<|eos|>⟧"],
        ["Q \nA:⟦ A<|eos|>⟧"],
        ["B:⟦ A<|eos|>⟧"],
    ]


# ---- reasoning whose tags are control tokens ---------------------------------------------------------------------------

REASONING = tokens("<|eos|> <|im_end|>", "<|im_start|> <think> </think>")
OPENED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}"
)


def test_tags_that_the_template_writes_around_reasoning_are_tokens_wherever_the_record_keeps_it() -> None:
    qwen3 = from_source(source("qwen3"), REASONING)
    (in_content,) = qwen3.examples(chat("ua", "<think>Q</think>", "<think>why</think>AB"))
    (apart,) = qwen3.examples(chat("ua", "<think>Q</think>", "<think>\nwhy\n</think>\n\nAB"))
    assert in_content == apart
    assert control(apart) == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<think>", "</think>", "<|im_end|>"]


def test_tags_that_the_template_copies_are_text() -> None:
    (example,) = from_source(source("chatml"), REASONING).examples(chat("ua", "Q", "<think>\nwhy\n</think>\n\nA"))
    assert control(example) == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]


def test_a_tag_that_opens_both_prompt_and_answer_is_the_prompt_s() -> None:
    opened = from_source(OPENED, REASONING)
    (example,) = opened.examples(chat("ua", "Q", "<think>why"))
    assert shown([example]) == ["<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>⟦why<|im_end|>⟧"]
    assert control(example) == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<think>", "<|im_end|>"]

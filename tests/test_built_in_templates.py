"""The templates that come with weft: what each prints and trains, by hand; and that Transformers prints the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from template_families import FakeTokenizer, chat, messages, shown, tokens
from weft.config.schema import Config
from weft.data.inputs import configured_template
from weft.data.template import BUILT_IN, ChatTemplate, built_in_source, load_template, plain_source
from weft.errors import TemplateError

TEXT = tokens("</s>", bos="<s>")
TOKENIZERS: dict[str, FakeTokenizer] = {
    "chatml": tokens("<|endoftext|> <|im_end|>", "<|im_start|>"),
    "instruct": TEXT,
    "chat": TEXT,
    "alpaca": TEXT,
    "llama3": tokens("<|eot_id|> <|end_of_text|>", "<|start_header_id|> <|end_header_id|>", bos="<|begin_of_text|>"),
    "gemma": tokens("<eos> <end_of_turn>", "<start_of_turn>", bos="<bos>"),
    "mistral": TEXT,
    "phi3": tokens("<|endoftext|> <|end|>", "<|user|> <|system|> <|assistant|>"),
    "qwen3": tokens("<|im_end|> <|endoftext|>", "<|im_start|>"),
    "plain": TEXT,
}
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."

WITH_SYSTEM = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧\n"
    "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n⟦B<|im_end|>⟧",
    "instruct": "S\n\n### Instruction:\nQ\n\n### Response:\n⟦A</s>⟧\n\n### Instruction:\nR\n\n### Response:\n⟦B</s>⟧",
    "chat": "System: S\nHuman: Q\nAssistant:⟦ A</s>⟧\nHuman: R\nAssistant:⟦ B</s>⟧",
    "alpaca": "S\n\n### Instruction:\nQ\n\n### Response:\n⟦A</s>⟧\n\n### Instruction:\nR\n\n### Response:\n⟦B</s>⟧",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user"
    "<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦A<|eot_id|>⟧<|start_header_id|>user"
    "<|end_header_id|>\n\nR<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦B<|eot_id|>⟧",
    "gemma": "<bos><start_of_turn>user\nS\n\nQ<end_of_turn>\n<start_of_turn>model\n⟦A<end_of_turn>⟧\n"
    "<start_of_turn>user\nR<end_of_turn>\n<start_of_turn>model\n⟦B<end_of_turn>⟧",
    "mistral": "<s>[INST] S\n\nQ [/INST]⟦ A</s>⟧[INST] R [/INST]⟦ B</s>⟧",
    "phi3": "<|system|>\nS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\n⟦A<|end|>⟧\n<|user|>\nR<|end|>\n<|assistant|>\n"
    "⟦B<|end|>⟧",
    "plain": "S\n\nQ\n\n### Response:\n⟦A</s>⟧R\n\n### Response:\n⟦B</s>⟧",
}
TWO_ANSWERS = {
    "chatml": "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧\n<|im_start|>assistant\n⟦B<|im_end|>⟧",
    "instruct": "### Instruction:\nQ\n\n### Response:\n⟦A</s>⟧\n\n### Response:\n⟦B</s>⟧",
    "chat": "Human: Q\nAssistant:⟦ A</s>⟧\nAssistant:⟦ B</s>⟧",
    "alpaca": f"{ALPACA}\n\n### Instruction:\nQ\n\n### Response:\n⟦A</s>⟧\n\n### Response:\n⟦B</s>⟧",
    "llama3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant"
    "<|end_header_id|>\n\n⟦A<|eot_id|>⟧<|start_header_id|>assistant<|end_header_id|>\n\n⟦B<|eot_id|>⟧",
    "gemma": "<bos><start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n⟦A<end_of_turn>⟧\n"
    "<start_of_turn>model\n⟦B<end_of_turn>⟧",
    "mistral": "<s>[INST] Q [/INST]⟦ A</s>⟧⟦ B</s>⟧",
    "phi3": "<|user|>\nQ<|end|>\n<|assistant|>\n⟦A<|end|>⟧\n<|assistant|>\n⟦B<|end|>⟧",
    "plain": "Q\n\n### Response:\n⟦A</s>⟧\n\n### Response:\n⟦B</s>⟧",
}
QWEN3_FIRST = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"


def built_in(name: str) -> ChatTemplate:
    return load_template(name, TOKENIZERS[name])


def test_every_one_is_asserted() -> None:
    assert set(BUILT_IN) == set(TOKENIZERS) == {*WITH_SYSTEM, "qwen3"} == {*TWO_ANSWERS, "qwen3"}


@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_a_system_message_and_two_turns(name: str) -> None:
    (example,) = built_in(name).examples(chat("suaua", "S", "Q", "A", "R", "B"))
    assert shown([example]) == [WITH_SYSTEM[name]]
    assert example.notes == ()


@pytest.mark.parametrize("name", TWO_ANSWERS)
def test_an_answer_in_two_messages(name: str) -> None:
    (example,) = built_in(name).examples(chat("uaa", "Q", "A", "B"))
    assert shown([example]) == [TWO_ANSWERS[name]]
    assert example.notes == ()


def test_qwen3_gives_one_example_for_each_turn() -> None:
    conversation = chat("suaua", "S", "Q", "<think>\nwhy\n</think>\n\nA", "R", "B")
    assert shown(built_in("qwen3").examples(conversation)) == [
        QWEN3_FIRST + "⟦<think>\nwhy\n</think>\n\nA<|im_end|>⟧",
        QWEN3_FIRST + "A<|im_end|>\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n"
        "⟦<think>\n\n</think>\n\nB<|im_end|>⟧",
    ]


def test_alpaca_opens_with_its_paragraph_where_there_is_no_system_message() -> None:
    assert shown(built_in("alpaca").examples(chat("ua", "Q", "A"))) == [
        f"{ALPACA}\n\n### Instruction:\nQ\n\n### Response:\n⟦A</s>⟧"
    ]


@pytest.mark.parametrize("name", BUILT_IN)
def test_edges(name: str) -> None:
    trims = name in ("llama3", "gemma")
    (example,) = built_in(name).examples(chat("ua", " Q\n", "\tA \n"))
    trained = example.segments[-1].text
    assert trained.startswith("A" if trims else " \tA \n" if name in ("chat", "mistral") else ("\tA \n", "<think>"))
    assert sum(segment.trained for segment in example.segments) == 1


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_answer_is_read_back(name: str) -> None:
    template = built_in(name)
    turn = template.examples(chat("ua", "Q", "An answer."))[-1].segments[-1]
    assert template.parse(turn.text[: turn.control[-1][0]]) == "An answer."


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("roles", ["ua", "sua", "suaua", "u", "su", "suau"])
def test_transformers_prints_the_same(name: str, roles: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    said = messages(roles, *(" S\n", "Q <b>é</b>", "<think>\nwhy\n</think>\n\nA\n", "R", "B")[5 - len(roles) :])
    tokenizer, template = TOKENIZERS[name], built_in(name)
    dialogue = [{"role": message.role, "content": message.content} for message in said]
    asked = roles.endswith("u")
    [theirs], _ = render_jinja_template(
        [dialogue],
        chat_template=template.source,
        add_generation_prompt=asked,
        bos_token=tokenizer.bos,
        eos_token=tokenizer.eos,
    )
    if asked:
        assert "".join(segment.text for segment in template.prompt(said)) == theirs
    else:
        (*_, last) = template.examples(chat(roles, *(message.content for message in said)))
        assert theirs.startswith("".join(segment.text for segment in last.segments))


@pytest.mark.parametrize("name", [name for name, needed in BUILT_IN.items() if needed])
def test_missing_tokens_are_named_with_the_fix(name: str) -> None:
    lacking = BUILT_IN[name][-1]
    complete = TOKENIZERS[name]
    tokenizer = FakeTokenizer(complete.control - {lacking}, complete.stops - {lacking}, complete.bos, complete.eos)
    with pytest.raises(TemplateError) as caught:
        load_template(name, tokenizer)
    assert str(caught.value) == (
        f"data.template_path: the tokenizer has no control token {lacking}, which the {name} template is made of\n"
        "  fix: set data.template_path to one that needs none (instruct, chat, alpaca, mistral, plain) or to a .jinja file, "
        "leave it out to use the tokenizer's own template, or add the tokens to the tokenizer"
    )


@pytest.mark.parametrize("name", ["instruct", "chat", "alpaca", "mistral", "plain"])
def test_templates_of_text_need_an_end_of_text_token(name: str) -> None:
    with pytest.raises(TemplateError, match="the tokenizer has no end-of-text token"):
        load_template(name, FakeTokenizer(frozenset(), frozenset(), "", ""))


# ---- plain -------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=12).filter(str.strip))
def test_any_separator_stands_between_instruction_and_response(separator: str) -> None:
    (example,) = load_template(None, TEXT, separator=separator).examples(chat("ua", "Q", "A"))
    context, trained = example.segments
    assert context.text + trained.text == f"Q{separator}A</s>"
    assert trained.text == "A</s>"


@pytest.mark.parametrize("separator", ["'", "\\", "\\'", "\n", "{{ x }}", "{% raw %}", "😀", "\\n", '"', "#}"])
def test_separators_that_jinja_could_misread(separator: str) -> None:
    (example,) = load_template("plain", TEXT, separator=separator).examples(chat("ua", "Q", "A"))
    assert shown([example]) == [f"Q{separator}⟦A</s>⟧"]


def test_the_separator_is_part_of_the_template_that_a_run_keeps() -> None:
    assert plain_source("\n\n### Response:\n") == built_in_source("plain")
    kept = plain_source(" => ")
    assert kept.startswith("{%- set separator = ' => ' %}\n")
    again = ChatTemplate(kept, "chat_template.jinja", TEXT.control, TEXT.stops, TEXT.bos, TEXT.eos)
    assert shown(again.examples(chat("ua", "Q", "A"))) == ["Q => ⟦A</s>⟧"]


@pytest.mark.parametrize("data", [{}, {"template_path": "plain"}])
def test_the_configured_separator_chooses_plain(data: dict[str, str]) -> None:
    config = Config.model_validate({"data": {**data, "instruction_response_separator": " => "}})
    (example,) = configured_template(config, TEXT).examples(chat("ua", "Q", "A"))  # type: ignore[arg-type]
    assert shown([example]) == ["Q => ⟦A</s>⟧"]


def test_a_separator_for_another_template_is_refused() -> None:
    with pytest.raises(TemplateError) as caught:
        load_template("chat", TEXT, separator="\n")
    assert str(caught.value) == (
        "data.instruction_response_separator: only the plain template has a separator, and data.template_path is chat\n"
        "  fix: remove it, or set data.template_path to plain"
    )

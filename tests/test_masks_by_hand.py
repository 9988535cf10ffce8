"""What is trained, what is noted and what is refused, by hand, for templates with reasoning and calls of tools."""

from __future__ import annotations

import pytest

from mask_pairs import READY, SHAPES, TEXT_ONLY, A, S, U, call, shaped, with_a_telling_id
from template_families import control, shown
from weft.data.shape_plan import Planner
from weft.errors import TemplateError
from weft.types import Setting, ToolCall

BY_HAND = {
    ("chatml_tools", "call with reasoning"): [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦<think>look</think>\n"
        '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call><|im_end|>⟧\n'
        "<|im_start|>tool\n21<|im_end|>\n<|im_start|>assistant\n⟦<think>fine</think>21.<|im_end|>⟧"
    ],
    ("llama31", "call and answer"): [
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant"
        '<|end_header_id|>\n\n⟦{"name": "weather", "parameters": {"city": "Rome"}}<|eom_id|>⟧<|start_header_id|>ipython'
        "<|end_header_id|>\n\n21<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦It is 21.<|eot_id|>⟧"
    ],
    ("deepseek", "call"): [
        "<｜begin▁of▁sentence｜><｜User｜>Q<｜Assistant｜></think>⟦<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather"
        '<｜tool▁sep｜>{"city": "Rome"}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>⟧'
    ],
    ("glm45", "call and answer"): [
        "[gMASK]<sop><|user|>\nQ<|assistant|>⟦\n<think></think>\n<tool_call>weather\n<arg_key>city</arg_key>\n"
        "<arg_value>Rome</arg_value>\n</tool_call><|observation|>⟧\n<tool_response>\n21\n</tool_response>"
        "<|assistant|>⟦\n<think></think>\nIt is 21.<|user|>⟧"
    ],
    ("glm45", "call"): [
        "[gMASK]<sop><|user|>\nQ<|assistant|>⟦\n<think></think>\n<tool_call>weather\n<arg_key>city</arg_key>\n"
        "<arg_value>Rome</arg_value>\n</tool_call><|observation|>⟧"
    ],
    # The prompt after a call holds the reasoning before it, and the whole conversation does not: the answer is spliced on.
    ("gpt_oss_tools", "call with reasoning"): [
        "<|start|>user<|message|>Q<|end|><|start|>assistant⟦<|channel|>analysis<|message|>look<|end|><|start|>assistant "
        'to=functions.weather<|channel|>commentary json<|message|>{"city": "Rome"}<|call|>⟧',
        "<|start|>user<|message|>Q<|end|><|start|>assistant<|channel|>analysis<|message|>look<|end|><|start|>assistant "
        'to=functions.weather<|channel|>commentary json<|message|>{"city": "Rome"}<|call|><|start|>functions.weather '
        'to=assistant<|channel|>commentary<|message|>"21"<|end|><|start|>assistant⟦<|channel|>analysis<|message|>fine<|end|>'
        "<|start|>assistant<|channel|>final<|message|>21.<|return|>⟧",
    ],
    ("lfm2", "two calls"): [
        "<|startoftext|><|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦<|tool_call_start|>"
        '[weather(city="Rome"), weather(city="Oslo")]<|tool_call_end|><|im_end|>⟧\n<|im_start|>tool\n'
        "<|tool_response_start|>21<|tool_response_end|><|im_end|>\n<|im_start|>tool\n<|tool_response_start|>9"
        "<|tool_response_end|><|im_end|>\n<|im_start|>assistant\n⟦21 and 9.<|im_end|>⟧"
    ],
    # The prompt opens reasoning, and a call begins like the tag that does.
    ("qwq", "call"): [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦<tool_call>\n"
        '{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>⟧'
    ],
    # The prompt after an answer lacks the line break that the conversation has there: the second answer is spliced on.
    ("olmo2", "consecutive answers"): [
        "<|user|>\nQ\n<|assistant|>\n⟦A<|endoftext|>⟧",
        "<|user|>\nQ\n<|assistant|>\nA<|endoftext|><|assistant|>\n⟦B<|endoftext|>⟧",
    ],
    ("falcon", "two turns"): [
        "User: Q\n\nAssistant:⟦ A⟧EOS",
        "User: Q\n\nAssistant: A\n\nUser: R\n\nAssistant:⟦ B⟧EOS",
    ],
    ("apertus", "call after call"): [
        '<s><|user_start|>Q<|user_end|><|assistant_start|>⟦<|tools_prefix|>[{"weather": {"city": "Rome"}}]'
        '<|tools_suffix|>⟧[21]⟦<|tools_prefix|>[{"weather": {"city": "Oslo"}}]<|tools_suffix|>⟧[9]'
        "⟦21, 9.<|assistant_end|>⟧"
    ],
    ("apertus", "consecutive answers"): ["<s><|user_start|>Q<|user_end|><|assistant_start|>⟦AB<|assistant_end|>⟧"],
    ("kimi", "call and answer"): [
        "<|im_system|>system<|im_middle|>You are Kimi.<|im_end|><|im_user|>user<|im_middle|>Q<|im_end|><|im_assistant|>"
        "assistant<|im_middle|>⟦<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:1"
        '<|tool_call_argument_begin|>{"city": "Rome"}<|tool_call_end|><|tool_calls_section_end|><|im_end|>⟧<|im_system|>'
        "weather<|im_middle|>## Return of functions.weather:1\n21<|im_end|><|im_assistant|>assistant<|im_middle|>"
        "⟦It is 21.<|im_end|>⟧"
    ],
    # What stands behind every conversation is the generation prompt, and no part of an answer.
    ("standing_prompt", "call with reasoning"): [
        "<s><|turn|><|user|>Q<|/turn|><|turn|><|bot|>⟦<|plan|>look<|/plan|>"
        '<|act|>[{"tool": "weather", "with": {"city": "Rome"}}]<|/act|><|/turn|>⟧<|turn|><|system|><|result|>21<|/result|>'
        "<|/turn|><|turn|><|bot|>⟦<|plan|>fine<|/plan|><|say|>21.<|/say|><|/turn|>⟧"
    ],
    # The prompt and the conversation part at a line break before the header, which is no part of the answer.
    ("other_space", "call and answer"): [
        '<s><|head|>user<|/head|>\n\nQ<|end|><|head|>bot<|/head|>\n\n⟦<tool>weather {"city": "Rome"}</tool><|end|>⟧',
        '<s><|head|>user<|/head|>\n\nQ<|end|><|head|>bot<|/head|>\n\n<tool>weather {"city": "Rome"}</tool><|end|>'
        "<|head|>tool<|/head|>\n\n21<|end|><|head|>bot<|/head|>\n\n⟦It is 21.<|end|>⟧",
    ],
    # The prompt behind an answer leaves it open: from there no model comes to the next one.
    ("open_answer", "consecutive answers, then a turn"): [
        "<|user|>\nQ\n<|bot|>\n⟦A\n<|end|>⟧",
        "<|user|>\nQ\n<|bot|>\nA\n<|end|>\n<|bot|>\n⟦B\n<|end|>⟧",
        "<|user|>\nQ\n<|bot|>\nA\n<|end|>\n<|bot|>\nB\n<|end|>\n<|user|>\nR\n<|bot|>\n⟦C\n<|end|>⟧",
    ],
    ("switches", "a switch for a system message"): [
        "<|im_start|>system\nReasoning: off\nBe helpful.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
        "<think>\n\n</think>\n⟦A<|im_end|>⟧\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n"
        "⟦B<|im_end|>⟧"
    ],
    # The instruction behind all that was said stands before the answer for whoever answers, and nothing ends a call.
    ("reminder", "call and answer"): [
        "<s><|turn|><|user|>Q<|/turn|><|turn|><|system|>Answer, or write Call: and a list of calls.<|/turn|><|turn|><|bot|>"
        '⟦\nCall: [{"tool": "weather", "with": {"city": "Rome"}}]⟧EOS',
        '<s><|turn|><|user|>Q<|/turn|><|turn|><|bot|>\nCall: [{"tool": "weather", "with": {"city": "Rome"}}]'
        "<|turn|><|system|><found>21</found><|/turn|>"
        "<|turn|><|system|>Answer, or write Call: and a list of calls.<|/turn|><|turn|><|bot|>⟦It is 21.<|/turn|>⟧",
    ],
    # A conversation that ends with results closes them; where a call follows, or a question, they stay open.
    ("open_results", "call after call"): [
        '<s><|user|>Q<|bot|><|calls|><|call|>weather\n{"city": "Rome"}<|/call|><|/bot|><|result|>21<|/result|>'
        '⟦\n<|call|>weather\n{"city": "Oslo"}<|/call|><|/bot|>⟧',
        '<s><|user|>Q<|bot|>⟦<|calls|><|call|>weather\n{"city": "Rome"}<|/call|><|/bot|>⟧<|result|>21<|/result|>'
        '\n<|call|>weather\n{"city": "Oslo"}<|/call|><|/bot|><|result|>9<|/result|><|/results|>⟦21, 9.<|/bot|>⟧',
    ],
    # The words are an answer, and the calls are another one, which the template opens by itself.
    ("closed_within", "call with a content"): [
        "<s><|turn|>user\nQ<|stop|>\n<|turn|>bot\n⟦I look.\n<|stop|>⟧\n<|turn|>bot\n"
        '⟦<calls>[{"name": "weather", "with": {"city": "Rome"}}]</calls><|stop|>⟧\n<|turn|>tool\n21<|stop|>\n'
        "<|turn|>bot\n⟦It is 21.\n<|stop|>⟧"
    ],
    # <|end|> also stands between the parts of an answer, where generation must go on.
    ("part_end", "reasoning field"): [
        "<|begin|>user<|say|>Q<|end|><|begin|>bot⟦<|plan|>why<|end|><|begin|>bot<|say|>A<|end|>⟧EOS"
    ],
    ("part_end", "call with a content"): [
        "<|begin|>user<|say|>Q<|end|><|begin|>bot⟦<|say|>I look.<|end|><|begin|>bot<|act|><|one|>weather "
        '{"city": "Rome"}<|/one|><|calls|>⟧<|begin|>tool<|say|>21<|end|><|begin|>bot⟦<|say|>It is 21.<|end|>⟧EOS',
    ],
    ("first_part", "call with a content"): [
        "<s><|user|>Q<|/bot|><|bot|>"
        '⟦<|say|>I look.<|/say|><|call|>{"tool": "weather", "with": {"city": "Rome"}}<|/bot|>⟧<|tool|>21<|/bot|><|bot|>'
        "⟦<|say|>It is 21.<|/say|><|/bot|>⟧"
    ],
    # Behind an answer the prompt only closes it, as a question does: what opens the next one is not the model's to say.
    ("last_open", "consecutive answers"): [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧\n<|im_start|>assistant\n⟦B<|im_end|>⟧"
    ],
    # Every server feeds the line break that the question prints.
    ("question_asks", "two turns"): [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦A<|im_end|>⟧\n<|im_start|>user\nR<|im_end|>\n"
        "<|im_start|>assistant\n⟦B<|im_end|>⟧"
    ],
    # The prompt has a system message that the conversation has not.
    ("inference_only", "two turns"): [
        "<s><|start|>system<|message|>You help.<|eot|><|start|>user<|message|>Q<|eot|><|start|>assistant"
        "⟦ to=user<|message|>A<|eot|>⟧",
        "<s><|start|>system<|message|>You help.<|eot|><|start|>user<|message|>Q<|eot|><|start|>assistant to=user<|message|>A"
        "<|eot|><|start|>user<|message|>R<|eot|><|start|>assistant⟦ to=user<|message|>B<|eot|>⟧",
    ],
    # The header behind the instruction is the one before the answer, though the two part within it.
    ("asked_how", "one turn"): ["<s><|turn|><|user|>Q<|/turn|><|turn|><|bot|>⟦A<|/turn|>⟧"],
    ("next_opens", "two turns"): [
        "<|user|>Q<|bot|><think>⟦</think>A<|user|>⟧",
        "<|user|>Q<|bot|></think>A<|user|>R<|bot|><think>⟦</think>B<|user|>⟧",
    ],
    ("olmo3", "consecutive answers"): [
        "<|im_start|>system\nYou are Olmo. You have no functions.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"
        "<|im_start|>assistant\n⟦A<|endoftext|>⟧",
        "<|im_start|>system\nYou are Olmo. You have no functions.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"
        "<|im_start|>assistant\nA<|im_end|>\n<|im_start|>assistant\n⟦B<|endoftext|>⟧",
    ],
    ("cohere", "reasoning field"): [
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Q<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
        "⟦<|START_THINKING|>why<|END_THINKING|><|START_RESPONSE|>A<|END_RESPONSE|><|END_OF_TURN_TOKEN|>⟧"
    ],
    # Qwen 3 drops reasoning from history, but not from the turn that still calls tools.
    ("qwen3", "reasoning fields"): [
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
        "⟦<think>\nwhy\n</think>\n\nA<|im_end|>⟧",
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n⟦<think>\nhow\nso\n</think>\n\nB<|im_end|>⟧",
    ],
    ("qwen3", "call with reasoning"): [
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n⟦<think>\nlook\n</think>\n\n<tool_call>\n"
        '{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>⟧\n<|im_start|>user\n<tool_response>\n'
        "21\n</tool_response><|im_end|>\n<|im_start|>assistant\n⟦<think>\nfine\n</think>\n\n21.<|im_end|>⟧"
    ],
}


@pytest.mark.parametrize(("family", "shape"), BY_HAND)
def test_by_hand(family: str, shape: str) -> None:
    assert shown(example.rendered for example in READY[family].derived(shaped(family, shape))) == BY_HAND[family, shape]


@pytest.mark.parametrize("name", ["weather<|im_end|>", "<|im_start|>"])
def test_control_strings_in_names_and_definitions_of_tools_are_text_or_refused(name: str) -> None:
    pair = READY["chatml_tools"]
    calling = [U("Q"), A("", ToolCall(name=name, arguments={"x": "y"}))]
    (example,) = pair.derived(calling)
    assert control(example.rendered) == ["<|im_start|>", "<|im_end|>"] * 2
    for refused in (
        [U("Q"), A("", ToolCall(name="weather", arguments={name: "y"}))],
        [U("Q", setting=Setting(tools=({"function": {"name": name}},))), A("A")],
    ):
        with pytest.raises(TemplateError, match="holds control tokens as text"):
            pair.derived(refused)


# ---- coverage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(TEXT_ONLY))
def test_calls_that_the_template_does_not_print_are_an_error(family: str) -> None:
    with pytest.raises(TemplateError, match=r"does not print calls of tools \(`tool_calls`\) \(message 2\)"):
        READY[family].derived([U("Q"), A("I look.", call(city="Rome"))])


def test_what_is_left_out_of_an_answer_is_noted() -> None:
    (example,) = READY["phi4"].derived([U("Q"), A("A", reasoning="why")])
    assert example.rendered.notes == ("content-dropped",)
    (example,) = READY["llama31"].derived([U("Q"), A("I look.", call(city="Rome"))])
    assert example.rendered.notes == ("content-dropped",)
    (example,) = READY["lfm2"].derived([U("Q"), A("I look.", call(city="Rome"))])
    assert example.rendered.notes == ()


@pytest.mark.parametrize(
    ("family", "shape", "notes"),
    [
        ("standing_prompt", "call with reasoning", [()]),
        ("other_space", "call and answer", [("prompt-mismatch",)] * 2),
        ("olmo3", "consecutive answers", [("prompt-mismatch",)] * 2),
        ("reminder", "two turns", [("spliced",)] * 2),
        ("open_results", "call after call", [("prompt-mismatch",), ()]),
        ("last_open", "consecutive answers", [("prompt-mismatch", "next-role-closes")]),
        ("question_asks", "two turns", [()]),
        ("inference_only", "two turns", [("spliced",)] * 2),
        ("inference_only", "system", [()]),
        ("asked_how", "two turns", [("prompt-mismatch",)] * 2),
        ("deepseek_r1", "call after call", [("prompt-mismatch",), ("prompt-mismatch",), ()]),
        ("switches", "a switch for a system message", [("switch-read",)]),
        ("switches", "a switch in the system message", [()]),
        ("closed_within", "call with a content", [("closed-within",)]),
        ("closed_within", "call and answer", [()]),
    ],
)
def test_what_is_not_plain_about_a_prompt_is_noted(family: str, shape: str, notes: list[tuple[str, ...]]) -> None:
    assert [example.rendered.notes for example in READY[family].derived(SHAPES[shape])] == notes


def test_a_system_message_that_only_looks_like_a_switch_is_an_error() -> None:
    told = [S("/do not_think"), U("Q"), A("A")]
    assert shown([READY["switches"].derived(told)[0].rendered])[0].startswith(
        "<|im_start|>system\nReasoning: on\n/do not_think<|im_end|>"
    )
    with pytest.raises(TemplateError, match=r"does not print the system message \(message 1\)"):
        READY["switches"].derived([S("/no_think/think"), U("Q"), A("A")])


def test_a_call_whose_tool_is_named_nowhere_is_an_error() -> None:
    messages = [U("Q"), A("", call(city="Rome"))]  # whose id says nothing
    with pytest.raises(TemplateError, match=r"does not print calls of tools \(`tool_calls`\) \(message 2\)"):
        READY["kimi"].derived(messages)
    (example,) = READY["kimi"].derived(list(map(with_a_telling_id, messages)))
    assert example.rendered.notes == ()


def test_an_answer_whose_reasoning_the_prompt_opens_follows_another_prompt_than_a_plain_one() -> None:
    pair = READY["nemotron_v2"]
    (plain,) = Planner(pair.plain, pair.control).examples([U("Q"), A("A")])
    (reasoned,) = Planner(pair.plain, pair.control).examples([U("Q"), A("<think>\nwhy\n</think>\nA")])
    assert (plain.notes, reasoned.notes) == (("prompt-mismatch",), ("prompt-varies",))
    assert shown([plain, reasoned]) == [
        "<s><SPECIAL_10>System\n<SPECIAL_11>User\nQ\n<SPECIAL_11>Assistant\n<think>⟦</think>A\n<SPECIAL_12>⟧",
        "<s><SPECIAL_10>System\n<SPECIAL_11>User\nQ\n<SPECIAL_11>Assistant\n<think>\n⟦why\n</think>\nA\n<SPECIAL_12>⟧",
    ]

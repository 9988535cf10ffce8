"""Templates whose generation tags were written by hand, shapes of conversation to try them on, and both made ready."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from template_families import HERE, FakeTokenizer, tokens
from weft.data.control import ControlTokens, Span
from weft.data.derive import Derived, derive
from weft.data.jinja import JinjaTemplate
from weft.data.pieces import take_out
from weft.data.printer import Printer
from weft.data.turns import Chat
from weft.types import Message, Setting, ToolCall

KIMI = tokens(
    "<|im_end|> [EOS]",
    "<|im_system|> <|im_user|> <|im_assistant|> <|im_middle|> <|tool_calls_section_begin|> <|tool_calls_section_end|> "
    "<|tool_call_begin|> <|tool_call_end|> <|tool_call_argument_begin|>",
)
PAIRS: dict[str, FakeTokenizer] = {
    "chatml_tools": tokens("<|im_end|> <|endoftext|>", "<|im_start|>"),
    "llama31": tokens(
        "<|eot_id|> <|eom_id|> <|end_of_text|>", "<|start_header_id|> <|end_header_id|>", bos="<|begin_of_text|>"
    ),
    "gemma3": tokens("<end_of_turn> <eos>", "<start_of_turn>", bos="<bos>"),
    "mistral_tools": tokens(
        "</s>",
        "[INST] [/INST] [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] [SYSTEM_PROMPT] [/SYSTEM_PROMPT]",
        bos="<s>",
    ),
    "phi4": tokens("<|im_end|> <|endoftext|>", "<|im_start|> <|im_sep|>"),
    "deepseek": tokens(
        "<｜end▁of▁sentence｜>",
        "<｜User｜> <｜Assistant｜> <｜tool▁calls▁begin｜> <｜tool▁calls▁end｜> <｜tool▁call▁begin｜> <｜tool▁call▁end｜> "
        "<｜tool▁sep｜> <｜tool▁output▁begin｜> <｜tool▁output▁end｜>",
        bos="<｜begin▁of▁sentence｜>",
    ),
    "cohere": tokens(
        "<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|> <|CHATBOT_TOKEN|> <|USER_TOKEN|> <|SYSTEM_TOKEN|> <|START_RESPONSE|> <|END_RESPONSE|> "
        "<|START_ACTION|> <|END_ACTION|> <|START_THINKING|> <|END_THINKING|> <|START_TOOL_RESULT|> <|END_TOOL_RESULT|>",
        bos="<BOS_TOKEN>",
    ),
    "glm45": tokens("<|endoftext|> <|user|> <|observation|>", "[gMASK] <sop> <|system|> <|assistant|>"),
    "gpt_oss_tools": tokens("<|return|> <|call|>", "<|start|> <|channel|> <|message|> <|end|>"),
    "qwen3": tokens("<|im_end|> <|endoftext|>", "<|im_start|>"),
    "nemotron": tokens("<SPECIAL_12> </s>", "<SPECIAL_10> <SPECIAL_11>", bos="<s>"),
    "lfm2": tokens(
        "<|im_end|>",
        "<|im_start|> <|tool_call_start|> <|tool_call_end|> <|tool_response_start|> <|tool_response_end|>",
        bos="<|startoftext|>",
    ),
    "granite": tokens("<|end_of_text|>", "<|start_of_role|> <|end_of_role|> <|tool_call|>"),
    "idefics": tokens("<end_of_utterance>"),
    "mistral_v3": tokens(
        "</s>",
        "[INST] [/INST] [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS]",
        bos="<s>",
    ),
    "phi4_mini": tokens(
        "<|endoftext|> <|end|>",
        "<|user|> <|assistant|> <|system|> <|tool|> <|/tool|> <|tool_call|> <|/tool_call|> <|tool_response|>",
    ),
    "deepseek_r1": tokens(
        "<｜end▁of▁sentence｜>",
        "<｜User｜> <｜Assistant｜> <｜tool▁calls▁begin｜> <｜tool▁calls▁end｜> <｜tool▁call▁begin｜> <｜tool▁call▁end｜> "
        "<｜tool▁sep｜> <｜tool▁output▁begin｜> <｜tool▁output▁end｜> <｜tool▁outputs▁begin｜> <｜tool▁outputs▁end｜>",
        bos="<｜begin▁of▁sentence｜>",
    ),
    "command_a": tokens(
        "<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|> <|CHATBOT_TOKEN|> <|USER_TOKEN|> <|SYSTEM_TOKEN|> <|START_RESPONSE|> <|END_RESPONSE|> "
        "<|START_THINKING|> <|END_THINKING|>",
        bos="<BOS_TOKEN>",
    ),
    "glm4": tokens("<|endoftext|> <|user|> <|observation|>", "[gMASK] <sop> <|system|> <|assistant|>"),
    "qwq": tokens("<|im_end|> <|endoftext|>", "<|im_start|>"),
    "qwen3_thinking": tokens("<|im_end|> <|endoftext|>", "<|im_start|>"),
    "nemotron_v2": tokens("<SPECIAL_12> </s>", "<SPECIAL_10> <SPECIAL_11>", bos="<s>"),
    "olmo2": tokens("<|endoftext|>"),
    "olmo3": tokens("<|endoftext|> <|im_end|>", "<|im_start|>"),
    "falcon": tokens("<|endoftext|>"),
    "minicpm": tokens("</s>"),
    "exaone4": tokens("[|endofturn|]", "[|user|] [|assistant|] [|system|] [|tool|]"),
    "apertus": tokens(
        "<|assistant_end|> <|tools_suffix|>",
        "<|assistant_start|> <|user_start|> <|user_end|> <|system_start|> <|system_end|> <|tools_prefix|> "
        "<|inner_prefix|> <|inner_suffix|>",
        bos="<s>",
    ),
    "kimi": KIMI,
    "kimi_thinking": KIMI,
    "standing_prompt": tokens(
        "<|/turn|>",
        "<|turn|> <|bot|> <|user|> <|system|> <|plan|> <|/plan|> <|say|> <|/say|> <|act|> <|/act|> <|result|> <|/result|>",
        bos="<s>",
    ),
    "other_space": tokens("<|end|>", "<|head|> <|/head|>", bos="<s>"),
    "open_answer": tokens("<|end|> </s>", "<|bot|> <|user|> <|system|> <|tool|>"),
    "switches": tokens("<|im_end|> <|endoftext|>", "<|im_start|>"),
    "reminder": tokens("<|/turn|>", "<|turn|> <|bot|> <|user|> <|system|>", bos="<s>"),
    "open_results": tokens(
        "<|/bot|>",
        "<|bot|> <|user|> <|system|> <|calls|> <|call|> <|/call|> <|result|> <|/result|> <|/results|>",
        bos="<s>",
    ),
    "part_end": tokens("<|stop|> <|calls|>", "<|begin|> <|end|> <|plan|> <|say|> <|act|> <|one|> <|/one|>"),
    "first_part": tokens(
        "<|/bot|>", "<|bot|> <|user|> <|system|> <|tool|> <|why|> <|/why|> <|say|> <|/say|> <|call|>", bos="<s>"
    ),
    "closed_within": tokens("<|stop|>", "<|turn|>", bos="<s>"),
    "next_opens": tokens("<|endoftext|> <|user|> <|tool|>", "<|bot|> <|system|>"),
    "last_open": tokens("<|im_end|>", "<|im_start|>"),
    "question_asks": tokens("<|im_end|> <|endoftext|>", "<|im_start|>"),
    "inference_only": tokens("<|eot|>", "<|start|> <|message|> <|eom|>", bos="<s>"),
    "asked_how": tokens("<|/turn|>", "<|turn|> <|bot|> <|user|> <|system|>", bos="<s>"),
    "kimi_k3": tokens("<|end_of_msg|>", "<|open|> <|sep|> <|close|>"),
    "functionary": tokens(
        "<|eot_id|> <|end_of_text|>", "<|start_header_id|> <|end_header_id|>", bos="<|begin_of_text|>"
    ),
    "apriel": tokens(
        "<|end|>",
        "<|begin_system|> <|begin_user|> <|begin_assistant|> <|begin_tool|> <tool_calls> </tool_calls>",
        bos="<s>",
    ),
    "hunyuan": tokens("<|eos|>", "<|extra_0|> <|extra_4|>", bos="<|startoftext|>"),
    "orion": tokens("</s>", bos="<s>"),
    "deepseek32": tokens(
        "<｜end▁of▁sentence｜>", "<｜User｜> <｜Assistant｜> <think> </think>", bos="<｜begin▁of▁sentence｜>"
    ),
    "hunyuan_tools": tokens("<|eos|>", "<|extra_0|> <|extra_4|> <|startoftext|>"),
    "compared": tokens("</s>", "[INST] [/INST] [TOOLS] [/TOOLS] [CALL] [tool] [/tool] [system] [/system]", bos="<s>"),
    "training_bos": tokens("</s>", bos="<s>"),
    "words_put_in": tokens("</s>"),
    "words_left_out": tokens("</s>"),
    "gemma4": tokens("<turn|> <eos>", '<|turn> <|channel> <channel|> <|tool_call> <tool_call|> <|"|>', bos="<bos>"),
    "minimax_m2": tokens("[e~[", "]~!b[ ]~b]"),
    "nemotron3": tokens("<|im_end|> </s>", "<|im_start|>"),
    "llava": tokens("</s>", "<image>", bos="<s>"),
    "dbrx": tokens("<|im_end|> <|endoftext|>", "<|im_start|>"),
    "longcat": tokens("</longcat_s>", "<longcat_think> </longcat_think> <longcat_tool_call> </longcat_tool_call>"),
}
TEXT_ONLY = {
    *("gemma3", "phi4", "idefics", "command_a", "olmo2", "falcon", "minicpm"),
    *("last_open", "question_asks", "orion", "llava", "dbrx"),
}
"""Which print no calls of tools."""


def S(content: str, **more: object) -> Message:
    return Message(role="system", content=content, **more)  # type: ignore[arg-type]


def U(content: str, **more: object) -> Message:
    return Message(role="user", content=content, **more)  # type: ignore[arg-type]


def A(content: str, *calls: ToolCall, reasoning: str = "") -> Message:
    return Message(role="assistant", content=content, tool_calls=calls, reasoning=reasoning)


def T(content: str, number: int = 1) -> Message:
    return Message(role="tool", content=content, tool_call_id=f"call0000{number}", name="weather")


def call(number: int = 1, **arguments: object) -> ToolCall:
    return ToolCall(name="weather", arguments=arguments, id=f"call0000{number}")


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
TEXT_SHAPES: dict[str, list[Message]] = {
    "one turn": [U("Q"), A("A")],
    "system": [S("S"), U("Q"), A("A")],
    "two turns": [U("Q"), A("A"), U("R"), A("B")],
    "system and three turns": [S("S"), U("Q"), A("A"), U("R"), A("B"), U("T"), A("C")],
    "edge white space": [S(" S\n"), U("\tQ "), A("  A \n"), U("R\n\n"), A("\nB")],
    "edge line breaks": [U("\n\nQ\n"), A("A\n\n"), U("R"), A("\n\nB\n\n")],
    "white space only question": [U(" "), A("A")],
    "empty question": [U(""), A("A"), U("R"), A("B")],
    "empty answer": [U("Q"), A("")],
    "empty answer between": [U("Q"), A(""), U("R"), A("B")],
    "one letter": [U("a"), A("a"), U("a"), A("a")],
    "equal messages": [U("the same"), A("the same"), U("the same"), A("the same")],
    "answer holds the question": [U("Q"), A("Q Q Q"), U("Q Q"), A("Q")],
    "content is template text": [S("system"), U("user\n"), A("assistant"), U("assistant\n"), A("Assistant:")],
    "content is a placeholder": [U("Qz0zQ"), A("Qz1zQ"), U("\U000f0000"), A("x\U000f0001y")],
    "code and markup": [U("{{ x }} {% if %}"), A("```py\nx = '<b>'\n```"), U("[1] <a>"), A("<tool>[x]</tool>")],
    "unicode": [U("日本語で"), A("é 😀 ok"), U("ﬁn"), A("x\u2028y")],
    "reasoning in the content": [U("Q"), A("<think>\nwhy\n</think>\n\nA")],
    "reasoning in the contents": [U("Q"), A("<think>\nwhy\n</think>\n\nA"), U("R"), A("<think>\nhow\n</think>\n\nB")],
    "reasoning in an earlier content": [U("Q"), A("<think>\nwhy\n</think>\n\nA"), U("R"), A("B")],
    "unopened reasoning": [U("Q"), A("why\n</think>\n\nA")],
    "reasoning field": [U("Q"), A("A", reasoning="why")],
    "reasoning fields": [S("S"), U("Q"), A("A", reasoning="why"), U("R"), A("B", reasoning="how\nso")],
    "reasoning field in an earlier answer": [U("Q"), A("A", reasoning="why"), U("R"), A("B")],
    "consecutive answers": [U("Q"), A("A"), A("B")],
    "consecutive answers, then a turn": [U("Q"), A("A"), A("B"), U("R"), A("C")],
    "consecutive questions": [U("Q"), U("R"), A("A")],
    "unanswered": [U("Q"), A("A"), U("R")],
    "a switch for a system message": [S("/no_think"), U("Q"), A("A"), U("R"), A("B")],
    "a switch in the system message": [S("S /no_think"), U("Q"), A("A"), U("R"), A("B")],
    "thinking switched off": [U("Q", setting=Setting(arguments={"enable_thinking": False})), A("A")],
}
TOOL_SHAPES: dict[str, list[Message]] = {
    "call": [U("Q"), A("", call(city="Rome"))],
    "call and answer": [U("Q"), A("", call(city="Rome")), T("21"), A("It is 21.")],
    "tools, call and answer": [
        U("Q", setting=Setting(tools=(TOOL,))),
        A("", call(city="Rome")),
        T("21"),
        A("It is 21."),
    ],
    "system, tools, call": [
        S("S", setting=Setting(tools=(TOOL,))),
        U("Q"),
        A("", call(city="Rome")),
        T("21"),
        A("21."),
    ],
    "tools, equal messages": [U("Q", setting=Setting(tools=(TOOL,))), A("Q"), U("Q"), A("Q"), U("Q"), A("R")],
    "call with a content": [U("Q"), A("I look.", call(city="Rome")), T("21"), A("It is 21.")],
    "two calls": [U("Q"), A("", call(city="Rome"), call(2, city="Oslo")), T("21"), T("9", 2), A("21 and 9.")],
    "call after call": [U("Q"), A("", call(city="Rome")), T("21"), A("", call(2, city="Oslo")), T("9", 2), A("21, 9.")],
    "calls in two turns": [
        U("Q"),
        A("", call(a="x")),
        T("1"),
        A("A"),
        U("R"),
        A("", call(2, a="y")),
        T("2", 2),
        A("B"),
    ],
    "call with reasoning": [U("Q"), A("", call(city="Rome"), reasoning="look"), T("21"), A("21.", reasoning="fine")],
    "call, then another question": [U("Q"), A("", call(a="x")), T("1"), A("A"), U("R"), A("B")],
    "quoted arguments": [U("Q"), A("", call(a='he said "no"\n\\', b="é'")), T('"21"'), A("A")],
    "nested arguments": [U("Q"), A("", call(a={"b": ["x", 1, None]}, c=True, d=1.5)), T("{}"), A("A")],
    "no arguments": [U("Q"), A("", call()), T("21"), A("A")],
    "repeated strings": [U("weather"), A("", call(weather="weather")), T("weather"), A("weather")],
}
SHAPES = TEXT_SHAPES | TOOL_SHAPES


@dataclass(frozen=True)
class Pair:
    tagged: Printer
    plain: Printer
    control: ControlTokens

    def derived(self, messages: list[Message], *, tagged: bool = False) -> tuple[Derived, ...]:
        return derive(Chat(self.tagged if tagged else self.plain, self.control, messages))

    def by_hand(self, messages: list[Message]) -> tuple[str, list[Span]]:
        """The text, and what is tagged in it."""
        marked = self.tagged.dialogue(messages, ("\ue000", "\ue001"))
        text, marks = take_out(marked, ("\ue000", "\ue001"))
        places = [place for _, place in marks]
        return text, list(zip(places[::2], places[1::2], strict=True))


def _pair(family: str) -> Pair:
    tokenizer = PAIRS[family]
    text = (HERE / "pairs" / f"{family}.jinja").read_text(encoding="utf-8")
    plain = re.sub(r"(?<=\{%)(-?) generation (?=-?%\})", r"\1 if true ", text)
    plain = re.sub(r"(?<=\{%)(-?) endgeneration (?=-?%\})", r"\1 endif ", plain)
    assert "generation %}" in text
    assert "generation %}" not in plain
    tagged, untagged = (
        Printer(JinjaTemplate(each, family), bos=tokenizer.bos, eos=tokenizer.eos) for each in (text, plain)
    )
    return Pair(tagged, untagged, ControlTokens(tokenizer.control, tokenizer.stops))


READY = {family: _pair(family) for family in PAIRS}


def shaped(family: str, shape: str) -> list[Message]:
    """A conversation of that shape; the ids of its calls name their tools where the family prints those alone."""
    return list(map(with_a_telling_id, SHAPES[shape])) if PAIRS[family] is KIMI else SHAPES[shape]


def with_a_telling_id(message: Message) -> Message:
    calls = tuple(replace(call, id=_telling(call.id)) for call in message.tool_calls)
    return replace(message, tool_calls=calls, tool_call_id=_telling(message.tool_call_id))


def _telling(ident: str | None) -> str | None:
    return ident and ident.replace("call0000", "functions.weather:")

"""Derived masks against hand-written ones: pairs of templates that differ by ``{% generation %}`` only.

Every template of ``templates/pairs`` marks what the model says by hand. Without those tags, the derivation must find the same
characters, for every shape of conversation that the template takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest

from template_families import HERE, FakeTokenizer, control, shown, tokens
from weft.data.control import ControlTokens, Span
from weft.data.derive import Derived, derive
from weft.data.jinja import JinjaTemplate
from weft.data.pieces import take_out
from weft.data.printer import Printer, Variant
from weft.data.shape_plan import Planner
from weft.data.turns import Chat
from weft.errors import TemplateError
from weft.types import Message, Setting, ToolCall

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
    "kimi": tokens(
        "<|im_end|> [EOS]",
        "<|im_system|> <|im_user|> <|im_assistant|> <|im_middle|> <|tool_calls_section_begin|> <|tool_calls_section_end|> "
        "<|tool_call_begin|> <|tool_call_end|> <|tool_call_argument_begin|>",
    ),
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
    "next_opens": tokens("<|endoftext|> <|user|> <|tool|>", "<|bot|> <|system|>"),
}
TEXT_ONLY = {"gemma3", "phi4", "idefics", "command_a", "olmo2", "falcon", "minicpm"}
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
WITH_DELIMITERS = {
    "question": lambda d: [U(f"x{d}y"), A("A"), U("R"), A("B")],
    "answer": lambda d: [U("Q"), A(f"x{d}y"), U("R"), A("B")],
    "answer's edge": lambda d: [U("Q"), A(f"x{d}"), U("R"), A(f"{d}B")],
    "system": lambda d: [S(f"x{d}y"), U("Q"), A("A")],
    "result": lambda d: [U("Q"), A("", call(city="Rome")), T(f"x{d}y"), A("A")],
    "argument": lambda d: [U("Q"), A("", call(city=f'{d}"x"{d}')), T("21"), A("A")],
    "reasoning": lambda d: [U("Q"), A("A", reasoning=f"x{d}y")],
}


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


def check(family: str, messages: list[Message]) -> None:
    """The derived masks are the tagged ones, up to a stop that the template leaves to the next role."""
    pair = READY[family]
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
        tagged = [(_end_of_prompt(pair, messages, n, printed, run, variants), run[1]) for n, run in enumerate(tagged)]
        assert runs[-1] == tagged[-1]
        assert set(runs) <= set(tagged)
        trained += [tagged.index(run) for run in runs]
    answers = sum(message.role == "assistant" for message in messages)
    assert sorted(trained) == list(range(answers))


def _end_of_stop(pair: Pair, text: str, end: int) -> int:
    for start, stop in pair.control.find(text, end)[:1]:
        if text[start:stop] in pair.control.stops and not text[end:start].strip():
            return stop
    return end


def _end_of_prompt(
    pair: Pair, messages: list[Message], number: int, text: str, tagged: Span, variants: dict[int, Variant]
) -> int:
    """Where the model takes over in a tagged turn, whose first part the prompt may print (a block of reasoning, or its tag)."""
    before = [index for index, message in enumerate(messages) if message.role == "assistant"][number]
    prompt = pair.plain.prompt(messages[:before], variants.get(before, ()))
    return len(prompt) if text.startswith(prompt) and tagged[0] < len(prompt) <= tagged[1] else tagged[0]


REFUSED = {
    ("llama31", "two calls"): "only one call at a time",
    ("gpt_oss_tools", "two calls"): "does not print calls of tools",  # it prints the first call only
}
TAGGED_OTHERWISE = {
    # Nothing but the EOS that weft appends is trained, which no tag can say.
    *((family, shape) for family in ("falcon", "minicpm") for shape in ("empty answer", "empty answer between")),
    # Nothing but the stop that comes with the next message is trained, and it is not tagged.
    *(("open_answer", shape) for shape in ("empty answer", "empty answer between")),
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


def shaped(family: str, shape: str) -> list[Message]:
    """A conversation of that shape; the ids of its calls name their tools where the family prints those alone."""
    return list(map(_with_a_telling_id, SHAPES[shape])) if family == "kimi" else SHAPES[shape]


def _with_a_telling_id(message: Message) -> Message:
    calls = tuple(replace(call, id=_telling(call.id)) for call in message.tool_calls)
    return replace(message, tool_calls=calls, tool_call_id=_telling(message.tool_call_id))


def _telling(ident: str | None) -> str | None:
    return ident and ident.replace("call0000", "functions.weather:")


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
        if family == "kimi":
            messages = list(map(_with_a_telling_id, messages))
        if family in TEXT_ONLY and any(message.tool_calls for message in messages):
            continue
        check(family, messages)


# ---- by hand -----------------------------------------------------------------------------------------------------------

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
        ("deepseek_r1", "call after call", [("prompt-mismatch",), ("prompt-mismatch",), ()]),
        ("switches", "a switch for a system message", [("switch-read",)]),
        ("switches", "a switch in the system message", [()]),
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
    (example,) = READY["kimi"].derived(list(map(_with_a_telling_id, messages)))
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

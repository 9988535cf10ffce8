"""Chat templates in the shapes of well-known families, written for these tests, with the control tokens of their tokenizers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import weft.data.template
from weft.config.data_schema import PromptMismatch
from weft.data.own_template import TemplatePart
from weft.data.template import ChatTemplate, Rendered
from weft.types import Conversation, Location, Message, Role

HERE = Path(__file__).parent / "templates"
PLACE = Location(path="data.jsonl", line=7)
_ROLES: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}


@dataclass(frozen=True)
class FakeTokenizer:
    """As much of a tokenizer as a template sees."""

    control: frozenset[str] = frozenset({"<|im_start|>", "<|im_end|>", "<|eos|>"})
    stops: frozenset[str] = frozenset({"<|im_end|>", "<|eos|>"})
    bos: str = ""
    eos: str = "<|eos|>"
    chat_template: str | None = None
    template_parts: tuple[TemplatePart, ...] = ()


def tokens(stops: str, others: str = "", *, bos: str = "") -> FakeTokenizer:
    """A tokenizer whose stops and other control tokens are named in words; its first stop is its EOS."""
    every_stop = stops.split()
    return FakeTokenizer(
        control=frozenset([*every_stop, *others.split(), *bos.split()]),
        stops=frozenset(every_stop),
        bos=bos,
        eos=every_stop[0],
    )


CHATML = FakeTokenizer()
FAMILIES: dict[str, FakeTokenizer] = {
    "chatml": CHATML,
    "llama3": tokens("<|eot_id|> <|end_of_text|>", "<|start_header_id|> <|end_header_id|>", bos="<|begin_of_text|>"),
    "mistral": tokens("</s>", "[INST] [/INST]", bos="<s>"),
    "mistral_v3": tokens("</s>", "[INST] [/INST]", bos="<s>"),
    "gemma": tokens("<eos> <end_of_turn>", "<start_of_turn>", bos="<bos>"),
    "phi3": tokens("<|endoftext|> <|end|>", "<|user|> <|system|> <|assistant|>"),
    "qwen3": CHATML,
    "forced_think": tokens("<|eos|>", "<|User|> <|Assistant|>", bos="<|bos|>"),
    "thinking_switch": CHATML,
    "glm": tokens("<|endoftext|> <|user|>", "[gMASK] <sop> <|system|> <|assistant|>"),
    "gpt_oss": tokens("<|return|>", "<|start|> <|channel|> <|message|> <|end|>"),
    "zephyr": tokens("</s>", bos="<s>"),
    "alpaca": CHATML,
    "labels": CHATML,
    "variables": CHATML,
    "prompt_only": CHATML,
    "parts": tokens("<end_of_utterance>"),
    "glued": CHATML,
    "tagged": CHATML,
}
ONE_TURN_ONLY = {"variables", "prompt_only"}


def source(family: str) -> str:
    folder = Path(weft.data.template.__file__).parent / "templates" if family == "chatml" else HERE
    return (folder / f"{family}.jinja").read_text(encoding="utf-8")


def template(family: str) -> ChatTemplate:
    return from_source(source(family), FAMILIES[family], family)


def from_source(
    text: str, tokenizer: FakeTokenizer = CHATML, name: str = "mine.jinja", mismatch: PromptMismatch = "template"
) -> ChatTemplate:
    return ChatTemplate(text, name, tokenizer.control, tokenizer.stops, tokenizer.bos, tokenizer.eos, mismatch)


def messages(roles: str, *contents: str) -> tuple[Message, ...]:
    """``messages("sua", "Be brief.", "Hi", "Hello")``."""
    return tuple(Message(role=_ROLES[role], content=content) for role, content in zip(roles, contents, strict=True))


def chat(roles: str, *contents: str) -> Conversation:
    return Conversation(messages=messages(roles, *contents), location=PLACE)


def shown(examples: Iterable[Rendered]) -> list[str]:
    """Each example as one string, with its trained runs in ⟦ ⟧, and EOS where one is appended."""
    return [
        "".join(f"⟦{segment.text}⟧" if segment.trained else segment.text for segment in example.segments)
        + ("EOS" if example.append_eos else "")
        for example in examples
    ]


def control(example: Rendered) -> list[str]:
    """The control tokens that the template wrote, in order."""
    return [segment.text[start:end] for segment in example.segments for start, end in segment.control]

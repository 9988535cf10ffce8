"""A ChatML template without jinja: what a template prints, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

from weft.errors import TemplateError
from weft.types import Conversation, Location, Message, Segment

PLACE = Location(path="records.jsonl", line=3)


def conversation(*contents: str) -> Conversation:
    roles = ("user", "assistant")
    messages = [Message(role=roles[i % 2], content=content) for i, content in enumerate(contents)]  # type: ignore[arg-type]
    return Conversation(messages=tuple(messages), location=PLACE)


def segment(*parts: str | tuple[str], trained: bool = False) -> Segment:
    """A segment of text and, in tuples, control tokens."""
    text, control = "", []
    for part in parts:
        if isinstance(part, tuple):
            control.append((len(text), len(text) + len(part[0])))
        text += part[0] if isinstance(part, tuple) else part
    return Segment(text=text, trained=trained, control=tuple(control))


@dataclass
class Chatml:
    """A template by hand, with the control tokens that a tokenizer has for opening and closing a turn."""

    opening: str = "<|im_start|>"
    closing: str = "<|im_end|>"
    append_eos: bool = False
    source: str = "chatml"
    notes: tuple[str, ...] = field(default=("noted",))

    def examples(self, conversation: Conversation) -> tuple[SimpleNamespace, ...]:
        if conversation.messages[0].content == "unprintable":
            raise TemplateError("it cannot be printed")
        segments: list[Segment] = []
        for message in conversation.messages:
            if message.role == "assistant":
                segments.append(segment((self.opening,), "assistant\n"))
                segments.append(segment(message.content, (self.closing,), trained=True))
            else:
                segments.append(segment((self.opening,), f"{message.role}\n{message.content}", (self.closing,)))
            segments.append(segment("\n"))
        text = SimpleNamespace(segments=tuple(segments[:-1]), append_eos=self.append_eos, notes=self.notes)
        return (text,)

    def prompt(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        turns = [segment((self.opening,), f"{m.role}\n{m.content}", (self.closing,), "\n") for m in messages]
        return (*turns, segment((self.opening,), "assistant\n"))

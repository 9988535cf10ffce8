"""A ChatML template without jinja: what a template prints, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from weft.data.derive import Rendered
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
    prompt_mismatch: str = "template"
    notes: tuple[str, ...] = field(default=("noted",))
    disproved: None = None

    @property
    def stop_strings(self) -> frozenset[str]:
        return frozenset({self.closing})

    def examples(self, conversation: Conversation, *, last_turn: bool = False) -> tuple[Rendered, ...]:
        if conversation.messages[0].content == "unprintable":
            raise TemplateError("it cannot be printed")
        *segments, _ = self._segments(conversation.messages)  # the last one is what follows the last answer
        if last_turn:
            segments[:-1] = [replace(segment, trained=False) for segment in segments[:-1]]
        return (Rendered(segments=tuple(segments), append_eos=self.append_eos, notes=self.notes),)

    def take_no_shortcuts(self, reason: str) -> None:
        """It takes none."""

    def prompt(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        answered = [*messages, Message(role="assistant", content="")]
        return tuple(replace(segment, trained=False) for segment in self._segments(answered)[:-2])

    def _segments(self, messages: Sequence[Message]) -> list[Segment]:
        """Context and answers in turn; ends with context."""
        segments: list[Segment] = []
        context: list[str | tuple[str]] = []
        for message in messages:
            context += [(self.opening,), f"{message.role}\n"]
            if message.role == "assistant":
                segments += [segment(*context), segment(message.content, (self.closing,), trained=True)]
                context = ["\n"]
            else:
                context += [message.content, (self.closing,), "\n"]
        return [*segments, segment(*context)]

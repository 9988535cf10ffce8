"""A system message for conversations that have none of their own, or none for any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from weft.types import Conversation, Document, Material, Message

Either = TypeVar("Either", Conversation, Document, Material)


def with_system_prompt(conversation: Either, system_prompt: str | None) -> Either:
    """The conversation, with this system message if it has none of its own; a document as it is."""
    if isinstance(conversation, Document) or system_prompt is None or conversation.messages[0].role == "system":
        return conversation
    return replace(conversation, messages=under(conversation.messages, system_prompt))


def without_system_prompt(conversation: Either) -> Either:
    """The conversation without its system message; what that was held with stays. A document as it is."""
    if isinstance(conversation, Document):
        return conversation
    first, *others = conversation.messages
    if first.role != "system":
        return conversation
    opening, *rest = others
    return replace(conversation, messages=(replace(opening, setting=first.setting), *rest))


def under(messages: Sequence[Message], system_prompt: str) -> tuple[Message, ...]:
    """The messages, below this system message if they have none of their own."""
    first, *others = messages
    if first.role == "system":
        return tuple(messages)
    opening = Message(role="system", content=system_prompt, setting=first.setting)
    return opening, replace(first, setting=None) if first.setting else first, *others

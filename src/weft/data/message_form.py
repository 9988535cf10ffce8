"""How messages are handed to a chat template, where templates differ in what they expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from weft.data.messages import REASONING
from weft.data.tools import as_openai
from weft.types import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageForm:
    """What one template expects."""

    contents_as_parts: bool = False
    no_content: str | None = ""
    """The content of a message that only calls tools."""
    arguments_as_text: bool = False
    """Whether the arguments of a call are JSON text instead of an object."""

    def variables(self, message: Message, as_json: Callable[[object], str]) -> Mapping[str, object]:
        """The message as the template sees it; fields that hold nothing are left out."""
        content: object = message.content
        if self.contents_as_parts:
            content = [{"type": "text", "text": message.content}]
        elif message.tool_calls and not message.content:
            content = self.no_content
        variables: dict[str, object] = {"role": message.role, "content": content}
        if message.reasoning:
            variables |= dict.fromkeys(REASONING, message.reasoning)
        if message.tool_calls:
            variables["tool_calls"] = [
                as_openai(call, as_json(call.arguments) if self.arguments_as_text else call.arguments)
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            variables["tool_call_id"] = message.tool_call_id
        if message.name is not None:
            variables["name"] = message.name
        return variables


CALL_FORMS = tuple(
    MessageForm(no_content=nothing, arguments_as_text=as_text) for nothing in ("", None) for as_text in (False, True)
)
"""Tried in this order."""

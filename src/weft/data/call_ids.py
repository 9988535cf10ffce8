"""Ids of calls for templates that print none without one, where a record gives none, or one that the template refuses.

Mistral's templates ask for nine letters and digits, which the model itself writes behind a call and which mean nothing. An id
that follows from the call and its number serves as well as a random one, and a prompt has the ids of its training example.
Others print the id in the place of the tool's name, so that it must hold that: ``functions.weather:0``.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import replace

from weft.types import Message, ToolCall

_ALPHABET = string.digits + string.ascii_letters
_LENGTH = 9
_NINE = re.compile("[0-9A-Za-z]{9}")
USUAL, NINE, NAMING = "call_1", "123456789", "functions.{name}:0"
"""An id as OpenAI's servers give them, one as Mistral's do, and one that names the tool, as Kimi's do."""


def with_call_ids(messages: Sequence[Message], takes: Callable[[str | None], bool]) -> Sequence[Message]:
    """The messages, with ids for calls and results where the template takes them no other way; else the same sequence.

    Args:
        messages: a conversation.
        takes: whether the template prints a call with this id (or with none), and its result; ``{name}`` stands for its name.
    """
    if not any(message.tool_calls for message in messages) or (takes(None) and takes(USUAL)):
        return messages
    if takes(NINE):
        suits, make = _has_nine_characters, _made
    elif takes(NAMING):
        suits, make = _names_tool, _naming
    else:
        return messages
    needs_one, needs_another = not takes(None), not takes(USUAL)
    new: dict[str, str] = {}
    waiting: list[str | None] = []
    result: list[Message] = []
    count = 0
    for message in messages:
        if message.tool_calls:
            waiting, calls = [], []
            for call in message.tool_calls:
                count += 1
                ident = call.id
                if needs_one if ident is None else needs_another and not suits(call):
                    ident = make(call, count)
                    new |= {} if call.id is None else {call.id: ident}
                waiting.append(ident)
                calls.append(replace(call, id=ident))
            message = replace(message, tool_calls=tuple(calls))
        elif message.role == "tool":
            ident = new.get(message.tool_call_id or "", message.tool_call_id)
            ident = waiting[0] if ident is None and waiting else ident
            if ident in waiting:
                waiting.remove(ident)
            message = replace(message, tool_call_id=ident)
        result.append(message)
    return messages if result == list(messages) else result


def _has_nine_characters(call: ToolCall) -> bool:
    return _NINE.fullmatch(call.id or "") is not None


def _made(call: ToolCall, count: int) -> str:
    """An id for the conversation's call number ``count``."""
    said = json.dumps([count, call.name, call.arguments, call.id], sort_keys=True)
    number = int.from_bytes(hashlib.sha256(said.encode()).digest())
    letters = []
    for _ in range(_LENGTH):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return "".join(letters)


def _names_tool(call: ToolCall) -> bool:
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(call.name)}(?![0-9A-Za-z])", call.id or "") is not None


def _naming(call: ToolCall, count: int) -> str:
    """An id that names the tool of the conversation's call number ``count``."""
    return NAMING.replace("{name}", call.name).replace(":0", f":{count - 1}")

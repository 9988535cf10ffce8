"""Turns in ShareGPT's form: ``{"from": "human", "value": "…"}``, with calls of tools as JSON in the value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from weft.data.messages import MESSAGE_FIELDS, ROLES, read_message, text_of
from weft.data.row_error import Data, RowError
from weft.data.tools import agreed_calls, read_calls
from weft.types import Message, Role

_TWINS = {"role": "from", "content": "value", "value": "content"}
"""What a message and a turn call the same thing, where one holds both."""
_SPOKEN = frozenset({"from", "value"})
TURN_FIELDS = _SPOKEN | (MESSAGE_FIELDS - _TWINS.keys())
"""What :func:`read_turn` reads of a turn with a speaker."""

_CALL = "function_call"
_SPEAKERS: dict[str, Role] = {
    **ROLES,
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "observation": "tool",
    _CALL: "assistant",
}
"""Who speaks, as the data sets call them and as LLaMA-Factory documents it."""


def read_turn(item: Any, number: int) -> Message:
    """``{"from": …, "value": …}``; one with a ``role`` instead is read as an OpenAI message.

    The value of a ``function_call`` is ``{"name": …, "arguments": {…}}`` or a list of such calls, or JSON text of that. What a
    message may hold beside its content (:func:`~weft.data.messages.read_message`) a turn may hold beside its value.

    Args:
        item: the turn as read.
        number: its place in the conversation, from 1, for the error.

    Raises:
        RowError: it is no such turn.
    """
    if not isinstance(item, Mapping) or ("from" not in item and "role" in item):
        return read_message(item, number)
    speaker = item.get("from")
    role = _role_of(speaker)
    if not isinstance(speaker, str) or role is None:
        missing = "from" not in item
        raise RowError(
            'a turn has no "from"' if missing else "a turn has an unknown speaker",
            detail=f"turn {number}" + ("" if missing else f" has {speaker!r:.40}"),
            fix='write {"from": "human", "value": …}' if missing else f"the speakers are {', '.join(_SPEAKERS)}",
        )
    beside = {key: value for key, value in item.items() if key not in _SPOKEN}
    if speaker.strip().lower() != _CALL:
        return read_message({**beside, "role": role, "content": item.get("value")}, number)
    value = item.get("value")
    calls = read_calls(value if isinstance(value, list | dict) else text_of(value, number), number)
    if not calls:
        raise RowError(
            "a function call is empty", detail=f"message {number}", fix='write {"name": …, "arguments": {…}}'
        )
    message = read_message({**beside, "role": role, "content": ""}, number)
    return replace(message, tool_calls=agreed_calls({"tool_calls": message.tool_calls, "value": calls}, number))


def unread_of_turn(item: Data) -> dict[str, Any]:
    """What :func:`read_turn` leaves of a turn; what only says again what it reads is not left."""
    read = TURN_FIELDS if "from" in item else MESSAGE_FIELDS
    return {key: item[key] for key in item if key not in read and not _says_again(item, key)}


def _says_again(item: Data, key: str) -> bool:
    if key not in _TWINS:
        return False
    value, twin = item[key], item.get(_TWINS[key])
    return value in (None, "") or value == twin or (key == "role" and _role_of(value) == _role_of(twin))


def _role_of(speaker: Any) -> Role | None:
    return _SPEAKERS.get(speaker.strip().lower()) if isinstance(speaker, str) else None


def speaker_of(item: Any) -> Any:
    """Who says a message or a turn; None where it is neither, or does not tell."""
    return item.get("role", item.get("from")) if isinstance(item, Mapping) else None

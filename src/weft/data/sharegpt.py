"""Turns in ShareGPT's form: ``{"from": "human", "value": "…"}``, with calls of tools as JSON in the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.data.messages import ROLES, read_message, text_of
from weft.data.row_error import RowError
from weft.data.tools import read_calls
from weft.types import Message, Role

TURN_FIELDS = frozenset({"from", "value"})
"""What :func:`read_turn` reads."""

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
    role = _SPEAKERS.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if not isinstance(speaker, str) or role is None:
        missing = "from" not in item
        raise RowError(
            'a turn has no "from"' if missing else "a turn has an unknown speaker",
            detail=f"turn {number}" + ("" if missing else f" has {speaker!r:.40}"),
            fix='write {"from": "human", "value": …}' if missing else f"the speakers are {', '.join(_SPEAKERS)}",
        )
    beside = {key: value for key, value in item.items() if key not in TURN_FIELDS}
    if speaker.strip().lower() != _CALL:
        return read_message({**beside, "role": role, "content": item.get("value")}, number)
    calls = item.get("value")
    if not isinstance(calls, list | dict):
        calls = text_of(calls, number)
    if not read_calls(calls, number):
        raise RowError(
            "a function call is empty", detail=f"message {number}", fix='write {"name": …, "arguments": {…}}'
        )
    return read_message({**beside, "role": role, "content": "", "tool_calls": calls}, number)


def speaker_of(item: Any) -> Any:
    """Who says a message or a turn; None where it is neither, or does not tell."""
    return item.get("role", item.get("from")) if isinstance(item, Mapping) else None

"""One message of a record, in OpenAI's form: its role, its text, and what it holds beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from weft.data.message_weight import WEIGHTS, read_weight
from weft.data.row_error import AS_TEXT, Data, RowError, kind_of
from weft.data.tools import agreed_calls, read_calls
from weft.types import Message, Role

REASONING = ("reasoning_content", "reasoning", "thinking")
"""The names under which an assistant's reasoning is kept apart from its content."""
CALLS = ("tool_calls", "function_call")
"""The names of the calls in a message, the older one last."""
MESSAGE_FIELDS = frozenset({"role", "content", *CALLS, "tool_call_id", "name", *REASONING, *WEIGHTS})
"""What :func:`read_message` reads."""

LEAVE_OUT = "leave such records out"

ROLES: dict[Any, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_ROLES_ELSEWHERE = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "observation": "tool",
    "ipython": "tool",
    "tool_response": "tool",
    "function_response": "tool",
}

_ROLES_OF_CALLS = ("tool_call", "function_call")
_NOT_SAID: tuple[Any, ...] = (None, "", [], {})
"""Reasoning that is none. Unlike a list of tools, ``"[]"`` is a text."""


def read_message(item: Any, number: int) -> Message:
    """``{"role": …, "content": …}`` with text, or a list of text parts, which are joined.

    An assistant's message may hold ``tool_calls`` (or the older ``function_call``, or both if they are the same), and then have
    no content, and reasoning under one of :data:`REASONING`; a tool's a ``tool_call_id``; any a ``name``, and a weight
    (:mod:`weft.data.message_weight`). Other fields are left to the caller.

    Args:
        item: the message as read.
        number: its place in the conversation, from 1, for the error.

    Raises:
        RowError: it is no such message, or holds what weft does not read yet.
    """
    if not isinstance(item, (dict, Mapping)):  # to ask for a dict is quicker, and it nearly always is one
        raise RowError(
            "a message must be an object",
            detail=f"message {number} is {kind_of(item)}",
            fix='write {"role": …, "content": …}',
        )
    role = ROLES.get(item["role"]) if isinstance(item.get("role"), str) else None
    if role is None:
        _refuse_role(item, number)
    content = item.get("content")
    if len(item) == 2 and isinstance(content, str):
        return Message(role=role, content=content)
    calls = agreed_calls({field: read_calls(item.get(field), number) for field in CALLS}, number)
    reasoning = _reasoning(item, number)
    for field, found, owner in (
        ("tool_calls", calls, "assistant"),
        ("reasoning_content", reasoning, "assistant"),
        ("tool_call_id", item.get("tool_call_id") or None, "tool"),
    ):
        if found and role != owner:
            article = "an" if owner == "assistant" else "a"
            raise RowError(
                f'only {article} {owner} message may have "{field}"',
                detail=f"message {number} is of the role {item['role']!r}",
                fix="move it, or remove it",
            )
    return Message(
        role=role,
        content="" if content is None and calls else text_of(content, number),
        reasoning=reasoning,
        tool_calls=calls,
        tool_call_id=_short_text(item, "tool_call_id", number),
        name=_short_text(item, "name", number),
        weight=read_weight(item, number),
    )


def unread_of_message(item: Data) -> dict[str, Any]:
    """What :func:`read_message` leaves of a message."""
    return {key: item[key] for key in item if key not in MESSAGE_FIELDS}


def text_of(content: Any, number: int) -> str:
    """The text that a message's content is, or that its parts make together.

    Raises:
        RowError: there is none, or parts that are not text.
    """
    if isinstance(content, list):
        content = "".join(_text_parts(content, number))
    if not isinstance(content, str):
        raise RowError(
            "a message's content must be text",
            detail=f"message {number} has {kind_of(content)}",
            fix="write it as text",
        )
    return content


def _reasoning(item: Data, number: int) -> str:
    given = {name: item[name] for name in REASONING if item.get(name) not in _NOT_SAID}
    for name, value in given.items():
        if not isinstance(value, str):
            raise RowError(
                "a message's reasoning must be text",
                detail=f'message {number} has {kind_of(value)} in "{name}"',
                fix="write it as text",
            )
    if len(set(given.values())) > 1:
        raise RowError("a message holds two reasonings", detail=f"message {number}", fix="keep one of them")
    return next(iter(given.values()), "")


def _short_text(item: Data, field: str, number: int) -> str | None:
    value = item.get(field)
    if value is not None and not isinstance(value, str):
        raise RowError(
            f'a message\'s "{field}" must be text',
            detail=f"message {number} has {kind_of(value)}",
            fix=AS_TEXT,
        )
    return value or None


def _refuse_role(item: Data, number: int) -> NoReturn:
    if "role" not in item:
        raise RowError('a message has no "role"', detail=f"message {number}", fix='write {"role": …, "content": …}')
    role = item["role"]
    near = _ROLES_ELSEWHERE.get(role.strip().lower(), role.strip().lower()) if isinstance(role, str) else None
    raise RowError(
        "a message has an unknown role",
        detail=f"message {number} has {role!r:.40}",
        fix=f'write "{near}"'
        if near in ROLES
        else 'write it as "tool_calls" of a message of the assistant'
        if near in _ROLES_OF_CALLS
        else 'the roles are "system", "user", "assistant" and "tool"',
    )


def _text_parts(parts: list[Any], number: int) -> Iterator[str]:
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping) or kind != "text" or not isinstance(part.get("text"), str):
            if kind == "text":
                what, fix = (
                    f"a part of message {number} has {kind_of(part.get('text'))}",
                    'write {"type": "text", "text": …}',
                )
                raise RowError("the text of a content's part must be text", detail=what, fix=fix)
            found = f"a part of type {kind!r:.40}" if kind else "a part without a type"
            raise RowError("only text parts are supported yet", detail=f"message {number} has {found}", fix=LEAVE_OUT)
        yield part["text"]

"""The messages of a conversation: what one may be, and in which order they may follow each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from weft.errors import DataError
from weft.types import Location, Message, Role

Data = Mapping[str, Any]

_MESSAGE_NOT_YET = {
    "tool_calls": "tool calls",
    "function_call": "tool calls",
    "tool_call_id": "tool results",
    "reasoning_content": "reasoning in a field of its own",
    "reasoning": "reasoning in a field of its own",
    "thinking": "reasoning in a field of its own",
    "name": "names of speakers",
}
"""Fields that hold what the model would read or say: a record that fills one cannot be used without it."""

_NOTHING: tuple[Any, ...] = (None, "", "[]", "{}", [], {})

_LEAVE_OUT = "leave such records out"

_ROLES: dict[Any, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_ROLES_ELSEWHERE = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "developer": "system",
}


class RowError(DataError):
    """A record that cannot be used: ``reason`` is the same for all with this problem, ``detail`` tells them apart."""

    def __init__(self, reason: str, *, detail: str = "", where: Location | None = None, fix: str | None = None):
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason, where=where, fix=fix)


def read_message(item: Any, number: int) -> Message:
    """``{"role": …, "content": …}`` with text, or a list of text parts, which are joined; other fields are left to the caller.

    Args:
        item: the message as read.
        number: its place in the conversation, from 1, for the error.

    Raises:
        RowError: it is no such message, or holds what weft does not read yet.
    """
    if not isinstance(item, Mapping):
        raise RowError(
            "a message must be an object",
            detail=f"message {number} is {kind_of(item)}",
            fix='write {"role": …, "content": …}',
        )
    if len(item) > 2:
        refuse_unread(item, _MESSAGE_NOT_YET)
        if item.get("train") not in (None, True) or item.get("weight") not in (None, 1):
            raise RowError(
                "choosing per message what is trained is not supported yet",
                detail=f"message {number}",
                fix='remove "train" and "weight" to train every answer, or leave the record out',
            )
    role = _ROLES.get(item["role"]) if isinstance(item.get("role"), str) else None
    if role is None:
        _refuse_role(item, number)
    content = item.get("content")
    if isinstance(content, list):
        content = "".join(_text_parts(content, number))
    if not isinstance(content, str):
        raise RowError(
            "a message's content must be text",
            detail=f"message {number} has {kind_of(content)}",
            fix="write it as text",
        )
    return Message(role=role, content=content)


def _refuse_role(item: Data, number: int) -> NoReturn:
    if "role" not in item:
        raise RowError('a message has no "role"', detail=f"message {number}", fix='write {"role": …, "content": …}')
    role = item["role"]
    if role in ("tool", "function", "ipython", "observation"):
        raise RowError(
            "tool results are not supported yet", detail=f"message {number} has the role {role!r}", fix=_LEAVE_OUT
        )
    near = _ROLES_ELSEWHERE.get(role.strip().lower(), role.strip().lower()) if isinstance(role, str) else None
    raise RowError(
        "a message has an unknown role",
        detail=f"message {number} has {role!r:.40}",
        fix=f'write "{near}"' if near in _ROLES else 'the roles are "system", "user" and "assistant"',
    )


def _text_parts(parts: list[Any], number: int) -> Iterator[str]:
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping) or kind != "text" or not isinstance(part.get("text"), str):
            found = f"a part of type {kind!r:.40}" if kind else "a part without a type"
            raise RowError("only text parts are supported yet", detail=f"message {number} has {found}", fix=_LEAVE_OUT)
        yield part["text"]


def check_turns(messages: Sequence[Message]) -> None:
    """Raise :class:`RowError` unless the messages are: a system message or none, then user and assistant in turn, the assistant
    last, and nothing empty but the system message.
    """
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not turns:
        raise RowError("there are no messages", fix="add a question and its answer")
    offset = len(messages) - len(turns) + 1
    for number, message in enumerate(turns, offset):
        expected = "user" if (number - offset) % 2 == 0 else "assistant"
        if message.role != expected:
            _refuse_order(messages, number)
        if not message.content or message.content.isspace():
            article, text = ("an", "answer") if expected == "assistant" else ("a", "question")
            raise RowError(
                f"{article} {expected} message is empty",
                detail=f"message {number}",
                fix=f"write the {text}, or leave the record out",
            )
    if turns[-1].role == "user":
        if len(turns) == 1:
            raise RowError("there is no assistant message", detail="nothing to learn", fix="add the answer")
        raise RowError(
            "the last message is the user's",
            detail="nothing after it to learn",
            fix="add the answer, or remove the question",
        )


def _refuse_order(messages: Sequence[Message], number: int) -> NoReturn:
    role = messages[number - 1].role
    if role == "system":
        raise RowError("a system message stands after other messages", detail=f"message {number}", fix="put it first")
    if number > 1 and messages[number - 2].role == role:
        raise RowError(
            "two messages of one role follow each other",
            detail=f"messages {number - 1} and {number}, both {role}",
            fix="join them into one",
        )
    raise RowError("the assistant speaks before the user", detail=f"message {number}", fix="begin with a user message")


def refuse_unread(data: Data, not_yet: Mapping[str, str]) -> None:
    """Raise :class:`RowError` where a field of ``not_yet`` (what it holds, by its name) is filled."""
    for field, what in not_yet.items():
        if field in data and data[field] not in _NOTHING:
            raise RowError(f"records with {what} are not supported yet", detail=f'the field "{field}"', fix=_LEAVE_OUT)


def kind_of(value: Any) -> str:
    """What JSON calls a value, for people."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")

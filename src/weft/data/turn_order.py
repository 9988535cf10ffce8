"""Which messages may follow each other in a conversation that a model can learn from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from weft.data.row_error import RowError
from weft.types import Message

_NEXT = {
    None: ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool", "assistant"),
    "tool": ("assistant", "tool", "user"),
}
"""Role → the roles that may follow it, behind the system message."""

_CALL_AS_TEXT = re.compile(
    r"<\|?(?:tool_call|function)|\[TOOL_CALLS\]|\"name\"\s*:"
    r"|\A\s*\[[^\[\]()]+\((?s:.*)\)\s*\]\s*\Z"  # [f(x=1), g()]
    r"|^Action:.*\n+Action Input:",
    re.MULTILINE,
)
"""How a call looks where an answer's content spells it out."""


def check_turns(messages: Sequence[Message]) -> None:
    """Raise :class:`RowError` unless the messages are: a system message or none, then user and assistant in turn, the assistant
    last, and nothing empty but the system message, a tool's result, and an answer that calls a tool.

    An answer may come in several messages, as it does around calls of tools; a question may not. Results of tools stand between
    the assistant's message that calls them and its next one, no more of them than calls, and of no other call or function.
    """
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not turns:
        raise RowError("there are no messages", fix="add a question and its answer")
    offset = len(messages) - len(turns) + 1
    before: Message | None = None
    open_calls: _OpenCalls | None = None
    for number, message in enumerate(turns, offset):
        if message.role not in _NEXT[before and before.role]:  # type: ignore[index]  # never a system message
            _refuse_order(messages, number)
        if message.role == "tool":
            assert before is not None
            if open_calls is None or before.role == "assistant":
                open_calls = _OpenCalls(before)
            open_calls.answer(message, number)
        else:
            _check_said(message, number)
        before = message
    _check_last(turns)


def _check_said(message: Message, number: int) -> None:
    if (not message.content or message.content.isspace()) and not message.tool_calls:
        article, text = ("an", "answer") if message.role == "assistant" else ("a", "question")
        raise RowError(
            f"{article} {message.role} message is empty",
            detail=f"message {number}",
            fix=f"write the {text}, or leave the record out",
        )


def _check_last(turns: Sequence[Message]) -> None:
    if turns[-1].role == "assistant":
        return
    if all(message.role != "assistant" for message in turns):
        raise RowError("there is no assistant message", detail="nothing to learn", fix="add the answer")
    if turns[-1].role == "tool":
        raise RowError(
            "the last message is a tool's result",
            detail="nothing after it to learn",
            fix="add the answer, or remove the result",
        )
    raise RowError(
        "the last message is the user's",
        detail="nothing after it to learn",
        fix="add the answer, or remove the question",
    )


class _OpenCalls:
    """The calls of one message that wait for their results."""

    def __init__(self, message: Message) -> None:
        self._left = len(message.tool_calls)
        self._ids = {call.id for call in message.tool_calls} - {None}
        self._names = {call.name for call in message.tool_calls}
        self._in_text = not message.tool_calls and _CALL_AS_TEXT.search(message.content) is not None

    def answer(self, result: Message, number: int) -> None:
        """Take one result in, or raise :class:`RowError`."""
        self._left -= 1
        if self._in_text:
            return
        if self._left < 0:
            _refuse_result(f"message {number}")
        if result.tool_call_id is None and result.name not in (None, *self._names):
            _refuse_result(f"message {number} is a result of {result.name!r:.40}")
        if self._ids and result.tool_call_id is not None:
            if result.tool_call_id not in self._ids:
                _refuse_result(f"message {number} answers the call {result.tool_call_id!r:.40}")
            self._ids.discard(result.tool_call_id)


def _refuse_order(messages: Sequence[Message], number: int) -> NoReturn:
    role = messages[number - 1].role
    if role == "system":
        raise RowError("a system message stands after other messages", detail=f"message {number}", fix="put it first")
    if role == "tool":
        _refuse_result(f"message {number}")
    if number > 1 and messages[number - 2].role == role:
        raise RowError(
            "two messages of one role follow each other",
            detail=f"messages {number - 1} and {number}, both {role}",
            fix="join them into one",
        )
    raise RowError("the assistant speaks before the user", detail=f"message {number}", fix="begin with a user message")


def _refuse_result(detail: str) -> NoReturn:
    raise RowError(
        "a tool's result stands without its call",
        detail=detail,
        fix='put the assistant\'s message with its "tool_calls" before it, each call with the id or the name that its result has',
    )

"""Message trees as OpenAssistant publishes them whole: a record is one tree, in which each message holds its replies.

They are taken apart into the messages that :mod:`weft.data.oasst` knows, so that what is said of trees holds for both forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from weft.data.row_error import Data, RowError, kind_of
from weft.data.rows import BadRow
from weft.data.tools import NOTHING
from weft.types import Location, Record

MAPPING = ("prompt, replies → order", "role → role", "text → messages")

_FORM = '{"message_tree_id": …, "prompt": {"message_id": …, "role": …, "text": …, "replies": […]}}'
_OF_TREE = ("message_tree_id", "source", "meta")
"""What a tree says of itself, beside its messages or in the first of them."""


def is_tree(data: Any) -> bool:
    """Whether a record is a whole tree."""
    if not isinstance(data, Mapping) or "prompt" not in data:
        return False
    prompt = data["prompt"]
    if isinstance(prompt, Mapping):
        return "message_tree_id" in data or "message_id" in prompt or "replies" in prompt
    return prompt is None and "message_tree_id" in data


def messages_of(tree: Record) -> list[Record]:
    """The messages of a tree, each before its replies, and each as a record that names the one that it replies to.

    A message of a tree that has a line for itself is at that line, with its number in the tree; others are where their tree is.

    Raises:
        RowError: what should hold messages does not.
    """
    return [
        Record(data=data, location=_place(tree.location, number)) for number, data in enumerate(_messages(tree.data), 1)
    ]


def with_messages(row: Record | BadRow) -> Iterator[Record | BadRow]:
    """The row, and behind a tree its messages, where each has a place of its own."""
    yield row
    if isinstance(row, Record) and row.location.record is None and is_tree(row.data):
        with suppress(RowError):
            yield from messages_of(row)


def _place(tree: Location, number: int) -> Location:
    return tree if tree.record is not None else replace(tree, record=number)


def _prompt(tree: Data) -> Any:
    """The first message, with what the tree says of itself, as the first of flat messages has it."""
    prompt = tree["prompt"]
    if not isinstance(prompt, Mapping):
        return prompt
    own = {field: tree[field] for field in _OF_TREE if tree.get(field) not in NOTHING}
    for field in own:
        if prompt.get(field) not in (*NOTHING, own[field]):
            raise _error("a tree and its prompt disagree", f'the field "{field}"')
    return {**prompt, **own}


def _messages(tree: Data) -> Iterator[Data]:
    waiting: list[tuple[Any, str | None]] = [(_prompt(tree), None)]
    while waiting:
        message, parent = waiting.pop()
        beneath = "the prompt" if parent is None else f"a reply to {parent!r:.40}"
        if not isinstance(message, Mapping):
            raise _error("a message of a tree must be an object", f"{beneath} is {kind_of(message)}")
        name, replies = message.get("message_id"), message.get("replies")
        if not isinstance(name, str) or not name:
            raise _error('a message of a tree has no "message_id"', f"{beneath} has {kind_of(name)}")
        if message.get("parent_id") not in (None, "", parent):
            raise _error(
                "a message of a tree names another parent than the message that holds it",
                f"{name!r:.40} names {message['parent_id']!r:.40}",
            )
        if not isinstance(replies, list | None):
            raise _error("the replies to a message must be a list", f"{name!r:.40} has {kind_of(replies)}")
        yield {key: value for key, value in message.items() if key != "replies"} | {"parent_id": parent}
        waiting += [(reply, name) for reply in reversed(replies or [])]


def _error(reason: str, detail: str) -> RowError:
    return RowError(reason, detail=detail, fix=f"write the tree as {_FORM}")

"""One visible table of the record formats, and the names of fields that mean something in any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from weft.data.format_readers import (
    read_alpaca,
    read_dolly,
    read_listed_pair,
    read_messages,
    read_pair,
    read_qa,
    read_sharegpt,
)
from weft.data.messages import MESSAGE_FIELDS, unread_of_message
from weft.data.prompt_completion import read_prompt, read_whole_prompt
from weft.data.row_error import Data
from weft.data.sharegpt import TURN_FIELDS, unread_of_turn
from weft.types import Message

CANONICAL = frozenset({"id", "source", "messages", "meta"})
"""These fields, and those of :data:`SETTING` that hold something, make a record as ``weft prepare`` writes it, which is read
whatever format is asked for."""
CANONICAL_DOCUMENT = frozenset({"id", "source", "text", "meta"})
"""These fields make a document as ``weft prepare`` writes it."""
SETTING = ("tools", "chat_template_kwargs")
"""The fields beside the messages that say what a conversation is held with."""
BESIDE = (*SETTING, "functions")
"""Those of them under all their names."""
TEXT = "text"
"""The field of a document."""
TEXTS = (TEXT, "content", "document")
"""What it may be called instead, where there is none of the names before."""


Reader = Callable[[Data, Sequence[str]], list[Message]]


class Format(NamedTuple):
    """A record format: the sets of fields that each suffice to know it, further fields that it reads, and its reader."""

    fields: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...]
    read: Reader
    read_whole: Reader | None = None
    """The reader where the whole text is trained (``data.train_on: all``), if the other one leaves answers out of training."""


FORMATS: dict[str, Format] = {
    "messages": Format((("messages",),), ("system",), read_messages),
    "sharegpt": Format((("conversations",), ("conversation",)), ("system",), read_sharegpt),
    "chat": Format((("user", "assistant"),), ("system",), read_pair),
    "qa": Format(
        (("input", "target"), ("question", "answer"), ("query", "response"), ("query", "answers", "tools")),
        ("system",),
        read_qa,
    ),
    "prompt": Format((("prompt", "response"), ("prompt", "completion")), ("system",), read_prompt, read_whole_prompt),
    "alpaca": Format((("instruction", "output"),), ("input", "system", "history"), read_alpaca),
    "dolly": Format((("instruction", "response"),), ("context", "system"), read_dolly),
    "pairs": Format((("question", "answer"),), ("system",), read_listed_pair),
}
"""The formats in the order in which they are tried; ``pairs`` only for a list of a question and an object with its answer."""

MEANING = {
    "messages": "messages",
    "conversations": "messages",
    "conversation": "messages",
    "system": "system",
    "input": "user",
    "context": "user",
    "history": "earlier turns",
    "tools": "tools",
    "functions": "tools",
    "chat_template_kwargs": "template arguments",
}
"""What fields are read as that a format may have."""


class Listed(NamedTuple):
    """What a list of messages holds beside what is read of it."""

    read: frozenset[str]
    """Fields that are read of every message, whatever others it has: to ask for them alone is quicker."""
    unread: Callable[[Data], Data]
    """What is not read of one message."""


_MESSAGES, _TURNS = Listed(MESSAGE_FIELDS, unread_of_message), Listed(TURN_FIELDS, unread_of_turn)
LISTS = {
    "messages": _MESSAGES,
    **dict.fromkeys(("conversations", "conversation"), _TURNS),
    **dict.fromkeys(("prompt", "completion", "response"), _MESSAGES),
}
"""Fields that hold messages, or may, and what is left of each message."""
AS_JSON = ("messages", "conversations", "conversation", "history")
"""Fields whose list may be given as JSON text, as a table of texts has to."""
NOT_YET = {"images": "images", "videos": "videos", "audios": "audio"}
"""Fields that cannot be left out of a record without changing what it says, and what they hold."""

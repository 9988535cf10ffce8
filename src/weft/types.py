"""The nouns that flow through weft: keyword-only, without behaviour beyond their own consistency, and frozen. To freeze takes two
thirds of the time to make one, so those of which there are some for every record are frozen for the type checker alone.

``Record`` (as read) → ``Conversation`` or ``Document`` (as meant) → ``Segment`` (as printed by the template) → ``Example`` (as
ids).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from dataclasses import dataclass as checked
else:

    def checked(*, frozen: bool, **how: bool) -> Any:
        """A dataclass that only the type checker holds to be ``frozen``."""
        return dataclass(**how, unsafe_hash=frozen)


Role = Literal["system", "user", "assistant", "tool"]


@checked(frozen=True, kw_only=True, slots=True)
class Location:
    """A place in a file: the physical line on which a record starts, counted from 1, and in JSON lists, where many records
    may share a line, the record's number, counted from 1. A message of a tree that is one line has the number in its tree.
    """

    path: str
    line: int | None = None
    record: int | None = None

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return place if self.record is None else f"{place} (record {self.record})"


@checked(frozen=True, kw_only=True, slots=True)
class Record:
    """One raw record, exactly as the file holds it."""

    data: Any
    location: Location


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A function that the model asks to be called, with its arguments by name; ``id`` is what a result refers to."""

    name: str
    arguments: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a whole conversation is held with, beside its messages."""

    tools: tuple[Mapping[str, Any], ...] = ()
    """Definitions of functions that the model may call: ``{"type": "function", "function": {"name": …}}``."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, by name."""


@checked(frozen=True, kw_only=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str
    reasoning: str = ""
    """What the assistant thinks before it answers, where the record keeps it apart from the content."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """Which call a tool's result belongs to."""
    name: str | None = None
    """Who speaks: the name of a person or of a tool."""
    weight: float | None = None
    """What each of its tokens counts in the loss, where the record says so: 0 makes it context."""
    setting: Setting | None = None
    """On the first message only, so that whatever begins a conversation with it (a prompt, a part, a continuation) keeps it."""


@checked(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Messages in order, with what the record said beside them."""

    messages: tuple[Message, ...]
    location: Location
    id: str | None = None
    source: str | None = None
    """The name of the file or dataset it came from, kept through preparation."""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A text to continue pretraining on, with what the record said beside it."""

    text: str
    location: Location
    id: str | None = None
    source: str | None = None
    """As that of a conversation."""
    meta: Mapping[str, Any] = field(default_factory=dict)


Material = Conversation | Document
"""What training learns from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A run of rendered text that is all context or all trained.

    ``control`` holds the half-open character spans, in order, of the control tokens that the *template* wrote in ``text``.
    Control strings outside these spans came from a user's content and are plain text (law 4).

    ``weights`` holds the spans, in order and apart, of the messages whose record says what their tokens count, each with that
    number; it changes how much is learned, and never where a text is cut or which ids it becomes. Everything else counts 1 where
    the segment is ``trained``, and nothing where it is not.
    """

    text: str
    trained: bool
    control: tuple[tuple[int, int], ...] = ()
    weights: tuple[tuple[int, int, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """What one forward pass sees: ``ids`` int32 [T] and ``loss_weights`` float32 [T]; 0 = context, > 0 = trained.

    A weight belongs to the token at its own position: token t is predicted from the tokens before it.
    """

    ids: np.ndarray
    loss_weights: np.ndarray
    location: Location


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a model answered to one prompt: the parsed text, and whether a stop token (``stop``) or the limit ended it."""

    text: str
    finish: Literal["stop", "length"]
    tokens: int

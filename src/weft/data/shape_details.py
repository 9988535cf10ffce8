"""What tells conversations of one shape (:mod:`weft.data.shape`) further apart, where a plan for the shape does not hold.

Contents begin and end with white space, hold reasoning in its tags, or say the same: templates trim, divide and compare them. So
a closer look takes white space and tags for words that many conversations share, and what stands between them for values. A
system message in which a template looks for something (for ``/no_think``) is such words altogether. What a template writes as
JSON, where it looks otherwise (quotes, line ends), is two values: as it is said, and as it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

from weft.data.control import ControlTokens
from weft.data.pieces import REASONING_TAGS, reasoning_apart
from weft.data.shape_pattern import SPACE
from weft.types import Message

_LONGEST = 2**10
"""Characters of a system message that is known as it is."""


@dataclass(frozen=True, slots=True)
class Details:
    """What a shape leaves open."""

    contents: tuple[tuple[str | int, ...], ...]
    """For each message: the words and the numbers of the values that its content consists of."""
    same: tuple[int, ...]
    """For each value: the first that is equal."""
    quoted: tuple[tuple[int, int], ...] = ()
    """Values that look otherwise as JSON, and as which value."""

    @property
    def as_json(self) -> list[int]:
        """The numbers of values that are what JSON makes of others."""
        return [number for _, number in self.quoted]

    def content(self, number: int, word: Callable[[int], str]) -> str:
        """The content of a message of this ``number``, with a word for each value."""
        return "".join(part if isinstance(part, str) else word(part) for part in self.contents[number])

    def cut(self, messages: Sequence[Message], control: ControlTokens) -> bool:
        """Whether a control token in these contents is none of the words': it stands in a value, or in part there."""
        return any(
            _tokens(message.content, control) != [token for word in parts for token in _tokens(word, control)]
            for message, parts in zip(messages, self.contents, strict=True)
        )


def _tokens(part: str | int, control: ControlTokens) -> list[str]:
    return [part[start:end] for start, end in control.find(part)] if isinstance(part, str) else []


def details_of(
    messages: Sequence[Message],
    values: Sequence[Any],
    looked_at: Collection[int] = (),
    quoted_in: Callable[[Sequence[Any]], Collection[int]] = lambda values: (),
) -> tuple[Details, list[Any]] | None:
    """The details of a conversation, and its values as they leave them; None where there are none.

    Args:
        messages: a conversation that has a shape.
        values: those of that shape.
        looked_at: the numbers of values that hold what a template looks for. System messages are among the details then.
        quoted_in: the numbers of those values, as the details leave them, that a template writes as JSON, if they look otherwise
            there.
    """
    found = list(values)
    contents = tuple(_parts(message, number, found, looked_at) for number, message in enumerate(messages))
    first: dict[str, int] = {}
    same = tuple(
        first.setdefault(value, number) if isinstance(value, str) and value else number
        for number, value in enumerate(found)
    )
    quoted = tuple(zip(sorted({same[number] for number in quoted_in(found)}), count(len(found)), strict=False))
    are_whole = all(parts in ((), (number,)) for number, parts in enumerate(contents))
    if are_whole and same == tuple(range(len(found))) and not quoted:
        return None
    return Details(contents, same + tuple(as_json for _, as_json in quoted), quoted), found + [""] * len(quoted)


def _parts(message: Message, number: int, values: list[Any], looked_at: Collection[int]) -> tuple[str | int, ...]:
    """Of what the content of a message of this ``number`` consists, whose values are put to the others."""
    content, spans = message.content, reasoning_apart(message)
    is_space = content and not spans and message.role != "assistant"  # of an answer of white space no place is found
    is_switch = number in looked_at and message.role == "system" and len(content) <= _LONGEST
    if is_space or is_switch:
        values[number] = ""
        return (content,)
    ends, starts = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(content)]
    words = [content[end:start] for end, start in zip(ends, starts, strict=True)]
    said = [content[start:end] for start, end in spans]
    if not said or not _are_usual(words, said):
        return (number,) if content else ()
    numbers = [*range(len(values), len(values) + len(said) - 1), number]
    values[number] = said.pop()
    values += said
    parts = chain(words[:1], *zip(numbers, words[1:], strict=True))
    return tuple(part for part in parts if part != "")


def _are_usual(words: Sequence[str], values: Sequence[str]) -> bool:
    """Whether the words are but white space and the tags of reasoning, and the values hold none of these."""
    rest = "".join(words)
    for tag in REASONING_TAGS:
        rest = rest.replace(tag, "", 1)
    return not rest.strip() and not any(tag in value for tag in REASONING_TAGS for value in values)


def beside_space(messages: Sequence[Message], count: int, trimmed: Collection[int]) -> Details | None:
    """Details of a conversation that has white space (:data:`weft.data.shape_pattern.SPACE`) beside some contents; None if none.

    Args:
        messages: a conversation that has a shape.
        count: how many values it has.
        trimmed: the numbers of values.
    """

    def content(number: int) -> tuple[str | int, ...]:
        return (SPACE, number, SPACE) if number in trimmed else (number,)

    contents = tuple(content(number) if message.content else () for number, message in enumerate(messages))
    return Details(contents, tuple(range(count))) if any(len(parts) > 1 for parts in contents) else None

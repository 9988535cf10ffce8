"""Where a rendered chat prints the contents of its messages.

Searching for a content would be wrong: the same words may stand elsewhere, and a template may trim or divide them. So a
private-use character goes into the *middle* of each content, the chat is rendered again, and the mark tells the place. Marks
in the middle survive ``trim``, ``startswith`` and ``split``, which marks at the edges would not. A render that differs in
more than the marks proves nothing and is thrown away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from weft.data.control import Span
from weft.errors import TemplateError
from weft.types import Message

_MARKS = range(0xF0000, 0xFFFFE)  # private use: no text has a meaning for them
_ANY_MARK = re.compile(f"[{chr(_MARKS[0])}-{chr(_MARKS[-1])}]")
_TAG = re.compile(r"<[^<>\s]{1,60}>|\[[^\[\]\s]{1,60}\]")
REASONING_TAGS = _REASONING_BEGIN, _REASONING_END = "<think>", "</think>"
"""What reasoning is written between, inside a content, where it has no field of its own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of the rendered text that prints a content, or a part of one.

    ``is_whole`` is False where only some of the characters around the mark are printed as they were given.
    """

    start: int
    end: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Printed:
    """How a rendered text prints the content of one message."""

    pieces: tuple[Piece, ...]
    """In order of their place; none for an empty content, two for one that is printed twice."""
    is_complete: bool
    """False where a part is left out, as templates do with reasoning."""


def unused_marks(messages: Sequence[Message], count: int) -> tuple[str, ...]:
    """``count`` private-use characters that no content holds."""
    used = {mark for message in messages for mark in _ANY_MARK.findall(message.content)}
    return tuple(islice((chr(code) for code in _MARKS if chr(code) not in used), count))


def locate(
    print_messages: Callable[[Sequence[Message]], str],
    messages: Sequence[Message],
    text: str,
    indices: Sequence[int] | None = None,
) -> dict[int, Printed]:
    """Find the contents of ``messages`` in ``text``, which is what ``print_messages(messages)`` returned.

    Args:
        print_messages: prints messages like the given ones but for their contents.
        messages: the messages.
        text: what they print.
        indices: which of them to look for; None for all.

    Returns:
        The messages that are printed, by their indices.
    """
    located: dict[int, Printed] = {}
    in_part: dict[int, Printed] = {}
    for divide in (_undivided, _reasoning_apart):
        missing = [index for index in (range(len(messages)) if indices is None else indices) if index not in located]
        for index, printed in _locate_some(print_messages, messages, text, missing, divide).items():
            (located if all(piece.is_whole for piece in printed.pieces) else in_part).setdefault(index, printed)
    return in_part | located


# ---- dividing a content into what a template may print apart -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parts:
    spans: tuple[Span, ...]
    """Ranges of the content, without white space at their edges."""
    required: Span | None
    """The one that must be printed for the message to count as printed."""


def _undivided(message: Message) -> _Parts:
    core = _core(message.content, 0, len(message.content))
    return _Parts(core, core[0] if core else None)


def _reasoning_apart(message: Message) -> _Parts:
    """An answer's reasoning and what follows it: templates move, wrap or drop the former."""
    content = message.content
    close = content.rfind(_REASONING_END)
    if message.role != "assistant" or close < 0:
        return _undivided(message)
    begin = content.find(_REASONING_BEGIN, 0, close)
    reasoning = _core(content, 0 if begin < 0 else begin + len(_REASONING_BEGIN), close)
    answer = _core(content, close + len(_REASONING_END), len(content))
    return _Parts(reasoning + answer, answer[0] if answer else None)


def _core(content: str, start: int, end: int) -> tuple[Span, ...]:
    """The range without white space at its edges; nothing where it is all white space."""
    part = content[start:end]
    stripped = part.strip()
    if not stripped:
        return ()
    start += len(part) - len(part.lstrip())
    return ((start, start + len(stripped)),)


# ---- marking -----------------------------------------------------------------------------------------------------------


def _locate_some(
    print_messages: Callable[[Sequence[Message]], str],
    messages: Sequence[Message],
    text: str,
    indices: Sequence[int],
    divide: Callable[[Message], _Parts],
) -> dict[int, Printed]:
    """The messages among ``indices`` that are found: marked all at once or, where their marks disturb, one by one."""
    if not indices:
        return {}
    found = _locate_marked(print_messages, messages, text, indices, divide)
    if found is None and len(indices) > 1:
        alone = (_locate_marked(print_messages, messages, text, [index], divide) for index in indices)
        return {index: printed for one in alone for index, printed in (one or {}).items()}
    return found or {}


def _locate_marked(
    print_messages: Callable[[Sequence[Message]], str],
    messages: Sequence[Message],
    text: str,
    indices: Sequence[int],
    divide: Callable[[Message], _Parts],
) -> dict[int, Printed] | None:
    """As :func:`_locate_some`, by one render; None where the marks change it."""
    parts = {index: divide(messages[index]) for index in indices}
    marks = unused_marks(messages, sum(len(part.spans) for part in parts.values()))
    supply = iter(marks)
    marked = list(messages)
    meant: dict[str, tuple[int, Span, int]] = {}
    for index, part in parts.items():
        content = messages[index].content
        places = [(_mark_position(content, span), span, next(supply)) for span in part.spans]
        meant |= {mark: (index, span, position) for position, span, mark in places}
        for position, _, mark in reversed(places):
            content = content[:position] + mark + content[position:]
        marked[index] = replace(messages[index], content=content)
    try:
        unmarked, seen = take_out(print_messages(marked), marks)
    except TemplateError:
        return None
    if unmarked != text:
        return None
    pieces: dict[int, list[Piece]] = {index: [] for index in indices}
    printed: dict[int, set[Span]] = {index: set() for index in indices}
    for mark, place in seen:
        index, span, position = meant[mark]
        pieces[index].append(_grow(text, place, messages[index].content[slice(*span)], position - span[0]))
        printed[index].add(span)
    return {
        index: Printed(tuple(pieces[index]), is_complete=printed[index] == set(part.spans))
        for index, part in parts.items()
        if part.required is None or part.required in printed[index]
    }


def _mark_position(content: str, span: Span) -> int:
    """The middle of the span, but not inside a tag, which a template may look for."""
    start, end = span
    middle = (start + end + 1) // 2
    for tag in _TAG.finditer(content, start, end):
        if tag.start() < middle < tag.end():
            return tag.end() if tag.end() < end else tag.start()
    return middle


def take_out(marked: str, marks: Sequence[str]) -> tuple[str, list[tuple[str, int]]]:
    """The text without its marks, and each mark with its place in that text, in order."""
    if not marks:
        return marked, []
    fragments: Iterator[str] = iter(re.split(f"([{''.join(marks)}])", marked))
    unmarked, seen = [next(fragments)], []
    length = len(unmarked[0])
    for mark, fragment in zip(fragments, fragments, strict=True):
        seen.append((mark, length))
        unmarked.append(fragment)
        length += len(fragment)
    return "".join(unmarked), seen


def _grow(text: str, place: int, content: str, before: int) -> Piece:
    """The piece around a mark at ``place``, which stood behind the first ``before`` characters of ``content``."""
    start = place - before
    if start >= 0 and text.startswith(content, start):
        return Piece(start, start + len(content), True)
    left = next((n for n in range(before) if text[place - n - 1 : place - n] != content[before - n - 1]), before)
    after = len(content) - before
    right = next((n for n in range(after) if text[place + n : place + n + 1] != content[before + n]), after)
    return Piece(place - left, place + right, False)

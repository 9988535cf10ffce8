"""Messages of one conversation that are equal, which a template may compare: Mistral's print tools before all like the last.

A mark in one of them makes it another message than the rest, and the template prints something else. So they are marked alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from weft.data.pieces import Printed, locate
from weft.types import Message


def locate_with_equals(
    print_messages: Callable[[Sequence[Message]], str],
    messages: Sequence[Message],
    text: str,
    indices: Sequence[int] | None = None,
    *,
    tags: Collection[str] = (),
) -> dict[int, Printed]:
    """As :func:`weft.data.pieces.locate`; a message that is not found by itself is looked for together with its equals."""
    located = locate(print_messages, messages, text, indices, tags=tags)
    for index in range(len(messages)) if indices is None else indices:
        equals = [] if index in located else _equals(messages, index)
        if len(equals) > 1:
            found = _locate_together(print_messages, messages, text, equals, tags)
            located |= {each: found[each] for each in found if indices is None or each in indices}
    return located


def _equals(messages: Sequence[Message], index: int) -> list[int]:
    """The indices of the messages that a template cannot tell from that one."""
    return [each for each, message in enumerate(messages) if _as_seen(message) == _as_seen(messages[index])]


def _as_seen(message: Message) -> Message:
    return replace(message, setting=None, weight=None)


def _locate_together(
    print_messages: Callable[[Sequence[Message]], str],
    messages: Sequence[Message],
    text: str,
    equals: Sequence[int],
    tags: Collection[str],
) -> dict[int, Printed]:
    """Where each of some messages that are equal is printed, in their order; nothing where that cannot be told."""
    first = equals[0]

    def print_alike(marked: Sequence[Message]) -> str:
        alike = list(marked)
        for each in equals:
            alike[each] = replace(marked[first], setting=marked[each].setting)
        return print_messages(alike)

    printed = locate(print_alike, messages, text, [first], tags=tags).get(first)
    share, rest = divmod(len(printed.pieces), len(equals)) if printed else (0, 0)
    if printed is None or rest:
        return {}
    return {
        each: replace(printed, pieces=printed.pieces[number * share : (number + 1) * share])
        for number, each in enumerate(equals)
    }

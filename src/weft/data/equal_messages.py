"""Messages of one conversation that are equal, which a template may compare: Mistral's print tools before all like the last.

A mark in one of them makes it another message than the rest, and the template prints something else. So they are marked alike.
"""

from __future__ import annotations

from collections import defaultdict
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
    wanted = range(len(messages)) if indices is None else indices
    if all(index in located for index in wanted):
        return located
    said_alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, message in enumerate(messages):
        said_alike[message.role, message.content].append(index)
    tried: set[int] = set()
    for index in wanted:
        if index not in located and index not in tried:
            seen, alike = _as_seen(messages[index]), said_alike[messages[index].role, messages[index].content]
            equals = [each for each in alike if _as_seen(messages[each]) == seen]
            tried.update(equals)
            found = _locate_together(print_messages, messages, text, equals, tags) if len(equals) > 1 else {}
            located |= {each: found[each] for each in found if each in wanted}
    return located


def _as_seen(message: Message) -> Message:
    """What a template sees of it."""
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
